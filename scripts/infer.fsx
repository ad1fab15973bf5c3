// From an observed field of one of the paper's problems to its posterior, with the exact one beside it.
// dotnet fsi scripts/infer.fsx -- --help
#load "load.fsx"

open Argu
open FieldImnn

/// What only the paper's problems have; all else is CommandLine's.
[<DisableHelpFlags>]
type Arguments =
    | Problem of string
    | Modes of string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Problem _ ->
                "the field's model: power-law (default), dark-matter, or correlated-log-normal (20 × 20; --modes has no effect on it)."
            | Modes _ ->
                "ideal (default), a Gaussian random field, or published, the original authors' simulator to the letter."

let program = "dotnet fsi scripts/infer.fsx [--problem NAME] [--modes NAME]"
let parser = ArgumentParser.Create<Arguments>(programName = program)

let infer () =
    let chosen = parser.Parse(fsi.CommandLineArgs[1..], ignoreUnrecognized = true)
    let modes = chosen.GetResult(Modes, "ideal")

    let problem =
        Catalogue.problem (chosen.GetResult(Problem, "power-law")) (Catalogue.modes modes)

    if List.contains "--help" chosen.UnrecognizedCliParams then
        printfn $"{parser.PrintUsage(hideSyntax = true)}"

    CommandLine.runCommand
        { CommandLine.command problem.Model problem.Recipe with
            Notes = [ "problem", problem.Simulator.Name; "modes", modes ]
            Example = Some problem.Example
            Program = program }
        (Array.ofList chosen.UnrecognizedCliParams)

exit (CommandLine.guarded infer)
