namespace FieldImnn

open System
open System.Runtime.InteropServices
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// A Gaussian field of zero mean of which at most 4,096 pixels are seen, whatever the footprint, the noise and the borders: its likelihood
/// is that of a dense covariance over these pixels, C_ij = w_i w_j ξ(r_i − r_j) + δ_ij v_i.
type DenseField =
    {
        Parameters: string[]
        /// Shape of a field, seen or not.
        Shape: int64[]
        /// θ (b, p) → ξ at the separations that there are, (b, lags), float64, differentiable in θ.
        Correlation: Tensor -> Tensor
        /// Pixels by their place in row-major order (m) → which of the separations lies between each two, int32 (m, m).
        Lags: int64[] -> Tensor
        /// The pixels that are seen, their weights and the variance of their noise.
        Seen: int64[]
        Weights: float[]
        Variance: float[]
        /// Lags of the pixels that are seen, made once.
        Pairs: Lazy<Tensor>
    }

/// Exact answers of Gaussian fields behind a footprint, with noise, with or without periodic borders. Composed as an observation is:
/// `DenseField.ofSpectrum model |> DenseField.noisy 0.7 |> DenseField.masked footprint`.
module DenseField =
    /// Pixels that a dense covariance may have.
    let largest = 4096

    let private subject = "covariance of the seen pixels"

    let private kept (compute: unit -> Tensor) = Tensors.scoped compute |> Tensors.keep

    let private create parameters (shape: int64[]) correlation lags =
        let seen = [| 0L .. Array.fold (*) 1L shape - 1L |]

        { Parameters = parameters
          Shape = shape
          Correlation = correlation
          Lags = lags
          Seen = seen
          Weights = Array.create seen.Length 1.0
          Variance = Array.create seen.Length 0.0
          Pairs = lazy kept (fun () -> lags seen) }

    /// For pixels (m) of a shape and each axis, the differences of coordinates (m, m), int64.
    let private differences (shape: int64[]) (pixels: int64[]) =
        let strides = Array.scanBack (*) shape 1L |> Array.tail

        Array.map2
            (fun (side: int64) (stride: int64) ->
                let along = pixels |> Array.map (fun i -> i / stride % side) |> torch.tensor
                along.unsqueeze 1L - along)
            shape
            strides

    /// All pixels of the field of a spectrum on its periodic grid: ξ(r) = L^−D Σ_k P(k) e^{ik·r}.
    let ofSpectrum (model: SpectrumField) =
        let grid = model.Field.Grid

        if model.Field.Convention <> Fields.ModeConvention.Ideal then
            raise (SettingException(subject, "Ideal modes, which are Gaussian", "Published"))

        let scale = (float grid.N / grid.BoxLength) ** float grid.Dimensions

        let correlation theta =
            Tensors.scoped (fun () ->
                let power = (SpectrumField.logPower model theta).exp() * scale
                let modes = model.Classes.Spread power * model.Field.Support
                (grid.Inverse(torch.complex (modes, torch.zeros_like modes))).flatten 1L)

        let lags pixels =
            (torch.zeros (1L, dtype = torch.ScalarType.Int64), differences grid.Shape pixels)
            ||> Array.fold (fun at d -> at * int64 grid.N + d.remainder ((int64 grid.N).ToScalar()))
            |> fun at -> at.``to`` torch.ScalarType.Int32

        create model.Parameters grid.Shape correlation lags

    /// All pixels of a field of a shape (1 to 3 axes) without periodic borders, of an isotropic correlation: distances in pixels (m), 0
    /// the first → θ (b, p) → ξ (b, m), float64, differentiable in θ.
    let ofCorrelation parameters (shape: int list) (correlation: Tensor -> Tensor -> Tensor) =
        let shape = shape |> List.map int64 |> List.toArray

        if shape.Length < 1 || shape.Length > 3 || shape |> Array.exists (fun s -> s < 1L) then
            raise (ShapeException("field of a correlation", "1 to 3 axes of at least one pixel", Guard.Describe shape))

        // squared distances that there are
        let squares =
            (Set.singleton 0L, shape)
            ||> Array.fold (fun found side ->
                Set.ofSeq (
                    seq {
                        for s in found do
                            for i in 0L .. side - 1L -> s + i * i
                    }
                ))
            |> Set.toArray

        let place = Array.create (int (Array.last squares) + 1) -1
        squares |> Array.iteri (fun i s -> place[int s] <- i)

        let distances =
            squares |> Array.map (float >> sqrt) |> Tensors.ofVector |> Tensors.keep

        let lags pixels =
            let r2 =
                differences shape pixels
                |> Array.map _.square()
                |> Array.reduce (fun a b -> a + b)

            torch.tensor(place, dtype = torch.ScalarType.Int32).index_select(0L, r2.flatten ()).reshape r2.shape

        create parameters shape (correlation distances) lags

    /// The field with white noise of this standard deviation in every pixel that is seen.
    let noisy (deviation: float) model =
        if not (Double.IsFinite deviation && deviation >= 0.0) then
            raise (SettingException("standard deviation of the noise", "a finite number ≥ 0", string deviation))

        { model with
            Variance = model.Variance |> Array.map (fun v -> v + deviation * deviation) }

    /// The field, with what noise it has, seen through a footprint: weights (shape…) from 0 (not seen) to 1.
    let masked (weights: Tensor) model =
        if weights.shape <> model.Shape then
            raise (ShapeException("mask", Guard.Describe model.Shape, Guard.Describe weights.shape))

        let values = Tensors.toArray weights

        match values |> Array.tryFind (fun w -> not (w >= 0.0 && w <= 1.0)) with
        | Some wrong -> raise (RangeException("mask", "weights from 0 to 1", string wrong))
        | None -> ()

        let held =
            [| 0 .. model.Seen.Length - 1 |]
            |> Array.filter (fun i -> values[int model.Seen[i]] > 0.0)

        if held.Length = 0 then
            raise (RangeException("mask", "some pixels observed", "none"))

        let seen = held |> Array.map (fun i -> model.Seen[i])
        let by i = values[int model.Seen[i]]

        { model with
            Seen = seen
            Weights = held |> Array.map (fun i -> model.Weights[i] * by i)
            Variance = held |> Array.map (fun i -> model.Variance[i] * by i * by i)
            Pairs = lazy kept (fun () -> model.Lags seen) }

    /// Values by lag (lags) as a matrix over the pixels (m, m), weighted.
    let private spread model (byLag: Tensor) =
        let m = int64 model.Seen.Length

        if m > int64 largest then
            raise (ShapeException(subject, $"at most {largest} pixels", $"{m}"))

        let weights = Tensors.ofVector model.Weights
        let matrix = byLag.index_select(0L, model.Pairs.Value.flatten ()).reshape(m, m)

        if model.Weights |> Array.forall ((=) 1.0) then
            matrix
        else
            matrix * (weights.unsqueeze 1L * weights)

    /// The lower Cholesky factor (m, m) of the covariance of a correlation (lags).
    let private factor model (correlation: Tensor) =
        let covariance =
            spread model correlation + torch.diag (Tensors.ofVector model.Variance)

        let refuse received =
            raise (
                SingularMatrixException(
                    subject,
                    "positive definite: with noise, or a random mean (SpectrumField.withMean) where all of a periodic field is seen",
                    received
                )
            )

        try
            let factor = torch.linalg.cholesky covariance

            let left =
                (factor.diagonal().square() / covariance.diagonal ()).detach().min().ToDouble()
            // of a pixel's own variance: less is rounding
            if left < 1e-12 then
                refuse $"one that leaves %.2g{left} of a pixel's variance to itself"

            factor
        with :? ExternalException ->
            refuse "one that is not"

    /// ln p(d | θ), up to a constant, of a field (shape…) as a function of θ (b, p) → (b), differentiable in θ. Each θ takes a Cholesky
    /// factorisation of the seen pixels.
    let logLikelihood (model: DenseField) (field: Tensor) : Tensor -> Tensor =
        let seen =
            kept (fun () ->
                let field = Guard.Batched("observed field", field.unsqueeze 0L, model.Shape)

                Guard
                    .Finite("observed field", field.flatten().``to``(torch.ScalarType.Float64, torch.CPU))
                    .index_select(0L, torch.tensor model.Seen)
                    .unsqueeze
                    1L)

        fun theta ->
            Tensors.scoped (fun () ->
                let correlation = Guard.Finite("correlation of a field", model.Correlation theta)

                let one row =
                    Tensors.scoped (fun () ->
                        let factor = factor model (correlation.select (0L, row))
                        let white = torch.linalg.solve_triangular (factor, seen, false)
                        white.square().sum() * -0.5 - factor.diagonal().log().sum())

                torch.stack (Array.init (int theta.shape[0]) (int64 >> one), 0L))

    /// The exact Fisher matrix, F_ab = ½ tr C⁻¹ ∂_aC C⁻¹ ∂_bC.
    let fisher (model: DenseField) (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let value, slopes =
                Autodiff.fjacobian
                    (fun t -> Guard.Finite("correlation of a field", (model.Correlation(t.unsqueeze 0L)).squeeze 0L))
                    (Tensors.ofVector theta)

            let factor = factor model (value.detach ())

            let whitened a =
                Tensors.scoped (fun () ->
                    let derivative = spread model (slopes.detach().select(1L, int64 a))
                    let half = torch.linalg.solve_triangular (factor, derivative, false)
                    let both = torch.linalg.solve_triangular (factor, half.mT, false)
                    both.flatten ())

            let w = torch.stack (Array.init theta.Length whitened, 0L)
            Tensors.toMatrix (w.matmul (w.t ()) * 0.5))

    /// The exact answer. A likelihood takes its time here: posteriors of one or two parameters are those of a polynomial through it.
    let exact (model: DenseField) =
        let answer = ExactAnswer.create (fisher model) (logLikelihood model)

        if model.Parameters.Length <= 2 then
            ExactAnswer.withSampler (Interpolated 11) answer
        else
            answer
