namespace FieldImnn

open System
open FieldImnn.Core

/// Posteriors of one or two parameters whose log density takes long: some hundred evaluations in place of ten thousand.
module internal InterpolatedGrid =
    // points of a side: of a look for the peak, of a check, of the grid that is returned
    let private look, private probes, private points = 7, 4, 121

    /// Tolerance of ln p at points that were not used.
    let private tolerance = 0.01

    /// Chebyshev's points of the second kind, rising from lo to hi, both exact.
    let private nodes n (lo: float, hi: float) =
        Array.init n (fun j ->
            if j = 0 then
                lo
            elif j = n - 1 then
                hi
            else
                0.5 * (lo + hi) - 0.5 * (hi - lo) * cos (Math.PI * float j / float (n - 1)))

    /// What the value at each node counts for at x: barycentric interpolation (Berrut & Trefethen 2004, eq. 4.2 and 5.4).
    let private shares (nodes: float[]) x =
        match Array.tryFindIndex ((=) x) nodes with
        | Some at -> nodes |> Array.mapi (fun j _ -> if j = at then 1.0 else 0.0)
        | None ->
            let last = nodes.Length - 1

            let w =
                nodes
                |> Array.mapi (fun j node ->
                    let sign = if j % 2 = 0 then 1.0 else -1.0
                    (if j = 0 || j = last then 0.5 * sign else sign) / (x - node))

            let sum = Array.sum w
            w |> Array.map (fun v -> v / sum)

    /// The polynomial through values at the nodes of one or two axes (the last running fastest).
    let private interpolate (axes: float[][]) (values: float[]) (theta: float[]) =
        let shares = Array.map2 shares axes theta

        match shares with
        | [| one |] -> Array.fold2 (fun sum s v -> sum + s * v) 0.0 one values
        | _ ->
            let columns = axes[1].Length
            let mutable sum = 0.0

            for i in 0 .. axes[0].Length - 1 do
                for j in 0 .. columns - 1 do
                    sum <- sum + shares[0][i] * shares[1][j] * values[i * columns + j]

            sum

    /// Where bounds are infinite, the prior's own quantiles of 10⁻⁹.
    let private finite (prior: Prior) =
        prior.Marginals
        |> Array.map (fun marginal ->
            let lo, hi = Marginal.support marginal

            (if Double.IsFinite lo then
                 lo
             else
                 Marginal.quantile marginal 1e-9),
            (if Double.IsFinite hi then
                 hi
             else
                 Marginal.quantile marginal (1.0 - 1e-9)))

    /// The values at nodes, n a side: finite ones.
    let private atNodes logDensity (axes: float[][]) =
        let values = axes |> GridSearch.points |> GridSearch.evaluate logDensity
        GridSearch.peak values |> ignore

        if Array.exists Double.IsNegativeInfinity values then
            raise (
                RangeException(
                    GridSearch.subject,
                    "a log density that is finite about its peak, up to the bounds (OnGrid and Walkers take others)",
                    "−∞"
                )
            )

        values

    /// The polynomial through the log density at n nodes a side of the ranges; where it misses by more than the tolerance at points between,
    /// within reach of the peak, one of half as many nodes more, so often at most.
    let private follow n most logDensity (ranges: (float * float)[]) =
        let probe =
            ranges
            |> Array.map (fun (lo, hi) -> Array.init probes (fun i -> lo + (hi - lo) * (0.31 + 0.127 * float i)))
            |> GridSearch.points

        let truth = GridSearch.evaluate logDensity probe

        let rec go n left =
            let axes = ranges |> Array.map (nodes n)
            let values = atNodes logDensity axes
            let least = Array.max values - GridSearch.depth
            let value = interpolate axes values

            let error =
                Array.map2 (fun theta t -> if t > least then abs (value theta - t) else 0.0) probe truth
                |> Array.max

            if error < tolerance then
                value
            elif left = 0 || Double.IsNaN error then
                raise (
                    RangeException(
                        GridSearch.subject,
                        "a smooth log density that a polynomial follows (OnGrid and Walkers take others)",
                        FormattableString.Invariant $"one that {n} nodes a side miss by {error:g2}"
                    )
                )
            else
                go (n + n / 2) (left - 1)

        go n most

    /// The posterior of one or two parameters from an unnormalised log density (rows of θ → values, finite within the prior's bounds) that is
    /// smooth and has one peak: the polynomial through its values at n Chebyshev points a side of the region within 16 of the peak, on a
    /// grid of 121 points a side. Where it is off by more than 0.01 at points between, n grows by a half, four times; what no such polynomial
    /// follows is refused.
    let compute n (prior: Prior) (logDensity: float[][] -> float[]) =
        let p = prior.Names.Length

        if p > 2 then
            raise (SettingException(GridSearch.subject, "one or two parameters", $"{p}"))

        Guard.AtLeast("nodes of an interpolated posterior", 5L, int64 n) |> ignore
        let ranges, _ = GridPosterior.zoom logDensity look (finite prior) [||] 20
        let value = follow n 4 logDensity ranges
        let count = if p = 1 then 401 else points
        let axes = ranges |> Array.map (Axis.line count)
        let values = axes |> GridSearch.points |> Array.map value
        let peak = Array.max values
        let density = values |> Array.map (fun v -> exp (v - peak))

        match axes with
        | [| line |] -> Posterior.ofLine prior.Names (Prior.bounds prior) line density
        | _ ->
            Array2D.init count count (fun i j -> density[i * count + j])
            |> Posterior.ofGrid prior.Names (Prior.bounds prior) axes[0] axes[1]
