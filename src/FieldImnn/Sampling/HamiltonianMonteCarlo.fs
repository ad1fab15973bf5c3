namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// How Hamiltonian Monte Carlo is run.
type HmcSettings =
    {
        /// Chains, all in one tensor.
        Chains: int
        /// Iterations that adapt the step and the masses, and are thrown away.
        Warmup: int
        /// Iterations kept of each chain.
        Draws: int
        /// A trajectory has 1 to this many leapfrog steps, at random, so that none returns to where it began.
        LeapfrogSteps: int
        /// Mean acceptance that the step size is adapted to.
        Acceptance: float
        Seed: uint64
        Progress: Progress
    }

    /// 8 chains of 500 + 500 iterations.
    static member Default =
        { Chains = 8
          Warmup = 500
          Draws = 500
          LeapfrogSteps = 20
          Acceptance = 0.8
          Seed = 1UL
          Progress = Progress.silent }

/// What Hamiltonian Monte Carlo returned, of the quantities that were observed.
type HmcResult =
    {
        /// (chains, draws, quantities).
        Draws: float[][][]
        /// Split R̂ of every quantity.
        RHat: float[]
        /// Effective number of draws of every quantity, for its mean or its variance, whichever is smaller.
        EffectiveSize: float[]
        /// Mean acceptance after the adaptation.
        Acceptance: float
        /// The adapted step, in units of the adapted scales.
        Step: float
        /// Trajectories after the adaptation whose energy error exceeded 1000 or was not finite: any is a sign of trouble.
        Divergent: int
        /// What of this cannot be trusted, in words; empty where nothing is known against it.
        Warnings: string list
    }

/// Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011): the leapfrog integrator with a diagonal mass matrix, the step by dual
/// averaging (Hoffman & Gelman 2014, §3.2), the masses by windows that double (as in Stan).
module HamiltonianMonteCarlo =
    /// Dual averaging of the logarithm of the step.
    type private Step =
        { Log: float
          Averaged: float
          Centre: float
          Error: float
          Count: float }

    /// A start from a step; the search is drawn to ten times that.
    let private initial step =
        { Log = log step
          Averaged = log step
          Centre = log (10.0 * step)
          Error = 0.0
          Count = 0.0 }

    /// One update towards the wanted acceptance, with the published constants γ = 0.05, t₀ = 10, κ = 0.75.
    let private learn wanted acceptance step =
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
    let private renewals warmup =
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

    /// All chains: position (chains, d), log density (chains) and its gradient (chains, d).
    type private State =
        { Position: Tensor
          Value: Tensor
          Slope: Tensor }

    /// The state at a position.
    let private at (logDensity: Tensor -> Tensor) (position: Tensor) =
        let ones = torch.ones (position.shape[0], dtype = torch.ScalarType.Float64)
        let value, slope = Autodiff.fjacobianTv logDensity position ones

        { Position = position
          Value = value
          Slope = slope }

    let private number (v: float) = v.ToScalar()

    /// For each chain the one state or the other.
    let private choose (first: Tensor) (a: State) (b: State) =
        let column = first.unsqueeze 1L

        { Position = torch.where (column, a.Position, b.Position)
          Value = torch.where (first, a.Value, b.Value)
          Slope = torch.where (column, a.Slope, b.Slope) }

    /// The leapfrog integrator: positions move by step · scale · momentum, momenta are standard normal in units of 1/scale.
    /// A chain that comes to zero density or a slope that is not finite stays where it was and is told by the last result.
    let private leapfrog logDensity (scale: Tensor) (step: float) steps (momentum: Tensor) (start: State) =
        let mutable p = momentum + start.Slope * scale * number (0.5 * step)
        let mutable s = start
        let mutable lost = start.Value.isfinite().logical_not()

        for i in 1..steps do
            let moved = s.Position + p * scale * number step
            let next = at logDensity (torch.where (lost.unsqueeze 1L, s.Position, moved))
            let finite = next.Value.isfinite().logical_and(next.Slope.isfinite().all 1L)
            lost <- lost.logical_or (finite.logical_not ())
            s <- choose lost s next
            p <- p + s.Slope * scale * number (if i = steps then 0.5 * step else step)

        struct (s, p, lost)

    /// ½ |momentum|² − ln p, which a perfect integrator keeps.
    let private energy (state: State) (momentum: Tensor) =
        momentum.square().sum 1L * number 0.5 - state.Value

    /// A proposal of all chains and the energy that it gains, −∞ where a chain was lost.
    let private propose logDensity scale size steps momentum state =
        let struct (proposed, final, lost: Tensor) =
            leapfrog logDensity scale size steps momentum state

        let lossless = energy state momentum - energy proposed final
        struct (proposed, torch.where (lost, torch.full_like (lossless, number -infinity), lossless))

    let private acceptanceOf (change: Tensor) =
        change.nan_to_num(nan = -infinity, posinf = infinity, neginf = -infinity).exp().clamp_max(number 1.0)

    /// A step with which a single leapfrog step is accepted about half of the time, from a guess by doubling or halving (Hoffman & Gelman
    /// 2014, algorithm 4): scales may be of any size, and the averaging that follows must not begin many orders away.
    let private reasonable logDensity scale momentum state guess =
        let accepted size =
            Tensors.using (fun () ->
                let struct (_, change) = propose logDensity scale size 1 momentum state
                (acceptanceOf change).mean().ToDouble())

        let rec search factor left size =
            let next = factor * size

            if left = 0 || (accepted next > 0.5) <> (factor > 1.0) then
                if factor > 1.0 then size else next
            else
                search factor (left - 1) next

        if accepted guess > 0.5 then
            search 2.0 20 guess
        else
            search 0.5 200 guess

    /// s = √variance over the draws (rows of d) of all chains; of what has not moved, as it was.
    let private scaleOf (old: float[]) (rows: float[][]) =
        Array.init rows[0].Length (fun k ->
            let mean = rows |> Array.averageBy (fun r -> r[k])
            let variance = rows |> Array.averageBy (fun r -> (r[k] - mean) ** 2.0)
            if variance > 0.0 then sqrt variance else old[k])

    /// What speaks against chains.
    let private warnings (rHat: float[]) (effective: float[]) divergent =
        [ for k in 0 .. rHat.Length - 1 do
              if not (rHat[k] <= 1.05) then
                  FormattableString.Invariant $"chains disagree in quantity {k}: split R̂ = {rHat[k]:F2}"

              if not (effective[k] >= 100.0) then
                  FormattableString.Invariant $"the draws of quantity {k} are worth {effective[k]:F0}"

          if divergent > 0 then
              $"{divergent} trajectories diverged" ]

    let private validate (settings: HmcSettings) (start: Tensor) =
        Guard.AtLeast("chains", 1L, int64 settings.Chains) |> ignore
        Guard.AtLeast("iterations of the warm-up", 0L, int64 settings.Warmup) |> ignore
        Guard.AtLeast("draws", 4L, int64 settings.Draws) |> ignore
        Guard.AtLeast("leapfrog steps", 1L, int64 settings.LeapfrogSteps) |> ignore

        if not (settings.Acceptance > 0.0 && settings.Acceptance < 1.0) then
            raise (SettingException("acceptance to adapt to", "a number between 0 and 1", string settings.Acceptance))

        if start.dim () <> 2L || start.shape[0] <> int64 settings.Chains then
            let came = Guard.Describe start.shape
            raise (ShapeException("starting points", $"shape ({settings.Chains}, dimensions)", came))

        Guard.Finite("starting points", start) |> ignore

    let private double = torch.ScalarType.Float64

    /// Momenta and coins of an iteration, by stream.
    let private keys seed chains iteration =
        NoiseKey.Range(seed, uint64 (iteration: int) * uint64 (chains: int), chains)

    /// One iteration: all chains moved or not, with the mean acceptance and the number of trajectories that diverged. Frees the state
    /// it came from.
    let private move logDensity scale size steps (keys: NoiseKey[]) (state: State) =
        use _ = torch.NewDisposeScope()
        let momentum = Noise.Normal(keys, [| state.Position.shape[1] |], 0u, null, double)
        let struct (proposed, change) = propose logDensity scale size steps momentum state
        let acceptance = acceptanceOf change

        let moves =
            (Noise.Uniform(keys, [| 1L |], 1u, null, double)).squeeze(1L).lt acceptance

        let next = choose moves proposed state

        let kept =
            { Position = next.Position.MoveToOuterDisposeScope()
              Value = next.Value.MoveToOuterDisposeScope()
              Slope = next.Slope.MoveToOuterDisposeScope() }

        for tensor in [ state.Position; state.Value; state.Slope ] do
            tensor.Dispose()

        struct (kept, acceptance.mean().ToDouble(), int (change.lt(number -1000.0).sum().ToInt64()))

    /// The averaging of the step begun anew, for a scale and a state as they are.
    let private begun logDensity seed chains scale (state: State) iteration guess =
        Tensors.using (fun () ->
            let momentum =
                Noise.Normal(keys seed chains iteration, [| state.Position.shape[1] |], 2u, null, double)

            initial (reasonable logDensity scale momentum state guess))

    /// The result from what was kept of every draw, (draws, chains, quantities).
    let private finished (settings: HmcSettings) (kept: ResizeArray<float[][]>) accepted step divergent =
        let draws =
            Array.init settings.Chains (fun c -> kept |> Seq.map (fun rows -> rows[c]) |> Seq.toArray)

        let each (diagnose: float[][] -> float) =
            draws[0][0]
            |> Array.mapi (fun k _ -> draws |> Array.map (Array.map (fun v -> v[k])) |> diagnose)

        let rHat = each ChainDiagnostics.rHat
        let effective = each ChainDiagnostics.effectiveSizeOfMoments

        { Draws = draws
          RHat = rHat
          EffectiveSize = effective
          Acceptance = accepted / float settings.Draws
          Step = exp step.Averaged
          Divergent = divergent
          Warnings = warnings rHat effective divergent }

    /// Samples a log density, (chains, d) → (chains), float64 and differentiable, from a starting point for each chain
    /// (chains, d). `observe` says what is kept of a position: (chains, d) → (chains, quantities).
    let run (settings: HmcSettings) (logDensity: Tensor -> Tensor) (observe: Tensor -> Tensor) (start: Tensor) =
        validate settings start
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let seed = NoiseKey.SeedFor(settings.Seed, "hmc")
        let random = Random(int (seed >>> 33))
        let begun = begun logDensity seed settings.Chains
        let mutable state = at logDensity (start.``to``(double).clone())

        if not (state.Value.isfinite().all().ToBoolean()) then
            raise (RangeException("starting points", "points of positive density in every chain", "zero density"))

        let mutable scale = torch.ones (start.shape[1], dtype = double)
        let mutable step = begun scale state 0 0.1
        let mutable accepted, divergent = 0.0, 0
        let renewals = renewals settings.Warmup
        let seen = ResizeArray<float[]>()
        let kept = ResizeArray<float[][]>()

        for iteration in 1 .. settings.Warmup + settings.Draws do
            settings.Progress.Cancellation.ThrowIfCancellationRequested()
            let warming = iteration <= settings.Warmup
            let size = exp (if warming then step.Log else step.Averaged)
            let steps = 1 + random.Next settings.LeapfrogSteps

            let struct (next, mean, lost) =
                move logDensity scale size steps (keys seed settings.Chains iteration) state

            state <- next

            if warming then
                step <- learn settings.Acceptance mean step
                seen.AddRange(Tensors.toRows state.Position)

                if renewals.Contains iteration then
                    scale <- scaleOf (Tensors.toArray scale) (seen.ToArray()) |> Tensors.ofVector
                    step <- begun scale state iteration (exp step.Averaged)
                    seen.Clear()
            else
                accepted <- accepted + mean
                divergent <- divergent + lost
                kept.Add(Tensors.using (fun () -> Tensors.toRows (observe state.Position)))

            Progress.report
                settings.Progress
                (if warming then "HMC (warm-up)" else "HMC (sampling)")
                iteration
                (settings.Warmup + settings.Draws)
                [ "acceptance", mean; "stepSize", size ]
                $"acceptance %.2f{mean}, step %.3g{size}"

        finished settings kept accepted step divergent
