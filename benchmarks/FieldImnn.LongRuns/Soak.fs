/// Long trainings and many simulations: does resident memory stay where it is, and is any tensor left?
module Soak

open System
open System.Diagnostics
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// Resident memory of a piece of work, MB, and the tensors that it left.
type Curve =
    {
        Name: string
        /// So many steps, or simulations.
        Count: int
        /// Mean of each tenth of the work.
        Megabytes: float[]
        LeftTensors: int64
        Seconds: float
    }

/// Tensors that live on this thread.
let private alive () =
    DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount

let private resident () =
    use me = Process.GetCurrentProcess()
    float me.WorkingSet64 / 1e6

// its constants are made once
let private problem = lazy (PowerLaw.create 16 ModeConvention.Ideal)

/// Runs the work, which calls what it is given now and then, after a short one of the same kind, which makes what is made once.
let private follow name count (work: int -> (unit -> unit) -> unit) =
    work (max 1 (count / 50)) ignore
    let before = alive ()
    let seen = ResizeArray<float>()
    let clock = Stopwatch.StartNew()
    work count (fun () -> seen.Add(resident ()))

    { Name = name
      Count = count
      Megabytes = seen.ToArray() |> Array.splitInto 10 |> Array.map Array.average
      LeftTensors = alive () - before
      Seconds = clock.Elapsed.TotalSeconds }

/// One training of so many steps.
let private training steps look =
    let problem = problem.Value
    let mutable reports = 0

    let report _ =
        reports <- reports + 1

        if reports % (max 1 (steps / 1000)) = 0 then
            look ()

    let settings =
        { ImnnSettings.Default with
            Features = Features.filterBank 2 3 2
            Simulations = 50
            DerivativeSimulations = 50
            MinIterations = steps
            MaxIterations = steps
            HeldOut = 200
            Fit = 1000
            Quote = 1000
            Progress = { Progress.silent with Report = report } }

    use network = (Imnn.train settings problem.Simulator problem.Fiducial).Network

    ignore network

/// Simulations of one run of ABC.
let private each = 10000

/// So many simulations, in runs of ABC.
let private simulations count look =
    let problem = problem.Value
    let fisher = problem.Exact.Fisher problem.Fiducial

    let summaries (fields: Tensor) =
        Tensors.toRows (
            torch.stack ([| fields.std([| 1L; 2L |]).log(); fields.diff(1, 2L).std([| 1L; 2L |]).log() |], 1L)
        )

    let settings =
        { AbcSettings.Default with
            Budget = each
            Proposal = FromPrior
            Simulations =
                { SimulationSettings.Default with
                    Progress =
                        { Progress.silent with
                            Report = fun _ -> look () } } }

    for run in 1 .. max 1 (count / each) do
        Abc.run { settings with Seed = uint64 run } problem.Simulator summaries fisher problem.Prior [| 0.0; 0.3 |]
        |> ignore

/// Largest distance of a tenth from the mean of all but the first, over that mean: in the first, what is made once is made.
let drift curve =
    let later = curve.Megabytes[1..]
    let mean = Array.average later
    later |> Array.map (fun m -> abs (m - mean) / mean) |> Array.max

let flat curve =
    drift curve <= 0.02 && curve.LeftTensors = 0L

let run (steps: int) (count: int) =
    [ follow "training steps" steps training
      follow "simulations" count simulations ]

let cell curve : JsonNode =
    Report.fields
        [ "work", Report.value curve.Name
          "count", Report.value curve.Count
          "megabytes", Report.numbers curve.Megabytes
          "drift", Report.value (drift curve)
          "leftTensors", Report.value curve.LeftTensors
          "seconds", Report.value curve.Seconds
          "flat", Report.value (flat curve) ]

let table (cells: JsonNode list) =
    [ "| work | resident memory, MB, of each tenth | largest drift after the first | tensors left | seconds |"
      "|---|---|---|---|---|"
      for c in cells do
          let curve =
              c["megabytes"].AsArray()
              |> Seq.map (fun m -> $"%.0f{m.GetValue<float>()}")
              |> String.concat ", "

          $"""| {c["count"]} {c["work"].GetValue<string>()} | {curve} | %.1f{100.0 * c["drift"].GetValue<float>()} %% | {c["leftTensors"]} | %.0f{c["seconds"].GetValue<float>()} |""" ]
