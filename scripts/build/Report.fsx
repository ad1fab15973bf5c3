/// The report: the works that it stands on, made again where their code, settings or inputs have changed, and its pages.
module Report

#load "Benchmarks.fsx"

open System
open System.Collections
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open System.Threading.Tasks
open Building
open Steps
open Studies
open Works

let private project = "scripts/FieldImnn.Paper"

/// Where the results and figures of the report, or of a quick run, are.
let private kept quick folder =
    if quick then
        artifacts $"paper-quick/{folder}"
    else
        at $"paper/{folder}"

/// The benchmark's runs, one after the other, and the rows of all of them in one file.
let private benchmarking folder quick work name project runs digest =
    let cells = JsonArray()

    for i, run in List.indexed (if quick then [ work.Quick ] else runs) do
        let own = Path.Combine(folder, string i)
        let results = Path.Combine(own, $"{name}.json")
        Directory.CreateDirectory own |> ignore
        File.Delete results // rows of an earlier run must not pass for this one's
        let code = Benchmarks.running project name own run None

        // 1: a goal is missed, which the report says
        if code > 1 || not (File.Exists results) then
            raise (
                Stop(
                    $"The benchmark {name} ended with exit code {code}; the same command goes on from {shown own}.",
                    code
                )
            )

        let written = JsonNode.Parse(File.ReadAllText results)

        for cell in written[Origin.rows].AsArray() do
            let copy = cell.DeepClone()
            cells.Add copy

    Origin.stamped (Origin.here root (commands quick work) (Some digest)) cells
    |> writeResults (Path.Combine(folder, "results.json"))

/// Copies what a work has made to where the report finds it.
let private keep quick folder work =
    let results, figures = kept quick "results", kept quick "figures"
    Directory.CreateDirectory results |> ignore
    Directory.CreateDirectory figures |> ignore

    for picture in Directory.GetFiles(folder, "*.png", SearchOption.AllDirectories) do
        let name = Path.GetFileNameWithoutExtension picture

        if
            work.Figures
            |> List.exists (fun f -> name.StartsWith(f, StringComparison.Ordinal))
        then
            File.Copy(picture, Path.Combine(figures, $"{name}{work.Mark}.png"), true)

    // last: with the results the work counts as made
    File.Copy(Path.Combine(folder, "results.json"), Path.Combine(results, $"{work.Name}.json"), true)

/// Makes a work in a folder of its digest's, so that nothing of other code is taken for its own, and what was stopped goes on.
let private make quick work =
    let digest = digest root quick work
    let kind = if quick then "quick" else "full"
    let folder = artifacts $"paper-works/{work.Name}-{kind}-{digest}"
    Directory.CreateDirectory folder |> ignore

    match work.Making with
    | Study(study, options) ->
        let quickly = if quick then work.Quick else []
        perform (studying folder study (options @ quickly) (Some digest))
    | Benchmark(name, project, runs) ->
        perform [ streaming work.Name (fun () -> benchmarking folder quick work name project runs digest) ]
    | Kept -> ()

    keep quick folder work

let private lacking work =
    work.Inputs
    |> List.filter (fun input -> not (Directory.Exists(at input) || File.Exists(at input)))

/// Makes works side by side, for a first look, whose times nobody quotes: as many at a time as `processes`.
let private makeAside (works: Work list) =
    // the longest first, so that none is left alone at the end
    let waiting = Concurrent.ConcurrentQueue(List.rev works)
    let stopped = Concurrent.ConcurrentQueue<exn>()

    let rec lane () =
        match waiting.TryDequeue() with
        | true, work when stopped.IsEmpty ->
            try
                doAside work.Name (fun () -> make true work)
            with Stop(text, code) ->
                stopped.Enqueue(Stop($"{text}\nWhat it said: {shown (logFile work.Name)}", code))

            lane ()
        | _ -> ()

    [ for _ in 1..processes -> Task.Factory.StartNew(lane, TaskCreationOptions.LongRunning) ]
    |> List.iter _.GetAwaiter().GetResult()

    match stopped.TryPeek() with
    | true, first -> raise first
    | _ -> ()

let private remake quick (wanted: Work -> bool) =
    perform [ restoring; building ]

    let due =
        [ for work in all |> List.filter wanted do
              match state root quick (kept quick "results") work, lacking work with
              | (Current | Record), _ -> ()
              | _ when work.Making = Kept -> ()
              | _, [] -> work
              | _, inputs ->
                  let inputs = String.Join(", ", inputs)
                  printfn $"{work.Name} is not made again: there is no {inputs}." ]

    if quick then makeAside due else List.iter (make quick) due

/// The names after --only, each of a work; the other arguments.
let rec private only =
    function
    | "--only" :: (names: string) :: rest ->
        let named = names.Split ',' |> List.ofArray

        for name in named do
            if all |> List.forall (fun work -> work.Name <> name) then
                let known = String.Join(", ", all |> List.map _.Name)
                misuse $"Unknown results '{name}'; the report stands on: {known}."

        let _, others = only rest
        Some named, others
    | other :: rest ->
        let named, others = only rest
        named, other :: others
    | [] -> None, []

let paper arguments =
    let named, options = only arguments

    match options |> List.except [ "--quick"; "--only-text" ] with
    | [] -> ()
    | other ->
        let given = String.Join(" ", other)
        misuse $"paper takes --quick, --only NAME,NAME and --only-text, and not '{given}'."

    let clock = Stopwatch.StartNew()
    let quick = List.contains "--quick" options

    match named with
    | None when List.contains "--only-text" options ->
        perform
            [ restoring
              quiet "Building" (fun () -> dotnet "paper" ([ "build"; at project ] @ release)) ]
    | None -> remake quick (fun _ -> true)
    | Some names -> remake quick (fun work -> List.contains work.Name names)

    // what was not to be made again may be of older code, and is marked
    let text = if named.IsSome then [ "--only-text" ] else []

    let code =
        stream "dotnet" (program project :: root :: List.distinct (options @ text))

    printfn $"Report: {clock.Elapsed.TotalSeconds:F0} s."
    code
