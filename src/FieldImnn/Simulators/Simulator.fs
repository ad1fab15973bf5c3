namespace FieldImnn

open System
open System.Runtime.InteropServices
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// Where ∂d/∂θ comes from.
type Derivatives =
    /// The simulator's own forward rule if it has one, else automatic differentiation.
    | Autodiff
    /// Central differences of simulations with the same noise, with a step for every parameter; in double precision where the simulator
    /// takes noise of it.
    | FiniteDifference of step: float[]
    /// Simulations made beforehand, split by the caller into those for training and those held out. Half of the latter choose the weights
    /// and fit the estimate; F is quoted on the other half, which nothing else sees.
    | Precomputed of training: StoredSimulations * heldOut: StoredSimulations

/// What an inference does about a simulation that fails: whose field, or whose summaries, are NaN or infinite. Training has no policy: a
/// failure at the fiducial stops it.
type FailurePolicy =
    /// Everything stops, with an error that names its θ, seed and index.
    | StopAtFailure
    /// It is left out and counted, as long as no larger part of the simulations fails than this, 0 < most < 1. What ABC infers then has for its
    /// prior the one without the parameters at which the simulator fails; a density that is learned goes on smoothly to where it always fails.
    | SkipFailures of most: float

/// A universe as a function: parameters and noise to a field. Everything downstream knows a simulator by this alone.
type Simulator =
    {
        Name: string
        /// Names of the parameters, in order.
        Parameters: string[]
        /// Shape of one field: its 1 to 3 sides, behind the channels where there are several.
        FieldShape: int64[]
        /// Channels: maps, bins, a mask. Of one, the shape has no axis for it.
        Channels: int
        /// The randomness of the simulations with these keys: (n, …), independent of the parameters.
        DrawNoise: NoiseKey[] -> Tensor
        /// θ (n or 1, parameters) float64 → noise (n, …) → fields (n, shape…), differentiable in θ. θ comes on the noise's device, and
        /// fields are on it.
        Field: Tensor -> Tensor -> Tensor
        /// A forward rule, if there is one cheaper than automatic differentiation:
        /// θ (parameters) → noise → fields (n, shape…) and ∂d/∂θ (n, parameters, shape…).
        Tangents: (Tensor -> Tensor -> struct (Tensor * Tensor)) option
        /// What an inference does about a simulation that fails.
        Failures: FailurePolicy
        /// Why the simulation of θ (p) and noise (1, …) failed, where more is known than that its field is NaN: what a program said.
        Reason: float[] -> Tensor -> string option
    }

/// Making and running simulators.
module Simulator =
    /// A simulator from one function over tensors (θ (n or 1, p) → white noise (n, noiseShape…) → fields (n, fieldShape…)).
    let create name parameters (fieldShape: int list) (noiseShape: int list) (field: Tensor -> Tensor -> Tensor) =
        let shape = noiseShape |> List.map int64 |> List.toArray

        { Name = name
          Parameters = Array.ofList parameters
          FieldShape = fieldShape |> List.map int64 |> List.toArray
          Channels = 1
          DrawNoise = fun keys -> Noise.Normal(keys, shape)
          Field = field
          Tangents = None
          Failures = StopAtFailure
          Reason = fun _ _ -> None }

    /// The policy itself, if a part that may fail is one.
    let internal checkPolicy =
        function
        | SkipFailures most when not (most > 0.0 && most < 1.0) ->
            raise (
                SettingException("part of the simulations that may fail", "a number between 0 and 1", Text.number most)
            )
        | policy -> policy

    /// The same simulator, whose failed simulations an inference leaves out and counts, up to this part of all, 0 < most < 1.
    let skippingFailures most simulator =
        { simulator with
            Failures = checkPolicy (SkipFailures most) }

    /// The same simulator, the first axis of its fields' shape being that of channels: two maps of 64² have the shape (2, 64, 64), which
    /// otherwise is a volume.
    let withChannels simulator =
        match simulator.FieldShape with
        | [||]
        | [| _ |] ->
            raise (
                ShapeException("fields with channels", "shape (channels, sides…)", Guard.Describe simulator.FieldShape)
            )
        | shape when shape[0] < 2L || shape[0] > int64 Int32.MaxValue ->
            raise (ShapeException("fields with channels", "two or more along the first axis", Guard.Describe shape))
        | shape ->
            { simulator with
                Channels = int shape[0] }

    /// The same simulator on a device: its noise, which is drawn on the CPU and the same everywhere, and with it θ, fields and derivatives.
    let on (device: torch.Device) simulator =
        { simulator with
            DrawNoise = fun keys -> Tensors.scoped (fun () -> (simulator.DrawNoise keys).``to`` device) }

    /// θ where the noise is.
    let private beside (noise: Tensor) (theta: Tensor) = theta.``to`` noise.device

    let private checkParameters simulator (theta: Tensor) =
        let p = int64 simulator.Parameters.Length
        let names = String.concat ", " simulator.Parameters

        if theta.dim () = 0L || theta.shape[theta.shape.Length - 1] <> p then
            raise (ShapeException("parameters θ", $"{p} ({names})", $"shape {Guard.Describe theta.shape}"))

        Guard.Finite("parameters θ", theta) |> ignore

    let private each (text: float -> string) (names: string[]) (theta: float[]) =
        Array.map2 (fun name value -> $"{name} = {text value}") names theta
        |> String.concat ", "

    /// Every parameter with its value to four digits, "A = 0.9, B = 0.6".
    let named names theta = each (Numerals.rounded 4) names theta

    /// Every parameter with its value to the last bit, for errors: it comes back as it is.
    let internal exactly names theta = each Text.number names theta

    /// The same of a simulator's parameters.
    let internal describe simulator theta = exactly simulator.Parameters theta

    /// Parameter a as errors call it: by place and name.
    let internal parameter simulator a =
        $"parameter {a + 1} ({simulator.Parameters[a]})"

    /// A simulation as errors call it: its key and its θ.
    let internal simulation simulator (rows: float[][]) (keys: NoiseKey[]) i =
        $"seed {keys[i].Seed}, index {keys[i].Index}, at {describe simulator rows[min i (rows.Length - 1)]}"

    let private everySimulation = "finite numbers in every simulation"

    /// What is to be done about simulations that fail, for errors of those who have a policy.
    let internal skipping =
        "a narrower prior, or Simulator.skippingFailures 0.05 (on the command line --skip-failures 0.05), which leaves them out up to that part of all"

    /// What is known of why the simulation of θ and a key failed.
    let private reason simulator (rows: float[][]) (keys: NoiseKey[]) i =
        Tensors.using (fun () ->
            simulator.DrawNoise [| keys[i] |]
            |> simulator.Reason rows[min i (rows.Length - 1)])

    /// Refuses a NaN or infinity, with the simulation that has it: its place, θ (1 or n rows) and key; with what is expected instead. Where
    /// it is known why there is no field, that is said.
    let internal refuseNonFinite simulator what expected (rows: float[][]) (keys: NoiseKey[]) (finite: bool[]) : unit =
        match Array.tryFindIndex not finite with
        | None -> ()
        | Some i ->
            let count = finite |> Array.filter not |> Array.length
            let subject = $"{what} of {simulator.Name}"
            let first = simulation simulator rows keys i

            match reason simulator rows keys i with
            | None ->
                raise (
                    NonFiniteException(
                        subject,
                        expected,
                        $"NaN or infinity in {count} of {finite.Length}, first in the one of {first}"
                    )
                )
            | Some why ->
                raise (
                    SimulatorException(
                        subject,
                        expected,
                        $"no field from {count} of {finite.Length}, first from the one of {first}: {why}"
                    )
                )

    let private checkMade simulator (keys: NoiseKey[]) (made: Tensor) =
        let name = $"fields of {simulator.Name}"

        if not (torch.is_floating_point made) then
            raise (ShapeException(name, "real floating point numbers", $"{made.dtype}"))

        if
            made.dim () = 0L
            || made.shape[1..] <> simulator.FieldShape
            || made.shape[0] <> int64 keys.Length
        then
            let expected = Array.append [| int64 keys.Length |] simulator.FieldShape
            raise (ShapeException(name, $"shape {Guard.Describe expected}", Guard.Describe made.shape))

    let private asRows simulator (theta: Tensor) (keys: NoiseKey[]) =
        checkParameters simulator theta
        let rows = if theta.dim () = 1L then theta.unsqueeze 0L else theta

        if rows.shape[0] <> 1L && rows.shape[0] <> int64 keys.Length then
            raise (ShapeException("parameters θ", $"1 or {keys.Length} rows, one for each key", $"{rows.shape[0]}"))

        rows

    /// The simulator's function; what the tensor library says against it comes with the simulator's name and the shapes.
    let private run simulator (rows: Tensor) (noise: Tensor) =
        try
            simulator.Field rows noise
        with :? ExternalException as fault ->
            let said = fault.Message.Split('\n')[0]

            raise (
                SimulatorException(
                    $"simulator {simulator.Name}",
                    $"fields of θ {Guard.Describe rows.shape} and noise {Guard.Describe noise.shape}, a row for each simulation",
                    $"\"{said}\" (θ.narrow(1, a, 1).unsqueeze(-1) is parameter a of every row, broadcast over two axes of pixels)"
                )
            )

    /// As fields, but NaN and infinity are left in; with each simulation, whether it is finite.
    let internal attempt simulator (theta: Tensor) (keys: NoiseKey[]) : struct (Tensor * bool[]) =
        let made =
            Tensors.scoped (fun () ->
                let rows = asRows simulator theta keys
                let noise = simulator.DrawNoise keys
                let made = run simulator (beside noise rows) noise
                checkMade simulator keys made
                made)

        struct (made, Tensors.finiteRows made)

    /// Fields (n, shape…) with the given keys at θ: (p) for all, or (n, p) for each its own. All finite: an error names θ and the key
    /// of the first simulation that is not.
    let fields simulator (theta: Tensor) (keys: NoiseKey[]) =
        let struct (made, finite) = attempt simulator theta keys

        if Array.contains false finite then
            let rows = Tensors.using (fun () -> Tensors.toRows (asRows simulator theta keys))
            refuseNonFinite simulator "fields" everySimulation rows keys finite

        made

    /// Fields (m, shape…), m ≤ n, as an inference takes them: without those of failed simulations, where these are left out.
    let internal survivors simulator (theta: Tensor) (keys: NoiseKey[]) =
        match simulator.Failures with
        | StopAtFailure -> fields simulator theta keys
        | SkipFailures _ ->
            let struct (made, finite) = attempt simulator theta keys

            Tensors.rows
                [| for i in 0 .. finite.Length - 1 do
                       if finite[i] then
                           i |]
                made

    /// One field (shape…) at θ: simulation 0 of a seed.
    let field simulator (theta: float[]) (seed: uint64) =
        Tensors.scoped (fun () -> (fields simulator (Tensors.ofVector theta) [| NoiseKey(seed, 0UL) |]).select(0L, 0L))

    /// A field (shape…), or one of its derivatives, as numbers: what a figure takes.
    let values simulator (field: Tensor) =
        if field.shape <> simulator.FieldShape then
            raise (
                ShapeException(
                    $"field of {simulator.Name}",
                    $"shape {Guard.Describe simulator.FieldShape}",
                    Guard.Describe field.shape
                )
            )

        FieldValues.create simulator.Channels field.shape (Tensors.toArray field)

    /// Steps h of central differences: as many as parameters, each finite and above zero.
    let internal checkSteps simulator (step: float[]) =
        let p = simulator.Parameters.Length

        if
            step.Length <> p
            || step |> Array.exists (fun h -> not (Double.IsFinite h) || h <= 0.0)
        then
            let came = step |> Array.map Text.number |> String.concat ", "

            raise (SettingException("finite-difference steps", $"{p} numbers > 0, one for each parameter", came))

    /// The fields (n, shape…) at θ (p), computed in double precision where the simulator takes noise of it: a difference of two fields
    /// in single precision loses what the step does not change by more than 10⁻⁷.
    let internal precise simulator (theta: Tensor) (noise: Tensor) : Tensor =
        let rows = theta.unsqueeze 0L |> beside noise

        if noise.dtype <> torch.ScalarType.Float32 then
            simulator.Field rows noise
        else
            try
                simulator.Field rows (noise.``to`` torch.ScalarType.Float64)
            with fault when not (fault :? FieldImnnException) ->
                simulator.Field rows noise // one that is made for single precision alone

    /// d(θ + h) and d(θ − h) (n, shape…) for a step h of parameter a, the noise the same. An error names the step that leaves the
    /// simulator's domain.
    let internal bothSides simulator (theta: Tensor) (noise: Tensor) a (h: float) : struct (Tensor * Tensor) =
        let side sign =
            let moved = theta.clone ()
            moved[int64 a] <- theta[int64 a] + sign * h

            let leaves why =
                let value = Tensors.toNumber moved[int64 a]

                raise (
                    SettingException(
                        $"finite-difference step {Text.number h} of {parameter simulator a}",
                        "one with which θ ± step stays where the simulator works",
                        $"at {simulator.Parameters[a]} = {Text.number value}: {why}"
                    )
                )

            let made =
                try
                    precise simulator moved noise
                with :? FieldImnnException as fault ->
                    leaves fault.Message

            match Tensors.finiteRows made |> Array.tryFindIndex not with
            | None -> ()
            | Some i ->
                simulator.Reason (Tensors.toArray moved) (noise.narrow (0L, int64 i, 1L))
                |> Option.defaultValue "NaN or infinite fields"
                |> leaves

            made

        struct (side 1.0, side -1.0)

    /// Fields, and the differences of what is made of the fields at either side.
    let private differences (make: Tensor -> Tensor) simulator (step: float[]) (theta: Tensor) (noise: Tensor) =
        checkSteps simulator step
        let d = simulator.Field (theta.unsqueeze 0L) noise

        let derivatives =
            step
            |> Array.mapi (fun a h ->
                Tensors.scoped (fun () ->
                    let struct (above, below) = bothSides simulator theta noise a h
                    ((make above - make below) / (2.0 * h).ToScalar()).``to`` d.dtype))

        struct (d, torch.stack (derivatives, 1L))

    /// Fields (n, shape…) and ∂d/∂θ (n, p, shape…) at θ (p) by the simulator's own rule, or by automatic differentiation.
    let internal automatic simulator (theta: Tensor) (noise: Tensor) =
        match simulator.Tangents with
        | Some rule -> rule theta noise
        | None ->
            let d, jacobian =
                Autodiff.fjacobian (fun t -> simulator.Field (t.unsqueeze 0L) noise) theta

            struct (d.detach (), jacobian.detach().movedim([| -1L |], [| 1L |]))

    let private checkShape simulator (keys: NoiseKey[]) (tangents: Tensor) =
        let expected =
            Array.append [| int64 keys.Length; int64 simulator.Parameters.Length |] simulator.FieldShape

        if tangents.shape <> expected then
            raise (
                ShapeException(
                    $"derivatives of {simulator.Name}",
                    $"shape {Guard.Describe expected}",
                    Guard.Describe tangents.shape
                )
            )

    let private checkFinite simulator (theta: Tensor) (keys: NoiseKey[]) (d: Tensor) (tangents: Tensor) =
        let rows = lazy [| Tensors.toArray theta |]
        let finite = Tensors.finiteRows d

        if Array.contains false finite then
            refuseNonFinite simulator "fields" everySimulation rows.Value keys finite

        let finite = Tensors.finiteRows tangents

        if Array.contains false finite then
            let by =
                [ for a in 0 .. simulator.Parameters.Length - 1 do
                      if Array.contains false (Tensors.finiteRows (tangents.select (1L, int64 a))) then
                          parameter simulator a ]
                |> String.concat ", "

            refuseNonFinite simulator $"derivatives by {by}" everySimulation rows.Value keys finite

    /// Fields, and the derivatives that `derive` makes beside them of θ and noise, checked.
    let private deriving simulator check derive (theta: Tensor) (keys: NoiseKey[]) : struct (Tensor * Tensor) =
        checkParameters simulator theta

        Tensors.scoped2 (fun () ->
            let noise = simulator.DrawNoise keys
            let theta = beside noise theta
            let struct (d: Tensor, tangents: Tensor) = derive theta noise
            checkMade simulator keys d
            check tangents
            checkFinite simulator theta keys d tangents
            struct (d, tangents))

    /// Fields (n, shape…) at θ (p) and (f(d(θ + h)) − f(d(θ − h)))/2h (n, p, …) of what f makes of fields, same noise for all. Of a field that
    /// jumps, as counts do, its statistics have derivatives on average, and not by way of derivatives of pixels.
    let internal withDifferencesOf (make: Tensor -> Tensor) simulator step theta keys =
        deriving simulator ignore (differences make simulator step) theta keys

    /// Fields (n, shape…) and their derivatives ∂d/∂θ (n, p, shape…) at θ (p), same noise for both. All finite: an error names the
    /// parameter, θ and the key of the first simulation that is not.
    let withDerivatives simulator derivatives (theta: Tensor) (keys: NoiseKey[]) =
        let derive =
            match derivatives with
            | FiniteDifference step -> differences id simulator step
            | Autodiff -> automatic simulator
            | Precomputed _ ->
                raise (SettingException("derivatives", "Autodiff or FiniteDifference to simulate with", "Precomputed"))

        deriving simulator (checkShape simulator keys) derive theta keys

    /// One field (shape…) at θ, simulation 0 of a seed, and its derivative by each parameter (p tensors, shape…).
    let fieldWithDerivatives simulator derivatives (theta: float[]) (seed: uint64) : Tensor * Tensor[] =
        let struct (d, tangents) =
            withDerivatives simulator derivatives (Tensors.ofVector theta) [| NoiseKey(seed, 0UL) |]

        d[0], Array.init theta.Length (fun a -> tangents[0, int64 a])
