namespace FieldImnn

open System
open System.IO
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random

/// What every script of a study can be told on the command line.
type StudyOptions =
    {
        /// Folder of figures, numbers and compressors.
        Out: string
        /// "ideal" or "published".
        ModesName: string
        Modes: ModeConvention
        Seed: uint64
        /// A shorter training and fewer simulations, for quick looks.
        Quick: bool
        /// Folder of observed fields, where there are any.
        Targets: string option
    }

/// Options, compressors and results of a study's scripts.
module StudyOptions =
    /// Reads --out FOLDER, --modes ideal|published, --seed N, --targets FOLDER and --quick (arguments without the script's own name).
    let read defaultFolder (arguments: string[]) =
        let rec parse options =
            function
            | [] -> options
            | "--out" :: folder :: rest -> parse { options with Out = folder } rest
            | "--modes" :: name :: rest ->
                parse
                    { options with
                        ModesName = name
                        Modes = Catalogue.modes name }
                    rest
            | "--seed" :: (seed: string) :: rest when fst (UInt64.TryParse seed) ->
                parse
                    { options with
                        Seed = UInt64.Parse seed }
                    rest
            | "--quick" :: rest -> parse { options with Quick = true } rest
            | "--targets" :: folder :: rest -> parse { options with Targets = Some folder } rest
            | other :: _ ->
                raise (
                    SettingException(
                        "option",
                        "--out FOLDER, --modes ideal|published, --seed N, --targets FOLDER or --quick",
                        other
                    )
                )

        let options =
            parse
                { Out = defaultFolder
                  ModesName = "ideal"
                  Modes = ModeConvention.Ideal
                  Seed = 1UL
                  Quick = false
                  Targets = None }
                (List.ofArray arguments)

        Files.ensureWritableFolder options.Out
        options

    /// The training of a problem's own settings at a fiducial point, or a shorter one for quick looks.
    let training quick seed progress (problem: Problem) fiducial =
        let settings =
            { problem.Training fiducial with
                Seed = seed
                Progress = progress }

        if quick then
            { settings with
                MaxIterations = 60
                MinIterations = 60
                HeldOut = 500
                Quote = 2000 }
        else
            settings

    /// Where a study keeps its compressors, and what tells them apart.
    let private trained settings options (problem: Problem) =
        Cache.trainOrLoad
            (Path.Combine(options.Out, "compressors"))
            [ "problem", problem.Simulator.Name; "modes", options.ModesName ]
            settings
            problem.Simulator

    /// The compressor of given settings at given parameters, from the study's folder or trained now.
    let compressorAt fiducial settings options (problem: Problem) =
        trained settings options problem None fiducial

    /// The same, at the problem's fiducial.
    let compressorWith settings options (problem: Problem) =
        compressorAt problem.Fiducial settings options problem

    /// The study's compressor, trained by whichever script needs it first.
    let compressor options progress problem =
        compressorWith (training options.Quick options.Seed progress problem problem.Fiducial) options problem

    /// Rounds of training for observed fields (n, shape…): at the problem's fiducial, then, from the weights there and in half as many
    /// steps, where the fields are, until that stands.
    let refitWith keep quick seed progress (problem: Problem) rounds (fields: Tensor) =
        let train (earlier: RefitRound list) fiducial =
            let progress = Progress.labelled $"round {earlier.Length + 1}" progress
            let settings = training quick seed progress problem fiducial

            match earlier with
            | [] -> keep settings problem None fiducial
            | before :: _ ->
                let again =
                    { settings with
                        MinIterations = settings.MinIterations / 2
                        MaxIterations = settings.MaxIterations / 2 }

                keep again problem (Some before.Compressor) fiducial

        Refit.run progress train (FieldInference.locate seed problem) problem.Prior problem.Fiducial rounds fields

    /// Rounds of training for observed fields, kept in the study's folder.
    let refit options progress (problem: Problem) fields =
        let keep settings problem = trained settings options problem

        let rounds =
            if options.Quick then
                min 3 problem.Rounds
            else
                problem.Rounds

        refitWith keep options.Quick options.Seed progress problem rounds fields

    /// The study's observed fields (title, field): the .npy files of --targets whose names begin with the prefix, in order, then fields
    /// simulated at the problem's target up to the wanted number.
    let observed options prefix count (problem: Problem) =
        let stored =
            match options.Targets with
            | None -> []
            | Some folder when Directory.Exists folder ->
                Directory.GetFiles(folder, prefix + "*.npy") |> Array.sort |> Array.toList
            | Some folder -> raise (StoreException($"folder of targets '{folder}'", "a folder", "none"))
            |> List.truncate count
            |> List.map (fun path ->
                let shape = problem.Simulator.FieldShape |> Array.map int

                Path.GetFileNameWithoutExtension path,
                ObservedField.read path shape
                |> ObservedField.requireVariation path
                |> ObservedField.toTensor)

        let simulated =
            [ for i in 1 .. count - stored.Length ->
                  let seed = NoiseKey.SeedFor(options.Seed, $"target {i}")
                  $"simulated field {i}", Simulator.field problem.Simulator problem.Target seed ]

        stored @ simulated

    /// Writes the numbers behind a figure to results/NAME.json.
    let results options name json =
        Report.writeJson (Path.Combine(options.Out, "results", $"{name}.json")) json
