namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TorchSharp

/// Where training takes its simulations from: a number of them, some with derivatives, in chunks that fit into memory.
/// A chunk is a Dual of the network's statistics; without derivatives its tangent is null.
type internal Source =
    {
        /// purpose → first index → n_s → n_d → chunks.
        Draw: string -> uint64 -> int -> int -> Dual[]
        /// The most that can be drawn for training and for holding out, if there is a limit.
        Limits: (int * int) option
    }

/// Batches of simulations, prepared for a network.
module internal Batch =
    let private dual (network: SummaryNetwork) (fields: Tensor) (tangents: Tensor option) =
        let single (t: Tensor) = t.``to`` torch.ScalarType.Float32

        let tangent =
            tangents
            |> Option.map (fun t ->
                let shape = Array.append [| t.shape[0] * t.shape[1] |] fields.shape[1..]
                (single t).reshape shape)
            |> Option.toObj

        network.Prepare(Dual(single fields, tangent))

    let private freed (make: unit -> Dual) =
        use scope = torch.NewDisposeScope()
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

    let private simulated (network: SummaryNetwork) simulator derivatives (theta: Tensor) seed chunk =
        { Limits = None
          Draw =
            fun purpose first n withDerivatives ->
                let seed = NoiseKey.SeedFor(seed, purpose)

                plan chunk n withDerivatives
                |> Array.map (fun struct (start, length, differentiate) ->
                    freed (fun () ->
                        let keys = NoiseKey.Range(seed, first + uint64 start, length)

                        if differentiate then
                            let struct (d, t) = Simulator.withDerivatives simulator derivatives theta keys
                            dual network d (Some t)
                        else
                            dual network (Simulator.fields simulator theta keys) None)) }

    let private stored
        (network: SummaryNetwork)
        simulator
        (training: StoredSimulations)
        (heldOut: StoredSimulations)
        seed
        chunk
        =
        let check name (set: StoredSimulations) =
            Guard.Finite(name, Guard.Batched(name, set.Fields, simulator.FieldShape))
            |> ignore

            let p = int64 simulator.Parameters.Length

            Guard.Batched($"derivatives of {name}", set.FieldDerivatives, Array.append [| p |] simulator.FieldShape)
            |> ignore

            Guard.Finite($"derivatives of {name}", set.FieldDerivatives) |> ignore

        check "stored simulations" training
        check "stored simulations held out" heldOut
        let count (set: StoredSimulations) = int set.Fields.shape[0]

        { Limits = Some(count training, count heldOut)
          Draw =
            fun purpose first n withDerivatives ->
                let set, indices =
                    if purpose = "training" then
                        // a fresh subset a step, of simulations and of derivatives alike, addressed by the step's first index
                        let random = System.Random(NoiseKey.IntSeedFor(seed, $"subset {first}"))
                        let all = [| 0 .. count training - 1 |]
                        random.Shuffle all
                        training, Array.truncate n all
                    else
                        heldOut, Array.init (min n (count heldOut - int first)) (fun i -> i + int first)

                // those with derivatives first: there may be fewer derivatives than fields
                let derivatives, bare =
                    indices |> Array.partition (fun i -> i < int set.FieldDerivatives.shape[0])

                let pairs = Array.append derivatives bare

                plan chunk pairs.Length (min withDerivatives derivatives.Length)
                |> Array.map (fun struct (start, length, differentiate) ->
                    freed (fun () ->
                        let rows = torch.tensor (pairs[start .. start + length - 1] |> Array.map int64)
                        let fields = set.Fields.index_select (0L, rows)

                        if differentiate then
                            dual network fields (Some(set.FieldDerivatives.index_select (0L, rows)))
                        else
                            dual network fields None)) }

    /// The source of simulations that the settings ask for.
    let source network settings simulator (fiducial: float[]) =
        let theta = Tensors.ofVector fiducial |> Tensors.keep

        match settings.Derivatives with
        | Precomputed(training, heldOut) -> stored network simulator training heldOut settings.Seed settings.Chunk
        | other -> simulated network simulator other theta settings.Seed settings.Chunk

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

        struct (x, torch.cat (dx, 0L))

    /// Features x (n, s) and dx (m, p, s) of chunks, in the graph.
    let features (network: SummaryNetwork) parameters (chunks: Dual[]) =
        chunks |> Array.map network.Evaluate |> assemble network parameters

    /// As features, a chunk at a time, without a graph and freeing what each made.
    let evaluate (network: SummaryNetwork) parameters (chunks: Dual[]) =
        Tensors.scoped2 (fun () ->
            use _ = torch.no_grad ()

            chunks
            |> Array.map (fun c -> freed (fun () -> network.Evaluate c))
            |> assemble network parameters)
