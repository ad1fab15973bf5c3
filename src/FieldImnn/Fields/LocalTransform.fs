namespace FieldImnn

open FieldImnn.Core
open TorchSharp

/// A monotone function of every pixel by itself, d = T_θ(g). Parameters come in order, each as a tensor of the pixels' own number of axes
/// that broadcasts against them; all functions are differentiable in θ and in the pixels. Several threads may call them at the same time.
type LocalTransform =
    {
        Parameters: string[]
        /// T: parameters → g → d.
        Forward: Tensor[] -> Tensor -> Tensor
        /// Parameters → d → g = T⁻¹(d) and ln |∂g/∂d|, both of the shape of d; NaN where no g has that d.
        Inverse: Tensor[] -> Tensor -> struct (Tensor * Tensor)
    }

/// Making transforms.
module LocalTransform =
    /// ∂f/∂x of a function that takes every element by itself.
    let private slope (f: Tensor -> Tensor) (x: Tensor) : Tensor = Autodiff.grad (fun x -> (f x).sum()) x

    /// A transform from T, T⁻¹ and ln |∂T⁻¹/∂d|.
    let create parameters forward inverse logSlope =
        { Parameters = List.toArray parameters
          Forward = forward
          Inverse = fun theta d -> struct (inverse theta d, logSlope theta d) }

    /// A transform from T and T⁻¹; the slope is differentiated automatically.
    let ofInverse parameters forward (inverse: Tensor[] -> Tensor -> Tensor) =
        create parameters forward inverse (fun theta d -> (slope (inverse theta) d).abs().log())

    /// [lo, hi] about every root of a rising function, fourfold at each look, up to 10¹².
    let private bracket (rising: Tensor -> Tensor) (like: Tensor) =
        let rec widen left (lo: Tensor) (hi: Tensor) =
            let low, high = (rising lo).gt(0.0.ToScalar()), (rising hi).lt(0.0.ToScalar())

            if left = 0 || not ((low.logical_or high).any().ToBoolean()) then
                struct (lo, hi)
            else
                widen (left - 1) (torch.where (low, lo * 4.0, lo)) (torch.where (high, hi * 4.0, hi))

        widen 20 (torch.full_like (like, (-1.0).ToScalar())) (torch.full_like (like, 1.0.ToScalar()))

    /// g with T(g) = d, by Newton's steps that fall back on bisection; NaN where there is none.
    let private solve (forward: Tensor -> Tensor) (d: Tensor) : Tensor =
        Tensors.scoped (fun () ->
            use _ = torch.no_grad ()
            let d = d.detach ()
            let sign = (forward (torch.ones_like d) - forward (torch.zeros_like d)).sign()
            let rising g = (forward g - d) * sign
            let struct (lo, hi) = bracket rising d

            let rec step left (lo: Tensor) (hi: Tensor) (g: Tensor) =
                let value = rising g
                let below = value.lt (0.0.ToScalar())
                let lo, hi = torch.where (below, g, lo), torch.where (below, hi, g)
                let newton = g - value / (slope forward g * sign)
                let inside = (newton.ge lo).logical_and(newton.le hi)
                let next = torch.where (inside, newton, (lo + hi) * 0.5)
                let moved = ((next - g).abs() / (next.abs () + 1.0)).nan_to_num().max().ToDouble()

                if left = 0 || moved < 1e-15 then
                    next
                else
                    step (left - 1) lo hi next

            let g = step 200 lo hi ((lo + hi) * 0.5)
            let off = (forward g - d).abs() / (d.abs () + 1.0)
            torch.where (off.lt (1e-9.ToScalar()), g, torch.full_like (g, nan.ToScalar())))

    /// A transform from T alone, rising or falling on all of the real line: the inverse is solved for in double precision, and its first
    /// derivatives are exact (higher ones are not). It takes some thirty times the work of a closed form.
    let ofForward parameters (forward: Tensor[] -> Tensor -> Tensor) =
        let inverse (theta: Tensor[]) (d: Tensor) =
            let found = solve (theta |> Array.map _.detach() |> forward) d
            let steep = (slope (theta |> Array.map _.detach() |> forward) found).detach()
            // one step of Newton's that moves nothing, in the graph: ∂g/∂θ = −(∂T/∂θ)/T′, ∂g/∂d = 1/T′
            let g = found - (forward theta found - d) / steep
            struct (g, (slope (forward theta) g).abs().log().neg())

        { Parameters = List.toArray parameters
          Forward = forward
          Inverse = inverse }

    /// Skew ε and tails 1/τ, τ > 0: d = sinh((arsinh g + ε)/τ) (Jones & Pewsey 2009, Biometrika 96, 761).
    let sinhArcsinh =
        create
            [ "ε"; "τ" ]
            (fun t g -> ((g.arcsinh () + t[0]) / t[1]).sinh())
            (fun t d -> (d.arcsinh () * t[1] - t[0]).sinh())
            (fun t d ->
                (d.arcsinh () * t[1] - t[0]).cosh().log() + t[1].log()
                - (d.square () + 1.0).log() * 0.5)

    /// Two slopes, 1 − s far below zero and 1 + s far above, −1 < s < 1, that meet within a width w > 0: d = g + s √(w² + g²) − s w.
    let twoSlopes =
        let root (s: Tensor) (w: Tensor) (d: Tensor) =
            let e = d + s * w
            struct (e, (e.square () + w.square () * (1.0 - s.square ())).sqrt())

        create
            [ "s"; "w" ]
            (fun t g -> g + t[0] * ((g.square () + t[1].square()).sqrt() - t[1]))
            (fun t d ->
                let struct (e, r) = root t[0] t[1] d
                (e - t[0] * r) / (1.0 - t[0].square()))
            (fun t d ->
                let struct (e, r) = root t[0] t[1] d
                ((1.0 - t[0] * e / r) / (1.0 - t[0].square())).log())
