namespace FieldImnn

open Argu
open FieldImnn.Core
open FieldImnn.Core.Fields

/// What only the house's problems have; all else is their command's.
[<DisableHelpFlags>]
type ProblemArguments =
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

/// Commands for the house's problems, which --problem and --modes name.
module ProblemCommand =
    /// The problem that the options name; --pixels and --shifts are for lensing maps alone.
    let private problemOf name convention pixels shifts : Problem =
        let refuse option =
            raise (SettingException(option, "--problem lensing, whose maps it is for", $"--problem {name}"))

        match name, pixels, shifts with
        | "lensing", _, Some file ->
            let table = Npy.read file

            WeakLensing.tableOfShifts (Array.map int64 table.Shape) table.Data
            |> Tabulated
            |> WeakLensing.create (WeakLensing.survey (Option.defaultValue 256 pixels)) convention
        | _, _, Some _ -> refuse "--shifts"
        | "lensing", Some pixels, None when convention = ModeConvention.Ideal ->
            WeakLensing.create (WeakLensing.survey pixels) convention EmptyBeam
        | "lensing-gaussian", Some pixels, None -> WeakLensing.createGaussian (WeakLensing.survey pixels)
        | "lensing", _, None
        | _, None, None -> Catalogue.problem name convention
        | _ -> refuse "--pixels"

    /// Runs a command from a script's command line (the script's name first).
    let run (work: InferCommand -> string[] -> unit) (arguments: string[]) =
        let script = $"dotnet fsi {arguments[0]}"

        let parser =
            ArgumentParser.Create<ProblemArguments>(programName = $"{script} [--problem NAME] [--modes NAME]")

        let chosen = parser.Parse(arguments[1..], ignoreUnrecognized = true)
        let name = chosen.GetResult(Problem, "power-law")
        let modes = chosen.GetResult(Modes, "ideal")
        let pixels, shifts = chosen.TryGetResult Pixels, chosen.TryGetResult Shifts
        let problem = problemOf name (Catalogue.modes modes) pixels shifts

        if List.contains "--help" chosen.UnrecognizedCliParams then
            printfn $"{parser.PrintUsage(hideSyntax = true)}"

        let own =
            [ "--problem", Some name
              "--modes", Some modes
              "--pixels", Option.map string pixels
              "--shifts", shifts ]
            |> List.choose (fun (option, value) -> value |> Option.map (fun value -> $"{option} {value}"))

        work
            { CommandLine.command problem.Model problem.Recipe with
                Notes = [ "problem", problem.Simulator.Name; "modes", modes ]
                Example = Some problem.Example
                Program = String.concat " " (script :: own) }
            (Array.ofList chosen.UnrecognizedCliParams)
