namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Fields
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact information and likelihood of correlated log-normal fields without pixel noise, θ = (α, β). The Gaussian field follows
/// from the observed one pixel by pixel, so with the Jacobian of f(g)
/// ln p(f | α, β) = −½ gᵀΞ⁻¹g − ½ ln|Ξ| − Σ ln(df/dg) − ½ N² ln 2π (Leclercq & Heavens 2021, arXiv:2103.04158).
/// f = (e^{αg − α²/2} − 1)/α: g = ln(1 + αf)/α + α/2, df/dg = 1 + αf, and no support where 1 + αf ≤ 0 in any pixel: a hard upper edge
/// in α. f = e^{αg}: g = ln f/α, df/dg = αf.
module CorrelatedLogNormalLikelihood =
    /// Which fields of f (b or 1, N, N) are within the support at α (b, 1, 1), and their g and ln(df/dg).
    let private invert (model: CorrelatedLogNormalField) (f: Tensor) (alpha: Tensor) =
        let standardised = model.Form = LogNormalForm.Standardised

        let y =
            if standardised then
                alpha * f
            else
                f + torch.zeros_like alpha

        let least = if standardised then -1.0 else 0.0
        let inside = y.detach().gt(least.ToScalar()).all(-1L).all -1L
        // beyond the edge any field within it does: what comes of it is not used
        let y = torch.where (inside.reshape (-1L, 1L, 1L), y, torch.ones_like y)

        if standardised then
            let logSlope = y.log1p ()
            struct (inside, logSlope / alpha + alpha / 2.0, logSlope)
        else
            let logField = y.log ()
            struct (inside, logField / alpha, logField + alpha.log ())

    /// ln p(f | θ) of fields f (b or 1, N, N), float64, at θ (b, 2): (b), −∞ beyond the edge; differentiable in both. α = 0 is the
    /// limit, for the standardised field that of a Gaussian one.
    let logDensity (model: CorrelatedLogNormalField) (f: Tensor) (theta: Tensor) : Tensor =
        Tensors.scoped (fun () ->
            let alphas = theta.detach().select(1L, 0L)
            let least, most = alphas.min().ToDouble(), alphas.max().ToDouble()

            if not (least >= 0.0 && Double.IsFinite most) then
                let wrong = if least >= 0.0 then most else least
                raise (RangeException("α of the log-normal likelihood", "a finite number ≥ 0", $"%.4g{wrong}"))

            let alpha = theta.narrow(1L, 0L, 1L).unsqueeze(2L).clamp_min(1e-12.ToScalar())
            let struct (inside, g, logSlope) = invert model f alpha
            let factor = model.Factor(theta.select (1L, 1L))
            let white = CorrelatedLogNormalField.Whiten(factor, g)
            // ½ ln|Ξ| = N ln|K| = 2N Σ ln L_ii
            let halfLogDet = factor.diagonal(0L, -2L, -1L).log().sum -1L * float (2 * model.N)

            let constant = 0.5 * float (model.N * model.N) * log (2.0 * System.Math.PI)

            let value =
                white.square().sum [| 1L; 2L |] * -0.5
                - halfLogDet
                - logSlope.sum [| 1L; 2L |]
                - constant

            torch.where (inside, value, torch.full_like (value, (-infinity).ToScalar())))

    /// ln p(f | θ) of one field (N, N) as a function of θ (b, 2) → (b), differentiable in θ.
    let logLikelihood (model: CorrelatedLogNormalField) (field: Tensor) : Tensor -> Tensor =
        if model.PixelNoise > 0.0 then
            raise (
                SettingException(
                    "exact likelihood of a log-normal field",
                    "a model without pixel noise",
                    $"noise of {string model.PixelNoise}: the field is then latent, and must be sampled"
                )
            )

        let observed =
            Guard.Finite("observed field", Guard.Batched("observed field", field.cpu().unsqueeze 0L, model.Shape))

        if model.Form = LogNormalForm.Exponential && not (observed.min().ToDouble() > 0.0) then
            raise (RangeException("observed field e^{αg}", "pixels > 0", $"%.4g{observed.min().ToDouble()}"))

        logDensity model (observed.``to`` torch.ScalarType.Float64 |> Tensors.keep)

    /// ∂_θ ln p(f | θ), the scores of fields (n, N, N) at one θ: n rows of 2.
    let scores model (fields: Tensor) (theta: float[]) : float[][] =
        Tensors.using (fun () ->
            let rows = (Tensors.ofVector theta).unsqueeze(0L).expand(fields.shape[0], 2L)
            let fields = fields.cpu().``to`` torch.ScalarType.Float64

            Autodiff.grad (fun t -> (logDensity model fields t).sum()) rows
            |> Tensors.toRows)

    /// Σ_m x^m/m! t_m, for t_m that do not grow.
    let private exponentialSeries x (term: int -> float) =
        let rec add sum weight m =
            let next = weight * term m

            if m > int x && abs next < 1e-17 * abs sum then
                sum
            else
                add (sum + next) (weight * x / float (m + 1)) (m + 1)

        add 0.0 1.0 0

    /// The exact Fisher matrix. With n = N² pixels and exp acting on each element,
    /// F_αα = (n/α²)(2 − 4e^{α²} + e^{3α²}) + (e^{2α²}/α⁴) tr[Ξ⁻¹ exp(α²Ξ)] + [(1 − 2e^{α²})/α⁴ + 1 + 2(1 − e^{α²})/α²] 1ᵀΞ⁻¹1,
    /// F_αβ = ((1 − e^{α²})/α) tr(Ξ⁻¹Ξ_β), F_ββ = ½ tr(Ξ⁻¹Ξ_βΞ⁻¹Ξ_β); for f = e^{αg}, where ln f is Gaussian with covariance α²Ξ,
    /// F_αα = 2n/α², F_αβ = tr(Ξ⁻¹Ξ_β)/α and the same F_ββ. With Ξ = K ⊗ K and A = K⁻¹K_β: tr(Ξ⁻¹Ξ_β) = 2N tr A,
    /// F_ββ = N tr A² + (tr A)², and tr[Ξ⁻¹ exp(α²Ξ)] = Σ_m α^{2m}/m! (tr[K⁻¹ K^m])², K^m acting on each element.
    let fisher (model: CorrelatedLogNormalField) (theta: float[]) : Matrix<float> =
        let alpha = theta[0]

        if not (alpha > 0.0 && Double.IsFinite alpha) then
            raise (RangeException("α of the log-normal field", "a finite number > 0", $"%.4g{alpha}"))

        let k, kByBeta =
            Tensors.using (fun () ->
                let beta = Tensors.ofVector [| theta[1] |]
                model.Factor beta |> ignore // refuses an impossible β
                Tensors.toMatrix (model.Correlation(beta)[0]), Tensors.toMatrix (model.CorrelationDerivative(beta)[0]))

        let inverse = Matrices.inverse "correlation matrix of the log-normal field" k
        let a = inverse * kByBeta
        let side, pixels = float model.N, float (model.N * model.N)
        let trace = 2.0 * side * a.Trace()
        let byBeta = side * (a * a).Trace() + a.Trace() ** 2.0

        let byAlpha, mixed =
            match model.Form with
            | LogNormalForm.Exponential -> 2.0 * pixels / alpha ** 2.0, trace / alpha
            | _ ->
                let a2 = alpha * alpha
                let e = exp a2

                // tr[K⁻¹ K^m] of symmetric matrices is the sum of the products of their elements
                let term m =
                    (inverse.PointwiseMultiply(k.PointwisePower(float m)).Enumerate() |> Seq.sum)
                    ** 2.0

                pixels / a2 * (2.0 - 4.0 * e + exp (3.0 * a2))
                + e * e / (a2 * a2) * exponentialSeries a2 term
                + ((1.0 - 2.0 * e) / (a2 * a2) + 1.0 + 2.0 * (1.0 - e) / a2) * term 0,
                (1.0 - e) / alpha * trace

        Matrix<float>.Build.DenseOfRowArrays([| [| byAlpha; mixed |]; [| mixed; byBeta |] |])
