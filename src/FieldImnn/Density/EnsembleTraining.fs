namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Flows
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open TorchSharp

/// Training of all members of an ensemble at once. Every member has its own shuffle, its own gradient clipping, its own learning rate and
/// its own early stopping, and none knows of the others.
module EnsembleTraining =
    open EnsembleState

    let private validate settings =
        Guard.Positive("learning rate", settings.LearningRate) |> ignore
        Guard.Positive("gradient clipping", settings.Clip) |> ignore
        Guard.AtLeast("batch", 1L, int64 settings.Batch) |> ignore
        Guard.AtLeast("steps of an epoch", 1L, int64 settings.MaxSteps) |> ignore
        Guard.AtLeast("epochs", 1L, int64 settings.MaxEpochs) |> ignore
        Guard.AtLeast("patience", 1L, int64 settings.Patience) |> ignore

        Guard.AtLeast("reductions of the learning rate", 0L, int64 settings.Reductions)
        |> ignore

    /// One thread: these networks are too small for two, and the order of sums, hence the result, does not depend on the machine's count.
    let internal singleThreaded (work: unit -> 'result) = TorchRuntime.OnOneThread work

    /// Rows (members, n) of the data (rows, columns), as (members, n, columns).
    let internal pick (data: Tensor) (rows: Tensor) : Tensor =
        data.index_select(0L, rows.flatten ()).view(rows.shape[0], rows.shape[1], data.shape[1])

    let private beta1, private beta2 = 0.9, 0.999

    /// One step with a learning rate for each member and clipped gradients.
    let private step (bank: WeightBank) clip adam (rates: float[]) (loss: Tensor) =
        use _ = torch.NewDisposeScope()
        let gradient = bank.Gradient loss
        use _ = torch.no_grad ()

        for i in 0 .. rates.Length - 1 do
            adam.Steps[i] <- adam.Steps[i] + 1.0

        let column (values: float[]) =
            (Tensors.ofVector values).``to``(bank.Values.dtype).unsqueeze 1L

        let norm: Tensor = gradient.norm (1, true, 2.0f)

        let shorten: Tensor =
            (norm + 1e-12).reciprocal().mul((clip: float).ToScalar()).clamp_max(1.0.ToScalar())

        gradient.mul_ shorten |> ignore

        adam.First.mul_(beta1.ToScalar()).add_(gradient, (1.0 - beta1).ToScalar())
        |> ignore

        adam.Second.mul_(beta2.ToScalar()).addcmul_(gradient, gradient, (1.0 - beta2).ToScalar())
        |> ignore

        let root = adam.Steps |> Array.map (fun t -> sqrt (1.0 - beta2 ** t))

        let scale =
            Array.map3 (fun rate t root -> rate * root / (1.0 - beta1 ** t)) rates adam.Steps root

        let denominator = adam.Second.sqrt().add_(column (root |> Array.map ((*) 1e-8)))

        bank.Values.addcmul_ (adam.First.div denominator, column scale, (-1.0).ToScalar())
        |> ignore

    /// A member after an epoch of the given losses: better, staler, or back at its best with a smaller step, or at its end.
    let private advance settings tolerance best current i (training: float) (held: float) state =
        let better = held < state.Lowest - tolerance && Double.IsFinite held

        let state =
            if better then
                copyMember i current best

                { state with Lowest = held; Stale = 0 }
            else
                { state with Stale = state.Stale + 1 }

        if
            state.Stale >= settings.Patience
            || not (Double.IsFinite training && Double.IsFinite held)
        then
            copyMember i best current
            let finished = state.Reduced >= settings.Reductions

            { state with
                Stale = 0
                Reduced = state.Reduced + 1
                Finished = finished
                Rate = (if finished then 0.0 else state.Rate / 3.0) }
        else
            state

    /// One epoch over shuffled rows (members, n, columns): the mean loss of every member.
    let private epoch (bank: WeightBank) clip loss adam rates batch (shuffled: Tensor) =
        let n = int shuffled.shape[1]
        let total = torch.zeros [| int64 bank.Members |]

        for struct (start, length) in Tensors.chunks batch n do
            use _ = torch.NewDisposeScope()
            let value: Tensor = loss (shuffled.narrow (1L, int64 start, int64 length))
            total.add_ (value.detach (), (float length / float n).ToScalar()) |> ignore
            step bank clip adam rates (value.sum ())

        Tensors.toArray total

    /// Loss of rows (members, m, columns), (members).
    let private evaluate (loss: Tensor -> Tensor) (rows: Tensor) =
        Tensors.using (fun () ->
            use _ = torch.no_grad ()

            let parts =
                Tensors.chunks 5000 (int rows.shape[1])
                |> Array.map (fun struct (start, length) ->
                    loss (rows.narrow (1L, int64 start, int64 length))
                    * (float length / float rows.shape[1]))

            torch.stack(parts).sum(0L) |> Tensors.toArray)

    /// The losses of an epoch, and what has become of the members after it.
    let private record epoch (members: Member[]) training held =
        let running =
            Array.map2 (fun state loss -> if state.Finished then nan else loss) members

        { Epoch = epoch
          Training = running training
          HeldOut = running held }

    /// Says how far training is.
    let private tell settings epoch (training: float[]) (members: Member[]) =
        let loss, heldOut = Array.average training, members |> Array.averageBy _.Lowest

        Progress.report
            settings.Progress
            "training networks"
            epoch
            settings.MaxEpochs
            [ "loss", loss; "heldOutLoss", heldOut ]
            $"loss %.3f{loss}, best held out %.3f{heldOut}"

    /// Leaves every member at its best; one that never had a finite loss is an error.
    let private settle (members: Member[]) best current =
        for i in 0 .. members.Length - 1 do
            if Double.IsPositiveInfinity members[i].Lowest then
                raise (NonFiniteException("loss of a density estimator", "finite numbers", "none in any epoch"))

            // those that had finished, too: a step of rate 0 along a gradient of NaN is NaN
            copyMember i best current

    let private ended settings running =
        running.History.Count >= settings.MaxEpochs
        || running.Members |> Array.forall _.Finished

    /// The epochs that are left, saved now and then and at the end. `shuffle` gives the order (members, n) of the next epoch.
    let private proceed
        settings
        (bank: WeightBank)
        loss
        tolerance
        batch
        (shuffle: unit -> Tensor)
        data
        rows
        all
        running
        file
        =
        let save () =
            file |> Option.iter (fun file -> save file running)

        while not (ended settings running) do
            use _ = Tensors.scope ()

            if settings.Progress.Cancellation.IsCancellationRequested then
                save ()
                settings.Progress.Cancellation.ThrowIfCancellationRequested()

            let rates = running.Members |> Array.map _.Rate
            let order = shuffle ()

            let training =
                epoch
                    bank
                    settings.Clip
                    loss
                    running.Current.Adam
                    rates
                    batch
                    (pick data ((rows: Tensor).gather(1L, order)))

            let held = evaluate loss all
            running.History.Add(record (running.History.Count + 1) running.Members training held)

            for i in 0 .. rates.Length - 1 do
                if not running.Members[i].Finished then
                    running.Members[i] <-
                        advance settings tolerance running.Best running.Current i training[i] held[i] running.Members[i]

            tell settings running.History.Count training running.Members

            if file |> Option.exists CheckpointFile.due then
                save ()

        save ()

    /// Trains on rows (members, n) of the data (all rows, columns), with the loss of a batch (members, b, columns) → (members), a mean
    /// over b. The weights that are best on the held-out rows (members, m) win; better is what is lower by the tolerance. A member whose loss
    /// is not finite goes back to its best weights, with the optimiser's memory of that time; if one never had a finite
    /// loss, that is an error. With a checkpoint it goes on from what that holds.
    let train
        settings
        (bank: WeightBank)
        (loss: Tensor -> Tensor)
        tolerance
        (data: Tensor)
        (rows: Tensor)
        (heldOut: Tensor)
        =
        validate settings
        use _ = torch.NewDisposeScope()
        let count, n = bank.Members, int rows.shape[1]
        let batch = max settings.Batch ((n + settings.MaxSteps - 1) / settings.MaxSteps)
        use generator = new torch.Generator(NoiseKey.SeedFor(settings.Seed, "shuffles"))

        let shuffle () =
            torch.rand([| int64 count; int64 n |], generator = generator).argsort 1L

        let all = pick data heldOut
        let first = evaluate loss all
        let file = checkpoint settings tolerance bank [ data; rows; heldOut ] first

        let running =
            { Current = snapshot bank bank.Values
              Best = snapshot bank (bank.Values.clone ())
              Members = first |> Array.map (beginning settings.LearningRate)
              History = ResizeArray() }

        file |> Option.iter (fun file -> resume file running)

        for _ in running.History do // the generator goes on behind the epochs that have been
            Tensors.using (fun () -> shuffle () |> ignore)

        if not (ended settings running) then
            proceed settings bank loss tolerance batch shuffle data rows all running file

        settle running.Members running.Best running.Current
        running.History.ToArray()
