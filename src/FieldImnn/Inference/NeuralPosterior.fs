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
        /// q(z | x) of z_k = Φ⁻¹(the prior's probability below θ_k).
        Density: DensityEstimator
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
module NeuralPosterior =
    // the prior's very edge, where z would be infinite
    let private edge = 1e-12

    let private toNormal (prior: Prior) (theta: float[]) =
        Array.map2
            (fun marginal t -> Normal.InvCDF(0.0, 1.0, Math.Clamp(Marginal.cumulative marginal t, edge, 1.0 - edge)))
            prior.Marginals
            theta

    let private ofNormal (prior: Prior) (z: float[]) =
        Array.map2
            (fun marginal v -> Marginal.quantile marginal (Math.Clamp(Normal.CDF(0.0, 1.0, v), edge, 1.0 - edge)))
            prior.Marginals
            z

    /// Learns the posterior of summaries: fields (n, shape…) become rows by `compress`.
    let learn (settings: NpeSettings) simulator compress (prior: Prior) : AmortisedPosterior =
        Guard.AtLeast("simulations", 20L, int64 settings.Budget) |> ignore
        Guard.AtLeast("draws", 1L, int64 settings.Draws) |> ignore
        Door.inference simulator prior settings.Seed

        let theta =
            Prior.sample (NoiseKey.IntSeedFor(settings.Seed, "NPE parameters")) 0L settings.Budget prior

        let made =
            Simulations.run settings.Simulations simulator compress settings.Seed "NPE" theta

        let estimator =
            { settings.Estimator with
                Training =
                    { settings.Estimator.Training with
                        Seed = NoiseKey.SeedFor(settings.Seed, "NPE training")
                        Progress = settings.Simulations.Progress } }

        let theta, x, leftOut = Misfit.withoutOutliers made.Theta made.Summaries

        { Prior = prior
          Density = DensityEstimator.fit estimator (theta |> Array.map (toNormal prior)) x
          Draws = settings.Draws
          Seed = settings.Seed
          Simulations = made.Made
          Failed = made.Failed
          Theta = theta
          Summaries = x
          Warnings = leftOut }

    /// ln q(θ | x) of observed summaries x at rows of θ; −∞ outside the prior.
    let logDensity amortised (x: float[]) (rows: float[][]) : float[] =
        let x = Observed.require (Some amortised.Summaries[0].Length) x
        let logPrior = rows |> Array.map (Prior.logDensity amortised.Prior)
        let z = rows |> Array.map (toNormal amortised.Prior)
        let q = DensityEstimator.logDensity amortised.Density z (Array.create rows.Length x)

        Array.map3
            (fun prior (z: float[]) q ->
                // dz/dθ = p(θ) / φ(z)
                if Double.IsNegativeInfinity prior then
                    prior
                else
                    q + prior - Array.sumBy (fun v -> Normal.PDFLn(0.0, 1.0, v)) z)
            logPrior
            z
            q

    /// Draws of the posterior of observed summaries x, which must be finite. Whether it can be trusted, `warnings` says.
    let posterior amortised (x: float[]) =
        let x = Observed.require (Some amortised.Summaries[0].Length) x

        let draws =
            DensityEstimator.sample amortised.Density amortised.Seed (Array.create amortised.Draws x)
            |> Array.map (ofNormal amortised.Prior)

        Posterior.ofSamples amortised.Prior.Names (Prior.bounds amortised.Prior) draws (Array.create draws.Length 1.0)

    /// What must be known of the posterior of observed summaries x: that of all, and whether the model can have made x.
    let warnings amortised (x: float[]) (posterior: Posterior) =
        amortised.Warnings
        @ Misfit.warnings amortised.Theta amortised.Summaries x posterior
