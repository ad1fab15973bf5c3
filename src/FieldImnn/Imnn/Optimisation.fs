namespace FieldImnn

open System
open System.Diagnostics
open FieldImnn.Core
open FieldImnn.Core.Networks
open TorchSharp

/// The gradient steps of training.
module internal Optimisation =
    /// Loss, det F, Λ and r of summaries x (n, s) and derivatives dx (m, p, s).
    let loss kind (x: Tensor) (dx: Tensor) : struct (Tensor * float * float * float) =
        let struct (fisher, c) = Fisher.ofSummaries x dx
        let struct (_, logDet) = torch.linalg.slogdet fisher
        let detF = exp (logDet.ToDouble())

        match kind with
        | ClosedForm -> struct (-logDet, detF, nan, nan)
        | Regularised(lambda, epsilon) ->
            let identity = torch.eye (c.shape[0], dtype = c.dtype, device = c.device)
            let distance = (c - identity).norm() + (torch.linalg.inv c - identity).norm()
            let a = ImnnSettings.steepness lambda epsilon
            let strength = lambda * distance / (distance + (distance * -a).exp())
            struct (-logDet + strength * distance, detF, distance.ToDouble(), strength.ToDouble())

    /// Accumulates the gradient of the loss in the weights. Chunks beyond the first cost a second forward pass and keep memory flat:
    /// the loss is a function of all summaries, whose cotangents then enter each chunk's own backward pass.
    let accumulate (network: SummaryNetwork) kind parameters (chunks: Dual[]) =
        use _ = torch.NewDisposeScope()

        if chunks.Length = 1 then
            let struct (x, dx) = Batch.features network parameters chunks
            let struct (value, detF, lambda, strength) = loss kind x dx
            value.backward ()
            struct (detF, lambda, strength)
        else
            let struct (x, dx) = Batch.evaluate network parameters chunks
            let x, dx = x.requires_grad_ true, dx.requires_grad_ true
            let struct (value, detF, lambda, strength) = loss kind x dx
            value.backward ()
            let gx, gdx = x.grad, dx.grad
            let mutable row = 0L
            let mutable derivativeRow = 0L

            for chunk in chunks do
                use _ = torch.NewDisposeScope()
                let made = network.Evaluate chunk
                let n = made.Primal.shape[0]
                let seen = (made.Primal * gx.narrow (0L, row, n)).sum()

                let total =
                    if isNull made.Tangent then
                        seen
                    else
                        let cotangent = gdx.narrow(0L, derivativeRow, n).reshape made.Tangent.shape
                        derivativeRow <- derivativeRow + n
                        seen + (made.Tangent * cotangent).sum()

                row <- row + n
                total.backward ()

            struct (detF, lambda, strength)

    let copy (network: SummaryNetwork) =
        network.Parameters
        |> Seq.map (fun struct (_, w) -> w.detach().clone() |> Tensors.keep)
        |> Seq.toArray

    let restore (network: SummaryNetwork) (weights: Tensor[]) =
        use _ = torch.no_grad ()

        Seq.iter2
            (fun struct (_, w: Modules.Parameter) (saved: Tensor) -> w.copy_ saved |> ignore)
            network.Parameters
            weights

    /// Moves an average of weights towards those of the network: an exponential mean over about the last 1/(1 − decay) steps, and over all
    /// of them while there are fewer.
    let private average (network: SummaryNetwork) step (averaged: Tensor[]) =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let decay = min 0.97 (float step / (10.0 + float step))

        Seq.iter2
            (fun struct (_, w: Modules.Parameter) (mean: Tensor) ->
                mean.mul_(decay.ToScalar()).add_(w.detach () * (1.0 - decay).ToScalar())
                |> ignore)
            network.Parameters
            averaged

    let private halves (x: Tensor) =
        let n = x.shape[0] / 2L
        x.narrow (0L, 0L, n), x.narrow (0L, n, x.shape[0] - n)

    /// F of held-out simulations: a closed-form layer is fitted on one half and measured on the other.
    let private heldOutFisher kind (x: Tensor) (dx: Tensor) =
        Tensors.using (fun () ->
            match kind with
            | Regularised _ -> (Fisher.statistics x dx).Fisher
            | ClosedForm ->
                let x1, x2 = halves x
                let dx1, dx2 = halves dx
                let linear = Some(Fisher.bestLinear (Fisher.featureStatistics x1 dx1))
                (Compressor.statistics linear x2 dx2).Fisher)

    /// The highest held-out det F so far with its weights, and how many evaluations have gone by since.
    [<Struct>]
    type private Best =
        { DetF: float
          Weights: Tensor[]
          Stale: int }

    let private none =
        { DetF = -infinity
          Weights = [||]
          Stale = 0 }

    /// The rate of a step: constant over the first half, then falling linearly to 2 %.
    let private rate settings iteration =
        let progress = float iteration / float settings.MaxIterations
        settings.LearningRate * Math.Min(1.0, Math.Max(0.02, 2.0 * (1.0 - progress)))

    /// One step of the optimiser along the gradient of fresh simulations: det F, Λ and r of the batch.
    let private step settings parameters (network: SummaryNetwork) (optimiser: torch.optim.Optimizer) chunks iteration =
        for group in optimiser.ParamGroups do
            group.LearningRate <- rate settings iteration

        optimiser.zero_grad ()

        let struct (detF, lambda, strength) =
            accumulate network settings.Loss parameters chunks

        if not (Double.IsFinite detF) then
            raise (NonFiniteException($"det F at iteration {iteration}", "a finite number", string detF))

        torch.nn.utils.clip_grad_norm_ (network.Parameters |> Seq.map (fun struct (_, w) -> w), 10.0)
        |> ignore

        optimiser.step () |> ignore
        struct (detF, lambda, strength)

    /// Held-out det F of the averaged weights, and the best so far with them.
    let private evaluate settings parameters (network: SummaryNetwork) averaged heldOut best =
        let current = copy network
        restore network averaged
        let struct (x, dx) = Batch.evaluate network parameters heldOut
        let held = (heldOutFisher settings.Loss x dx).Determinant()

        let best =
            if held > best.DetF then
                best.Weights |> Array.iter _.Dispose()

                { DetF = held
                  Weights = copy network
                  Stale = 0 }
            else
                { best with Stale = best.Stale + 1 }

        restore network current
        current |> Array.iter _.Dispose()
        struct (held, best)

    let private tell settings iteration detF best =
        let held =
            if best.DetF > 0.0 then
                $", held out %.4g{best.DetF}"
            else
                ""

        Progress.report settings.Progress "training" iteration settings.MaxIterations $"det F %.4g{detF}{held}"

    /// All steps: leaves the weights of the highest held-out det F in the network, the last ones if none was evaluated, and returns the
    /// history and whether it was cancelled before its end.
    let run settings parameters (network: SummaryNetwork) (draw: Part -> uint64 -> int -> int -> Dual[]) heldOutCount =
        let clock = Stopwatch.StartNew()
        let heldOut = draw Validation 0UL heldOutCount heldOutCount
        let weights = network.Parameters |> Seq.map (fun struct (_, w) -> w) |> Seq.toArray
        use optimiser = torch.optim.Adam(weights, settings.LearningRate)
        let history = ResizeArray<TrainingRecord>()
        // steps scatter about where they lead: what is evaluated and kept is their average
        let averaged = copy network
        let mutable best = none

        let unfinished () =
            history.Count < settings.MaxIterations
            && (history.Count < settings.MinIterations || best.Stale < settings.Patience)

        while unfinished () && not settings.Progress.Cancellation.IsCancellationRequested do
            use _ = torch.NewDisposeScope()
            let iteration = history.Count + 1

            let chunks =
                draw
                    Training
                    (uint64 history.Count * uint64 settings.Simulations)
                    settings.Simulations
                    settings.DerivativeSimulations

            let struct (detF, lambda, strength) =
                step settings parameters network optimiser chunks history.Count

            average network iteration averaged

            let held =
                if iteration % settings.EvaluateEvery = 0 || iteration = settings.MaxIterations then
                    let struct (held, found) =
                        evaluate settings parameters network averaged heldOut best

                    best <- found
                    held
                else
                    nan

            history.Add
                { Iteration = iteration
                  DetF = detF
                  Lambda = lambda
                  Strength = strength
                  HeldOutDetF = held
                  Seconds = clock.Elapsed.TotalSeconds }

            tell settings iteration detF best

        // without any evaluation what little was learned stays, and not the initial weights
        if best.DetF > -infinity then
            restore network best.Weights

        Array.append best.Weights averaged |> Array.iter _.Dispose()
        history.ToArray(), unfinished ()
