namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The linear maps that make data easy for a network: the condition c to zero mean and unit covariance, and x to its residual about the
/// linear regression on c, of zero mean and unit covariance. Where x given c is Gaussian with a linear mean, nothing is left to learn.
type Whitening =
    {
        ConditionMean: Vector<float>
        /// The condition is (c − mean)·ConditionMap, row vectors.
        ConditionMap: Matrix<float>
        /// Row 0 is the offset, the rows below the slopes of x in the whitened condition.
        Regression: Matrix<float>
        /// The residual's lower Cholesky factor L: x = regression + e Lᵀ.
        Residual: Matrix<float>
    }

/// Fitting and applying the maps.
module Whitening =
    let private factor name (covariance: Matrix<float>) =
        Matrices.inverse name covariance |> ignore // says what is wrong, if anything is
        covariance.Cholesky().Factor

    let private withOne (rows: Matrix<float>) =
        rows.InsertColumn(0, Vector<float>.Build.Dense(rows.RowCount, 1.0))

    /// From rows of x (n, d) and conditions (n, c).
    let fit (x: float[][]) (condition: float[][]) =
        let n, c = condition.Length, condition[0].Length

        if x.Length <> n then
            raise (ShapeException("conditions", $"{x.Length} rows, one for each x", $"{n}"))

        Guard.AtLeast("simulations to learn from", int64 (2 * (c + x[0].Length + 2)), int64 n)
        |> ignore

        if Array.concat x |> Array.exists (Double.IsFinite >> not) then
            raise (NonFiniteException("simulations to learn from", "finite numbers", "NaN or infinite ones"))

        let conditions = Matrix<float>.Build.DenseOfRowArrays condition
        let mean = conditions.ColumnSums() / float n
        let centred = conditions.MapIndexed(fun _ j v -> v - mean[j])
        let covariance = centred.TransposeThisAndMultiply centred / float (n - 1)
        let map = (factor "covariance of the conditions" covariance).Inverse().Transpose()
        let design = withOne (centred * map)
        let target = Matrix<float>.Build.DenseOfRowArrays x

        let regression =
            (design.TransposeThisAndMultiply design).Cholesky().Solve(design.TransposeThisAndMultiply target)

        let residual = target - design * regression
        let spread = residual.TransposeThisAndMultiply residual / float (n - c - 1)

        { ConditionMean = mean
          ConditionMap = map
          Regression = regression
          Residual = factor "covariance of x about its regression on the condition" spread }

    /// Whitened conditions (n, c) of conditions (n, c), float64.
    let condition whitening (condition: Tensor) : Tensor =
        (condition - Tensors.ofVector (whitening.ConditionMean.ToArray()))
            .matmul(Tensors.ofMatrix whitening.ConditionMap)

    let private mean whitening (whitened: Tensor) : Tensor =
        let slope = Tensors.ofMatrix whitening.Regression

        whitened.matmul (slope.narrow (0L, 1L, slope.shape[0] - 1L))
        + slope.narrow (0L, 0L, 1L)

    /// Residuals (n, d) of x (n, d) under whitened conditions, float64.
    let residual whitening (x: Tensor) (whitened: Tensor) : Tensor =
        (x - mean whitening whitened).matmul(Tensors.ofMatrix (whitening.Residual.Inverse().Transpose()))

    /// x of residuals: the inverse.
    let restore whitening (residual: Tensor) (whitened: Tensor) : Tensor =
        mean whitening whitened
        + residual.matmul (Tensors.ofMatrix (whitening.Residual.Transpose()))

    /// ln |∂x/∂residual|.
    let logDeterminant whitening =
        whitening.Residual.Diagonal() |> Seq.sumBy log
