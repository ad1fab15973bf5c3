namespace FieldImnn

open FieldImnn.Core

/// How a posterior is made from a score estimate.
type InferenceMethod =
    | GaussianMethod
    | AbcMethod of AbcSettings
    | PmcMethod of PmcSettings
    | DelfiMethod of DelfiSettings
    | NpeMethod of NpeSettings

/// A posterior from a compressed field beside the exact one.
type InferenceResult =
    {
        Method: string
        Estimate: float[]
        Posterior: Posterior
        Exact: Posterior
        /// Area over the exact area: 1 where nothing was lost.
        AreaRatio: float
        /// det F of the compressor over the exact det F at its fiducial.
        FisherRetained: float
        /// Simulations used, training included.
        Simulations: int
        /// What must be known before the posterior is trusted.
        Warnings: Warning list
        /// Those of the inference that failed and were left out.
        Failed: int
    }

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

/// Methods by name, as the command line asks for them.
module InferenceMethod =
    /// Names of the methods.
    let names = [ "abc"; "delfi"; "pmc"; "npe"; "gaussian" ]

    /// The method of a name with its default settings, or with fewer simulations for a quick look. Finished simulations are kept in
    /// the folder, from which the same run, started again after a stop, goes on.
    let create name quick seed progress folder =
        let some full = if quick then full * 3 / 10 else full

        let simulations =
            { SimulationSettings.Default with
                Folder = folder
                Progress = progress }

        match name with
        | "abc" ->
            let settings = AbcSettings.Default

            AbcMethod
                { settings with
                    Seed = seed
                    Simulations = simulations
                    Budget = some settings.Budget }
        | "pmc" ->
            let settings = PmcSettings.Default

            PmcMethod
                { settings with
                    Seed = seed
                    Simulations = simulations
                    Budget = some settings.Budget }
        | "delfi" ->
            let settings = DelfiSettings.Default

            DelfiMethod
                { settings with
                    Seed = seed
                    Simulations = simulations
                    Rounds = settings.Rounds |> List.map some }
        | "npe" ->
            let settings = NpeSettings.Default

            NpeMethod
                { settings with
                    Seed = seed
                    Simulations = simulations
                    Budget = some settings.Budget }
        | "gaussian" -> GaussianMethod
        | other -> raise (SettingException("method", String.concat ", " names, other))

/// From observed fields to posteriors.
module FieldInference =
    /// What inference by simulation compares: the estimates and what the problem wants beside them, fields (n, shape…) → rows; and, for a
    /// seed, the metric of their distance.
    let summaries (problem: Problem) compressor =
        match problem.Beside with
        | None -> Compressor.estimates compressor, (fun _ -> compressor.Fisher)
        | Some beside ->
            let compress = Abc.beside compressor beside.Summaries
            compress, (fun seed -> Abc.metric seed problem.Simulator compressor compress)

    /// The edges of these summaries: those of what stands behind the estimates.
    let edges (problem: Problem) =
        [ for edge in problem.Beside |> Option.map _.Edges |> Option.defaultValue [] ->
              { edge with
                  Summary = edge.Summary + problem.Fiducial.Length } ]

    /// The summaries of one field (shape…).
    let summarise (compress: Tensor -> float[][]) (field: Tensor) =
        Tensors.using (fun () -> (compress (field.unsqueeze 0L))[0])

    /// Where a compressor places fields (n, shape…): rows of θ. The estimates; where these do not hold enough, the mean of a posterior
    /// from a few simulations.
    let locate seed (problem: Problem) compressor (fields: Tensor) : float[][] =
        match problem.Beside with
        | None -> Compressor.estimates compressor fields
        | Some _ ->
            let compress, metric = summaries problem compressor
            let metric = metric seed

            let settings =
                { AbcSettings.Default with
                    Budget = 4000
                    Seed = seed }

            Tensors.using (fun () -> compress fields)
            |> Array.map (fun x ->
                let found, _ = Abc.pilot settings problem.Simulator compress metric problem.Prior x
                Posterior.mean found)

    /// Half the width, in sds of a pilot's posterior, of the part of the prior in which DELFI looks for the posterior.
    let private reach = 8.0

    /// The part of the prior that pilot posteriors reach.
    let private around (prior: Prior) (pilots: Posterior list) =
        let ends pick extreme =
            pilots
            |> List.map (fun p -> Array.map2 pick (Posterior.mean p) (Posterior.sd p))
            |> List.reduce (Array.map2 extreme)

        let low = ends (fun m s -> m - reach * s) min
        let high = ends (fun m s -> m + reach * s) max
        Prior.within (Array.zip low high) prior

    /// The part of a posterior's probability that lies near faces of its prior which are not faces of the whole one.
    let private atFaces (prior: Prior) (part: Prior) (posterior: Posterior) =
        let near (theta: float[]) =
            Array.map3
                (fun (lo, hi) (a, b) v -> (a > lo && v < a + 0.02 * (b - a)) || (b < hi && v > b - 0.02 * (b - a)))
                (Prior.bounds prior)
                (Prior.bounds part)
                theta
            |> Array.exists id

        Array.map2 (fun theta w -> if near theta then w else 0.0) posterior.Samples posterior.Weights
        |> Array.sum

    /// DELFI in the part of the prior that a pilot of ABC leaves to each field, so that no simulation and no flow is spent on what is
    /// far from all of them; in the whole prior if a posterior reaches the end of that part.
    let private delfi (settings: DelfiSettings) (problem: Problem) compress metric (observed: float[] list) =
        let settings =
            { settings with
                Estimator =
                    { settings.Estimator with
                        Edges = edges problem } }

        let run prior =
            Delfi.run settings problem.Simulator compress prior (observed |> List.map Array.singleton |> Array.ofList)

        let pilots =
            observed
            |> List.map (
                Abc.pilot
                    { AbcSettings.Default with
                        Budget = 4 * List.sum settings.Rounds / settings.Rounds.Length
                        Simulations = settings.Simulations
                        Seed = settings.Seed }
                    problem.Simulator
                    compress
                    metric
                    problem.Prior
            )

        let first = pilots |> List.collect snd
        let part = around problem.Prior (List.map fst pilots)
        let found = run part

        let runs =
            if found.Posteriors |> Array.exists (fun p -> atFaces problem.Prior part p > 0.01) then
                [ run problem.Prior; found ]
            else
                [ found ]

        [ for p, warnings in Array.zip runs.Head.Posteriors runs.Head.Warnings ->
              { Posterior =
                  { p with
                      Bounds = Prior.bounds problem.Prior }
                Simulations = (runs |> List.sumBy _.Simulations) + (first |> List.sumBy _.Made)
                Failed = (runs |> List.sumBy _.Failed) + (first |> List.sumBy _.Failed)
                Warnings = warnings } ]

    /// The name of a method, and what it makes of fields (shape…), with the simulations beyond the compressor's. DELFI and neural
    /// posteriors learn once for all fields.
    let posteriors method (problem: Problem) compressor (fields: Tensor list) =
        let compress, metric = summaries problem compressor
        let observed = fields |> List.map (summarise compress)

        match method with
        | GaussianMethod ->
            let about field =
                let estimate = Compressor.estimate compressor field

                let posterior =
                    GaussianApproximation.posterior problem.Prior estimate compressor.Fisher

                { Posterior = posterior
                  Simulations = 0
                  Failed = 0
                  Warnings = Misfit.ofApproximation estimate compressor.Fisher posterior }

            "gaussian", fields |> List.map about
        | AbcMethod settings ->
            let metric = metric settings.Seed

            let infer x =
                let result = Abc.run settings problem.Simulator compress metric problem.Prior x

                { Posterior = result.Posterior
                  Simulations = result.Simulations
                  Failed = result.Failed
                  Warnings = result.Warnings }

            "abc", List.map infer observed
        | PmcMethod settings ->
            let metric = metric settings.Seed

            let infer x =
                let result =
                    PopulationMonteCarlo.run settings problem.Simulator compress metric problem.Prior x

                { Posterior = result.Posterior
                  Simulations = result.Simulations
                  Failed = result.Failed
                  Warnings = result.Warnings }

            "pmc", List.map infer observed
        | DelfiMethod settings -> "delfi", delfi settings problem compress (metric settings.Seed) observed
        | NpeMethod _ when problem.Beside.IsSome ->
            raise (
                NotServedException(
                    $"neural posterior of {problem.Simulator.Name}",
                    "summaries that serve the whole prior; abc, pmc and delfi train where the field is",
                    "estimates that hold near their fiducial only, and beside them an edge, which no flow over θ can follow"
                )
            )
        | NpeMethod settings ->
            let amortised =
                NeuralPosterior.learn settings problem.Simulator compress problem.Prior

            "npe",
            observed
            |> List.map (fun x ->
                let posterior = NeuralPosterior.posterior amortised x

                { Posterior = posterior
                  Simulations = amortised.Simulations
                  Failed = amortised.Failed
                  Warnings = NeuralPosterior.warnings amortised x posterior })

    /// The posteriors of fields (shape…) by a method, each with the exact one.
    let inferAll method (problem: Problem) compressor (fields: Tensor list) =
        let name, found = posteriors method problem compressor fields

        List.map2
            (fun field (one: Inferred) ->
                let exact = ExactAnswer.posterior problem.Exact problem.Prior field

                { Method = name
                  Estimate = Compressor.estimate compressor field
                  Posterior = one.Posterior
                  Exact = exact
                  AreaRatio = Posterior.area one.Posterior / Posterior.area exact
                  FisherRetained = Fisher.retained compressor.Fisher (problem.Exact.Fisher compressor.Fiducial)
                  Simulations = compressor.Simulations + one.Simulations
                  Warnings = one.Warnings
                  Failed = one.Failed })
            fields
            found

    /// The posterior of one field (shape…) by a method, with the exact one.
    let infer method problem compressor field =
        inferAll method problem compressor [ field ] |> List.head
