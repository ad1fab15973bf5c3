/// What a checkpoint of a training costs, and what going on from it does, on fields of 128² pixels.
module Checkpoints

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open System.Threading
open FieldImnn
open FieldImnn.Core.Fields
open TorchSharp

let private problem = lazy (PowerLaw.create 128 ModeConvention.Ideal)

/// Steps that are timed.
let private steps = 12

let private settings features =
    { ImnnSettings.Default with
        Features = features
        Simulations = 60
        DerivativeSimulations = 60
        MinIterations = steps
        MaxIterations = steps
        EvaluateEvery = steps
        HeldOut = 200
        Fit = 1000
        Quote = 1000 }

let private networks =
    [ "filter bank, 8 filters", Features.filterBank 8 7 3
      "published network, 16 filters", Features.inception 16
      "published network, 55 filters", Features.inception 55 ]

/// Trains until the report of a number; seconds to each.
let private until number (settings: ImnnSettings) =
    use _ = torch.NewDisposeScope()
    use source = new CancellationTokenSource()
    let clock = Stopwatch.StartNew()
    let times = ResizeArray<float>()

    let report (r: ProgressReport) =
        if r.Stage = "training" then
            times.Add clock.Elapsed.TotalSeconds

            if times.Count = number then
                source.Cancel()

    let settings =
        { settings with
            Progress =
                { Report = report
                  Cancellation = source.Token } }

    try
        use network =
            (Imnn.train settings problem.Value.Simulator problem.Value.Fiducial).Network

        ignore network
    with :? OperationCanceledException ->
        ()

    times.ToArray()

let private median (values: float[]) = (Array.sort values)[values.Length / 2]

/// Median of several goes.
let private seconds (work: unit -> 'result) =
    median
        [| for _ in 1..7 do
               let clock = Stopwatch.StartNew()
               work () |> ignore
               clock.Elapsed.TotalSeconds |]

let private measure out (name, features) : JsonNode =
    let folder = Path.Combine(out, "checkpoints")

    if Directory.Exists folder then
        Directory.Delete(folder, recursive = true)

    let settings = settings features

    // saved when it is stopped, and not before
    let kept =
        { settings with
            Checkpoint =
                Some
                    { Checkpoint.inFolder folder with
                        Every = 1e6 } }

    let plain = until (steps - 1) settings
    until (steps - 2) kept |> ignore
    let path = Directory.GetFiles folder |> Array.exactlyOne
    let stored = Npz.read path
    let write = seconds (fun () -> Npz.write path stored)

    Report.fields
        [ "network", Report.value name
          "megabytes", Report.value (float (FileInfo(path).Length) / 1e6)
          "secondsOfAStep", Report.value (plain |> Array.pairwise |> Array.map (fun (a, b) -> b - a) |> median)
          "secondsToWrite", Report.value write
          "secondsToRead", Report.value (seconds (fun () -> Npz.read path))
          "shareAtThirtySeconds", Report.value (write / (Checkpoint.inFolder folder).Every)
          "secondsToTheFirstStep", Report.value (Array.head plain)
          "secondsToTheFirstStepResumed", Report.value (until 1 kept |> Array.head) ]

let run out = networks |> List.map (measure out)

let table (cells: JsonNode list) =
    [ "| network | file, MB | seconds of a step | to write it | to read it | part of the time, every 30 s | seconds to the first step, anew | resumed |"
      "|---|---|---|---|---|---|---|---|"
      for c in cells do
          let number (name: string) = c[name].GetValue<float>()

          $"""| {c["network"].GetValue<string>()} | %.2f{number "megabytes"} | %.2f{number "secondsOfAStep"} | %.3f{number "secondsToWrite"} | %.3f{number "secondsToRead"} | %.2f{100.0 * number "shareAtThirtySeconds"} %% | %.1f{number "secondsToTheFirstStep"} | %.1f{number "secondsToTheFirstStepResumed"} |""" ]
