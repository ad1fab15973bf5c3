namespace FieldImnn

open System
open System.Diagnostics
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// Training of information maximising neural networks.
module Imnn =
    let private networkOn device features (simulator: Simulator) seed =
        let description =
            Features.describe simulator.FieldShape simulator.Channels simulator.Parameters.Length features

        SummaryNetwork.Create(description, NoiseKey.SeedFor(seed, "weights"), device)

    /// The network of features for a simulator's fields, with weights from the seed, on the CPU.
    let network features simulator seed =
        networkOn Device.cpu features simulator seed

    /// Loss, det F, Λ and r of summaries x (n, s) and derivatives dx (m, p, s).
    let internal loss kind (x: Tensor) (dx: Tensor) : struct (Tensor * float * float * float) =
        let struct (fisher, c) = Fisher.ofSummaries x dx
        let struct (_, logDet) = torch.linalg.slogdet fisher
        let detF = exp (logDet.ToDouble())

        match kind with
        | ClosedForm -> struct (-logDet, detF, nan, nan)
        | Regularised(lambda, epsilon) ->
            let identity = torch.eye (c.shape[0], dtype = c.dtype, device = c.device)
            let distance = (c - identity).norm() + (torch.linalg.inv c - identity).norm()
            let a = ImnnSettings.steepness lambda epsilon
            let strength = lambda * distance / (distance + (distance * -a).exp())
            struct (-logDet + strength * distance, detF, distance.ToDouble(), strength.ToDouble())

    /// Accumulates the gradient of the loss in the weights. Chunks beyond the first cost a second forward pass and keep memory flat:
    /// the loss is a function of all summaries, whose cotangents then enter each chunk's own backward pass.
    let internal accumulate (network: SummaryNetwork) kind parameters (chunks: Dual[]) =
        use _ = torch.NewDisposeScope()

        if chunks.Length = 1 then
            let struct (x, dx) = Batch.features network parameters chunks
            let struct (value, detF, lambda, strength) = loss kind x dx
            value.backward ()
            struct (detF, lambda, strength)
        else
            let struct (x, dx) = Batch.evaluate network parameters chunks
            let x, dx = x.requires_grad_ true, dx.requires_grad_ true
            let struct (value, detF, lambda, strength) = loss kind x dx
            value.backward ()
            let gx, gdx = x.grad, dx.grad
            let mutable row = 0L
            let mutable derivativeRow = 0L

            for chunk in chunks do
                use _ = torch.NewDisposeScope()
                let made = network.Evaluate chunk
                let n = made.Primal.shape[0]
                let seen = (made.Primal * gx.narrow (0L, row, n)).sum()

                let total =
                    if isNull made.Tangent then
                        seen
                    else
                        let cotangent = gdx.narrow(0L, derivativeRow, n).reshape made.Tangent.shape
                        derivativeRow <- derivativeRow + n
                        seen + (made.Tangent * cotangent).sum()

                row <- row + n
                total.backward ()

            struct (detF, lambda, strength)

    let private copy (network: SummaryNetwork) =
        network.Parameters
        |> Seq.map (fun struct (_, w) -> w.detach().clone() |> Tensors.keep)
        |> Seq.toArray

    let private forget (saved: struct (float * Tensor[]) voption) =
        match saved with
        | ValueSome(struct (_, weights)) -> weights |> Array.iter _.Dispose()
        | ValueNone -> ()

    let private restore (network: SummaryNetwork) (weights: Tensor[]) =
        use _ = torch.no_grad ()

        Seq.iter2
            (fun struct (_, w: Modules.Parameter) (saved: Tensor) -> w.copy_ saved |> ignore)
            network.Parameters
            weights

    /// Moves an average of weights towards those of the network: an exponential mean over about the last 1/(1 − decay) steps, and over all
    /// of them while there are fewer.
    let private average (network: SummaryNetwork) step (averaged: Tensor[]) =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let decay = min 0.97 (float step / (10.0 + float step))

        Seq.iter2
            (fun struct (_, w: Modules.Parameter) (mean: Tensor) ->
                mean.mul_(decay.ToScalar()).add_(w.detach () * (1.0 - decay).ToScalar())
                |> ignore)
            network.Parameters
            averaged

    let private halves (x: Tensor) =
        let n = x.shape[0] / 2L
        x.narrow (0L, 0L, n), x.narrow (0L, n, x.shape[0] - n)

    /// F of held-out simulations: a closed-form layer is fitted on one half and measured on the other.
    let private heldOutFisher kind (x: Tensor) (dx: Tensor) =
        Tensors.using (fun () ->
            match kind with
            | Regularised _ -> (Fisher.statistics x dx).Fisher
            | ClosedForm ->
                let x1, x2 = halves x
                let dx1, dx2 = halves dx
                let linear = Some(Fisher.bestLinear (Fisher.featureStatistics x1 dx1))
                (Fisher.statistics (Compressor.project linear x2) (Compressor.project linear dx2)).Fisher)

    /// The gradient steps: leaves the weights of the highest held-out det F in the network, the last ones if none was evaluated, and
    /// returns the history and whether it was cancelled before its end.
    let private optimise
        settings
        parameters
        (network: SummaryNetwork)
        (draw: Part -> uint64 -> int -> int -> Dual[])
        heldOutCount
        (clock: Stopwatch)
        =
        let heldOut = draw Validation 0UL heldOutCount heldOutCount
        let weights = network.Parameters |> Seq.map (fun struct (_, w) -> w) |> Seq.toArray
        use optimiser = torch.optim.Adam(weights, settings.LearningRate)
        let history = ResizeArray<TrainingRecord>()
        // steps scatter about where they lead: what is evaluated and kept is their average
        let averaged = copy network
        let mutable best: struct (float * Tensor[]) voption = ValueNone
        let mutable iteration = 0
        let mutable stale = 0

        let cancelled () =
            settings.Progress.Cancellation.IsCancellationRequested

        // a network without weights has nothing to train
        let iterations = if weights.Length = 0 then 0 else settings.MaxIterations

        let unfinished () =
            iteration < iterations
            && (iteration < settings.MinIterations || stale < settings.Patience)

        let highest () =
            match best with
            | ValueSome(struct (value, _)) -> value
            | ValueNone -> -infinity

        while unfinished () && not (cancelled ()) do
            use _ = torch.NewDisposeScope()

            let chunks =
                draw
                    Training
                    (uint64 iteration * uint64 settings.Simulations)
                    settings.Simulations
                    settings.DerivativeSimulations

            let progress = float iteration / float settings.MaxIterations

            for group in optimiser.ParamGroups do
                group.LearningRate <- settings.LearningRate * Math.Min(1.0, Math.Max(0.02, 2.0 * (1.0 - progress)))

            optimiser.zero_grad ()

            let struct (detF, lambda, strength) =
                accumulate network settings.Loss parameters chunks

            if not (Double.IsFinite detF) then
                raise (NonFiniteException($"det F at iteration {iteration}", "a finite number", string detF))

            torch.nn.utils.clip_grad_norm_ (weights, 10.0) |> ignore
            optimiser.step () |> ignore
            iteration <- iteration + 1
            average network iteration averaged

            let evaluated =
                if iteration % settings.EvaluateEvery = 0 || iteration = settings.MaxIterations then
                    let current = copy network
                    restore network averaged
                    let struct (x, dx) = Batch.evaluate network parameters heldOut
                    let held = (heldOutFisher settings.Loss x dx).Determinant()

                    if held > highest () then
                        forget best
                        best <- ValueSome(struct (held, copy network))
                        stale <- 0
                    else
                        stale <- stale + 1

                    restore network current
                    current |> Array.iter _.Dispose()
                    held
                else
                    nan

            history.Add
                { Iteration = iteration
                  DetF = detF
                  Lambda = lambda
                  Strength = strength
                  HeldOutDetF = evaluated
                  Seconds = clock.Elapsed.TotalSeconds }

            let held =
                if highest () > 0.0 then
                    $", held out %.4g{highest ()}"
                else
                    ""

            Progress.report settings.Progress "training" iteration settings.MaxIterations $"det F %.4g{detF}{held}"

        match best with
        | ValueSome(struct (_, saved)) ->
            restore network saved
            forget best
        | ValueNone -> () // what little was learned, and not the initial weights

        averaged |> Array.iter _.Dispose()

        history.ToArray(), unfinished ()

    /// Gives a network the weights that another one of the same kind and shape was trained to; constants that belong to the fiducial point
    /// (where fields end, say) may differ.
    let private startFrom (earlier: Compressor) (network: SummaryNetwork) =
        let rec kinds (description: NetworkDescription) =
            description.Kind :: (description.Parts |> Seq.collect kinds |> List.ofSeq)

        let shape (network: SummaryNetwork) =
            kinds network.Description,
            network.Features,
            [ for struct (name, weight) in network.Parameters -> name, List.ofArray weight.shape ]

        if shape network <> shape earlier.Network then
            let wanted, found = string network.Description, string earlier.Network.Description
            raise (SettingException("network to start from", wanted, found))

        let weights = copy earlier.Network
        restore network weights
        weights |> Array.iter _.Dispose()

    /// Refuses derivatives of summaries dx (m, p, s), of stored simulations, whose mean by a parameter is zero within its error:
    /// Hotelling's T² below what one mean of zero in 10,000 exceeds. Derivatives that belong to other fields come to that.
    let private requireInformation simulator (dx: Tensor) =
        let m, p, s = int dx.shape[0], int dx.shape[1], int dx.shape[2]

        if m >= s + 5 then
            for a in 0 .. p - 1 do
                let rows = Tensors.toMatrix (dx.select (1L, int64 a))
                let mean = rows.ColumnSums() / float m
                let centred = rows.MapIndexed(fun _ j v -> v - mean[j])
                let covariance = centred.TransposeThisAndMultiply centred / float (m - 1)

                // derivatives that do not vary have no error
                if covariance.Diagonal().Minimum() > 1e-10 * mean.DotProduct mean then
                    let t2 = float m * mean.DotProduct(covariance.PseudoInverse() * mean)

                    let f = t2 * float (m - s) / (float s * float (m - 1))
                    let chance = 1.0 - FisherSnedecor.CDF(float s, float (m - s), f)

                    if chance > 1e-4 then
                        raise (
                            SimulatorException(
                                "derivatives of the stored simulations",
                                $"a mean derivative of the summaries by {Simulator.parameter simulator a} that differs from zero, derivative i being of the same seed as field i",
                                $"one that is zero within its error (chance %.2g{chance}): they belong to other fields, or the network sees nothing of the parameter"
                            )
                        )

    /// Runs of the simulator that a training took.
    let private runs settings (source: Source) (network: SummaryNetwork) (history: TrainingRecord[]) measured =
        match settings.Derivatives with
        | Precomputed _ -> source.Count Training + source.Count Validation + source.Count Quoting
        | _ ->
            let all n = source.Runs n n

            let chosen =
                if network.Parameters.Count = 0 then
                    0
                else
                    all (source.Count Validation)

            history.Length * source.Runs settings.Simulations settings.DerivativeSimulations
            + chosen
            + all (measured Fitting)
            + all (measured Quoting)

    /// Trains a network at the fiducial parameters and fits the score estimate, from the weights of an earlier compressor of the same
    /// network where there is one (at another fiducial point nearby, say). The best weights are those of the highest held-out det F;
    /// the F that the compressor quotes is measured on simulations that nothing else has seen.
    /// Cancelling stops training early and still returns a compressor, of the best weights so far, that says it was interrupted.
    /// Before a simulation is spent, Door.training looks at the simulator.
    let trainFrom (earlier: Compressor option) (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) =
        let p = simulator.Parameters.Length

        if fiducial.Length <> p then
            raise (ShapeException("fiducial parameters", $"{p} numbers", $"{fiducial.Length}"))

        let simulator = Simulator.on settings.Device simulator
        let network = networkOn settings.Device settings.Features simulator settings.Seed
        let trained = network.Parameters.Count > 0
        let settings = ImnnSettings.validate trained (int network.Features) settings
        earlier |> Option.iter (fun c -> startFrom c network)
        Door.training simulator settings.Derivatives fiducial settings.Seed
        use _ = torch.NewDisposeScope()
        let fitted = Batch.fit network settings simulator fiducial
        let source = Batch.source network settings simulator fiducial

        match settings.Derivatives with
        | Precomputed _ ->
            Guard.AtLeast("stored simulations for training", int64 settings.Simulations, int64 (source.Count Training))
            |> ignore

            Guard.AtLeast(
                "half of the stored simulations held out",
                2L * (network.Features + 3L),
                int64 (min (source.Count Validation) (source.Count Quoting))
            )
            |> ignore
        | _ -> ()

        let clock = Stopwatch.StartNew()

        let draw part first n derivatives =
            source.Draw part first n derivatives |> Batch.joined network

        let history, interrupted =
            if network.Parameters.Count = 0 then
                [||], false // nothing to train but the closed-form layer
            else
                optimise settings p network draw (source.Count Validation) clock

        // who stopped the training does not want to wait for the full measurement
        let enough part =
            match settings.Derivatives with
            | Precomputed _ -> source.Count part
            | _ when interrupted -> min (max 1000 (int network.Features + 3)) (source.Count part)
            | _ -> source.Count part

        let measure part name =
            let count = enough part

            let parts =
                Tensors.chunks 1000 count
                |> Array.map (fun struct (start, length) ->
                    Progress.report settings.Progress $"measuring F ({name})" start count ""
                    Tensors.scoped2 (fun () -> Batch.evaluate network p (draw part (uint64 start) length length)))

            let x = torch.cat (parts |> Array.map (fun struct (x, _) -> x), 0L)
            let dx = torch.cat (parts |> Array.map (fun struct (_, dx) -> dx), 0L)
            x, dx

        let fitX, fitDx = measure Fitting "statistics"
        let quoteX, quoteDx = measure Quoting "quote"

        let linear =
            match settings.Loss with
            | ClosedForm -> Some(Fisher.bestLinear (Fisher.featureStatistics fitX fitDx))
            | Regularised _ -> None

        match
            linear
            |> Option.bind (fun l -> Seq.tryFindIndex (fun v -> v = 0.0) (l.ColumnNorms 2.0))
        with
        | Some a ->
            raise (
                SimulatorException(
                    $"features of network {network.Description}",
                    "some that change with every parameter",
                    $"none that changes with {Simulator.parameter simulator a}: the network cannot see it"
                )
            )
        | None -> ()

        let statistics x dx =
            Fisher.statistics (Compressor.project linear x) (Compressor.project linear dx)

        let quoted = statistics quoteX quoteDx

        match settings.Derivatives with
        | Precomputed _ -> requireInformation simulator (Compressor.project linear quoteDx)
        | _ -> ()

        { Network = network
          Device = settings.Device
          Parameters = simulator.Parameters
          FieldShape = simulator.FieldShape
          Fiducial = fiducial
          Beside = None
          Linear = linear
          Statistics = statistics fitX fitDx
          Fisher = quoted.Fisher
          QuotedOn = quoted.Simulations
          History = history
          Simulations = fitted + runs settings source network history enough
          Interrupted = interrupted
          Seconds = clock.Elapsed.TotalSeconds
          Notes = Map.empty }

    /// Trains a network from weights of its own: trainFrom without an earlier compressor.
    let train (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) : Compressor =
        trainFrom None settings simulator fiducial
