namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

/// What sampling a latent field found: the posterior of θ and how far its chains can be trusted.
type LatentResult =
    { Posterior: Posterior
      Chains: HmcResult }

/// Correlated log-normal fields seen through pixel noise, d = f + σ_n ε: the field f is latent and is sampled with θ = (α, β).
/// The unknowns are ε (N²) and η, θ's logits between the bounds of a flat prior:
/// ln p(ε, η | d) = −½ |ε|² + ln p(f = d − σ_n ε | θ) + Σ ln(dθ/dη), up to a constant. In ε, not in the field's own white noise z: d pins
/// f down to σ_n, which in z would tie every pixel to θ. It suits noise below the field's own changes from pixel to pixel; where the
/// noise is larger the field is smoother than ε, the chains mix slowly, and R̂ tells.
module LatentLogNormal =
    let private bounds (prior: Prior) =
        if prior.Dependence.IsSome then
            raise (
                SettingException("prior of the latent field's parameters", "independent parameters", "dependent ones")
            )

        prior.Marginals
        |> Array.map (function
            | Uniform(lo, hi) -> lo, hi
            | other ->
                raise (SettingException("prior of the latent field's parameters", "flat marginals", $"%A{other}")))

    /// θ (c, 2) and ln|dθ/dη| (c), but for a constant, of logits η (c, 2).
    let private parameters (bounds: (float * float)[]) (eta: Tensor) =
        let lo = Tensors.ofVector (Array.map fst bounds)
        let range = Tensors.ofVector (bounds |> Array.map (fun (lo, hi) -> hi - lo))
        let s = eta.sigmoid ()
        struct (lo + range * s, (s.log () + (-eta).sigmoid().log()).sum 1L)

    /// Where the chains start: at their θ (c, 2), with ε drawn from its prior but for the pixels that would then be beyond the edge.
    let private start seed (model: CorrelatedLogNormalField) bounds (observed: Tensor) (theta: float[][]) =
        let keys = NoiseKey.Range(NoiseKey.SeedFor(seed, "latent start"), 0UL, theta.Length)
        let sigma = model.PixelNoise.ToScalar()
        let edge = theta |> Array.map (fun t -> -0.98 / t[0]) |> Tensors.ofVector

        let drawn =
            observed
            - Noise.Normal(keys, model.Shape, 0u, null, torch.ScalarType.Float64) * sigma

        let epsilon = (observed - drawn.maximum (edge.reshape (-1L, 1L, 1L))) / sigma

        let logits =
            theta
            |> Array.map (Array.map2 (fun (lo, hi) v -> log ((v - lo) / (hi - v))) bounds)
            |> Tensors.ofRows

        torch.cat ([| epsilon.flatten 1L; logits |], 1L)

    /// Runs Hamiltonian Monte Carlo for one observed field (N, N), with a chain from each of the given θ (chains, 2).
    let posterior (settings: HmcSettings) (model: CorrelatedLogNormalField) prior (theta: float[][]) (field: Tensor) =
        if not (model.PixelNoise > 0.0 && model.Form = LogNormalForm.Standardised) then
            raise (
                SettingException(
                    "latent field",
                    "the standardised form with pixel noise",
                    $"{model.Form}, noise of {string model.PixelNoise}"
                )
            )

        Guard.Finite("observed field", Guard.Batched("observed field", field.unsqueeze 0L, model.Shape))
        |> ignore

        for row in theta do
            Prior.require "start of a latent field's chain" prior row |> ignore

        let bounds = bounds prior
        let n, pixels = int64 model.N, int64 (model.N * model.N)
        use _ = torch.NewDisposeScope()
        let observed = field.cpu().``to`` torch.ScalarType.Float64
        let eta (q: Tensor) = q.narrow (1L, pixels, 2L)

        let logDensity (q: Tensor) =
            let epsilon = q.narrow (1L, 0L, pixels)
            let latent = observed - epsilon.reshape (-1L, n, n) * model.PixelNoise.ToScalar()
            let struct (theta, logSlope) = parameters bounds (eta q)

            CorrelatedLogNormalLikelihood.logDensity model latent theta + logSlope
            - epsilon.square().sum 1L * 0.5.ToScalar()

        let observe (q: Tensor) =
            let struct (theta, _) = parameters bounds (eta q)
            theta

        let start = start settings.Seed model bounds observed theta
        let chains = HamiltonianMonteCarlo.run settings logDensity observe start
        let samples = chains.Draws |> Array.concat

        { Posterior = Posterior.ofSamples prior.Names (Prior.bounds prior) samples (Array.create samples.Length 1.0)
          Chains = chains }
