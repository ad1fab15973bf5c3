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
        /// Those of the inference that failed and were left out.
        Failed: int
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
            let compress = Abc.beside compressor beside
            compress, (fun seed -> Abc.metric seed problem.Simulator compressor compress)

    /// The summaries of one field (shape…).
    let summarise (compress: Tensor -> float[][]) (field: Tensor) =
        Tensors.using (fun () -> (compress (field.unsqueeze 0L))[0])

    /// The name, the posteriors of fields (shape…) by a method, and the simulations each took beyond the compressor's, with those that failed. DELFI and neural
    /// posteriors learn once for all fields.
    let posteriors method (problem: Problem) compressor (fields: Tensor list) =
        let compress, metric = summaries problem compressor
        let observed = fields |> List.map (summarise compress)

        match method with
        | GaussianMethod ->
            let about field =
                GaussianApproximation.posterior problem.Prior (Compressor.estimate compressor field) compressor.Fisher

            "gaussian", fields |> List.map (fun field -> about field, 0, 0)
        | AbcMethod settings ->
            let metric = metric settings.Seed

            let infer x =
                let result = Abc.run settings problem.Simulator compress metric problem.Prior x

                result.Posterior, result.Simulations, result.Failed

            "abc", List.map infer observed
        | PmcMethod settings ->
            let metric = metric settings.Seed

            let infer x =
                let result =
                    PopulationMonteCarlo.run settings problem.Simulator compress metric problem.Prior x

                result.Posterior, result.Simulations, result.Failed

            "pmc", List.map infer observed
        | DelfiMethod settings ->
            let targets = observed |> List.map Array.singleton |> Array.ofList

            let result = Delfi.run settings problem.Simulator compress problem.Prior targets

            "delfi", [ for p in result.Posteriors -> p, result.Simulations, result.Failed ]
        | NpeMethod settings ->
            let amortised =
                NeuralPosterior.learn settings problem.Simulator compress problem.Prior

            "npe",
            observed
            |> List.map (fun x -> NeuralPosterior.posterior amortised x, amortised.Simulations, amortised.Failed)

    /// The posteriors of fields (shape…) by a method, each with the exact one.
    let inferAll method (problem: Problem) compressor (fields: Tensor list) =
        let name, found = posteriors method problem compressor fields

        List.map2
            (fun field (posterior, used, failed) ->
                let exact = ExactAnswer.posterior problem.Exact problem.Prior field

                { Method = name
                  Estimate = Compressor.estimate compressor field
                  Posterior = posterior
                  Exact = exact
                  AreaRatio = Posterior.area posterior / Posterior.area exact
                  FisherRetained = Fisher.retained compressor.Fisher (problem.Exact.Fisher compressor.Fiducial)
                  Simulations = compressor.Simulations + used
                  Failed = failed })
            fields
            found

    /// The posterior of one field (shape…) by a method, with the exact one.
    let infer method problem compressor field =
        inferAll method problem compressor [ field ] |> List.head
