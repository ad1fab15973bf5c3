namespace FieldImnn

open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random

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

    /// Pilots of a field: what they simulate is part of DELFI's budget.
    let private fewestPilots = 2

    /// The simulations from the prior that DELFI begins with for one field: those of its pilot's first round.
    let plannedDelfi settings prior =
        Abc.planned (pilotSettings settings 0) prior

    /// Pilot posteriors of ABC, and these simulations.
    let private pilots (settings: DelfiSettings) model compression (observed: float[] list) =
        let metric = Compression.metric settings.Seed model.Simulator compression

        let pilot i =
            Abc.pilot
                fewestPilots
                (pilotSettings settings i)
                model.Simulator
                (Compression.summaries compression)
                metric
                model.Prior

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
                        (places |> List.map (Place.draws prior) |> Array.ofList)
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

            let places = piloted |> List.map (fst >> Place.ofPilot model.Prior compression)

            // a prior of dependent parameters has no draws of a part of its own; in a part is nothing unlike the observed fields
            let found =
                if model.Prior.Dependence.IsSome then
                    run places compression model.Prior
                else
                    run places (Compression.alone compression) (Place.around model.Prior places)

            let runs =
                if
                    model.Prior.Dependence.IsNone
                    && found.Posteriors |> Array.exists (fun p -> Place.atEnd places p > 0.01)
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

    /// The amortised neural posterior, learned once from simulations of the prior; from estimates alone (of fields that are unlike the fiducial's, moved away,
    /// it would learn the ring that they make: areas three to five times the exact one).
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

            let compression = Compression.alone compression

            let amortised =
                NeuralPosterior.learn settings model.Simulator (Compression.summaries compression) model.Prior

            [ for field in fields do
                  let x = Compression.ofField compression field
                  let posterior = NeuralPosterior.posterior amortised x

                  { Posterior = posterior
                    Simulations = amortised.Simulations
                    Failed = amortised.Failed
                    Warnings = NeuralPosterior.warnings amortised x posterior } ]
