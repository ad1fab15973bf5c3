namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra

/// Where the parameters of ABC simulations are drawn.
type AbcProposal =
    /// From the prior, as the paper does.
    | FromPrior
    /// From a Gaussian that pilot rounds (an eighth of the simulations each: from the prior, then from what the one before accepts, two or more, until
    /// they narrow no longer) place over the posterior, its sd `widen` times theirs, cut to the prior; samples are weighted by prior over
    /// proposal. Needs a hundredth of the simulations where the prior is wide.
    | Focused of widen: float

/// Which simulations ABC accepts.
type AbcAcceptance =
    /// Those with distance ρ below ε.
    | Within of epsilon: float
    /// This part of all simulations, the nearest ones; with regression a quarter of them, and again, as long as that changes the posterior: one
    /// regression does not follow several peaks, nor what bends.
    | Nearest of quantile: float
    /// The first so many with distance ρ below ε: simulating ends with the last of them, and `Budget` is then a limit.
    | Until of accepted: int * epsilon: float

/// How rejection ABC is run.
type AbcSettings =
    {
        /// Simulations after the pilot rounds.
        Budget: int
        Proposal: AbcProposal
        Acceptance: AbcAcceptance
        /// Local regression of θ on θ̂ with Epanechnikov weights (Beaumont, Zhang & Balding 2002), quadratic where there are simulations
        /// enough (Blum 2010): takes out what a finite ε adds.
        Regression: bool
        Simulations: SimulationSettings
        Seed: uint64
    }

    /// 10,000 simulations after pilot rounds, the nearest fifth of them, with regression.
    static member Default =
        { Budget = 10000
          Proposal = Focused 1.5
          Acceptance = Nearest 0.2
          Regression = true
          Simulations = SimulationSettings.Default
          Seed = 1UL }

    /// As in the paper's talk: 12,000 simulations from the prior, the nearest 350, plain rejection.
    static member Published =
        { AbcSettings.Default with
            Budget = 12000
            Proposal = FromPrior
            Acceptance = Nearest(350.0 / 12000.0)
            Regression = false }

/// What rejection ABC found.
type AbcResult =
    {
        Posterior: Posterior
        /// The largest accepted distance.
        Epsilon: float
        Accepted: int
        Simulations: int
        /// What must be known before the posterior is trusted.
        Warnings: Warning list
        /// Those that failed and were left out.
        Failed: int
    }

/// Approximate Bayesian computation by rejection, with the Fisher distance ρ² = (θ̂ − θ̂_obs)ᵀ F (θ̂ − θ̂_obs).
module Abc =
    let private validate (settings: AbcSettings) =
        let refuse what expected (received: obj) =
            raise (SettingException(what, expected, string received))

        Guard.AtLeast("ABC simulations", 10L, int64 settings.Budget) |> ignore

        match settings.Acceptance with
        | Within epsilon -> Guard.Positive("ε", epsilon) |> ignore
        | Until(accepted, epsilon) ->
            Guard.AtLeast("accepted simulations", 10L, int64 accepted) |> ignore
            Guard.Positive("ε", epsilon) |> ignore
        | Nearest q when not (q > 0.0 && q <= 1.0) -> refuse "accepted quantile" "a number in (0, 1]" q
        | Nearest _ -> ()

        match settings.Proposal with
        | Focused widen -> Guard.Positive("widening of the proposal", widen) |> ignore
        | FromPrior -> ()

    /// Degrees of freedom of the proposal's Student distribution.
    let private freedom = 5.0

    /// n proposed parameters and the log of prior over proposal, unnormalised: draw i of a purpose whatever the batch. About a centre the
    /// proposal is a Student distribution cut to the prior: its tails leave no sample with a weight that outgrows all others.
    let private propose seed (prior: Prior) n (about: (Vector<float> * Matrix<float>) option) =
        match about with
        | None -> Prior.sample seed 0L n prior, Array.zeroCreate n
        | Some(centre, covariance) ->
            let factor = covariance.Cholesky().Factor
            let normals = Rejection.standardNormal centre.Count
            let density = Prior.logDensity prior (centre.ToArray())

            // the first number is the probability below χ²
            let draws =
                { Names = Array.append [| "below" |] normals.Names
                  Marginals = Array.append [| Uniform(0.0, 1.0) |] normals.Marginals
                  Dependence = None }
                |> Rejection.draws seed n
                |> Seq.map (fun draw ->
                    let scale = sqrt (ChiSquared.InvCDF(freedom, draw[0]) / freedom)
                    let u = Vector<float>.Build.DenseOfArray draw[1..] / scale

                    (centre + factor * u).ToArray(),
                    0.5 * (freedom + float centre.Count) * log (1.0 + u.DotProduct u / freedom))
                |> Seq.filter (fun (theta, _) -> Rejection.plausible prior density theta)
                |> Seq.truncate n
                |> Seq.toArray

            if draws.Length < n then
                let at = centre |> Seq.map (sprintf "%.4g") |> String.concat ", "

                raise (
                    RangeException("centre of the ABC proposal", "one near the prior's support", $"({at}), far outside")
                )

            draws |> Array.map fst, draws |> Array.map (fun (theta, tail) -> tail + Prior.logDensity prior theta)

    /// n parameters about a centre and a covariance, from the tailed distribution that ABC draws from.
    let internal about seed prior n (centre: float[]) covariance =
        propose seed prior n (Some(Vector<float>.Build.DenseOfArray centre, covariance))
        |> fst

    /// The proposals of a round.
    let private proposals settings prior purpose n about =
        propose (NoiseKey.IntSeedFor(settings.Seed, $"abc parameters {purpose}")) prior n about

    let private purposeOf round = $"ABC {round}"
    let private firstPilot = "pilot 1"
    let private sampling = "sampling"

    /// Simulations of a pilot round.
    let private pilotSize (settings: AbcSettings) = max 40 (settings.Budget / 8)

    /// The simulations from the prior that ABC begins with: all, or those of the first pilot round.
    let planned (settings: AbcSettings) (prior: Prior) : PlannedSimulations =
        let round, n =
            match settings.Proposal with
            | FromPrior -> sampling, settings.Budget
            | Focused _ -> firstPilot, pilotSize settings

        fst (proposals settings prior round n None)
        |> Simulations.planned settings.Seed (purposeOf round)

    /// The fewest accepted simulations that a regression and a covariance may rest on.
    let private leastAccepted (observed: float[]) = 2 * (observed.Length + 1)

    /// The accepted of one round: samples, weights and the largest accepted distance.
    let private accept acceptance regression (prior: Prior) fisher observed (theta: float[][]) estimates logWeights =
        let distances = estimates |> Array.map (Rejection.distance fisher observed)

        let epsilon =
            match acceptance with
            | Within epsilon
            | Until(_, epsilon) -> epsilon
            | Nearest part -> Rejection.quantile part distances

        let accepted =
            [| 0 .. distances.Length - 1 |]
            |> Array.filter (fun i -> distances[i] <= epsilon)

        let least = leastAccepted observed

        if accepted.Length < least then
            let came = $"{accepted.Length} of {distances.Length} within ρ ≤ %.3g{epsilon}"

            raise (
                SettingException("ABC acceptance", $"at least {least} accepted; more simulations or a larger ε", came)
            )

        let pick (values: 'v[]) =
            accepted |> Array.map (fun i -> values[i])

        let highest = pick logWeights |> Array.max
        let importance = pick logWeights |> Array.map (fun w -> exp (w - highest))

        Rejection.posterior regression prior observed fisher epsilon (pick theta) (pick estimates) importance,
        epsilon,
        accepted.Length

    /// The fewest simulations that a quarter of the accepted may be, since a regression of fewer wanders, and the difference of marginal
    /// distributions that counts as a change: chance makes up to .08 of a quarter of 2,000.
    let private fewestNear, private change = 400, 0.1

    /// How much the marginals of two posteriors differ.
    let private apart (a: Posterior) (b: Posterior) =
        let marginal k (p: Posterior) =
            p.Samples |> Array.map (Array.item k), p.Weights

        Seq.init a.Names.Length (fun k -> Weighted.distance (marginal k a) (marginal k b))
        |> Seq.max

    /// What is accepted where a posterior is wanted: with regression so few of the nearest that fewer don't change it.
    let private settled acceptance regression prior fisher observed theta estimates logWeights =
        let accept part =
            accept part regression prior fisher observed theta estimates logWeights

        let rec nearer part (posterior, _, accepted as found) =
            if accepted / 4 < max fewestNear (leastAccepted observed) then
                found
            else
                let closer, _, _ as quarter = accept (Nearest(part / 4.0))

                if apart posterior closer > change then
                    nearer (part / 4.0) quarter
                else
                    found

        match acceptance with
        | Nearest part when regression -> nearer part (accept acceptance)
        | _ -> accept acceptance

    /// One round, of which some are accepted by a rule: its posterior, the largest accepted distance, how many were accepted, and the simulations.
    let private round accept settings simulator compress fisher prior observed purpose n about acceptance regression =
        let theta, logWeights = proposals settings prior purpose n about

        let accepts, wanted =
            match acceptance with
            | Until(accepted, epsilon) -> (fun e -> Rejection.distance fisher observed e <= epsilon), accepted
            | Within epsilon -> (fun e -> Rejection.distance fisher observed e <= epsilon), Int32.MaxValue
            | Nearest _ -> (fun _ -> false), Int32.MaxValue

        let simulated =
            Simulations.until
                settings.Simulations
                simulator
                compress
                settings.Seed
                (purposeOf purpose)
                accepts
                wanted
                theta

        let posterior, epsilon, accepted =
            accept
                acceptance
                regression
                prior
                fisher
                observed
                simulated.Theta
                simulated.Summaries
                (simulated.Rows |> Array.map (fun i -> logWeights[i]))

        PosteriorProgress.tell
            settings.Simulations.Progress
            (purposeOf purpose)
            [ "epsilon", epsilon
              "acceptance", float accepted / float simulated.Summaries.Length
              "simulations", float simulated.Made ]
            posterior

        posterior, epsilon, accepted, simulated

    /// A covariance in units of another one L Lᵀ, L⁻¹ C L⁻ᵀ, by its eigenvalues and vectors; and L.
    let private inUnits (unit: Matrix<float>) (covariance: Matrix<float>) =
        let root = unit.Cholesky().Factor
        let inverse = root.Inverse()
        let own = inverse * covariance * inverse.Transpose()
        (0.5 * (own + own.Transpose())).Evd(Symmetricity.Symmetric), root

    /// A covariance that is nowhere less than a least one: few draws may leave a direction out.
    let private atLeast (least: Matrix<float>) (covariance: Matrix<float>) =
        let split, root = inUnits least covariance
        let back = root * split.EigenVectors

        let scales =
            Matrix<float>.Build.DenseOfDiagonalVector(split.EigenValues.Map(fun v -> max 1.0 v.Real))

        let wider = back * scales * back.Transpose()
        0.5 * (wider + wider.Transpose())

    /// A covariance of a posterior, nowhere less than what the information F of the estimates and the prior together leave open.
    let internal leftOpen (prior: Prior) (information: Matrix<float>) covariance =
        let known =
            Prior.width prior
            |> Array.map (fun w -> 1.0 / (w * w))
            |> Matrix<float>.Build.DenseOfDiagonalArray

        let least =
            Matrices.inverse "information of the compression and the prior" (information + known)

        atLeast least covariance

    /// A proposal over a posterior, `widen` times as wide.
    let private over (prior: Prior) (fisher: Matrix<float>) widen posterior =
        let covariance = Posterior.covariance posterior

        Some(
            Vector<float>.Build.DenseOfArray(Posterior.mean posterior),
            // F is that of the parameters where nothing is compared beside the estimates: an edge beside them may tell far more
            (if fisher.RowCount = covariance.RowCount then
                 leftOpen prior fisher covariance
             else
                 covariance)
            * (widen * widen)
        )

    /// How much narrower a posterior is than the one before, in sd: along the direction in which it is the most.
    let private narrowing before after =
        let split, _ = inUnits (Posterior.covariance before) (Posterior.covariance after)

        split.EigenValues |> Seq.map (fun v -> sqrt (max 0.0 v.Real)) |> Seq.min

    /// A pilot that narrows to less than this part of the one before is followed by another.
    let private narrows = 0.4

    /// Pilots, at the most, where a posterior is wanted.
    let internal mostPilots = 6

    /// Where the posterior is, roughly, and the simulations that say it: by pilots, one from the prior, of which the nearest count, then others about what
    /// the one before found, two or more, as long as they narrow much and up to so many, an eighth of the settings' simulations each. Other arguments
    /// as for `run`.
    let pilot most settings simulator (compress: Tensor -> float[][]) (fisher: Matrix<float>) (prior: Prior) observed =
        validate settings
        let n = pilotSize settings
        let round = round accept settings simulator compress fisher prior observed

        let nearest part =
            Nearest(min 1.0 (max part ((float (leastAccepted observed) + 0.5) / float n)))

        let rec next number before made =
            let after, _, _, simulated =
                round $"pilot {number}" n (over prior fisher 1.5 before) (nearest 0.3) true

            let made = simulated :: made

            if number < most && narrowing before after < narrows then
                next (number + 1) after made
            else
                after, List.rev made

        let first, _, _, simulated = round firstPilot n None (nearest 0.15) false
        next 2 first [ simulated ]

    /// As `run`, after so many pilots at the most.
    let internal runAfter
        most
        (settings: AbcSettings)
        simulator
        (compress: Tensor -> float[][])
        (fisher: Matrix<float>)
        (prior: Prior)
        observed
        =
        validate settings
        let observed = Observed.require None observed
        Door.inference simulator prior settings.Seed

        let about, pilots =
            match settings.Proposal with
            | FromPrior -> None, []
            | Focused widen ->
                let found, pilots = pilot most settings simulator compress fisher prior observed

                over prior fisher widen found, pilots

        let posterior, epsilon, accepted, simulated =
            round
                settled
                settings
                simulator
                compress
                fisher
                prior
                observed
                sampling
                settings.Budget
                about
                settings.Acceptance
                settings.Regression

        { Posterior = posterior
          Epsilon = epsilon
          Accepted = accepted
          Simulations = simulated :: pilots |> List.sumBy _.Made
          Failed = simulated :: pilots |> List.sumBy _.Failed
          Warnings = Misfit.warnings simulated.Theta simulated.Summaries observed posterior }

    /// Runs ABC for an observed estimate: θ's are simulated, compressed by `compress` (fields (n, shape…) → rows of θ̂), and
    /// accepted by their distance under F.
    let run settings simulator compress fisher prior observed =
        runAfter mostPilots settings simulator compress fisher prior observed

    /// ABC with simulations (θ, summaries) that are draws of the prior, wherever they come from: those that the settings accept.
    let ofSimulated (settings: AbcSettings) (fisher: Matrix<float>) (prior: Prior) observed (made: Simulated) =
        validate settings
        let observed = Observed.require None observed

        let posterior, epsilon, accepted =
            settled
                settings.Acceptance
                settings.Regression
                prior
                fisher
                observed
                made.Theta
                made.Summaries
                (Array.zeroCreate made.Theta.Length)

        { Posterior = posterior
          Epsilon = epsilon
          Accepted = accepted
          Simulations = made.Made
          Failed = made.Failed
          Warnings = Misfit.warnings made.Theta made.Summaries observed posterior }
