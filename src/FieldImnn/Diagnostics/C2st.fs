namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Flows
open FieldImnn.Core.Random
open TorchSharp

/// What a classifier made of two sets of samples.
type C2stResult =
    {
        /// Part of the samples that it assigned rightly, on folds that it had not seen: 0.5 where the sets cannot be told apart, 1 where they
        /// have nothing in common.
        Accuracy: float
        /// By fold.
        ByFold: float[]
        /// Samples of both sets together.
        Samples: int
    }

/// The classifier two-sample test as in the benchmark of Lueckmann et al. 2021 (arXiv:2101.04653): samples z-scored by the first set; a
/// network of two hidden layers of 10·d ReLU units, Adam at 1e-3 in batches of 200; five folds. Where theirs trains until its own loss stands,
/// ours ends ten epochs after a tenth of its training samples, held out, was told apart best: over-fitting cannot hide a difference.
module C2st =
    let private folds = 5

    /// Rows that are samples: all of d finite numbers.
    let private check subject d (rows: float[][]) =
        rows
        |> Array.iteri (fun i row ->
            if row.Length <> d then
                raise (ShapeException(subject, $"{d} parameters", $"{row.Length} in row {i}"))

            if row |> Array.exists (Double.IsFinite >> not) then
                raise (NonFiniteException(subject, "finite numbers", $"NaN or infinity in row {i}")))

    /// n of the rows, chosen by the seed; all of them as they are where there are no more.
    let private subset (seed: uint64) purpose n (rows: float[][]) =
        if rows.Length = n then
            rows
        else
            let order = Array.copy rows
            PhiloxRandom(seed, purpose).Shuffle order
            Array.truncate n order

    /// The value of a column that is the same in all rows, but for rounding.
    let private constant k (rows: float[][]) =
        let first = rows[0][k]

        if rows |> Array.forall (fun r -> abs (r[k] - first) <= 1e-12 * abs first) then
            Some first
        else
            None

    /// How surely column k alone tells the sets apart where it is constant in one of them: no classifier that is trained finds one value
    /// among many.
    let private byValue k reference samples =
        let certain value rows =
            let equal =
                rows
                |> Array.filter (fun (r: float[]) -> abs (r[k] - value) <= 1e-12 * abs value)
                |> Array.length

            1.0 - 0.5 * float equal / float (Array.length rows)

        match constant k reference, constant k samples with
        | None, None -> None
        | Some value, _ -> Some(certain value samples)
        | None, Some value -> Some(certain value reference)

    /// Both sets, in the units of the first, and their label 0 or 1: (2n, d + 1), float32.
    let private labelled (reference: float[][]) (samples: float[][]) : Tensor =
        let first = Tensors.ofRows reference
        let mean, sd = first.mean ([| 0L |], true), first.std (0L, true, true)
        let scaled rows = (Tensors.ofRows rows - mean) / sd

        let label (value: float) (rows: float[][]) =
            torch.full ([| int64 rows.Length; 1L |], value.ToScalar(), dtype = torch.float64)

        torch.cat (
            [| torch.cat ([| scaled reference; scaled samples |], 0L)
               torch.cat ([| label 0.0 reference; label 1.0 samples |], 0L) |],
            1L
        )
        |> fun data -> data.``to`` torch.float32

    /// Rows of each fold, and for each of them the rows of all others.
    let private folded seed rows =
        use generator = new torch.Generator(NoiseKey.SeedFor(seed, "C2ST folds"))
        let size = int64 (rows / folds)
        let order = torch.randperm (int64 rows, generator = generator)
        let parts = [| for k in 0 .. folds - 1 -> order.narrow (0L, int64 k * size, size) |]

        let others k =
            torch.cat (parts |> Array.indexed |> Array.filter (fun (j, _) -> j <> k) |> Array.map snd, 0L)

        torch.stack parts, torch.stack (Array.init folds others)

    let private training seed =
        { LearningRate = 1e-3
          Batch = 200
          MaxSteps = 100
          MaxEpochs = 1000
          Patience = 10
          Reductions = 0
          Clip = 1e6
          Seed = seed
          Progress = Progress.silent
          Checkpoint = None }

    /// A classifier for each fold, trained on the others: rows of the data (folds, m) → for each fold the part that it judges rightly.
    let private judged seed d (data: Tensor) (held: Tensor) (others: Tensor) =
        use bank = new WeightBank(folds)
        let network = Perceptron(bank, [| d; 10 * d; 10 * d; 1 |], 1.0)
        bank.Allocate(NoiseKey.SeedFor(seed, "C2ST weights"), torch.float32)

        let judge (batch: Tensor) : struct (Tensor * Tensor) =
            let score = network.Forward(batch.narrow (2L, 0L, int64 d)).squeeze -1L
            struct (score, batch.select (2L, int64 d))

        let loss (batch: Tensor) : Tensor =
            let struct (score, label) = judge batch
            // −ln of the probability of the right label
            torch.nn.functional.softplus(score * (1.0 - 2.0 * label)).mean [| 1L |]

        let tenth = others.shape[1] / 10L

        EnsembleTraining.train
            (training seed)
            bank
            loss
            1e-4
            data
            (others.narrow (1L, tenth, others.shape[1] - tenth))
            (others.narrow (1L, 0L, tenth))
        |> ignore

        use _ = torch.no_grad ()
        let struct (score, label) = judge (EnsembleTraining.pick data held)
        let right = score.gt(0.0.ToScalar()).eq(label.gt (0.5.ToScalar()))
        right.``to``(torch.float64).mean [| 1L |] |> Tensors.toArray

    /// The classifier's part in `compare`: two sets of as many samples, of columns that vary in both.
    let private classify (seed: uint64) (reference: float[][]) (samples: float[][]) : C2stResult =
        EnsembleTraining.singleThreaded (fun () ->
            Tensors.using (fun () ->
                let rows = reference.Length + samples.Length
                let held, others = folded seed rows

                let byFold =
                    judged seed reference[0].Length (labelled reference samples) held others

                { Accuracy = Array.average byFold
                  ByFold = byFold
                  Samples = rows }))

    /// Compares samples (n, d) with reference samples (m, d), finite; of the larger set a random part, of the size of the smaller, counts.
    /// Columns that are constant in both sets are set aside if they agree; one that is constant in only one, or at another value, tells
    /// the sets apart by itself.
    let compare (seed: uint64) (reference: float[][]) (samples: float[][]) : C2stResult =
        let half = min reference.Length samples.Length
        Guard.AtLeast("samples for C2ST", 100L, int64 half) |> ignore
        let d = reference[0].Length

        if d = 0 then
            raise (ShapeException("samples for C2ST", "at least one parameter", "none"))

        check "reference samples for C2ST" d reference
        check "samples for C2ST" d samples

        let reference, samples =
            subset seed "C2ST reference" half reference, subset seed "C2ST samples" half samples

        let alone = Array.init d (fun k -> byValue k reference samples)
        let varying = [| 0 .. d - 1 |] |> Array.filter (fun k -> alone[k].IsNone)
        let certain = alone |> Array.choose id |> Array.fold max 0.5

        let known =
            { Accuracy = certain
              ByFold = Array.create folds certain
              Samples = 2 * half }

        if certain = 1.0 || varying.Length = 0 then
            known
        else
            let pick = Array.map (fun (row: float[]) -> varying |> Array.map (fun k -> row[k]))
            let result = classify seed (pick reference) (pick samples)
            if result.Accuracy >= certain then result else known

    /// Whether the sets differ: an accuracy beyond what three standard deviations of chance explain.
    let distinguishable result =
        result.Accuracy > 0.5 + 3.0 * 0.5 / sqrt (float result.Samples)
