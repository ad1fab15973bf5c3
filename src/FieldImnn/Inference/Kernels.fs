namespace FieldImnn

open System
open FieldImnn.Core

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

    /// Mean and standard deviation of values under weights of sum one.
    let moments (values: float[]) (weights: float[]) =
        let mean = Array.fold2 (fun s v w -> s + v * w) 0.0 values weights

        let variance =
            Array.fold2 (fun s v w -> s + w * (v - mean) * (v - mean)) 0.0 values weights

        mean, sqrt variance

    /// The interquartile range of values under weights.
    let quartiles (values: float[]) (weights: float[]) =
        let order = Array.init values.Length id
        Array.Sort(Array.copy values, order)
        let sums = order |> Array.map (fun i -> weights[i]) |> cumulative
        let at u = values[order[choose sums u]]
        at 0.75 - at 0.25

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
    type private Smoothed =
        { Inside: float
          Constant: float
          Linear: float }

    // a Gaussian this many sds away counts for nothing
    let private reach = 4.0

    let private phi t =
        if Double.IsInfinity t then
            0.0
        else
            exp (-0.5 * t * t) / sqrt (2.0 * Math.PI)

    let private positive (constant: float) (linear: float) =
        if constant > 0.0 then
            constant * exp (linear / constant - 1.0)
        else
            0.0

    /// How much wider the estimate is that others are divided by.
    let private pilot = 2.0

    /// The plain estimate where the whole kernel is inside, the one that follows the slope where a half or less is.
    let private blend inside plain sloping =
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

    /// The largest grid of two parameters, a side.
    let private largest = 1201

    /// A row of a kernel on a grid: so many steps along x from its centre, its heights from `From` steps along y on.
    type private KernelRow =
        { Along: int
          From: int
          Heights: float[] }

    /// A kernel (2 × 2 covariance a, b, c) on a grid, as far as it reaches.
    let private stencil (hx: float, hy: float) (a: float, b: float, c: float) =
        let det = a * c - b * b
        let rx, ry = int (ceil (reach * sqrt a / hx)), int (ceil (reach * sqrt c / hy))

        [| for i in -rx .. rx do
               let u = float i * hx

               let held =
                   [| for j in -ry .. ry do
                          let v = float j * hy
                          let r2 = (c * u * u - 2.0 * b * u * v + a * v * v) / det

                          if r2 < reach * reach then
                              j, exp (-0.5 * r2) |]

               if held.Length > 0 then
                   { Along = i
                     From = fst held[0]
                     Heights = Array.map snd held } |]

    /// The part of each point's cell within the bounds, from `radius` points before the axis to as many after it.
    let private mask (axis: float[]) (lo, hi) radius =
        let h = Axis.step axis

        Array.init (axis.Length + 2 * radius) (fun q ->
            let v = axis[0] + float (q - radius) * h

            Math.Clamp((v - lo) / h + 0.5, 0.0, 1.0)
            * Math.Clamp((hi - v) / h + 0.5, 0.0, 1.0))

    /// Samples shared by the four points about them, row by row.
    let private bin2 (x: float[]) (y: float[]) (u: float[]) (v: float[]) (weights: float[]) =
        let bins = Array.zeroCreate (x.Length * y.Length)

        for q in 0 .. u.Length - 1 do
            match Axis.place x u[q], Axis.place y v[q] with
            | Some(i, s), Some(j, t) ->
                let at = i * y.Length + j
                let below, above = at + y.Length, at + y.Length + 1
                bins[at] <- bins[at] + weights[q] * (1.0 - s) * (1.0 - t)
                bins[at + 1] <- bins[at + 1] + weights[q] * (1.0 - s) * t
                bins[below] <- bins[below] + weights[q] * s * (1.0 - t)
                bins[above] <- bins[above] + weights[q] * s * t
            | _ -> ()

        bins

    /// Σ over bins of the kernel times (steps along x)^p (steps along y)^q from the point to the bin, at every point.
    let private spread p q (stencil: KernelRow[]) nx ny (bins: float[]) =
        let sums = Array.zeroCreate (nx * ny)

        let rows =
            stencil
            |> Array.map (fun row ->
                row.Heights
                |> Array.mapi (fun k h -> h * float -row.Along ** float p * float -(row.From + k) ** float q))

        for i in 0 .. nx - 1 do
            for j in 0 .. ny - 1 do
                let m = bins[i * ny + j]

                if m > 0.0 then
                    for r in 0 .. stencil.Length - 1 do
                        let row, heights = stencil[r], rows[r]
                        let a = i + row.Along

                        if a >= 0 && a < nx then
                            let at = a * ny + j + row.From
                            let first = max 0 (-j - row.From)
                            let last = min (heights.Length - 1) (ny - 1 - j - row.From)

                            for k in first..last do
                                sums[at + k] <- sums[at + k] + m * heights[k]

        sums

    /// Sums of the kernel within the mask times 1 and, for the linear fit, u, v, u², uv, v² in steps from the point.
    let private inside linear (stencil: KernelRow[]) (maskX: float[]) (maskY: float[]) i j =
        let mutable a00, a10, a01, a20, a11, a02 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0

        for row in stencil do
            let m = maskX[i + row.Along]

            if m > 0.0 then
                let mutable s0, s1, s2 = 0.0, 0.0, 0.0
                let at = j + row.From

                let heights = row.Heights

                if linear then
                    for k in 0 .. heights.Length - 1 do
                        let w = heights[k] * maskY[at + k]
                        let v = float (row.From + k)
                        s0 <- s0 + w
                        s1 <- s1 + w * v
                        s2 <- s2 + w * v * v
                else
                    for k in 0 .. heights.Length - 1 do
                        s0 <- s0 + heights[k] * maskY[at + k]

                let u = float row.Along
                a00 <- a00 + m * s0
                a10 <- a10 + m * u * s0
                a01 <- a01 + m * s1
                a20 <- a20 + m * u * u * s0
                a11 <- a11 + m * u * s1
                a02 <- a02 + m * s2

        struct (a00, a10, a01, a20, a11, a02)

    /// Smooths bins by a stencil, with the local linear fit, if it is wanted, where the mask of the bounds is not whole.
    let private smooth linear (stencil: KernelRow[]) (maskX: float[]) (maskY: float[]) nx ny (bins: float[]) =
        let rx, ry = (maskX.Length - nx) / 2, (maskY.Length - ny) / 2

        let cut (mask: float[]) radius n =
            Array.init n (fun i -> mask[i .. i + 2 * radius] |> Array.exists (fun m -> m < 1.0))

        let cutX, cutY = cut maskX rx nx, cut maskY ry ny
        let linear = linear && (Array.contains true cutX || Array.contains true cutY)
        let b0 = spread 0 0 stencil nx ny bins
        let b1 = if linear then spread 1 0 stencil nx ny bins else [||]
        let b2 = if linear then spread 0 1 stencil nx ny bins else [||]
        let whole = stencil |> Array.sumBy (fun row -> Array.sum row.Heights)

        Array.init (nx * ny) (fun at ->
            let i, j = at / ny, at % ny

            if not (cutX[i] || cutY[j]) then
                { Inside = 1.0
                  Constant = b0[at] / whole
                  Linear = b0[at] / whole }
            else
                let struct (a00, a10, a01, a20, a11, a02) =
                    inside linear stencil maskX maskY (i + rx) (j + ry)
                // first row of the inverse of [a00 a10 a01; a10 a20 a11; a01 a11 a02] times the sums over samples
                let c0, c1, c2 = a20 * a02 - a11 * a11, a01 * a11 - a10 * a02, a10 * a11 - a20 * a01
                let det = a00 * c0 + a10 * c1 + a01 * c2

                { Inside = a00 / whole
                  Constant = b0[at] / a00
                  Linear =
                    if linear then
                        (c0 * b0[at] + c1 * b1[at] + c2 * b2[at]) / det
                    else
                        b0[at] / a00 })

    /// Smooths bins on axes by a kernel (a, b, c).
    let private smoothGrid linear (x: float[]) (y: float[]) boundsX boundsY kernel bins =
        let stencil = stencil (Axis.step x, Axis.step y) kernel
        let rx = stencil |> Array.map (fun row -> abs row.Along) |> Array.max

        let ry =
            stencil
            |> Array.map (fun row -> max (abs row.From) (abs (row.From + row.Heights.Length - 1)))
            |> Array.max

        smooth linear stencil (mask x boundsX rx) (mask y boundsY ry) x.Length y.Length bins

    let private onGrid (x: float[]) (y: float[]) (values: float[]) =
        { X = x
          Y = y
          Density = Array2D.init x.Length y.Length (fun i j -> values[i * y.Length + j]) }

    /// The density on a grid, by a kernel (a, b, c) about each sample.
    let private estimate (x: float[]) (y: float[]) boundsX boundsY (a, b, c) u v weights =
        let bins = bin2 x y u v weights
        let plain = smoothGrid false x y boundsX boundsY (a, b, c) bins

        if plain |> Array.forall (fun s -> s.Inside = 1.0) then
            plain |> Array.map _.Constant |> onGrid x y
        else
            // the wider estimate is as smooth as it is wide: every second point will do
            let coarse (axis: float[]) =
                Axis.line (axis.Length / 2 + 1) (axis[0], axis[axis.Length - 1])

            let x', y' = coarse x, coarse y
            let square = pilot * pilot

            let wider =
                bin2 x' y' u v weights
                |> smoothGrid true x' y' boundsX boundsY (square * a, square * b, square * c)
                |> Array.map (fun s -> positive s.Constant s.Linear)
                |> onGrid x' y'

            let wide =
                [| for p in x do
                       for q in y -> DensityGrid.at (p, q) wider |]

            let tilted =
                Array.map2 (fun b w -> if w > 0.0 then b / w else 0.0) bins wide
                |> smoothGrid false x y boundsX boundsY (a, b, c)

            Array.map3 (fun s w t -> blend s.Inside s.Constant (w * t.Constant)) plain wide tilted
            |> onGrid x y

    /// The density of two parameters on at least n × n points, mean ± 5 sd within the bounds, of samples with weights (sum one) that are
    /// worth `effective` draws: a Gaussian of covariance (a, b, c)·effective^(−1/3) (Silverman) about each. A correlation that the largest
    /// grid does not resolve is refused.
    let grid
        (nameX: string, nameY: string)
        n
        boundsX
        boundsY
        effective
        (covariance: float * float * float)
        u
        v
        weights
        =
        let a, b, c = covariance
        let subject = $"density of {nameX} and {nameY}"

        if not (a > 0.0 && c > 0.0) then
            let still = if a > 0.0 then nameY else nameX

            raise (
                SingularMatrixException(subject, "samples that differ in both", $"one value of {still} in all of them")
            )

        let free = 1.0 - b * b / (a * c)

        let axis (lo, hi) values variance =
            let mean, _ = Weighted.moments values weights
            let s = sqrt variance
            let low, high = max lo (mean - 5.0 * s), min hi (mean + 5.0 * s)
            let narrow = s * Math.Pow(effective, -1.0 / 6.0) * sqrt (max 0.0 free)
            let wanted = (high - low) / (0.9 * narrow)

            if not (wanted < float largest) then
                raise (
                    SingularMatrixException(
                        subject,
                        $"a correlation that {largest} points a side resolve",
                        FormattableString.Invariant
                            $"{b / sqrt (a * c):R}: the samples lie on a line, and have no density in the plane"
                    )
                )

            Axis.line (max n (1 + int (ceil wanted))) (low, high)

        let x, y = axis boundsX u a, axis boundsY v c
        let hx, hy = Axis.step x, Axis.step y
        let scale = Math.Pow(effective, -1.0 / 3.0)

        // where the kernel is hardly wider than a cell, it keeps at least half of its variance
        let less v h =
            max ((1.0 - 0.5 * free) * v) (v - h * h / 6.0)

        let kernel =
            let ka, kb, kc = less (scale * a) hx, scale * b, less (scale * c) hy

            if ka * kc > kb * kb * (1.0 + 1e-3 * free) then
                ka, kb, kc
            else
                scale * a, kb, scale * c

        estimate x y boundsX boundsY kernel u v weights |> DensityGrid.normalise
