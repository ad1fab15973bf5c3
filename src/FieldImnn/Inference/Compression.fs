namespace FieldImnn

open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

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
        /// Further summaries to compare beside the estimates, fields (n, shape…) → (n, k), where there are any.
        Further: (Tensor -> Tensor) option
        /// Hard edges of the summaries, counted over all of them, the estimates first.
        Edges: SummaryEdge list
    }

/// Summaries of fields, and their distance.
module Compression =
    /// What is compared, fields (n, shape…) → rows: the estimates, then the further summaries.
    let summaries compression (fields: Tensor) : float[][] =
        let estimates = compression.Estimates fields

        match compression.Further with
        | None -> estimates
        | Some further -> Tensors.using (fun () -> Array.map2 Array.append estimates (Tensors.toRows (further fields)))

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
