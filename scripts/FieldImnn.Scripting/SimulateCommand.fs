namespace FieldImnn

open System.IO
open Argu
open FieldImnn.Core

/// What the command line that fills a campaign asks for.
type SimulateArguments =
    | [<Mandatory>] Campaign of folder: string
    | Shard of string
    | Method of string
    | Seed of uint64
    | Compressor of string
    | Keep of string
    | Rounds of int
    | Device of string
    | Skip_Failures of part: float
    | Quick
    | Slurm of tasks: int
    | Sbatch of string
    | Then of string

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Campaign _ ->
                "the folder of the campaign: any number of processes fill it and read it at the same time; docs/campaigns.md."
            | Shard _ -> "the share of this process, i/n: the i-th of n, from 1 (default 1/1)."
            | Method _ ->
                "the inference that will follow, as infer.fsx has it: abc (default), delfi, pmc, npe, gaussian. Made are the simulations of the first training, and those from the prior that the method begins with (npe: all)."
            | Seed _ -> "the seed of that inference (default 1)."
            | Compressor _ -> "its compressor, where it is trained already: no simulation is then made for a training."
            | Keep _ ->
                "what is kept: fields (default), summaries, both; summaries are those of --compressor, and small."
            | Rounds _ -> "rounds of its training, as it will have it."
            | Device _ -> "where fields are made: cpu (default), cuda, cuda:1, mps."
            | Skip_Failures _ ->
                "leaves out simulations that are NaN or infinite (default: the first of them stops the process)."
            | Quick -> "the inference will be with --quick."
            | Slurm _ ->
                "writes a script for an array of so many tasks, one a shard, into the campaign's folder, and hands it to sbatch."
            | Sbatch _ -> "further options for sbatch, as one word: \"--time=2:00:00 --mem=4G\"."
            | Then _ ->
                "a command, as one word, that is run as a job of its own when all tasks have ended: the inference."

/// What is asked for, read.
type private Wanted =
    {
        Shard: Shard
        Kept: Kept
        Device: TorchSharp.torch.Device
        Compression: Compression option
        Recipe: Recipe
        /// Simulations of the method's from the prior.
        OfMethod: PlannedSimulations list
        Campaign: CampaignFolder
    }

/// Filling a campaign with the simulations that an inference will want: `SimulateCommand.simulate model Recipe.Default fsi.CommandLineArgs`.
module SimulateCommand =
    /// Simulations of the method's from the prior.
    let private ofMethod (command: InferCommand) (arguments: ParseResults<SimulateArguments>) =
        NamedMethod.planned
            (arguments.GetResult(Method, "abc"))
            (arguments.Contains Quick)
            (arguments.GetResult(Seed, 1UL))
            command.Model.Prior

    /// Everything that a process, or each task of an array, is asked for, looked at before anything is begun.
    let private read (command: InferCommand) (arguments: ParseResults<SimulateArguments>) =
        let device = Device.named (arguments.GetResult(Device, "cpu"))
        let kept = arguments.GetResult(Keep, "fields") |> Kept.parse "--keep"
        let shard = arguments.GetResult(Shard, "1/1") |> Shard.parse

        let compression =
            arguments.TryGetResult Compressor
            |> Option.map (fun path ->
                CompressorFile.loadOn device path
                |> Cache.require command.Notes path
                |> Infer.compression)

        if kept.Summaries && compression.IsNone then
            raise (SettingException("--keep", "a --compressor whose summaries are kept", "none"))

        let recipe =
            CommandLine.recipeOf
                command
                (arguments.Contains Quick)
                (arguments.TryGetResult Rounds)
                (arguments.GetResult(Seed, 1UL))

        { Shard = shard
          Kept = kept
          Device = device
          Compression = compression
          Recipe = recipe
          OfMethod = ofMethod command arguments
          Campaign =
            arguments.GetResult SimulateArguments.Campaign
            |> CampaignFolder.create $"shard {shard.Number} of {shard.Of}" kept }

    let private fill (command: InferCommand) (wanted: Wanted) =
        let progress = ConsoleProgress.create ()
        let campaign, kept = wanted.Campaign, wanted.Kept
        let simulator = Simulator.on wanted.Device command.Model.Simulator
        let chunk = SimulationSettings.Default.Chunk
        let prior = command.Model.Prior

        match wanted.Compression with
        | Some compression when kept.Summaries ->
            let source =
                if kept.Fields then
                    CampaignFolder.join true prior simulator campaign |> Campaign.simulator
                else
                    simulator

            CampaignFolder.join true prior (Summarised.simulator compression source) campaign
            |> Shard.fill progress chunk wanted.Shard wanted.OfMethod
        | compression ->
            let training =
                if compression.IsSome then
                    []
                else
                    Infer.planned command.Model wanted.Recipe

            CampaignFolder.join true prior simulator campaign
            |> Shard.fill progress chunk wanted.Shard (training @ wanted.OfMethod)

        ConsoleProgress.finish ()
        CampaignFolder.print campaign

    /// The words of a command without some options and what belongs to them.
    let rec private without (options: string list) (words: string list) =
        match words with
        | option :: _ :: rest when List.contains option options -> without options rest
        | word :: rest -> word :: without options rest
        | [] -> []

    let private submit (command: InferCommand) (arguments: ParseResults<SimulateArguments>) (words: string list) =
        let folder = Path.GetFullPath(arguments.GetResult SimulateArguments.Campaign)
        Files.ensureWritableFolder folder

        let own =
            words
            |> without [ "--slurm"; "--sbatch"; "--then" ]
            |> List.map Provenance.quoted
            |> String.concat " "

        let array, following =
            Slurm.submit
                { Folder = Path.Combine(folder, "slurm")
                  Directory = Directory.GetCurrentDirectory()
                  Command = $"{command.Program} {own}"
                  Tasks = arguments.GetResult Slurm
                  Options = arguments.GetResult(Sbatch, "")
                  Then = arguments.TryGetResult Then }

        printfn $"array {array}"
        following |> Option.iter (printfn "then %s")

    /// Runs the command with its arguments (without the script's own name).
    let run (command: InferCommand) (arguments: string[]) =
        let parser = ArgumentParser.Create<SimulateArguments>(programName = command.Program)

        let parsed = parser.Parse arguments
        let wanted = read command parsed
        let slurm = parsed.Contains Slurm

        for option, given in [ "--sbatch", parsed.Contains Sbatch; "--then", parsed.Contains Then ] do
            if given && not slurm then
                raise (SettingException(option, "--slurm N, whose jobs it is for", "none"))

        if slurm && parsed.Contains SimulateArguments.Shard then
            raise (SettingException("--shard", "none beside --slurm, whose tasks have a shard each", "one"))

        if slurm then
            submit command parsed (List.ofArray arguments)
        else
            fill command wanted

    /// From the command line of a script (fsi.CommandLineArgs, the script's name first): fills a campaign for a model of your own, or a shard of it, or hands
    /// that to Slurm. Returns the exit code.
    let simulate model recipe (arguments: string[]) : int =
        let program = $"dotnet fsi {Array.head arguments}"

        CommandLine.guarded (fun () ->
            run
                { CommandLine.command model recipe with
                    Program = program }
                arguments[1..])
