namespace FieldImnn

open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// What a method made of one field.
type Inferred =
    {
        Posterior: Posterior
        /// Simulations used beyond the compressor's.
        Simulations: int
        /// Those that failed and were left out.
        Failed: int
        /// What must be known before the posterior is trusted.
        Warnings: Warning list
    }

/// From a model, a compression of its fields and observed fields (shape…) to their posteriors, in this order: the methods here, or one
/// of your own.
type Method = Model -> Compression -> Tensor list -> Inferred list

/// The methods.
module Method =
    /// The Gaussian approximation: the estimate and F⁻¹ of the fiducial, cut to the prior. No simulation is made.
    let gaussian: Method =
        fun model compression fields ->
            [ for field in fields do
                  let estimate =
                      Tensors.using (fun () -> (compression.Estimates(field.unsqueeze 0L))[0])

                  let posterior =
                      GaussianApproximation.posterior model.Prior estimate compression.Information

                  { Posterior = posterior
                    Simulations = 0
                    Failed = 0
                    Warnings = Misfit.ofApproximation estimate compression.Information posterior } ]

    /// Rejection ABC, for each field by itself.
    let abc (settings: AbcSettings) : Method =
        fun model compression fields ->
            let metric = Compression.metric settings.Seed model.Simulator compression
            let compress = Compression.summaries compression

            [ for field in fields do
                  let result =
                      Abc.run
                          settings
                          model.Simulator
                          compress
                          metric
                          model.Prior
                          (Compression.ofField compression field)

                  { Posterior = result.Posterior
                    Simulations = result.Simulations
                    Failed = result.Failed
                    Warnings = result.Warnings } ]

    /// Population Monte Carlo, for each field by itself.
    let pmc (settings: PmcSettings) : Method =
        fun model compression fields ->
            let metric = Compression.metric settings.Seed model.Simulator compression
            let compress = Compression.summaries compression

            [ for field in fields do
                  let result =
                      Compression.ofField compression field
                      |> PopulationMonteCarlo.run settings model.Simulator compress metric model.Prior

                  { Posterior = result.Posterior
                    Simulations = result.Simulations
                    Failed = result.Failed
                    Warnings = result.Warnings } ]

    /// How far from a pilot's posterior, in its sds along any direction, DELFI looks for a posterior.
    let private reach = 8.0

    /// How many times as wide as a pilot's posterior half of DELFI's first round is drawn.
    let private widen = 2.0

    /// Where a posterior is, roughly: its mean and covariance.
    type private Place =
        { Mean: float[]
          Covariance: Matrix<float> }

    /// A covariance that is nowhere less than a least one: few draws may leave a direction out.
    let private atLeast (least: Matrix<float>) (covariance: Matrix<float>) =
        let root = least.Cholesky().Factor
        let inverse = root.Inverse()
        let own = inverse * covariance * inverse.Transpose()
        let split = (0.5 * (own + own.Transpose())).Evd(Symmetricity.Symmetric)
        let back = root * split.EigenVectors

        let scales =
            Matrix<float>.Build.DenseOfDiagonalVector(split.EigenValues.Map(fun v -> max 1.0 v.Real))

        let wider = back * scales * back.Transpose()
        0.5 * (wider + wider.Transpose())

    /// The place of a pilot's posterior, no less wide than what the compression and the prior together leave open where it was trained.
    let private placeOf (prior: Prior) compression pilot =
        let known =
            Prior.width prior
            |> Array.map (fun w -> 1.0 / (w * w))
            |> Matrix<float>.Build.DenseOfDiagonalArray

        let least =
            Matrices.inverse "information of the compression and the prior" (compression.Information + known)

        let covariance = Posterior.covariance pilot

        { Mean = Posterior.mean pilot
          // the information is the estimates': an edge beside them may tell far more
          Covariance =
            (if compression.Further.IsSome then
                 covariance
             else
                 atLeast least covariance) }

    /// The distance of θ from the nearest of places, in their sds: √[(θ − mean)ᵀ C⁻¹ (θ − mean)].
    let private distance (places: Place list) =
        let each =
            [ for p in places -> p.Mean, Matrices.generalisedInverse "covariance of a pilot's posterior" p.Covariance ]

        fun (theta: float[]) ->
            each
            |> List.map (fun (mean, precision) -> sqrt (max 0.0 (Matrices.squaredDistance precision theta mean)))
            |> List.min

    /// Draws of the box about the part that places reach, and how many of them must lie in it for the part to be drawn from by rejection.
    let private tried = 2000

    let private least = 20

    /// The part of the prior that places reach: within so many of their sds in every direction; where that is too little of the box
    /// about it to be drawn from, as of many parameters, the box.
    let private around (prior: Prior) (places: Place list) =
        let ends pick extreme =
            places
            |> List.map (fun p -> Array.map2 pick p.Mean (p.Covariance.Diagonal().PointwiseSqrt().ToArray()))
            |> List.reduce (Array.map2 extreme)

        let low = ends (fun m s -> m - reach * s) min
        let high = ends (fun m s -> m + reach * s) max
        let box = Prior.within (Array.zip low high) prior
        let distance = distance places
        let near theta = distance theta <= reach
        let inside = Prior.sample 1 0L tried box |> Array.filter near

        if inside.Length < least then box else Prior.where near box

    /// The part of a posterior's probability that lies near the end of the part of the prior in which it was looked for.
    let private atEnd (places: Place list) (posterior: Posterior) =
        let distance = distance places

        Array.map2 (fun theta w -> if distance theta > 0.9 * reach then w else 0.0) posterior.Samples posterior.Weights
        |> Array.sum

    /// Settings of the pilot of field i: as many simulations as half a round of DELFI's. A field's pilots are its own, and are kept apart from those
    /// of the others.
    let private pilotSettings (settings: DelfiSettings) i =
        { AbcSettings.Default with
            Budget = 4 * List.sum settings.Rounds / settings.Rounds.Length
            Simulations =
                { settings.Simulations with
                    Folder =
                        settings.Simulations.Folder
                        |> Option.map (fun f -> Path.Combine(f, $"field {i + 1}")) }
            Seed =
                if i = 0 then
                    settings.Seed
                else
                    NoiseKey.SeedFor(settings.Seed, $"pilot {i}") }

    /// The simulations from the prior that DELFI begins with for one field: those of its pilot's first round.
    let plannedDelfi settings prior =
        Abc.planned (pilotSettings settings 0) prior

    /// Pilot posteriors of ABC, and these simulations.
    let private pilots (settings: DelfiSettings) model compression (observed: float[] list) =
        let metric = Compression.metric settings.Seed model.Simulator compression

        let pilot i =
            Abc.pilot (pilotSettings settings i) model.Simulator (Compression.summaries compression) metric model.Prior

        observed |> List.mapi pilot

    /// Sequential neural likelihood, learned once for all fields, in the part of the prior that a pilot of ABC leaves to them, so that no
    /// simulation and no flow is spent on what is far from all: half of the first round is drawn about the pilots' posteriors. In the whole prior
    /// if a posterior reaches the end of that part.
    let delfi (settings: DelfiSettings) : Method =
        fun model compression fields ->
            let settings =
                { settings with
                    Estimator =
                        { settings.Estimator with
                            Edges = compression.Edges } }

            let run places compression prior =
                let found =
                    Delfi.runAbout
                        [| for place in places ->
                               fun seed n -> Abc.about seed prior n place.Mean (widen * widen * place.Covariance) |]
                        settings
                        model.Simulator
                        (Compression.summaries compression)
                        prior
                        (fields
                         |> List.map (Compression.ofField compression >> Array.singleton)
                         |> Array.ofList)

                (found.Likelihood :> System.IDisposable).Dispose()
                found

            let piloted =
                fields
                |> List.map (Compression.ofField compression)
                |> pilots settings model compression

            let first = piloted |> List.collect snd

            let places = piloted |> List.map (fst >> placeOf model.Prior compression)

            // a prior of dependent parameters has no draws of a part of its own; in a part is nothing unlike the observed fields
            let found =
                if model.Prior.Dependence.IsSome then
                    run places compression model.Prior
                else
                    run places (Compression.alone compression) (around model.Prior places)

            let runs =
                if
                    model.Prior.Dependence.IsNone
                    && found.Posteriors |> Array.exists (fun p -> atEnd places p > 0.01)
                then
                    [ run [] compression model.Prior; found ]
                else
                    [ found ]

            [ for p, warnings in Array.zip runs.Head.Posteriors runs.Head.Warnings ->
                  { Posterior =
                      { p with
                          Bounds = Prior.bounds model.Prior }
                    Simulations = (runs |> List.sumBy _.Simulations) + (first |> List.sumBy _.Made)
                    Failed = (runs |> List.sumBy _.Failed) + (first |> List.sumBy _.Failed)
                    Warnings = warnings } ]

    /// The amortised neural posterior, learned once from simulations of the prior.
    let npe (settings: NpeSettings) : Method =
        fun model compression fields ->
            if compression.Further.IsSome then
                raise (
                    NotServedException(
                        $"neural posterior of {model.Simulator.Name}",
                        "summaries that serve the whole prior; abc, pmc and delfi train where the field is",
                        "estimates that hold near their fiducial only, and beside them an edge, which no flow over θ can follow"
                    )
                )

            let amortised =
                NeuralPosterior.learn settings model.Simulator (Compression.summaries compression) model.Prior

            [ for field in fields do
                  let x = Compression.ofField compression field
                  let posterior = NeuralPosterior.posterior amortised x

                  { Posterior = posterior
                    Simulations = amortised.Simulations
                    Failed = amortised.Failed
                    Warnings = NeuralPosterior.warnings amortised x posterior } ]
