namespace FieldImnn

open System
open FieldImnn.Core

/// How a posterior is made from its log density.
type PosteriorSampler =
    /// As the number of parameters wants it: two on a grid, fine enough for what it finds, where a grid can resolve that; otherwise by
    /// walkers, as many steps as they need.
    | Suited
    /// Evaluated on n × n points that find their place by themselves: two parameters, one region.
    | OnGrid of n: int
    /// A grid of 121 × 121 points of the polynomial through the log density at so many nodes a side (more where these do not follow it):
    /// one or two parameters, one smooth peak, and a log density that takes long.
    | Interpolated of nodes: int
    /// The affine-invariant ensemble, started in proportion to the density from `candidates` draws of the prior.
    | Walkers of walkers: int * burn: int * steps: int * candidates: int

/// A posterior by a sampler, the ensemble's account where it was one, and what must be known of it.
type internal Sampled =
    { Posterior: Posterior
      Ensemble: EnsembleResult option
      Warnings: Warning list }

module internal PosteriorSampling =
    /// Candidates of walkers, where the sampler does not say how many.
    let private candidates = 20000

    /// Draws of the prior that a sampler wants to start from.
    let candidatesOf sampler =
        match sampler with
        | OnGrid _
        | Interpolated _ -> 0
        | Suited -> candidates
        | Walkers(_, _, _, n) -> n

    /// Effective number of points with log weights: (Σw)²/Σw².
    let private effective (logWeights: float[]) =
        let highest = logWeights |> Array.filter Double.IsFinite |> Array.fold max -infinity

        let w =
            logWeights
            |> Array.map (fun v -> if Double.IsFinite v then exp (v - highest) else 0.0)

        Array.sum w ** 2.0 / Array.sumBy (fun v -> v * v) w

    /// The largest power of the likelihood up to `most` whose weights leave so many effective points.
    let private power most enough (logLikelihoods: float[]) =
        let at beta =
            logLikelihoods
            |> Array.map (fun v -> if Double.IsFinite v then beta * v else -infinity)
            |> effective

        let rec bisect lo hi left =
            let middle = 0.5 * (lo + hi)

            if left = 0 then lo
            elif at middle >= enough then bisect middle hi (left - 1)
            else bisect lo middle (left - 1)

        if at most >= enough then most else bisect 0.0 most 40

    /// Walkers' starting points from draws of the prior. Where too few of these lie under the posterior, the likelihood is raised to
    /// its full power step by step, and the walkers follow (as in sequential Monte Carlo; Del Moral, Doucet & Jasra 2006).
    let private start seed walkers (prior: Prior) (logDensity: float[][] -> float[]) (points: float[][]) =
        let p = prior.Names.Length

        let logLikelihood rows =
            Array.map2 (-) (logDensity rows) (rows |> Array.map (Prior.logDensity prior))

        let all = logLikelihood points

        if
            not (all |> Array.exists Double.IsFinite)
            || effective all >= float (4 * (p + 1))
        then
            EnsembleSampler.start seed walkers all points
        else
            let choose seed (logWeights: float[]) (rows: float[][]) =
                EnsembleSampler.start seed walkers logWeights rows

            let rec raise' round beta (at: float[][]) =
                if beta >= 1.0 || round > 200 then
                    at
                else
                    let tempered rows =
                        Array.map2
                            (fun full prior ->
                                if Double.IsFinite full then
                                    prior + beta * (full - prior)
                                else
                                    -infinity)
                            (logDensity rows)
                            (rows |> Array.map (Prior.logDensity prior))

                    let moved = (EnsembleSampler.run (seed + round) 20 1 tempered at).Samples
                    let likelihoods = logLikelihood moved
                    let further = power (1.0 - beta) (0.5 * float walkers) likelihoods

                    raise'
                        (round + 1)
                        (beta + further)
                        (choose (seed + round) (likelihoods |> Array.map ((*) further)) moved)

            let first = power 1.0 (float walkers) all
            raise' 1 first (choose seed (all |> Array.map ((*) first)) points)

    let private slowest (result: EnsembleResult) = Array.max result.AutocorrelationTime

    /// Walkers stay where they started for about an autocorrelation time, and the estimate of that time needs some ten of them.
    let private converged steps (result: EnsembleResult) =
        result.Stuck = 0 && float steps >= 10.0 * slowest result

    let private walk seed burn steps extensions (prior: Prior) logDensity (from: float[][]) =
        let walkers = from.Length

        let rec go seed burn steps left from =
            let result = EnsembleSampler.run seed burn steps logDensity from

            if left = 0 || converged (burn + steps) result then
                result, burn + steps
            else
                // all that was walked becomes burn-in
                go (seed + 1) 0 (2 * (burn + steps)) (left - 1) result.Samples[result.Samples.Length - walkers ..]

        let result, taken = go seed burn steps extensions from

        { Posterior =
            Posterior.ofSamples prior.Names (Prior.bounds prior) result.Samples (Array.create result.Samples.Length 1.0)
          Ensemble = Some result
          Warnings =
            [ if not (converged taken result) then
                  NotConverged(taken, slowest result, result.Stuck) ] }

    /// What an exact answer needs of its walkers: their moments and autocorrelation time are settled, and known to some 2 % of an sd.
    let private settled steps (result: EnsembleResult) =
        let tau, walkers = slowest result, result.Samples.Length / steps

        result.Stuck = 0
        && float steps >= 50.0 * tau
        && float (walkers * steps) >= 5000.0 * tau

    /// Whole steps of a run, half an autocorrelation time apart, so that samples count for nearly as much as independent ones; at most so many
    /// samples.
    let private thinned most walkers (result: EnsembleResult) =
        let samples = result.Samples
        let steps = samples.Length / walkers

        let every =
            max ((samples.Length + most - 1) / most) (int (min (0.5 * slowest result) (float steps / 4.0)))

        let every = max 1 every

        [| for step in every - 1 .. every .. steps - 1 do
               yield! samples[step * walkers .. (step + 1) * walkers - 1] |]

    /// Samples an unnormalised log posterior of any number of parameters until its moments are settled: walkers from draws of the prior,
    /// by stretch and fitted moves in turn, every run twice as long as the one before and burnt in by it, so often at most. At most 10,000
    /// samples.
    let settle doublings seed (prior: Prior) (logDensity: float[][] -> float[]) : Sampled =
        let p = prior.Names.Length
        let walkers = max 100 (10 * p)

        let rec go round steps (from: float[][]) =
            let burn = if round = 0 then steps / 2 else 0

            let result =
                EnsembleSampler.runWith [ Stretch; Fitted ] (seed + 1 + round) burn steps logDensity from

            if round = doublings || settled steps result then
                result, steps
            else
                go (round + 1) (2 * steps) result.Samples[result.Samples.Length - walkers ..]

        let result, steps =
            Prior.sample seed 0L candidates prior
            |> start seed walkers prior logDensity
            |> go 0 400

        let samples = thinned 10000 walkers result

        { Posterior = Posterior.ofSamples prior.Names (Prior.bounds prior) samples (Array.create samples.Length 1.0)
          Ensemble = Some result
          Warnings =
            [ if not (settled steps result) then
                  NotConverged(steps, slowest result, result.Stuck) ] }

    /// On n × n points that find their place by themselves.
    let onGrid n (prior: Prior) logDensity =
        { Posterior = GridPosterior.compute n prior.Names (Prior.bounds prior) logDensity
          Ensemble = None
          Warnings = [] }

    /// Points of a grid that count: fewer draw the posterior too coarsely.
    let private enoughPoints = 1000.0

    /// Samples an unnormalised log posterior (rows of θ → values). `Full` is false for what only proposes parameters: a quarter of the steps.
    let sample sampler seed full (prior: Prior) (candidates: float[][]) (logDensity: float[][] -> float[]) : Sampled =
        let shortened n = if full then n else max 1 (n / 4)
        let p = prior.Names.Length

        let byWalkers () =
            start seed (max 100 (10 * p)) prior logDensity candidates
            |> walk (seed + 1) (shortened 200) (shortened 400) (if full then 3 else 0) prior logDensity

        match sampler with
        | OnGrid n -> onGrid n prior logDensity
        | Interpolated n ->
            { Posterior = InterpolatedGrid.compute n prior logDensity
              Ensemble = None
              Warnings = [] }
        | Suited when p = 2 ->
            try
                let coarse = onGrid 161 prior logDensity

                if full && Posterior.effectiveSize coarse.Posterior < enoughPoints then
                    onGrid 481 prior logDensity
                else
                    coarse
            with :? RangeException as refusal when refusal.Subject = GridSearch.subject ->
                // too thin, bent or scattered for a grid
                byWalkers ()
        | Suited -> byWalkers ()
        | Walkers(walkers, burn, steps, _) ->
            start seed walkers prior logDensity candidates
            |> walk (seed + 1) (shortened burn) (shortened steps) 0 prior logDensity
