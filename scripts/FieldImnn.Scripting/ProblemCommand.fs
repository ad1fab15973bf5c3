namespace FieldImnn

open Argu

/// What only the paper's problems have; all else is their command's.
[<DisableHelpFlags>]
type ProblemArguments =
    | Problem of string
    | Modes of string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Problem _ ->
                "the field's model: power-law (default), dark-matter, or correlated-log-normal (20 × 20; --modes has no effect on it)."
            | Modes _ ->
                "ideal (default), a Gaussian random field, or published, the original authors' simulator to the letter."

/// Commands for the paper's problems, which --problem and --modes name.
module ProblemCommand =
    /// Runs a command from a script's command line (the script's name first).
    let run (work: InferCommand -> string[] -> unit) (arguments: string[]) =
        let script = $"dotnet fsi {arguments[0]}"

        let parser =
            ArgumentParser.Create<ProblemArguments>(programName = $"{script} [--problem NAME] [--modes NAME]")

        let chosen = parser.Parse(arguments[1..], ignoreUnrecognized = true)
        let name = chosen.GetResult(Problem, "power-law")
        let modes = chosen.GetResult(Modes, "ideal")
        let problem = Catalogue.problem name (Catalogue.modes modes)

        if List.contains "--help" chosen.UnrecognizedCliParams then
            printfn $"{parser.PrintUsage(hideSyntax = true)}"

        work
            { CommandLine.command problem.Model problem.Recipe with
                Notes = [ "problem", problem.Simulator.Name; "modes", modes ]
                Example = Some problem.Example
                Program = $"{script} --problem {name} --modes {modes}" }
            (Array.ofList chosen.UnrecognizedCliParams)
