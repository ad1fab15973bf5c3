namespace FieldImnn

open System
open System.Diagnostics
open System.Globalization
open System.IO
open Argu
open FieldImnn.Core
open FieldImnn.Core.Random

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
    | Skip_Failures of part: float
    | Formats of string
    | Campaign of folder: string
    | Add_To_Campaign of string
    | Watch
    | Quick

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Field _ -> "the observed field, .npy, of the simulator's shape; without it a field is simulated."
            | Theta _ ->
                "parameters of the field to simulate when there is no --field, with commas between them; within the prior (default: the model's example, or the prior's median)."
            | Out _ ->
                "the folder for posterior.csv, summary.json, field.npy, corner.html, corner.png and compressor.imnn; a run that was stopped or killed goes on from it (exit code 75: SIGTERM stopped it)."
            | Method _ ->
                "abc (default): rejection with regression adjustment; delfi: sequential neural likelihood; pmc: population Monte Carlo; npe: neural posterior; gaussian: the Gaussian approximation; or one of the script's own. What was simulated is kept in OUT/simulations: a run that was stopped goes on from there."
            | Seed _ -> "seed of the training, the simulations and the simulated field (default 1)."
            | Compressor _ ->
                "a trained compressor to use instead of training one; must be of the same model (and problem, and modes)."
            | Rounds _ ->
                "rounds of training at the most, each where the one before places the field; they end by themselves when that moves by less than its error (--quick: twice its error)."
            | Device _ -> "where fields and networks are: cpu (default), cuda, cuda:1, mps."
            | Skip_Failures _ ->
                "leaves out simulations of the inference that are NaN or infinite, and counts them, up to this part of all, such as 0.05 (default: the first of them stops everything)."
            | Formats _ ->
                "further files of the posterior, with commas between them: npz (NumPy), hdf5, getdist (.txt with .paramnames and .ranges), netcdf (ArviZ)."
            | Campaign _ ->
                "the folder of a campaign, from which simulations are taken that are there (simulate.fsx makes it); docs/campaigns.md."
            | Add_To_Campaign _ ->
                "adds the simulations that were not there to --campaign: fields, summaries or both (default: adds nothing)."
            | Watch ->
                "writes OUT/watch.html, a page that draws the run anew every few seconds while it is open in a browser: stage, det F, losses, acceptance, the posterior so far."
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
            | Some _ when arguments.Contains Theta ->
                raise (SettingException("--theta", "no --field beside it: it is where a field is simulated", "both"))
            | Some path ->
                ObservedField.read path (simulator.FieldShape |> Array.map int)
                |> ObservedField.toTensor,
                None
            | None ->
                let theta = theta command arguments
                printfn $"No --field: simulating one at {Outcome.at command.Model theta}."
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

    /// Asks whether a short first axis is that of several maps of one sky.
    let private tellMaps (simulator: Simulator) =
        let shape = simulator.FieldShape

        if
            simulator.Channels = 1
            && shape.Length > 1
            && Array.forall (fun n -> n >= 4L * shape[0]) shape[1..]
        then
            let sides = Guard.Describe shape

            printfn
                $"note: fields of shape {sides} are compressed as one field of {shape.Length} axes; several maps of one sky are channels: simulator |> Simulator.withChannels."

    let private device (arguments: ParseResults<InferArguments>) =
        Device.named (arguments.GetResult(Device, "cpu"))

    /// The recipe of a command as its options want it: shorter, in so many rounds, with a seed.
    let internal recipeOf command quick (rounds: int option) seed =
        rounds |> Option.iter (fun n -> Guard.AtLeast("rounds", 1L, int64 n) |> ignore)

        let recipe =
            if quick then
                Recipe.quick command.Recipe
            else
                command.Recipe

        { recipe with
            Rounds = defaultArg rounds recipe.Rounds }
        |> Recipe.withSeed seed

    /// The recipe as the arguments want it.
    let private recipe command (arguments: ParseResults<InferArguments>) progress =
        recipeOf command (arguments.Contains Quick) (arguments.TryGetResult Rounds) (arguments.GetResult(Seed, 1UL))
        |> Recipe.withProgress progress
        |> Recipe.on (device arguments)

    /// The compressor that was given, if one was.
    let private given command (arguments: ParseResults<InferArguments>) =
        arguments.TryGetResult Compressor
        |> Option.map (fun path ->
            CompressorFile.loadOn (device arguments) path
            |> Cache.require command.Notes path)

    /// Trains a compressor in rounds, which are kept in the output folder, so that the same run, started again after a stop, does not train
    /// again. The compressor is that of the last round.
    let private train command (arguments: ParseResults<InferArguments>) progress out (field: Tensor) =
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

        let last = (List.last rounds).Compressor

        { last with
            Notes = Map.ofList command.Notes },
        rounds

    /// The command as the arguments want it: failed simulations left out.
    let private skipping (arguments: ParseResults<InferArguments>) (command: InferCommand) =
        match arguments.TryGetResult Skip_Failures with
        | None -> command
        | Some part ->
            { command with
                Model =
                    { command.Model with
                        Simulator = Simulator.skippingFailures part command.Model.Simulator } }

    /// Prints the moments of a result, beside the exact ones where they are known, and its warnings.
    let print (model: Model) (result: InferenceResult) = Outcome.print model result

    /// Writes what came out, and what it came out of.
    let private write
        command
        (arguments: ParseResults<InferArguments>)
        out
        truth
        rounds
        campaign
        seconds
        (result: InferenceResult)
        =
        { Model = command.Model
          Notes = command.Notes
          Files = Outcome.files (arguments.TryGetResult Formats)
          Truth = truth
          Told =
            [ "quick", Report.value (arguments.Contains Quick)
              yield! Outcome.failures command.Model
              "prior", Report.prior command.Model.Prior
              yield!
                  truth
                  |> Option.map (fun theta -> "truth", Report.numbers theta)
                  |> Option.toList
              "rounds", Report.rounds rounds
              match campaign with
              | Some campaign -> "campaign", CampaignFolder.report campaign
              | None -> () ]
          Settings =
            [ "method", Report.value result.Method
              "quick", Report.value (arguments.Contains Quick)
              if not (List.isEmpty rounds) then
                  let recipe = recipe command arguments Progress.silent
                  "rounds", Report.value recipe.Rounds
                  "training", Provenance.training (recipe.Training result.Fiducial) ]
          Seed = arguments.GetResult(Seed, 1UL)
          Device = arguments.GetResult(Device, "cpu")
          Seconds = seconds }
        |> Outcome.write out result

    /// The campaign that is asked for, if one is.
    let private campaign (arguments: ParseResults<InferArguments>) : CampaignFolder option =
        let adds =
            arguments.TryGetResult Add_To_Campaign
            |> Option.map (Kept.parse "--add-to-campaign")

        match arguments.TryGetResult Campaign, adds with
        | Some folder, adds -> Some(CampaignFolder.create "infer" (defaultArg adds Kept.nothing) folder)
        | None, Some _ -> raise (SettingException("--add-to-campaign", "a --campaign to add to", "none"))
        | None, None -> None

    /// The command, and the method, with their simulations from the campaign.
    let private from campaign (command: InferCommand) (method: Method) =
        match campaign with
        | None -> command, method
        | Some campaign ->
            { command with
                Model = CampaignFolder.model campaign command.Model },
            CampaignFolder.method campaign method

    let private run command (arguments: ParseResults<InferArguments>) =
        let clock = Stopwatch.StartNew()
        let out = arguments.GetResult Out
        use _ = Files.hold out
        let progress = Watched.progress (arguments.Contains Watch) out
        let campaign = campaign arguments
        let command = skipping arguments command
        let name, method = methodOf command arguments progress out
        let command, method = from campaign command method
        device arguments |> ignore // one that is not there is refused before anything is simulated
        Outcome.files (arguments.TryGetResult Formats) |> ignore

        Guard.AtLeast("rounds", 1L, int64 (recipe command arguments progress).Rounds)
        |> ignore

        let field, truth = observed command arguments
        let given = given command arguments
        Outcome.writeField out field
        tellMaps command.Model.Simulator

        let compressor, rounds =
            match given with
            | Some compressor -> compressor, []
            | None -> train command arguments progress out field

        // what was stopped before its last round is not the compressor that was asked for
        progress.Cancellation.ThrowIfCancellationRequested()
        CompressorFile.save (Path.Combine(out, "compressor.imnn")) compressor
        let result = Infer.by name method command.Model compressor field
        Outcome.tell progress result
        ConsoleProgress.finish ()
        write command arguments out truth rounds campaign clock.Elapsed.TotalSeconds result
        print command.Model result
        campaign |> Option.iter CampaignFolder.print

    /// Runs a part of a program, and returns its exit code: 0, 2 after a clear message on standard error, 130 when it was stopped, or 75 when
    /// SIGTERM, of a time limit say, stopped it: the same command goes on.
    let guarded (work: unit -> unit) : int =
        // numbers are read and written with a point, whatever the language of the machine
        CultureInfo.CurrentCulture <- CultureInfo.InvariantCulture

        try
            work ()
            Watched.ended Done
            0
        with
        | :? ArguParseException as help when help.ErrorCode = ErrorCode.HelpText ->
            printfn $"{help.Message}"
            0
        | :? ArguParseException as fault ->
            let told = fault.Message.Split("USAGE:")[0]
            eprintfn $"{told.Trim()}\n--help lists the options (of a script: -- --help)."
            2
        | :? FieldImnnException as error ->
            ConsoleProgress.finish ()
            Watched.ended (Failed error.Message)
            eprintfn $"error: {error.Message}"
            2
        | :? OperationCanceledException ->
            ConsoleProgress.finish ()
            Watched.ended Stopped
            eprintfn "stopped; what has been done is in the output folder, and the same command goes on from it"
            ConsoleProgress.stopped ()
        | error ->
            Watched.ended (Failed $"{error.GetType().Name}: {error.Message}")
            reraise ()

    /// Runs a command with its arguments (without the script's own name): what docs/outputs.md lists, in --out.
    let runCommand command (arguments: string[]) =
        let parser = ArgumentParser.Create<InferArguments>(programName = command.Program)
        parser.Parse arguments |> run command

    /// From the command line of a script (fsi.CommandLineArgs, the script's name first) to the posterior of an observed field, for a model
    /// of your own: --field, --theta, --out, --method, --rounds, --compressor, --seed, --device, --formats, --skip-failures, --campaign, --add-to-campaign,
    /// --watch, --quick, --help. Returns the exit code.
    let infer model recipe (arguments: string[]) : int =
        let program = $"dotnet fsi {Array.head arguments}"

        guarded (fun () ->
            runCommand
                { command model recipe with
                    Program = program }
                arguments[1..])
