namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// What rejection ABC and population Monte Carlo share.
module internal Rejection =
    /// The Fisher distance ρ = √((θ̂ − θ̂_obs)ᵀ F (θ̂ − θ̂_obs)).
    let distance (fisher: Matrix<float>) (observed: float[]) (estimate: float[]) =
        sqrt (Matrices.squaredDistance fisher estimate observed)

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

    // ln of the prior's density, by which a proposal may lie below what it is about: seven sds of a normal prior
    let private depth = 25.0

    /// Whether θ lies in the prior and not all but excluded by it against what it is proposed about, of this ln density. A proposal with wide tails
    /// reaches many sds of a normal prior where the data say little: what it draws there counts for nothing, and the simulator may know no
    /// universe of it.
    let plausible prior about (theta: float[]) =
        let density = Prior.logDensity prior theta
        density > -infinity && density >= about - depth

    /// p independent standard normal numbers.
    let standardNormal p =
        Prior.create [ for i in 1..p -> $"z{i}", Normal(0.0, 1.0) ]

    /// a, b, … and all their products of two.
    let private quadratic (a: float[]) =
        [| yield! a
           for i in 0 .. a.Length - 1 do
               for j in i .. a.Length - 1 -> a[i] * a[j] |]

    /// Weighted least squares on the directions that the columns of a design have, so that constant and duplicate summaries do no harm.
    type private LeastSquares(design: Matrix<float>, weights: float[]) =
        let weighted = design.MapIndexed(fun i _ v -> v * weights[i])

        let inverse =
            // a column of zeros is one of the directions that it does not have
            (design.TransposeThisAndMultiply weighted).MapIndexed(fun i j v -> if i = j && v = 0.0 then 1.0 else v)
            |> Matrices.generalisedInverse "normal equations of the regression"

        /// The variance of what is fitted at the observation, where all terms but the constant are 0, over that of a mean: about 1 in the
        /// midst of the simulations, large where they lie to one side of it.
        member _.Reach = inverse[0, 0] * Array.sum weights

        /// Coefficients (columns of the design, columns of the response).
        member _.Fit(response: Matrix<float>) =
            inverse * weighted.TransposeThisAndMultiply response

        /// The part of its variance that each residual keeps, 1 − 2H_ii + Σ_j H_ij² of the hat matrix H: the fit has taken the rest.
        member _.Kept =
            let reached = design * inverse
            let around = weighted.TransposeThisAndMultiply weighted

            Array.init design.RowCount (fun i ->
                let row = reached.Row i
                1.0 - 2.0 * row.DotProduct(weighted.Row i) + row.DotProduct(around * row))

    /// The spread of each residual where the summaries are the observed ones over that where its own are: ln r² by regression on the
    /// summaries (Blum & François 2010), within a factor of three.
    let private spread (linear: LeastSquares) (design: Matrix<float>) (residual: Matrix<float>) =
        let floor =
            1e-12 * (residual.PointwiseMultiply residual).ColumnSums()
            / float residual.RowCount

        let logSquares = residual.MapIndexed(fun _ k r -> log (r * r + floor[k] + 1e-300))
        let coefficients = linear.Fit logSquares

        (design * coefficients)
            .MapIndexed(fun _ k fitted -> exp (0.5 * (coefficients[0, k] - fitted)) |> max (1.0 / 3.0) |> min 3.0)

    /// A fit that reaches farther than this is an extrapolation.
    let private farthest = 30.0

    /// Local regression of z on θ̂ − θ̂_obs and, where there are ten simulations or more for each coefficient, its squares and products:
    /// z moved to θ̂ = θ̂_obs. Residuals get back the variance that the fit took from them, and the spread that they have there. Of an
    /// observation to one side of all simulations a fit says nothing: there z stays as it is.
    let private regress (z: float[][]) (away: float[][]) (weights: float[]) =
        let scale =
            Array.init away[0].Length (fun k -> (away |> Array.map (fun a -> abs a[k]) |> Array.max) + 1e-300)

        let scaled = away |> Array.map (fun a -> Array.map2 (/) a scale)

        let design terms =
            Matrix<float>.Build.DenseOfRowArrays(scaled |> Array.map (terms >> Array.append [| 1.0 |]))

        let linearDesign = design id
        let linear = LeastSquares(linearDesign, weights)
        let terms = 1 + (quadratic scaled[0]).Length

        let fits =
            [ if Weighted.effective weights >= 10.0 * float terms then
                  let design = design quadratic
                  design, LeastSquares(design, weights)
              linearDesign, linear ]

        match fits |> List.tryFind (fun (_, fit) -> fit.Reach <= farthest) with
        | None -> z
        | Some(design, fit) ->
            let response = Matrix<float>.Build.DenseOfRowArrays z
            let coefficients = fit.Fit response
            let residual = response - design * coefficients
            let kept = fit.Kept
            let there = spread linear linearDesign residual

            residual
                .MapIndexed(fun i k r -> coefficients[0, k] + there[i, k] * r / sqrt (max 0.1 kept[i]))
                .ToRowArrays()

    /// The posterior of accepted simulations, those within ρ ≤ ε. With regression, local with Epanechnikov weights (Beaumont, Zhang &
    /// Balding 2002), quadratic (Blum 2010) and of the spread, too (Blum & François 2010), what a finite ε adds is taken out. It is done
    /// in z, in which the prior has no edge: no sample can leave it.
    let posterior regression (prior: Prior) observed fisher epsilon (theta: float[][]) (estimates: float[][]) weights =
        let samples, weights =
            if regression then
                let kernel =
                    estimates
                    |> Array.map (fun e -> 1.0 - (distance fisher observed e / (epsilon * 1.0000001)) ** 2.0)

                let weights = Array.map2 (*) weights kernel
                let away = estimates |> Array.map (fun e -> Array.map2 (-) e observed)

                regress (Array.map (Prior.toNormal prior) theta) away weights
                |> Array.map (Prior.ofNormal prior),
                weights
            else
                theta, weights

        Posterior.ofSamples prior.Names (Prior.bounds prior) samples weights
