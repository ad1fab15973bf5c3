namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact information and likelihood of a monotone local transform d = T_θ(g) of a Gaussian field:
/// ln p(d | θ) = ln p_G(T_θ⁻¹(d)) + Σ_pixels ln |∂T_θ⁻¹/∂d|.
module TransformedFieldLikelihood =
    /// How often each mode of the half grid counts.
    let private weight (model: TransformedField) =
        model.Gaussian.Field.Grid.HermitianWeight * model.Gaussian.Field.Support

    // pixels of so many parameter vectors at a time
    let private together = 1 <<< 20

    /// ln p of d (N, …) at some θ (b, p): (b).
    let private logDensity (model: TransformedField) (d: Tensor) (theta: Tensor) =
        let grid = model.Gaussian.Field.Grid

        let lnP =
            SpectrumField.logPower model.Gaussian (TransformedField.ofSpectrum model theta)

        let pixels = d.unsqueeze(0L).expand(Array.append [| theta.shape[0] |] grid.Shape)

        let struct (g, logSlope) =
            model.Transform.Inverse (TransformedField.ofTransform model theta) pixels

        let known = (g.detach () + logSlope.detach ()).isfinite()
        let inside = known.flatten(1L).all 1L
        // beyond the range of T: what comes of it is not used
        let held (t: Tensor) =
            torch.where (known, t, torch.zeros_like t)

        let modes = grid.Forward(held g)

        let power =
            (modes.real.square () + modes.imag.square ()) * weight model
            / grid.ModeVariancePerPower

        let over = model.Gaussian.Classes.Spread((-lnP).exp())
        let quadratic = (power * over).flatten(1L).sum 1L
        let count = model.Gaussian.Classes.Sum(weight model)

        let value =
            (lnP.matmul count + quadratic) * -0.5 + (held logSlope).flatten(1L).sum 1L

        torch.where (inside, value, torch.full_like (value, (-infinity).ToScalar()))

    /// ln p(d | θ), up to a constant, of a field (N, …) as a function of θ (b, p) → (b), differentiable in θ; −∞ where a pixel is beyond
    /// the range of T.
    let logLikelihood (model: TransformedField) (field: Tensor) : Tensor -> Tensor =
        let grid = model.Gaussian.Field.Grid

        let d =
            Tensors.scoped (fun () ->
                Guard
                    .Finite(
                        "observed field",
                        (Guard.Batched("observed field", field.unsqueeze 0L, grid.Shape)).squeeze 0L
                    )
                    .``to``(torch.ScalarType.Float64, torch.CPU)
                    .clone())
            |> Tensors.keep

        let rows = max 1 (together / int grid.Pixels)

        fun theta ->
            Tensors.scoped (fun () ->
                let parts =
                    Tensors.chunks rows (int theta.shape[0])
                    |> Array.map (fun struct (start, length) ->
                        Tensors.scoped (fun () -> logDensity model d (theta.narrow (0L, int64 start, int64 length))))

                torch.cat (parts, 0L))

    // places x of the trapezoidal rule in units of σ, which for a Gaussian times a function that is analytic near the real line is exact
    let private step, private reach = 0.005, 11.0

    /// E over g ~ N(0, σ²) of what u = ∂T⁻¹/∂θ_a at fixed d, as a function of g, is: for each of the transform's parameters the values of u
    /// and u′ at x (nodes), with the nodes' weights.
    let private nodes (model: TransformedField) (theta: float[]) sigma =
        let x =
            Tensors.ofVector [| for q in 0 .. int (2.0 * reach / step) -> -reach + step * float q |]

        let weights = (x.square () * -0.5).exp() * (step / sqrt (2.0 * Math.PI))

        let shape =
            Array.append [| -1L |] (Array.create model.Gaussian.Field.Grid.Dimensions 1L)

        use _ = torch.enable_grad ()
        let g = (x * (sigma: float)).reshape(shape).requires_grad_ true
        let theta = (Tensors.ofVector theta).unsqueeze 0L

        let t =
            TransformedField.ofTransform model theta
            |> Array.map (fun t -> t.expand_as(g).clone().requires_grad_ true)

        let slopes (f: Tensor) (by: Tensor[]) =
            torch.autograd.grad (
                [| f |],
                by,
                [| torch.ones_like f |],
                retain_graph = true,
                create_graph = true,
                allow_unused = true
            )
            |> Seq.map (fun s -> if isNull s || s.IsInvalid then torch.zeros_like g else s)
            |> Seq.toArray

        let d = model.Transform.Forward t g
        let first = slopes d (Array.append [| g |] t)
        let u = first[1..] |> Array.map (fun byOwn -> -byOwn / first[0])

        let du =
            u
            |> Array.map (fun u ->
                if u.requires_grad then
                    (slopes u [| g |])[0]
                else
                    torch.zeros_like g)

        let line (t: Tensor) = t.detach().flatten()
        struct (x, weights, line g, line d, line first[0], u |> Array.map line, du |> Array.map line)

    /// Refuses a T that is not monotone where g is, or whose T⁻¹ is another function's.
    let private check (model: TransformedField) (theta: float[]) (x: Tensor) (g: Tensor) (d: Tensor) (slope: Tensor) =
        let subject = "local transform of " + String.concat ", " model.Transform.Parameters
        let within = x.abs().le(6.0.ToScalar())
        let slope = slope.masked_select within
        let least, most = slope.min().ToDouble(), slope.max().ToDouble()

        if not (least > 0.0 && Double.IsFinite most || most < 0.0 && Double.IsFinite least) then
            raise (SettingException(subject, "a slope ∂d/∂g of one sign, finite", $"from %.4g{least} to %.4g{most}"))

        let g, d = g.masked_select within, d.masked_select within

        let shape =
            Array.append [| -1L |] (Array.create model.Gaussian.Field.Grid.Dimensions 1L)

        let t = TransformedField.ofTransform model ((Tensors.ofVector theta).unsqueeze 0L)
        let struct (back, logSlope) = model.Transform.Inverse t (d.reshape shape)
        let away = ((back.detach().flatten() - g).abs() / (g.abs () + 1.0)).max().ToDouble()
        let steep = (logSlope.detach().flatten() + slope.abs().log()).abs().max().ToDouble()

        if not (away < 1e-6) then
            raise (SettingException(subject, "an inverse with T⁻¹(T(g)) = g", $"one that is off by up to %.2g{away}"))

        if not (steep < 1e-6) then
            raise (SettingException(subject, "ln |∂T⁻¹/∂d| = −ln |∂T/∂g|", $"one that is off by up to %.2g{steep}"))

    /// E[f he_m] for rows f (q, nodes) and orthonormal Hermite polynomials he_0 … he_M: (M + 1, q).
    let private hermite (x: Tensor) (weights: Tensor) (rows: Tensor) orders =
        let weighted = (rows * weights).t()
        let mutable before, now = torch.zeros_like x, torch.ones_like x
        let made = ResizeArray [ now.matmul weighted ]

        for m in 0 .. orders - 1 do
            let next = (x * now - before * sqrt (float m)) / sqrt (float (m + 1))
            before <- now
            now <- next
            made.Add(now.matmul weighted)

        torch.stack (made.ToArray(), 0L)

    /// Σ_ij C⁻¹_ij E[u_a(g_i) u_b(g_j)], (q, q). Of Gaussian pixels of correlation ρ, E[u_a u_b] = Σ_m c_am c_bm ρ^m with c_m = E[u he_m]
    /// (Mehler); C⁻¹ is diagonal in the modes, of eigenvalues 1/λ.
    let private throughInverse
        (model: TransformedField)
        (eigenvalues: Tensor)
        (x: Tensor)
        (weights: Tensor)
        (u: Tensor)
        =
        let grid = model.Gaussian.Field.Grid
        let modes = torch.complex (eigenvalues, torch.zeros_like eigenvalues)
        let xi = grid.Inverse(modes.unsqueeze 0L)
        let rho = (xi / xi.max ()).flatten().clone()
        rho[0L] <- 0.0.ToTensor() // a pixel with itself is exact, below
        let closest = rho.abs().max().ToDouble()
        let orders = min 1500 (max 8 (int (ceil (log 1e-13 / log closest))))
        let c = hermite x weights u orders
        let second = (u * weights).matmul(u.t ())

        let left =
            (1.0.ToScalar() - c.square().sum 0L / (second.diagonal ())).max().ToDouble()
            * closest ** float orders

        if not (left < 1e-9) then
            raise (
                NotServedException(
                    "Fisher matrix of a transformed field",
                    "a field and a transform smooth enough for 1,500 orders (ExactAnswer.ofLogLikelihood serves others)",
                    $"%.2g{left} of the transform's derivative left over"
                )
            )

        let q = u.shape[0]

        let pair a b =
            let both = c.select (1L, a) * c.select (1L, b) |> Tensors.toArray
            let mutable h = torch.full_like (rho, (both[orders]).ToScalar())

            for m in orders - 1 .. -1 .. 0 do
                h <- h * rho + both[m]

            h[0L] <- second.select(0L, a).select(0L, b)
            let modes = (grid.Forward((h.reshape grid.Shape).unsqueeze 0L)).real.squeeze 0L
            (modes * weight model / eigenvalues).sum().ToDouble()

        Matrix<float>.Build.Dense(int q, int q, (fun a b -> pair (int64 a) (int64 b)))

    /// The exact Fisher matrix. The score by θ_a is that of the spectrum less Σ_i [u_a(g_i) (C⁻¹g)_i − u_a′(g_i)], u_a = ∂T⁻¹/∂θ_a at fixed d as a
    /// function of g, and with E[(C⁻¹g)_i f(g)] = E[∂f/∂g_i] (Stein) its covariance is
    /// F_ab = ½ tr C⁻¹C_aC⁻¹C_b − E[u_a′] tr C⁻¹C_b − E[u_b′] tr C⁻¹C_a + Σ_ij C⁻¹_ij E[u_a(g_i) u_b(g_j)] + n E[u_a′ u_b′],
    /// of which the log-normal field of `CorrelatedLogNormalLikelihood` is a case.
    let fisher (model: TransformedField) (theta: float[]) : Matrix<float> =
        Tensors.using (fun () ->
            let grid = model.Gaussian.Field.Grid
            let p, own = theta.Length, model.Gaussian.Parameters.Length

            let lnP, slopes =
                SpectrumField.logPowerWithSlopes
                    model.Gaussian
                    (TransformedField.ofSpectrum model (Tensors.ofVector theta))

            let lnP, slopes = lnP.detach (), slopes.detach ()
            let pixels = float grid.Pixels
            let volume = (float grid.N / grid.BoxLength) ** float grid.Dimensions

            let eigenvalues =
                (model.Gaussian.Classes.Spread(lnP.unsqueeze(0L).exp())).squeeze 0L * volume

            let sigma = sqrt ((eigenvalues * weight model).sum().ToDouble() / pixels)
            let struct (x, weights, g, d, slope, u, du) = nodes model theta sigma
            check model theta x g d slope
            let u, du = torch.stack (u, 0L), torch.stack (du, 0L)
            let mean = Tensors.toArray ((du * weights).sum 1L)
            let square = Tensors.toMatrix ((du * weights).matmul(du.t ())) * pixels
            let transform = throughInverse model eigenvalues x weights u + square

            let spectrum =
                SpectrumLikelihood.information model.Gaussian slopes |> Tensors.toMatrix

            let trace =
                (slopes.t ()).matmul(model.Gaussian.Classes.Sum(weight model))
                |> Tensors.toArray

            let place a = Array.tryFindIndex ((=) a) model.Places

            Matrix<float>
                .Build.Dense(
                    p,
                    p,
                    fun a b ->
                        let both = if a < own && b < own then spectrum[a, b] else 0.0

                        let cross a b =
                            match place a with
                            | Some k when b < own -> mean[k] * trace[b]
                            | _ -> 0.0

                        let through =
                            match place a, place b with
                            | Some i, Some j -> transform[i, j]
                            | _ -> 0.0

                        both - cross a b - cross b a + through
                ))

    /// The exact answer.
    let exact (model: TransformedField) =
        ExactAnswer.create (fisher model) (logLikelihood model)
