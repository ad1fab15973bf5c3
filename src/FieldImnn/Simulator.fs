namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// Simulations and derivatives made elsewhere, at the fiducial parameters. Fields (n, shape…); Derivatives (m, parameters, shape…).
type StoredSimulations =
    { Fields: Tensor
      FieldDerivatives: Tensor }

/// Where ∂d/∂θ comes from.
type Derivatives =
    /// The simulator's own forward rule if it has one, else automatic differentiation.
    | Autodiff
    /// Central differences of simulations with the same noise, with a step for every parameter.
    | FiniteDifference of step: float[]
    /// Simulations made beforehand, split by the caller into those for training and those for validation and quoting.
    | Precomputed of training: StoredSimulations * heldOut: StoredSimulations

/// A universe as a function: parameters and noise to a field. Everything downstream knows a simulator by this alone.
type Simulator =
    {
        Name: string
        /// Names of the parameters, in order.
        Parameters: string[]
        /// Shape of one field.
        FieldShape: int64[]
        /// The randomness of the simulations with these keys: (n, …), independent of the parameters.
        DrawNoise: NoiseKey[] -> Tensor
        /// θ (n or 1, parameters) float64 → noise (n, …) → fields (n, shape…), differentiable in θ.
        Field: Tensor -> Tensor -> Tensor
        /// A forward rule, if there is one cheaper than automatic differentiation:
        /// θ (parameters) → noise → fields (n, shape…) and ∂d/∂θ (n, parameters, shape…).
        Tangents: (Tensor -> Tensor -> struct (Tensor * Tensor)) option
    }

/// Making and running simulators.
module Simulator =
    /// A simulator from one function over tensors (θ (n or 1, p) → white noise (n, noiseShape…) → fields (n, fieldShape…)).
    let create name parameters (fieldShape: int list) (noiseShape: int list) (field: Tensor -> Tensor -> Tensor) =
        let shape = noiseShape |> List.map int64 |> List.toArray

        { Name = name
          Parameters = Array.ofList parameters
          FieldShape = fieldShape |> List.map int64 |> List.toArray
          DrawNoise = fun keys -> Noise.Normal(keys, shape)
          Field = field
          Tangents = None }

    let private checkParameters simulator (theta: Tensor) =
        let p = int64 simulator.Parameters.Length
        let names = String.concat ", " simulator.Parameters

        if theta.dim () = 0L || theta.shape[theta.shape.Length - 1] <> p then
            raise (ShapeException("parameters θ", $"{p} ({names})", $"shape {Guard.Describe theta.shape}"))

        Guard.Finite("parameters θ", theta) |> ignore

    /// Fields (n, shape…) with the given keys at θ: (p) for all, or (n, p) for each its own.
    let fields simulator (theta: Tensor) (keys: NoiseKey[]) =
        checkParameters simulator theta
        let rows = if theta.dim () = 1L then theta.unsqueeze 0L else theta

        if rows.shape[0] <> 1L && rows.shape[0] <> int64 keys.Length then
            raise (ShapeException("parameters θ", $"1 or {keys.Length} rows, one for each key", $"{rows.shape[0]}"))

        Tensors.scoped (fun () ->
            let made = simulator.Field rows (simulator.DrawNoise keys)

            Guard.Finite(
                $"fields of {simulator.Name}",
                Guard.Batched($"fields of {simulator.Name}", made, simulator.FieldShape)
            ))

    /// One field (shape…) at θ: simulation 0 of a seed.
    let field simulator (theta: float[]) (seed: uint64) =
        Tensors.scoped (fun () -> (fields simulator (Tensors.ofVector theta) [| NoiseKey(seed, 0UL) |]).select(0L, 0L))

    let private differences simulator (step: float[]) (theta: Tensor) (noise: Tensor) =
        let p = simulator.Parameters.Length

        if
            step.Length <> p
            || step |> Array.exists (fun h -> not (Double.IsFinite h) || h <= 0.0)
        then
            let came = step |> Array.map string |> String.concat ", "
            raise (SettingException("finite-difference steps", $"{p} numbers > 0, one for each parameter", came))

        let at sign a =
            let moved = theta.clone ()
            moved[int64 a] <- theta[int64 a] + sign * step[a]
            simulator.Field (moved.unsqueeze 0L) noise

        let derivatives =
            Array.init p (fun a -> Tensors.scoped (fun () -> (at 1.0 a - at -1.0 a) / (2.0 * step[a]).ToScalar()))

        struct (simulator.Field (theta.unsqueeze 0L) noise, torch.stack (derivatives, 1L))

    let private automatic simulator (theta: Tensor) (noise: Tensor) =
        match simulator.Tangents with
        | Some rule -> rule theta noise
        | None ->
            let d, jacobian =
                Autodiff.fjacobian (fun t -> simulator.Field (t.unsqueeze 0L) noise) theta

            struct (d.detach (), jacobian.detach().movedim([| -1L |], [| 1L |]))

    /// Fields (n, shape…) and their derivatives ∂d/∂θ (n, p, shape…) at θ (p), same noise for both.
    let withDerivatives simulator derivatives (theta: Tensor) (keys: NoiseKey[]) =
        checkParameters simulator theta

        Tensors.scoped2 (fun () ->
            let noise = simulator.DrawNoise keys

            match derivatives with
            | FiniteDifference step -> differences simulator step theta noise
            | Autodiff -> automatic simulator theta noise
            | Precomputed _ ->
                raise (SettingException("derivatives", "Autodiff or FiniteDifference to simulate with", "Precomputed")))

    /// One field (shape…) at θ, simulation 0 of a seed, and its derivative by each parameter (p tensors, shape…).
    let fieldWithDerivatives simulator derivatives (theta: float[]) (seed: uint64) : Tensor * Tensor[] =
        let struct (d, tangents) =
            withDerivatives simulator derivatives (Tensors.ofVector theta) [| NoiseKey(seed, 0UL) |]

        d[0], Array.init theta.Length (fun a -> tangents[0, int64 a])
