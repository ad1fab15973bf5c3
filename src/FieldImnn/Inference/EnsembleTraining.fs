namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Flows
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open TorchSharp

/// How an ensemble of small networks is trained.
type EnsembleSettings =
    {
        LearningRate: float
        /// Rows of a step, for each member its own.
        Batch: int
        /// Steps of an epoch at most: of more rows, each step takes more.
        MaxSteps: int
        MaxEpochs: int
        /// Epochs without a better loss after which a member goes back to its best weights with a third of its learning rate.
        Patience: int
        /// How often it does so; the next time it stops.
        Reductions: int
        /// Gradients of a member that are longer than this are shortened to it.
        Clip: float
        Seed: uint64
        Progress: Progress
    }

/// Losses of one epoch, one for each member; NaN for a member that had ended before.
type EnsembleRecord =
    {
        Epoch: int
        /// Mean over the epoch's batches, while the weights changed.
        Training: float[]
        /// On rows that were not trained on, after the epoch.
        HeldOut: float[]
    }

/// Training of all members of an ensemble at once. Every member has its own shuffle, its own gradient clipping, its own learning rate and
/// its own early stopping, and none knows of the others.
module EnsembleTraining =
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
    let internal singleThreaded (work: unit -> 'result) =
        let threads = TorchRuntime.Threads
        TorchRuntime.Threads <- 1

        try
            work ()
        finally
            TorchRuntime.Threads <- threads

    /// Rows (members, n) of the data (rows, columns), as (members, n, columns).
    let internal pick (data: Tensor) (rows: Tensor) : Tensor =
        data.index_select(0L, rows.flatten ()).view(rows.shape[0], rows.shape[1], data.shape[1])

    /// Adam (Kingma & Ba 2015) on all weights of the bank, with a learning rate (members, 1) and clipped gradients.
    let private stepper (bank: WeightBank) clip =
        let beta1, beta2 = 0.9, 0.999
        let first, second = torch.zeros_like bank.Values, torch.zeros_like bank.Values
        let mutable steps = 0

        fun (rate: Tensor) (loss: Tensor) ->
            use _ = torch.NewDisposeScope()
            let gradient = bank.Gradient loss
            use _ = torch.no_grad ()
            steps <- steps + 1
            let norm: Tensor = gradient.norm (1, true, 2.0f)

            let shorten: Tensor =
                (norm + 1e-12).reciprocal().mul((clip: float).ToScalar()).clamp_max(1.0.ToScalar())

            gradient.mul_ shorten |> ignore
            first.mul_(beta1.ToScalar()).add_(gradient, (1.0 - beta1).ToScalar()) |> ignore

            second.mul_(beta2.ToScalar()).addcmul_(gradient, gradient, (1.0 - beta2).ToScalar())
            |> ignore

            let t = float steps
            let scale = sqrt (1.0 - beta2 ** t) / (1.0 - beta1 ** t)
            let denominator = second.sqrt().add_((1e-8 * sqrt (1.0 - beta2 ** t)).ToScalar())

            bank.Values.addcmul_ (first.div denominator, rate, (-scale).ToScalar())
            |> ignore

    let private member' i (tensor: Tensor) = tensor.select (0L, int64 (i: int))

    /// Trains on rows (members, n) of the data (all rows, columns), with the loss of a batch (members, b, columns) → (members), a mean
    /// over b. The weights that are best on the held-out rows (members, m) win; better is what is lower by the tolerance.
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
        let members, n = bank.Members, int rows.shape[1]
        let batch = max settings.Batch ((n + settings.MaxSteps - 1) / settings.MaxSteps)
        use generator = new torch.Generator(NoiseKey.SeedFor(settings.Seed, "shuffles"))
        let step = stepper bank settings.Clip
        let all = pick data heldOut

        let evaluate () =
            Tensors.using (fun () ->
                use _ = torch.no_grad ()

                let parts =
                    Tensors.chunks 5000 (int all.shape[1])
                    |> Array.map (fun struct (start, length) ->
                        loss (all.narrow (1L, int64 start, int64 length))
                        * (float length / float all.shape[1]))

                torch.stack(parts).sum(0L) |> Tensors.toArray)

        let best = bank.Values.clone ()
        let lowest = evaluate ()
        let rates = Array.create members settings.LearningRate
        let stale = Array.create members 0
        let reduced = Array.create members 0
        let finished = Array.create members false
        let history = ResizeArray<EnsembleRecord>()

        /// Back to the best weights and on with a smaller step, or the end.
        let retreat i =
            use _ = torch.no_grad ()
            (member' i bank.Values).copy_(member' i best) |> ignore
            stale[i] <- 0
            reduced[i] <- reduced[i] + 1

            if reduced[i] > settings.Reductions then
                finished[i] <- true
                rates[i] <- 0.0
            else
                rates[i] <- rates[i] / 3.0

        let mutable epoch = 0

        while epoch < settings.MaxEpochs && finished |> Array.exists not do
            use _ = torch.NewDisposeScope()
            settings.Progress.Cancellation.ThrowIfCancellationRequested()

            let order =
                torch.rand([| int64 members; int64 n |], generator = generator).argsort 1L

            let shuffled = pick data (rows.gather (1L, order))
            let rate = Tensors.ofVector(rates).``to``(bank.Values.dtype).unsqueeze 1L
            let total = torch.zeros [| int64 members |]

            for struct (start, length) in Tensors.chunks batch n do
                use _ = torch.NewDisposeScope()
                let value = loss (shuffled.narrow (1L, int64 start, int64 length))
                total.add_ (value.detach (), (float length / float n).ToScalar()) |> ignore
                step rate (value.sum ())

            epoch <- epoch + 1
            let training = Tensors.toArray total
            let held = evaluate ()
            let ended = Array.copy finished

            for i in 0 .. members - 1 do
                if not finished[i] then
                    if held[i] < lowest[i] - tolerance then
                        lowest[i] <- held[i]
                        stale[i] <- 0
                        use _ = torch.no_grad ()
                        (member' i best).copy_(member' i bank.Values) |> ignore
                    else
                        stale[i] <- stale[i] + 1

                    if stale[i] >= settings.Patience || not (Double.IsFinite training[i]) then
                        retreat i

            let running = Array.map2 (fun ended loss -> if ended then nan else loss) ended

            history.Add
                { Epoch = epoch
                  Training = running training
                  HeldOut = running held }

            Progress.report
                settings.Progress
                "training networks"
                epoch
                settings.MaxEpochs
                $"loss %.3f{Array.average training}, best held out %.3f{Array.average lowest}"

        for i in 0 .. members - 1 do
            if not finished[i] then
                retreat i

        history.ToArray()
