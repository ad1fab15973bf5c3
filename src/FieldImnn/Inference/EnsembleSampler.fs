namespace FieldImnn

open System
open FieldImnn.Core

/// What an ensemble run returned.
type EnsembleResult =
    {
        /// All walkers of the first kept step, then all of the next, …
        Samples: float[][]
        /// Part of the proposed moves that were accepted.
        Acceptance: float
        /// Walkers that never moved: any is a sign of trouble.
        Stuck: int
        /// Integrated autocorrelation time of every parameter, in steps; samples over it, or over twice it, count as independent.
        AutocorrelationTime: float[]
    }

/// The affine-invariant ensemble sampler with stretch moves (Goodman & Weare 2010, a = 2).
module EnsembleSampler =
    let private stretch = 2.0

    /// Integrated autocorrelation time τ = 1 + 2 Σ ρ(t) of chains (steps, walkers), with the walkers' mean ρ and Sokal's window: the sum
    /// ends at the first t ≥ 5 τ(t). A chain shorter than some 50 τ gives a value that is too low.
    let autocorrelationTime (chains: float[][]) =
        let steps, walkers = chains.Length, chains[0].Length
        let mean = chains |> Array.averageBy Array.average
        let centred = chains |> Array.map (Array.map (fun v -> v - mean))

        let covariance lag =
            let mutable sum = 0.0

            for t in 0 .. steps - 1 - lag do
                for w in 0 .. walkers - 1 do
                    sum <- sum + centred[t][w] * centred[t + lag][w]

            sum / float (walkers * (steps - lag))

        let variance = covariance 0

        let rec add lag tau =
            if lag >= steps || float lag >= 5.0 * tau then
                tau
            else
                add (lag + 1) (tau + 2.0 * covariance lag / variance)

        if variance > 0.0 then add 1 1.0 else nan

    /// Samples a log density (rows of θ → values) from an even number of starting points inside its support: after `burn` steps,
    /// `steps` steps of the whole ensemble. Nothing of zero density is ever returned.
    let run (seed: int) burn steps (logDensity: float[][] -> float[]) (start: float[][]) =
        let walkers = start.Length

        if walkers < 4 || walkers % 2 = 1 then
            raise (SettingException("walkers", "an even number ≥ 4", $"{walkers}"))

        Guard.AtLeast("burn-in steps", 0L, int64 burn) |> ignore
        Guard.AtLeast("steps", 1L, int64 steps) |> ignore
        let p = start[0].Length
        let random = Random seed
        let position = start |> Array.map Array.copy
        let value = logDensity position
        let moved = Array.create walkers false
        let mutable accepted = 0
        let kept = ResizeArray<float[]>()

        if value |> Array.exists (Double.IsFinite >> not) then
            raise (RangeException("walkers' starting points", "points of positive density", "points where it is zero"))

        for step in 1 .. burn + steps do
            for half in 0..1 do
                let own = [| half * walkers / 2 .. (half + 1) * walkers / 2 - 1 |]
                let first = (1 - half) * walkers / 2

                let proposals =
                    own
                    |> Array.map (fun i ->
                        let other = position[first + random.Next(walkers / 2)]
                        let z = ((stretch - 1.0) * random.NextDouble() + 1.0) ** 2.0 / stretch
                        struct (z, Array.map2 (fun o x -> o + z * (x - o)) other position[i]))

                let values = logDensity (proposals |> Array.map (fun struct (_, q) -> q))

                own
                |> Array.iteri (fun q i ->
                    let struct (z, proposal) = proposals[q]
                    let logRatio = float (p - 1) * log z + values[q] - value[i]

                    if log (random.NextDouble()) < logRatio then
                        position[i] <- proposal
                        value[i] <- values[q]
                        moved[i] <- true
                        accepted <- accepted + 1)

            if step > burn then
                kept.AddRange(position |> Array.map Array.copy)

        let samples = kept.ToArray()

        { Samples = samples
          Acceptance = float accepted / float (walkers * (burn + steps))
          Stuck = moved |> Array.filter not |> Array.length
          AutocorrelationTime =
            Array.init p (fun k ->
                samples
                |> Array.map (fun s -> s[k])
                |> Array.chunkBySize walkers
                |> autocorrelationTime) }

    /// Starting points, drawn from candidates by their log weights: of density over that of the candidates' own distribution. They hold
    /// every separate region in its due share, which walkers by themselves seldom change.
    let start (seed: int) walkers (logWeights: float[]) (candidates: float[][]) =
        let highest = logWeights |> Array.filter Double.IsFinite |> Array.fold max -infinity

        if Double.IsNegativeInfinity highest then
            raise (RangeException("walkers' starting points", "a density above zero somewhere", "zero everywhere"))

        let weights =
            logWeights
            |> Array.map (fun v -> if Double.IsFinite v then exp (v - highest) else 0.0)

        let cumulative = Weighted.cumulative weights
        let random = Random seed

        let drawn =
            Array.init walkers (fun _ -> Weighted.choose cumulative (random.NextDouble()))

        let distinct = drawn |> Array.distinct |> Array.length
        let least = 2 * (candidates[0].Length + 1)

        if distinct < least then
            raise (
                SettingException(
                    "candidates for walkers",
                    $"so many that {least} lie where the density is",
                    $"{distinct}"
                )
            )

        drawn |> Array.map (fun i -> candidates[i])
