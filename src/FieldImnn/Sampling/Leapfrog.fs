namespace FieldImnn

open FieldImnn.Core.Random
open TorchSharp

/// The leapfrog integrator of many chains in one tensor, and a Metropolis step with it (Duane et al. 1987; Neal 2011).
module internal Leapfrog =
    let double = torch.ScalarType.Float64

    /// What is sampled, by its log density, and the density whose slope moves the chains where it is another: one that is near and quicker. What the
    /// chains find is the first's, whatever the other.
    type Target =
        { LogDensity: Tensor -> Tensor
          Guide: (Tensor -> Tensor) option }

    /// All chains: position (chains, d), log density (chains) and its gradient (chains, d).
    type State =
        { Position: Tensor
          Value: Tensor
          Slope: Tensor }

    /// The state at a position, of the guide where there is one.
    let private along target (position: Tensor) =
        let ones = torch.ones (position.shape[0], dtype = torch.ScalarType.Float64)
        let density = target.Guide |> Option.defaultValue target.LogDensity
        let value, slope = Autodiff.fjacobianTv density position ones

        { Position = position
          Value = value
          Slope = slope }

    /// A state with the value of what is sampled.
    let private valued target state =
        if target.Guide.IsNone then
            state
        else
            { state with
                Value = target.LogDensity state.Position }

    /// The state at a position.
    let at target (position: Tensor) = along target position |> valued target

    let private number (v: float) = v.ToScalar()

    /// For each chain the one state or the other.
    let private choose (first: Tensor) (a: State) (b: State) =
        let column = first.unsqueeze 1L

        { Position = torch.where (column, a.Position, b.Position)
          Value = torch.where (first, a.Value, b.Value)
          Slope = torch.where (column, a.Slope, b.Slope) }

    /// The leapfrog integrator: positions move by step · scale · momentum, momenta are standard normal in units of 1/scale.
    /// A chain that comes to zero density or a slope that is not finite stays where it was and is told by the last result.
    let private leapfrog target (scale: Tensor) (step: float) steps (momentum: Tensor) (start: State) =
        let mutable p = momentum + start.Slope * scale * number (0.5 * step)
        let mutable s = start
        let mutable lost = start.Value.isfinite().logical_not()

        for i in 1..steps do
            let moved = s.Position + p * scale * number step
            let next = along target (torch.where (lost.unsqueeze 1L, s.Position, moved))
            let finite = next.Value.isfinite().logical_and(next.Slope.isfinite().all 1L)
            lost <- lost.logical_or (finite.logical_not ())
            s <- choose lost s next
            p <- p + s.Slope * scale * number (if i = steps then 0.5 * step else step)

        struct (valued target s, p, lost)

    /// ½ |momentum|² − ln p, which a perfect integrator keeps.
    let private energy (state: State) (momentum: Tensor) =
        momentum.square().sum 1L * number 0.5 - state.Value

    /// A proposal of all chains and the energy that it gains, −∞ where a chain was lost.
    let private propose target scale size steps momentum state =
        let struct (proposed, final, lost: Tensor) =
            leapfrog target scale size steps momentum state

        let lossless = energy state momentum - energy proposed final
        struct (proposed, torch.where (lost, torch.full_like (lossless, number -infinity), lossless))

    let private acceptanceOf (change: Tensor) =
        change.nan_to_num(nan = -infinity, posinf = infinity, neginf = -infinity).exp().clamp_max(number 1.0)

    /// A step with which a single leapfrog step is accepted about half of the time, from a guess by doubling or halving (Hoffman & Gelman
    /// 2014, algorithm 4): scales may be of any size, and the averaging that follows must not begin many orders away.
    let reasonable target scale momentum state guess =
        let accepted size =
            Tensors.using (fun () ->
                let struct (_, change) = propose target scale size 1 momentum state
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

    /// Momenta and coins of an iteration, by stream.
    let keys seed chains iteration =
        NoiseKey.Range(seed, uint64 (iteration: int) * uint64 (chains: int), chains)

    /// One iteration: all chains moved or not, with the mean acceptance and the number of trajectories that diverged. Frees the state
    /// it came from.
    let move target scale size steps (keys: NoiseKey[]) (state: State) =
        use _ = torch.NewDisposeScope()
        let momentum = Noise.Normal(keys, [| state.Position.shape[1] |], 0u, null, double)
        let struct (proposed, change) = propose target scale size steps momentum state
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
