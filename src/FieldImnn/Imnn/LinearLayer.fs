namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// How the covariance of features is shrunk before it is inverted: C + τ² D + ρ diag C, with D = Σ_ab (F⁻¹)_ab Cov(∂φ/∂θ_a, ∂φ/∂θ_b). Where θ
/// is spread about the fiducial by τ standard errors, τ² D is what its changes add to C; and it holds down what derivatives are noisy in.
type internal Shrinkage = { TauSquared: float; Ridge: float }

/// The closed-form last layer of a network, fitted to features and their derivatives.
module internal LinearLayer =
    /// Sums of features (r), of products (r, r), of derivatives (p, r) and of the products that D is made of (r, r), over so many.
    type private Sums =
        { Count: float
          X: Tensor
          XX: Tensor
          DerivativeCount: float
          Dx: Tensor
          ExEx: Tensor }

    /// What a layer is made of, and judged by: C, μ, (p, r) and D.
    type private Moments =
        { Covariance: Tensor
          Derivative: Tensor
          Changes: Tensor }

    /// Parts that take turns in judging what the others fitted.
    let private folds = 5

    let private candidates =
        [ for tau2 in [ 0.0; 0.1; 0.3; 1.0; 3.0; 10.0 ] do
              for ridge in [ 0.0; 0.003; 0.01; 0.03; 0.1; 0.3 ] do
                  { TauSquared = tau2; Ridge = ridge } ]

    /// Sums over features x (n, r) and derivatives dx (m, p, r), which the matrix G (p, p), G Gᵀ = F⁻¹, gives units of standard errors.
    let private sums (g: Tensor) (x: Tensor) (dx: Tensor) =
        let each = g.t().matmul(dx).flatten(0L, 1L)

        { Count = float x.shape[0]
          X = x.sum 0L
          XX = x.t().matmul x
          DerivativeCount = float dx.shape[0]
          Dx = dx.sum 0L
          ExEx = each.t().matmul each }

    /// Hands sums to the caller's scope.
    let private keep (s: Sums) =
        for tensor in [ s.X; s.XX; s.Dx; s.ExEx ] do
            tensor.MoveToOuterDisposeScope() |> ignore

        s

    /// The sums over a and, by sign, with or without those over b.
    let private combine (sign: float) (a: Sums) (b: Sums) =
        let both (u: Tensor) (v: Tensor) = u + v * sign

        { Count = a.Count + sign * b.Count
          X = both a.X b.X
          XX = both a.XX b.XX
          DerivativeCount = a.DerivativeCount + sign * b.DerivativeCount
          Dx = both a.Dx b.Dx
          ExEx = both a.ExEx b.ExEx }

    let private moments (g: Tensor) (s: Sums) =
        let mean, derivative = s.X / s.Count, s.Dx / s.DerivativeCount
        let scaled = g.t().matmul derivative

        { Covariance = (s.XX - torch.outer (mean, mean) * s.Count) / (s.Count - 1.0)
          Derivative = derivative
          Changes = s.ExEx / s.DerivativeCount - scaled.t().matmul scaled }

    /// The layer (r, p) of moments; none where its matrix is not positive definite.
    let private layer (diagonal: Tensor) (shrinkage: Shrinkage) (m: Moments) : Tensor option =
        let matrix =
            m.Covariance + m.Changes * shrinkage.TauSquared + diagonal * shrinkage.Ridge

        let struct (factor, info) = torch.linalg.cholesky_ex matrix

        if info.ToInt64() = 0L then
            Some(torch.cholesky_solve (m.Derivative.t (), factor))
        else
            None

    /// ln det F of a layer's summaries, by moments that it was not fitted to.
    let private judged (held: Moments) (w: Tensor) =
        let change = held.Derivative.matmul w

        let struct (factor, info) =
            torch.linalg.cholesky_ex (w.t().matmul(held.Covariance).matmul w)

        if info.ToInt64() <> 0L then
            -infinity
        else
            let fisher = change.matmul (torch.cholesky_solve (change.t (), factor))
            let struct (sign, logDet) = torch.linalg.slogdet fisher

            if sign.ToDouble() > 0.0 then
                logDet.ToDouble()
            else
                -infinity

    /// Mean ln det F by the parts in turn.
    let private score g diagonal (parts: Sums[]) (total: Sums) =
        let rest = parts |> Array.map (combine -1.0 total >> moments g)
        let held = parts |> Array.map (moments g)

        fun shrinkage ->
            Array.map2
                (fun rest held ->
                    Tensors.using (fun () ->
                        match layer diagonal shrinkage rest with
                        | Some w -> judged held w
                        | None -> -infinity))
                rest
                held
            |> Array.average

    /// The layer of what is best by cross-validation, in the white basis W (s, r).
    let private shrunk
        (whitening: Matrix<float>)
        (g: Matrix<float>)
        (diagonal: Vector<float>)
        (x: Tensor)
        (dx: Tensor)
        =
        let w = Tensors.ofMatrix whitening
        let g = Tensors.ofMatrix g
        let mean = x.mean ([| 0L |], true) // goes first, so that sums of products lose no digits

        let white (t: Tensor) =
            t.``to``(torch.ScalarType.Float64, Device.cpu).matmul w

        let part (t: Tensor) k =
            let at k = int64 k * t.shape[0] / int64 folds
            t.narrow (0L, at k, at (k + 1) - at k)

        let parts =
            [| for k in 0 .. folds - 1 ->
                   use _ = Tensors.scope ()
                   sums g (white (part x k - mean)) (white (part dx k)) |> keep |]

        let total = parts |> Array.reduce (combine 1.0)

        let diagonal =
            w.t().matmul(torch.diag (Tensors.ofVector (diagonal.ToArray()))).matmul w

        let score = score g diagonal parts total
        let best = candidates |> List.maxBy score

        layer diagonal best (moments g total)
        |> Option.map (fun v -> Tensors.toMatrix (w.matmul v))

    /// The layer of features that vary.
    let private fitVarying (x: Tensor) (dx: Tensor) : Matrix<float> =
        let statistics = Fisher.featureStatistics x dx
        let plain () = Fisher.bestLinear statistics
        let p = dx.shape[1]

        if
            min x.shape[0] dx.shape[0] < int64 folds * (p + 3L)
            || statistics.Fisher.Diagonal().Minimum() <= 0.0
        then
            plain ()
        else
            Tensors.using (fun () ->
                let white = Matrices.whitening "covariance of the features" statistics.Covariance
                let g = Matrices.whitening "Fisher matrix of the features" statistics.Fisher

                shrunk white g (statistics.Covariance.Diagonal()) x dx
                |> Option.defaultWith plain)

    /// The layer (s, p) that keeps most of F: C⁻¹ μ,ᵀ of features x (n, s) and derivatives dx (m, p, s), with C shrunk by as much as
    /// cross-validation says. Without shrinkage it loses about s/n of the information of each parameter. A feature that never differs has no weight.
    let fit x dx = Fisher.layerOfVarying fitVarying x dx
