/// Pieces of work that take some seconds, keep how far they have come in a folder, and end with a digest of the bits of all that came out.
module Work

open System
open System.IO
open System.Security.Cryptography
open System.Threading
open FieldImnn
open FieldImnn.Core.Fields
open TorchSharp

/// Seconds between two savings.
let private every = 0.5

/// Small fields, so that a whole run takes seconds.
let private problem = lazy (PowerLaw.create 32 ModeConvention.Ideal)

let private progress cancellation =
    { Report =
        fun report ->
            if report.Stage = "checkpoint" then
                eprintfn $"checkpoint: {report.Note}"
      Cancellation = cancellation }

let private place folder =
    { Checkpoint.inFolder folder with
        Every = every }

let private training cancellation folder fiducial =
    { ImnnSettings.Default with
        Features = Features.filterBank 4 5 2
        Simulations = 100
        DerivativeSimulations = 100
        MinIterations = 300
        MaxIterations = 300
        HeldOut = 1000
        Fit = 6000
        Quote = 6000
        Progress = progress cancellation
        Checkpoint = Some(place folder) }

/// The SHA-256 of numbers to their last bit, in order.
let private digest (numbers: float[] seq) =
    use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256

    for values in numbers do
        hash.AppendData(values |> Array.collect BitConverter.GetBytes)

    Convert.ToHexString(hash.GetHashAndReset()).ToLowerInvariant()

/// All that a compressor is made of but the seconds that it took.
let private ofCompressor (compressor: Compressor) =
    [ for struct (_, weight) in compressor.Network.Parameters do
          Tensors.toArray weight
      compressor.Statistics.Mean.ToArray()
      compressor.Statistics.Covariance.ToColumnMajorArray()
      compressor.Statistics.MeanDerivative.ToColumnMajorArray()
      compressor.Fisher.ToColumnMajorArray()
      for layer in Option.toList compressor.Linear do
          layer.ToColumnMajorArray()
      for r in compressor.History do
          [| float r.Iteration; r.DetF; r.HeldOutDetF |]
      [| float compressor.QuotedOn; float compressor.Simulations |] ]

let private ofPosterior (posterior: Posterior) =
    Array.append posterior.Samples [| posterior.Weights |]

/// One field that was observed.
let private field =
    lazy (Simulator.field problem.Value.Simulator problem.Value.Example 7UL)

/// A compressor with nothing to train, made in a second, for the inferences.
let private quick cancellation folder =
    let settings =
        { training cancellation folder problem.Value.Fiducial with
            Features = Features.bandPower 8
            Fit = 1000
            Quote = 1000 }

    Cache.trainOrLoad
        (Path.Combine(folder, "compressors"))
        []
        settings
        problem.Value.Simulator
        None
        problem.Value.Fiducial

let private simulating cancellation folder =
    { SimulationSettings.Default with
        Folder = Some(Path.Combine(folder, "simulations"))
        Progress = progress cancellation }

let private inferred infer cancellation folder =
    let compressor = quick cancellation folder

    let result: InferenceResult =
        infer (simulating cancellation folder) problem.Value.Model compressor field.Value

    digest (ofPosterior result.Posterior)

let private train cancellation folder =
    let p = problem.Value
    digest (ofCompressor (Imnn.train (training cancellation folder p.Fiducial) p.Simulator p.Fiducial))

let private refit cancellation folder =
    let p = problem.Value

    let recipe =
        { p.Recipe with
            Fiducial = Some [| 0.3; 1.0 |]
            Rounds = 4
            Training = training cancellation folder }
        |> Recipe.map (fun s ->
            { s with
                MaxIterations = 100
                MinIterations = 100 })

    Infer.refitBy
        (fun settings earlier fiducial -> Cache.trainOrLoad folder [] settings p.Simulator earlier fiducial)
        p.Model
        recipe
        (field.Value.unsqueeze 0L)
    |> List.collect (fun round -> Array.concat round.Estimates :: ofCompressor round.Compressor)
    |> digest

/// Networks save as often as trainings do.
let private estimator (settings: EstimatorSettings) folder =
    { settings with
        Training =
            { settings.Training with
                Checkpoint = Some(place (Path.Combine(folder, "simulations"))) } }

/// The work of a name in a folder: all of it, or, where it is cancelled, a part.
let all: (string * (CancellationToken -> string -> string)) list =
    [ "training", train
      "refitting", refit
      "abc",
      inferred (fun simulating ->
          Infer.abc
              { AbcSettings.Default with
                  Budget = 50000
                  Simulations = simulating })
      "pmc",
      inferred (fun simulating ->
          Infer.pmc
              { PmcSettings.Default with
                  Population = 2000
                  Budget = 40000
                  Simulations = simulating })
      "delfi",
      fun cancellation folder ->
          inferred
              (fun simulating ->
                  Infer.delfi
                      { DelfiSettings.Default with
                          Rounds = [ 600; 400; 400 ]
                          Settled = 0.0
                          Estimator = estimator DelfiSettings.Default.Estimator folder
                          Simulations = simulating })
              cancellation
              folder
      "npe",
      fun cancellation folder ->
          inferred
              (fun simulating ->
                  Infer.npe
                      { NpeSettings.Default with
                          Budget = 1500
                          Estimator = estimator NpeSettings.Default.Estimator folder
                          Simulations = simulating })
              cancellation
              folder ]
