namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra

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
        /// What of this cannot be trusted, in words; empty where nothing is known against it.
        Warnings: string list
    }

/// How a walker's next place is proposed from the places of the other half of the ensemble.
type EnsembleMove =
    /// On the line to one of them (Goodman & Weare 2010, a = 2): for densities of any shape.
    | Stretch
    /// Anywhere, by a multivariate t with their mean and covariance: where the density is near such a one, a few steps forget the start
    /// whatever the number of parameters (stretch moves need some ten steps a parameter).
    | Fitted

/// The multivariate t of five degrees of freedom, whose tails are wider than those of a posterior, with the mean and covariance of points.
module private EnsembleFit =
    let private freedom = 5.0

    type Fit =
        { Mean: Vector<float>
          Factor: Matrix<float> }

    /// None where the points span fewer dimensions than there are.
    let tryCreate (points: float[][]) =
        let rows = Matrix<float>.Build.DenseOfRowArrays points
        let mean = rows.ColumnSums() / float points.Length

        let away =
            rows
            - Matrix<float>.Build.Dense(points.Length, mean.Count, (fun _ k -> mean[k]))

        let covariance = away.TransposeThisAndMultiply away / float (points.Length - 1)
        // in units of each parameter's spread, so that scales do not matter
        let scale = covariance.Diagonal().PointwiseSqrt()
        let correlation = covariance.MapIndexed(fun i j v -> v / (scale[i] * scale[j]))

        try
            Some
                { Mean = mean
                  Factor = correlation.Cholesky().Factor.MapIndexed(fun i _ v -> v * scale[i]) }
        with :? ArgumentException ->
            None

    let draw (random: Random) fit =
        let p = fit.Mean.Count
        let z = Vector<float>.Build.Dense(p, (fun _ -> Normal.Sample(random, 0.0, 1.0)))
        let wide = sqrt (freedom / ChiSquared.Sample(random, freedom))
        (fit.Mean + fit.Factor * z * wide).ToArray()

    /// ln of the density, up to a constant of the fit.
    let logDensity fit (theta: float[]) =
        let away = Vector<float>.Build.DenseOfArray theta - fit.Mean
        let white = Vector<float>.Build.Dense away.Count

        for i in 0 .. away.Count - 1 do
            let mutable left = away[i]

            for j in 0 .. i - 1 do
                left <- left - fit.Factor[i, j] * white[j]

            white[i] <- left / fit.Factor[i, i]

        -0.5
        * (freedom + float away.Count)
        * log (1.0 + white.DotProduct white / freedom)

/// The affine-invariant ensemble sampler with stretch moves (Goodman & Weare 2010, a = 2).
module EnsembleSampler =
    let private stretch = 2.0

    /// Integrated autocorrelation time τ = 1 + 2 Σ ρ(t) of chains (steps, walkers), with the walkers' mean ρ and Sokal's window: the sum
    /// ends at the first t ≥ 5 τ(t). A chain shorter than some 50 τ gives a value that is too low; one that never moves, ∞.
    let autocorrelationTime (chains: float[][]) =
        if chains.Length = 0 || chains[0].Length = 0 then
            raise (ShapeException("chains", "at least one step of one walker", "none"))

        if chains |> Array.exists (Array.exists (Double.IsFinite >> not)) then
            raise (NonFiniteException("chains", "finite numbers", "NaN or infinity"))

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

        if variance > 0.0 then add 1 1.0 else infinity

    /// Refuses walkers that cannot reach all of the space: stretch moves never leave the plane that the walkers span.
    let private checkStart (start: float[][]) =
        let walkers = start.Length

        if walkers < 4 || walkers % 2 = 1 then
            raise (SettingException("walkers", "an even number ≥ 4", $"{walkers}"))

        let p = start[0].Length

        if p = 0 || start |> Array.exists (fun s -> s.Length <> p) then
            raise (ShapeException("walkers' starting points", "the same number of parameters, at least one", "others"))

        if start |> Array.exists (Array.exists (Double.IsFinite >> not)) then
            raise (NonFiniteException("walkers' starting points", "finite numbers", "NaN or infinity"))

        if walkers < 2 * p then
            raise (SettingException("walkers", $"at least {2 * p}, twice the number of parameters", $"{walkers}"))

        let refuse received =
            raise (
                RangeException(
                    "walkers' starting points",
                    $"points that span all {p} parameters: moves never leave what the walkers span",
                    received
                )
            )

        // in units of each parameter's spread, so that scales do not matter
        let columns =
            Array.init p (fun k ->
                let column = start |> Array.map (fun s -> s[k])
                let mean = Array.average column
                let away = column |> Array.map (fun v -> v - mean)
                let size = away |> Array.map abs |> Array.max

                if not (size > 1e-14 * abs mean) then
                    refuse $"the same value of parameter {k} in all"

                away |> Array.map (fun v -> v / size))

        let values = (Matrix<float>.Build.DenseOfColumnArrays columns).Svd(false).S
        let flat = values[p - 1] / values[0]

        if flat < 1e-7 then
            refuse (FormattableString.Invariant $"points in a plane of fewer dimensions (to {flat:g2} of their spread)")

    let private checkMoves moves (start: float[][]) =
        if List.isEmpty moves then
            raise (SettingException("walkers' moves", "at least one kind", "none"))

        let p = start[0].Length

        if List.contains Fitted moves && start.Length < 8 * p then
            raise (
                SettingException("walkers of fitted moves", $"at least {8 * p}, eight a parameter", $"{start.Length}")
            )

    /// The values of a log density, numbers or −∞.
    let private evaluate (logDensity: float[][] -> float[]) (rows: float[][]) =
        let values = logDensity rows

        if values.Length <> rows.Length then
            raise (ShapeException("log density", $"{rows.Length} values, one for each θ", $"{values.Length}"))

        if values |> Array.exists (fun v -> Double.IsNaN v || Double.IsPositiveInfinity v) then
            raise (NonFiniteException("log density", "numbers or −∞", "NaN or +∞"))

        values

    /// What speaks against a run.
    let private warnings steps stuck acceptance (times: float[]) =
        [ if stuck > 0 then
              $"{stuck} of the walkers never moved"

          if acceptance < 0.05 then
              FormattableString.Invariant $"only {100.0 * acceptance:F1} %% of the moves were accepted"

          let longest = Array.max times

          if not (float steps >= 50.0 * longest) then
              FormattableString.Invariant
                  $"{steps} steps are fewer than 50 autocorrelation times (of {longest:F0} or more): moments and that time itself are not settled" ]

    /// Places proposed for the walkers `own` from the other half, and ln(q(old | new)/q(new | old)) of each.
    let private propose move (random: Random) (position: float[][]) (own: int[]) (others: float[][]) =
        match move, (if move = Fitted then EnsembleFit.tryCreate others else None) with
        | Fitted, Some fit ->
            own
            |> Array.map (fun i ->
                let proposal = EnsembleFit.draw random fit
                struct (EnsembleFit.logDensity fit position[i] - EnsembleFit.logDensity fit proposal, proposal))
        | _ ->
            own
            |> Array.map (fun i ->
                let other = others[random.Next others.Length]
                let z = ((stretch - 1.0) * random.NextDouble() + 1.0) ** 2.0 / stretch
                let proposal = Array.map2 (fun o x -> o + z * (x - o)) other position[i]
                struct (float (proposal.Length - 1) * log z, proposal))

    /// Moves one half of the walkers, in place; how many of the moves were accepted.
    let private moveHalf move (random: Random) logDensity (position: float[][]) (value: float[]) (moved: bool[]) half =
        let walkers = position.Length
        let own = [| half * walkers / 2 .. (half + 1) * walkers / 2 - 1 |]
        let others = position[(1 - half) * walkers / 2 .. (2 - half) * walkers / 2 - 1]
        let proposals = propose move random position own others
        let values: float[] = logDensity (proposals |> Array.map (fun struct (_, q) -> q))

        Array.map3
            (fun i struct (logFactor, proposal) v ->
                let accepted = log (random.NextDouble()) < logFactor + v - value[i]

                if accepted then
                    position[i] <- proposal
                    value[i] <- v
                    moved[i] <- true

                if accepted then 1 else 0)
            own
            proposals
            values
        |> Array.sum

    /// As `run`, with moves of which each half step takes one, all of them equally often. `Fitted` needs at least eight times as many
    /// walkers as parameters.
    let runWith
        (moves: EnsembleMove list)
        (seed: int)
        burn
        steps
        (logDensity: float[][] -> float[])
        (start: float[][])
        =
        checkStart start
        checkMoves moves start
        let walkers, p = start.Length, start[0].Length
        let logDensity = evaluate logDensity
        Guard.AtLeast("burn-in steps", 0L, int64 burn) |> ignore
        Guard.AtLeast("steps", 1L, int64 steps) |> ignore
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
                let move =
                    match moves with
                    | [ only ] -> only
                    | several -> several[random.Next several.Length]

                accepted <- accepted + moveHalf move random logDensity position value moved half

            if step > burn then
                kept.AddRange(position |> Array.map Array.copy)

        let samples = kept.ToArray()
        let stuck = moved |> Array.filter not |> Array.length
        let acceptance = float accepted / float (walkers * (burn + steps))

        let times =
            Array.init p (fun k ->
                samples
                |> Array.map (fun s -> s[k])
                |> Array.chunkBySize walkers
                |> autocorrelationTime)

        { Samples = samples
          Acceptance = acceptance
          Stuck = stuck
          AutocorrelationTime = times
          Warnings = warnings steps stuck acceptance times }

    /// Samples a log density (rows of θ → values) from an even number of starting points inside its support, at least twice as many as
    /// parameters, which span them all: after `burn` steps, `steps` steps of the whole ensemble, by stretch moves. Nothing of zero
    /// density is ever returned.
    let run (seed: int) burn steps (logDensity: float[][] -> float[]) (start: float[][]) =
        runWith [ Stretch ] seed burn steps logDensity start

    /// Starting points, drawn from candidates by their log weights: of density over that of the candidates' own distribution. They hold
    /// every separate region in its due share, which walkers by themselves seldom change.
    let start (seed: int) walkers (logWeights: float[]) (candidates: float[][]) =
        if candidates.Length = 0 || logWeights.Length <> candidates.Length then
            raise (
                ShapeException(
                    "candidates for walkers",
                    "at least one, each with a log weight",
                    $"{candidates.Length} candidates, {logWeights.Length} weights"
                )
            )

        if logWeights |> Array.exists Double.IsNaN then
            raise (NonFiniteException("log weights of candidates", "numbers", "NaN"))

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
