/// How much of the exact information features keep: dotnet run -c Release --project benchmarks/FieldImnn.Information -- OUT
/// [--only UNIVERSE] [--features default,"band powers"] [--change means=4,scales=1] [--seeds N] [--fit N] [--quote N] [--halved N].
/// Cells that are in OUT already are not run again.
module Program

open System
open System.Globalization
open System.IO
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Runtime
open FieldImnn.Plots

type private Options =
    { Only: string option
      Features: string list
      Changes: string list
      Seeds: int
      Fit: int option
      Quote: int
      Halved: int }

let private usage =
    "OUT [--only UNIVERSE] [--features NAME,NAME] [--change NAME=NUMBER,NAME=NUMBER]… [--seeds N] [--fit N] [--quote N] [--halved N]"

let rec private read options =
    function
    | [] -> options
    | "--only" :: name :: rest -> read { options with Only = Some name } rest
    | "--features" :: (names: string) :: rest ->
        read
            { options with
                Features = List.ofArray (names.Split ',') }
            rest
    | "--change" :: text :: rest ->
        read
            { options with
                Changes = options.Changes @ [ text ] }
            rest
    | "--seeds" :: (n: string) :: rest -> read { options with Seeds = int n } rest
    | "--fit" :: (n: string) :: rest -> read { options with Fit = Some(int n) } rest
    | "--quote" :: (n: string) :: rest -> read { options with Quote = int n } rest
    | "--halved" :: (n: string) :: rest -> read { options with Halved = int n } rest
    | other :: _ -> raise (SettingException("option", usage, other))

let private run options out progress (universe: Universe.Universe) (candidate: Candidate.Candidate) =
    let path = Cell.path out universe candidate

    if not (File.Exists path) then
        let cell =
            try
                [| 1 .. options.Seeds |]
                |> Array.map (fun seed -> Cell.run universe candidate options.Fit options.Quote (uint64 seed) progress)
                |> Cell.json universe candidate options.Quote
            with :? SettingException as error ->
                Cell.refused universe candidate error

        Report.writeJson path cell
        ConsoleProgress.finish ()
        printfn $"{Cell.table [ cell ] |> List.last}"

let private chosen options =
    [ for universe in Universe.all options.Halved do
          if options.Only |> Option.forall universe.Name.StartsWith then
              for candidate in Candidate.all universe do
                  if options.Features.IsEmpty || List.contains candidate.Name options.Features then
                      universe, candidate

              for text in options.Changes do
                  universe, Candidate.changed text ]

let private summarise out chosen =
    let cells =
        chosen
        |> List.map (fun (universe, candidate) -> Cell.path out universe candidate)
        |> List.filter File.Exists
        |> List.map (fun path -> JsonNode.Parse(File.ReadAllText path))

    let table = Cell.table cells
    File.WriteAllLines(Path.Combine(out, "information.md"), table)
    table |> List.iter Console.WriteLine

    Report.writeJson
        (Path.Combine(out, "information.json"))
        (JsonArray(cells |> List.map (fun c -> c.DeepClone()) |> Array.ofList))

    cells |> Cell.figure |> Export.figure out "information"

    if
        cells
        |> List.forall (fun c -> isNull c["reached"] || c["reached"].GetValue<bool>())
    then
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
                      Features = []
                      Changes = []
                      Seeds = 3
                      Fit = None
                      Quote = 60000
                      Halved = 0 }
                    rest

            Files.ensureWritableFolder (Path.Combine(out, "cells"))
            let progress = ConsoleProgress.create ()
            let chosen = chosen options

            for universe, candidate in chosen do
                run options out progress universe candidate

            summarise out chosen
        | [] ->
            eprintfn $"expected: {usage}"
            2
    with
    | :? FieldImnnException as error ->
        eprintfn $"error: {error.Message}"
        2
    | :? OperationCanceledException -> 130
