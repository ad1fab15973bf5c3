namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Fields

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
        /// Folder of a campaign from which simulations are taken that are there, and whether those that are not are added.
        Campaign: string option
        AddsToCampaign: bool
        /// A page in the folder on which the run is watched.
        Watch: bool
    }

/// Reading them.
module StudyOptions =
    let private usage =
        "--out FOLDER, --modes ideal|published, --seed N, --targets FOLDER, --campaign FOLDER, --add-to-campaign, --watch or --quick"

    /// Reads --out FOLDER, --modes ideal|published, --seed N, --targets FOLDER, --campaign FOLDER, --add-to-campaign, --watch and --quick (arguments without the script's own name).
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
            | "--watch" :: rest -> parse { options with Watch = true } rest
            | "--quick" :: rest -> parse { options with Quick = true } rest
            | "--targets" :: folder :: rest -> parse { options with Targets = Some folder } rest
            | "--campaign" :: folder :: rest -> parse { options with Campaign = Some folder } rest
            | "--add-to-campaign" :: rest -> parse { options with AddsToCampaign = true } rest
            | other :: _ -> raise (SettingException("option", usage, other))

        let options =
            parse
                { Out = defaultFolder
                  ModesName = "ideal"
                  Modes = ModeConvention.Ideal
                  Seed = 1UL
                  Quick = false
                  Targets = None
                  Campaign = None
                  AddsToCampaign = false
                  Watch = false }
                (List.ofArray arguments)

        Files.ensureWritableFolder options.Out
        options

    /// As `read`, of a script's own command line, its name first: --help prints what there is, and what cannot be read is said without a trace of the stack. Both end the
    /// script, with 0 or 2.
    let ofScript defaultFolder (commandLine: string[]) =
        let arguments = Array.tail commandLine |> Array.filter ((<>) "--")

        if Array.contains "--help" arguments then
            printfn $"options, all of which may be left out: {usage}; without --out, {defaultFolder}"
            exit 0

        try
            read defaultFolder arguments
        with :? FieldImnnException as error ->
            eprintfn $"error: {error.Message}"
            exit 2
