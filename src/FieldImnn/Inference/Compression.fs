namespace FieldImnn

open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// How fields that are nothing like those where a compressor was trained are told from others.
type Unlike =
    {
        /// Fields (n, shape…) → rows of θ̂ (p) and, last, how far the field lies beyond what looks like the fiducial's: > 0 for one that is nothing
        /// like those.
        Measured: Tensor -> float[][]
        /// Whether inference keeps such fields apart: as long as no observed field is one of them.
        KeptApart: bool
    }

/// What inference knows of a compressor: how fields become numbers, and how much these say where it was trained.
type Compression =
    {
        /// Names of the parameters.
        Parameters: string[]
        /// Where it was trained.
        Fiducial: float[]
        /// F of the estimates there, (p, p).
        Information: Matrix<float>
        /// Fields (n, shape…) → rows of θ̂ (p).
        Estimates: Tensor -> float[][]
        /// An estimate is linear in the features: of a field that is nothing like those at the fiducial it can be anything, the observed field's as
        /// well, and a posterior has a second peak then where no such field ever was. None where such fields are not told.
        Unlike: Unlike option
        /// Further summaries to compare beside the estimates, fields (n, shape…) → (n, k), where there are any.
        Further: (Tensor -> Tensor) option
        /// Hard edges of the summaries, counted over all of them, the estimates first.
        Edges: SummaryEdge list
    }

/// Summaries of fields, and their distance.
module Compression =
    /// How many standard errors an estimate is moved away at the most.
    let private apart = 30.0

    /// The estimate of a measured row: where its field is nothing like the fiducial's, moved away from the fiducial, along the way that it is from
    /// there.
    let private moved compression (row: float[]) =
        let p = compression.Fiducial.Length
        let estimate, beyond = Array.truncate p row, row[p]

        let errors =
            sqrt (Matrices.squaredDistance compression.Information estimate compression.Fiducial)

        if beyond > 0.0 && errors > 0.0 then
            let farther = 1.0 + apart * (1.0 - exp -beyond) / errors
            Array.map2 (fun fiducial own -> fiducial + farther * (own - fiducial)) compression.Fiducial estimate
        else
            estimate

    let private append further (estimates: float[][]) (fields: Tensor) =
        match further with
        | None -> estimates
        | Some further -> Tensors.using (fun () -> Array.map2 Array.append estimates (Tensors.toRows (further fields)))

    /// All that is known of fields (n, shape…), rows: the estimates, how far the fields are from those at the fiducial, where that is told, and the
    /// further summaries.
    let internal known compression (fields: Tensor) : float[][] =
        let rows =
            match compression.Unlike with
            | Some unlike -> unlike.Measured fields
            | None -> compression.Estimates fields

        append compression.Further rows fields

    /// How far a field (shape…) lies beyond what looks like the fiducial's; −∞ where that is not told.
    let internal beyond compression (field: Tensor) =
        match compression.Unlike with
        | None -> -infinity
        | Some unlike -> Tensors.using (fun () -> (unlike.Measured(field.unsqueeze 0L))[0] |> Array.last)

    let private keepingApart kept compression =
        { compression with
            Unlike =
                compression.Unlike
                |> Option.map (fun unlike -> { unlike with KeptApart = kept }) }

    /// The compression for observed fields (shape…): those unlike the fiducial's are kept apart unless one of these is.
    let about (fields: Tensor list) compression =
        keepingApart (fields |> List.forall (fun field -> beyond compression field <= 0.0)) compression

    /// The compression by estimates alone: for densities that are learned, which a ring of moved estimates costs simulations and sharpness.
    let internal alone compression = keepingApart false compression

    /// What is compared, fields (n, shape…) → rows: the estimates, then the further summaries.
    let summaries compression (fields: Tensor) : float[][] =
        let estimates =
            match compression.Unlike with
            | Some { KeptApart = true
                     Measured = measured } -> measured fields |> Array.map (moved compression)
            | _ -> compression.Estimates fields

        append compression.Further estimates fields

    /// The summaries of one field (shape…).
    let ofField compression (field: Tensor) : float[] =
        Tensors.using (fun () -> (summaries compression (field.unsqueeze 0L))[0])

    let private covariance (rows: float[][]) =
        let x = Matrix<float>.Build.DenseOfRowArrays rows
        let mean = x.ColumnSums() / float x.RowCount
        let centred = x.MapIndexed(fun _ j v -> v - mean[j])
        centred.TransposeThisAndMultiply centred / float (x.RowCount - 1)

    /// What the distance of summaries is measured by: F for the estimates alone; for summaries of several kinds the inverse of their
    /// covariance at the fiducial, from 1,000 simulations. A summary that does not change there, or repeats others, compares nothing more.
    let metric (seed: uint64) simulator compression : Matrix<float> =
        match compression.Further with
        | None -> compression.Information
        | Some _ ->
            let keys = NoiseKey.Range(NoiseKey.SeedFor(seed, "abc metric"), 0UL, 1000)

            let covariance =
                Tensors.using (fun () ->
                    Simulator.survivors simulator (Tensors.ofVector compression.Fiducial) keys
                    |> summaries compression)
                |> covariance

            let changing =
                [| for k in 0 .. covariance.RowCount - 1 do
                       if covariance[k, k] <> 0.0 then
                           k |]

            let part =
                Matrix<float>
                    .Build.Dense(changing.Length, changing.Length, (fun i j -> covariance[changing[i], changing[j]]))
                |> Matrices.generalisedInverse "covariance of the summaries"

            let metric = Matrix<float>.Build.Dense(covariance.RowCount, covariance.RowCount)

            part.EnumerateIndexed()
            |> Seq.iter (fun struct (i, j, v) -> metric[changing[i], changing[j]] <- v)

            metric
