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

/// From observed fields to posteriors.
module FieldInference =
    /// The name, the posteriors of fields (shape…) by a method, and the simulations each took beyond the compressor's. Inference by
    /// simulation works on the estimates and what the problem wants beside them; DELFI and neural posteriors learn once for all fields.
    let posteriors method (problem: Problem) compressor (fields: Tensor list) =
        let compress, metric =
            match problem.Beside with
            | None -> Compressor.estimates compressor, (fun _ -> compressor.Fisher)
            | Some beside ->
                let compress = Abc.beside compressor beside
                compress, (fun seed -> Abc.metric seed problem.Simulator compressor compress)

        let observed =
            fields
            |> List.map (fun field -> Tensors.using (fun () -> (compress (field.unsqueeze 0L))[0]))

        match method with
        | GaussianMethod ->
            let about field =
                GaussianApproximation.posterior problem.Prior (Compressor.estimate compressor field) compressor.Fisher

            "gaussian", fields |> List.map (fun field -> about field, 0)
        | AbcMethod settings ->
            let metric = metric settings.Seed

            let infer x =
                let result = Abc.run settings problem.Simulator compress metric problem.Prior x

                result.Posterior, result.Simulations

            "abc", List.map infer observed
        | PmcMethod settings ->
            let metric = metric settings.Seed

            let infer x =
                let result =
                    PopulationMonteCarlo.run settings problem.Simulator compress metric problem.Prior x

                result.Posterior, result.Simulations

            "pmc", List.map infer observed
        | DelfiMethod settings ->
            let targets = observed |> List.map Array.singleton |> Array.ofList

            let result = Delfi.run settings problem.Simulator compress problem.Prior targets

            "delfi", [ for p in result.Posteriors -> p, result.Simulations ]
        | NpeMethod settings ->
            let amortised =
                NeuralPosterior.learn settings problem.Simulator compress problem.Prior

            "npe",
            observed
            |> List.map (fun x -> NeuralPosterior.posterior amortised x, amortised.Simulations)

    /// The posteriors of fields (shape…) by a method, each with the exact one.
    let inferAll method (problem: Problem) compressor (fields: Tensor list) =
        let name, found = posteriors method problem compressor fields

        List.map2
            (fun field (posterior, used) ->
                let exact = ExactAnswer.posterior problem.Exact problem.Prior field

                { Method = name
                  Estimate = Compressor.estimate compressor field
                  Posterior = posterior
                  Exact = exact
                  AreaRatio = Posterior.area posterior / Posterior.area exact
                  FisherRetained = Fisher.retained compressor.Fisher (problem.Exact.Fisher compressor.Fiducial)
                  Simulations = compressor.Simulations + used })
            fields
            found

    /// The posterior of one field (shape…) by a method, with the exact one.
    let infer method problem compressor field =
        inferAll method problem compressor [ field ] |> List.head
