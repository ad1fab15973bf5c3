namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Random

/// What the calibration tests say of an inference.
type CalibrationResult =
    {
        Method: string
        /// Ranks of the truth among the draws, of each parameter (p, n).
        Ranks: float[][]
        RankVerdicts: CalibrationVerdict[]
        /// Credibility of the smallest region that holds the truth (n).
        Levels: float[]
        LevelVerdict: CalibrationVerdict
        TarpLevels: float[]
        TarpVerdict: CalibrationVerdict
    }

/// Whether the posteriors of a problem's fields hold the truth as often as they say, over the whole prior: the exact ones, those
/// learned once for all fields from simulations of the prior, and the Gaussian approximation, which has the fiducial's width everywhere
/// and shows what the tests say of a posterior that is wrong.
module CalibrationStudy =
    /// Draws of each posterior.
    let private draws = 200

    /// Points of a posterior's grid along each axis: enough for draws.
    let private grid = 61

    /// Judges an inference by its trials and the log density at the truth and at the draws of each, in this order, up to a constant.
    let ofTrials seed name (trials: CalibrationTrial[]) (logDensities: float[][]) =
        let ranks = Calibration.ranks trials
        let levels = Coverage.levels (fun i _ -> logDensities[i]) trials
        let tarp = Tarp.levels seed trials

        { Method = name
          Ranks = ranks
          RankVerdicts = Array.map Calibration.verdictOfRanks ranks
          Levels = levels
          LevelVerdict = Coverage.verdict levels
          TarpLevels = tarp
          TarpVerdict = Tarp.verdict tarp }

    /// Judges an inference by the posterior of each trial and its log density (rows of θ → values, up to a constant).
    let judge seed name (truths: float[][]) (posterior: int -> Posterior * (float[][] -> float[])) =
        truths
        |> Array.mapi (fun i truth ->
            Tensors.using (fun () ->
                let posterior, logDensity = posterior i
                let drawn = Posterior.resample (seed + i) draws posterior
                { Truth = truth; Draws = drawn }, logDensity (Array.append [| truth |] drawn)))
        |> Array.unzip
        ||> ofTrials seed name

    let private onGrid (problem: Problem) logDensity =
        GridPosterior.compute grid problem.Prior.Names (Prior.bounds problem.Prior) logDensity, logDensity

    /// A neural likelihood of so many simulations: observed summaries → its log posterior.
    let private likelihood
        (options: StudyOptions)
        simulating
        (problem: Problem)
        compress
        simulations
        (observed: float[])
        =
        let learned =
            Delfi.run
                { DelfiSettings.Default with
                    Rounds = [ simulations ]
                    Simulations = simulating
                    Seed = options.Seed }
                problem.Simulator
                compress
                problem.Prior
                [| [| observed |] |]

        fun (x: float[]) -> Delfi.logPosterior learned.Likelihood problem.Prior [| x |]

    let private amortised (options: StudyOptions) simulating (problem: Problem) compress simulations =
        NeuralPosterior.learn
            { NpeSettings.Default with
                Budget = simulations
                Draws = draws
                Simulations = simulating
                Seed = options.Seed }
            problem.Simulator
            compress
            problem.Prior

    /// Fields of the prior, what a compressor makes of them, and how posteriors of them are judged.
    type private Trials =
        { Compress: Tensor -> float[][]
          Simulating: SimulationSettings
          Universe: int -> Tensor
          Summaries: float[][]
          Test: string -> (int -> Posterior * (float[][] -> float[])) -> CalibrationResult }

    let private trials (options: StudyOptions) progress (problem: Problem) compressor fields =
        let truths =
            Prior.sample (NoiseKey.IntSeedFor(options.Seed, "calibration parameters")) 0L fields problem.Prior

        let universe i =
            Simulator.field problem.Simulator truths[i] (NoiseKey.SeedFor(options.Seed, $"calibration field {i}"))

        let compression = Infer.compression compressor

        { Compress = Compression.summaries compression
          Simulating =
            { SimulationSettings.Default with
                Folder = Some(Study.simulations options "calibration")
                Progress = progress }
          Universe = universe
          Summaries =
            Array.init fields (fun i ->
                Progress.report progress "fields" i fields [] ""
                Tensors.using (fun () -> Compression.ofField compression (universe i)))
          Test =
            fun name posterior ->
                judge (int options.Seed) name truths (fun i ->
                    Progress.report progress name i fields [] ""
                    progress.Cancellation.ThrowIfCancellationRequested()
                    posterior i) }

    let private neuralPosterior options (problem: Problem) trials simulations =
        let amortised =
            amortised options trials.Simulating problem trials.Compress simulations

        trials.Test "neural posterior" (fun i ->
            NeuralPosterior.posterior amortised trials.Summaries[i],
            NeuralPosterior.logDensity amortised trials.Summaries[i])

    /// Tests the amortised neural posterior alone, learned from so many simulations, on so many fields of the prior: of a problem of any number of
    /// parameters, with an exact answer or without.
    let ofNeuralPosterior options progress problem compressor simulations fields =
        let trials = trials options progress problem compressor fields
        neuralPosterior options problem trials simulations

    /// Tests the exact posterior, neural likelihood and the amortised neural posterior, the latter two learned from so many simulations,
    /// on so many fields of the prior.
    let run (options: StudyOptions) progress (problem: Problem) compressor simulations fields =
        let trials = trials options progress problem compressor fields

        let exact =
            trials.Test "exact" (fun i ->
                trials.Universe i
                |> ExactAnswer.logPosterior problem.Exact problem.Prior
                |> onGrid problem)

        let learned =
            likelihood options trials.Simulating problem trials.Compress simulations trials.Summaries[0]

        let likelihood =
            trials.Test "neural likelihood" (fun i -> onGrid problem (learned trials.Summaries[i]))

        let posterior = neuralPosterior options problem trials simulations

        let gaussian =
            trials.Test "Gaussian approximation" (fun i ->
                // the estimates come first among the summaries
                let estimate = Array.truncate problem.Fiducial.Length trials.Summaries[i]

                GaussianApproximation.logDensity problem.Prior estimate compressor.Fisher
                |> onGrid problem)

        [ exact; likelihood; posterior; gaussian ]

    /// The part of the trials whose truth lies in the smallest region of a probability.
    let covered probability (result: CalibrationResult) =
        result.Levels |> Calibration.curve [| probability |] |> Array.head

    /// All results as JSON.
    let report (results: CalibrationResult list) =
        Report.fields
            [ for r in results do
                  r.Method,
                  Report.fields
                      [ "trials", Report.value r.Levels.Length
                        "ranks", Report.value (r.RankVerdicts |> Array.map string |> String.concat ", ")
                        "coverage", Report.value (string r.LevelVerdict)
                        "tarp", Report.value (string r.TarpVerdict)
                        "coverageOf68", Report.value (covered 0.68 r)
                        "coverageOf95", Report.value (covered 0.95 r) ] ]
