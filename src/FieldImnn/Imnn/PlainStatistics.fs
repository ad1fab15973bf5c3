namespace FieldImnn

open System
open FieldImnn.Core.Runtime
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// What fields at the fiducial look like to anybody who looks at them first, whatever the features of the compressor see: how mean, spread,
/// extremes, correlation of neighbours, evenness along the axes and the correlation of channels are distributed, given the estimates.
type PlainStatistics =
    {
        /// Of every statistic, its values at eleven normal scores, −2.75 to 2.75, (statistics, 11).
        Knots: float[][]
        /// The rms distance of the fields' estimates from the fiducial, in standard errors: about 1, and more of fields from all over a prior.
        Reach: float
        /// The mean of the scores given the estimates, (terms, statistics): of 1, of θ̂ − θ_fid in `Reach`, and of their products.
        Trend: Matrix<float>
        /// The rms of the scores about that, (statistics).
        Spread: float[]
        /// What the largest of |score − mean|/rms of one in a thousand fields exceeds.
        Largest: float
        /// The same of the sum of their squares.
        Sum: float
    }

module internal PlainStatistics =
    let private scores = [| for i in -5 .. 5 -> 0.55 * float i |]

    /// Knots of every statistic.
    let knots = scores.Length

    /// Parameters that have products in the trend, at the most: with more, there are too few fields for so many terms.
    let private mostWithProducts = 12

    /// Terms of the trend with so many parameters.
    let terms p =
        1 + p + (if p <= mostWithProducts then p * (p + 1) / 2 else 0)

    /// The shortest axis of which halves and neighbours are compared.
    let private shortest = 4L

    /// The least part of equal pixels or neighbours that is told: what was rounded for a file has a few.
    let private few = 0.01

    /// What logarithms of zero become those of.
    let private tiny = 1e-6

    /// The least change that counts as one standard deviation: of a statistic, and, as a part of itself, of a part of equal pixels.
    let private least, private leastOfPart = 1e-3, 0.15

    let private bounded (least: float) (t: Tensor) : Tensor = t.clamp_min (least.ToScalar())

    let private log' least (t: Tensor) : Tensor = (bounded least t).log()

    /// ln of a part of equal pixels, where it changes by `leastOfPart` changed by `least`.
    let private logPart (part: Tensor) : Tensor =
        log' few part * (least / leastOfPart).ToScalar()

    /// A statistic of fields with channels (n, c, sides…), (n, c), with its name.
    type private Statistic = string * Tensor

    /// Of pixels u (n, c, sides…) of mean 0 and variance 1, along an axis.
    let private alongAxis (names: string[]) (u: Tensor) axis : Statistic list =
        let dimension, n = int64 axis + 2L, u.shape[axis + 2]
        let part first length : Tensor = u.narrow (dimension, first, length)
        let mean (t: Tensor) : Tensor = t.flatten(2L).mean [| 2L |]
        let square (t: Tensor) = mean (t.square ())

        if n < shortest then
            []
        else
            let before, after = part 0L (n - 1L), part 1L (n - 1L)
            let first, second = part 0L (n / 2L), part (n - n / 2L) (n / 2L)

            let others =
                [| for other in 0 .. names.Length - 1 do
                       if other <> axis then
                           int64 other + 2L |]

            let slices = if others.Length = 0 then u else u.mean others

            [ "correlation of neighbours", mean (before * after)
              "spread of the means of slices", square slices |> log' tiny
              "difference of the means of the halves", mean second - mean first
              "ratio of the variances of the halves", log' tiny (square second) - log' tiny (square first)
              "part of equal neighbours", (before.eq after).``to`` torch.ScalarType.Float32 |> mean |> logPart ]
            |> List.map (fun (name, t) -> $"{name} along {names[axis]}", t)

    /// Of all pixels u (n, c, pixels) of each channel, of mean 0 and variance 1 in units of `sd` (n, c) about `mean`.
    let private overall (u: Tensor) (mean: Tensor) (sd: Tensor) : Statistic list =
        let moment (power: int) = u.pow(power.ToScalar()).mean [| 2L |]
        let highest, lowest = u.amax [| 2L |], u.amin [| 2L |]

        let share (value: Tensor) =
            (u.eq (value.unsqueeze 2L)).``to``(torch.ScalarType.Float32).mean [| 2L |]

        [ "mean", mean / sd
          "standard deviation", sd.log ()
          "skewness", (moment 3).asinh()
          "kurtosis", moment 4 |> log' tiny
          "highest pixel", highest |> log' tiny
          "lowest pixel", lowest.neg () |> log' tiny
          "part of pixels at the highest", share highest |> logPart
          "part of pixels at the lowest", share lowest |> logPart ]

    /// Of pixels u (n, c, pixels): (n) of each pair of channels.
    let private ofPairs (u: Tensor) : (string * Tensor) list =
        [ for a in 0L .. u.shape[1] - 1L do
              for b in a + 1L .. u.shape[1] - 1L do
                  $"correlation of channels {a + 1L} and {b + 1L}", (u.select (1L, a) * u.select (1L, b)).mean [| 1L |] ]

    let private ofChunk channels (fields: Tensor) : (string * Tensor) list =
        let single = fields.``to`` torch.ScalarType.Float32
        let x = if channels > 1 then single else single.unsqueeze 1L
        let axes = int (x.dim ()) - 2
        let flat = x.flatten 2L
        let mean = flat.mean [| 2L |]
        let centred = flat - mean.unsqueeze 2L
        let sd = centred.square().mean([| 2L |]).sqrt() |> bounded 1e-15
        let u = centred / sd.unsqueeze 2L

        let names =
            Array.init axes (fun axis -> if axes = 1 then "it" else $"axis {axis + 1}")

        let ofChannels =
            overall u mean sd
            @ List.collect (alongAxis names (u.reshape x.shape)) [ 0 .. axes - 1 ]

        [ for name, values in ofChannels do
              for c in 0 .. channels - 1 do
                  (if channels > 1 then $"{name} of channel {c + 1}" else name), values.select (1L, int64 c)
          yield! ofPairs u ]

    /// The statistics of fields (n, shape…), their names and rows.
    let ofFields (channels: int) (fields: Tensor) : string[] * float[][] =
        let part struct (start, length) =
            Tensors.using (fun () ->
                use _ = torch.no_grad ()

                let names, values =
                    fields.narrow (0L, int64 (start: int), int64 (length: int))
                    |> ofChunk channels
                    |> List.toArray
                    |> Array.unzip

                names, torch.stack (values, 1L) |> Tensors.toRows)

        TorchRuntime.OnOneThread(fun () ->
            let parts =
                Tensors.chunks (Tensors.fieldsAtOnce fields.shape[1..]) (int fields.shape[0])
                |> Array.map part

            fst parts[0], Array.collect snd parts)

    /// How many statistics fields of a shape with channels have.
    let count (fieldShape: int64[]) channels =
        Tensors.using (fun () ->
            let shape = Array.append [| 1L |] fieldShape
            (ofFields channels (torch.zeros (shape, dtype = torch.ScalarType.Float32)) |> fst).Length)

    /// Knots of values, those that repeat at the middle of their ranks; beyond the first and last in a line.
    let private knotsOf (values: float[]) =
        let groups = values |> Array.countBy id |> Array.sortBy fst
        let below = groups |> Array.scan (fun sum (_, count) -> sum + count) 0

        let places =
            groups
            |> Array.mapi (fun i (_, count) ->
                Normal.InvCDF(0.0, 1.0, (float below[i] + 0.5 * float count) / float values.Length))

        let at z =
            let found = Array.BinarySearch(places, z)

            let i =
                (if found >= 0 then found else ~~~found) - 1 |> max 0 |> min (groups.Length - 2)

            let (low, _), (high, _) = groups[i], groups[i + 1]
            low + (high - low) * (z - places[i]) / (places[i + 1] - places[i])

        let knots =
            if groups.Length = 1 then
                Array.create scores.Length (fst groups[0])
            else
                Array.map at scores

        // rising everywhere, from the middle outwards
        let middle = scores.Length / 2

        for i in middle + 1 .. scores.Length - 1 do
            knots[i] <- max knots[i] (knots[i - 1] + least * (scores[i] - scores[i - 1]))

        for i in middle - 1 .. -1 .. 0 do
            knots[i] <- min knots[i] (knots[i + 1] - least * (scores[i + 1] - scores[i]))

        knots

    /// Where scores end: an outlier farther away is no more of one.
    let private farthest = 20.0

    let private score (knots: float[]) v =
        let i =
            match Array.BinarySearch(knots, v) with
            | found when found >= 0 -> found
            | found -> ~~~found - 1
            |> max 0
            |> min (knots.Length - 2)

        let at =
            scores[i]
            + (scores[i + 1] - scores[i]) * (v - knots[i]) / (knots[i + 1] - knots[i])

        Math.Clamp(at, -farthest, farthest)

    let private largest (row: float[]) =
        row |> Array.fold (fun most z -> max most (abs z)) 0.0

    let private sum (row: float[]) = row |> Array.sumBy (fun z -> z * z)

    /// How far in `Reach`, rms over the directions, the trend is followed.
    let private followed = 3.0

    let private rms (errors: float[]) =
        sqrt (errors |> Array.averageBy (fun e -> e * e))

    /// 1, the estimates in `Reach` and their products.
    let private design (distances: float[]) =
        let errors =
            distances |> Array.map (fun e -> e * min 1.0 (followed / rms distances))

        [| 1.0
           yield! errors
           if errors.Length <= mostWithProducts then
               for a in 0 .. errors.Length - 1 do
                   for b in a .. errors.Length - 1 do
                       errors[a] * errors[b] |]

    /// Scores less what estimates in `Reach` let expect of them, in units of what that leaves.
    let private left (trend: Matrix<float>) (spread: float[]) (distances: float[]) (scored: float[]) =
        let expected = Vector<float>.Build.DenseOfArray(design distances) * trend
        Array.init scored.Length (fun k -> (scored[k] - expected[k]) / spread[k])

    /// The least part of a statistic's spread that the estimates leave.
    let private leastLeft = 0.3

    let private inReach reach (errors: float[]) =
        errors |> Array.map (fun e -> e / reach)

    let private fit (rows: float[][]) (errors: float[][]) : PlainStatistics =
        let reach = sqrt (errors |> Array.averageBy (fun e -> rms e ** 2.0)) |> max 1e-3
        let distances = errors |> Array.map (inReach reach)

        let knots =
            Array.init rows[0].Length (fun k -> rows |> Array.map (Array.item k) |> knotsOf)

        let scored = rows |> Array.map (Array.map2 score knots)
        let terms = distances |> Array.map design |> Matrix<float>.Build.DenseOfRowArrays
        let z = Matrix<float>.Build.DenseOfRowArrays scored
        let trend = terms.QR().Solve z
        let residual = z - terms * trend

        let spread =
            Array.init z.ColumnCount (fun k -> max leastLeft (residual.Column(k).L2Norm() / sqrt (float z.RowCount)))

        let remaining = Array.map2 (left trend spread) distances scored

        let rare measure =
            let found = remaining |> Array.map measure |> Array.sort
            found[min (found.Length - 1) (int (0.999 * float found.Length))]

        { Knots = knots
          Reach = reach
          Trend = trend
          Spread = spread
          Largest = rare largest
          Sum = rare sum }

    /// Fewer fields than these do not tell what is rare.
    let fewest = 1000

    /// Of rows of statistics of fields at the fiducial, and their estimates' distances from it in standard errors, by direction; none where these are
    /// too few.
    let tryFit (rows: float[][]) (errors: float[][]) : PlainStatistics option =
        if rows.Length < fewest then None else Some(fit rows errors)

    /// How many times as unusual a field may be, its estimates so far from the fiducial in `Reach`: of well-specified fields one in a thousand or so
    /// is more.
    let private allowed (distances: float[]) =
        1.1 + 0.2 * (min followed (rms distances)) ** 2.0

    /// How many times as unusual as one in a thousand fields, and as is allowed, a row of statistics is, given the estimates; and the number of
    /// the statistic that is the most so.
    let unusual known (errors: float[]) (row: float[]) : struct (float * float * int) =
        let distances = inReach known.Reach errors

        let scored =
            Array.map2 score known.Knots row |> left known.Trend known.Spread distances

        let most = [| 0 .. row.Length - 1 |] |> Array.maxBy (fun k -> abs scored[k])
        let times = max (largest scored / known.Largest) (sqrt (sum scored / known.Sum))
        struct (times, times / allowed distances, most)
