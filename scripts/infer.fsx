// From an observed field of one of the paper's problems to its posterior, with the exact one beside it; or, with --simulations, from a set of
// simulations made elsewhere (docs/simulations.md).
// dotnet fsi scripts/infer.fsx -- --help
// dotnet fsi scripts/infer.fsx --simulations PATH -- --help
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

let ofProblem () =
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

let infer () =
    if StoredInference.isAsked fsi.CommandLineArgs then
        let arguments = fsi.CommandLineArgs[1..] |> Array.filter ((<>) "--")
        StoredInference.runCommand "dotnet fsi scripts/infer.fsx" arguments
    else
        ofProblem ()

exit (CommandLine.guarded infer)
