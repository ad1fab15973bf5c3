namespace FieldImnn

open System
open System.Runtime.InteropServices
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

/// Maps that are seen through white pixel noise, and are therefore latent: what sampling them with θ asks for.
type LatentMaps =
    private
        {
            Maps: int
            Grid: FourierGrid
            Classes: ModeClasses
            /// Modes of the full grid in each class (classes).
            Modes: Tensor
            /// Standard deviation of the noise of a pixel, the same in all maps.
            Noise: float
            /// θ (b, p) → what the maps depend on it by.
            Factor: Tensor -> Tensor[]
            /// Of this, the linear response G of the maps to their white noise, mode by mode (b, maps, maps, classes), and the maps
            /// themselves: white noise (b, shape…) → (b, shape…).
            Response: Tensor[] -> struct (Tensor * (Tensor -> Tensor))
        }

/// The posterior of θ given maps with noise, by sampling θ and the maps' own white noise z together:
/// ln p(θ, z | d) = ln p(θ) − ½ |z|² − ½ |d − m(θ, z)|²/σ_n², up to a constant.
/// Hamiltonian Monte Carlo moves in (u, w): u is θ in the normal quantiles of the prior, decorrelated by a posterior that is known roughly, and
/// z = R (w + Rᵀ Gᵀ d/σ_n²) with R Rᵀ = (1 + Gᵀ G/σ_n²)⁻¹ at every mode (Wiener's filter at θ). Were the maps linear in z, m = G z, w would be
/// standard normal and independent of θ: ln p(θ, w | d) = ln p(θ | d) − ½ |w|². So the chains of maps that are nearly so mix as if there were
/// p parameters and nothing else; the target is exact for any m. What of m depends on θ alone may cost much (spectra of lensing): polynomials of it
/// give the slopes that move the chains, and itself decides what is accepted.
module LatentMaps =
    let private create maps (grid: FourierGrid) (classes: ModeClasses) noise factor response =
        if not (Double.IsFinite noise && noise > 0.0) then
            raise (SettingException("noise of latent maps", "a finite standard deviation > 0", string noise))

        { Maps = maps
          Grid = grid
          Classes = classes
          Modes = Tensors.scoped (fun () -> classes.Sum grid.HermitianWeight) |> Tensors.keep
          Noise = noise
          Factor = factor
          Response = response }

    /// Log-normal maps seen through noise of this standard deviation a pixel. To first order their response is λ S.
    let ofLogNormal (model: LogNormalMaps) noise =
        create model.Maps model.Transform.Grid model.Transform.Classes noise (LogNormalMaps.factor model) (fun made ->
            struct (made[0] * made[2].unsqueeze(2L).unsqueeze 3L, LogNormalMaps.ofFactor model made))

    /// Gaussian maps without noise, seen through noise of this standard deviation a pixel; `CorrelatedMapsLikelihood` has their exact answer.
    let ofGaussian (model: CorrelatedMaps) noise =
        create model.Maps model.Grid model.Classes noise (CorrelatedMaps.factor model >> Array.singleton) (fun made ->
            struct (made[0], CorrelatedMaps.ofFactor model made[0]))

    let private number (v: float) = v.ToScalar()

    // as `Prior` has it: nearer to an end of a prior than this, as a part of its probability, a quantile would be infinite
    let private edge = 1e-12

    let private standard (v: float) =
        MathNet.Numerics.Distributions.Normal.CDF(0.0, 1.0, v)

    /// θ (b) of the normal quantile v (b) of a marginal, differentiable: `Prior.ofNormal` on tensors.
    let private ofNormal marginal (v: Tensor) =
        let probability () =
            (torch.special.ndtr v).clamp(number edge, number (1.0 - edge))

        match marginal with
        | Uniform(lo, hi) -> probability () * number (hi - lo) + number lo
        | Normal(mean, sd) -> v * number sd + number mean
        | TruncatedNormal(mean, sd, lo, hi) ->
            let a, b = (lo - mean) / sd, (hi - mean) / sd

            // from the tail where the difference is exact
            let z =
                if a > 0.0 then
                    -torch.special.ndtri(number (standard -a) - probability () * number (standard -a - standard -b))
                else
                    torch.special.ndtri (probability () * number (standard b - standard a) + number (standard a))

            (z * number sd + number mean).clamp(number lo, number hi)

    /// The coordinates of θ: normal quantiles v = centre + L u of the prior, L Lᵀ their covariance in a posterior known roughly.
    type private Frame =
        { Prior: Prior
          Centre: Tensor
          Root: Tensor }

    let private frame (prior: Prior) (rough: float[][]) =
        let v = rough |> Array.map (Prior.toNormal prior) |> Tensors.ofRows
        let centre = v.mean [| 0L |]
        let apart = v - centre
        let covariance = apart.t().matmul apart / number (float rough.Length)

        let root =
            try
                torch.linalg.cholesky covariance
            with :? ExternalException ->
                raise (
                    SingularMatrixException(
                        "covariance of a rough posterior",
                        "draws in which every parameter varies, none with another",
                        $"{rough.Length} draws of {(Array.distinct rough).Length} different"
                    )
                )

        { Prior = prior
          Centre = centre
          Root = root }

    /// The normal quantiles (b, p) of u (b, p).
    let private quantiles frame (u: Tensor) =
        frame.Centre + u.matmul (frame.Root.t ())

    let private thetaOf frame (u: Tensor) =
        let v = quantiles frame u

        torch.stack (
            frame.Prior.Marginals
            |> Array.mapi (fun k marginal -> ofNormal marginal (v.select (1L, int64 k))),
            1L
        )

    /// The power of white noise of a pixel, its root.
    let private unit (model: LatentMaps) =
        sqrt ((model.Grid.BoxLength / float model.Grid.N) ** float model.Grid.Dimensions)

    /// Wiener's filter from the response: factors Rᵀ… of w and of the observed maps, (b, maps, maps, classes), and ln|1 + GᵀG/σ²| of every
    /// class (b, classes).
    let private wiener (model: LatentMaps) (response: Tensor) : struct (Tensor * Tensor * Tensor) =
        // (b, classes, maps, maps), in units in which white noise of a pixel is 1
        let g = response.permute (0L, 3L, 1L, 2L) / number (unit model * model.Noise)
        let precision = g.mT.matmul g + torch.eye (int64 model.Maps, dtype = g.dtype)
        let planes (m: Tensor) = m.permute (0L, 2L, 3L, 1L)

        let factor =
            precision |> planes |> SmallMatrices.cholesky "precision of latent maps"

        let inverse =
            (factor |> SmallMatrices.invert |> SmallMatrices.lower).permute(0L, 3L, 1L, 2L)

        struct (planes inverse.mT,
                planes (inverse.mT.matmul(inverse).matmul g.mT / number model.Noise),
                SmallMatrices.logDeterminant factor)

    /// Maps (b or 1, maps, N, …) mixed mode by mode by factors (b, maps, maps, classes) without units.
    let private mixed (model: LatentMaps) (maps: Tensor) (factors: Tensor) =
        let prepared =
            Mixing.prepare model.Grid model.Classes maps (factors * number (unit model))

        MixedFields.Of(model.Grid, maps, prepared).squeeze 1L

    /// ln p(u, w | d) of rows (b, p + pixels of all maps), up to a constant, by what `factor` says the maps depend on u by.
    let private logDensity (model: LatentMaps) frame (factor: Tensor -> Tensor[]) (observed: Tensor) (q: Tensor) =
        Tensors.scoped (fun () ->
            let p = int64 frame.Prior.Names.Length
            let u = q.narrow (1L, 0L, p)
            let shape = Array.append [| -1L |] observed.shape[1..]
            let w = q.narrow(1L, p, q.shape[1] - p).reshape shape
            let struct (response, maps) = model.Response(factor u)
            let struct (ofW, ofData, logDeterminant) = wiener model response
            let z = mixed model w ofW + mixed model observed ofData

            let made =
                maps (z.reshape (Array.append [| -1L |] (Mixing.shape model.Maps model.Grid)))

            let misfit = (observed - made.reshape z.shape) / number model.Noise
            let square (t: Tensor) = t.square().flatten(1L).sum 1L
            let chi = square (quantiles frame u) + square z + square misfit
            (chi + logDeterminant.matmul model.Modes) * number -0.5)

    /// The density with −∞ for the rows that are outside of what the maps can be made of, as an end of the prior may be: a trajectory on its first
    /// steps may come there.
    let rec private whereThereIs (density: Tensor -> Tensor) (q: Tensor) : Tensor =
        try
            density q
        with
        | :? RangeException
        | :? NonFiniteException
        | :? SingularMatrixException when q.shape[0] = 1L -> q.sum 1L * number 0.0 - number infinity
        | :? RangeException
        | :? NonFiniteException
        | :? SingularMatrixException -> torch.cat (q.split 1L |> Array.map (whereThereIs density), 0L)

    let private require (prior: Prior) (settings: HmcSettings) (rough: float[][]) =
        if prior.Dependence.IsSome then
            raise (
                SettingException("prior of the parameters of latent maps", "independent parameters", "dependent ones")
            )

        let least = max settings.Chains (2 * prior.Names.Length + 2)

        Guard.AtLeast("draws of a rough posterior", int64 least, int64 rough.Length)
        |> ignore

        for row in rough do
            Prior.require "rough posterior of latent maps" prior row |> ignore

    /// Runs Hamiltonian Monte Carlo for observed maps (maps, N, …), or (N, …) of one. The rough posterior, rows of θ, is any approximation, as a network's:
    /// its first draws are where the chains begin, and its covariance is their scale. It changes the time that the chains take, not what they
    /// find.
    let posterior
        (settings: HmcSettings)
        (model: LatentMaps)
        (prior: Prior)
        (rough: float[][])
        (field: Tensor)
        : LatentResult =
        require prior settings rough
        use _ = torch.NewDisposeScope()
        let grid = model.Grid

        let observed =
            (Mixing.asMaps model.Maps grid "observed maps" (field.unsqueeze 0L))
                .``to``(torch.ScalarType.Float64, torch.CPU)

        Guard.Finite("observed maps", observed) |> ignore
        let frame = frame prior rough

        let start =
            let v =
                rough[.. settings.Chains - 1]
                |> Array.map (Prior.toNormal prior)
                |> Tensors.ofRows

            let u =
                torch.linalg.solve_triangular(frame.Root, (v - frame.Centre).t(), upper = false).t()

            let keys =
                NoiseKey.Range(NoiseKey.SeedFor(settings.Seed, "latent maps"), 0UL, settings.Chains)

            let w = Noise.Normal(keys, observed.shape[1..], 0u, null, torch.ScalarType.Float64)
            torch.cat ([| u; w.flatten 1L |], 1L)

        let observe (q: Tensor) =
            thetaOf frame (q.narrow (1L, 0L, int64 prior.Names.Length))

        let factor u = model.Factor(thetaOf frame u)
        let density = logDensity model frame factor observed
        // where the chains begin, an error is the caller's
        Tensors.using (fun () ->
            use _ = torch.no_grad ()
            density start |> ignore)

        let chains =
            match Emulator.create settings.Seed prior.Names.Length factor with
            | None -> HamiltonianMonteCarlo.run settings (whereThereIs density) observe start
            | Some emulated ->
                let guide = logDensity model frame emulated observed

                HamiltonianMonteCarlo.runGuided settings (whereThereIs density) (whereThereIs guide) observe start

        let samples = Array.concat chains.Draws

        { Posterior = Posterior.ofSamples prior.Names (Prior.bounds prior) samples (Array.create samples.Length 1.0)
          Chains = chains }
