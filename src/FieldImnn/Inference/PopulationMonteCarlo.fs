namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// How ε falls from one population to the next.
type PmcSchedule =
    /// To the distance that this part of the last population does not exceed. The first population is this part of simulations from
    /// the prior, the nearest ones.
    | Shrinking of quantile: float
    /// As listed; the first population is filled from the prior.
    | Listed of epsilons: float list

/// How population Monte Carlo is run.
type PmcSettings =
    {
        /// Particles of a population.
        Population: int
        Schedule: PmcSchedule
        /// Simulations at the most: the population that they end in stops at the ε that it has reached; where ε is listed it is given up, and the
        /// one before it stands.
        Budget: int
        /// A population that accepts less than this part is the last.
        LeastAcceptance: float
        /// Local regression of every population that is returned, as in rejection ABC, over the nearest fifth of all its simulations where
        /// that is more than the population; ε and the next population come from the particles as they are.
        Regression: bool
        Simulations: SimulationSettings
        Seed: uint64
    }

    /// 250 particles, of which the nearest third sets the next ε, at most 10,000 simulations or down to an acceptance of 3 %; with regression.
    static member Default =
        { Population = 250
          Schedule = Shrinking(1.0 / 3.0)
          Budget = 10000
          LeastAcceptance = 0.03
          Regression = true
          Simulations = SimulationSettings.Default
          Seed = 1UL }

/// One population.
type PmcGeneration =
    {
        Epsilon: float
        /// Accepted of the simulations that this population took.
        Acceptance: float
        /// Simulations so far.
        Simulations: int
        /// 1/Σw².
        EffectiveSize: float
        /// Of its particles, or by regression where the settings ask for it.
        Posterior: Posterior
    }

/// What population Monte Carlo found.
type PmcResult =
    {
        Posterior: Posterior
        Generations: PmcGeneration[]
        /// Every simulation that was made, those of a population that was given up included.
        Simulations: int
        /// What must be known before the posterior is trusted.
        Warnings: Warning list
        /// Those that failed and were left out.
        Failed: int
    }

/// Adaptive population Monte Carlo ABC (Beaumont, Cornuet, Marin & Robert 2009; Toni et al. 2009), with the Fisher distance.
/// Each particle comes from one of the last population, chosen by weight, moved by a Gaussian of twice the last population's weighted
/// covariance, and drawn anew where it leaves the prior; its weight is w ∝ π(θ) / Σ_j w_j N(θ; θ_j, 2Σ).
module PopulationMonteCarlo =
    type private Particles =
        { Theta: float[][]
          Estimates: float[][]
          Weights: float[] }

    let private validate (settings: PmcSettings) =
        Guard.AtLeast("population", 20L, int64 settings.Population) |> ignore

        Guard.AtLeast("PMC simulations", int64 settings.Population, int64 settings.Budget)
        |> ignore

        match settings.Schedule with
        | Shrinking q when not (q > 0.0 && q < 1.0) ->
            raise (SettingException("quantile of ε", "a number between 0 and 1", string q))
        | Listed epsilons when
            epsilons.IsEmpty
            || List.exists (fun e -> not (e > 0.0)) epsilons
            || epsilons |> List.pairwise |> List.exists (fun (a, b) -> b >= a)
            ->
            raise (SettingException("schedule of ε", "falling numbers > 0", $"%A{epsilons}"))
        | _ -> ()

    /// The weights of particles that came from a weighted population by a Gaussian kernel, normalised.
    let internal weights prior (population: Posterior) (kernel: Matrix<float>) (theta: float[][]) =
        let whiten = kernel.Cholesky().Factor.Inverse()

        let place (t: float[]) =
            (whiten * Vector<float>.Build.DenseOfArray t).ToArray()

        let from = population.Samples |> Array.map place

        let raw =
            theta
            |> Array.map (fun t ->
                let at = place t
                let mutable density = 0.0

                for j in 0 .. from.Length - 1 do
                    let mutable squared = 0.0

                    for k in 0 .. at.Length - 1 do
                        squared <- squared + (at[k] - from[j][k]) ** 2.0

                    density <- density + population.Weights[j] * exp (-0.5 * squared)

                exp (Prior.logDensity prior t) / density)

        let total = Array.sum raw
        raw |> Array.map (fun w -> w / total)

    /// Proposals 0 … n − 1 from a population, all within the prior.
    let private propose seed prior n (population: Posterior) (kernel: Matrix<float>) =
        let factor = kernel.Cholesky().Factor
        let cumulative = Weighted.cumulative population.Weights
        let normals = Rejection.standardNormal factor.RowCount
        let density = population.Samples |> Array.map (Prior.logDensity prior) |> Array.max

        // the first number chooses the ancestor
        { Names = Array.append [| "ancestor" |] normals.Names
          Marginals = Array.append [| Uniform(0.0, 1.0) |] normals.Marginals
          Dependence = None }
        |> Rejection.draws seed n
        |> Seq.map (fun draw ->
            let ancestor = population.Samples[Weighted.choose cumulative draw[0]]

            (Vector<float>.Build.DenseOfArray ancestor
             + factor * Vector<float>.Build.DenseOfArray draw[1..])
                .ToArray())
        |> Seq.filter (Rejection.plausible prior density)
        |> Seq.truncate n
        |> Seq.toArray

    let private purposeOf number = $"PMC population {number}"

    let private seed (settings: PmcSettings) number =
        NoiseKey.IntSeedFor(settings.Seed, $"PMC proposals {number}")

    /// θ from the prior for the first population: so many as it takes at the most.
    let private firstProposals (settings: PmcSettings) prior =
        let all = Prior.sample (seed settings 0) 0L settings.Budget prior

        match settings.Schedule with
        | Shrinking q -> Array.truncate (int (ceil (float settings.Population / q))) all
        | Listed _ -> all

    /// The simulations from the prior that population Monte Carlo begins with (where ε is listed, it may end before the last).
    let planned (settings: PmcSettings) (prior: Prior) : PlannedSimulations =
        firstProposals settings prior |> Simulations.planned settings.Seed (purposeOf 0)

    /// A run: what it asks, and the simulations made so far.
    type private Running =
        { Settings: PmcSettings
          Simulator: Simulator
          Compress: Tensor -> float[][]
          Metric: Matrix<float>
          Prior: Prior
          Observed: float[]
          Rounds: ResizeArray<Simulated> }

    let private distance run =
        Rejection.distance run.Metric run.Observed

    let private posterior run regression epsilon particles =
        Rejection.posterior
            regression
            run.Prior
            run.Observed
            run.Metric
            epsilon
            particles.Theta
            particles.Estimates
            particles.Weights

    /// Estimates of the proposals, up to the last wanted of those within ε.
    let private simulate run number epsilon wanted proposals =
        let distance = distance run

        let made =
            Simulations.until
                run.Settings.Simulations
                run.Simulator
                run.Compress
                run.Settings.Seed
                (purposeOf number)
                (fun estimate -> distance estimate <= epsilon)
                wanted
                proposals

        run.Rounds.Add made
        made

    /// The posterior by regression of the nearest fifth of simulations, or of a population of them.
    let private regressed run weigh (made: Simulated) =
        let distance = distance run

        let theta, estimates =
            [| 0 .. made.Summaries.Length - 1 |]
            |> Array.sortBy (fun i -> distance made.Summaries[i])
            |> Array.truncate (max run.Settings.Population (made.Summaries.Length / 5))
            |> Array.map (fun i -> made.Theta[i], made.Summaries[i])
            |> Array.unzip

        posterior
            run
            true
            (distance (Array.last estimates))
            { Theta = theta
              Estimates = estimates
              Weights = weigh theta }

    /// The population of those within ε, if they fill it, after so many simulations.
    let private population run epsilon used (made: Simulated) weigh =
        let distance = distance run

        let accepted =
            [| 0 .. made.Summaries.Length - 1 |]
            |> Array.filter (fun i -> distance made.Summaries[i] <= epsilon)

        if accepted.Length < run.Settings.Population then
            None
        else
            let theta = accepted |> Array.map (fun i -> made.Theta[i])

            let particles =
                { Theta = theta
                  Estimates = accepted |> Array.map (fun i -> made.Summaries[i])
                  Weights = weigh theta }

            let found =
                { Epsilon = epsilon
                  Acceptance = float accepted.Length / float made.Made
                  Simulations = used
                  EffectiveSize = Posterior.effectiveSize (posterior run false epsilon particles)
                  Posterior =
                    if run.Settings.Regression then
                        regressed run weigh made
                    else
                        posterior run false epsilon particles }

            PosteriorProgress.tell
                run.Settings.Simulations.Progress
                (purposeOf (run.Rounds.Count - 1))
                [ "epsilon", epsilon
                  "acceptance", found.Acceptance
                  "simulations", float used ]
                found.Posterior

            Some(particles, found)

    /// The next ε and those listed behind it, if there is one.
    let private next run (particles: Particles) listed =
        match run.Settings.Schedule, listed with
        | Shrinking q, _ -> Some(particles.Estimates |> Array.map (distance run) |> Rejection.quantile q, [])
        | Listed _, epsilon :: rest -> Some(epsilon, rest)
        | Listed _, [] -> None

    /// The ε of a population that was to reach one, or, where the budget ended before, that of as many particles as it wants, if this is still
    /// less than the last one's.
    let private reached run latest epsilon (made: Simulated) =
        match run.Settings.Schedule with
        | Shrinking _ when made.Summaries.Length >= run.Settings.Population ->
            let distances = made.Summaries |> Array.map (distance run) |> Array.sort
            let filled = distances[run.Settings.Population - 1]
            if filled < latest then max epsilon filled else epsilon
        | _ -> epsilon

    /// The populations behind one, the last first, and all simulations used.
    let rec private follow run number (particles: Particles) (generations: PmcGeneration list) listed used =
        let latest = List.head generations
        let left = run.Settings.Budget - used

        match next run particles listed with
        | Some(epsilon, rest) when
            latest.Acceptance >= run.Settings.LeastAcceptance
            && left >= run.Settings.Population
            ->
            let last = posterior run false latest.Epsilon particles
            let kernel = 2.0 * Posterior.covariance last
            let proposals = propose (seed run.Settings number) run.Prior left last kernel
            let made = simulate run number epsilon run.Settings.Population proposals
            let used = used + made.Made

            match
                population run (reached run latest.Epsilon epsilon made) used made (weights run.Prior last kernel)
            with
            | Some(particles, generation) -> follow run (number + 1) particles (generation :: generations) rest used
            | None -> generations, used
        | _ -> generations, used

    /// Simulations of the prior for the first population, its ε and those listed behind it.
    let private first run =
        let proposals = firstProposals run.Settings run.Prior

        match run.Settings.Schedule with
        | Shrinking _ ->
            let made = simulate run 0 infinity Int32.MaxValue proposals
            let distances = made.Summaries |> Array.map (distance run) |> Array.sort
            made, distances[min distances.Length run.Settings.Population - 1], []
        | Listed epsilons ->
            let epsilon = List.head epsilons
            simulate run 0 epsilon run.Settings.Population proposals, epsilon, List.tail epsilons

    /// Runs population Monte Carlo for an observed estimate; arguments as for Abc.run.
    let run (settings: PmcSettings) simulator compress fisher (prior: Prior) observed : PmcResult =
        validate settings
        Door.inference simulator prior settings.Seed

        let run =
            { Settings = settings
              Simulator = simulator
              Compress = compress
              Metric = fisher
              Prior = prior
              Observed = Observed.require None observed
              Rounds = ResizeArray() }

        let made, epsilon, listed = first run

        let uniform theta =
            Array.create (Array.length theta) (1.0 / float settings.Population)

        match population run epsilon made.Made made uniform with
        | None ->
            raise (
                SettingException(
                    "PMC simulations",
                    $"enough for {settings.Population} particles within ρ ≤ %.3g{epsilon}",
                    $"{made.Made}"
                )
            )
        | Some(particles, generation) ->
            let generations, used = follow run 1 particles [ generation ] listed made.Made

            let all pick =
                run.Rounds |> Seq.map pick |> Array.concat

            let posterior = generations.Head.Posterior

            { Posterior = posterior
              Generations = List.rev generations |> Array.ofList
              Simulations = used
              Failed = run.Rounds |> Seq.sumBy _.Failed
              Warnings = Misfit.warnings (all _.Theta) (all _.Summaries) run.Observed posterior }
