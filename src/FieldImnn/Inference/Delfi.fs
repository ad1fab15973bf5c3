namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random

/// How density-estimation likelihood-free inference is run.
type DelfiSettings =
    {
        /// Simulations of each round, the first drawn from the prior, the others from the posteriors so far: a budget.
        Rounds: int list
        /// Rounds end early where no posterior's mean moved by more than this many of its sds, nor its sds by this part.
        Settled: float
        Estimator: EstimatorSettings
        Sampler: PosteriorSampler
        Simulations: SimulationSettings
        Seed: uint64
    }

    /// 1,000 simulations in each of at most four rounds, as in the paper's talk.
    static member Default =
        { Rounds = List.replicate 4 1000
          Settled = 0.05
          Estimator = EstimatorSettings.Default
          Sampler = Suited
          Simulations = SimulationSettings.Default
          Seed = 1UL }

    /// A budget in rounds that are never worse than one round of as many simulations: half of them from the prior, so that the first
    /// posterior is sound, the rest in three rounds about the posterior.
    static member RoundsOf budget =
        let later = budget / 6
        [ budget - 3 * later; later; later; later ]

/// One round of DELFI.
type DelfiRound =
    {
        /// Simulations so far.
        Simulations: int
        /// One posterior for each target.
        Posteriors: Posterior[]
        /// The sampler's account of each, where it was an ensemble.
        Sampling: EnsembleResult option[]
        /// The kind of density that the likelihood was learned as.
        Kind: DensityKind
        /// Losses of the likelihood's ensemble.
        History: EnsembleRecord[]
        HeldOutLogDensity: float
    }

/// What DELFI found: the last round's posteriors, and how they came about.
type DelfiResult =
    {
        Posteriors: Posterior[]
        Rounds: DelfiRound[]
        Simulations: int
        /// Those that failed and were left out.
        Failed: int
        /// Whether the posteriors no longer changed when it ended, as against the budget having been spent.
        Settled: bool
        /// q(x | θ).
        Likelihood: DensityEstimator
        /// For each target what must be known before its posterior is trusted.
        Warnings: Warning list[]
    }

/// Sequential neural likelihood (Papamakarios, Sterratt & Murray 2019; Alsing et al. 2019): the likelihood p(x | θ) of summaries x is
/// learned from simulations, whose parameters come from the prior first and from the running posterior then. The likelihood does not
/// depend on where the parameters come from, so all rounds are learned from together.
module Delfi =
    /// Unnormalised log posterior of a target, summaries (m, d) of m observations of the same θ, for rows of θ; −∞ outside the prior.
    let logPosterior likelihood (prior: Prior) (target: float[][]) (rows: float[][]) =
        for x in target do
            Observed.require None x |> ignore

        let values = rows |> Array.map (Prior.logDensity prior)

        let inside =
            [| 0 .. rows.Length - 1 |] |> Array.filter (fun i -> values[i] > -infinity)

        if inside.Length > 0 then
            let theta = inside |> Array.map (fun i -> rows[i])

            for x in target do
                DensityEstimator.logDensity likelihood [| x |] theta
                |> Array.iteri (fun q v -> values[inside[q]] <- values[inside[q]] + v)

        values |> Array.map (fun v -> if Double.IsNaN v then -infinity else v)

    let private validate (settings: DelfiSettings) (prior: Prior) (targets: float[][][]) =
        if settings.Rounds.IsEmpty then
            raise (SettingException("rounds of DELFI", "at least one", "none"))

        settings.Rounds
        |> List.iter (fun n -> Guard.AtLeast("simulations of a round", 10L, int64 n) |> ignore)

        if targets.Length = 0 || targets |> Array.exists Array.isEmpty then
            raise (SettingException("targets of DELFI", "at least one, each with at least one observation", "none"))

        targets
        |> Array.iter (Array.iter (fun x -> Observed.require (Some(Array.length targets[0].[0])) x |> ignore))

        match settings.Sampler with
        | OnGrid _ when prior.Names.Length <> 2 ->
            raise (
                SettingException(
                    "sampler",
                    "Walkers, unless there are two parameters",
                    $"OnGrid for {prior.Names.Length}"
                )
            )
        | _ -> ()

    /// Largest change of a posterior since another, in its sds or as a part of its sds.
    let private change (before: Posterior) (after: Posterior) =
        let width =
            Array.map2 (fun a b -> abs (log (a / b))) (Posterior.sd after) (Posterior.sd before)

        max (Posterior.shift after before) (Array.max width)

    /// The part of every round but the first that is drawn from the prior: an early posterior, learned from little, may have lost where the
    /// truth lies, and nothing drawn from it would ever say so.
    let private defensive = 0.2

    /// The same of the first round, where it is known roughly beforehand where the posteriors are.
    let private defensiveFirst = 0.5

    /// n parameters of a round: from the prior, and an equal share of each place, seed → n → rows of θ, beside the defensive part.
    let private draws (settings: DelfiSettings) (prior: Prior) round n (places: (int -> int -> float[][])[]) =
        let seed = NoiseKey.IntSeedFor(settings.Seed, $"parameters of round {round}")

        if places.Length = 0 then
            Prior.sample seed 0L n prior
        else
            let safe = int ((if round = 1 then defensiveFirst else defensive) * float n)
            let left = n - safe

            places
            |> Array.mapi (fun i place ->
                let share = left / places.Length + (if i < left % places.Length then 1 else 0)
                place (seed + i) share)
            |> Array.concat
            |> Array.append (Prior.sample seed 0L safe prior)

    /// What is asked.
    type private Task =
        {
            Settings: DelfiSettings
            /// Simulations of a purpose at rows of θ.
            Make: string -> float[][] -> Simulated
            Prior: Prior
            /// Where the posteriors are roughly, seed → n → rows of θ for each target; none if that is not known.
            Rough: (int -> int -> float[][])[]
            Targets: float[][][]
            /// Draws of the prior that samplers start from.
            Candidates: float[][]
        }

    /// What the rounds have come to.
    type private Running =
        {
            Round: int
            Theta: float[][]
            X: float[][]
            /// The latest first.
            Past: DelfiRound list
            /// The kind that was chosen, and from how many simulations.
            Chosen: (DensityKind * int) option
            /// Simulations that failed.
            Failed: int
        }

    /// Learns the likelihood of all simulations so far. A kind that was chosen from half as many simulations stays.
    let private learn (settings: DelfiSettings) state (theta: float[][]) x =
        let kind =
            match settings.Estimator.Kind, state.Chosen with
            | Automatic, Some(kind, from) when theta.Length < 2 * from -> kind
            | kind, _ -> kind

        let likelihood =
            DensityEstimator.fit
                { settings.Estimator with
                    Kind = kind
                    Training =
                        { SimulationSettings.training settings.Simulations settings.Estimator.Training with
                            Seed = NoiseKey.SeedFor(settings.Seed, $"likelihood of round {state.Round}") } }
                x
                theta

        let chosen =
            if kind = Automatic then
                Some(likelihood.Kind, theta.Length)
            else
                state.Chosen

        likelihood, chosen

    /// The posterior of every target by a likelihood.
    let private sample task full likelihood round : Sampled[] =
        task.Targets
        |> Array.mapi (fun i target ->
            let seed = NoiseKey.IntSeedFor(task.Settings.Seed, $"walkers {round} {i}")

            PosteriorSampling.sample
                task.Settings.Sampler
                seed
                full
                task.Prior
                task.Candidates
                (logPosterior likelihood task.Prior target))

    /// Tells of the posteriors after a round.
    let private tell task state (found: Sampled[]) =
        for i, one in Array.indexed found do
            let target = if found.Length > 1 then $", field {i + 1}" else ""

            PosteriorProgress.tell
                task.Settings.Simulations.Progress
                $"DELFI round {state.Round}{target}"
                [ "simulations", float state.Theta.Length ]
                one.Posterior

    let private record (theta: float[][]) (likelihood: DensityEstimator) (found: Sampled[]) =
        { Simulations = theta.Length
          Posteriors = found |> Array.map _.Posterior
          Sampling = found |> Array.map _.Ensemble
          Kind = likelihood.Kind
          History = likelihood.History
          HeldOutLogDensity = likelihood.HeldOutLogDensity }

    /// The result after the last round, whose simulations the state holds.
    let private finish task state leftOut likelihood found settled =
        let last = record state.Theta likelihood found

        let warnings (target: float[][]) (one: Sampled) =
            leftOut
            @ one.Warnings
            @ (target
               |> Array.map (fun observed -> Misfit.warnings state.Theta state.X observed one.Posterior)
               |> List.concat
               |> List.distinct)

        { Posteriors = last.Posteriors
          Rounds = List.rev (last :: state.Past) |> Array.ofList
          Simulations = state.Theta.Length + state.Failed
          Failed = state.Failed
          Settled = settled
          Likelihood = likelihood
          Warnings = Array.map2 warnings task.Targets found }

    let rec private go task state remaining =
        let n, rest = List.head remaining, List.tail remaining

        let before =
            state.Past
            |> List.tryHead
            |> Option.map _.Posteriors
            |> Option.defaultValue [||]

        let places =
            if state.Round = 1 then
                task.Rough
            else
                before |> Array.map (fun p seed n -> Posterior.resample seed n p)

        let made =
            draws task.Settings task.Prior state.Round n places
            |> task.Make $"DELFI round {state.Round}"

        let state =
            { state with
                Theta = Array.append state.Theta made.Theta
                X = Array.append state.X made.Summaries
                Failed = state.Failed + made.Failed }

        let clean, cleanX, leftOut = Misfit.withoutOutliers state.Theta state.X
        let likelihood, chosen = learn task.Settings state clean cleanX
        // whether it ends here is known only afterwards; what only proposes parameters need not be sampled as well as the result
        let found = sample task rest.IsEmpty likelihood state.Round
        tell task state found

        let settled =
            before.Length > 0
            && Array.forall2 (fun a (b: Sampled) -> change a b.Posterior < task.Settings.Settled) before found

        if rest.IsEmpty then
            finish task state leftOut likelihood found settled
        elif settled then
            finish task state leftOut likelihood (sample task true likelihood state.Round) true
        else
            (likelihood :> IDisposable).Dispose()

            go
                task
                { state with
                    Round = state.Round + 1
                    Past = record state.Theta likelihood found :: state.Past
                    Chosen = chosen }
                rest

    let private start (settings: DelfiSettings) make (prior: Prior) rough targets =
        validate settings prior targets
        let seed = NoiseKey.IntSeedFor(settings.Seed, "candidates")

        go
            { Settings = settings
              Make = make
              Prior = prior
              Rough = rough
              Targets = targets
              Candidates = Prior.sample seed 0L (PosteriorSampling.candidatesOf settings.Sampler) prior }
            { Round = 1
              Theta = [||]
              X = [||]
              Past = []
              Chosen = None
              Failed = 0 }
            settings.Rounds

    /// Runs DELFI as `run` does, half of the first round drawn from where the posteriors are roughly, seed → n → rows of θ for each target.
    let internal runAbout rough (settings: DelfiSettings) simulator compress prior targets : DelfiResult =
        validate settings prior targets
        Door.inference simulator prior settings.Seed
        start settings (Simulations.run settings.Simulations simulator compress settings.Seed) prior rough targets

    /// Runs DELFI for targets: each is a set of observed summaries (m, d) that share one θ, so one observed field is a set of one. All
    /// targets share all simulations. The simulator's fields (n, shape…) become summaries (rows) by `compress`.
    let run
        (settings: DelfiSettings)
        simulator
        (compress: Tensor -> float[][])
        (prior: Prior)
        (targets: float[][][])
        : DelfiResult =
        runAbout [||] settings simulator compress prior targets

    /// One round of DELFI with simulations (θ, summaries), wherever they come from: the likelihood does not ask how θ was drawn, only that it
    /// fills the prior.
    let ofSimulated (settings: DelfiSettings) (prior: Prior) (targets: float[][][]) (made: Simulated) : DelfiResult =
        let settings =
            { settings with
                Rounds = [ made.Theta.Length ] }

        start settings (fun _ _ -> made) prior [||] targets
