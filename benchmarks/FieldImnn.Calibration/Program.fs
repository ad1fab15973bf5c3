/// Calibration of every method on every problem: dotnet run -c Release --project benchmarks/FieldImnn.Calibration -- OUT [--only PROBLEM]
/// [--methods abc,pmc] [--fields N] [--prior-fields N] [--pixels N] [--seed N]. Cells that are in OUT already are not run again.
module Program

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Runtime
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

/// Methods that see each field by itself, and those that serve the whole prior at once.
let private sequential = [ "abc"; "pmc"; "delfi"; joint ]

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

let private run options out subject =
    let path name = Cell.path out subject.Name name

    let missing =
        options.Methods
        // fields that each need a compressor of their own share no run
        |> List.filter (fun name -> not (File.Exists(path name) || subject.OwnRounds && name = joint))

    let universe region count =
        lazy
            (let fields = Trial.fields subject region count
             fields, fields |> Array.map (snd >> Trial.exact subject))

    let about = universe subject.About options.Fields
    let everywhere = universe subject.Problem.Prior options.PriorFields

    for name in missing do
        let clock = Stopwatch.StartNew()

        let methodOf seed =
            NamedMethod.create (if name = joint then "delfi" else name) false seed Progress.silent None

        let cell =
            try
                let trials =
                    if List.contains name sequential then
                        let fields, exacts = about.Value
                        let size = if name = joint then 4 else 1
                        Trial.sequential size subject methodOf fields exacts
                    else
                        let fields, exacts = everywhere.Value
                        Trial.amortised subject methodOf fields exacts

                Cell.judge subject name trials clock.Elapsed.TotalSeconds
            with :? NotServedException as refusal ->
                Cell.refused subject name refusal.Message

        Report.writeJson (path name) (Cell.json cell)
        ConsoleProgress.finish ()
        printfn $"{Cell.table [ Cell.json cell ] |> List.last}"

let private summarise out =
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

    let cells =
        Directory.GetFiles(Path.Combine(out, "cells"), "*.json")
        |> Array.map (fun path -> JsonNode.Parse(File.ReadAllText path))
        |> Array.sortBy order
        |> List.ofArray

    let table = Cell.table cells
    File.WriteAllLines(Path.Combine(out, "calibration.md"), table)
    table |> List.iter Console.WriteLine

    Report.writeJson
        (Path.Combine(out, "calibration.json"))
        (JsonArray(cells |> List.map (fun c -> c.DeepClone()) |> Array.ofList))

    if cells |> List.forall (fun c -> c["reached"].GetValue<bool>()) then
        0
    else
        1

[<EntryPoint>]
let main arguments =
    TorchRuntime.Configure()
    CultureInfo.DefaultThreadCurrentCulture <- CultureInfo.InvariantCulture
    CultureInfo.CurrentCulture <- CultureInfo.InvariantCulture

    try
        match List.ofArray arguments with
        | out :: rest ->
            let options =
                read
                    { Only = None
                      Methods = sequential @ amortised
                      Fields = 20
                      PriorFields = 200
                      Pixels = 64
                      Seed = 1UL }
                    rest

            Files.ensureWritableFolder (Path.Combine(out, "cells"))

            all options.Pixels out options.Seed (ConsoleProgress.create ())
            |> List.filter (fun s -> options.Only |> Option.forall (fun only -> s.Name.StartsWith only))
            |> List.iter (run options out)

            summarise out
        | [] ->
            eprintfn
                "expected: OUT [--only PROBLEM] [--methods NAME,NAME] [--fields N] [--prior-fields N] [--pixels N] [--seed N]"

            2
    with
    | :? FieldImnnException as error ->
        eprintfn $"error: {error.Message}"
        2
    | :? OperationCanceledException -> 130
