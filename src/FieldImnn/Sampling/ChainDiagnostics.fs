namespace FieldImnn

open System
open FieldImnn.Core

/// Whether Markov chains have forgotten their start, and what their draws are worth. Chains (chains, draws) of one quantity.
module ChainDiagnostics =
    let private check (chains: float[][]) =
        if
            chains.Length = 0
            || chains |> Array.exists (fun c -> c.Length < 4 || c.Length <> chains[0].Length)
        then
            let lengths = chains |> Array.map (fun c -> string c.Length) |> String.concat ", "
            raise (ShapeException("chains", "at least one, all of the same length ≥ 4", $"lengths {lengths}"))

        if chains |> Array.exists (Array.exists (Double.IsFinite >> not)) then
            raise (NonFiniteException("chains", "finite draws", "NaN or infinity"))

    /// Each chain in two halves, so that a drift within a chain counts as a difference between chains.
    let private halves (chains: float[][]) =
        let n = chains[0].Length / 2
        chains |> Array.collect (fun c -> [| c[.. n - 1]; c[c.Length - n ..] |])

    let private variance (values: float[]) =
        let mean = Array.average values
        Array.sumBy (fun v -> (v - mean) ** 2.0) values / float (values.Length - 1)

    /// A chain that does not move for half of its length has told nothing of what it samples, wherever it stands.
    let private still (halves: float[][]) =
        halves |> Array.exists (fun c -> Array.max c - Array.min c <= 1e-14 * abs c[0])

    /// W, the mean variance within chains, and var⁺ = (n − 1)/n W + B/n, with B/n the variance of their means.
    let private variances (chains: float[][]) =
        let n = float chains[0].Length
        let within = chains |> Array.averageBy variance

        let between =
            if chains.Length > 1 then
                chains |> Array.map Array.average |> variance
            else
                0.0

        struct (within, (n - 1.0) / n * within + between)

    /// Split R̂ = √(var⁺/W) (Gelman et al. 2013, Bayesian Data Analysis, §11.4): 1 where the chains agree; ∞ where one does not move.
    let rHat (chains: float[][]) =
        check chains
        let halves = halves chains

        if still halves then
            infinity
        else
            let struct (within, total) = variances halves
            sqrt (total / within)

    /// The effective number of draws of split chains that move.
    let private effective (split: float[][]) =
        let n = split[0].Length
        let struct (within, total) = variances split

        let centred =
            split
            |> Array.map (fun c -> let mean = Array.average c in c |> Array.map (fun v -> v - mean))

        let autocovariance lag =
            centred
            |> Array.averageBy (fun c ->
                let mutable sum = 0.0

                for i in 0 .. n - 1 - lag do
                    sum <- sum + c[i] * c[i + lag]

                sum / float n)

        let rho lag =
            if lag = 0 then
                1.0
            else
                1.0 - (within - autocovariance lag) / total

        let rec add time smallest lag =
            if lag + 1 >= n then
                time
            else
                let pair = min smallest (rho lag + rho (lag + 1))

                if pair <= 0.0 then
                    time
                else
                    add (time + 2.0 * pair) pair (lag + 2)

        let draws = float (split.Length * n)
        let time = add -1.0 infinity 0
        // antithetic chains may be worth more than their draws, but not without limit (as in Stan)
        draws / max time (1.0 / Math.Log10 draws)

    /// Effective number of draws, m n/τ with τ = −1 + 2 Σ_t P_t, P_t = ρ_2t + ρ_2t+1 summed while positive and made monotone
    /// (Geyer 1992; Gelman et al. 2013, §11.5), ρ_t = 1 − (W − mean autocovariance at t)/var⁺ over split chains; 0 where one
    /// does not move.
    let effectiveSize (chains: float[][]) =
        check chains
        let halves = halves chains
        if still halves then 0.0 else effective halves

    /// The smaller of the effective numbers of draws for the mean and for the variance: chains that swing from side to side know
    /// their middle better than their width.
    let effectiveSizeOfMoments (chains: float[][]) =
        let middle = chains |> Array.averageBy Array.average

        let squares = chains |> Array.map (Array.map (fun v -> (v - middle) ** 2.0))

        min (effectiveSize chains) (effectiveSize squares)
