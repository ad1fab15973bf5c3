namespace FieldImnn

open System
open System.Globalization
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// What a simulator must do before simulations are spent on it: checked once, by a handful of them, and named where it is not so.
module Door =
    let private refuse simulator expected received =
        raise (SimulatorException($"simulator {simulator.Name}", expected, received))

    let private text (v: float) =
        v.ToString("g3", CultureInfo.InvariantCulture)

    let private rms (t: Tensor) =
        (t.``to`` torch.ScalarType.Float64).square().mean().sqrt().ToDouble()

    /// The rounding of what has been computed: that of its type, or of single precision if every number is one of it.
    let private rounding (t: Tensor) =
        let single = t.``to`` torch.ScalarType.Float32

        if
            t.dtype = torch.ScalarType.Float64
            && not ((single.``to`` torch.ScalarType.Float64).Equals t)
        then
            Double.BitIncrement 1.0 - 1.0
        else
            float (Single.BitIncrement 1.0f - 1.0f)

    /// The prior names the simulator's parameters, in its order.
    let names (simulator: Simulator) (prior: Prior) =
        if prior.Names <> simulator.Parameters then
            let list (names: string[]) = String.concat ", " names

            raise (
                SettingException(
                    "parameters of the prior",
                    $"those of simulator {simulator.Name} in its order: {list simulator.Parameters}",
                    list prior.Names
                )
            )

    /// A batch gives the same fields as one simulation at a time: checked with two rows of θ, up to rounding. A simulator that is NaN there
    /// is not compared.
    let batch (simulator: Simulator) (theta: float[][]) seed =
        use _ = torch.NewDisposeScope()
        let keys = NoiseKey.Range(NoiseKey.SeedFor(seed, "door"), 0UL, 2)

        let struct (together, finite) =
            Simulator.attempt simulator (Tensors.ofRows theta) keys

        let alone i (key: NoiseKey) =
            let struct (made, finite) =
                Simulator.attempt simulator (Tensors.ofRows [| theta[i] |]) [| key |]

            if finite[0] then Some made[0] else None

        // a thousand roundings of single precision: beyond what sums in another order do, below what another θ does
        let same (a: Tensor) (b: Tensor) =
            let least = 1000.0 * (max (rounding a) (rounding b))
            rms (a - b) <= least * max (rms a) (rms b)

        for i in 0..1 do
            match finite[i], alone i keys[i] with
            | true, Some single when not (same together[int64 i] single) ->
                let is made =
                    made |> Option.exists (same together[int64 i])

                let received =
                    if not (alone i keys[i] |> Option.exists (same single)) then
                        "another field each time: it draws random numbers of its own, or keeps something between calls"
                    elif is (alone (1 - i) keys[i]) then
                        $"the field at the parameters of row {1 - i} in row {i}: θ has a row for each simulation, θ.narrow(1, a, 1), and θ[0, a] is the first one's"
                    elif is (alone i keys[1 - i]) then
                        $"the noise of row {1 - i} in row {i}: noise has a row for each simulation"
                    else
                        $"another field in row {i} of two than alone, by {text (rms (together[int64 i] - single) / rms single)} of its size"

                refuse simulator "the same fields from a batch as from one simulation at a time" received
            | _ -> ()

    /// Keys of the checks, few at first; where a fault is suspected, many.
    let private keysOf seed n =
        NoiseKey.Range(NoiseKey.SeedFor(seed, "door"), 0UL, n)

    /// θ (rows) 0 and 1 % away, or nearer where the simulator does not work there.
    let private nearby (simulator: Simulator) (fiducial: float[]) seed =
        [ 1e-2; 1e-4 ]
        |> List.tryPick (fun part ->
            [ 1.0; -1.0 ]
            |> List.tryPick (fun sign ->
                let moved =
                    fiducial
                    |> Array.map (fun t -> t + sign * part * (if t = 0.0 then 1.0 else abs t))

                try
                    use _ = torch.NewDisposeScope()

                    let struct (_, finite) =
                        Simulator.attempt simulator (Tensors.ofVector moved) (keysOf seed 1)

                    if finite[0] then Some [| fiducial; moved |] else None
                with :? FieldImnnException ->
                    None))

    let private scaleOf (fiducial: float[]) a =
        if fiducial[a] = 0.0 then 1.0 else abs fiducial[a]

    /// Δ/2h of a step where the simulator works there.
    let private tryDifference simulator (fiducial: float[]) noise a h =
        try
            let struct (above, below) =
                Simulator.bothSides simulator (Tensors.ofVector fiducial) noise a h

            Some((above - below).``to``(torch.ScalarType.Float64) / (2.0 * h).ToScalar())
        with :? FieldImnnException ->
            None

    let private noEffect simulator a moves =
        let name = Simulator.parameter simulator a

        if moves then
            refuse
                simulator
                $"a derivative by every parameter"
                $"none by {name}, though the field depends on it: θ is detached, rounded or taken out of TorchSharp on the way, or the dependence is of second order there; differences (FiniteDifference) need no gradient"
        else
            refuse simulator "a field that depends on every parameter" $"{name} has no effect on the field"

    /// Whether the field at the fiducial moves with parameter a at all.
    let private moves simulator (fiducial: float[]) noise a =
        [ 1e-6; 1e-4; 1e-2 ]
        |> List.exists (fun part ->
            tryDifference simulator fiducial noise a (part * scaleOf fiducial a)
            |> Option.exists (fun d -> rms d > 0.0))

    /// The best of central differences of several steps by parameter a, with its own error as a part of it, if any two steps agree.
    let private reference simulator fiducial noise a =
        let steps =
            [ 1e-3; 1e-4; 1e-5; 1e-6 ] |> List.map (fun part -> part * scaleOf fiducial a)

        steps
        |> List.map (tryDifference simulator fiducial noise a)
        |> List.pairwise
        |> List.choose (function
            | Some coarse, Some fine when rms fine > 0.0 -> Some(fine, rms (coarse - fine) / rms fine)
            | _ -> None)
        |> function
            | [] -> None
            | found ->
                match List.minBy snd found with
                | _, error as best when error < 0.02 -> Some best
                | _ -> None // not smooth: nothing to compare with

    /// Derivatives (n, p, …) of the simulator's own or automatic rule agree with differences in double precision.
    let private gradients simulator (fiducial: float[]) noise (tangents: Tensor) =
        for a in 0 .. fiducial.Length - 1 do
            let own = tangents.select(1L, int64 a).``to`` torch.ScalarType.Float64

            match reference simulator fiducial noise a with
            | None -> ()
            | Some(difference, error) ->
                let apart = rms (own - difference) / max (rms own) (rms difference)

                if apart > 0.02 + 5.0 * error then
                    if rms own = 0.0 then
                        noEffect simulator a true

                    refuse
                        simulator
                        $"a derivative by {Simulator.parameter simulator a} that agrees with finite differences to 2 %%"
                        $"one that is off by {text apart} of its size"

    /// Every step of central differences is resolved: it changes the field by far more than the field is rounded to.
    let private steps simulator (fiducial: float[]) noise (step: float[]) =
        for a in 0 .. step.Length - 1 do
            let name = Simulator.parameter simulator a

            let struct (above, below) =
                Simulator.bothSides simulator (Tensors.ofVector fiducial) noise a step[a]

            // what single precision keeps of θ itself shows as a field that a step of a billionth does not change
            let coarse =
                if rounding above > 1e-10 then
                    true
                else
                    tryDifference simulator fiducial noise a (1e-10 * scaleOf fiducial a)
                    |> Option.exists (fun d -> rms d = 0.0)

            let unit =
                if coarse then
                    float (Single.BitIncrement 1.0f - 1.0f)
                else
                    rounding above

            let needed = 300.0 * unit * (max (rms above) 1e-300)

            if rms (above - below) < needed then
                // the slope of a step that is large enough, to say which would do
                let slope =
                    [ 1e-2; 1e-3; 1e-4 ]
                    |> List.tryPick (fun part ->
                        tryDifference simulator fiducial noise a (part * scaleOf fiducial a)
                        |> Option.filter (fun d -> rms d * 2.0 * part * scaleOf fiducial a >= needed))

                match slope with
                | None when rms (above - below) = 0.0 && not (moves simulator fiducial noise a) ->
                    noEffect simulator a false
                | None -> ()
                | Some slope when 2.0 * float (slope.count_nonzero().ToInt64()) < float (slope.numel ()) ->
                    raise (
                        SettingException(
                            $"finite-difference step of {name}",
                            "one that changes the field: of pixels that jump, as counts do, a tenth of an error or more",
                            $"{text step[a]}, at which no pixel jumps, or hardly any"
                        )
                    )
                | Some slope ->
                    let precision = if coarse then "single" else "double"

                    raise (
                        SettingException(
                            $"finite-difference step of {name}",
                            $"at least {text (needed / (2.0 * rms slope))}, which changes the field by 300 times what {precision} precision rounds",
                            text step[a]
                        )
                    )

    /// The derivatives by all parameters are independent: no combination of them has no effect.
    let private independent simulator (tangents: Tensor) =
        let p = int tangents.shape[1]

        let columns =
            tangents.movedim([| 1L |], [| -1L |]).reshape(-1L, int64 p).``to`` torch.ScalarType.Float64

        let sizes = columns.square().sum(0L).sqrt()
        let struct (_, r) = torch.linalg.qr ((columns / sizes), torch.linalg.QRMode.R)
        let svd = (Tensors.toMatrix r).Svd true

        let sharp =
            if tangents.dtype = torch.ScalarType.Float64 then
                1e-11
            else
                1e-5

        if svd.S[svd.S.Count - 1] < sharp then
            let weights = svd.VT.Row(svd.VT.RowCount - 1)

            let involved =
                [ for a in 0 .. p - 1 do
                      if abs weights[a] > 1e-3 then
                          Simulator.parameter simulator a ]

            Some involved
        else
            None

    /// Faults of derivatives at the fiducial that only many simulations can prove: none by a parameter, or the same by two.
    let private degenerate simulator (fiducial: float[]) seed (derive: int -> Tensor) (tangents: Tensor) =
        let zero (t: Tensor) a = rms (t.select (1L, int64 a)) = 0.0
        let all = [ 0 .. fiducial.Length - 1 ]
        let many = lazy (derive 64)

        for a in all do
            if zero tangents a && zero many.Value a then
                let noise = simulator.DrawNoise(keysOf seed 2)
                noEffect simulator a (moves simulator fiducial noise a)

        if not (List.exists (zero tangents) all) && (independent simulator tangents).IsSome then
            match independent simulator many.Value with
            | Some [ first; second ] ->
                refuse
                    simulator
                    "parameters with different effects on the field"
                    $"{first} and {second} have the same effect: their derivatives are proportional"
            | Some involved ->
                let together = String.concat ", " involved

                refuse
                    simulator
                    "parameters with different effects on the field"
                    $"a combination of {together} has no effect: their derivatives are linearly dependent"
            | None -> ()

    /// Corners of the prior, at the quantiles 0.005 and 0.995 of each parameter: all of up to three parameters; of more, four and their
    /// opposites, so that each parameter is tried at both ends. Of dependent parameters, those that have a density.
    let private corners (prior: Prior) seed =
        let ends = [| 0.005; 0.995 |]

        let corner (high: int -> bool) =
            prior.Marginals
            |> Array.mapi (fun k marginal -> Marginal.quantile marginal ends[if high k then 1 else 0])

        let p = prior.Names.Length

        if p <= 3 then
            Array.init (1 <<< p) (fun bits -> corner (fun k -> (bits >>> k) &&& 1 = 1))
        else
            Prior.uniform [ for name in prior.Names -> name, 0.0, 1.0 ]
            |> Prior.sample (NoiseKey.IntSeedFor(seed, "door corners")) 0L 4
            |> Array.collect (fun u -> [| corner (fun k -> u[k] > 0.5); corner (fun k -> u[k] <= 0.5) |])
        |> Array.filter (Prior.contains prior)

    /// Draws of the prior that are tried beside its corners.
    let private draws = 4

    /// What the simulator says against one θ, where it says so by an exception.
    let private objection simulator (theta: float[]) key : exn option =
        try
            use _ = torch.NewDisposeScope()
            Simulator.attempt simulator (Tensors.ofRows [| theta |]) [| key |] |> ignore
            None
        with fault ->
            Some fault

    /// Simulations at some θ, one each, with an error that names the θ at which the simulator throws; which of them are finite.
    let private attempted simulator (theta: float[][]) (keys: NoiseKey[]) : struct (Tensor * bool[]) =
        try
            Simulator.attempt simulator (Tensors.ofRows theta) keys
        with _ ->
            match
                Seq.zip theta keys
                |> Seq.tryPick (fun (t, key) -> objection simulator t key |> Option.map (fun said -> t, said))
            with
            | None -> reraise () // of the batch, and of no θ in it
            | Some(_, said) when (said :? ShapeException) -> raise said // of any θ
            | Some(at, said) ->
                let kind =
                    match said with
                    | :? FieldImnnException -> ""
                    | other -> other.GetType().Name + ": "

                raise (
                    SimulatorException(
                        $"simulator {simulator.Name}",
                        "a field at every θ of the prior; a narrower prior leaves out where there is none",
                        $"\"{kind}{said.Message}\" at {Simulator.describe simulator at}",
                        said
                    )
                )

    /// Fields at a handful of θ all over the prior, its corners and some draws, with their rows and keys: all finite, or, where those that
    /// fail are left out, at least one.
    let private acrossPrior (simulator: Simulator) (prior: Prior) seed : float[][] * NoiseKey[] * Tensor =
        let theta =
            Array.append (corners prior seed) (Prior.sample (NoiseKey.IntSeedFor(seed, "door draws")) 0L draws prior)

        let keys =
            NoiseKey.Range(NoiseKey.SeedFor(seed, "door of the prior"), 0UL, theta.Length)

        let struct (made, finite) = attempted simulator theta keys

        if simulator.Failures = StopAtFailure || not (Array.contains true finite) then
            Simulator.refuseNonFinite
                simulator
                "fields"
                $"finite numbers all over the prior ({Simulator.skipping})"
                theta
                keys
                finite

        let good = [| 0 .. theta.Length - 1 |] |> Array.filter (fun i -> finite[i])
        let pick (all: 'v[]) = good |> Array.map (fun i -> all[i])
        pick theta, pick keys, Tensors.rows good made

    /// As `inference`, with the rows, the keys and the fields all over the prior that it has looked at.
    let internal fields (simulator: Simulator) (prior: Prior) seed =
        names simulator prior
        batch simulator (Prior.sample (NoiseKey.IntSeedFor(seed, "door")) 0L 2 prior) seed
        acrossPrior simulator prior seed

    /// What an inference asks of a simulator and a prior: names in one order, rows that do not mix, fields all over the prior.
    let inference (simulator: Simulator) (prior: Prior) seed =
        use _ = torch.NewDisposeScope()
        fields simulator prior seed |> ignore

    /// By what part of their size pixels have to vary: a thousand times what single precision resolves.
    let private leastContrast = 1e-4

    /// Refuses fields (n, shape…) of which a channel varies by so little of its size that single precision, in which networks read them, loses it:
    /// features of those are not what their derivatives say.
    let internal resolved name channels (fields: Tensor) =
        use _ = torch.NewDisposeScope()
        let fields = fields.``to`` torch.ScalarType.Float64

        for c in 0 .. channels - 1 do
            let one = if channels > 1 then fields.select (1L, int64 c) else fields

            let size, scatter = rms one, rms (one - one.mean ([| 0L |], keepdim = true))

            if scatter > 0.0 && scatter < leastContrast * size then
                let which = if channels > 1 then $" of channel {c}" else ""

                raise (
                    SimulatorException(
                        name,
                        $"pixels{which} that vary from one field to the next by {text leastContrast} of their size or more, since networks read them in single precision",
                        $"{text (scatter / size)}; subtract what is the same in every field, of the observed one, too"
                    )
                )

    /// What training at the fiducial parameters (p) asks of a simulator: finite fields that differ, the same in a batch and alone,
    /// with derivatives that are right, of which none is zero and no two the same. Stored simulations are checked where they are read.
    let training (simulator: Simulator) derivatives (fiducial: float[]) seed =
        match derivatives with
        | Precomputed _ -> ()
        | _ ->
            use _ = torch.NewDisposeScope()
            let theta = Tensors.ofVector fiducial
            let fields = Simulator.fields simulator theta (keysOf seed 2)

            let constant (made: Tensor) = made.Equals(made[0].expand_as made)

            if constant fields && constant (Simulator.fields simulator theta (keysOf seed 64)) then
                refuse
                    simulator
                    "fields that differ from one simulation to the next"
                    "the same field whatever the noise"

            let size = rms fields

            if size < 1e-15 || size > 1e15 then
                refuse
                    simulator
                    "pixels whose rms is between 1e-15 and 1e15, since networks square them in single precision"
                    $"an rms of {text size}; another unit will do"

            resolved simulator.Name simulator.Channels fields

            nearby simulator fiducial seed
            |> Option.iter (fun rows -> batch simulator rows seed)

            let noise = simulator.DrawNoise(keysOf seed 2)

            match derivatives with
            | FiniteDifference step ->
                Simulator.checkSteps simulator step
                steps simulator fiducial noise step
            | _ -> ()

            let derive n =
                let struct (_, tangents) =
                    Simulator.withDerivatives simulator derivatives theta (keysOf seed n)

                tangents

            let tangents = derive 2

            degenerate simulator fiducial seed derive tangents

            match derivatives with
            | FiniteDifference _ -> ()
            | _ -> gradients simulator fiducial noise tangents
