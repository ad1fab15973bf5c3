namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// What is known about the parameters: weighted samples with their names and bounds, whatever made them.
/// Samples (n, p) are finite and within the bounds; weights are ≥ 0 and sum to one. Grid (two parameters) or Line (one) is the exact
/// density where there is one, and then the samples are its points, those of no density left out.
type Posterior =
    { Names: string[]
      Bounds: (float * float)[]
      Samples: float[][]
      Weights: float[]
      Grid: DensityGrid option
      Line: DensityLine option }

/// Moments, regions and densities of a posterior.
module Posterior =
    /// A posterior from weighted samples (n, p), finite, and within the bounds (infinite where there are none) unless their weight is 0;
    /// the weights are normalised here.
    let ofSamples names bounds (samples: float[][]) (weights: float[]) =
        PosteriorCheck.parameters names bounds
        PosteriorCheck.weights samples weights
        PosteriorCheck.samples names bounds samples weights
        let total = Array.sum weights

        { Names = names
          Bounds = bounds
          Samples = samples
          Weights = weights |> Array.map (fun w -> w / total)
          Grid = None
          Line = None }

    /// The points that have a density, with their trapezoidal weights.
    let private ofPoints names bounds (points: float[][]) (density: float[]) (shares: float[]) =
        // relative to the peak: no sum overflows
        let peak = Array.max density
        let weights = Array.map2 (fun d s -> d / peak * s) density shares
        let held = [| 0 .. points.Length - 1 |] |> Array.filter (fun i -> weights[i] > 0.0)
        ofSamples names bounds (held |> Array.map (fun i -> points[i])) (held |> Array.map (fun i -> weights[i]))

    /// A posterior of two parameters from its density on a grid of equally spaced axes (at least two points each), which is normalised
    /// here (trapezoidal rule: points on the grid's border count half, so that a prior's hard edge does not shift the moments).
    let ofGrid names bounds (x: float[]) (y: float[]) (density: float[,]) =
        let subject = "posterior on a grid"

        if Array.length names <> 2 then
            raise (ShapeException(subject, "two parameters", $"{Array.length names}"))

        Axis.check subject x |> ignore
        Axis.check subject y |> ignore

        if density.GetLength 0 <> x.Length || density.GetLength 1 <> y.Length then
            raise (
                ShapeException(
                    subject,
                    $"densities at {x.Length} × {y.Length} points",
                    $"{density.GetLength 0} × {density.GetLength 1}"
                )
            )

        let flat = density |> Seq.cast<float> |> Seq.toArray
        PosteriorCheck.density subject flat

        let points =
            [| for a in x do
                   for b in y -> [| a; b |] |]

        let peak = Array.max flat

        { ofPoints names bounds points flat (DensityGrid.shares x y) with
            Grid =
                Some(
                    DensityGrid.normalise
                        { X = x
                          Y = y
                          Density = density |> Array2D.map (fun d -> d / peak) }
                ) }

    /// A posterior of one parameter from its density at equally spaced places, which is normalised here (trapezoidal rule).
    let ofLine names bounds (places: float[]) (density: float[]) =
        let subject = "posterior on a line"

        if Array.length names <> 1 then
            raise (ShapeException(subject, "one parameter", $"{Array.length names}"))

        Axis.check subject places |> ignore

        if density.Length <> places.Length then
            raise (ShapeException(subject, $"densities at {places.Length} places", $"{density.Length}"))

        PosteriorCheck.density subject density
        let peak = Array.max density

        { ofPoints
              names
              bounds
              (places |> Array.map Array.singleton)
              density
              (places |> Array.mapi (fun i _ -> Axis.share places i)) with
            Line =
                Some(
                    DensityLine.normalise
                        { Places = places
                          Values = density |> Array.map (fun d -> d / peak) }
                ) }

    let private parameter subject posterior i =
        if i < 0 || i >= posterior.Names.Length then
            raise (RangeException(subject, $"the index of one of {posterior.Names.Length} parameters, from 0", $"{i}"))

    /// The parameters of the highest density, where that is known exactly, on a grid or line; none of samples.
    let peak (posterior: Posterior) =
        match posterior.Grid, posterior.Line with
        | Some grid, _ ->
            let best =
                Seq.allPairs [ 0 .. grid.X.Length - 1 ] [ 0 .. grid.Y.Length - 1 ]
                |> Seq.maxBy (fun (i, j) -> grid.Density[i, j])

            Some [| grid.X[fst best]; grid.Y[snd best] |]
        | None, Some line -> Some [| line.Places[line.Values |> Seq.indexed |> Seq.maxBy snd |> fst] |]
        | None, None -> None

    /// The column of one parameter.
    let column i posterior =
        parameter "column of a posterior" posterior i
        posterior.Samples |> Array.map (fun s -> s[i])

    /// Weighted mean of every parameter.
    let mean posterior =
        let sums = Array.zeroCreate posterior.Names.Length

        Array.iter2
            (fun (s: float[]) w ->
                for k in 0 .. sums.Length - 1 do
                    sums[k] <- sums[k] + w * s[k])
            posterior.Samples
            posterior.Weights

        sums

    /// Effective number of samples, 1/Σw² (Kish).
    let effectiveSize posterior =
        1.0 / (posterior.Weights |> Array.sumBy (fun w -> w * w))

    let private isExact posterior =
        posterior.Grid.IsSome || posterior.Line.IsSome

    /// Weighted covariance (p, p), with the factor 1/(1 − Σw²) that makes it unbiased for independent samples. A single sample, or one
    /// that carries all weight, has none and is refused.
    let covariance posterior =
        let mu = mean posterior
        let p = mu.Length

        let scale =
            if isExact posterior then
                1.0
            else
                let left = 1.0 - (posterior.Weights |> Array.sumBy (fun w -> w * w))

                if left < 1e-9 then
                    raise (
                        SettingException(
                            "covariance of a posterior",
                            "at least two samples that carry weight",
                            $"{posterior.Samples.Length} samples worth one"
                        )
                    )

                1.0 / left

        let sums = Array2D.zeroCreate p p

        Array.iter2
            (fun (s: float[]) w ->
                for i in 0 .. p - 1 do
                    for j in 0 .. p - 1 do
                        sums[i, j] <- sums[i, j] + w * (s[i] - mu[i]) * (s[j] - mu[j]))
            posterior.Samples
            posterior.Weights

        scale * Matrix<float>.Build.DenseOfArray sums

    /// Standard deviation of every parameter; 0 where all samples agree.
    let sd posterior =
        (covariance posterior).Diagonal() |> Seq.map sqrt |> Seq.toArray

    /// Refuses parameters that do not vary: sds at the rounding of their values.
    let private varying subject (posterior: Posterior) =
        Array.iteri2
            (fun k s m ->
                if not (s > 1e-14 * abs m) then
                    raise (
                        SingularMatrixException(
                            subject,
                            $"{posterior.Names[k]} to vary",
                            FormattableString.Invariant $"{posterior.Names[k]} = {m} in all samples"
                        )
                    ))
            (sd posterior)
            (mean posterior)

    /// Correlation matrix (p, p), within −1 … 1. A parameter that is the same in all samples has none and is refused.
    let correlation posterior =
        varying "correlation of a posterior" posterior
        let c = covariance posterior

        c.MapIndexed(fun i j v ->
            if i = j then
                1.0
            else
                Math.Clamp(v / (sqrt c[i, i] * sqrt c[j, j]), -1.0, 1.0))

    /// √det of the covariance, the "area" that every comparison here uses: for one parameter its sd, for two the area of the 1σ ellipse over π,
    /// for p the volume of the 1σ ellipsoid over that of the unit ball. It is 0 where samples lie on a line or a parameter does not vary.
    let area posterior =
        let c = covariance posterior
        let sds = c.Diagonal() |> Seq.map sqrt |> Seq.toArray

        if Array.contains 0.0 sds then
            0.0
        else
            // of the correlations: scales of 1e-200 do not underflow, and rounding about zero is zero
            let det = c.MapIndexed(fun i j v -> v / sds[i] / sds[j]).Determinant()
            (if det > 1e-14 then sqrt det else 0.0) * Array.reduce (*) sds

    /// The figure of merit of parameters i and j, 1/√det of their covariance, as surveys quote it (Albrecht et al. 2006, arXiv:astro-ph/0609591,
    /// but for a constant).
    let figureOfMerit i j posterior =
        parameter "figure of merit" posterior i
        parameter "figure of merit" posterior j

        if i = j then
            raise (SettingException("parameters of a figure of merit", "two of them", $"{i} twice"))

        varying "figure of merit" posterior
        let c = covariance posterior
        1.0 / sqrt (c[i, i] * c[j, j] - c[i, j] * c[i, j])

    /// The area over that of a reference, and the p-th root of it: how much wider the posterior is a parameter. 1 where nothing was lost.
    let areaRatio reference posterior =
        if reference.Names.Length <> posterior.Names.Length then
            raise (
                ShapeException(
                    "posterior to compare",
                    $"{reference.Names.Length} parameters, as the reference",
                    $"{posterior.Names.Length}"
                )
            )

        let ratio = area posterior / area reference
        struct (ratio, ratio ** (1.0 / float posterior.Names.Length))

    /// Largest distance of a posterior's means from those of a reference, in the reference's standard deviations. Both have the same
    /// parameters, and those of the reference vary.
    let shift reference posterior =
        if reference.Names.Length <> posterior.Names.Length then
            raise (
                ShapeException(
                    "posterior to compare",
                    $"{reference.Names.Length} parameters, as the reference",
                    $"{posterior.Names.Length}"
                )
            )

        varying "reference posterior" reference

        Array.map3 (fun a b s -> abs (a - b) / s) (mean posterior) (mean reference) (sd reference)
        |> Array.max

    /// n equally weighted draws. From a grid or line they are spread evenly over the part of each point's cell that lies within it.
    let resample seed n posterior =
        Guard.AtLeast("draws of a posterior", 0L, int64 n) |> ignore
        let random = PhiloxRandom(uint64 (int64 (seed: int)), "resample")
        let cumulative = Weighted.cumulative posterior.Weights

        let axes =
            match posterior.Grid, posterior.Line with
            | Some g, _ -> [| g.X; g.Y |]
            | _, Some l -> [| l.Places |]
            | None, None -> [||]

        let steps = axes |> Array.map Axis.step

        Array.init n (fun _ ->
            let s = posterior.Samples[Weighted.choose cumulative (random.NextDouble())]

            Array.init s.Length (fun k ->
                let u = random.NextDouble()

                if axes.Length = 0 then
                    s[k]
                else
                    let axis = axes[k]
                    let a = max axis[0] (s[k] - 0.5 * steps[k])
                    let b = min axis[axis.Length - 1] (s[k] + 0.5 * steps[k])
                    a + u * (b - a)))

    /// The density of parameter i as a line.
    let private line i posterior =
        match posterior.Grid, posterior.Line with
        | Some g, _ -> DensityGrid.marginal i g
        | _, Some l -> l
        | None, None ->
            Kernels.line
                posterior.Names[i]
                posterior.Bounds[i]
                (effectiveSize posterior)
                (column i posterior)
                posterior.Weights

    /// Marginal density of parameter i (from 0) at the given places: exact from a grid or line, else a Gaussian kernel estimate of the
    /// weighted samples with Silverman's bandwidth, which at the bounds is as good as within (`Kernels`). Zero outside the bounds.
    let marginal i (at: float[]) posterior =
        parameter "marginal of a posterior" posterior i

        if at |> Array.exists Double.IsNaN then
            raise (NonFiniteException("places of a marginal", "numbers", "NaN"))

        let line = line i posterior
        at |> Array.map (fun v -> DensityLine.at v line)

    /// Density of parameters i and j on a grid of at least n × n points: the exact one where the posterior has it, else a Gaussian kernel
    /// in the principal axes of the samples, with Silverman's bandwidth, as good at the bounds as within (`Kernels`). Samples that lie on
    /// a line (correlation ±1, or a parameter that does not vary) have none and are refused.
    let density i j n posterior =
        parameter "density of a posterior" posterior i
        parameter "density of a posterior" posterior j

        if i = j then
            raise (SettingException("density of a posterior", "two different parameters", $"{i} twice"))

        Guard.AtLeast("points of a density", 2L, int64 n) |> ignore

        match posterior.Grid with
        | Some g -> if i = 0 then g else DensityGrid.transpose g
        | None ->
            let c =
                covariance
                    { posterior with
                        Names = [| posterior.Names[i]; posterior.Names[j] |]
                        Bounds = [| posterior.Bounds[i]; posterior.Bounds[j] |]
                        Samples = posterior.Samples |> Array.map (fun s -> [| s[i]; s[j] |]) }

            KernelGrid.grid
                (posterior.Names[i], posterior.Names[j])
                n
                posterior.Bounds[i]
                posterior.Bounds[j]
                (effectiveSize posterior)
                (c[0, 0], c[0, 1], c[1, 1])
                (column i posterior)
                (column j posterior)
                posterior.Weights

    let private checkPoint posterior (theta: float[]) =
        if theta.Length <> posterior.Names.Length then
            raise (ShapeException("parameters θ", $"{posterior.Names.Length}", $"{theta.Length}"))

        if theta |> Array.exists (Double.IsFinite >> not) then
            raise (NonFiniteException("parameters θ", "finite numbers", $"%A{theta}"))

    /// The probability of the smallest credible region (HPD) that holds θ (p), by the log density (rows of θ → values, up to a constant)
    /// at the samples, of any number of parameters: the weight of samples with a higher density, and of those that tie in it of the ones
    /// whose first parameter is smaller, so that the levels of a flat density's draws are uniform.
    let hpdLevelBy (logDensity: float[][] -> float[]) (theta: float[]) posterior =
        checkPoint posterior theta
        let values = logDensity (Array.append [| theta |] posterior.Samples)

        if values.Length <> posterior.Samples.Length + 1 then
            raise (ShapeException("log density", $"{posterior.Samples.Length + 1} values", $"{values.Length}"))

        if values |> Array.exists (fun v -> Double.IsNaN v || Double.IsPositiveInfinity v) then
            raise (NonFiniteException("log density", "numbers or −∞", "NaN or +∞"))

        // −1 before θ, 0 where it is, 1 behind
        let place (s: float[]) = compare s[0] theta[0]

        Array.fold2
            (fun sum (s, v) w ->
                if v > values[0] || (v = values[0] && place s < 0) then
                    sum + w
                elif v = values[0] && place s = 0 then
                    sum + 0.5 * w
                else
                    sum)
            0.0
            (Array.zip posterior.Samples values[1..])
            posterior.Weights
        |> min 1.0

    /// The probability of the smallest credible region (HPD) that holds θ, of one or two parameters; of more, `hpdLevelBy` finds it from
    /// the log density.
    let hpdLevel (theta: float[]) posterior =
        checkPoint posterior theta

        match theta with
        | [| v |] -> DensityLine.hpdLevel v (line 0 posterior)
        | [| x; y |] -> density 0 1 101 posterior |> DensityGrid.hpdLevel (x, y)
        | _ ->
            raise (
                SettingException(
                    "HPD level",
                    "one or two parameters, or hpdLevelBy with a log density",
                    $"{theta.Length} parameters"
                )
            )
