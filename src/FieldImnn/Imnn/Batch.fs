namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TorchSharp

/// What simulations are for. No two parts share one but, of stored simulations, those that choose the weights and those that fit.
type internal Part =
    /// The steps of the optimiser.
    | Training
    /// The choice of the weights.
    | Validation
    /// The closed-form layer and the statistics of the estimate.
    | Fitting
    /// F, which is quoted.
    | Quoting
    /// The choice between compressors that are trained.
    | Choosing
    /// What fields look like.
    | Looking

/// Where training takes its simulations from: a number of them, some with derivatives, in chunks that fit into memory.
/// A chunk is a Dual of the network's statistics; without derivatives its tangent is null.
type internal Source =
    {
        /// part → first index → n_s → n_d → chunks. Those with derivatives come first.
        Draw: Part -> uint64 -> int -> int -> Dual[]
        /// How many a part has.
        Count: Part -> int
        /// Runs of the simulator for n_s simulations, n_d of them with derivatives.
        Runs: int -> int -> int
    }

/// Batches of simulations, prepared for a network.
module internal Batch =
    let private dual (device: torch.Device) (network: SummaryNetwork) (fields: Tensor) (tangents: Tensor option) =
        let single (t: Tensor) =
            t.``to`` (torch.ScalarType.Float32, device)

        let tangent =
            tangents
            |> Option.map (fun t ->
                let shape = Array.append [| t.shape[0] * t.shape[1] |] fields.shape[1..]
                (single t).reshape shape)
            |> Option.toObj

        network.Prepare(Dual(single fields, tangent))

    /// What a network prepares of the fields at either side of a step, in double precision where it takes that: the difference of two sums in single
    /// precision loses what a small step changes.
    let private prepared (device: torch.Device) (network: SummaryNetwork) (fields: Tensor) : Tensor =
        let fields = fields.``to`` device

        try
            (network.Prepare(Dual fields)).Primal
        with fault when fields.dtype <> torch.ScalarType.Float32 && not (fault :? FieldImnnException) ->
            (network.Prepare(Dual(fields.``to`` torch.ScalarType.Float32))).Primal

    /// Fields and differences (n, p, …) of what is prepared of them, as a chunk.
    let private differenced (device: torch.Device) (network: SummaryNetwork) (fields: Tensor) (differences: Tensor) =
        let single = differences.``to`` (torch.ScalarType.Float32, device)
        Dual((dual device network fields None).Primal, single.flatten (0L, 1L))

    let private freed (make: unit -> Dual) =
        use _ = Tensors.scope ()
        use _ = torch.no_grad ()
        let made = make ()
        let primal = made.Primal.MoveToOuterDisposeScope()

        let tangent =
            if isNull made.Tangent then
                null
            else
                made.Tangent.MoveToOuterDisposeScope()

        Dual(primal, tangent)

    /// Chunks (start, length, with derivatives): the first n_d of n_s have them.
    let private plan chunk n derivatives =
        [| for struct (start, length) in Tensors.chunks chunk derivatives do
               struct (start, length, true)
           for struct (start, length) in Tensors.chunks chunk (n - derivatives) do
               struct (derivatives + start, length, false) |]

    /// The seed of the simulations of a part.
    let seedOf (settings: ImnnSettings) part =
        match part with
        | Training -> "training"
        | Validation -> "validation"
        | Fitting -> "statistics"
        | Quoting -> "quote"
        | Choosing -> "choice"
        | Looking -> "looks"
        |> fun name -> NoiseKey.SeedFor(settings.Seed, name)

    /// How many simulations a part has, where they are made now.
    let countOf (settings: ImnnSettings) part =
        match part with
        | Training -> settings.Simulations
        | Validation
        | Choosing -> settings.HeldOut
        | Fitting -> settings.Fit
        | Quoting -> settings.Quote
        | Looking ->
            if settings.Quote < PlainStatistics.fewest then
                0
            else
                PlainStatistics.fewest

    /// The seed of the simulations that a network's constants are fitted to.
    let constantsSeed (settings: ImnnSettings) =
        NoiseKey.SeedFor(settings.Seed, "constants")

    let private simulated (settings: ImnnSettings) (network: SummaryNetwork) simulator (theta: Tensor) chunk =
        { Count = countOf settings
          Runs =
            fun n withDerivatives ->
                match settings.Derivatives with
                | FiniteDifference step -> n + 2 * step.Length * withDerivatives
                | _ -> n
          Draw =
            fun part first n withDerivatives ->
                let seed = seedOf settings part
                let dual = dual settings.Device network

                plan chunk n withDerivatives
                |> Array.map (fun struct (start, length, differentiate) ->
                    freed (fun () ->
                        let keys = NoiseKey.Range(seed, first + uint64 start, length)

                        match settings.Derivatives with
                        | _ when not differentiate -> dual (Simulator.fields simulator theta keys) None
                        | FiniteDifference step ->
                            let struct (d, differences) =
                                Simulator.withDifferencesOf
                                    (prepared settings.Device network)
                                    simulator
                                    step
                                    theta
                                    keys

                            differenced settings.Device network d differences
                        | rule ->
                            let struct (d, t) = Simulator.withDerivatives simulator rule theta keys
                            dual d (Some t))) }

    /// Stored simulations that choose the weights, at the most: they stay in memory, with their derivatives, 512 MB of them, or as many as the
    /// features need, and 200, where these are more.
    let private mostHeld (network: SummaryNetwork) (simulator: Simulator) =
        let numbers =
            Array.fold (*) 1L simulator.FieldShape * int64 (1 + simulator.Parameters.Length)

        int (max (max 200L (2L * (network.Features + 3L))) ((1L <<< 27) / numbers))

    /// Simulations of a stored set: those with derivatives, and those without.
    let private stored settings (network: SummaryNetwork) simulator training heldOut chunk =
        let training, heldOut = Stored.check simulator training heldOut
        let dual = dual settings.Device network

        let take (set: StoredSimulations) (indices: int[]) derivatives =
            plan chunk indices.Length derivatives
            |> Array.map (fun struct (start, length, differentiate) ->
                freed (fun () ->
                    let pick = Slices.rows indices[start .. start + length - 1]
                    let fields = pick set.Fields

                    if differentiate then
                        dual fields (Some(pick set.FieldDerivatives))
                    else
                        dual fields None))

        // half of what is held out chooses and fits, the other half is quoted
        let choosing, quoting = Stored.halves heldOut

        let held part =
            match part with
            | Quoting -> quoting
            | _ -> choosing

        { Count =
            function
            | Training -> Stored.count training
            | Validation -> min choosing.Length (mostHeld network simulator)
            | part -> (held part).Length
          Runs = fun n _ -> n
          Draw =
            fun part first n withDerivatives ->
                match part with
                | Training ->
                    // a fresh subset a step, addressed by the step's first index: first those whose derivatives are asked for
                    let random = PhiloxRandom(settings.Seed, $"subset {first}")
                    let all = [| 0 .. Stored.count training - 1 |]
                    random.Shuffle all
                    let able, bare = all |> Array.partition (Stored.hasDerivative training)
                    let differentiated = Array.truncate withDerivatives able
                    let others = Array.append able[differentiated.Length ..] bare
                    random.Shuffle others

                    take training (Array.append differentiated others |> Array.truncate n) differentiated.Length
                | part ->
                    let window = (held part)[int first .. min (held part).Length (int first + n) - 1]

                    let able = window |> Array.filter (Stored.hasDerivative heldOut)
                    take heldOut window able.Length }

    let private chunkOf settings (simulator: Simulator) =
        min settings.Chunk (Tensors.fieldsAtOnce simulator.FieldShape)

    /// The source of simulations that the settings ask for.
    let source network settings (simulator: Simulator) (fiducial: float[]) =
        let theta = Tensors.ofVector fiducial // lives in the caller's scope, as long as the source
        let chunk = chunkOf settings simulator

        match settings.Derivatives with
        | Precomputed(training, heldOut) -> stored settings network simulator training heldOut chunk
        | _ -> simulated settings network simulator theta chunk

    /// Chunks of the fields that are looked at, each made when it is asked for: none of a stored set that is too small.
    let looked settings (simulator: Simulator) (fiducial: float[]) : (unit -> Tensor)[] =
        let chunks count (part: int -> int -> Tensor) =
            Tensors.chunks (chunkOf settings simulator) count
            |> Array.map (fun struct (start, length) -> fun () -> part start length)

        match settings.Derivatives with
        | Precomputed(_, heldOut) ->
            let places = Stored.halves heldOut |> snd

            let count =
                if places.Length < PlainStatistics.fewest then
                    0
                else
                    PlainStatistics.fewest

            chunks count (fun start length -> heldOut.Fields |> Slices.rows places[start .. start + length - 1])
        | _ ->
            let theta, seed = Tensors.ofVector fiducial, seedOf settings Looking

            chunks (countOf settings Looking) (fun start length ->
                Simulator.fields simulator theta (NoiseKey.Range(seed, uint64 start, length)))

    /// Fits the constants of a network, if it has any, to fields of its own; returns how many were simulated.
    let fit (network: SummaryNetwork) settings (simulator: Simulator) (fiducial: float[]) =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let wanted = int network.FitFields

        let fitTo count (part: int -> int -> Tensor) =
            Tensors.scoped (fun () ->
                Tensors.chunks (chunkOf settings simulator) count
                |> Array.map (fun struct (start, length) ->
                    Tensors.scoped (fun () -> (part start length).``to``(torch.ScalarType.Float32, Device.cpu)))
                |> fun fields -> torch.cat (fields, 0L))
            |> network.Fit

        match settings.Derivatives with
        | _ when wanted = 0 -> 0
        | Precomputed(training, _) ->
            fitTo (min wanted training.Fields.Count) (fun start length -> training.Fields |> Slices.range start length)
            0
        | _ ->
            let seed = constantsSeed settings
            let theta = Tensors.ofVector fiducial

            fitTo wanted (fun start length ->
                Simulator.fields simulator theta (NoiseKey.Range(seed, uint64 start, length)))

            wanted

    /// Joins chunks into as few as the network can take at once: all of them where it works on small statistics.
    let joined (network: SummaryNetwork) (chunks: Dual[]) =
        if not network.HasStatistics || chunks.Length = 1 then
            chunks
        else
            chunks
            |> Array.groupBy (fun c -> isNull c.Tangent)
            |> Array.map (fun (bare, group) ->
                let primal = torch.cat (group |> Array.map (fun c -> c.Primal), 0L)

                Dual(
                    primal,
                    (if bare then
                         null
                     else
                         torch.cat (group |> Array.map (fun c -> c.Tangent), 0L))
                ))

    let private assemble (network: SummaryNetwork) parameters (made: Dual[]) : struct (Tensor * Tensor) =
        let x = torch.cat (made |> Array.map (fun c -> c.Primal), 0L)

        let dx =
            made
            |> Array.filter (fun c -> not (isNull c.Tangent))
            |> Array.map (fun c -> c.Tangent.reshape (-1L, int64 parameters, network.Features))

        if dx.Length = 0 then
            struct (x, torch.zeros (0L, int64 parameters, network.Features, dtype = x.dtype, device = x.device))
        else
            struct (x, torch.cat (dx, 0L))

    /// Features x (n, s) and dx (m, p, s) of chunks, in the graph.
    let features (network: SummaryNetwork) parameters (chunks: Dual[]) =
        chunks |> Array.map network.Evaluate |> assemble network parameters

    /// A chunk in pieces of so many rows that what a network makes of them fits into memory.
    let private pieces (chunk: Dual) =
        let n, p = chunk.Primal.shape[0], int64 chunk.Parameters
        let numbers = max 1L (chunk.Primal.numel () / n)

        Tensors.chunks (int (max 1L (Tensors.pixelsAtOnce / numbers))) (int n)
        |> Array.map (fun struct (start, length) ->
            let start, length = int64 start, int64 length

            let tangent =
                if isNull chunk.Tangent then
                    null
                else
                    chunk.Tangent.narrow (0L, start * p, length * p)

            Dual(chunk.Primal.narrow (0L, start, length), tangent))

    /// As features, a piece at a time, without a graph and freeing what each made.
    let evaluate (network: SummaryNetwork) parameters (chunks: Dual[]) =
        Tensors.scoped2 (fun () ->
            use _ = torch.no_grad ()

            chunks
            |> Array.collect pieces
            |> Array.map (fun c -> freed (fun () -> network.Evaluate c))
            |> assemble network parameters)
