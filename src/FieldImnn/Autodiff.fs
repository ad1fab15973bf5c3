namespace FieldImnn

open FieldImnn.Core
open TorchSharp

/// Derivatives of functions of tensors, exact and nestable, in DiffSharp's vocabulary over TorchSharp's reverse mode.
/// A name with f before it returns the value, too: (f x, derivative). Every one evaluates the function once.
/// Whatever the function touches besides its argument stays differentiable: the derivative of a network's tangent with respect to
/// its weights is one more backward pass. Inside torch.no_grad() the results are plain numbers, without a graph behind them.
/// Shapes: x has n elements of any shape, v the shape of x (of f for jacobianTv); derivatives keep the axes, none is flattened.
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

    /// f x and derivatives made of it (point, value → tensors), with the graph switched on and everything else freed. Where the
    /// caller had the graph off, the results are cut from it.
    let private run (f: Tensor -> Tensor) (x: Tensor) (derive: Tensor -> Tensor -> Tensor[]) : Tensor * Tensor[] =
        let wanted = torch.is_grad_enabled ()
        use _ = torch.NewDisposeScope()
        use _ = torch.enable_grad ()

        let result (t: Tensor) =
            (if wanted then t else t.detach ()).MoveToOuterDisposeScope()

        let x = variable x
        let y = (f x).alias() // an f that returns a tensor of its caller's must not lose it to the scope above
        let derivatives = derive x y
        result y, Array.map result derivatives

    let private one (value: Tensor, derivatives: Tensor[]) = value, derivatives[0]
    let private two (value: Tensor, derivatives: Tensor[]) = value, derivatives[0], derivatives[1]

    let private refuse subject expected (t: Tensor) =
        raise (ShapeException(subject, expected, $"shape {Guard.Describe t.shape}"))

    let private scalar subject (t: Tensor) =
        if t.numel () <> 1L then
            refuse subject "one number" t

        t

    let private along (like: Tensor) (v: Tensor) =
        if like.shape <> v.shape then
            refuse "direction" $"shape {Guard.Describe like.shape}" v

    /// The unit tensors of a shape, in row-major order.
    let private basis (like: Tensor) =
        torch.eye(like.numel (), dtype = like.dtype, device = like.device).unbind 0
        |> Array.map (fun e -> e.reshape like.shape)

    /// The linear map v ↦ (∂y/∂x) v of a value already computed. Reverse mode twice: the pullback of a dummy is linear in the
    /// dummy, and its own pullback is the pushforward.
    let private pushforward (y: Tensor) (x: Tensor) : Tensor -> Tensor =
        let dummy = torch.zeros_like(y).requires_grad_ true
        let pulled = pull y x dummy
        fun v -> pull pulled dummy v

    /// ∂y/∂x of a scalar y, shape of x.
    let private slope (y: Tensor) (x: Tensor) =
        pull (scalar "value to take the gradient of" y) x (torch.ones_like y)

    /// ∂y/∂x by a single number x, shape of y: one backward pass where y is a real number, too.
    let private rate (y: Tensor) (x: Tensor) =
        if y.numel () = 1L && torch.is_floating_point x && torch.is_floating_point y then
            (slope y x).reshape y.shape
        else
            pushforward y x (torch.ones_like x)

    /// ∂y/∂x, shape (y…, x…), by forward mode where x is the smaller, by reverse mode where y is.
    let private jacobianOf (y: Tensor) (x: Tensor) =
        let jacobian =
            if x.numel () <= y.numel () then
                torch.stack (basis x |> Array.map (pushforward y x), -1L)
            else
                torch.stack (basis y |> Array.map (pull y x), 0L)

        jacobian.reshape (Array.append y.shape x.shape)

    /// The square matrix (n, n) of a Jacobian of a vector field, n numbers → n numbers.
    let private square subject expected (y: Tensor) (x: Tensor) =
        if x.numel () <> y.numel () then
            refuse subject expected y

        (jacobianOf y x).reshape(y.numel (), x.numel ())

    /// The curl of a field of three components from its Jacobian (3, 3), in the shape of the field.
    let private curlOf (y: Tensor) (j: Tensor) =
        torch.stack([| j[2, 1] - j[1, 2]; j[0, 2] - j[2, 0]; j[1, 0] - j[0, 1] |]).reshape y.shape

    let private threeByThree (y: Tensor) (x: Tensor) =
        if x.numel () <> 3L then
            refuse "point of a curl" "three numbers" x

        square "value to take the curl of" "three numbers" y x

    // ------------------------------------------------------------------------------------- functions of one number

    /// f and its first n derivatives by one number, n + 1 tensors of f's shape. The cost grows as 2ⁿ.
    let ffdiffn (n: int) (f: Tensor -> Tensor) (x: Tensor) : Tensor[] =
        Guard.AtLeast("order of the derivative", 0L, int64 n) |> ignore

        let derive x y =
            Array.unfold
                (fun (k, d) ->
                    if k = n then
                        None
                    else
                        (let next = rate d x in Some(next, (k + 1, next))))
                (0, y)

        let value, derivatives = run f (scalar "number to differentiate by" x) derive
        Array.append [| value |] derivatives

    /// Value and n-th derivative by one number, shape of f.
    let fdiffn n f x =
        let all = ffdiffn n f x
        Array.head all, Array.last all

    /// n-th derivative by one number, shape of f.
    let diffn n f x = snd (fdiffn n f x)

    /// Value and derivative by one number, shape of f.
    let fdiff f x = fdiffn 1 f x

    /// Derivative by one number, shape of f.
    let diff f x = diffn 1 f x

    /// Value and second derivative by one number, shape of f.
    let fdiff2 f x = fdiffn 2 f x

    /// Second derivative by one number, shape of f.
    let diff2 f x = diffn 2 f x

    // ------------------------------------------------------------------------------------------- scalar functions

    /// Value and gradient of a scalar function, shape of x.
    let fgrad (f: Tensor -> Tensor) (x: Tensor) =
        run f x (fun x y -> [| slope y x |]) |> one

    /// Gradient of a scalar function, shape of x.
    let grad f x = snd (fgrad f x)

    /// Value and directional derivative ∇f · v of a scalar function, shape of f.
    let fgradv (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
        along x v
        run f x (fun x y -> [| (slope y x * v).sum().reshape y.shape |]) |> one

    /// Directional derivative ∇f · v of a scalar function, shape of f.
    let gradv f x v = snd (fgradv f x v)

    /// Value, directional derivative ∇f · v and Hessian–vector product H v (shape of x) of a scalar function.
    let fgradhessianv (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
        along x v

        run f x (fun x y ->
            let gradient = slope y x
            [| (gradient * v).sum().reshape y.shape; pull gradient x v |])
        |> two

    /// Directional derivative ∇f · v and Hessian–vector product H v of a scalar function.
    let gradhessianv f x v =
        let _, gradient, product = fgradhessianv f x v
        gradient, product

    /// Value and Hessian–vector product H v of a scalar function, shape of x.
    let fhessianv f x v =
        let value, _, product = fgradhessianv f x v
        value, product

    /// Hessian–vector product H v of a scalar function, shape of x.
    let hessianv f x v = snd (fhessianv f x v)

    /// Value, gradient (x…) and Hessian (x…, x…) of a scalar function: one backward pass a row.
    let fgradhessian (f: Tensor -> Tensor) (x: Tensor) =
        run f x (fun x y ->
            let gradient = slope y x
            let rows = basis x |> Array.map (pull gradient x)
            [| gradient; torch.stack(rows, 0L).reshape(Array.append x.shape x.shape) |])
        |> two

    /// Gradient (x…) and Hessian (x…, x…) of a scalar function.
    let gradhessian f x =
        let _, gradient, hessian = fgradhessian f x
        gradient, hessian

    /// Value and Hessian (x…, x…) of a scalar function.
    let fhessian f x =
        let value, _, hessian = fgradhessian f x
        value, hessian

    /// Hessian (x…, x…) of a scalar function.
    let hessian f x = snd (fhessian f x)

    /// Value and Laplacian Σ ∂²f/∂xᵢ² of a scalar function, shape of f. Only the diagonal of the Hessian is held.
    let flaplacian (f: Tensor -> Tensor) (x: Tensor) =
        run f x (fun x y ->
            let gradient = slope y x

            let diagonal =
                basis x |> Array.mapi (fun i e -> (pull gradient x e).flatten()[int64 i])

            [| torch.stack(diagonal).sum().reshape y.shape |])
        |> one

    /// Laplacian Σ ∂²f/∂xᵢ² of a scalar function, shape of f.
    let laplacian f x = snd (flaplacian f x)

    // ------------------------------------------------------------------------------------------- tensor functions

    /// Value and Jacobian–vector product (∂f/∂x) v, shape of f: forward mode.
    let fjacobianv (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
        along x v
        run f x (fun x y -> [| pushforward y x v |]) |> one

    /// Jacobian–vector product (∂f/∂x) v, shape of f.
    let jacobianv f x v = snd (fjacobianv f x v)

    /// Value and vector–Jacobian product vᵀ(∂f/∂x), shape of x: reverse mode.
    let fjacobianTv (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
        run f x (fun x y ->
            along y v
            [| pull y x v |])
        |> one

    /// Vector–Jacobian product vᵀ(∂f/∂x), shape of x.
    let jacobianTv f x v = snd (fjacobianTv f x v)

    /// Value and Jacobian, shape (f…, x…), by forward mode where x is the smaller, by reverse mode where f is.
    let fjacobian (f: Tensor -> Tensor) (x: Tensor) =
        run f x (fun x y -> [| jacobianOf y x |]) |> one

    /// Jacobian, shape (f…, x…).
    let jacobian f x = snd (fjacobian f x)

    // --------------------------------------------------------------------------------------------- vector fields

    /// Value and divergence Σ ∂fᵢ/∂xᵢ of a vector field (as many components as coordinates), one number.
    let fdivergence (f: Tensor -> Tensor) (x: Tensor) =
        let expected = $"{x.numel ()} numbers"

        run f x (fun x y -> [| (square "value to take the divergence of" expected y x).trace() |])
        |> one

    /// Divergence Σ ∂fᵢ/∂xᵢ of a vector field, one number.
    let divergence f x = snd (fdivergence f x)

    /// Value, curl ∇ × f (shape of f) and divergence of a field of three components over three coordinates.
    let fcurldivergence (f: Tensor -> Tensor) (x: Tensor) =
        run f x (fun x y ->
            let j = threeByThree y x
            [| curlOf y j; j.trace () |])
        |> two

    /// Curl ∇ × f (shape of f) and divergence of a field of three components over three coordinates.
    let curldivergence f x =
        let _, curl, divergence = fcurldivergence f x
        curl, divergence

    /// Value and curl ∇ × f of a field of three components over three coordinates, shape of f.
    let fcurl (f: Tensor -> Tensor) (x: Tensor) =
        run f x (fun x y -> [| curlOf y (threeByThree y x) |]) |> one

    /// Curl ∇ × f of a field of three components over three coordinates, shape of f.
    let curl f x = snd (fcurl f x)

    // ------------------------------------------------------------------------------------- DiffSharp's short names

    /// grad
    let g f x = grad f x

    /// fgrad
    let fg f x = fgrad f x

    /// gradv
    let gvp f x v = gradv f x v

    /// fgradv
    let fgvp f x v = fgradv f x v

    /// hessian
    let h f x = hessian f x

    /// fhessian
    let fh f x = fhessian f x

    /// hessianv
    let hvp f x v = hessianv f x v

    /// fhessianv
    let fhvp f x v = fhessianv f x v

    /// gradhessian
    let gh f x = gradhessian f x

    /// fgradhessian
    let fgh f x = fgradhessian f x

    /// gradhessianv
    let ghvp f x v = gradhessianv f x v

    /// fgradhessianv
    let fghvp f x v = fgradhessianv f x v

    /// jacobian
    let j f x = jacobian f x

    /// fjacobian
    let fj f x = fjacobian f x

    /// jacobianv
    let jvp f x v = jacobianv f x v

    /// fjacobianv
    let fjvp f x v = fjacobianv f x v

    /// jacobianTv
    let vjp f x v = jacobianTv f x v

    /// fjacobianTv
    let fvjp f x v = fjacobianTv f x v
