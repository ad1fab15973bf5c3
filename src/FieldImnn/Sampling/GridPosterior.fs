namespace FieldImnn

open System
open FieldImnn.Core

/// Posteriors of one or two parameters by evaluation on a grid that finds its own place.
module GridPosterior =
    /// The axis of a range. Where it is infinite, places at distances of 10⁻¹² … 10¹², evenly in their logarithm.
    let private search n (lo: float, hi: float) =
        let away = Array.init n (fun i -> 10.0 ** (-12.0 + 24.0 * float i / float (n - 1)))

        match Double.IsFinite lo, Double.IsFinite hi with
        | true, true -> Axis.line n (lo, hi)
        | true, false -> Array.append [| lo |] (away |> Array.map (fun d -> lo + d)) |> Array.distinct
        | false, true ->
            Array.append (away |> Array.rev |> Array.map (fun d -> hi - d)) [| hi |]
            |> Array.distinct
        | false, false -> Array.concat [ away |> Array.rev |> Array.map (~-); [| 0.0 |]; away ]

    let private infinite (lo, hi) =
        not (Double.IsFinite lo && Double.IsFinite hi)

    /// The ranges within reach of the peak, one point wider at each side, after as many looks as it takes; and lower peaks that a wide
    /// look saw, with their surroundings: what stands on one point of a coarse grid may be higher in truth.
    let rec internal zoom logDensity coarse (ranges: (float * float)[]) lower left =
        let far = Array.exists infinite ranges
        let axes = ranges |> Array.map (search coarse)
        let points = GridSearch.points axes

        let values =
            if far then
                // 10¹² away a likelihood may overflow: the density is not there
                logDensity points
                |> Array.map (fun v ->
                    if Double.IsNaN v || Double.IsPositiveInfinity v then
                        -infinity
                    else
                        v)
            else
                GridSearch.evaluate logDensity points

        let peak = GridSearch.peak values
        let sizes = axes |> Array.map Array.length
        let level = peak - GridSearch.depth

        let near =
            [| for at in 0 .. values.Length - 1 do
                   if values[at] > level then
                       GridSearch.place sizes at |]

        let reached =
            axes
            |> Array.mapi (fun k axis ->
                let held = near |> Array.map (fun c -> c[k])
                axis[max 0 (Array.min held - 1)], axis[min (axis.Length - 1) (Array.max held + 1)])

        let lower =
            Array.append lower (GridSearch.maxima axes values level |> Array.truncate 4)

        let enough =
            Array.forall2 (fun (a, b) (c, d) -> (d - c) / (b - a) > 0.8) ranges reached

        if left = 0 || (enough && not far) then
            reached, lower
        else
            zoom logDensity coarse reached lower (left - 1)

    let private check (names: string[]) (bounds: (float * float)[]) n =
        if names.Length < 1 || names.Length > 2 then
            raise (SettingException(GridSearch.subject, "one or two parameters", $"{names.Length}"))

        if bounds.Length <> names.Length then
            raise (ShapeException(GridSearch.subject, $"bounds of {names.Length} parameters", $"{bounds.Length}"))

        Array.iter2
            (fun name (lo: float, hi) ->
                if not (lo < hi) then
                    raise (
                        RangeException(
                            GridSearch.subject,
                            $"bounds lo < hi of {name}",
                            FormattableString.Invariant $"{lo} … {hi}"
                        )
                    ))
            names
            bounds

        Guard.AtLeast("points of a grid", 5L, int64 n) |> ignore

    /// Whether values on axes leave off where the density does, and every second point tells of the same probability.
    let private resolved (bounds: (float * float)[]) (axes: float[][]) (values: float[]) peak =
        let sizes = axes |> Array.map Array.length

        let cutOff =
            Seq.init values.Length id
            |> Seq.exists (fun at ->
                values[at] > peak - 0.75 * GridSearch.depth
                && GridSearch.place sizes at
                   |> Array.mapi (fun k i ->
                       let lo, hi = bounds[k]
                       let axis = axes[k]
                       (i = 0 && axis[0] > lo) || (i = axis.Length - 1 && axis[i] < hi))
                   |> Array.contains true)

        not cutOff
        && GridSearch.disagreement axes (values |> Array.map (fun v -> exp (v - peak))) < 0.3

    /// The posterior of one or two parameters from an unnormalised log density (rows of θ → values, −∞ for none): it zooms from the bounds,
    /// which may be infinite, to where the log density is within 16 of its maximum, and evaluates n points a side there (at least 401 on a
    /// line). Where these do not hold the density, on a narrow ridge or several peaks, it climbs all peaks and follows the density from
    /// there on points that resolve them. What no grid of 4 million points resolves is refused, as is a log density so large that its
    /// differences are rounded away.
    let compute n (names: string[]) (bounds: (float * float)[]) (logDensity: float[][] -> float[]) =
        check names bounds n
        let coarse = if names.Length = 1 then 401 else 41
        let n = if names.Length = 1 then max n 401 else n
        let looks = if Array.exists infinite bounds then 30 else 12
        let ranges, lower = zoom logDensity coarse bounds [||] looks
        let axes = ranges |> Array.map (Axis.line n)
        let values = axes |> GridSearch.points |> GridSearch.evaluate logDensity
        let peak = GridSearch.peak values

        let others =
            lower
            |> Array.sortByDescending (fun (v, _, _) -> v)
            |> Array.truncate 8
            |> Array.map (fun (_, theta, step) -> GridSearch.climb logDensity bounds theta step)

        let missed = others |> Array.exists (fun (v, _) -> v > peak - GridSearch.depth)

        let axes, values =
            if not missed && resolved bounds axes values peak then
                axes, values
            else
                let at = values |> Array.findIndex (fun v -> v = peak)
                let theta = (GridSearch.points axes)[at]
                let best = GridSearch.climb logDensity bounds theta (axes |> Array.map Axis.step)

                let own =
                    GridSearch.maxima axes values peak
                    |> Array.truncate 8
                    |> Array.map (fun (_, theta, step) -> GridSearch.climb logDensity bounds theta step)

                GridSearch.resolve n logDensity bounds (Array.concat [ [| best |]; others; own ])

        let peak = GridSearch.peak values
        let density = values |> Array.map (fun v -> exp (v - peak))

        match axes with
        | [| line |] -> Posterior.ofLine names bounds line density
        | _ ->
            Posterior.ofGrid
                names
                bounds
                axes[0]
                axes[1]
                (Array2D.init axes[0].Length axes[1].Length (fun i j -> density[i * axes[1].Length + j]))
