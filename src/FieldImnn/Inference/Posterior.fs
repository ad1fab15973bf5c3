namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open MathNet.Numerics.Statistics

/// A density of two parameters on a rectangular grid: Density.[i, j] at (X.[i], Y.[j]), normalised to one over the grid.
type DensityGrid =
    { X: float[]
      Y: float[]
      Density: float[,] }

/// What is known about the parameters: weighted samples with their names and bounds, whatever made them.
/// Weights are ≥ 0 and sum to one. Grid is the exact density where there is one (two parameters), and then the samples are its points.
type Posterior =
    { Names: string[]
      Bounds: (float * float)[]
      Samples: float[][]
      Weights: float[]
      Grid: DensityGrid option }

/// Densities on grids: interpolation, and the probability inside a contour.
module DensityGrid =
    /// Area of one cell, on equally spaced axes.
    let cell grid =
        (grid.X[1] - grid.X[0]) * (grid.Y[1] - grid.Y[0])

    /// Density at a point, bilinear between the grid's points and zero outside.
    let at (x: float, y: float) grid =
        let place (axis: float[]) v =
            let t = (v - axis[0]) / (axis[1] - axis[0])
            let i = min (axis.Length - 2) (int (floor t))

            if t < 0.0 || t > float (axis.Length - 1) then
                None
            else
                Some(i, t - float i)

        match place grid.X x, place grid.Y y with
        | Some(i, s), Some(j, t) ->
            let d = grid.Density

            (1.0 - s) * ((1.0 - t) * d[i, j] + t * d[i, j + 1])
            + s * ((1.0 - t) * d[i + 1, j] + t * d[i + 1, j + 1])
        | _ -> 0.0

    /// The probability of the region where the density exceeds that of the point: the smallest credible region (HPD) that holds it.
    let hpdLevel point grid =
        let threshold = at point grid

        let above =
            grid.Density
            |> Seq.cast<float>
            |> Seq.filter (fun d -> d > threshold)
            |> Seq.sum

        min 1.0 (above * cell grid)

    /// The density on the border of the smallest region that holds each of the given probabilities.
    let contourLevels (probabilities: float[]) grid =
        let falling = grid.Density |> Seq.cast<float> |> Seq.toArray |> Array.sortDescending

        let held =
            falling
            |> Array.scan (+) 0.0
            |> Array.tail
            |> Array.map (fun m -> m * cell grid)

        probabilities
        |> Array.map (fun p ->
            let i = Array.BinarySearch(held, p)
            falling[min (falling.Length - 1) (if i >= 0 then i else ~~~i)])

    /// The area of the smallest region that holds a probability.
    let hpdArea probability grid =
        let level = (contourLevels [| probability |] grid)[0]

        let inside =
            grid.Density
            |> Seq.cast<float>
            |> Seq.filter (fun d -> d >= level)
            |> Seq.length

        float inside * cell grid

/// Choices by weight.
module internal Weighted =
    /// Running sums of weights: what `choose` takes.
    let cumulative (weights: float[]) =
        weights |> Array.scan (+) 0.0 |> Array.tail

    /// The index whose share of all weights a number u in [0, 1) falls into.
    let choose (cumulative: float[]) (u: float) =
        let last = cumulative.Length - 1
        let at = Array.BinarySearch(cumulative, u * cumulative[last])
        min last (if at >= 0 then at + 1 else ~~~at)

/// Moments, regions and densities of a posterior.
module Posterior =
    let private check name (samples: float[][]) (weights: float[]) =
        if samples.Length = 0 then
            raise (SettingException(name, "at least one sample", "none"))

        if samples.Length <> weights.Length then
            raise (ShapeException(name, $"{samples.Length} weights, one for each sample", $"{weights.Length}"))

        if
            weights |> Array.exists (fun w -> not (Double.IsFinite w) || w < 0.0)
            || Array.sum weights <= 0.0
        then
            raise (NonFiniteException(name, "finite weights ≥ 0, not all of them 0", "others"))

    /// A posterior from weighted samples; the weights are normalised here.
    let ofSamples names bounds (samples: float[][]) (weights: float[]) =
        check "posterior" samples weights
        let total = Array.sum weights

        { Names = names
          Bounds = bounds
          Samples = samples
          Weights = weights |> Array.map (fun w -> w / total)
          Grid = None }

    /// A posterior of two parameters from its density on a grid, which is normalised here (trapezoidal rule: points on the grid's
    /// border count half, so that a prior's hard edge does not shift the moments).
    let ofGrid names bounds (x: float[]) (y: float[]) (density: float[,]) =
        let points =
            [| for a in x do
                   for b in y -> [| a; b |] |]

        let half (axis: float[]) i =
            if i = 0 || i = axis.Length - 1 then 0.5 else 1.0

        let weights =
            density
            |> Array2D.mapi (fun i j d -> d * half x i * half y j)
            |> Seq.cast<float>
            |> Seq.toArray

        check "posterior on a grid" points weights
        let grid = { X = x; Y = y; Density = density }
        let total = Array.sum weights * DensityGrid.cell grid

        { ofSamples names bounds points weights with
            Grid =
                Some
                    { grid with
                        Density = density |> Array2D.map (fun d -> d / total) } }

    /// The column of one parameter.
    let column i posterior =
        posterior.Samples |> Array.map (fun s -> s[i])

    /// Weighted mean of every parameter.
    let mean posterior =
        Array.init posterior.Names.Length (fun i -> Array.map2 (*) posterior.Weights (column i posterior) |> Array.sum)

    /// Weighted covariance, with the factor 1/(1 − Σw²) that makes it unbiased for independent samples.
    let covariance posterior =
        let mu = mean posterior
        let p = mu.Length

        let scale =
            match posterior.Grid with
            | Some _ -> 1.0
            | None -> 1.0 / (1.0 - (posterior.Weights |> Array.sumBy (fun w -> w * w)))

        let sums = Array2D.zeroCreate p p

        Array.iter2
            (fun (s: float[]) w ->
                for i in 0 .. p - 1 do
                    for j in 0 .. p - 1 do
                        sums[i, j] <- sums[i, j] + w * (s[i] - mu[i]) * (s[j] - mu[j]))
            posterior.Samples
            posterior.Weights

        scale * Matrix<float>.Build.DenseOfArray sums

    /// Standard deviation of every parameter.
    let sd posterior =
        (covariance posterior).Diagonal() |> Seq.map sqrt |> Seq.toArray

    /// Correlation matrix.
    let correlation posterior =
        let c = covariance posterior
        c.MapIndexed(fun i j v -> v / sqrt (c[i, i] * c[j, j]))

    /// √det of the covariance: for two parameters, the area of the 1σ ellipse over π; the "area" that every comparison here uses.
    let area posterior =
        sqrt ((covariance posterior).Determinant())

    /// Largest distance of a posterior's means from those of a reference, in the reference's standard deviations.
    let shift reference posterior =
        Array.map3 (fun a b s -> abs (a - b) / s) (mean posterior) (mean reference) (sd reference)
        |> Array.max

    /// Effective number of samples, 1/Σw² (Kish).
    let effectiveSize posterior =
        1.0 / (posterior.Weights |> Array.sumBy (fun w -> w * w))

    /// Equally weighted draws. From a grid they are spread evenly over its cells.
    let resample seed n posterior =
        let random = Random(seed: int)
        let cumulative = Weighted.cumulative posterior.Weights

        let spread =
            match posterior.Grid with
            | Some g -> [| g.X[1] - g.X[0]; g.Y[1] - g.Y[0] |]
            | None -> Array.zeroCreate posterior.Names.Length

        Array.init n (fun _ ->
            let s = posterior.Samples[Weighted.choose cumulative (random.NextDouble())]

            Array.init s.Length (fun k ->
                let lo, hi = posterior.Bounds[k]
                s[k] + (random.NextDouble() - 0.5) * spread[k] |> max lo |> min hi))

    /// Marginal density of parameter i at the given places: exact from a grid, else MathNet's Gaussian kernel estimate with
    /// Silverman's bandwidth.
    let marginal i (at: float[]) posterior =
        match posterior.Grid with
        | Some g ->
            let axis, other, pick =
                if i = 0 then
                    g.X, g.Y, (fun a b -> g.Density[a, b])
                else
                    g.Y, g.X, (fun a b -> g.Density[b, a])

            let step = other[1] - other[0]

            let line =
                axis
                |> Array.mapi (fun a _ -> step * Seq.sumBy (pick a) [ 0 .. other.Length - 1 ])

            at
            |> Array.map (fun v ->
                let t = (v - axis[0]) / (axis[1] - axis[0])
                let k = min (axis.Length - 2) (int (floor t))

                if t < 0.0 || t > float (axis.Length - 1) then
                    0.0
                else
                    line[k] + (t - float k) * (line[k + 1] - line[k]))
        | None ->
            let draws = resample 0 4000 posterior |> Array.map (fun s -> s[i])

            let bandwidth =
                1.06
                * Statistics.StandardDeviation draws
                * Math.Pow(effectiveSize posterior |> min 4000.0, -0.2)

            at |> Array.map (fun v -> KernelDensity.EstimateGaussian(v, bandwidth, draws))

    /// Density of parameters i and j on an n × n grid: the exact one where the posterior has it, else a Gaussian product kernel
    /// in the principal axes of the samples, with Silverman's bandwidth.
    let density i j n posterior =
        match posterior.Grid with
        | Some g when (i, j) = (0, 1) -> g
        | _ ->
            let c = covariance posterior

            let pair =
                Matrix<float>.Build.Dense(2, 2, (fun a b -> c[[| i; j |][a], [| i; j |][b]]))

            let whiten = pair.Cholesky().Factor.Inverse()
            let width = Math.Pow(effectiveSize posterior, -1.0 / 6.0)
            let mu = mean posterior

            let axis k =
                let lo, hi = posterior.Bounds[k]
                let s = sqrt c[k, k]
                let a, b = max lo (mu[k] - 5.0 * s), min hi (mu[k] + 5.0 * s)
                Array.init n (fun q -> a + (b - a) * float q / float (n - 1))

            let x, y = axis i, axis j

            let places =
                posterior.Samples
                |> Array.map (fun s ->
                    let v = whiten * Vector<float>.Build.DenseOfArray [| s[i]; s[j] |] in struct (v[0], v[1]))

            let raw =
                Array2D.init n n (fun a b ->
                    let v = whiten * Vector<float>.Build.DenseOfArray [| x[a]; y[b] |]
                    let mutable sum = 0.0

                    for q in 0 .. places.Length - 1 do
                        let struct (u, w) = places[q]
                        let r2 = ((v[0] - u) ** 2.0 + (v[1] - w) ** 2.0) / (width * width)

                        if r2 < 40.0 then
                            sum <- sum + posterior.Weights[q] * exp (-0.5 * r2)

                    sum)

            let grid = { X = x; Y = y; Density = raw }
            let total = (raw |> Seq.cast<float> |> Seq.sum) * DensityGrid.cell grid

            { grid with
                Density = raw |> Array2D.map (fun d -> d / total) }

    /// The probability of the smallest credible region (HPD) that holds θ, of two parameters.
    let hpdLevel (theta: float[]) posterior =
        density 0 1 101 posterior |> DensityGrid.hpdLevel (theta[0], theta[1])
