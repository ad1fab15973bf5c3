namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact information and likelihood of a field of known power spectrum.
/// Ideal: ln L = −½ Σ_{k≠0} [ln P + |δ_k|²/⟨|δ_k|²⟩_{P=1}/P] over the modes of the full grid.
/// Published: the regular modes carry half of that (χ²₁ instead of χ²₂ a pair), column 0 has laws of its own, row 0 nothing.
module SpectrumLikelihood =
    /// Modes of equal |k|: ln L of them = −½ [count · ln P + (Σ power)/P].
    type private Shells =
        { K: Tensor
          Count: Tensor
          Shell: Tensor
          Weight: Tensor }

    let private isPublished model =
        model.Field.Convention = ModeConvention.Published

    /// Degrees of freedom of every half-grid mode, and the weight of its power.
    let private degrees model =
        let grid = model.Field.Grid
        let weight = grid.HermitianWeight * model.Field.Support

        if not (isPublished model) then
            weight, weight
        else
            let count = weight * 0.5
            count.narrow(1L, 0L, 1L).zero_() |> ignore
            let power = count.clone ()
            let centre = int64 (grid.N / 2)
            count[centre, centre] <- 1.0f.ToTensor() // a real mode of twice the power
            power[centre, centre] <- 0.5f.ToTensor()
            count, power

    let private shells model =
        let count, weight = degrees model
        let used = count.flatten().nonzero().squeeze 1L
        let k = (SpectrumField.wavenumbers model).index_select(0L, used)
        // equal |k| differ by rounding: shells by the integer n² = (kL/2π)²
        let n2 =
            (k * (model.Field.Grid.BoxLength / (2.0 * System.Math.PI))).square().round().to_type(torch.ScalarType.Int64)

        let struct (ids, inverse, _) = n2.unique (sorted = true, return_inverse = true)

        let zeros () =
            torch.zeros (ids.numel (), dtype = torch.ScalarType.Float64)

        let sum (v: Tensor) =
            (zeros ()).index_add(0L, inverse, v, 1.0.ToScalar())

        let ones = sum (torch.ones_like k)

        { K = sum k / ones
          Count = sum (count.flatten().index_select(0L, used))
          Shell = inverse
          Weight = weight.flatten().index_select(0L, used) },
        used

    /// Column 0 of the Published modes: wavenumbers and positions of the pairs (rows 1 … N/2 − 1), and of the single mode.
    let private column model =
        let n = int64 model.Field.Grid.N
        let k = model.Field.Grid.HalfWavenumber.select (1L, 0L)
        k.narrow (0L, 1L, n / 2L - 1L), k.narrow (0L, n / 2L, 1L)

    let private powerUnit model =
        if isPublished model then
            float (model.Field.Grid.N * model.Field.Grid.N)
        else
            model.Field.Grid.ModeVariancePerPower

    /// ln p(d | θ), up to a constant, as a function of θ (b, p) → (b), differentiable in θ; the field is reduced to its shells once.
    let logLikelihood model (field: Tensor) : Tensor -> Tensor =
        let grid = model.Field.Grid

        Guard.Finite("observed field", Guard.Batched("observed field", field.unsqueeze 0L, grid.Shape))
        |> ignore

        let (shell, sums, special) =
            use _ = torch.NewDisposeScope()
            let power = (grid.ModePower(field.unsqueeze 0L)).squeeze 0L / powerUnit model
            let s, used = shells model
            let weighted = power.flatten().index_select(0L, used) * s.Weight
            let sums = (torch.zeros_like s.K).index_add(0L, s.Shell, weighted, 1.0.ToScalar())

            let special =
                if isPublished model then
                    let pairs, single = column model
                    let h = power.select (1L, 0L)

                    [| PublishedModes.pair.Value, pairs, h.narrow (0L, 1L, pairs.shape[0])
                       PublishedModes.single.Value, single, h.narrow (0L, int64 (grid.N / 2), 1L) |]
                    |> Array.map (fun (law, k, h) -> law, Tensors.keep (k.clone ()), Tensors.keep (h.clone ()))
                else
                    [||]

            (struct (Tensors.keep s.K, Tensors.keep s.Count), Tensors.keep sums, special)

        let struct (k, count) = shell

        fun theta ->
            Tensors.scoped (fun () ->
                let lnP = SpectrumField.logPower model theta k
                let regular = (count * lnP + sums * (-lnP).exp()).sum 1L * -0.5

                special
                |> Array.fold
                    (fun total (law, k, h) ->
                        total + PublishedModes.logDensity law h (SpectrumField.logPower model theta k))
                    regular)

    /// ∂_θ ln P (m, p) at wavenumbers k (m).
    let private slopes model (theta: float[]) (k: Tensor) =
        Autodiff.jacobian
            (fun (t: Tensor) -> (SpectrumField.logPower model (t.unsqueeze 0L) k).squeeze 0L)
            (Tensors.ofVector theta)

    /// The exact Fisher matrix F_ab = Σ I(mode) ∂_a ln P ∂_b ln P, I = ½ for each real degree of freedom.
    let fisher model (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let weighted (information: Tensor) k =
                let d = slopes model theta k
                (d.t ()).matmul(information.unsqueeze 1L * d)

            let s, _ = shells model
            let regular = weighted (s.Count * 0.5) s.K

            let total =
                if isPublished model then
                    let pairs, single = column model

                    let units law (k: Tensor) =
                        torch.full_like (k, (PublishedModes.information law: float).ToScalar())

                    regular
                    + weighted (units PublishedModes.pair.Value pairs) pairs
                    + weighted (units PublishedModes.single.Value single) single
                else
                    regular

            Tensors.toMatrix total)

    /// The "theoretical" Fisher matrix that the paper quotes: ½ Σ ∂ln P ∂ln P over modes [1 : N/2]² alone, one of two independent
    /// quadrants without axes and Nyquist modes. Kept for comparison: it is not the information of the field.
    let quotedFisher model (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let inner = int64 (model.Field.Grid.N / 2 - 1)

            let k =
                model.Field.Grid.HalfWavenumber.narrow(0L, 1L, inner).narrow(1L, 1L, inner).flatten()

            let d = slopes model theta k
            Tensors.toMatrix ((d.t ()).matmul d * 0.5))

    /// ∂_θ ln p(d | θ), the score, (p).
    let score model (field: Tensor) (theta: float[]) : float[] =
        Tensors.using (fun () ->
            let logLikelihood = logLikelihood model field

            Autodiff.grad (fun (t: Tensor) -> (logLikelihood (t.unsqueeze 0L)).squeeze()) (Tensors.ofVector theta)
            |> Tensors.toArray)
