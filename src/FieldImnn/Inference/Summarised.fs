namespace FieldImnn

open System
open FieldImnn.Core
open TorchSharp

/// Inference from summaries that are kept in place of fields: a simulator and a compression as one simulator, whose field is the summaries.
module Summarised =
    /// Numbers of the estimates, with how far a field is from those at the fiducial, where that is told.
    let private estimates (compression: Compression) =
        compression.Parameters.Length + (if compression.Unlike.IsSome then 1 else 0)

    let private ofField compression (field: Tensor) =
        Tensors.using (fun () -> (Compression.known compression (field.unsqueeze 0L))[0])

    /// Numbers of what is known of a field: of a simulated one, where the compression does not say it.
    let private width (compression: Compression) simulator =
        match compression.Further with
        | None -> estimates compression
        | Some _ -> (Simulator.field simulator compression.Fiducial 1UL |> ofField compression).Length

    /// The simulator of the summaries of a simulator's fields: θ → noise → (n, summaries), float64. Each field is compressed by itself: in a batch
    /// the last bits of single precision would depend on what else is in it. What is not finite, or is refused by the features, is NaN where failed
    /// simulations are left out.
    let simulator (compression: Compression) (simulator: Simulator) : Simulator =
        let compress = Compression.known compression
        let width = width compression simulator
        let skips = (simulator.Failures <> StopAtFailure)

        let each (fields: Tensor) (finite: bool[]) i =
            try
                if finite[i] then
                    Tensors.using (fun () -> (Tensors.rows [| i |] fields |> compress)[0])
                else
                    Array.create width nan
            with
            | :? NonFiniteException
            | :? RangeException when skips -> Array.create width nan

        let field (theta: Tensor) (noise: Tensor) =
            Tensors.scoped (fun () ->
                let fields = simulator.Field theta noise
                let finite = Tensors.finiteRows fields

                (Array.init finite.Length (each fields finite) |> Tensors.ofRows).``to`` noise.device)

        { simulator with
            Name = $"summaries of {simulator.Name}"
            FieldShape = [| int64 width |]
            Channels = 1
            Field = field
            Tangents = None }

    /// A method that sees nothing of fields but their summaries, which `store` may take from somewhere (Campaign.join, Campaign.simulator), or the simulator
    /// itself makes.
    let method (store: Simulator -> Simulator) (inner: Method) : Method =
        fun model compression fields ->
            let summaries = simulator compression model.Simulator |> store
            let p, known = compression.Parameters.Length, estimates compression

            let parts (rows: Tensor) first length =
                Tensors.using (fun () -> rows.narrow (1L, int64 (first: int), int64 (length: int)) |> Tensors.toRows)

            let already =
                { compression with
                    Estimates = fun rows -> parts rows 0 p
                    Unlike =
                        compression.Unlike
                        |> Option.map (fun unlike ->
                            { unlike with
                                Measured = fun rows -> parts rows 0 known })
                    Further =
                        compression.Further
                        |> Option.map (fun _ ->
                            fun (rows: Tensor) -> rows.narrow (1L, int64 known, rows.shape[1] - int64 known)) }

            let observed = fields |> List.map (ofField compression >> Tensors.ofVector)

            inner { model with Simulator = summaries } already observed
