namespace FieldImnn

open FieldImnn.Core

/// One line of a training history. Quantities that were not measured at this iteration are NaN.
type TrainingRecord =
    {
        /// Iterations done.
        Iteration: int
        /// det F of the training batch (biased high: the network was fitted to such batches).
        DetF: float
        /// Λ, the distance of the summaries' covariance from the identity (regularised loss).
        Lambda: float
        /// r, the strength of the regulariser (regularised loss).
        Strength: float
        /// det F of simulations that training never sees.
        HeldOutDetF: float
        /// Seconds since training began.
        Seconds: float
    }

/// Training histories as arrays for files: (n, 6), a row a record.
module internal TrainingHistory =
    let private columns: (TrainingRecord -> float)[] =
        [| (fun r -> float r.Iteration)
           (fun r -> r.DetF)
           (fun r -> r.Lambda)
           (fun r -> r.Strength)
           (fun r -> r.HeldOutDetF)
           (fun r -> r.Seconds) |]

    let toNpy (history: TrainingRecord seq) : NpyArray =
        let rows =
            history |> Seq.map (fun r -> columns |> Array.map (fun column -> column r))

        let rows = Array.ofSeq rows
        Npy.double [| rows.Length; columns.Length |] (Array.concat rows)

    /// The history of an array of a file, which errors call by the name.
    let ofNpy (name: string) (array: NpyArray) : TrainingRecord[] =
        let refuse expected received =
            raise (StoreException(name, expected, received))

        match array.Shape with
        | [| _; width |] when width = columns.Length -> ()
        | other -> refuse $"'history' of shape (n, {columns.Length})" $"shape {NpyHeader.shapeText other}"

        array.Data
        |> Array.chunkBySize columns.Length
        |> Array.map (fun r ->
            if not (r[0] >= 0.0 && r[0] < 2e9) then
                refuse "iterations in 'history'" $"{r[0]}"

            { Iteration = int r[0]
              DetF = r[1]
              Lambda = r[2]
              Strength = r[3]
              HeldOutDetF = r[4]
              Seconds = r[5] })
