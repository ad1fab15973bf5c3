namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions

/// How an amortised posterior is learned.
type NpeSettings =
    {
        /// Simulations, all from the prior.
        Budget: int
        Estimator: EstimatorSettings
        /// Draws of a posterior.
        Draws: int
        Simulations: SimulationSettings
        Seed: uint64
    }

    /// 4,000 simulations, 10,000 draws.
    static member Default =
        { Budget = 4000
          Estimator = EstimatorSettings.Default
          Draws = 10000
          Simulations = SimulationSettings.Default
          Seed = 1UL }

/// A posterior for any observation, learned once.
type AmortisedPosterior =
    {
        Prior: Prior
        /// q(z | x) of z_k = Φ⁻¹(the marginal's probability below θ_k).
        Density: DensityEstimator
        /// q(x | θ) of the same simulations.
        Likelihood: DensityEstimator
        Draws: int
        Seed: uint64
        Simulations: int
        /// Parameters and summaries of the simulations: what an observation is judged by.
        Theta: float[][]
        Summaries: float[][]
        /// What is true of the posterior of any observation; `NeuralPosterior.warnings` has that of one.
        Warnings: Warning list
        /// Those that failed and were left out.
        Failed: int
    }

/// Neural posterior estimation (Papamakarios & Murray 2016; Greenberg et al. 2019), amortised: q(θ | x) learned from simulations of the
/// prior serves every observation. It is learned in z, in which the prior is the standard normal, so no mass can leak out of the prior.
/// A density that must follow the truth over the whole prior is too wide where the posterior is narrow, and rounds a posterior that ends
/// at an edge. The likelihood of the same simulations is smooth in θ, and learned far better: q(θ | x) therefore only proposes, and
/// importance weights, prior × q(x | θ) / q(θ | x), make the posterior of it.
module NeuralPosterior =
    /// Learns the posterior from simulations (θ, summaries), wherever they come from; θ should fill the prior.
    let learnFrom (settings: NpeSettings) (prior: Prior) (made: Simulated) : AmortisedPosterior =
        Guard.AtLeast("simulations", 20L, int64 made.Theta.Length) |> ignore
        Guard.AtLeast("draws", 1L, int64 settings.Draws) |> ignore

        let estimator =
            { settings.Estimator with
                Training =
                    { SimulationSettings.training settings.Simulations settings.Estimator.Training with
                        Seed = NoiseKey.SeedFor(settings.Seed, "NPE training") } }

        let theta, x, leftOut = Misfit.withoutOutliers made.Theta made.Summaries

        let likelihood =
            { estimator with
                Training =
                    { estimator.Training with
                        Seed = NoiseKey.SeedFor(settings.Seed, "NPE likelihood") } }

        { Prior = prior
          // edges are the summaries', which the posterior has for its condition
          Density = DensityEstimator.fit { estimator with Edges = [] } (theta |> Array.map (Prior.toNormal prior)) x
          Likelihood = DensityEstimator.fit likelihood x theta
          Draws = settings.Draws
          Seed = settings.Seed
          Simulations = made.Made
          Failed = made.Failed
          Theta = theta
          Summaries = x
          Warnings = leftOut }

    let private purpose = "NPE"

    let private draws (settings: NpeSettings) prior =
        Prior.sample (NoiseKey.IntSeedFor(settings.Seed, "NPE parameters")) 0L settings.Budget prior

    /// The simulations that the posterior is learned from, all from the prior.
    let planned (settings: NpeSettings) (prior: Prior) : PlannedSimulations =
        draws settings prior |> Simulations.planned settings.Seed purpose

    /// Learns the posterior of summaries: fields (n, shape…) become rows by `compress`.
    let learn (settings: NpeSettings) simulator compress (prior: Prior) : AmortisedPosterior =
        Guard.AtLeast("simulations", 20L, int64 settings.Budget) |> ignore
        Guard.AtLeast("draws", 1L, int64 settings.Draws) |> ignore
        Door.inference simulator prior settings.Seed

        draws settings prior
        |> Simulations.run settings.Simulations simulator compress settings.Seed purpose
        |> learnFrom settings prior

    /// ln q(θ | x) of the proposal at rows of θ; −∞ outside the prior.
    let private proposed amortised (x: float[]) (rows: float[][]) (logPrior: float[]) : float[] =
        let z = rows |> Array.map (Prior.toNormal amortised.Prior)
        let q = DensityEstimator.logDensity amortised.Density z (Array.create rows.Length x)

        let jacobian row (z: float[]) =
            // dz/dθ = p(θ) / φ(z), p the marginals' density
            Prior.logFrame amortised.Prior row
            - Array.sumBy (fun v -> Normal.PDFLn(0.0, 1.0, v)) z

        Array.map3
            (fun prior jacobian q ->
                if Double.IsNegativeInfinity prior then
                    prior
                else
                    q + jacobian)
            logPrior
            (Array.map2 jacobian rows z)
            q

    /// ln prior + ln q(x | θ) at rows of θ.
    let private unnormalised amortised (x: float[]) (rows: float[][]) (logPrior: float[]) =
        DensityEstimator.logDensity amortised.Likelihood [| x |] rows
        |> Array.map2
            (fun prior l ->
                if Double.IsNegativeInfinity prior || Double.IsNaN l then
                    -infinity
                else
                    prior + l)
            logPrior

    /// The least number of proposals: so few draws as are asked for may be too few to weigh.
    let private leastProposals = 4000

    /// Proposals of observed summaries and their log weights.
    let private weighted amortised (x: float[]) =
        let rows =
            DensityEstimator.sample
                amortised.Density
                amortised.Seed
                (Array.create (max leastProposals amortised.Draws) x)
            |> Array.map (Prior.ofNormal amortised.Prior)

        let logPrior = rows |> Array.map (Prior.logDensity amortised.Prior)

        let logWeights =
            Array.map2 (-) (unnormalised amortised x rows logPrior) (proposed amortised x rows logPrior)
            |> Array.map (fun v -> if Double.IsNaN v then -infinity else v)

        rows, logWeights

    let private normalise (logWeights: float[]) =
        let highest = Array.max logWeights

        if Double.IsFinite highest then
            highest, logWeights |> Array.map (fun v -> exp (v - highest))
        else
            // the likelihood knows nothing of this observation: the proposal stands, and the warnings say so
            0.0, Array.create logWeights.Length 1.0

    /// ln of the posterior's density, given observed summaries x, at rows of θ; −∞ outside the prior.
    let logDensity amortised (x: float[]) (rows: float[][]) : float[] =
        let x = Observed.require (Some amortised.Summaries[0].Length) x
        let highest, weights = weighted amortised x |> snd |> normalise
        let evidence = highest + log (Array.average weights)

        rows
        |> Array.map (Prior.logDensity amortised.Prior)
        |> unnormalised amortised x rows
        |> Array.map (fun v -> v - evidence)

    /// The least number of draws that a posterior is worth, so that it has a width.
    let private leastEffective = 2.0

    /// Weights of log weights; where hardly more than one draw would count, of these times what makes two count: of an observation far outside
    /// the simulations, which the warnings tell.
    let private tempered (logWeights: float[]) =
        let at power =
            normalise (logWeights |> Array.map (fun v -> power * v)) |> snd

        let rec search low high left =
            let middle = sqrt (low * high)

            if left = 0 then
                at low
            elif Weighted.effective (at middle) < leastEffective then
                search low middle (left - 1)
            else
                search middle high (left - 1)

        let whole = at 1.0

        if Weighted.effective whole >= leastEffective then
            whole
        elif Weighted.effective (at 1e-12) < leastEffective then
            Array.create logWeights.Length 1.0
        else
            search 1e-12 1.0 60

    /// The posterior of observed summaries x, which must be finite: weighted draws. Whether it can be trusted, `warnings` says.
    let posterior amortised (x: float[]) =
        let x = Observed.require (Some amortised.Summaries[0].Length) x
        let rows, logWeights = weighted amortised x
        Posterior.ofSamples amortised.Prior.Names (Prior.bounds amortised.Prior) rows (tempered logWeights)

    /// The part of the proposals that must count: of fewer, the learned posterior and the learned likelihood contradict each other.
    let private leastPart = 0.02

    /// What must be known of the posterior of observed summaries x: that of all, and whether the model can have made x.
    let warnings amortised (x: float[]) (posterior: Posterior) =
        let effective = Posterior.effectiveSize posterior

        amortised.Warnings
        @ [ if effective < leastPart * float posterior.Samples.Length then
                Contradiction(effective, posterior.Samples.Length) ]
        @ Misfit.warnings amortised.Theta amortised.Summaries x posterior
