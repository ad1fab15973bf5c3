namespace FieldImnn

open System
open FieldImnn.Core

open Kernels

/// `Kernels` of two parameters, on grids: binned, and smoothed by a Gaussian that follows the samples' correlation.
module internal KernelGrid =
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
