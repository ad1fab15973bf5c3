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
            AbcMethod
                { AbcSettings.Default with
                    Seed = seed
                    Progress = progress
                    Folder = folder
                    Simulations = some AbcSettings.Default.Simulations }
        | "pmc" ->
            PmcMethod
                { PmcSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Budget = some PmcSettings.Default.Budget }
        | "delfi" ->
            DelfiMethod
                { DelfiSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Rounds = DelfiSettings.Default.Rounds |> List.map some }
        | "npe" ->
            NpeMethod
                { NpeSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Count = some NpeSettings.Default.Count }
        | "gaussian" -> GaussianMethod
        | other -> raise (SettingException("method", String.concat ", " names, other))

/// From an observed field to posteriors.
module FieldInference =
    /// The name, the posterior of one field (shape…) by a method, and the simulations it took beyond the compressor's. Inference by
    /// simulation works on the estimates and what the problem wants beside them.
    let posterior method (problem: Problem) compressor (field: Tensor) =
        let compress, metric =
            match problem.Beside with
            | None -> Compressor.estimates compressor, (fun _ -> compressor.Fisher)
            | Some beside ->
                let compress = Abc.beside compressor beside
                compress, (fun seed -> Abc.metric seed problem.Simulator compressor compress)

        let observed = Tensors.using (fun () -> (compress (field.unsqueeze 0L))[0])

        match method with
        | GaussianMethod ->
            let estimate = Compressor.estimate compressor field
            "gaussian", GaussianApproximation.posterior problem.Prior estimate compressor.Fisher, 0
        | AbcMethod settings ->
            let metric = metric settings.Seed

            let result =
                Abc.run settings problem.Simulator compress metric problem.Prior observed

            "abc", result.Posterior, result.Simulations
        | PmcMethod settings ->
            let metric = metric settings.Seed

            let result =
                PopulationMonteCarlo.run settings problem.Simulator compress metric problem.Prior observed

            "pmc", result.Posterior, result.Simulations
        | DelfiMethod settings ->
            let result =
                Delfi.run settings problem.Simulator compress problem.Prior [| [| observed |] |]

            "delfi", result.Posteriors[0], result.Simulations
        | NpeMethod settings ->
            let amortised =
                NeuralPosterior.learn settings problem.Simulator compress problem.Prior

            "npe", NeuralPosterior.posterior amortised observed, amortised.Simulations

    /// The posterior of one field (shape…) by a method, with the exact one.
    let infer method (problem: Problem) compressor (field: Tensor) =
        let name, posterior, used = posterior method problem compressor field
        let exact = ExactAnswer.posterior problem.Exact problem.Prior field

        { Method = name
          Estimate = Compressor.estimate compressor field
          Posterior = posterior
          Exact = exact
          AreaRatio = Posterior.area posterior / Posterior.area exact
          FisherRetained = Fisher.retained compressor.Fisher (problem.Exact.Fisher compressor.Fiducial)
          Simulations = compressor.Simulations + used }
