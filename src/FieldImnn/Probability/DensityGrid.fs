namespace FieldImnn

open System
open FieldImnn.Core

/// A density of two parameters on a rectangular grid of equally spaced axes: Density.[i, j] at (X.[i], Y.[j]), normalised to one.
/// One rule holds everywhere: a point stands for its cell, and on the border only for the half (in a corner the quarter) of it that
/// lies within the grid. So sums are trapezoidal, and a prior's hard edge shifts neither mass nor moments.
type DensityGrid =
    { X: float[]
      Y: float[]
      Density: float[,] }

/// A density of one parameter at equally spaced places, normalised to one by the trapezoidal rule.
type DensityLine = { Places: float[]; Values: float[] }

/// Equally spaced axes.
module internal Axis =
    /// n points from lo to hi, both ends exact.
    let line n (lo: float, hi: float) =
        Array.init n (fun i ->
            if i = n - 1 then
                hi
            else
                lo + (hi - lo) * float i / float (n - 1))

    let step (axis: float[]) =
        (axis[axis.Length - 1] - axis[0]) / float (axis.Length - 1)

    /// The part of its cell that point i stands for: a half at the ends.
    let share (axis: float[]) i =
        if i = 0 || i = axis.Length - 1 then 0.5 else 1.0

    /// The ends of what point i stands for.
    let cell (axis: float[]) i =
        let half = 0.5 * step axis
        max axis[0] (axis[i] - half), min axis[axis.Length - 1] (axis[i] + half)

    /// The left neighbour of a value and the part of the step beyond it; none outside the axis.
    let place (axis: float[]) (v: float) =
        let t = (v - axis[0]) / step axis

        if not (axis[0] <= v && v <= axis[axis.Length - 1]) then
            None
        else
            let i = min (axis.Length - 2) (max 0 (int (floor t)))
            Some(i, t - float i)

    /// The axis itself if it is one; errors go by the name.
    let check (name: string) (axis: float[]) =
        if axis.Length < 2 then
            raise (ShapeException(name, "an axis of at least two points", $"{axis.Length}"))

        if axis |> Array.exists (Double.IsFinite >> not) then
            raise (NonFiniteException(name, "an axis of finite numbers", "NaN or infinity"))

        let h = step axis

        if
            not (h > 0.0)
            || axis
               |> Array.pairwise
               |> Array.exists (fun (a, b) -> not (abs (b - a - h) <= 1e-3 * h))
        then
            raise (RangeException(name, "a rising, equally spaced axis", "another"))

        axis

/// Smallest credible regions (HPD) of a density that is known at points, each with its share of the probability and of the area.
module internal Regions =
    // densities this near to each other, relatively, are one: rounding must not order a flat density
    let private tie = 1e-9

    /// The probability of the smallest region that holds a point of this density. Of the points that tie with it count the parts that
    /// `before` says: where these run evenly over all ties the level of a flat density is its exact rank, uniform for its draws.
    let level (density: float[]) (mass: float[]) (before: int -> float) threshold =
        let mutable sum = 0.0
        let mutable all = 0.0

        for i in 0 .. density.Length - 1 do
            all <- all + mass[i]

            if density[i] > threshold * (1.0 + tie) then
                sum <- sum + mass[i]
            elif density[i] >= threshold * (1.0 - tie) && mass[i] > 0.0 then
                sum <- sum + mass[i] * before i

        Math.Clamp(sum / all, 0.0, 1.0)

    let private falling (density: float[]) =
        let order = Array.init density.Length id
        Array.Sort(Array.map (~-) density, order)
        order

    /// The density on the border of the smallest region that holds each probability.
    let levels (probabilities: float[]) (density: float[]) (mass: float[]) =
        let order = falling density
        let held = order |> Array.scan (fun m i -> m + mass[i]) 0.0 |> Array.tail
        let all = held[held.Length - 1]

        probabilities
        |> Array.map (fun p ->
            let i = Array.BinarySearch(held, p * all)
            density[order[min (order.Length - 1) (if i >= 0 then i else ~~~i)]])

    /// The area of the smallest region that holds a probability; of the last point, and so of a tie, only the part that is needed.
    let area probability (density: float[]) (mass: float[]) (area: float[]) =
        let order = falling density
        let wanted = probability * Array.sum mass
        let mutable held, sum, k = 0.0, 0.0, 0

        while held < wanted && k < order.Length do
            let i = order[k]

            let part =
                if mass[i] > 0.0 then
                    min 1.0 ((wanted - held) / mass[i])
                else
                    1.0

            held <- held + mass[i]
            sum <- sum + part * area[i]
            k <- k + 1

        sum

    /// The probabilities themselves if they can be held.
    let check (probabilities: float[]) =
        if probabilities |> Array.exists (fun p -> not (p >= 0.0 && p <= 1.0)) then
            raise (RangeException("probability of a region", "a number from 0 to 1", $"%A{probabilities}"))

        probabilities

/// Densities of one parameter: interpolation, and the probability inside an interval's bounds.
module DensityLine =
    let private masses line =
        line.Values |> Array.mapi (fun i d -> d * Axis.share line.Places i)

    /// Density at a place, linear between the points and zero outside.
    let at v line =
        match Axis.place line.Places v with
        | Some(i, t) -> (1.0 - t) * line.Values[i] + t * line.Values[i + 1]
        | None -> 0.0

    /// The line normalised to one.
    let internal normalise line =
        let total = Array.sum (masses line) * Axis.step line.Places

        { line with
            Values = line.Values |> Array.map (fun d -> d / total) }

    /// The probability of the smallest region (HPD) that holds the place, from 0 to 1. Ties are split in the order of the places.
    let hpdLevel (v: float) line =
        if not (Double.IsFinite v) then
            raise (NonFiniteException("place on a density", "a finite number", $"{v}"))

        let before i =
            let lo, hi = Axis.cell line.Places i
            Math.Clamp((v - lo) / (hi - lo), 0.0, 1.0)

        Regions.level line.Values (masses line) before (at v line)

    /// The density at the ends of the smallest region that holds each of the given probabilities.
    let contourLevels (probabilities: float[]) line =
        Regions.levels (Regions.check probabilities) line.Values (masses line)

/// Densities on grids: interpolation, and the probability inside a contour.
module DensityGrid =
    /// Area of one cell, on equally spaced axes.
    let cell grid = Axis.step grid.X * Axis.step grid.Y

    let private flat grid =
        grid.Density |> Seq.cast<float> |> Seq.toArray

    /// The part of its cell that every point stands for, row by row.
    let internal shares (x: float[]) (y: float[]) =
        [| for i in 0 .. x.Length - 1 do
               for j in 0 .. y.Length - 1 -> Axis.share x i * Axis.share y j |]

    let private masses grid =
        let area = cell grid
        Array.map2 (fun d s -> d * s * area) (flat grid) (shares grid.X grid.Y)

    /// The probability of the whole grid, by the trapezoidal rule: 1 where it is normalised.
    let mass grid = Array.sum (masses grid)

    /// The grid normalised to one.
    let internal normalise grid =
        let total = mass grid

        { grid with
            Density = grid.Density |> Array2D.map (fun d -> d / total) }

    /// Density at a point, bilinear between the grid's points and zero outside.
    let at (x: float, y: float) grid =
        match Axis.place grid.X x, Axis.place grid.Y y with
        | Some(i, s), Some(j, t) ->
            let d = grid.Density

            (1.0 - s) * ((1.0 - t) * d[i, j] + t * d[i, j + 1])
            + s * ((1.0 - t) * d[i + 1, j] + t * d[i + 1, j + 1])
        | _ -> 0.0

    /// The probability of the region where the density exceeds that of the point: the smallest credible region (HPD) that holds it,
    /// from 0 to 1. Points of equal density are ordered by X, so that the levels of a flat density's draws are uniform.
    let hpdLevel (x: float, y: float) grid =
        if not (Double.IsFinite x && Double.IsFinite y) then
            raise (NonFiniteException("point on a density", "finite numbers", $"({x}, {y})"))

        let before i =
            let lo, hi = Axis.cell grid.X (i / grid.Y.Length)
            Math.Clamp((x - lo) / (hi - lo), 0.0, 1.0)

        Regions.level (flat grid) (masses grid) before (at (x, y) grid)

    /// The density on the border of the smallest region that holds each of the given probabilities.
    let contourLevels (probabilities: float[]) grid =
        Regions.levels (Regions.check probabilities) (flat grid) (masses grid)

    /// The area of the smallest region that holds a probability.
    let hpdArea probability grid =
        let area = cell grid

        Regions.check [| probability |] |> ignore

        Regions.area probability (flat grid) (masses grid) (shares grid.X grid.Y |> Array.map (fun s -> s * area))

    /// The density of one of its two parameters (0: X, 1: Y).
    let internal marginal i grid =
        let axis, other, pick =
            if i = 0 then
                grid.X, grid.Y, (fun a b -> grid.Density[a, b])
            else
                grid.Y, grid.X, (fun a b -> grid.Density[b, a])

        DensityLine.normalise
            { Places = axis
              Values =
                axis
                |> Array.mapi (fun a _ ->
                    other
                    |> Array.mapi (fun b _ -> pick a b * Axis.share other b)
                    |> Array.sum
                    |> (*) (Axis.step other)) }

    /// The same density with its parameters exchanged.
    let internal transpose grid =
        { X = grid.Y
          Y = grid.X
          Density = Array2D.init grid.Y.Length grid.X.Length (fun a b -> grid.Density[b, a]) }
