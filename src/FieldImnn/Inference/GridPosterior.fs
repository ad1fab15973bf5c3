namespace FieldImnn

open System
open FieldImnn.Core

/// Posteriors of two parameters by evaluation on a grid that finds its own place.
module GridPosterior =
    let private line n (lo, hi) =
        Array.init n (fun i -> lo + (hi - lo) * float i / float (n - 1))

    let private evaluate (logDensity: float[][] -> float[]) n ranges =
        let x, y = line n (fst ranges), line n (snd ranges)

        let values =
            logDensity
                [| for a in x do
                       for b in y -> [| a; b |] |]

        if values |> Array.exists (fun v -> Double.IsNaN v || Double.IsPositiveInfinity v) then
            raise (NonFiniteException("log density", "numbers or −∞", "NaN or +∞"))

        x, y, Array2D.init n n (fun i j -> values[i * n + j])

    /// The part of an axis within reach of the peak, one cell wider at each side.
    let private reach (axis: float[]) (inside: int -> bool) =
        let held = [| 0 .. axis.Length - 1 |] |> Array.filter inside
        axis[max 0 (held[0] - 1)], axis[min (axis.Length - 1) (held[held.Length - 1] + 1)]

    /// The posterior from an unnormalised log density (rows of θ → values), uniform in cost: it zooms from the bounds to where the
    /// log density is within `depth` of its maximum, then evaluates n × n points there.
    let compute n (names: string[]) (bounds: (float * float)[]) (logDensity: float[][] -> float[]) =
        if names.Length <> 2 then
            raise (SettingException("posterior on a grid", "two parameters", $"{names.Length}"))

        let depth = 16.0
        let coarse = 41

        let rec zoom ranges left =
            let x, y, values = evaluate logDensity coarse ranges
            let peak = values |> Seq.cast<float> |> Seq.max

            if Double.IsNegativeInfinity peak then
                raise (
                    RangeException(
                        "posterior on a grid",
                        "a density above zero somewhere within the bounds",
                        "zero everywhere"
                    )
                )

            let near i j = values[i, j] > peak - depth
            let all = [ 0 .. coarse - 1 ]
            let rangeX = reach x (fun i -> all |> List.exists (near i))
            let rangeY = reach y (fun j -> all |> List.exists (fun i -> near i j))
            let shrink (a, b) (c, d) = (d - c) / (b - a)

            if
                left = 0
                || (shrink (fst ranges) rangeX > 0.8 && shrink (snd ranges) rangeY > 0.8)
            then
                rangeX, rangeY
            else
                zoom (rangeX, rangeY) (left - 1)

        let ranges = zoom (bounds[0], bounds[1]) 12
        let x, y, values = evaluate logDensity n ranges
        let peak = values |> Seq.cast<float> |> Seq.max
        Posterior.ofGrid names bounds x y (values |> Array2D.map (fun v -> exp (v - peak)))
