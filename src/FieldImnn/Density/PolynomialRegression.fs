namespace FieldImnn

open System
open MathNet.Numerics.LinearAlgebra

/// Robust polynomial regression of some columns on others, whose products count within the range that was seen; the width about it may
/// change, too.
module internal PolynomialRegression =
    /// Products of two and more of c columns, up to the degree: their columns, rising.
    let products degree c =
        let rec grow (last: int list list) d =
            if d > degree then
                []
            else
                let next =
                    [ for p in last do
                          for j in List.head p .. c - 1 -> j :: p ]

                next @ grow next (d + 1)

        grow [ for j in 0 .. c - 1 -> [ j ] ] 2

    let clamped (range: Matrix<float>) j v = Math.Clamp(v, range[0, j], range[1, j])

    /// 1, c, products of c: rows (n, 1 + c + products); the products within the range only.
    let design degree (range: Matrix<float>) (whitened: Matrix<float>) =
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

    let private residuals = "covariance of x about its regression on the condition"

    /// Mean and width as the design says: coefficients of the mean, of ln s if it is to change, and the scaled residuals' factor.
    type Fitted =
        { Mean: Matrix<float>
          LogScale: Matrix<float> option
          Lower: Matrix<float> }

    /// The least number of rows to know by how the width changes.
    let rowsForWidth = 500

    let private logScales (widths: Matrix<float>) (coefficients: Matrix<float>) = widths * coefficients

    /// A robust fit of the mean; with a width that changes, of ln s by regression of ln |residual| and then of the mean with weights 1/s², twice.
    let regress changing (design: Matrix<float>) (widths: Matrix<float>) (target: Matrix<float>) kept =
        let coefficients, lower, kept = Robust.regress residuals design target kept

        if not changing then
            { Mean = coefficients
              LogScale = None
              Lower = lower }
        else
            let rows = Robust.select widths kept

            let scaled (mean: Matrix<float>) =
                let away = target - design * mean
                let logs = (Robust.select away kept).Map(fun v -> log (abs v + 1e-12))
                let gamma = rows.QR().Solve logs
                away, gamma, (logScales widths gamma)

            let reweighted (logs: Matrix<float>) =
                let own, y, l =
                    Robust.select design kept, Robust.select target kept, Robust.select logs kept

                Matrix<float>
                    .Build.DenseOfColumnVectors(
                        [| for k in 0 .. target.ColumnCount - 1 do
                               let weight i = exp -l[i, k]
                               let a = own.MapIndexed(fun i _ v -> v * weight i)
                               let b = y.Column(k).MapIndexed(fun i v -> v * weight i)
                               a.QR().Solve b |]
                    )

            let _, _, first = scaled coefficients
            let mean = reweighted first
            let _, _, second = scaled mean
            let mean = reweighted second
            let away, gamma, logs = scaled mean

            let _, lower, _ =
                Robust.scatter residuals (away.MapIndexed(fun i k v -> v * exp -logs[i, k])) kept

            { Mean = mean
              LogScale = Some gamma
              Lower = lower }

    /// Minus twice the mean Gaussian log likelihood, up to a constant, on rows that were not fitted, by two folds of interleaved rows.
    let crossValidated changing design widths (target: Matrix<float>) (kept: bool[]) =
        [ 0; 1 ]
        |> List.averageBy (fun fold ->
            let fitted = kept |> Array.mapi (fun i k -> k && (i / 2) % 2 = fold)
            let other = kept |> Array.mapi (fun i k -> k && (i / 2) % 2 <> fold)
            let found = regress changing design widths target fitted
            let away = target - design * found.Mean

            let logs =
                match found.LogScale with
                | Some gamma -> logScales widths gamma
                | None -> Matrix<float>.Build.Dense(target.RowCount, target.ColumnCount)

            let _, lower, kept =
                Robust.scatter residuals (away.MapIndexed(fun i k v -> v * exp -logs[i, k])) other

            let chosen = Robust.select logs kept

            2.0
            * (chosen.RowSums().Sum() / float chosen.RowCount
               + (lower.Diagonal() |> Seq.sumBy log)))
