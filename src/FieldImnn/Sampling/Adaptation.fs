namespace FieldImnn

/// What a warm-up learns: the step by dual averaging (Hoffman & Gelman 2014, §3.2), and a scale for every dimension by windows that double
/// (as in Stan).
module internal Adaptation =
    /// Dual averaging of the logarithm of the step.
    type Step =
        { Log: float
          Averaged: float
          Centre: float
          Error: float
          Count: float }

    /// A start from a step; the search is drawn to ten times that.
    let initial step =
        { Log = log step
          Averaged = log step
          Centre = log (10.0 * step)
          Error = 0.0
          Count = 0.0 }

    /// One update towards the wanted acceptance, with the published constants γ = 0.05, t₀ = 10, κ = 0.75.
    let learn wanted acceptance step =
        let count = step.Count + 1.0
        let weight = 1.0 / (count + 10.0)
        let error = (1.0 - weight) * step.Error + weight * (wanted - acceptance)
        let logStep = step.Centre - sqrt count / 0.05 * error
        let eta = count ** -0.75

        { step with
            Log = logStep
            Averaged = eta * logStep + (1.0 - eta) * step.Averaged
            Error = error
            Count = count }

    /// Iterations of the warm-up after which the masses are renewed: windows that double, between a first and a last part in which
    /// the step alone adapts.
    let renewals warmup =
        let first, last = warmup * 15 / 100, warmup * 9 / 10

        let rec windows at length =
            if at + 3 * length > last then
                [ last ]
            else
                at + length :: windows (at + length) (2 * length)

        Set.ofList (
            if warmup < 20 then
                []
            else
                windows first (max 5 (warmup / 20))
        )

    /// Draws of all chains since the last renewal: their number, mean (d) and sum of squared deviations (d), as Welford 1962 adds them up.
    type Seen =
        { Count: float
          Mean: float[]
          Squares: float[] }

    let none d =
        { Count = 0.0
          Mean = Array.zeroCreate d
          Squares = Array.zeroCreate d }

    let add seen (rows: float[][]) =
        let mutable count = seen.Count
        let mean, squares = Array.copy seen.Mean, Array.copy seen.Squares

        for row in rows do
            count <- count + 1.0

            for k in 0 .. row.Length - 1 do
                let away = row[k] - mean[k]
                mean[k] <- mean[k] + away / count
                squares[k] <- squares[k] + away * (row[k] - mean[k])

        { Count = count
          Mean = mean
          Squares = squares }

    /// s = √variance over the draws that were seen; of what has not moved, as it was.
    let scaleOf (old: float[]) seen =
        Array.map2 (fun own squares -> if squares > 0.0 then sqrt (squares / seen.Count) else own) old seen.Squares
