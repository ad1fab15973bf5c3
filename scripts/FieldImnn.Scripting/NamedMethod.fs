namespace FieldImnn

open FieldImnn.Core

/// Methods by name, as the command line asks for them.
module NamedMethod =
    /// Names of the methods.
    let names = [ "abc"; "delfi"; "pmc"; "npe"; "gaussian" ]

    let private some quick full = if quick then full * 3 / 10 else full

    let private simulations folder progress =
        { SimulationSettings.Default with
            Folder = folder
            Progress = progress }

    let private abc quick seed simulations =
        { AbcSettings.Default with
            Seed = seed
            Simulations = simulations
            Budget = some quick AbcSettings.Default.Budget }

    let private pmc quick seed simulations =
        { PmcSettings.Default with
            Seed = seed
            Simulations = simulations
            Budget = some quick PmcSettings.Default.Budget }

    let private delfi quick seed simulations =
        { DelfiSettings.Default with
            Seed = seed
            Simulations = simulations
            Rounds = DelfiSettings.Default.Rounds |> List.map (some quick) }

    let private npe quick seed simulations =
        { NpeSettings.Default with
            Seed = seed
            Simulations = simulations
            Budget = some quick NpeSettings.Default.Budget }

    let private unknown name =
        raise (SettingException("method", String.concat ", " names, name))

    /// The method of a name with its default settings, or with fewer simulations for a quick look. Finished simulations are kept in
    /// the folder, from which the same run, started again after a stop, goes on.
    let create name quick seed progress folder : Method =
        let simulations = simulations folder progress

        match name with
        | "abc" -> Method.abc (abc quick seed simulations)
        | "pmc" -> Method.pmc (pmc quick seed simulations)
        | "delfi" -> Method.delfi (delfi quick seed simulations)
        | "npe" -> Method.npe (npe quick seed simulations)
        | "gaussian" -> Method.gaussian
        | other -> unknown other

    /// The simulations from the prior that the method of a name begins with.
    let planned name quick seed (prior: Prior) : PlannedSimulations list =
        let simulations = simulations None Progress.silent

        match name with
        | "abc" -> [ Abc.planned (abc quick seed simulations) prior ]
        | "pmc" -> [ PopulationMonteCarlo.planned (pmc quick seed simulations) prior ]
        | "delfi" -> [ Method.plannedDelfi (delfi quick seed simulations) prior ]
        | "npe" -> [ NeuralPosterior.planned (npe quick seed simulations) prior ]
        | "gaussian" -> []
        | other -> unknown other
