/// Pieces of work that take some seconds, keep how far they have come in a folder, and end with a digest of the bits of all that came out.
module Work

open System
open System.IO
open System.Security.Cryptography
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// Seconds between two savings.
let private every = 0.5

/// Small fields, so that a whole run takes seconds.
let private problem = lazy (PowerLaw.create 32 ModeConvention.Ideal)

let private place folder =
    { Checkpoint.inFolder folder with
        Every = every }

let private training progress folder fiducial =
    { ImnnSettings.Default with
        Features = Features.filterBank 4 5 2
        Simulations = 100
        DerivativeSimulations = 100
        MinIterations = 300
        MaxIterations = 300
        HeldOut = 1000
        Fit = 6000
        Quote = 6000
        Progress = progress
        Checkpoint = Some(place folder) }

/// The SHA-256 of numbers to their last bit, in order.
let digest (numbers: float[] seq) =
    use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256

    for values in numbers do
        hash.AppendData(values |> Array.collect BitConverter.GetBytes)

    Convert.ToHexString(hash.GetHashAndReset()).ToLowerInvariant()

/// All that a compressor is made of but the seconds that it took.
let ofCompressor (compressor: Compressor) =
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
let private quick progress folder =
    let settings =
        { training progress folder problem.Value.Fiducial with
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

let private simulating progress folder =
    { SimulationSettings.Default with
        Folder = Some(Path.Combine(folder, "simulations"))
        Progress = progress }

let private inferred infer progress folder =
    let compressor = quick progress folder

    let result: InferenceResult =
        infer (simulating progress folder) problem.Value.Model compressor field.Value

    digest (ofPosterior result.Posterior)

let private train progress folder =
    let p = problem.Value
    digest (ofCompressor (Imnn.train (training progress folder p.Fiducial) p.Simulator p.Fiducial))

let private refit progress folder =
    let p = problem.Value

    let recipe =
        { p.Recipe with
            Fiducial = Some [| 0.3; 1.0 |]
            Rounds = 4
            Training = training progress folder }
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

/// Maps with noise, whose posterior is sampled with their white noise.
let private latent progress folder =
    let grid = FourierGrid(2, 16, 16.0)

    let spectra: MapSpectra =
        { Parameters = [| "A"; "B" |]
          Maps = 1
          Power =
            fun k ->
                let law = PowerLaw.spectrum.LogPower k
                fun theta -> (law theta).exp().unsqueeze(1L).unsqueeze 1L }

    let bare = CorrelatedMaps.create spectra grid
    let noise = 0.5

    let field =
        Simulator.field
            (CorrelatedMaps.simulator "noisy maps" (CorrelatedMaps.withNoise [| noise |] bare))
            [| 0.9; 0.6 |]
            7UL

    let settings =
        { HmcSettings.Default with
            Chains = 4
            Warmup = 150
            Draws = 150
            Progress = progress
            Checkpoint = Some(place folder) }

    let found =
        LatentMaps.posterior
            settings
            (LatentMaps.ofGaussian bare noise)
            PowerLaw.prior
            (Array.init 20 (fun i -> [| 0.8 + 0.01 * float i; 0.5 + 0.2 * sin (float i) |]))
            field

    Array.append (ofPosterior found.Posterior) [| found.Chains.RHat; [| found.Chains.Acceptance; found.Chains.Step |] |]
    |> digest

/// Networks save as often as trainings do.
let private estimator (settings: EstimatorSettings) folder =
    { settings with
        Training =
            { settings.Training with
                Checkpoint = Some(place (Path.Combine(folder, "simulations"))) } }

/// Work by its name: who is told of it, and can stop it → its folder → the digest.
let all: (string * (Progress -> string -> string)) list =
    [ "training", train
      "refitting", refit
      "latent", latent
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
      fun progress folder ->
          inferred
              (fun simulating ->
                  Infer.delfi
                      { DelfiSettings.Default with
                          Rounds = [ 600; 400; 400 ]
                          Settled = 0.0
                          Estimator = estimator DelfiSettings.Default.Estimator folder
                          Simulations = simulating })
              progress
              folder
      "npe",
      fun progress folder ->
          inferred
              (fun simulating ->
                  Infer.npe
                      { NpeSettings.Default with
                          Budget = 1500
                          Estimator = estimator NpeSettings.Default.Estimator folder
                          Simulations = simulating })
              progress
              folder ]

/// The file in a folder with the digest of all that came out.
let digestFile folder = Path.Combine(folder, "digest.txt")

/// Does the work of a name in a folder, and writes its digest there. SIGTERM stops it.
let perform name folder =
    match List.tryFind (fst >> (=) name) all with
    | Some(_, work) ->
        let progress =
            { ConsoleProgress.create () with
                Report =
                    fun report ->
                        if report.Stage = "checkpoint" then
                            eprintfn $"checkpoint: {report.Note}" }

        File.WriteAllText(digestFile folder, work progress folder)
    | None ->
        let known = all |> List.map fst |> String.concat ", "
        raise (SettingException("work", known, name))
