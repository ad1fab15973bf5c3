namespace FieldImnn

open FieldImnn.Core

/// Methods by name, as the command line asks for them.
module NamedMethod =
    /// Names of the methods.
    let names = [ "abc"; "delfi"; "pmc"; "npe"; "gaussian" ]

    /// The method of a name with its default settings, or with fewer simulations for a quick look. Finished simulations are kept in
    /// the folder, from which the same run, started again after a stop, goes on.
    let create name quick seed progress folder : Method =
        let some full = if quick then full * 3 / 10 else full

        let simulations =
            { SimulationSettings.Default with
                Folder = folder
                Progress = progress }

        match name with
        | "abc" ->
            Method.abc
                { AbcSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Budget = some AbcSettings.Default.Budget }
        | "pmc" ->
            Method.pmc
                { PmcSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Budget = some PmcSettings.Default.Budget }
        | "delfi" ->
            Method.delfi
                { DelfiSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Rounds = DelfiSettings.Default.Rounds |> List.map some }
        | "npe" ->
            Method.npe
                { NpeSettings.Default with
                    Seed = seed
                    Simulations = simulations
                    Budget = some NpeSettings.Default.Budget }
        | "gaussian" -> Method.gaussian
        | other -> raise (SettingException("method", String.concat ", " names, other))
