namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random

/// How a posterior is made from its log density.
type PosteriorSampler =
    /// Evaluated on n × n points that find their place by themselves: two parameters, one region.
    | OnGrid of n: int
    /// The affine-invariant ensemble, started in proportion to the density from `candidates` draws of the prior.
    | Walkers of walkers: int * burn: int * steps: int * candidates: int

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
          Sampler = OnGrid 161
          Simulations = SimulationSettings.Default
          Seed = 1UL }

/// One round of DELFI.
type DelfiRound =
    {
        /// Simulations so far.
        Simulations: int
        /// One posterior for each target.
        Posteriors: Posterior[]
        /// The sampler's account of each, where it was an ensemble.
        Sampling: EnsembleResult option[]
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
    }

/// Sequential neural likelihood (Papamakarios, Sterratt & Murray 2019; Alsing et al. 2019): the likelihood p(x | θ) of summaries x is
/// learned from simulations, whose parameters come from the prior first and from the running posterior then. The likelihood does not
/// depend on where the parameters come from, so all rounds are learned from together.
module Delfi =
    /// Unnormalised log posterior of a target, summaries (m, d) of m observations of the same θ, for rows of θ; −∞ outside the prior.
    let logPosterior likelihood (prior: Prior) (target: float[][]) (rows: float[][]) =
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

    /// The posterior of one target, and the ensemble's account.
    let private posterior (settings: DelfiSettings) (prior: Prior) likelihood candidates last purpose target =
        let logDensity = logPosterior likelihood prior target
        let bounds = Prior.bounds prior

        match settings.Sampler with
        | OnGrid n -> GridPosterior.compute n prior.Names bounds logDensity, None
        | Walkers(walkers, burn, steps, _) ->
            let seed = NoiseKey.IntSeedFor(settings.Seed, $"walkers {purpose}")

            let weights =
                Array.map2 (-) (logDensity candidates) (candidates |> Array.map (Prior.logDensity prior))

            let start = EnsembleSampler.start seed walkers weights candidates
            // what only proposes the next round's parameters need not be sampled as well as the result
            let shortened n = if last then n else max 1 (n / 4)
            let burn, steps = shortened burn, shortened steps
            let result = EnsembleSampler.run (seed + 1) burn steps logDensity start
            Posterior.ofSamples prior.Names bounds result.Samples (Array.create result.Samples.Length 1.0), Some result

    /// Largest change of a posterior since another, in its sds or as a part of its sds.
    let private change (before: Posterior) (after: Posterior) =
        let width =
            Array.map2 (fun a b -> abs (log (a / b))) (Posterior.sd after) (Posterior.sd before)

        max (Posterior.shift after before) (Array.max width)

    /// Runs DELFI for targets: each is a set of observed summaries (m, d) that share one θ, so one observed field is a set of one. All
    /// targets share all simulations. The simulator's fields (n, shape…) become summaries (rows) by `compress`.
    let run
        (settings: DelfiSettings)
        simulator
        (compress: Tensor -> float[][])
        (prior: Prior)
        (targets: float[][][])
        : DelfiResult =
        validate settings prior targets
        Door.inference simulator prior settings.Seed
        let failed = ref 0

        let draws round n (posteriors: Posterior[]) =
            let seed = NoiseKey.IntSeedFor(settings.Seed, $"parameters of round {round}")

            if posteriors.Length = 0 then
                Prior.sample seed 0L n prior
            else
                // an equal share of every target's posterior
                posteriors
                |> Array.mapi (fun i p ->
                    let share = n / posteriors.Length + (if i < n % posteriors.Length then 1 else 0)
                    Posterior.resample (seed + i) share p)
                |> Array.concat

        let candidates =
            match settings.Sampler with
            | OnGrid _ -> [||]
            | Walkers(_, _, _, n) -> Prior.sample (NoiseKey.IntSeedFor(settings.Seed, "candidates")) 0L n prior

        let rec go round (theta: float[][]) (x: float[][]) (rounds: DelfiRound list) remaining =
            match remaining with
            | [] -> failwith "unreachable"
            | n :: rest ->
                let before =
                    rounds |> List.tryHead |> Option.map _.Posteriors |> Option.defaultValue [||]

                let drawn = draws round n before
                let purpose = $"DELFI round {round}"

                let made =
                    Simulations.run settings.Simulations simulator compress settings.Seed purpose drawn

                failed.Value <- failed.Value + made.Failed
                let theta, x = Array.append theta made.Theta, Array.append x made.Summaries

                let likelihood =
                    DensityEstimator.fit
                        { settings.Estimator with
                            Training =
                                { settings.Estimator.Training with
                                    Seed = NoiseKey.SeedFor(settings.Seed, $"likelihood of round {round}")
                                    Progress = settings.Simulations.Progress } }
                        x
                        theta

                let found =
                    targets
                    |> Array.mapi (fun i -> posterior settings prior likelihood candidates rest.IsEmpty $"{round} {i}")

                let posteriors = Array.map fst found

                let record =
                    { Simulations = theta.Length
                      Posteriors = posteriors
                      Sampling = Array.map snd found
                      History = likelihood.History
                      HeldOutLogDensity = likelihood.HeldOutLogDensity }

                let settled =
                    before.Length > 0
                    && Array.forall2 (fun a b -> change a b < settings.Settled) before posteriors

                if rest.IsEmpty || settled then
                    { Posteriors = posteriors
                      Rounds = List.rev (record :: rounds) |> Array.ofList
                      Simulations = theta.Length + failed.Value
                      Failed = failed.Value
                      Settled = settled
                      Likelihood = likelihood }
                else
                    (likelihood :> IDisposable).Dispose()
                    go (round + 1) theta x (record :: rounds) rest

        go 1 [||] [||] [] settings.Rounds
