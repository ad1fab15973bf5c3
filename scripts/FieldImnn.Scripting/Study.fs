namespace FieldImnn

open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random

/// A result for one of the paper's problems, all of which have an exact answer to stand beside it.
type StudyResult =
    { Result: InferenceResult
      Exact: Comparison }

    member this.Posterior = this.Result.Posterior
    member this.Estimate = this.Result.Estimate
    member this.Method = this.Result.Method
    member this.Simulations = this.Result.Simulations
    member this.AreaRatio = this.Exact.AreaRatio
    member this.FisherRetained = this.Exact.FisherRetained

/// What the scripts of a study share: compressors, kept in its folder, observed fields and results.
module Study =
    /// The folder where the simulations of a figure are kept, from which the same figure, drawn again after a stop, goes on.
    let simulations (options: StudyOptions) figure =
        Path.Combine(options.Out, "simulations", figure)

    /// Progress on standard error, in the log of the study's folder and, with --watch, on a page there.
    let progress (options: StudyOptions) =
        Watched.progress options.Watch options.Out

    /// A problem whose simulations are from the options' campaign, if there is one.
    let withCampaign (options: StudyOptions) (problem: Problem) : Problem =
        match options.Campaign with
        | None -> problem
        | Some folder ->
            let adds =
                { Kept.nothing with
                    Fields = options.AddsToCampaign }

            { problem with
                Model = CampaignFolder.model (CampaignFolder.create "study" adds folder) problem.Model }

    /// The problem of a name, its simulations from the options' campaign, if there is one.
    let problem (options: StudyOptions) name : Problem =
        Catalogue.problem name options.Modes |> withCampaign options

    /// A problem's recipe as a study's options want it.
    let recipe (options: StudyOptions) progress (problem: Problem) =
        (if options.Quick then
             Recipe.quick problem.Recipe
         else
             problem.Recipe)
        |> Recipe.withSeed options.Seed
        |> Recipe.withProgress progress

    /// The compressor of given settings, from the study's folder or trained now from the weights of an earlier one, if there is one.
    let private kept (options: StudyOptions) (problem: Problem) settings earlier fiducial =
        Cache.trainOrLoad
            (Path.Combine(options.Out, "compressors"))
            [ "problem", problem.Simulator.Name; "modes", options.ModesName ]
            settings
            problem.Simulator
            earlier
            fiducial
        |> Compressor.comparing problem.Recipe.Beside

    /// The compressor of given settings at given parameters.
    let compressorWith settings fiducial options problem =
        kept options problem settings None fiducial

    /// A compressor of settings of one's own, shortened and seeded as the study's options want it.
    let trained (settings: ImnnSettings) fiducial options progress (problem: Problem) =
        let own =
            { problem with
                Recipe = Recipe.ofSettings settings }

        compressorWith ((recipe options progress own).Training fiducial) fiducial options problem

    /// The study's compressor at given parameters, trained by whichever script needs it first.
    let compressorAt fiducial options progress (problem: Problem) =
        compressorWith ((recipe options progress problem).Training fiducial) fiducial options problem

    /// The study's compressor where the problem's recipe begins.
    let compressor options progress (problem: Problem) =
        compressorAt problem.Fiducial options progress problem

    /// Rounds of training for observed fields (n, shape…), kept in the study's folder.
    let refit options progress (problem: Problem) fields =
        Infer.refitBy (kept options problem) problem.Model (recipe options progress problem) fields

    /// Posteriors of fields (shape…) by a method of a name, each with the exact one.
    let inferAll name method (problem: Problem) compressor fields : StudyResult list =
        Infer.all name method problem.Model compressor fields
        |> List.map (fun result ->
            { Result = result
              Exact = Option.get result.Exact })

    /// The posterior of one field (shape…).
    let infer name method problem compressor field =
        inferAll name method problem compressor [ field ] |> List.head

    /// The example field of a problem.
    let example (options: StudyOptions) (problem: Problem) =
        Simulator.field problem.Simulator problem.Example (NoiseKey.SeedFor(options.Seed, "target"))

    /// The study's observed fields (title, field): the .npy files of --targets whose names begin with the prefix, in order, then fields
    /// simulated at the problem's example up to the wanted number.
    let observed (options: StudyOptions) prefix count (problem: Problem) =
        let stored =
            match options.Targets with
            | None -> []
            | Some folder when Directory.Exists folder ->
                Directory.GetFiles(folder, prefix + "*.npy") |> Array.sort |> Array.toList
            | Some folder -> raise (StoreException($"folder of targets '{folder}'", "a folder", "none"))
            |> List.truncate count
            |> List.map (fun path ->
                let shape = problem.Simulator.FieldShape |> Array.map int

                Path.GetFileNameWithoutExtension path,
                ObservedField.read path shape
                |> ObservedField.requireVariation path
                |> ObservedField.toTensor)

        let simulated =
            [ for i in 1 .. count - stored.Length ->
                  let seed = NoiseKey.SeedFor(options.Seed, $"target {i}")
                  $"simulated field {i}", Simulator.field problem.Simulator problem.Example seed ]

        stored @ simulated

    /// The summary of a result, as JSON.
    let summary (options: StudyOptions) (problem: Problem) seconds (result: StudyResult) =
        Report.summary
            [ "problem", Report.value problem.Simulator.Name
              "modes", Report.value options.ModesName ]
            problem.Simulator.Parameters
            seconds
            options.Seed
            result.Result

    /// Writes the numbers behind a figure to results/NAME.json.
    let results (options: StudyOptions) name json =
        Report.writeJson (Path.Combine(options.Out, "results", $"{name}.json")) json
