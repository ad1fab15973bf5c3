/// The benchmarks: programs of their own, whose results say what made them.
module Benchmarks

#load "Studies.fsx"

open System.IO
open System.Text.Json.Nodes
open Building
open Steps
open Studies

let private built name project =
    quiet "Building" (fun () -> dotnet name ([ "build"; at $"benchmarks/{project}" ] @ release))

let bench arguments =
    let project = "FieldImnn.Benchmarks"

    if not (Directory.Exists(at $"benchmarks/{project}")) then
        fail $"There is no benchmarks/{project} in this copy of the repository."

    perform [ restoring; built "bench" project ]
    stream "dotnet" (program $"benchmarks/{project}" :: arguments)

/// The public reference posteriors of the benchmark of neural likelihood.
let private references = at "../shared/reference/sbibm"

/// Benchmarks that share their program with others, which knows them by their name.
let private shared = set [ "posteriors"; "resume"; "checkpoints"; "soak" ]

/// Runs a benchmark with its results in FOLDER/NAME.json, which then name their origin; its exit code, 1 where a goal is missed.
let running project name folder arguments digest =
    let results = Path.Combine(folder, $"{name}.json")
    Directory.CreateDirectory folder |> ignore

    let places =
        if name = "sbibm" then
            [ references; results ]
        else
            [ folder ]

    let which = if shared.Contains name then [ name ] else []

    let code =
        stream "dotnet" (program $"benchmarks/{project}" :: places @ which @ arguments)

    if File.Exists results then
        let command = [ "dotnet"; "fsi"; "build.fsx"; "benchmark"; name ] @ arguments

        JsonNode.Parse(File.ReadAllText results)
        |> Origin.stamped (Origin.here root [ command ] digest)
        |> writeResults results

    code

/// A benchmark that writes to artifacts/NAME; one of cells goes on where it stopped.
let private resumed project name arguments =
    let out = artifacts name
    perform [ restoring; built name project ]
    let code = running project name out arguments None
    printfn $"Written to {shown out}."
    code

/// Neural likelihood against the published benchmark, on its public reference posteriors.
let sbibm arguments =
    if not (Directory.Exists references) then
        fail $"This needs the benchmark's public data in ../shared/reference/sbibm."

    resumed "FieldImnn.Sbibm" "sbibm" arguments

/// Every method on every problem: do its posteriors hold the truth as often as they say, and how far are they from the exact ones?
let calibration = resumed "FieldImnn.Calibration" "calibration"

/// Every universe whose information is known exactly: how much of it do features keep?
let information = resumed "FieldImnn.Information" "information"

/// The same universes: how far are posteriors from the default features from the exact ones?
let posteriors = resumed "FieldImnn.Information" "posteriors"

/// What does a simulation cost against pixels, parameters, channels and features?
let scaling = resumed "FieldImnn.Scaling" "scaling"

/// Work that is killed at random moments: does it go on to the same bits, and what does a kill cost?
let resume = resumed "FieldImnn.LongRuns" "resume"

/// What a checkpoint costs, and how long it takes to go on from one.
let checkpoints = resumed "FieldImnn.LongRuns" "checkpoints"

/// Long trainings and very many simulations: does memory stay where it is?
let soak = resumed "FieldImnn.LongRuns" "soak"
