namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact information and likelihood of a field of known power spectrum.
/// Ideal: ln L = −½ Σ_k [ln P + |δ_k|²/⟨|δ_k|²⟩_{P=1}/P] over the modes of the full grid that have power.
/// Published: the regular modes carry half of that (χ²₁ instead of χ²₂ a pair), column 0 has laws of its own, row 0 nothing.
module SpectrumLikelihood =
    let private isPublished (model: SpectrumField) =
        model.Field.Convention = ModeConvention.Published

    /// Degrees of freedom of every half-grid mode, and the weight of its power.
    let private degrees (model: SpectrumField) =
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

    /// The classes that have degrees of freedom, and how many: ln L of them = −½ [count · ln P + (Σ power)/P].
    let private counted (model: SpectrumField) =
        let count, weight = degrees model
        let count = model.Classes.Sum count
        let used = count.nonzero().squeeze 1L
        struct (used, count.index_select (0L, used), weight)

    /// The laws of column 0 of the Published modes: pairs (rows 1 … N/2 − 1) and the single mode, as rows.
    let private column (model: SpectrumField) =
        if isPublished model then
            let half = int64 (model.Field.Grid.N / 2)

            [| PublishedModes.pair.Value, torch.arange (1L, half, dtype = torch.ScalarType.Int64)
               PublishedModes.single.Value, torch.tensor ([| half |], dtype = torch.ScalarType.Int64) |]
        else
            [||]

    /// The class of rows of column 0.
    let private classes (model: SpectrumField) (rows: Tensor) =
        model.Classes.Index.index_select (0L, rows * model.Field.Grid.HalfShape[1])

    let private powerUnit (model: SpectrumField) =
        if isPublished model then
            float (model.Field.Grid.N * model.Field.Grid.N)
        else
            model.Field.Grid.ModeVariancePerPower

    /// ln p(d | P), up to a constant, as a function of ln P (b, classes) → (b), differentiable; the field (shape…) is reduced to its
    /// sums of power over the classes once.
    let ofPower (model: SpectrumField) (field: Tensor) : Tensor -> Tensor =
        let grid = model.Field.Grid
        let field = field.cpu ()

        Guard.Finite("observed field", Guard.Batched("observed field", field.unsqueeze 0L, grid.Shape))
        |> ignore

        let struct (used, count, sums), special =
            use _ = torch.NewDisposeScope()
            let power = (grid.ModePower(field.unsqueeze 0L)).squeeze 0L / powerUnit model
            let struct (used, count, weight) = counted model
            let sums = (model.Classes.Sum(power * weight)).index_select(0L, used)

            let special =
                column model
                |> Array.map (fun (law, rows) ->
                    let h = (power.select (1L, 0L)).index_select(0L, rows)
                    law, Tensors.keep (classes model rows), Tensors.keep h)

            struct (Tensors.keep used, Tensors.keep count, Tensors.keep sums), special

        fun logPower ->
            Tensors.scoped (fun () ->
                let lnP = logPower.index_select (1L, used)
                let regular = (lnP.matmul count + (-lnP).exp().matmul sums) * -0.5

                special
                |> Array.fold
                    (fun total (law, index, h) ->
                        total + PublishedModes.logDensity law h (logPower.index_select (1L, index)))
                    regular)

    /// ln p(d | θ), up to a constant, as a function of θ (b, p) → (b), differentiable in θ.
    let logLikelihood (model: SpectrumField) (field: Tensor) : Tensor -> Tensor =
        let ofPower = ofPower model field
        fun theta -> Tensors.scoped (fun () -> SpectrumField.logPower model theta |> ofPower)

    /// Σ I(mode) ∂_a ln P ∂_b ln P of slopes (classes, p), I = ½ for each real degree of freedom: (p, p).
    let internal information (model: SpectrumField) (slopes: Tensor) =
        let weighted (information: Tensor) (classes: Tensor) =
            let d = slopes.index_select (0L, classes)
            (d.t ()).matmul(information.unsqueeze 1L * d)

        let struct (used, count, _) = counted model

        column model
        |> Array.fold
            (fun total (law, rows) ->
                let index = classes model rows
                let unit = PublishedModes.information law

                total
                + weighted (torch.full_like (index, unit.ToScalar(), dtype = torch.ScalarType.Float64)) index)
            (weighted (count * 0.5) used)

    /// The exact Fisher matrix F_ab = Σ I(mode) ∂_a ln P ∂_b ln P.
    let fisher (model: SpectrumField) (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let _, slopes = SpectrumField.logPowerWithSlopes model (Tensors.ofVector theta)
            Tensors.toMatrix (information model slopes))

    /// The exact answer of a field.
    let exact (model: SpectrumField) =
        ExactAnswer.create (fisher model) (logLikelihood model)

    /// The "theoretical" Fisher matrix that the paper quotes: ½ Σ ∂ln P ∂ln P over modes [1 : N/2]² alone, one of two independent
    /// quadrants without axes and Nyquist modes. Kept for comparison: it is not the information of the field.
    let quotedFisher (model: SpectrumField) (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let inner = int64 (model.Field.Grid.N / 2 - 1)
            let _, slopes = SpectrumField.logPowerWithSlopes model (Tensors.ofVector theta)

            let quadrant =
                model.Classes.Index.reshape(model.Field.Grid.HalfShape).narrow(0L, 1L, inner).narrow(1L, 1L, inner)

            let d = slopes.index_select (0L, quadrant.flatten ())
            Tensors.toMatrix ((d.t ()).matmul d * 0.5))
