// From an observed field of one of the house's problems to its posterior, with the exact one beside it where it is known; or, with --simulations, from a set of
// simulations made elsewhere (docs/simulations.md).
// dotnet fsi scripts/infer.fsx -- --help
// dotnet fsi scripts/infer.fsx --simulations PATH -- --help
#load "load.fsx"

open Argu
open FieldImnn

/// What only the house's problems have; all else is CommandLine's.
[<DisableHelpFlags>]
type Arguments =
    | Problem of string
    | Modes of string
    | Pixels of int
    | Shifts of string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Problem _ ->
                "the field's model: power-law (default), dark-matter, correlated-log-normal (20 × 20; --modes has no effect on it), lensing (five log-normal maps of 256 × 256, six parameters), or lensing-gaussian (Gaussian maps of the same spectra, whose exact answer is known; ideal modes)."
            | Modes _ ->
                "ideal (default), a Gaussian random field, or published, the original authors' simulator to the letter."
            | Pixels _ -> "pixels a side of lensing maps, on the same 10° (default 256; 64 for a first look)."
            | Shifts _ ->
                "the authors' table of the shifts of log-normal convergence, .npy (Ω_m, σ8, w0, bins, 5), instead of those of an empty beam; published lensing maps need it."

let program = "dotnet fsi scripts/infer.fsx [--problem NAME] [--modes NAME]"
let parser = ArgumentParser.Create<Arguments>(programName = program)

let ofProblem () =
    let chosen = parser.Parse(fsi.CommandLineArgs[1..], ignoreUnrecognized = true)
    let modes = chosen.GetResult(Modes, "ideal")

    let name, convention = chosen.GetResult(Problem, "power-law"), Catalogue.modes modes

    let survey = WeakLensing.survey (chosen.GetResult(Pixels, 256))

    let problem =
        match name, chosen.TryGetResult Shifts with
        | "lensing", Some file ->
            let table = Npy.read file

            WeakLensing.tableOfShifts (Array.map int64 table.Shape) table.Data
            |> Tabulated
            |> WeakLensing.create survey convention
        | "lensing", None when convention = FieldImnn.Core.Fields.ModeConvention.Ideal ->
            WeakLensing.create survey convention EmptyBeam
        | "lensing-gaussian", _ -> WeakLensing.createGaussian survey
        | _ -> Catalogue.problem name convention

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
