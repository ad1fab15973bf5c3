namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact information and likelihood of a log-normal field: ln(1 + δ) is a Gaussian (or Published) field of known spectrum, and the
/// Jacobian of the logarithm does not depend on θ. Ideal: its mean over the box is −σ²/2 plus a Gaussian number of variance
/// P_G(0)/L^D, which says a little about θ as well.
module LogNormalLikelihood =
    let private hasMean (model: LogNormalModel) =
        model.Gaussian.Field.Convention = ModeConvention.Ideal

    /// 1/variance of the box's mean of G, of ln P_G (b, classes): (b).
    let private meanPrecision (model: LogNormalModel) (lnP: Tensor) =
        let grid = model.Gaussian.Field.Grid
        (-(lnP.select (1L, 0L))).exp() * (grid.BoxLength ** float grid.Dimensions)

    /// ln p(δ | θ), up to a constant, of a field (shape…) as a function of θ (b, p) → (b), differentiable in θ.
    let logLikelihood (model: LogNormalModel) (field: Tensor) : Tensor -> Tensor =
        let logarithm, mean =
            Tensors.using (fun () ->
                let g =
                    (model.Map.Logarithm(field.cpu().to_type(torch.ScalarType.Float64).unsqueeze 0L)).squeeze 0L

                let mean = g.mean ()
                Tensors.keep (g - mean), Tensors.toNumber mean)

        let ofPower = SpectrumLikelihood.ofPower model.Gaussian logarithm

        fun theta ->
            Tensors.scoped (fun () ->
                let struct (lnP, sigma2) = LogNormalModel.spectrum model theta
                let waves = ofPower lnP

                if hasMean model then
                    waves - (sigma2 * 0.5 + mean).square() * meanPrecision model lnP * 0.5
                else
                    waves)

    /// The exact Fisher matrix: that of G, and of the box's mean.
    let fisher (model: LogNormalModel) (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let struct (lnP, _, slopes, sigma2Slopes) =
                LogNormalModel.spectrumWithSlopes model (Tensors.ofVector theta)

            let waves = SpectrumLikelihood.information model.Gaussian slopes

            let total =
                if hasMean model then
                    let d = (sigma2Slopes * 0.5).unsqueeze 0L
                    waves + (d.t ()).matmul d * meanPrecision model (lnP.unsqueeze 0L)
                else
                    waves

            Tensors.toMatrix total)
