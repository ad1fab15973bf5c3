namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// Draws of a Gaussian that is cut to a box.
module internal TruncatedGaussian =
    /// A standard normal between a and b from u in (0, 1), and the logarithm of its importance weight: the probability that lies there,
    /// and in a tail beyond 5, where the draw is Rayleigh's, z e^(−z²/2), also 1/z (but for a constant).
    let private standard (a: float) (b: float) u =
        let tail lo hi =
            let most = 0.5 * (hi * hi - lo * lo)
            let kept = if Double.IsInfinity hi then 1.0 else -Math.Exp -most + 1.0
            let z = sqrt (lo * lo - 2.0 * log (1.0 - u * kept)) |> min hi
            struct (z, -0.5 * lo * lo + log kept - log z - 0.5 * log (2.0 * Math.PI))

        if a > 5.0 then
            tail a b
        elif b < -5.0 then
            let struct (z, w) = tail -b -a
            struct (-z, w)
        elif Double.IsInfinity a && Double.IsInfinity b then
            struct (MathNet.Numerics.Distributions.Normal.InvCDF(0.0, 1.0, u), 0.0)
        else
            let cut = TruncatedNormal(0.0, 1.0, a, b)
            let at = Math.Clamp(0.0, a, b)
            // ln of the probability between a and b: what the cut density is higher by
            let log' =
                MathNet.Numerics.Distributions.Normal.PDFLn(0.0, 1.0, at)
                - Marginal.logDensity cut at

            struct (Marginal.quantile cut u, log')

    /// n draws and their weights of N(mean, L Lᵀ), L lower triangular, within bounds: one parameter after the other from the part of its
    /// normal that is left, with the product of these parts as the weight (Geweke 1991; Hajivassiliou & McFadden 1998).
    let sample (seed: uint64) n (mean: Vector<float>) (factor: Matrix<float>) (bounds: (float * float)[]) =
        let p = mean.Count
        let random = PhiloxRandom(seed, "truncated Gaussian")
        let logWeights = Array.zeroCreate n

        let draws =
            Array.init n (fun q ->
                let z = Array.zeroCreate p

                for i in 0 .. p - 1 do
                    let mutable centre = mean[i]

                    for j in 0 .. i - 1 do
                        centre <- centre + factor[i, j] * z[j]

                    let lo, hi = bounds[i]
                    let u = (float (random.NextInt64(1L <<< 52)) + 0.5) / float (1L <<< 52)

                    let struct (v, w) =
                        standard ((lo - centre) / factor[i, i]) ((hi - centre) / factor[i, i]) u

                    z[i] <- v
                    logWeights[q] <- logWeights[q] + w

                Array.init p (fun i ->
                    let lo, hi = bounds[i]
                    let mutable x = mean[i]

                    for j in 0..i do
                        x <- x + factor[i, j] * z[j]

                    Math.Clamp(x, lo, hi)))

        let highest = Array.max logWeights
        draws, logWeights |> Array.map (fun w -> exp (w - highest))

/// The Gaussian approximation: ln p(θ | d) = −½ (θ − θ̂)ᵀ F (θ − θ̂) + ln prior, truncated and normalised by the prior.
module GaussianApproximation =
    /// Draws of a posterior of more than two parameters.
    let private count = 20000

    /// A posterior whose draws are worth fewer is not one.
    let private least = 400.0

    let private check (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) =
        let p = prior.Names.Length

        if estimate.Length <> p then
            raise (ShapeException("estimate", $"{p} parameters", $"{estimate.Length}"))

        if fisher.RowCount <> p || fisher.ColumnCount <> p then
            raise (ShapeException("Fisher matrix", $"{p} × {p}", $"{fisher.RowCount} × {fisher.ColumnCount}"))

        if estimate |> Array.exists (Double.IsFinite >> not) then
            raise (NonFiniteException("estimate", "finite numbers", $"%A{estimate}"))

        if fisher.Enumerate() |> Seq.exists (Double.IsFinite >> not) then
            raise (NonFiniteException("Fisher matrix", "finite numbers", "NaN or infinity"))

        for i in 0 .. p - 1 do
            if fisher[i, i] < 0.0 then
                raise (
                    RangeException(
                        "Fisher matrix",
                        $"an information ≥ 0 on {prior.Names[i]}",
                        FormattableString.Invariant $"{fisher[i, i]}"
                    )
                )

    /// Its unnormalised log density at rows of θ.
    let logDensity (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) (rows: float[][]) =
        check prior estimate fisher
        let f = fisher.ToArray()
        let p = estimate.Length

        rows
        |> Array.map (fun row ->
            let prior = Prior.logDensity prior row
            let mutable sum = 0.0

            for i in 0 .. p - 1 do
                for j in 0 .. p - 1 do
                    sum <- sum + (row[i] - estimate[i]) * f[i, j] * (row[j] - estimate[j])

            prior - 0.5 * sum)

    /// Mean and Cholesky factor of the Gaussian that likelihood and the prior's normals make together, before the support cuts it.
    let private together (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) =
        // precision and precision × mean of each marginal
        let normal marginal =
            match marginal with
            | Uniform _ -> 0.0, 0.0
            | Normal(mean, sd)
            | TruncatedNormal(mean, sd, _, _) -> 1.0 / (sd * sd), mean / (sd * sd)

        let own = prior.Marginals |> Array.map normal
        let precision = fisher + Matrix<float>.Build.DenseOfDiagonalArray(Array.map fst own)

        let pull =
            fisher * Vector<float>.Build.DenseOfArray estimate
            + Vector<float>.Build.DenseOfArray(Array.map snd own)

        try
            let covariance =
                precision.Cholesky().Solve(Matrix<float>.Build.DenseIdentity precision.RowCount)

            covariance * pull, (0.5 * (covariance + covariance.Transpose())).Cholesky().Factor
        with :? ArgumentException ->
            raise (
                SingularMatrixException(
                    "Fisher matrix and prior together",
                    "a positive definite matrix: information on every direction",
                    "one that is not"
                )
            )

    /// Weighted draws, of any number of parameters.
    let private drawn seed (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) =
        let mean, factor = together prior estimate fisher
        let bounds = Prior.bounds prior

        let samples, weights = TruncatedGaussian.sample seed count mean factor bounds

        // the Gaussian took the marginals for the prior
        let weights =
            match prior.Dependence with
            | None -> weights
            | Some _ ->
                Array.map2
                    (fun theta w -> w * exp (Prior.logDensity prior theta - Prior.logFrame prior theta))
                    samples
                    weights

        let posterior = Posterior.ofSamples prior.Names bounds samples weights
        let worth = Posterior.effectiveSize posterior

        if worth < least then
            raise (
                RangeException(
                    "Gaussian approximation",
                    $"draws within the prior worth {least} of {count}: a centre not so far outside it",
                    FormattableString.Invariant $"{worth:F0}"
                )
            )

        posterior

    /// The posterior about an estimate θ̂ (p) with Fisher matrix F (p, p): on a line or grid for one or two parameters, for more 20,000
    /// weighted draws, which the seed decides.
    let posteriorOf (seed: uint64) (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) =
        check prior estimate fisher

        if estimate.Length <= 2 then
            GridPosterior.compute 161 prior.Names (Prior.bounds prior) (logDensity prior estimate fisher)
        else
            drawn seed prior estimate fisher

    /// The same with seed 1.
    let posterior (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) = posteriorOf 1UL prior estimate fisher
