namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// What an observation adds to every pixel.
type ObservationNoise =
    /// Independent Gaussian numbers of this standard deviation in every pixel.
    | White of deviation: float
    /// Drawn by key: keys (n) → (n, shape…). `SpectrumField.noise` makes homogeneous Gaussian noise of a power spectrum.
    | Drawn of shape: int64[] * draw: (NoiseKey[] -> Tensor)

/// How a survey sees a simulated universe: noise and a footprint, composed with any simulator. Both are differentiable in θ, and
/// compose in either order: `simulator |> Observation.masked footprint |> Observation.noisy (White 0.1)`.
module Observation =
    let private draw (shape: int64[]) noise : NoiseKey[] -> Tensor =
        match noise with
        | White deviation ->
            if not (Double.IsFinite deviation && deviation >= 0.0) then
                raise (SettingException("standard deviation of the noise", "a finite number ≥ 0", string deviation))

            fun keys -> Noise.Normal(keys, shape) * deviation
        | Drawn(own, draw) ->
            if own <> shape then
                raise (ShapeException("shape of the noise", Guard.Describe shape, Guard.Describe own))

            draw

    /// A key of its own for the noise of a simulation: one for every simulator in a chain of them.
    let private noiseKeys name (keys: NoiseKey[]) =
        keys
        |> Array.map (fun key -> NoiseKey(NoiseKey.SeedFor(key.Seed, $"noise on {name}"), key.Index))

    /// The simulator with noise, independent of its own randomness and of θ.
    let noisy noise simulator =
        let drawNoise = draw simulator.FieldShape noise
        let pixels = Array.fold (*) 1L simulator.FieldShape

        // both kinds of randomness travel as one tensor: rows of the simulator's own numbers, then of the noise's pixels
        let ownShape =
            lazy
                (use own = simulator.DrawNoise [| NoiseKey(0UL, 0UL) |]
                 own.shape[1..])

        let split (both: Tensor) =
            let own = both.shape[1] - pixels

            (both.narrow (1L, 0L, own)).reshape(Array.append [| -1L |] ownShape.Value),
            (both.narrow (1L, own, pixels)).reshape(Array.append [| -1L |] simulator.FieldShape)

        { simulator with
            Name = $"{simulator.Name} with noise"
            DrawNoise =
                fun keys ->
                    Tensors.scoped (fun () ->
                        let own = simulator.DrawNoise keys
                        let noise = drawNoise (noiseKeys simulator.Name keys)
                        torch.cat ([| own.flatten 1L; noise.flatten(1L).``to``(own.dtype, own.device) |], 1L))
            Field =
                fun theta both ->
                    let own, noise = split both
                    simulator.Field theta own + noise
            Reason = fun theta both -> both |> split |> fst |> simulator.Reason theta
            Tangents =
                simulator.Tangents
                |> Option.map (fun rule theta both ->
                    let own, noise = split both
                    let struct (d, tangent) = rule theta own
                    struct (d + noise, tangent)) }

    /// The simulator seen through a footprint: weights from 0 (not observed) to 1 of every pixel, (shape…), or (sides…) for all channels,
    /// multiplied with the field.
    let masked (weights: Tensor) simulator =
        if
            weights.shape <> simulator.FieldShape
            && (simulator.Channels = 1 || weights.shape <> simulator.FieldShape[1..])
        then
            raise (ShapeException("mask", Guard.Describe simulator.FieldShape, Guard.Describe weights.shape))

        let values = Tensors.toArray weights

        match values |> Array.tryFind (fun w -> not (w >= 0.0 && w <= 1.0)) with
        | Some wrong -> raise (RangeException("mask", "weights from 0 to 1", string wrong))
        | None when values |> Array.forall ((=) 0.0) -> raise (RangeException("mask", "some pixels observed", "none"))
        | None -> ()

        let mask = weights.clone () |> Tensors.keep
        let see (d: Tensor) = d * mask.``to`` (d.dtype, d.device)

        { simulator with
            Name = $"{simulator.Name} masked"
            Field = fun theta noise -> simulator.Field theta noise |> see
            Tangents =
                simulator.Tangents
                |> Option.map (fun rule theta noise ->
                    let struct (d, tangent) = rule theta noise
                    struct (see d, see tangent)) }
