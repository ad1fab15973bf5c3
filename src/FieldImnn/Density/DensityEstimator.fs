namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Flows
open FieldImnn.Core.Random
open TorchSharp

/// The kind of conditional density, and its size.
type DensityKind =
    /// What the simulations ask for: masked autoregressive flows, unless a spline flow is better on the held-out simulations, by more than
    /// twice the error of the difference. The estimator says which it is.
    | Automatic
    /// A masked autoregressive flow: layers, and the hidden units of each layer's network.
    | Maf of layers: int * hidden: int list
    /// A neural spline flow: layers of splines after an affine one, bins of a spline.
    | Spline of layers: int * bins: int * hidden: int list
    /// A mixture of Gaussians.
    | Mixture of components: int * hidden: int list

/// How a conditional density is learned.
type EstimatorSettings =
    {
        Kind: DensityKind
        /// Networks in the ensemble.
        Members: int
        /// The part of the simulations that is held out of training, for early stopping and stacking.
        HeldOut: float
        /// Edges of x set by the condition, which no flow can follow by itself.
        Edges: SummaryEdge list
        Training: EnsembleSettings
    }

    /// Four flows, of the kind that the simulations ask for.
    static member Default =
        { Kind = Automatic
          Members = 4
          HeldOut = 0.1
          Edges = []
          Training =
            { LearningRate = 1e-3
              Batch = 100
              MaxSteps = 100
              MaxEpochs = 1000
              Patience = 20
              Reductions = 2
              Clip = 5.0
              Seed = 1UL
              Progress = Progress.silent
              Checkpoint = None } }

/// A learned conditional density q(x | c): an ensemble behind its whitening, stacked.
type DensityEstimator =
    {
        /// The kind that was learned: the settings', or the one that was chosen.
        Kind: DensityKind
        Density: ConditionalDensity
        Whitening: Whitening
        Edges: SummaryEdge list
        /// The member's weights in the mixture, which sum to one.
        Stacking: float[]
        History: EnsembleRecord[]
        /// Mean ln q of the held-out simulations.
        HeldOutLogDensity: float
        /// ln q of each of them: the same ones for all kinds.
        HeldOut: float[]
    }

    interface IDisposable with
        member this.Dispose() = this.Density.Dispose()

/// Learning, evaluating and sampling conditional densities.
module DensityEstimator =
    /// The kinds that `Automatic` chooses from: the one that is tried first, and the one that must be better.
    let internal plain, internal challenger =
        Maf(3, [ 50; 50 ]), Spline(2, 10, [ 50; 50 ])

    /// An untrained ensemble with weights from the seed.
    let rec create kind members dimensions conditions (seed: uint64) : ConditionalDensity =
        let weights = NoiseKey.SeedFor(seed, "weights of density estimators")

        match kind with
        | Automatic -> create plain members dimensions conditions seed
        | Maf(layers, hidden) ->
            new MaskedAutoregressiveFlow(members, dimensions, conditions, layers, Array.ofList hidden, weights)
        | Spline(layers, bins, hidden) ->
            new SplineFlow(members, dimensions, conditions, layers, bins, Array.ofList hidden, weights)
        | Mixture(components, hidden) ->
            new MixtureDensity(members, dimensions, conditions, components, Array.ofList hidden, weights)

    /// The weights w that maximise Σ_i ln Σ_m w_m q_m(i), from ln q (members, points): stacking (Yao et al. 2018), a convex problem, by
    /// expectation maximisation.
    let internal stack (logDensities: float[][]) =
        let members, n = logDensities.Length, logDensities[0].Length

        let highest =
            Array.init n (fun i -> logDensities |> Array.map (fun row -> row[i]) |> Array.max)

        let relative =
            logDensities
            |> Array.map (fun row -> Array.map2 (fun l h -> exp (l - h)) row highest)

        let improve (weights: float[]) =
            let total =
                Array.init n (fun i -> Seq.sumBy (fun m -> weights[m] * relative[m][i]) [ 0 .. members - 1 ])

            Array.init members (fun m -> weights[m] * (Array.map2 (/) relative[m] total |> Array.average))

        [ 1..200 ]
        |> List.fold (fun weights _ -> improve weights) (Array.create members (1.0 / float members))

    let private every members (rows: Tensor) =
        rows.unsqueeze(0L).expand(int64 members, -1L, -1L)

    /// Whitened x and conditions of rows, on the network's terms: (1, n, d) and (1, n, c), float32; and ln |∂x/∂whitened x| (n).
    let private prepare estimator (x: Tensor) (condition: Tensor) =
        let whitened = Whitening.condition estimator.Whitening condition
        let residual = Whitening.residual estimator.Whitening x whitened
        let volume = Whitening.logVolume estimator.Whitening whitened
        let whitened = Whitening.within estimator.Whitening whitened
        let members = estimator.Stacking.Length
        every members (residual.``to`` torch.float32), every members (whitened.``to`` torch.float32), volume

    let private logDensityInside estimator (x: float[][]) (condition: float[][]) : float[] =
        use logWeights = estimator.Stacking |> Array.map log |> Tensors.ofVector

        EnsembleTraining.singleThreaded (fun () ->
            Tensors.chunks 4096 condition.Length
            |> Array.collect (fun struct (start, length) ->
                Tensors.using (fun () ->
                    use _ = torch.no_grad ()
                    let part = if x.Length = 1 then x else x[start .. start + length - 1]

                    let residual, whitened, volume =
                        prepare
                            estimator
                            (Tensors.ofRows part)
                            (Tensors.ofRows condition[start .. start + length - 1])

                    let byMember = estimator.Density.LogDensity(residual, whitened).``to`` torch.float64
                    ((byMember + logWeights.unsqueeze 1L).logsumexp 0L - volume) |> Tensors.toArray)))

    /// ln q(x | c) of rows (n, d) and (n, c); one row of x stands for all conditions. −∞ beyond an edge.
    let logDensity estimator (x: float[][]) (condition: float[][]) : float[] =
        if x.Length <> 1 && x.Length <> condition.Length then
            raise (ShapeException("x of a density", $"1 or {condition.Length} rows", $"{x.Length}"))

        if estimator.Edges.IsEmpty then
            logDensityInside estimator x condition
        else
            let freed =
                condition
                |> Array.mapi (fun i c -> SummaryEdge.free estimator.Edges (if x.Length = 1 then x[0] else x[i]) c)

            let values = Array.create condition.Length -infinity

            let inside =
                [| 0 .. freed.Length - 1 |]
                |> Array.filter (fun i ->
                    estimator.Edges |> List.forall (fun e -> Double.IsFinite((freed[i])[e.Summary])))

            if inside.Length > 0 then
                let part = inside |> Array.map (fun i -> freed[i])

                logDensityInside estimator part (inside |> Array.map (fun i -> condition[i]))
                |> Array.iteri (fun q v -> values[inside[q]] <- v + SummaryEdge.logJacobian estimator.Edges (part[q]))

            values

    /// x distributed as q(x | c), one for each row of conditions; draw i is a function of the seed, i and its condition,
    /// within the rounding of single precision.
    let sample estimator (seed: uint64) (condition: float[][]) : float[][] =
        let d = int64 estimator.Density.Dimensions
        let members = estimator.Stacking.Length
        let cumulative = estimator.Stacking |> Array.scan (+) 0.0 |> Array.tail

        EnsembleTraining.singleThreaded (fun () ->
            Tensors.chunks 4096 condition.Length
            |> Array.collect (fun struct (start, length) ->
                Tensors.using (fun () ->
                    use _ = torch.no_grad ()

                    let keys =
                        NoiseKey.Range(NoiseKey.SeedFor(seed, "density samples"), uint64 start, length)

                    let normal = Noise.Normal(keys, [| d |])
                    let uniform = Noise.Uniform(keys, [| 2L |], 1u)

                    let whitened =
                        Whitening.condition
                            estimator.Whitening
                            (Tensors.ofRows condition[start .. start + length - 1])

                    let drawn =
                        estimator.Density.Sample(
                            every members normal,
                            uniform.select(1L, 0L).unsqueeze(0L).expand(int64 members, -1L),
                            every members ((Whitening.within estimator.Whitening whitened).``to`` torch.float32)
                        )

                    let chosen =
                        Tensors.toArray (uniform.select (1L, 1L))
                        |> Array.map (fun u ->
                            cumulative
                            |> Array.findIndex (fun c -> u * cumulative[members - 1] <= c)
                            |> int64)

                    let index = torch.tensor(chosen).view(1L, -1L, 1L).expand(1L, -1L, d)
                    let residual = drawn.gather(0L, index).squeeze(0L).``to`` torch.float64
                    Whitening.restore estimator.Whitening residual whitened |> Tensors.toRows)))
        |> fun drawn -> Array.map2 (SummaryEdge.restore estimator.Edges) drawn condition

    /// ln Σ_m w_m q_m of points from ln q (members, points).
    let private mix (stacking: float[]) (logDensities: float[][]) =
        Array.init logDensities[0].Length (fun i ->
            let terms = Array.mapi (fun m w -> log w + logDensities[m][i]) stacking
            let highest = Array.max terms
            highest + log (terms |> Array.sumBy (fun t -> exp (t - highest))))

    /// What networks are trained on, single precision: residuals of x, and whitened conditions within their range (n, d + c).
    let private prepared whitening x condition =
        let whitened = Whitening.condition whitening (Tensors.ofRows condition)
        let residual = Whitening.residual whitening (Tensors.ofRows x) whitened
        torch.cat([| residual; Whitening.within whitening whitened |], 1L).``to`` torch.float32

    /// Which simulations are held out, and which are trained on: drawn anew, so that rounds of simulations count alike.
    let private split seed (part: float) n : struct (Tensor * Tensor) =
        use generator = new torch.Generator(NoiseKey.SeedFor(seed, "held out"))
        let order = torch.randperm (int64 n, generator = generator)
        let count = max 1L (int64 (part * float n))
        struct (order.narrow (0L, 0L, count), order.narrow (0L, count, int64 n - count))

    /// ln q of rows of x given their condition, from that of residuals: less the logarithm of the volume, with the edges' Jacobian.
    let private unwhitened whitening edges (x: float[][]) (condition: float[][]) (rows: int[]) (logDensities: float[]) =
        let volumes =
            rows
            |> Array.map (fun i -> condition[i])
            |> Tensors.ofRows
            |> Whitening.condition whitening
            |> Whitening.logVolume whitening
            |> Tensors.toArray

        Array.map3 (fun q volume row -> q - volume + SummaryEdge.logJacobian edges x[row]) logDensities volumes rows

    /// Learns an ensemble of one kind behind a whitening.
    let private fitKind (settings: EstimatorSettings) whitening edges (x: float[][]) (condition: float[][]) =
        let d, c = whitening.Target.Kept.Length, whitening.Condition.Kept.Length
        let seed = settings.Training.Seed
        let density = create settings.Kind settings.Members d c seed

        EnsembleTraining.singleThreaded (fun () ->
            use _ = torch.NewDisposeScope()
            let data = prepared whitening x condition

            let logDensity (batch: Tensor) =
                density.LogDensity(batch.narrow (2L, 0L, int64 d), batch.narrow (2L, int64 d, int64 c))

            let struct (heldOut, trained) = split seed settings.HeldOut x.Length

            let forAll (rows: Tensor) =
                rows.unsqueeze(0L).expand(int64 settings.Members, -1L)

            let history =
                EnsembleTraining.train
                    settings.Training
                    density.Weights
                    (fun batch -> -(logDensity batch).mean [| 1L |])
                    0.0
                    data
                    (forAll trained)
                    (forAll heldOut)

            use _ = torch.no_grad ()

            let byMember =
                logDensity (EnsembleTraining.pick data (forAll heldOut)) |> Tensors.toRows

            let stacking = stack byMember

            let mixed =
                mix stacking byMember
                |> unwhitened whitening edges x condition (Tensors.toArray heldOut |> Array.map int)

            { Kind = settings.Kind
              Density = density
              Whitening = whitening
              Edges = edges
              Stacking = stacking
              History = history
              HeldOutLogDensity = Array.average mixed
              HeldOut = mixed })

    /// Whether one estimator is better than another on the same held-out points: by more than twice the error of the mean difference.
    let private better (challenger: DensityEstimator) (champion: DensityEstimator) =
        let differences = Array.map2 (-) challenger.HeldOut champion.HeldOut
        let mean = Array.average differences
        let variance = differences |> Array.averageBy (fun v -> (v - mean) ** 2.0)
        mean > 2.0 * sqrt (variance / float differences.Length)

    /// Learns q(x | c) from rows of x (n, d) and conditions (n, c).
    let fit (settings: EstimatorSettings) (x: float[][]) (condition: float[][]) : DensityEstimator =
        Guard.AtLeast("members of an ensemble", 1L, int64 settings.Members) |> ignore

        if not (settings.HeldOut > 0.0 && settings.HeldOut < 1.0) then
            raise (SettingException("held-out part", "a number between 0 and 1", $"{settings.HeldOut}"))

        let edges = SummaryEdge.check x[0].Length condition[0].Length settings.Edges
        let x = SummaryEdge.freeAll edges x condition
        let whitening = Whitening.fit x condition

        let learn kind members =
            fitKind
                { settings with
                    Kind = kind
                    Members = members }
                whitening
                edges
                x
                condition

        match settings.Kind with
        | Automatic ->
            let champion = learn plain settings.Members
            // one member tells whether its kind is worth learning
            use trial = learn challenger 1

            if better trial champion then
                (champion :> IDisposable).Dispose()
                learn challenger settings.Members
            else
                champion
        | kind -> learn kind settings.Members
