namespace FieldImnn

open System
open System.Diagnostics
open System.Globalization
open System.IO
open Argu
open FieldImnn.Core
open FieldImnn.Core.Random
open FieldImnn.Plots

/// What the command line of an inference asks for.
type InferArguments =
    | Field of string
    | Theta of string
    | [<Mandatory>] Out of string
    | Method of string
    | Seed of uint64
    | Compressor of string
    | Rounds of int
    | Device of string
    | Quick

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Field _ ->
                "the observed field, .npy, float32 or float64, of the simulator's shape; without it a field is simulated."
            | Theta _ ->
                "parameters of the field to simulate when there is no --field, with commas between them; within the prior (default: the model's example, or the prior's median)."
            | Out _ ->
                "the folder for posterior.csv, summary.json, corner.html, corner.png and compressor.imnn; a run that was stopped goes on from it."
            | Method _ ->
                "abc (default): rejection with regression adjustment; delfi: sequential neural likelihood; pmc: population Monte Carlo; npe: neural posterior; gaussian: the Gaussian approximation; or one of the script's own. What was simulated is kept in OUT/simulations: a run that was stopped goes on from there."
            | Seed _ -> "seed of the training, the simulations and the simulated field (default 1)."
            | Compressor _ ->
                "a trained compressor to use instead of training one; must be of the same model (and problem, and modes)."
            | Rounds _ ->
                "rounds of training at the most, each where the one before places the field; they end by themselves when that moves by less than its error."
            | Device _ -> "where fields and networks are: cpu (default), cuda, cuda:1, mps."
            | Quick -> "a shorter training and fewer simulations, for a first look."

/// An inference as a command: a model, how it is compressed, and what its users are told.
type InferCommand =
    {
        Model: Model
        Recipe: Recipe
        /// What tells this model from others of the same simulator, kept in the compressor and in summary.json: problem, modes.
        Notes: (string * string) list
        /// Where a field is simulated when none is given; the prior's median if none is given.
        Example: float[] option
        /// Methods beside those of the house, by name.
        Methods: (string * Method) list
        /// How the command is called, for its help.
        Program: string
    }

/// All of an inference from the command line: `CommandLine.infer model Recipe.Default fsi.CommandLineArgs`.
module CommandLine =
    /// A command of a model and a recipe, called as the running script is.
    let command model recipe =
        { Model = model
          Recipe = recipe
          Notes = [ "problem", model.Simulator.Name ]
          Example = None
          Methods = []
          Program = "dotnet fsi SCRIPT.fsx" }

    let private methodOf command (arguments: ParseResults<InferArguments>) progress out =
        let name = arguments.GetResult(Method, "abc")

        match List.tryFind (fst >> (=) name) command.Methods with
        | Some(_, own) -> name, own
        | None ->
            if not (List.contains name NamedMethod.names) then
                let known = NamedMethod.names @ List.map fst command.Methods
                raise (SettingException("method", String.concat ", " known, name))

            name,
            NamedMethod.create
                name
                (arguments.Contains Quick)
                (arguments.GetResult(Seed, 1UL))
                progress
                (Some(Path.Combine(out, "simulations")))

    let private theta command (arguments: ParseResults<InferArguments>) =
        match arguments.TryGetResult Theta with
        | None ->
            command.Example
            |> Option.defaultWith (fun () -> Prior.median command.Model.Prior)
        | Some text ->
            match
                text.Split ','
                |> Array.map (fun number -> Double.TryParse(number, NumberStyles.Float, CultureInfo.InvariantCulture))
            with
            | numbers when numbers |> Array.forall fst ->
                numbers |> Array.map snd |> Prior.require "--theta" command.Model.Prior
            | _ -> raise (SettingException("--theta", "numbers with commas between them", text))

    /// The observed field, and where it was simulated if it was.
    let private observed command (arguments: ParseResults<InferArguments>) =
        let simulator = command.Model.Simulator

        let field, truth =
            match arguments.TryGetResult Field with
            | Some path ->
                ObservedField.read path (simulator.FieldShape |> Array.map int)
                |> ObservedField.toTensor,
                None
            | None ->
                let theta = theta command arguments
                printfn $"No --field: simulating one at %A{theta}."
                let seed = NoiseKey.SeedFor(arguments.GetResult(Seed, 1UL), "target")
                Simulator.field simulator theta seed, Some theta

        // a field that the model cannot have (δ ≤ −1, say) is refused before anything is trained
        command.Model.Exact
        |> Option.iter (fun exact -> exact.LogLikelihood field |> ignore)

        arguments.TryGetResult Field
        |> Option.iter (fun path ->
            Npy.single [| int (field.numel ()) |] (Tensors.toArray field |> Array.map float32)
            |> ObservedField.requireVariation path
            |> ignore)

        field, truth

    let private device (arguments: ParseResults<InferArguments>) =
        Device.named (arguments.GetResult(Device, "cpu"))

    /// The recipe as the arguments want it.
    let private recipe command (arguments: ParseResults<InferArguments>) progress =
        let recipe =
            if arguments.Contains Quick then
                Recipe.quick command.Recipe
            else
                command.Recipe

        { recipe with
            Rounds = arguments.GetResult(Rounds, recipe.Rounds) }
        |> Recipe.withSeed (arguments.GetResult(Seed, 1UL))
        |> Recipe.withProgress progress
        |> Recipe.on (device arguments)

    /// The compressor: a given one, or trained in rounds, which are kept in the output folder, so that the same run, started again after a
    /// stop, does not train again.
    let private compressor command (arguments: ParseResults<InferArguments>) progress out (field: Tensor) =
        match arguments.TryGetResult Compressor with
        | Some path ->
            CompressorFile.loadOn (device arguments) path
            |> Cache.require command.Notes path
        | None ->
            let keep settings earlier fiducial =
                Cache.trainOrLoad
                    (Path.Combine(out, "compressors"))
                    command.Notes
                    settings
                    command.Model.Simulator
                    earlier
                    fiducial

            let rounds =
                field.unsqueeze 0L
                |> Infer.refitBy keep command.Model (recipe command arguments progress)

            for i, round in List.indexed rounds do
                printfn
                    $"round {i + 1}: trained at %A{round.Compressor.Fiducial}, estimate %A{round.Estimates[0]}, {round.Moved:F2} standard errors away"

            { (List.last rounds).Compressor with
                Notes = Map.ofList command.Notes }

    let private caption command (result: InferenceResult) =
        let told = command.Notes |> List.map snd |> String.concat ", "

        let exact =
            match result.Exact with
            | Some exact ->
                $" Area over the exact area: {exact.AreaRatio:F3}; the compression kept {exact.FisherRetained:P1} of the field's information at its fiducial."
            | None -> ""

        $"Posterior of the observed field, {told}; contours hold 68 %% and 95 %%.{exact}"

    /// Prints the moments of a result, beside the exact ones where they are known, and its warnings.
    let print (model: Model) (result: InferenceResult) =
        let expected = result.Fisher.PseudoInverse()

        let errors =
            [ for k, name in Array.indexed model.Simulator.Parameters -> $"{name} ± {sqrt expected[k, k]:G3}" ]
            |> String.concat ", "

        printfn $"the compressor's errors at %A{result.Fiducial}: {errors}"

        for i, name in Array.indexed model.Simulator.Parameters do
            let moments posterior =
                $"{(Posterior.mean posterior)[i]:F4} ± {(Posterior.sd posterior)[i]:F4}"

            let exact =
                match result.Exact with
                | Some exact -> $"   (exact {moments exact.Posterior})"
                | None -> ""

            printfn $"{name} = {moments result.Posterior}{exact}"

        result.Exact
        |> Option.iter (fun exact ->
            printfn $"area over exact {exact.AreaRatio:F3}, information kept {exact.FisherRetained:P1}")

        for warning in result.Warnings do
            printfn $"warning: {warning.Message}"

        for warning in result.Exact |> Option.map _.Warnings |> Option.defaultValue [] do
            printfn $"warning of the exact posterior: {warning.Message}"

    let private run command (arguments: ParseResults<InferArguments>) =
        let clock = Stopwatch.StartNew()
        let out = arguments.GetResult Out
        let progress = ConsoleProgress.create ()
        let name, method = methodOf command arguments progress out
        device arguments |> ignore // one that is not there is refused before anything is simulated
        let field, truth = observed command arguments
        Files.ensureWritableFolder out
        let compressor = compressor command arguments progress out field
        // what was stopped before its last round is not the compressor that was asked for
        progress.Cancellation.ThrowIfCancellationRequested()
        CompressorFile.save (Path.Combine(out, "compressor.imnn")) compressor
        let result = Infer.by name method command.Model compressor field
        ConsoleProgress.finish ()
        PosteriorFile.write (Path.Combine(out, "posterior.csv")) result.Posterior

        Report.summary
            command.Notes
            command.Model.Simulator.Parameters
            clock.Elapsed.TotalSeconds
            (arguments.GetResult(Seed, 1UL))
            result
        |> Report.writeJson (Path.Combine(out, "summary.json"))

        Plot.corner
            [ match result.Exact with
              | Some exact -> "exact", exact.Posterior
              | None -> ()
              result.Method, result.Posterior ]
            truth
        |> Plot.withCaption (caption command result)
        |> Export.figure out "corner"

        print command.Model result

    /// Runs a part of a program, and returns its exit code: 0, 2 after a clear message on standard error, or 130 when it was stopped.
    let guarded (work: unit -> unit) : int =
        // numbers are read and written with a point, whatever the language of the machine
        CultureInfo.CurrentCulture <- CultureInfo.InvariantCulture

        try
            work ()
            0
        with
        | :? ArguParseException as help when help.ErrorCode = ErrorCode.HelpText ->
            printfn $"{help.Message}"
            0
        | :? ArguParseException as fault ->
            eprintfn $"{fault.Message}"
            2
        | :? FieldImnnException as error ->
            eprintfn $"error: {error.Message}"
            2
        | :? OperationCanceledException ->
            eprintfn "stopped; what was finished is in the output folder, and the same command goes on from it"
            130

    /// Runs a command with its arguments (without the script's own name): posterior.csv, summary.json, a corner and the compressor in --out.
    let runCommand command (arguments: string[]) =
        let parser = ArgumentParser.Create<InferArguments>(programName = command.Program)
        parser.Parse arguments |> run command

    /// From the command line of a script (fsi.CommandLineArgs, the script's name first) to the posterior of an observed field, for a model
    /// of your own: --field, --theta, --out, --method, --rounds, --compressor, --seed, --device, --quick, --help. Returns the exit code.
    let infer model recipe (arguments: string[]) : int =
        let program = $"dotnet fsi {Array.head arguments}"

        guarded (fun () ->
            runCommand
                { command model recipe with
                    Program = program }
                arguments[1..])
