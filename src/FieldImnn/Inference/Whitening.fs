namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.Distributions
open MathNet.Numerics.Interpolation
open MathNet.Numerics.LinearAlgebra
open MathNet.Numerics.Statistics
open TorchSharp

/// A smooth rising map of one number that makes the values it was fitted to normal: monotone cubics through quantiles, straight beyond.
type Warp =
    { Knots: float[]
      Spline: IInterpolation }

/// Fitting and applying such maps.
module internal Warp =
    // denser to the middle; the outermost are known from few values
    let private levels =
        [| 0.003; 0.02; 0.06; 0.15; 0.3; 0.5; 0.7; 0.85; 0.94; 0.98; 0.997 |]

    /// From values, if enough of them differ.
    let fit (values: float[]) =
        let sorted = Array.sort values

        let knots =
            levels
            |> Array.map (fun p -> ArrayStatistics.QuantileInplace(sorted, p), Normal.InvCDF(0.0, 1.0, p))
            |> Array.distinctBy fst

        if values.Length < 200 || knots.Length < levels.Length then
            None
        else
            let x, y = Array.unzip knots

            Some
                { Knots = x
                  Spline = CubicSpline.InterpolatePchipSorted(x, y) }

    /// The value's place.
    let apply warp v =
        let lo, hi = Array.head warp.Knots, Array.last warp.Knots

        // the slope at an end of a monotone cubic may be zero: beyond, the mean slope of the last piece holds
        let beyond first second edge =
            warp.Spline.Interpolate edge
            + (v - edge) * (warp.Spline.Interpolate second - warp.Spline.Interpolate first)
              / (second - first)

        if v < lo then
            beyond lo warp.Knots[1] lo
        elif v > hi then
            beyond warp.Knots[warp.Knots.Length - 2] hi hi
        else
            warp.Spline.Interpolate v

/// The maps that make data easy for a network: the condition c to zero mean and unit covariance, and x to its residual about a
/// polynomial regression on c, of zero mean and unit covariance. Where x given c is Gaussian with such a mean, nothing is left to learn.
/// All are fitted robustly: rows that lie far from nearly all others have no say.
type Whitening =
    {
        /// The columns of x that are learned; the others follow from them.
        Target: Columns
        /// The columns of the condition that are used.
        Condition: Columns
        /// What each of these goes through first, if anything.
        Warps: Warp[] option
        ConditionMean: Vector<float>
        /// The condition is (c − mean)·ConditionMap, row vectors of the kept columns.
        ConditionMap: Matrix<float>
        /// The range of the whitened condition, (2, c): beyond it nothing was seen, and everything but the linear trend stays as it is there.
        Range: Matrix<float>
        /// Of the polynomial: 1, 2 or 3, as cross-validation wants it.
        Degree: int
        /// Row 0 is the offset, the rows below the coefficients of the whitened condition and of its products.
        Regression: Matrix<float>
        /// The residual's lower Cholesky factor L: x = regression + e Lᵀ.
        Residual: Matrix<float>
    }

/// Fitting and applying the maps.
module Whitening =
    /// Products of two and more of c columns, up to the degree: their columns, rising.
    let private products degree c =
        let rec grow (last: int list list) d =
            if d > degree then
                []
            else
                let next =
                    [ for p in last do
                          for j in List.head p .. c - 1 -> j :: p ]

                next @ grow next (d + 1)

        grow [ for j in 0 .. c - 1 -> [ j ] ] 2

    let private clamped (range: Matrix<float>) j v = Math.Clamp(v, range[0, j], range[1, j])

    /// 1, c, products of c: rows (n, 1 + c + products); the products within the range only.
    let private design degree (range: Matrix<float>) (whitened: Matrix<float>) =
        let c = whitened.ColumnCount
        let terms = products degree c |> Array.ofList

        Matrix<float>
            .Build.Dense(
                whitened.RowCount,
                1 + c + terms.Length,
                fun i j ->
                    if j = 0 then
                        1.0
                    elif j <= c then
                        whitened[i, j - 1]
                    else
                        terms[j - 1 - c]
                        |> List.fold (fun product k -> product * clamped range k whitened[i, k]) 1.0
            )

    /// ln det of the residuals' covariance on rows that were not fitted, by two folds of interleaved rows.
    let private crossValidated (design: Matrix<float>) (target: Matrix<float>) (kept: bool[]) =
        let name = "covariance of x about its regression on the condition"

        [ 0; 1 ]
        |> List.averageBy (fun fold ->
            let fitted = kept |> Array.mapi (fun i k -> k && (i / 2) % 2 = fold)
            let other = kept |> Array.mapi (fun i k -> k && (i / 2) % 2 <> fold)
            let coefficients, _, _ = Robust.regress name design target fitted
            let residual = target - design * coefficients
            let _, lower, _ = Robust.scatter name residual other
            2.0 * (lower.Diagonal() |> Seq.sumBy log))

    let private check (x: float[][]) (condition: float[][]) =
        let n, c = condition.Length, condition[0].Length

        if x.Length <> n then
            raise (ShapeException("conditions", $"{x.Length} rows, one for each x", $"{n}"))

        Guard.AtLeast("simulations to learn from", int64 (2 * (c + x[0].Length + 2)), int64 n)
        |> ignore

        for (name: string), (rows: float[][]) in [ "x", x; "condition", condition ] do
            for i in 0 .. n - 1 do
                match rows[i] |> Array.tryFindIndex (Double.IsFinite >> not) with
                | Some k ->
                    raise (
                        NonFiniteException(
                            "simulations to learn from",
                            "finite numbers",
                            $"{rows[i].[k]} in number {k + 1} of {name} {i}"
                        )
                    )
                | None -> ()

    let private columns name (rows: float[][]) =
        let chosen = Columns.choose rows

        if chosen.Kept.Length = 0 then
            raise (SingularMatrixException($"covariance of the {name}", "one at least that varies", "all constant"))

        chosen

    let private keep (columns: Columns) (rows: float[][]) =
        Matrix<float>.Build.Dense(rows.Length, columns.Kept.Length, fun i k -> rows[i][columns.Kept[k]])

    let private warped (warps: Warp[] option) (columns: Matrix<float>) =
        match warps with
        | None -> columns
        | Some warps -> columns.MapIndexed(fun _ j v -> Warp.apply warps[j] v)

    /// A way to whiten the condition, before the regression on it.
    type private Way =
        { Through: Warp[] option
          Mean: Vector<float>
          Map: Matrix<float>
          Range: Matrix<float>
          Whitened: Matrix<float>
          Kept: bool[] }

    let private way (raw: Matrix<float>) screened warps =
        let columns = warped warps raw

        let mean, lower, kept =
            Robust.scatter "covariance of the conditions" columns screened

        let map = lower.Inverse().Transpose()
        let whitened = columns.MapIndexed(fun _ j v -> v - mean[j]) * map

        let range j =
            let seen =
                [| for i in 0 .. kept.Length - 1 do
                       if kept[i] then
                           whitened[i, j] |]

            [| Array.min seen; Array.max seen |]

        { Through = warps
          Mean = mean
          Map = map
          Range = Matrix<float>.Build.DenseOfColumnArrays(Array.init map.ColumnCount range)
          Whitened = whitened
          Kept = kept }

    /// From rows of x (n, d) and conditions (n, c).
    let fit (x: float[][]) (condition: float[][]) =
        check x condition
        let targets, conditions = columns "x" x, columns "conditions" condition
        let target, raw = keep targets x, keep conditions condition
        let screened = Array.map2 (&&) (Robust.screen raw) (Robust.screen target)
        let c, n = raw.ColumnCount, x.Length

        let warps =
            raw.EnumerateColumns()
            |> Seq.map (fun v -> Warp.fit (v.ToArray()))
            |> Seq.toArray

        let ways =
            [ None
              if warps |> Array.forall Option.isSome then
                  Some(warps |> Array.map Option.get) ]
            |> List.map (way raw screened)

        let possible =
            [ for degree in 1..3 do
                  if degree = 1 || n >= 10 * (1 + c + (products degree c).Length) then
                      for way in ways -> way, degree, design degree way.Range way.Whitened ]

        let way, degree, rows =
            match possible with
            | [ only ] -> only
            | several ->
                several
                |> List.map (fun (way, degree, rows) -> crossValidated rows target way.Kept, (way, degree, rows))
                // what is less simple must be worth it
                |> List.reduce (fun (best, chosen) (value, other) ->
                    if value < best - 0.02 * float target.ColumnCount then
                        value, other
                    else
                        best, chosen)
                |> snd

        let regression, residual, _ =
            Robust.regress "covariance of x about its regression on the condition" rows target way.Kept

        { Target = targets
          Condition = conditions
          Warps = way.Through
          ConditionMean = way.Mean
          ConditionMap = way.Map
          Range = way.Range
          Degree = degree
          Regression = regression
          Residual = residual }

    let private choose (columns: Columns) (rows: Tensor) =
        if columns.Kept.Length = columns.Offset.Count then
            rows
        else
            rows.index_select (1L, torch.tensor (columns.Kept |> Array.map int64))

    /// Whitened conditions (n, kept) of conditions (n, c), float64.
    let condition whitening (condition: Tensor) : Tensor =
        let columns = choose whitening.Condition condition

        let columns =
            match whitening.Warps with
            | None -> columns
            | Some warps ->
                Tensors.toArray columns
                |> Array.mapi (fun i v -> Warp.apply warps[i % warps.Length] v)
                |> Tensors.ofVector
                |> _.view(columns.shape)

        (columns - Tensors.ofVector (whitening.ConditionMean.ToArray())).matmul(Tensors.ofMatrix whitening.ConditionMap)

    /// Whitened conditions within the range that was seen: what a network may be asked about.
    let within (whitening: Whitening) (whitened: Tensor) : Tensor =
        let range = Tensors.ofMatrix whitening.Range
        torch.minimum (torch.maximum (whitened, range[0L]), range[1L])

    let private mean whitening (whitened: Tensor) : Tensor =
        let slope = Tensors.ofMatrix whitening.Regression
        let c = whitened.shape[1]
        let inside = (within whitening whitened).unbind 1L

        let terms =
            products whitening.Degree (int c)
            |> List.map (List.map (fun k -> inside[k]) >> List.reduce (fun a b -> a * b))

        let all =
            if terms.IsEmpty then
                whitened
            else
                torch.cat ([| whitened; torch.stack (Array.ofList terms, 1L) |], 1L)

        all.matmul (slope.narrow (0L, 1L, slope.shape[0] - 1L))
        + slope.narrow (0L, 0L, 1L)

    /// Residuals (n, kept) of x (n, d) under whitened conditions, float64.
    let residual whitening (x: Tensor) (whitened: Tensor) : Tensor =
        (choose whitening.Target x - mean whitening whitened)
            .matmul(Tensors.ofMatrix (whitening.Residual.Inverse().Transpose()))

    /// x of residuals: the inverse; columns that are not learned follow from the others.
    let restore whitening (residual: Tensor) (whitened: Tensor) : Tensor =
        let own =
            mean whitening whitened
            + residual.matmul (Tensors.ofMatrix (whitening.Residual.Transpose()))

        if whitening.Target.Kept.Length = whitening.Target.Offset.Count then
            own
        else
            own.matmul (Tensors.ofMatrix whitening.Target.Map)
            + Tensors.ofVector (whitening.Target.Offset.ToArray())

    /// ln |∂x/∂residual|, on the columns that are learned.
    let logDeterminant whitening =
        whitening.Residual.Diagonal() |> Seq.sumBy log
