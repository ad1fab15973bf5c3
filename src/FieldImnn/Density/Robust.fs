namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open MathNet.Numerics.Statistics

/// Location and scatter that a few wild rows do not move.
module internal Robust =
    /// Rows beyond this part of all are no outliers but the distribution itself: nothing is then left out.
    let private most = 0.05

    /// Squared Mahalanobis distance beyond which a row of k dimensions counts for nothing: no Gaussian row ever lies there.
    let cut (k: int) =
        1.5 * ChiSquared.InvCDF(float k, 0.9999)

    /// Keeps those of the rows that are kept and within, if these are nearly all.
    let private limited (kept: bool[]) (within: int -> bool) =
        let next = Array.mapi (fun i k -> k && within i) kept
        let count = next |> Array.filter id |> Array.length

        if float count < (1.0 - most) * float kept.Length then
            kept
        else
            next

    /// Rows of which no column lies more than 10 robust sds (interquartile range / 1.349) from its median.
    let screen (data: Matrix<float>) =
        let ranges =
            data.EnumerateColumns()
            |> Seq.map (fun column ->
                let values = column.ToArray()
                let sd = ArrayStatistics.InterquartileRangeInplace(Array.copy values) / 1.349
                let middle = ArrayStatistics.MedianInplace values
                // more than half of the values are the same: no scale to judge by
                middle, (if sd > 0.0 then sd else infinity))
            |> Seq.toArray

        limited (Array.create data.RowCount true) (fun i ->
            ranges
            |> Array.mapi (fun j (middle, sd) -> abs (data[i, j] - middle) <= 10.0 * sd)
            |> Array.forall id)

    let select (data: Matrix<float>) (kept: bool[]) =
        let rows =
            [| for i in 0 .. kept.Length - 1 do
                   if kept[i] then
                       i |]

        Matrix<float>.Build.Dense(rows.Length, data.ColumnCount, fun i j -> data[rows[i], j])

    let private factor name (covariance: Matrix<float>) =
        Matrices.inverse name covariance |> ignore // says what is wrong, if anything is
        covariance.Cholesky().Factor

    /// Squared distances of rows (n, k), about zero, under the covariance L Lᵀ.
    let squared (lower: Matrix<float>) (rows: Matrix<float>) =
        let white = rows * lower.Inverse().Transpose()
        Array.init rows.RowCount (fun i -> let row = white.Row i in row.DotProduct row)

    /// Mean, lower Cholesky factor of the covariance, and the rows they come from: those kept and not far.
    let scatter name (data: Matrix<float>) (kept: bool[]) =
        let moments kept =
            let own = select data kept
            let mean = own.ColumnSums() / float own.RowCount
            let centred = own.MapIndexed(fun _ j v -> v - mean[j])
            mean, factor name (centred.TransposeThisAndMultiply centred / float (own.RowCount - 1))

        let rec refine left kept =
            let mean, lower = moments kept
            let distances = squared lower (data.MapIndexed(fun _ j v -> v - mean[j]))
            let next = limited kept (fun i -> distances[i] <= cut data.ColumnCount)

            if left = 0 || next = kept then
                mean, lower, kept
            else
                refine (left - 1) next

        refine 4 kept

    /// Least squares of the target (n, d) on a design (n, f) whose first column is one: coefficients (f, d), the residuals' lower Cholesky
    /// factor, and the rows these come from.
    let regress name (design: Matrix<float>) (target: Matrix<float>) (kept: bool[]) =
        let fit kept =
            let a, y = select design kept, select target kept
            let coefficients = a.QR().Solve y
            let residual = y - a * coefficients
            let freedom = max 1 (a.RowCount - a.ColumnCount)
            coefficients, factor name (residual.TransposeThisAndMultiply residual / float freedom)

        let rec refine left kept =
            let coefficients, lower = fit kept
            let distances = squared lower (target - design * coefficients)
            let next = limited kept (fun i -> distances[i] <= cut target.ColumnCount)

            if left = 0 || next = kept then
                coefficients, lower, kept
            else
                refine (left - 1) next

        refine 4 kept

/// Which columns of data carry something of their own, and how the others follow from them: a row is Offset + (kept columns)·Map.
type Columns =
    {
        /// Columns that are kept, rising.
        Kept: int[]
        /// (all columns).
        Offset: Vector<float>
        /// (kept columns, all columns); the identity on the kept ones.
        Map: Matrix<float>
        /// The rms by which the rows depart from Offset + kept·Map, (all columns).
        Departure: Vector<float>
    }

/// Choosing columns of data by their rank.
module Columns =
    /// Rows of data about their mean, with the mean and the spread of every column.
    type private Centred =
        { Data: Matrix<float>
          Mean: Vector<float>
          Away: Matrix<float>
          Sd: Vector<float> }

    let private rms (v: Vector<float>) = v.L2Norm() / sqrt (float v.Count)

    let private centred (data: Matrix<float>) =
        let mean = data.ColumnSums() / float data.RowCount
        let away = data.MapIndexed(fun _ j v -> v - mean[j])

        { Data = data
          Mean = mean
          Away = away
          Sd = Vector<float>.Build.Dense(data.ColumnCount, fun j -> rms (away.Column j)) }

    /// A column's spread is not lost in rounding.
    let private varies rows j =
        rows.Sd[j] > 1e-12 * abs rows.Mean[j] && rows.Sd[j] > 0.0

    /// Columns that carry something of their own: modified Gram–Schmidt, in the given order: of two equal columns the first stays.
    let private independent rows =
        let n = rows.Data.RowCount
        let basis = ResizeArray<Vector<float>>()
        let kept = ResizeArray<int>()

        for j in 0 .. rows.Data.ColumnCount - 1 do
            if varies rows j then
                let scaled = rows.Away.Column(j) / (rows.Sd[j] * sqrt (float n))
                let mutable left = scaled

                for b in basis do
                    left <- left - b * b.DotProduct left

                let norm = left.L2Norm()

                if norm > 1e-5 then
                    basis.Add(left / norm)
                    kept.Add j

        kept.ToArray()

    /// How all columns follow from the kept ones, by least squares: (kept, all).
    let private following rows (kept: int[]) =
        let map = Matrix<float>.Build.Dense(kept.Length, rows.Data.ColumnCount)

        if kept.Length > 0 then
            let own =
                Matrix<float>.Build.DenseOfColumnVectors(kept |> Array.map (fun k -> rows.Away.Column(k) / rows.Sd[k]))

            let qr = own.QR()

            for j in 0 .. rows.Data.ColumnCount - 1 do
                match Array.IndexOf(kept, j) with
                | -1 when varies rows j ->
                    let slope = qr.Solve(rows.Away.Column j)
                    map.SetColumn(j, Vector<float>.Build.Dense(kept.Length, fun i -> slope[i] / rows.Sd[kept[i]]))
                | -1 -> ()
                | i -> map[i, j] <- 1.0

        map

    /// The columns of which some follow from others.
    let private dependent rows (kept: int[]) =
        let d = rows.Data.ColumnCount
        let map = following rows kept

        let keptMean = Vector<float>.Build.Dense(kept.Length, fun i -> rows.Mean[kept[i]])

        let offset = rows.Mean - keptMean * map

        let fitted =
            Matrix<float>.Build.Dense(rows.Data.RowCount, kept.Length, fun i k -> rows.Data[i, kept[k]])
            * map

        let away = rows.Data - fitted.MapIndexed(fun _ j v -> v + offset[j])

        { Kept = kept
          Offset = offset
          Map = map
          Departure = Vector<float>.Build.Dense(d, fun j -> rms (away.Column j)) }

    /// Of rows (n, d), wild ones apart: a column is dropped where its spread is lost in rounding (10⁻¹² of its size), or where what the columns before it
    /// leave of its variance is below 10⁻¹⁰, the rounding of single precision.
    let choose (rows: float[][]) : Columns =
        let all = Matrix<float>.Build.DenseOfRowArrays rows
        // beside a wild row all columns look alike
        let rows = centred (Robust.select all (Robust.screen all))
        let d = rows.Data.ColumnCount
        let kept = independent rows

        if kept.Length = d then
            { Kept = kept
              Offset = Vector<float>.Build.Dense d
              Map = Matrix<float>.Build.DenseIdentity d
              Departure = Vector<float>.Build.Dense d }
        else
            dependent rows kept

    /// Columns that are not kept.
    let dropped columns =
        [ for j in 0 .. columns.Offset.Count - 1 do
              if not (Array.contains j columns.Kept) then
                  j ]

    /// Whether a row breaks what all rows that the columns were chosen by obey.
    let breaks columns (row: float[]) =
        let own =
            Vector<float>.Build.Dense(columns.Kept.Length, fun i -> row[columns.Kept[i]])

        let expected = columns.Offset + own * columns.Map

        dropped columns
        |> List.exists (fun j ->
            abs (row[j] - expected[j]) > 10.0 * columns.Departure[j] + 1e-4 * (abs expected[j] + 1e-30))
