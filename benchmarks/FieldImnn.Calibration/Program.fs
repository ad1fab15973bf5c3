/// Calibration of every method on every problem: dotnet run -c Release --project benchmarks/FieldImnn.Calibration -- OUT [--only PROBLEM]
/// [--methods abc,pmc] [--fields N] [--prior-fields N] [--pixels N] [--seed N]. Cells that are in OUT already are not run again.
module Program

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open Subject

type private Options =
    { Only: string option
      Methods: string list
      Fields: int
      PriorFields: int
      Pixels: int
      Seed: uint64 }

/// One run of DELFI for four fields at once.
let private joint = "delfi-of-four"

/// A neural posterior behind the compressor that is trained where a field is, as a user's one field has it.
let private atField = "npe-at-field"

/// The method that a row of the table is of.
let private methodOf row =
    if row = joint then "delfi"
    elif row = atField then "npe"
    else row

/// Methods that see each field by itself, and those that serve the whole prior at once.
let private sequential = [ "abc"; "pmc"; "delfi"; joint; atField ]

let private amortised = [ "npe"; "gaussian" ]

let rec private read options =
    function
    | [] -> options
    | "--only" :: problem :: rest -> read { options with Only = Some problem } rest
    | "--methods" :: (list: string) :: rest ->
        read
            { options with
                Methods = List.ofArray (list.Split ',') }
            rest
    | "--fields" :: (n: string) :: rest -> read { options with Fields = int n } rest
    | "--prior-fields" :: (n: string) :: rest -> read { options with PriorFields = int n } rest
    | "--pixels" :: (n: string) :: rest -> read { options with Pixels = int n } rest
    | "--seed" :: (n: string) :: rest -> read { options with Seed = uint64 n } rest
    | other :: _ ->
        raise (
            SettingException(
                "option",
                "--only PROBLEM, --methods NAME,NAME, --fields N, --prior-fields N, --pixels N or --seed N",
                other
            )
        )

/// What a method's cells are told apart by: fields, pixels and seed.
let private counts options method =
    let fields =
        if List.contains method sequential then
            options.Fields
        else
            options.PriorFields

    $"{fields}-{options.Pixels}-{options.Seed}"

let private run options out subject =
    let path name =
        Cell.path out subject.Name name (counts options name)

    let missing =
        options.Methods
        |> List.filter (fun name -> not (File.Exists(path name) || name = joint && not subject.Shares))

    let universe region count =
        lazy
            (let fields = Trial.fields subject region count
             fields, fields |> Array.map (snd >> Trial.exact subject))

    let about = universe subject.About options.Fields
    let everywhere = universe subject.Problem.Prior options.PriorFields

    for name in missing do
        let clock = Stopwatch.StartNew()

        let seeded seed =
            NamedMethod.create (methodOf name) false seed Progress.silent None

        let cell =
            try
                let trials =
                    if List.contains name sequential then
                        let fields, exacts = about.Value
                        let size = if name = joint then 4 else 1
                        Trial.sequential size subject seeded fields exacts
                    else
                        let fields, exacts = everywhere.Value
                        Trial.amortised subject seeded fields exacts

                Cell.judge subject name trials clock.Elapsed.TotalSeconds
            with :? NotServedException as refusal ->
                Cell.refused subject name refusal.Message

        Cells.write Tables.calibration (path name) (Cell.json cell)

let private summarise options out =
    let order (cell: JsonNode) =
        let position list (name: string) =
            List.tryFindIndex ((=) name) list |> Option.defaultValue 99

        position
            [ "power-law ideal"
              "power-law published"
              "dark-matter ideal"
              "dark-matter published"
              "correlated-log-normal" ]
            (cell["problem"].GetValue<string>()),
        position (sequential @ amortised) (cell["method"].GetValue<string>())

    let asked (file: string) =
        sequential @ amortised
        |> List.exists (fun name -> file.EndsWith($"-{name}-{counts options name}.json", StringComparison.Ordinal))

    Directory.GetFiles(Cells.folder out, "*.json")
    |> Array.filter asked
    |> Array.map Cells.read
    |> Array.sortBy order
    |> List.ofArray
    |> Cells.summarise out "calibration" Tables.calibration (fun c -> c["reached"].GetValue<bool>())

let private usage =
    "OUT [--only PROBLEM] [--methods NAME,NAME] [--fields N] [--prior-fields N] [--pixels N] [--seed N]"

let private benchmark out arguments =
    let options =
        read
            { Only = None
              Methods = sequential @ amortised
              Fields = 20
              PriorFields = 200
              Pixels = 64
              Seed = 1UL }
            arguments

    all options.Pixels out options.Seed (ConsoleProgress.create ())
    |> List.filter (fun s -> options.Only |> Option.forall (fun only -> s.Name.StartsWith only))
    |> List.iter (run options out)

    summarise options out

[<EntryPoint>]
let main arguments = Cells.main usage benchmark arguments
