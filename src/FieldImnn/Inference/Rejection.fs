namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// What rejection ABC and population Monte Carlo share.
module internal Rejection =
    /// The Fisher distance ρ = √((θ̂ − θ̂_obs)ᵀ F (θ̂ − θ̂_obs)).
    let distance (fisher: Matrix<float>) (observed: float[]) (estimate: float[]) =
        let away = Vector<float>.Build.DenseOfArray(Array.map2 (-) estimate observed)
        sqrt (away.DotProduct(fisher * away))

    /// The distance that this part of the distances does not exceed.
    let quantile part (distances: float[]) =
        let sorted = Array.sort distances
        sorted[max 0 (int (part * float sorted.Length) - 1)]

    let private block = 4096

    /// Draws 0, 1, … of a prior under a seed, in blocks: some `needed`, and as many again as it takes where few of them can be used.
    let draws seed needed (prior: Prior) =
        Seq.initInfinite (fun i -> Prior.sample seed (int64 i * int64 block) block prior)
        |> Seq.truncate (50 + 20 * needed / block) // ends even where hardly a draw can be used
        |> Seq.concat

    /// p independent standard normal numbers.
    let standardNormal p =
        Prior.create [ for i in 1..p -> $"z{i}", Normal(0.0, 1.0) ]

    /// a, b, … and all their products of two.
    let private quadratic (a: float[]) =
        [| yield! a
           for i in 0 .. a.Length - 1 do
               for j in i .. a.Length - 1 -> a[i] * a[j] |]

    /// Weighted least squares of θ on θ̂ − θ̂_obs and, where there are ten simulations or more for each coefficient, its squares and
    /// products; returns θ moved to θ̂ = θ̂_obs.
    let private regress (theta: float[][]) (away: float[][]) (weights: float[]) =
        let scale =
            Array.init away[0].Length (fun k -> (away |> Array.map (fun a -> abs a[k]) |> Array.max) + 1e-300)

        let scaled = away |> Array.map (fun a -> Array.map2 (/) a scale)
        let terms = quadratic scaled[0] |> Array.length

        let powers =
            if theta.Length >= 10 * (terms + 1) then
                Array.map quadratic scaled
            else
                scaled

        let design =
            Matrix<float>.Build.DenseOfRowArrays(powers |> Array.map (Array.append [| 1.0 |]))

        let response = Matrix<float>.Build.DenseOfRowArrays theta
        let weighted = design.MapIndexed(fun i _ v -> v * weights[i])

        let coefficients =
            (design.TransposeThisAndMultiply weighted).Solve(weighted.TransposeThisAndMultiply response)

        let shift =
            design.SubMatrix(0, design.RowCount, 1, design.ColumnCount - 1)
            * coefficients.SubMatrix(1, coefficients.RowCount - 1, 0, coefficients.ColumnCount)

        (response - shift).ToRowArrays()

    /// The posterior of accepted simulations, those within ρ ≤ ε. With regression, local with Epanechnikov weights (Beaumont, Zhang &
    /// Balding 2002), and quadratic (Blum 2010), what a finite ε adds is taken out.
    let posterior regression (prior: Prior) observed fisher epsilon (theta: float[][]) (estimates: float[][]) weights =
        let samples, weights =
            if regression then
                let kernel =
                    estimates
                    |> Array.map (fun e -> 1.0 - (distance fisher observed e / (epsilon * 1.0000001)) ** 2.0)

                let weights = Array.map2 (*) weights kernel

                let moved =
                    regress theta (estimates |> Array.map (fun e -> Array.map2 (-) e observed)) weights
                // an adjusted sample may leave the prior: it then has no weight
                moved, Array.map2 (fun t w -> if Prior.contains prior t then w else 0.0) moved weights
            else
                theta, weights

        Posterior.ofSamples prior.Names (Prior.bounds prior) samples weights
