namespace FieldImnn

open System
open FieldImnn.Core

/// Gaussian kernel estimates of weighted samples within bounds. Samples are shared out linearly between the points of a grid and smoothed
/// there; what the binning widens them by (a sixth of a squared step, Jones & Lotwick 1984) is taken off the kernel.
///
/// Within reach of a bound a plain kernel loses up to half of the density (in a corner three quarters), and a reflected one makes it
/// level there. Here each kernel is normalised to the part of it within the bounds, and the density is divided by a wider estimate of
/// itself before it is smoothed and multiplied by that afterwards (Hjort & Glad 1995), so that what is smoothed has no slope. The wider
/// estimate is the local linear fit (Jones 1993) in the form that stays positive, f̄ exp(f/f̄ − 1) (Jones & Foster 1996; as in GetDist,
/// Lewis 2019, arXiv:1910.13970); on its own at the narrow width it would scatter twice as much, in a corner four times.
module internal Kernels =
    /// What smoothing gives at a point: the part of the kernel inside the bounds, the estimate normalised to that, and the local linear fit.
    [<Struct>]
    type Smoothed =
        { Inside: float
          Constant: float
          Linear: float }

    // a Gaussian this many sds away counts for nothing
    let reach = 4.0

    let private phi t =
        if Double.IsInfinity t then
            0.0
        else
            exp (-0.5 * t * t) / sqrt (2.0 * Math.PI)

    let positive (constant: float) (linear: float) =
        if constant > 0.0 then
            constant * exp (linear / constant - 1.0)
        else
            0.0

    /// How much wider the estimate is that others are divided by.
    let pilot = 2.0

    /// The plain estimate where the whole kernel is inside, the one that follows the slope where a half or less is.
    let blend inside plain sloping =
        let edge = Math.Clamp(2.0 * (1.0 - inside), 0.0, 1.0)
        (1.0 - edge) * plain + edge * sloping

    /// Values at the points of an axis, each sample shared by its two neighbours.
    let private bin (axis: float[]) (values: float[]) (weights: float[]) =
        let bins = Array.zeroCreate axis.Length

        Array.iter2
            (fun v w ->
                match Axis.place axis v with
                | Some(i, t) ->
                    bins[i] <- bins[i] + w * (1.0 - t)
                    bins[i + 1] <- bins[i + 1] + w * t
                | None -> ())
            values
            weights

        bins

    /// The axis of a line: what the kernels of all samples reach, within 12 sds of the mean and the bounds.
    let private axisOf (lo, hi) (values: float[]) (mean, sd) width =
        let a = max (Array.min values - reach * width) (mean - 12.0 * sd) |> max lo
        let b = min (Array.max values + reach * width) (mean + 12.0 * sd) |> min hi
        Axis.line (Math.Clamp(int (6.0 * (b - a) / width), 400, 20000) + 1) (a, b)

    /// Bins smoothed by a kernel of this width, at every point. Distances are in widths.
    let private smoothLine (axis: float[]) (lo: float, hi: float) width (bins: float[]) =
        let h = Axis.step axis
        let radius = int (ceil (reach * width / h))
        let k = Array.init (radius + 1) (fun q -> phi (float q * h / width) * h / width)

        /// The integrals of φ, tφ and t²φ from 0 to t > 0.
        let integrals t =
            if t > 8.0 then
                struct (0.5, phi 0.0, 0.5)
            else
                let half = MathNet.Numerics.Distributions.Normal.CDF(0.0, 1.0, t) - 0.5
                struct (half, phi 0.0 - phi t, half - t * phi t)

        Array.init axis.Length (fun i ->
            let mutable b0, b1 = 0.0, 0.0
            let first, last = max 0 (i - radius), min (axis.Length - 1) (i + radius)

            for j in first..last do
                let w = bins[j] * k[abs (i - j)]
                b0 <- b0 + w
                b1 <- b1 + w * float (j - i) * h / width

            let struct (l0, l1, l2) = integrals ((axis[i] - lo) / width)
            let struct (r0, r1, r2) = integrals ((hi - axis[i]) / width)
            let a0, a1, a2 = l0 + r0, r1 - l1, l2 + r2

            { Inside = a0
              Constant = b0 / a0
              Linear = (a2 * b0 - a1 * b1) / (a0 * a2 - a1 * a1) })

    /// The density of one parameter within its bounds, of samples with weights (sum one) that are worth `effective` draws, with
    /// Silverman's bandwidth 1.06 s n^(−1/5), s the standard deviation or what the quartiles say, whichever is smaller.
    let line name (lo: float, hi: float) effective (values: float[]) (weights: float[]) =
        let mean, sd = Weighted.moments values weights

        if not (sd > 1e-14 * abs mean && sd > 0.0) then
            raise (
                SingularMatrixException(
                    $"density of {name}",
                    "samples that differ",
                    $"one value, {mean}, in all of them: it has no density"
                )
            )

        let quartiles = Weighted.quartiles values weights / 1.349
        let s = if quartiles > 1e-3 * sd then min sd quartiles else sd
        let width = 1.06 * s * Math.Pow(effective, -0.2)
        let axis = axisOf (lo, hi) values (mean, sd) width
        let bins = bin axis values weights
        let h = Axis.step axis
        let kernel = sqrt (width * width - h * h / 6.0)

        let wide =
            smoothLine axis (lo, hi) (pilot * kernel) bins
            |> Array.map (fun s -> positive s.Constant s.Linear)

        let plain = smoothLine axis (lo, hi) kernel bins

        let tilted =
            Array.map2 (fun b p -> if p > 0.0 then b / p else 0.0) bins wide
            |> smoothLine axis (lo, hi) kernel

        DensityLine.normalise
            { Places = axis
              Values =
                Array.init axis.Length (fun i -> blend plain[i].Inside plain[i].Constant (wide[i] * tilted[i].Constant)) }
