namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact information and likelihood of correlated Gaussian maps: every mode k ≠ 0 of the full grid has a matrix C_k over the maps, so
/// ln L = −½ Σ_k [ln|C_k| + d_k† C_k⁻¹ d_k] and F_ab = ½ Σ_k tr C_k⁻¹ ∂_aC_k C_k⁻¹ ∂_bC_k.
module CorrelatedMapsLikelihood =
    /// Modes of the full grid in each class, the origin left out: (classes).
    let private counts (model: CorrelatedMaps) =
        let weight = model.Grid.HermitianWeight * model.Support
        struct (model.Classes.Sum weight, weight)

    /// Σ over the modes of a class of Re δ_i δ_j*, in units of the power: (maps, maps, classes).
    let private crossPower (model: CorrelatedMaps) (weight: Tensor) (maps: Tensor) =
        let modes = model.Grid.Forward maps
        let unit = model.Grid.ModeVariancePerPower

        let pair i j =
            let a, b = modes.select (0L, int64 i), modes.select (0L, int64 j)
            model.Classes.Sum((a.real * b.real + a.imag * b.imag) * weight / unit)

        let rows = Array.init model.Maps (fun i -> Array.init (i + 1) (pair i))

        torch.stack (
            Array.init model.Maps (fun i -> torch.stack (Array.init model.Maps (fun j -> rows[max i j][min i j]), 0L)),
            0L
        )

    /// ln p(d | θ), up to a constant, of a field (maps, N, …), or (N, …) of one map, as a function of θ (b, p) → (b), differentiable in θ.
    let logLikelihood (model: CorrelatedMaps) (field: Tensor) : Tensor -> Tensor =
        let count, power =
            Tensors.using (fun () ->
                let struct (count, weight) = counts model
                let maps = CorrelatedMaps.asMaps model "observed maps" (field.unsqueeze 0L)

                let maps =
                    Guard.Finite("observed maps", maps).``to``(torch.ScalarType.Float64, torch.CPU)

                Tensors.keep count, Tensors.keep (crossPower model weight (maps.squeeze 0L)))

        fun theta ->
            Tensors.scoped (fun () ->
                let factor =
                    CorrelatedMaps.power model theta
                    |> SmallMatrices.cholesky CorrelatedMaps.subject

                let quadratic = SmallMatrices.traceAgainst (SmallMatrices.invert factor) power
                ((SmallMatrices.logDeterminant factor).matmul count + quadratic.sum 1L) * -0.5)

    /// The exact Fisher matrix.
    let fisher (model: CorrelatedMaps) (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let value, slopes =
                Autodiff.fjacobian
                    (fun t -> (CorrelatedMaps.power model (t.unsqueeze 0L)).squeeze 0L)
                    (Tensors.ofVector theta)

            // (classes, maps, maps) and (classes, p, maps, maps)
            let c = value.detach().movedim([| -1L |], [| 0L |])
            let dc = slopes.detach().permute(2L, 3L, 0L, 1L)

            if not ((c - c.mT).abs().max().ToDouble() <= 1e-12 * c.abs().max().ToDouble()) then
                raise (SettingException(CorrelatedMaps.subject, "symmetric matrices over the maps", "others"))

            SmallMatrices.cholesky CorrelatedMaps.subject (value.detach().unsqueeze 0L)
            |> ignore

            let w = torch.linalg.solve (c.unsqueeze 1L, dc)
            let struct (count, _) = counts model
            let p = int64 theta.Length

            // Σ_classes count Σ_ij W_a,ij W_b,ji
            let left = (w * count.reshape (-1L, 1L, 1L, 1L)).transpose(0L, 1L).reshape(p, -1L)
            let right = w.mT.transpose(0L, 1L).reshape(p, -1L)
            Tensors.toMatrix (left.matmul (right.t ()) * 0.5))

    /// The exact answer of maps.
    let exact model =
        ExactAnswer.create (fisher model) (logLikelihood model)
