namespace FieldImnn

open FieldImnn.Core
open TorchSharp

/// Derivatives of functions of tensors, exact and nestable, in DiffSharp's vocabulary over TorchSharp's reverse mode.
/// Whatever the function touches besides its argument stays differentiable: the derivative of a network's tangent with respect to
/// its weights is one more backward pass. Inside torch.no_grad() the results are plain numbers, without a graph behind them.
module Autodiff =
    /// The argument as a node to differentiate by: part of an enclosing derivative's graph if it is in one, else a fresh leaf.
    let private variable (x: Tensor) : Tensor =
        if not (torch.is_floating_point x || torch.is_complex x) then
            raise (ShapeException("point to differentiate at", "floating point numbers", $"{x.dtype}"))

        if x.requires_grad then
            x.alias ()
        else
            x.detach().clone().requires_grad_ true

    /// Σ ∂y/∂x · v, in the graph.
    let private pull (y: Tensor) (x: Tensor) (v: Tensor) : Tensor =
        if not y.requires_grad then
            torch.zeros_like x
        else
            let gradients =
                torch.autograd.grad (
                    [| y |],
                    [| x |],
                    [| v |],
                    retain_graph = true,
                    create_graph = true,
                    allow_unused = true
                )

            match gradients |> Seq.tryHead with
            | Some g when not (isNull g) && not g.IsInvalid -> g
            | _ -> torch.zeros_like x

    /// Runs a derivative with the graph switched on; where the caller had it off, the results are cut from it.
    let private run (compute: unit -> struct (Tensor * Tensor)) : Tensor * Tensor =
        let wanted = torch.is_grad_enabled ()

        let struct (value, derivative) =
            Tensors.scoped2 (fun () ->
                use _ = torch.enable_grad ()
                let struct (a, b) = compute ()

                if wanted then
                    struct (a, b)
                else
                    struct (a.detach (), b.detach ()))

        value, derivative

    let private scalar name (y: Tensor) =
        if y.numel () <> 1L then
            raise (ShapeException(name, "a function with a scalar value", $"shape {Guard.Describe y.shape}"))

        y

    /// The linear map v ↦ (∂y/∂x) v of a value already computed. Reverse mode twice: the pullback of a dummy is linear in the
    /// dummy, and its own pullback is the pushforward.
    let private pushforward (y: Tensor) (x: Tensor) : Tensor -> Tensor =
        let dummy = torch.zeros_like(y).requires_grad_ true
        let pulled = pull y x dummy
        fun v -> pull pulled dummy v

    /// Value and Jacobian–vector product (∂f/∂x) v, shape of f: forward mode.
    let fjacobianv (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
        if x.shape <> v.shape then
            raise (ShapeException("direction", Guard.Describe x.shape, Guard.Describe v.shape))

        run (fun () ->
            let x = variable x
            let y = f x
            struct (y, pushforward y x v))

    /// Value and vector–Jacobian product vᵀ(∂f/∂x), shape of x: reverse mode.
    let fjacobianTv (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
        run (fun () ->
            let x = variable x
            let y = f x

            if y.shape <> v.shape then
                raise (ShapeException("direction", Guard.Describe y.shape, Guard.Describe v.shape))

            struct (y, pull y x v))

    /// Value and gradient of a scalar function, shape of x.
    let fgrad (f: Tensor -> Tensor) (x: Tensor) =
        run (fun () ->
            let x = variable x
            let y = f x |> scalar "gradient"
            struct (y, pull y x (torch.ones_like y)))

    /// Value and derivative of a function of one number, shape of f.
    let fdiff (f: Tensor -> Tensor) (x: Tensor) =
        fjacobianv f (scalar "derivative" x) (torch.ones_like x)

    /// Value and Jacobian, shape (f…, x…), by forward mode where x is the smaller, by reverse mode where f is.
    let fjacobian (f: Tensor -> Tensor) (x: Tensor) =
        run (fun () ->
            let x = variable x
            let y = f x

            let basis (like: Tensor) =
                torch.eye(like.numel (), dtype = like.dtype, device = like.device).unbind 0

            let jacobian =
                if x.numel () <= y.numel () then
                    let push = pushforward y x
                    let columns = basis x |> Array.map (fun e -> push (e.reshape x.shape))
                    torch.stack (columns, -1L)
                else
                    let rows = basis y |> Array.map (fun e -> pull y x (e.reshape y.shape))
                    torch.stack (rows, 0L)

            struct (y, jacobian.reshape (Array.append y.shape x.shape)))

    /// Jacobian–vector product (∂f/∂x) v.
    let jacobianv f x v = snd (fjacobianv f x v)

    /// Vector–Jacobian product vᵀ(∂f/∂x).
    let jacobianTv f x v = snd (fjacobianTv f x v)

    /// Gradient of a scalar function.
    let grad f x = snd (fgrad f x)

    /// Derivative of a function of one number.
    let diff f x = snd (fdiff f x)

    /// Jacobian, shape (f…, x…).
    let jacobian f x = snd (fjacobian f x)

    /// Value and Hessian of a scalar function, shape (x…, x…).
    let fhessian (f: Tensor -> Tensor) (x: Tensor) = f x, jacobian (grad f) x

    /// Hessian of a scalar function, shape (x…, x…).
    let hessian f x = snd (fhessian f x)
