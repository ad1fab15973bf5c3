namespace FieldImnn

open System
open System.Collections.Generic
open FieldImnn.Core

/// Where a log density of one or two parameters is: evaluations on lattices, peaks, and the region about them.
module internal GridSearch =
    /// What lies this far below the peak, e^−16 of it, is left out.
    let depth = 16.0

    let subject = "posterior on a grid"

    /// All points of one or two axes, the last running fastest.
    let points (axes: float[][]) =
        match axes with
        | [| x |] -> x |> Array.map Array.singleton
        | _ ->
            [| for a in axes[0] do
                   for b in axes[1] -> [| a; b |] |]

    /// The log density at rows of θ, numbers or −∞.
    let evaluate (logDensity: float[][] -> float[]) (rows: float[][]) =
        let values = logDensity rows

        if values.Length <> rows.Length then
            raise (ShapeException("log density", $"{rows.Length} values, one for each θ", $"{values.Length}"))

        values
        |> Array.iteri (fun i v ->
            if Double.IsNaN v || Double.IsPositiveInfinity v then
                let theta =
                    rows[i]
                    |> Array.map (fun t -> FormattableString.Invariant $"{t:R}")
                    |> String.concat ", "

                raise (NonFiniteException("log density", "numbers or −∞", $"{v} at θ = ({theta})")))

        values

    /// The peak, if it is one: above −∞, and not so large that double precision loses differences of a hundredth.
    let peak (values: float[]) =
        let peak = Array.max values

        if Double.IsNegativeInfinity peak then
            raise (
                RangeException(
                    subject,
                    "a density above zero somewhere within the bounds (they may be too wide to find it: give nearer ones)",
                    "zero everywhere"
                )
            )

        let size = abs peak

        if Math.BitIncrement size - size > 0.01 then
            raise (
                RangeException(
                    "log density",
                    "differences of 0.01 that double precision resolves: subtract a constant",
                    FormattableString.Invariant $"a peak of {peak:g3}, where they are rounded away"
                )
            )

        peak

    /// Coordinates of point `at` on axes of these lengths.
    let place (sizes: int[]) at =
        match sizes with
        | [| _ |] -> [| at |]
        | _ -> [| at / sizes[1]; at % sizes[1] |]

    /// Steps to all neighbours of a point.
    let private neighbours =
        function
        | 1 -> [| [| -1 |]; [| 1 |] |]
        | _ ->
            [| for i in -1 .. 1 do
                   for j in -1 .. 1 do
                       if i <> 0 || j <> 0 then
                           [| i; j |] |]

    /// The points that no neighbour exceeds, with the distance to the next along each axis, below a level.
    let maxima (axes: float[][]) (values: float[]) level =
        let sizes = axes |> Array.map Array.length

        let index (c: int[]) =
            if c.Length = 1 then c[0] else c[0] * sizes[1] + c[1]

        let around = neighbours axes.Length

        [| for at in 0 .. values.Length - 1 do
               let v = values[at]

               if v <= level && v > -infinity then
                   let c = place sizes at

                   let beside =
                       around
                       |> Array.map (Array.map2 (+) c)
                       |> Array.filter (Array.forall2 (fun n i -> i >= 0 && i < n) sizes)
                       |> Array.map (fun c -> values[index c])

                   if Array.forall (fun w -> w <= v) beside && Array.exists (fun w -> w < v) beside then
                       let theta = Array.map2 (fun (axis: float[]) i -> axis[i]) axes c

                       let step =
                           Array.map2
                               (fun (axis: float[]) i ->
                                   if i + 1 < axis.Length then
                                       axis[i + 1] - axis[i]
                                   else
                                       axis[i] - axis[i - 1])
                               axes
                               c

                       v, theta, step |]
        |> Array.sortByDescending (fun (v, _, _) -> v)

    let private combine a (x: float[]) b (y: float[]) =
        Array.map2 (fun u v -> a * u + b * v) x y

    /// A simplex about a point: of the two points so many steps away along each axis the higher, with its value.
    let private simplex value scale (theta: float[]) (step: float[]) =
        [| yield value theta, theta
           for k in 0 .. theta.Length - 1 do
               let moved sign =
                   theta |> Array.mapi (fun q t -> if q = k then t + sign * scale * step[k] else t)

               let one, other = moved 0.4, moved -0.4
               let a, b = value one, value other
               yield (if a >= b then a, one else b, other) |]

    /// A better corner in place of the lowest, the last of falling ones: reflected at the others, and farther or nearer. None if all are lower.
    let private better value (corners: (float * float[])[]) =
        let p = corners.Length - 1
        let best, worst = fst corners[0], fst corners[p]

        let middle =
            Array.init p (fun k -> Array.averageBy (fun (_, t: float[]) -> t[k]) corners[.. p - 1])

        let at factor =
            let theta = combine (1.0 + factor) middle -factor (snd corners[p])
            value theta, theta

        let reflected = at 1.0

        if fst reflected > best then
            let further = at 2.0
            Some(if fst further > fst reflected then further else reflected)
        elif fst reflected > fst corners[p - 1] then
            Some reflected
        else
            let inner = if fst reflected > worst then at 0.5 else at -0.5

            if fst inner > max worst (fst reflected) then
                Some inner
            else
                None

    /// The highest corner of a simplex that has come to rest, after so many steps at most.
    let rec private descend value left (corners: (float * float[])[]) =
        let corners = corners |> Array.sortByDescending fst
        let p = corners.Length - 1

        if left = 0 || fst corners[0] - fst corners[p] < 1e-4 then
            corners[0]
        else
            match better value corners with
            | Some corner -> descend value (left - 1) (Array.append corners[.. p - 1] [| corner |])
            | None ->
                corners
                |> Array.mapi (fun i (v, t) ->
                    if i = 0 then
                        v, t
                    else
                        let theta = combine 0.5 t 0.5 (snd corners[0])
                        value theta, theta)
                |> descend value (left - 1)

    /// The peak near a point, by the simplex of Nelder & Mead (1965), begun anew until that no longer helps.
    let climb (logDensity: float[][] -> float[]) (bounds: (float * float)[]) (start: float[]) (step: float[]) =
        let value (theta: float[]) =
            if Array.forall2 (fun (lo, hi) t -> lo <= t && t <= hi) bounds theta then
                (evaluate logDensity [| theta |])[0]
            else
                -infinity

        let rec again left scale (v, theta) =
            let v', theta' = simplex value scale theta step |> descend value 300

            if left = 0 || v' - v < 0.01 then
                v', theta'
            else
                again (left - 1) (0.3 * scale) (v', theta')

        again 8 1.0 (value start, start)

    /// How far along axis k the log density falls by a half from a peak, to either side: the larger distance.
    let width (logDensity: float[][] -> float[]) (bounds: (float * float)[]) (theta: float[]) k =
        let top = (evaluate logDensity [| theta |])[0]
        let lo, hi = bounds[k]
        let most = min (hi - lo) (1e12 * (1.0 + abs theta[k]))
        let ladder = Array.init 400 (fun q -> most * 1.2 ** -(float q))

        let side sign =
            let rungs =
                ladder
                |> Array.filter (fun t -> theta[k] + sign * t >= lo && theta[k] + sign * t <= hi)

            let values =
                rungs
                |> Array.map (fun t -> theta |> Array.mapi (fun q v -> if q = k then v + sign * t else v))
                |> evaluate logDensity

            // the lowest rung from which everything below is within a half
            let near =
                Array.zip rungs values
                |> Array.rev
                |> Array.takeWhile (fun (_, v) -> v >= top - 0.5)

            if near.Length = 0 then 0.0 else fst near[near.Length - 1]

        max (side 1.0) (side -1.0)

    let private refuse received =
        raise (
            RangeException(
                subject,
                "a posterior that a grid can resolve (else a sampler: walkers follow any ridge)",
                received
            )
        )

    /// Most points that are evaluated about the peaks.
    let private most = 400000

    /// The log density on a lattice (coordinates → θ, none outside it) from seeds outwards, as far as it is within `depth` of the peak.
    let flood logDensity peak (theta: int[] -> float[] option) (seeds: int[][]) =
        let known = Dictionary<struct (int * int), float>()

        let key (c: int[]) =
            struct (c[0], (if c.Length > 1 then c[1] else 0))

        let around = neighbours seeds[0].Length

        let rec go (frontier: int[][]) =
            let fresh =
                frontier
                |> Array.distinctBy key
                |> Array.choose (fun c ->
                    if known.ContainsKey(key c) then
                        None
                    else
                        theta c |> Option.map (fun t -> c, t))

            if fresh.Length > 0 then
                let values = evaluate logDensity (Array.map snd fresh)
                Array.iter2 (fun (c, _) v -> known[key c] <- v) fresh values

                if known.Count > most then
                    refuse $"one of which {most} points about its peaks hold only a part"

                Array.zip fresh values
                |> Array.filter (fun (_, v) -> v > peak - depth)
                |> Array.collect (fun ((c, _), _) -> around |> Array.map (Array.map2 (+) c))
                |> go

        go seeds
        known

    /// The largest deviation of the probability on every second point of the axes (each choice of every second) from that on all: where a
    /// density is resolved they agree, for a Gaussian to the fourth root of what all points miss.
    let disagreement (axes: float[][]) (density: float[]) =
        let sizes = axes |> Array.map Array.length
        let sums = Array.zeroCreate (1 <<< axes.Length)

        density
        |> Array.iteri (fun at d ->
            if d > 0.0 then
                let c = place sizes at
                let part = c |> Array.fold (fun p i -> 2 * p + i % 2) 0
                let share = Array.map2 Axis.share axes c |> Array.reduce (*)
                sums[part] <- sums[part] + d * share)

        let mean = Array.average sums
        sums |> Array.map (fun s -> abs (s / mean - 1.0)) |> Array.max

    /// Grids of more points do not fit into memory with comfort.
    let private largest = 4e6

    /// θ if it lies within bounds.
    let private within (bounds: (float * float)[]) theta =
        if Array.forall2 (fun (lo, hi) t -> lo <= t && t <= hi) bounds theta then
            Some theta
        else
            None

    /// The region about the peaks: its points within `depth` of the highest, on a lattice of these steps about that one, and its ranges.
    let private region logDensity (bounds: (float * float)[]) top (best: float[]) (peaks: float[][]) (steps: float[]) =
        let theta c =
            Array.map3 (fun t h i -> t + h * float i) best steps c

        let known =
            peaks
            |> Array.map (fun t -> Array.map3 (fun a b h -> int (round ((a - b) / h))) t best steps)
            |> flood logDensity top (theta >> within bounds)

        let held =
            [| for entry in known do
                   if entry.Value > top - depth then
                       let struct (i, j) = entry.Key
                       theta (Array.truncate best.Length [| i; j |]) |]

        let range k =
            let ends = held |> Array.map (fun t -> t[k])
            let lo, hi = bounds[k]
            max lo (Array.min ends - steps[k]), min hi (Array.max ends + steps[k])

        held, Array.init best.Length range

    /// The region on steps that follow it to its ends: half of them find no more. The peaks' widths alone do not tell those of a ridge
    /// that bends away from them.
    let rec private follow logDensity bounds top best peaks (steps: float[]) left =
        let held, ranges = region logDensity bounds top best peaks steps
        let half = steps |> Array.map ((*) 0.5)
        let _, again = region logDensity bounds top best peaks half

        if Array.forall2 (fun (a, b) (c, d) -> d - c < 1.1 * (b - a)) ranges again then
            held, ranges, steps
        elif left = 0 then
            refuse "a ridge that bends too sharply"
        else
            follow logDensity bounds top best peaks half (left - 1)

    /// Axes of at least n points and the log density on them (−∞ where it is not near a peak), which resolve every peak.
    let rec resolve n logDensity (bounds: (float * float)[]) (peaks: (float * float[])[]) =
        let p = bounds.Length
        let top, best = Array.maxBy fst peaks
        let peaks = peaks |> Array.filter (fun (v, _) -> v > top - depth) |> Array.map snd

        let widths =
            Array.init p (fun k -> peaks |> Array.map (fun t -> width logDensity bounds t k) |> Array.min)

        if Array.exists2 (fun h (t: float) -> not (h > 1e-13 * abs t)) widths best then
            refuse "a peak narrower than double precision resolves its place"

        let held, ranges, steps =
            follow logDensity bounds top best peaks (widths |> Array.map ((*) 0.7)) 6

        let counts =
            Array.map2 (fun (a, b) h -> max (float n) (ceil ((b - a) / h) + 1.0)) ranges steps

        if Array.reduce (*) counts > largest then
            refuse (
                FormattableString.Invariant
                    $"one that takes {counts[0]:F0} × {Array.last counts:F0} points: too narrow a ridge, or peaks too far apart for their widths"
            )

        // the same on axes that end at the bounds
        let axes = Array.map2 (fun c range -> Axis.line (int c) range) counts ranges
        let sizes = axes |> Array.map Array.length

        let seeds =
            held
            |> Array.map (
                Array.mapi (fun k v -> Math.Clamp(int (round ((v - axes[k][0]) / Axis.step axes[k])), 0, sizes[k] - 1))
            )

        let theta c =
            if Array.forall2 (fun n i -> i >= 0 && i < n) sizes c then
                Some(Array.map2 (fun (axis: float[]) i -> axis[i]) axes c)
            else
                None

        let values = Array.create (Array.reduce (*) sizes) -infinity

        for entry in flood logDensity top theta seeds do
            let struct (i, j) = entry.Key
            values[if p = 1 then i else i * sizes[1] + j] <- entry.Value

        let peak = Array.max values

        if peak > top + 0.5 then
            // a climb that had stopped on its way: from higher up, and so not without end
            let at = values |> Array.findIndex (fun v -> v = peak)
            let start = place sizes at |> Array.map2 (fun (axis: float[]) i -> axis[i]) axes
            resolve n logDensity bounds [| climb logDensity bounds start (axes |> Array.map Axis.step) |]
        elif disagreement axes (values |> Array.map (fun v -> exp (v - peak))) > 0.3 then
            refuse "one whose every second points hold different probabilities"
        else
            axes, values
