namespace FieldImnn

open System.IO
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random

/// What the figures of weak lensing share: one observed field of five convergence maps, how it is compressed, by a network and by its power
/// spectra, and the posterior at the field's level that both are held against.
type LensingStudy =
    {
        Options: StudyOptions
        Progress: Progress
        Survey: LensingSurvey
        Problem: Problem
        /// The observed maps (5, N, N), at the centre of the prior.
        Field: Tensor
    }

/// Log-normal weak lensing on few pixels, where the field's own posterior can be sampled.
module LensingStudy =
    /// Pixels a side: each chain of the truth moves 5 N² latent numbers.
    let pixels (options: StudyOptions) = if options.Quick then 32 else 64

    /// Where the log-normal maps end: the authors' table, lognormal_shifts.npy in the folder of --targets, without which there are no published
    /// maps; an empty beam otherwise.
    let shift (options: StudyOptions) =
        match options.Targets with
        | Some folder ->
            let table = Npy.read (Path.Combine(folder, "lognormal_shifts.npy"))
            Tabulated(WeakLensing.tableOfShifts (Array.map int64 table.Shape) table.Data)
        | None when options.Modes = ModeConvention.Published ->
            raise (SettingException("modes", "--targets FOLDER with lognormal_shifts.npy, or ideal ones", "published"))
        | None -> EmptyBeam

    /// The observed field on so many pixels a side, and its problem.
    let ofPixels pixels (options: StudyOptions) progress : LensingStudy =
        let survey = WeakLensing.survey pixels

        let problem =
            WeakLensing.create survey options.Modes (shift options)
            |> Study.withCampaign options

        { Options = options
          Progress = progress
          Survey = survey
          Problem = problem
          Field = Study.example options problem }

    /// The same on pixels so few that the field's own posterior can be sampled.
    let create options progress =
        ofPixels (pixels options) options progress

    /// Multipole bands of the power spectra's analysis.
    let bands = 12

    /// The compressor of a recipe, trained where the field is.
    let private trained study recipe : Compressor =
        (Study.refit study.Options study.Progress { study.Problem with Recipe = recipe } (study.Field.unsqueeze 0L)
         |> List.last)
            .Compressor

    /// The compressor of the study's default features, trained where the field is.
    let network study = trained study study.Problem.Recipe

    /// The compressor of all auto- and cross-spectra in bands, trained where the field is: the standard analysis.
    let powerSpectrum study : Compressor =
        study.Problem.Recipe
        |> Recipe.map (fun s ->
            { s with
                Features = Features.bandPower bands })
        |> trained study

    let private simulating study purpose =
        { SimulationSettings.Default with
            Folder = Some(Study.simulations study.Options purpose)
            Progress = study.Progress }

    /// Rounds of sequential neural likelihood, whose pilot takes as many simulations as one of them, for a budget.
    let private rounds budget = List.replicate 4 (budget / 5)

    /// The field's posterior from a compressor, by sequential neural likelihood. The purpose names what is kept of it.
    let delfi study purpose compressor : InferenceResult =
        Infer.delfi
            { DelfiSettings.Default with
                Rounds = rounds (if study.Options.Quick then 1500 else 10000)
                Simulations = simulating study $"lensing-{purpose}"
                Seed = study.Options.Seed }
            study.Problem.Model
            compressor
            study.Field

    /// How the truth is sampled.
    let chains (options: StudyOptions) progress =
        { HmcSettings.Default with
            Chains = (if options.Quick then 4 else 8)
            Warmup = (if options.Quick then 40 else 200)
            Draws = (if options.Quick then 40 else 2500)
            LeapfrogSteps = 16
            Seed = options.Seed
            Progress = progress
            Checkpoint = Some(Checkpoint.inFolder (Study.simulations options "lensing-chains")) }

    /// The field's own posterior, which no compression has touched: θ and all maps' white noise by Hamiltonian Monte Carlo, begun at draws of
    /// a posterior known roughly.
    let truth study (rough: Posterior) : LatentResult =
        let settings = chains study.Options study.Progress

        let model =
            LatentMaps.ofLogNormal
                (WeakLensing.model study.Survey study.Options.Modes (shift study.Options))
                (WeakLensing.noise study.Survey)

        LatentMaps.posterior
            settings
            model
            study.Problem.Prior
            (Posterior.resample (NoiseKey.IntSeedFor(study.Options.Seed, "starts")) 500 rough)
            study.Field

    /// Where the study keeps the posterior of a name: of this field and no other.
    let file study name =
        let options = study.Options
        let field = $"{study.Survey.Pixels}-{options.ModesName}-{options.Seed}"
        Path.Combine(options.Out, "posteriors", $"{name}-{field}.csv")

    /// Keeps a posterior for the figures that follow.
    let keep study name posterior =
        Directory.CreateDirectory(Path.Combine(study.Options.Out, "posteriors"))
        |> ignore

        PosteriorFile.write (file study name) posterior

    /// The posterior of a name that an earlier figure kept.
    let kept study name =
        let path = file study name

        if not (File.Exists path) then
            raise (StoreException($"posterior '{path}'", "what fig19-lensing-posterior.fsx keeps there", "no file"))

        PosteriorFile.readWithin (Prior.bounds study.Problem.Prior) path

    /// Pairs of parameters whose figures of merit are quoted.
    let pairs = [ 0, 2; 0, 5; 2, 5 ]

    /// Names of the parameters for axes.
    let axes =
        [| "Ω<sub>c</sub>"
           "Ω<sub>b</sub>"
           "σ<sub>8</sub>"
           "h"
           "n<sub>s</sub>"
           "w<sub>0</sub>" |]

    /// Figures of merit of a posterior.
    let merits posterior =
        [ for i, j in pairs -> Posterior.figureOfMerit i j posterior ]

    /// Moments and figures of merit of a posterior, for results.
    let described posterior =
        [ "mean", Report.numbers (Posterior.mean posterior)
          "sd", Report.numbers (Posterior.sd posterior)
          "figuresOfMerit", Report.numbers (merits posterior |> Array.ofList) ]

    /// What came beside the posterior of an inference, for results.
    let accounted (result: InferenceResult) =
        [ "estimate", Report.numbers result.Estimate
          "simulations", Report.value result.Simulations
          "fisherErrors", Report.numbers (Matrices.errors result.Fisher)
          "warnings", Report.value (result.Warnings |> List.map _.Message |> String.concat " ") ]

    /// The p-th root of a posterior's volume over that of another: how much wider it is a parameter.
    let width reference posterior =
        let struct (_, root) = Posterior.areaRatio reference posterior
        root

    let private neuralPosterior study compression n seed =
        let learned =
            NeuralPosterior.learn
                { NpeSettings.Default with
                    Budget = n
                    Simulations = simulating study $"budget-{seed}"
                    Seed = seed }
                study.Problem.Simulator
                (Compression.summaries compression)
                study.Problem.Prior

        learned.Simulations, NeuralPosterior.posterior learned (Compression.ofField compression study.Field)

    let private neuralLikelihood study compression n seed =
        let found =
            Delfi.run
                { DelfiSettings.Default with
                    Rounds = [ n ]
                    Simulations = simulating study $"budget-{seed}"
                    Seed = seed }
                study.Problem.Simulator
                (Compression.summaries compression)
                study.Problem.Prior
                [| [| Compression.ofField compression study.Field |] |]

        found.Simulations, found.Posteriors[0]

    let private sequential study compression n seed =
        let settings =
            { DelfiSettings.Default with
                Rounds = rounds n
                Settled = 0.0
                Simulations = simulating study $"budget-{seed}-{n}"
                Seed = seed }

        let found =
            Method.delfi settings study.Problem.Model compression [ study.Field ]
            |> List.head

        found.Simulations, found.Posterior

    /// Methods by name, in the order of their curves: what is known of a compressor → n → seed → simulations made beyond the compressor's, about
    /// n, and the field's posterior. Of those from the prior the fewer are the beginning of the more.
    let methods study : (string * (Compression -> int -> uint64 -> int * Posterior)) list =
        [ "neural posterior", neuralPosterior study
          "neural likelihood", neuralLikelihood study
          "sequential neural likelihood", sequential study ]
