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

/// Trains until the report of a number; processor seconds of each step, and wall seconds to the first.
let private until number (settings: ImnnSettings) =
    use _ = torch.NewDisposeScope()
    use source = new CancellationTokenSource()
    use me = Process.GetCurrentProcess()
    let clock = Stopwatch.StartNew()
    let times = ResizeArray<TimeSpan>()
    let mutable first = nan

    let report (r: ProgressReport) =
        if r.Stage = "training" then
            if times.Count = 0 then
                first <- clock.Elapsed.TotalSeconds

            me.Refresh()
            times.Add me.TotalProcessorTime

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

    let each =
        times
        |> Seq.pairwise
        |> Seq.map (fun (a, b) -> (b - a).TotalSeconds)
        |> Array.ofSeq
        |> Array.sort

    (if each.Length = 0 then nan else each[each.Length / 2]), first

let private measure out (name, features) : JsonNode =
    let folder = Path.Combine(out, "checkpoints")

    if Directory.Exists folder then
        Directory.Delete(folder, recursive = true)

    let settings = settings features

    let kept every =
        { settings with
            Checkpoint =
                Some
                    { Checkpoint.inFolder folder with
                        Every = every } }

    let plain, anew = until (steps - 1) settings
    let saving, _ = until (steps - 1) (kept 1e-6)
    let _, again = until 1 (kept 1e6)

    let bytes =
        Directory.GetFiles folder |> Array.sumBy (fun file -> FileInfo(file).Length)

    Report.fields
        [ "network", Report.value name
          "megabytes", Report.value (float bytes / 1e6)
          "secondsOfAStep", Report.value plain
          "secondsOfASaving", Report.value (saving - plain)
          "shareAtThirtySeconds", Report.value ((saving - plain) / (Checkpoint.inFolder folder).Every)
          "secondsToTheFirstStep", Report.value anew
          "secondsToTheFirstStepResumed", Report.value again ]

let run out = networks |> List.map (measure out)

let table (cells: JsonNode list) =
    [ "| network | file, MB | processor seconds of a step | of a saving | part of the time, every 30 s | seconds to the first step, anew | resumed |"
      "|---|---|---|---|---|---|---|"
      for c in cells do
          let number (name: string) = c[name].GetValue<float>()

          $"""| {c["network"].GetValue<string>()} | %.2f{number "megabytes"} | %.2f{number "secondsOfAStep"} | %.3f{number "secondsOfASaving"} | %.2f{100.0 * number "shareAtThirtySeconds"} %% | %.1f{number "secondsToTheFirstStep"} | %.1f{number "secondsToTheFirstStepResumed"} |""" ]
