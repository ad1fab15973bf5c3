namespace FieldImnn

open System
open FieldImnn.Core.Networks
open TorchSharp

/// Features of simulations that a trained network is measured on.
module internal Measurement =
    /// Simulations that are measured between two reports: 1000 of 128² pixels, fewer of larger fields, which take longer.
    let private atOnce (network: SummaryNetwork) =
        let pixels = Seq.fold (*) 1L network.Description.FieldShape
        int (Math.Clamp((1000L <<< 14) / pixels, 50L, 1000L))

    /// What of the n simulations from `start` is measured next, if m of all are differentiated, spread evenly: so many, and so many of these, the
    /// first, with derivatives.
    let private next network n m start : struct (int * int) =
        let length = min (atOnce network) (n - start)

        let before i =
            int ((int64 m * int64 (i: int) + int64 n - 1L) / int64 n)

        struct (length, before (start + length) - before start)

    /// Runs of simulations (first, count, differentiated) of n that are measured, m of them with derivatives.
    let planned network n m =
        [ let mutable start = 0

          while start < n do
              let struct (length, differentiated) = next network n m start

              if differentiated > 0 then
                  start, differentiated, true

              if length > differentiated then
                  start + differentiated, length - differentiated, false

              start <- start + length ]

    /// Parts that were made in turn, features and derivatives, behind one another.
    let private joined (parts: struct (Tensor * Tensor) seq) : struct (Tensor * Tensor) =
        let parts = Array.ofSeq parts

        struct (torch.cat (parts |> Array.map (fun struct (x, _) -> x), 0L),
                torch.cat (parts |> Array.map (fun struct (_, dx) -> dx), 0L))

    /// The checkpoint of the simulations from `start`.
    let private piece (start: int) (file: CheckpointFile) =
        { file with
            Name = $"{file.Name}-{start}" }

    /// Saves parts that begin with simulation `start`.
    let private save start (file: CheckpointFile) parts =
        use _ = torch.NewDisposeScope()
        let struct (x, dx) = joined parts
        CheckpointFile.write (piece start file) [ "x", Tensors.toNpy x; "dx", Tensors.toNpy dx ]

    /// The parts that were saved, as far as they follow each other from the first simulation, and how many simulations that are.
    let private saved (settings: ImnnSettings) (parameters: int) (network: SummaryNetwork) (file: CheckpointFile) =
        let rec go start parts =
            let file = piece start file

            let tensor shape array =
                CheckpointFile.tensorOf file settings.Device shape array

            let read =
                CheckpointFile.tryRead file (fun array ->
                    let x = array "x" |> tensor [ network.Features ]
                    struct (x, array "dx" |> tensor [ int64 parameters; network.Features ]))

            match read with
            | Some(struct (x, _) as part) when x.shape[0] > 0L -> go (start + int x.shape[0]) (part :: parts)
            | _ -> start, List.rev parts

        go 0 []

    /// Features x (n, s) of n simulations of a part and derivatives dx (m, p, s) of m of them, spread evenly, from those that a checkpoint holds
    /// if there is one; of fewer where somebody stops the work, who does not want to wait for all, but of no fewer than there have to be. With a checkpoint, what there
    /// is is saved then, and OperationCanceledException thrown.
    let run
        (settings: ImnnSettings)
        parameters
        (network: SummaryNetwork)
        draw
        part
        name
        n
        m
        (file: CheckpointFile option)
        =
        let cancellation = settings.Progress.Cancellation
        let least = max 1000 (int network.Features + 3)

        let begun, parts =
            file
            |> Option.map (saved settings parameters network)
            |> Option.defaultValue (0, [])

        let parts = ResizeArray parts
        let written = ref (struct (begun, parts.Count))

        let keep start =
            match file, written.Value with
            | Some file, struct (from, count) when parts.Count > count ->
                save from file (Seq.skip count parts)
                written.Value <- struct (start, parts.Count)
            | _ -> ()

        let mutable start = begun

        try
            while start < n
                  && (not cancellation.IsCancellationRequested || file.IsNone && start < least) do
                Progress.report settings.Progress $"measuring F ({name})" start n [] ""
                let struct (length, differentiated) = next network n m start

                Tensors.scoped2 (fun () ->
                    draw part (uint64 start) length differentiated
                    |> Batch.evaluate network parameters)
                |> parts.Add

                start <- start + length

                if file |> Option.exists CheckpointFile.due then
                    keep start

            if file.IsSome then
                cancellation.ThrowIfCancellationRequested()
        with :? OperationCanceledException ->
            keep start
            reraise ()

        joined parts
