// From an observed field to a posterior, with the exact one beside it.
// dotnet fsi scripts/infer.fsx --help
#load "load.fsx"

open System
open System.Diagnostics
open System.Globalization
open System.IO
open Argu
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open FieldImnn.Plots

type Arguments =
    | Problem of string
    | Modes of string
    | Field of string
    | Theta of string
    | [<Mandatory>] Out of string
    | Method of string
    | Seed of uint64
    | Compressor of string
    | Rounds of int
    | Quick

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Problem _ ->
                "the field's model: power-law (default), dark-matter, or correlated-log-normal (20 × 20; --modes has no effect on it)."
            | Modes _ ->
                "ideal (default), a Gaussian random field, or published, the original authors' simulator to the letter."
            | Field _ ->
                "the observed field, .npy, float32 or float64, 128 × 128 (correlated-log-normal: 20 × 20); without it a field is simulated at the example target."
            | Theta _ ->
                "parameters of the field to simulate when there is no --field, with commas between them; within the prior (default: the problem's example, 0.9,0.6, 0.2589,0.8159 or 1,0.5)."
            | Out _ ->
                "the folder for posterior.csv, summary.json, corner.html, corner.png and compressor.imnn; a run that was stopped goes on from it."
            | Method _ ->
                "abc (default): rejection with regression adjustment; delfi: sequential neural likelihood; pmc: population Monte Carlo; npe: neural posterior; gaussian: the Gaussian approximation. What was simulated is kept in OUT/simulations: a run that was stopped goes on from there."
            | Seed _ -> "seed of the training, the simulations and the simulated field (default 1)."
            | Compressor _ ->
                "a trained compressor to use instead of training one; must be of the same problem and modes."
            | Rounds _ ->
                "rounds of training at the most, each where the one before places the field; they end by themselves when that moves by less than its error (default 2 for power-law, else 4)."
            | Quick -> "a shorter training and fewer simulations, for a first look."

let parser =
    ArgumentParser.Create<Arguments>(programName = "dotnet fsi scripts/infer.fsx")

let infer (arguments: ParseResults<Arguments>) =
    let clock = Stopwatch.StartNew()
    let out = arguments.GetResult Out
    let seed = arguments.GetResult(Seed, 1UL)
    let quick = arguments.Contains Quick
    let modes = arguments.GetResult(Modes, "ideal")

    let problem =
        Catalogue.problem (arguments.GetResult(Problem, "power-law")) (Catalogue.modes modes)

    let progress = ConsoleProgress.create ()

    let inferenceMethod =
        InferenceMethod.create
            (arguments.GetResult(Method, "abc"))
            quick
            seed
            progress
            (Some(Path.Combine(out, "simulations")))

    let theta =
        match arguments.TryGetResult Theta with
        | None -> problem.Target
        | Some text ->
            match
                text.Split ','
                |> Array.map (fun number -> Double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture))
            with
            | numbers when numbers |> Array.forall fst ->
                numbers |> Array.map snd |> Prior.require "--theta" problem.Prior
            | _ -> raise (SettingException("--theta", "numbers with commas between them", text))

    let field =
        match arguments.TryGetResult Field with
        | Some path ->
            ObservedField.read path (problem.Simulator.FieldShape |> Array.map int)
            |> ObservedField.toTensor
        | None ->
            printfn $"No --field: simulating one at %A{theta}."
            Simulator.field problem.Simulator theta (NoiseKey.SeedFor(seed, "target"))

    // a field that the model cannot have (δ ≤ −1, say) is refused before anything is trained
    problem.Exact.LogLikelihood field |> ignore

    arguments.TryGetResult Field
    |> Option.iter (fun path ->
        Npy.single [| int (field.numel ()) |] (Tensors.toArray field |> Array.map float32)
        |> ObservedField.requireVariation path
        |> ignore)

    Files.ensureWritableFolder out
    let notes = [ "problem", problem.Simulator.Name; "modes", modes ]

    let compressor =
        match arguments.TryGetResult Compressor with
        | Some path -> CompressorFile.load path |> Cache.require notes path
        | None ->
            // kept in the output folder, so that the same run, started again after a stop, does not train again
            let train settings (problem: Problem) =
                Cache.trainOrLoad (Path.Combine(out, "compressors")) notes settings problem.Simulator

            let rounds =
                field.unsqueeze 0L
                |> StudyOptions.refitWith
                    train
                    quick
                    seed
                    progress
                    problem
                    (arguments.GetResult(Rounds, problem.Rounds))

            for i, round in List.indexed rounds do
                printfn
                    $"round {i + 1}: trained at %A{round.Compressor.Fiducial}, estimate %A{round.Estimates[0]}, {round.Moved:F2} standard errors away"

            { (List.last rounds).Compressor with
                Notes = Map.ofList notes }

    // what was stopped before its last round is not the compressor that was asked for
    progress.Cancellation.ThrowIfCancellationRequested()
    CompressorFile.save (Path.Combine(out, "compressor.imnn")) compressor
    let result = FieldInference.infer inferenceMethod problem compressor field
    ConsoleProgress.finish ()
    PosteriorFile.write (Path.Combine(out, "posterior.csv")) result.Posterior

    Report.summary problem modes clock.Elapsed.TotalSeconds seed result
    |> Report.writeJson (Path.Combine(out, "summary.json"))

    Plot.corner
        [ "exact", result.Exact; result.Method, result.Posterior ]
        (if arguments.Contains Field then None else Some theta)
    |> Plot.withCaption
        $"Posterior of the observed field, {problem.Simulator.Name}, {modes} modes; contours hold 68 %% and 95 %%. Area over the exact area: {result.AreaRatio:F3}; the compression kept {result.FisherRetained:P1} of the field's information at its fiducial."
    |> Export.figure out "corner"

    for i, name in Array.indexed problem.Simulator.Parameters do
        let mean, sd =
            (Posterior.mean result.Posterior)[i], (Posterior.sd result.Posterior)[i]

        let exactMean, exactSd =
            (Posterior.mean result.Exact)[i], (Posterior.sd result.Exact)[i]

        printfn $"{name} = {mean:F4} ± {sd:F4}   (exact {exactMean:F4} ± {exactSd:F4})"

    printfn $"area over exact {result.AreaRatio:F3}, information kept {result.FisherRetained:P1}"

    for warning in result.Warnings do
        printfn $"warning: {warning.Message}"

let code =
    try
        parser.Parse fsi.CommandLineArgs[1..] |> infer
        0
    with
    | :? ArguParseException as help ->
        (if help.ErrorCode = ErrorCode.HelpText then
             stdout
         else
             stderr)
            .WriteLine
            help.Message

        if help.ErrorCode = ErrorCode.HelpText then 0 else 2
    | :? FieldImnnException as error ->
        eprintfn $"error: {error.Message}"
        2
    | :? OperationCanceledException ->
        eprintfn "stopped; what was finished is in the output folder, and the same command goes on from it"
        130

exit code
