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
        let struct (fisher, c) =
            match kind with
            | ClosedForm -> Fisher.ofFeatures x dx
            | Regularised _ -> Fisher.ofSummaries x dx

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

                let plain x dx =
                    Fisher.bestLinear (Fisher.featureStatistics x dx)

                (Compressor.statistics (Some(Fisher.layerOfVarying plain x1 dx1)) x2 dx2).Fisher)

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

    /// Held-out det F of the averaged weights; the state's best is the better of both.
    let private evaluate (settings: ImnnSettings) parameters (state: TrainingState) heldOut =
        let network = state.Network
        let current = TrainingState.copy network
        TrainingState.restore network state.Averaged
        let struct (x, dx) = Batch.evaluate network parameters heldOut
        let held = (heldOutFisher settings.Loss x dx).Determinant()

        if held > state.Best.DetF then
            state.Best.Weights |> Array.iter _.Dispose()

            state.Best <-
                { DetF = held
                  Weights = TrainingState.copy network
                  Stale = 0 }
        else
            state.Best <-
                { state.Best with
                    Stale = state.Best.Stale + 1 }

        TrainingState.restore network current
        current |> Array.iter _.Dispose()
        held

    let private tell (settings: ImnnSettings) (state: TrainingState) detF =
        let held =
            if state.Best.DetF > 0.0 then
                $", held out %.4g{state.Best.DetF}"
            else
                ""

        Progress.report
            settings.Progress
            "training"
            state.History.Count
            settings.MaxIterations
            [ "detF", detF
              "heldOutDetF", (if state.Best.DetF > 0.0 then state.Best.DetF else nan) ]
            $"det F %.4g{detF}{held}"

    /// One iteration: a step on simulations of its own number, and an evaluation where it is time for one.
    let private iterate
        (settings: ImnnSettings)
        parameters
        (state: TrainingState)
        (draw: Part -> uint64 -> int -> int -> Dual[])
        heldOut
        =
        use _ = torch.NewDisposeScope()
        let before = state.History.Count
        let iteration = before + 1

        let chunks =
            draw
                Training
                (uint64 before * uint64 settings.Simulations)
                settings.Simulations
                settings.DerivativeSimulations

        let struct (detF, lambda, strength) =
            step settings parameters state.Network state.Adam chunks before

        average state.Network iteration state.Averaged

        let held =
            if iteration % settings.EvaluateEvery = 0 || iteration = settings.MaxIterations then
                evaluate settings parameters state heldOut
            else
                nan

        { Iteration = iteration
          DetF = detF
          Lambda = lambda
          Strength = strength
          HeldOutDetF = held
          Seconds = nan }

    let private unfinished (settings: ImnnSettings) (state: TrainingState) =
        state.History.Count < settings.MaxIterations
        && (state.History.Count < settings.MinIterations
            || state.Best.Stale < settings.Patience)

    /// The steps that are left, until there are none or the work is cancelled, saved now and then and at the end.
    let private proceed (settings: ImnnSettings) parameters (state: TrainingState) draw heldOutCount file =
        let earlier =
            state.History |> Seq.tryLast |> Option.map _.Seconds |> Option.defaultValue 0.0

        let clock = Stopwatch.StartNew()
        let cancellation = settings.Progress.Cancellation

        let save () =
            file |> Option.iter (fun file -> TrainingState.save file state)

        try
            let heldOut = draw Validation 0UL heldOutCount heldOutCount

            while unfinished settings state && not cancellation.IsCancellationRequested do
                let record = iterate settings parameters state draw heldOut

                state.History.Add
                    { record with
                        Seconds = earlier + clock.Elapsed.TotalSeconds }

                tell settings state record.DetF

                if file |> Option.exists CheckpointFile.due then
                    save ()

            save ()
        with :? OperationCanceledException ->
            // simulations that were stopped: the state is that of the last step
            save ()
            reraise ()

    /// All steps, from those that a checkpoint holds if there is one: leaves the weights of the highest held-out det F in the network, the
    /// last ones if none was evaluated, and returns the history and whether it was cancelled before its end.
    let run
        (settings: ImnnSettings)
        parameters
        (network: SummaryNetwork)
        draw
        heldOutCount
        (file: CheckpointFile option)
        =
        let state = TrainingState.create network settings.LearningRate

        try
            file |> Option.iter (fun file -> TrainingState.resume file state)

            if unfinished settings state then
                proceed settings parameters state draw heldOutCount file

            // without any evaluation what little was learned stays, and not the initial weights
            if state.Best.DetF > -infinity then
                TrainingState.restore network state.Best.Weights

            state.History.ToArray(), unfinished settings state
        finally
            TrainingState.free state
