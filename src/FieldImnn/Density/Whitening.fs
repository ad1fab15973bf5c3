namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

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
        /// Where the width changes with the condition: the coefficients of ln s of every column, on the products up to degree 2, within the range.
        Scale: Matrix<float> option
        /// The scaled residual's lower Cholesky factor L: x = regression + s·(e Lᵀ).
        Residual: Matrix<float>
    }

/// Fitting and applying the maps.
module Whitening =
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

    /// The ways to whiten the conditions that there are: as they come, and through warps where every column has one.
    let private ways (raw: Matrix<float>) screened =
        let warps =
            raw.EnumerateColumns()
            |> Seq.map (fun v -> Warp.fit (v.ToArray()))
            |> Seq.toArray

        [ None
          if warps |> Array.forall Option.isSome then
              Some(warps |> Array.map Option.get) ]
        |> List.map (way raw screened)

    /// A regression that may be fitted: behind a way, of a degree, with widths that change with the condition or do not; and its design.
    type private Candidate =
        { Way: Way
          OfDegree: int
          Changing: bool
          Rows: Matrix<float> }

    /// The regressions for which n rows are enough, the simplest first.
    let private candidates n (ways: Way list) =
        let c = ways.Head.Whitened.ColumnCount

        let enough degree =
            n >= 10 * (1 + c + (PolynomialRegression.products degree c).Length)

        [ for degree in 1..3 do
              if degree = 1 || enough degree then
                  for way in ways do
                      let rows = PolynomialRegression.design degree way.Range way.Whitened

                      for changing in [ false; true ] do
                          if not changing || (n >= PolynomialRegression.rowsForWidth && enough 2) then
                              { Way = way
                                OfDegree = degree
                                Changing = changing
                                Rows = rows } ]

    /// What widths depend on, behind a way; within the range only: a width must not be extrapolated.
    let private widths (way: Way) =
        way.Whitened.MapIndexed(fun _ j v -> PolynomialRegression.clamped way.Range j v)
        |> PolynomialRegression.design 2 way.Range

    /// The best of the regressions on rows that were not fitted; what is less simple must be worth it.
    let private simplest (target: Matrix<float>) several =
        let value candidate =
            PolynomialRegression.crossValidated
                candidate.Changing
                candidate.Rows
                (widths candidate.Way)
                target
                candidate.Way.Kept

        match several with
        | [ only ] -> only
        | several ->
            several
            |> List.map (fun candidate -> value candidate, candidate)
            |> List.reduce (fun (best, chosen) (value, other) ->
                if value < best - 0.02 * float target.ColumnCount then
                    value, other
                else
                    best, chosen)
            |> snd

    /// From rows of x (n, d) and conditions (n, c).
    let fit (x: float[][]) (condition: float[][]) =
        check x condition
        let targets, conditions = columns "x" x, columns "conditions" condition
        let target, raw = keep targets x, keep conditions condition
        let screened = Array.map2 (&&) (Robust.screen raw) (Robust.screen target)
        let chosen = ways raw screened |> candidates x.Length |> simplest target
        let way = chosen.Way

        let found =
            PolynomialRegression.regress chosen.Changing chosen.Rows (widths way) target way.Kept

        { Target = targets
          Condition = conditions
          Warps = way.Through
          ConditionMean = way.Mean
          ConditionMap = way.Map
          Range = way.Range
          Degree = chosen.OfDegree
          Regression = found.Mean
          Scale = found.LogScale
          Residual = found.Lower }

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

    /// 1 and c, as they are, and products within the range, times coefficients (1 + c + products, d).
    let private evaluate degree (c: Tensor) (inside: Tensor) (coefficients: Matrix<float>) : Tensor =
        let slope = Tensors.ofMatrix coefficients
        let columns = inside.unbind 1L

        let terms =
            PolynomialRegression.products degree (int c.shape[1])
            |> List.map (List.map (fun k -> columns[k]) >> List.reduce (fun a b -> a * b))

        let all =
            if terms.IsEmpty then
                c
            else
                torch.cat ([| c; torch.stack (Array.ofList terms, 1L) |], 1L)

        all.matmul (slope.narrow (0L, 1L, slope.shape[0] - 1L))
        + slope.narrow (0L, 0L, 1L)

    let private mean whitening (whitened: Tensor) : Tensor =
        evaluate whitening.Degree whitened (within whitening whitened) whitening.Regression

    /// ln s (n, kept) of whitened conditions.
    let private logScale whitening (whitened: Tensor) : Tensor option =
        whitening.Scale
        |> Option.map (fun coefficients ->
            let inside = within whitening whitened
            evaluate 2 inside inside coefficients)

    /// Residuals (n, kept) of x (n, d) under whitened conditions, float64.
    let residual whitening (x: Tensor) (whitened: Tensor) : Tensor =
        let away = choose whitening.Target x - mean whitening whitened

        let scaled =
            match logScale whitening whitened with
            | Some logs -> away * logs.neg().exp()
            | None -> away

        scaled.matmul (Tensors.ofMatrix (whitening.Residual.Inverse().Transpose()))

    /// x of residuals: the inverse; columns that are not learned follow from the others.
    let restore whitening (residual: Tensor) (whitened: Tensor) : Tensor =
        let scaled = residual.matmul (Tensors.ofMatrix (whitening.Residual.Transpose()))

        let own =
            match logScale whitening whitened with
            | Some logs -> mean whitening whitened + scaled * logs.exp ()
            | None -> mean whitening whitened + scaled

        if whitening.Target.Kept.Length = whitening.Target.Offset.Count then
            own
        else
            own.matmul (Tensors.ofMatrix whitening.Target.Map)
            + Tensors.ofVector (whitening.Target.Offset.ToArray())

    /// The part of ln |∂x/∂residual| that does not depend on the condition, on the columns that are learned.
    let logDeterminant whitening =
        whitening.Residual.Diagonal() |> Seq.sumBy log

    /// ln |∂x/∂residual| (n) under whitened conditions (n, c), on the columns that are learned.
    let logVolume whitening (whitened: Tensor) : Tensor =
        match logScale whitening whitened with
        | Some logs -> logs.sum 1L + (logDeterminant whitening).ToScalar()
        | None -> torch.full ([| whitened.shape[0] |], (logDeterminant whitening).ToScalar(), dtype = torch.float64)
