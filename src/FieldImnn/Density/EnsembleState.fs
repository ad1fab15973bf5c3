namespace FieldImnn

open System
open System.Globalization
open FieldImnn.Core
open FieldImnn.Core.Flows
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
        /// Where training keeps how far it has come. None keeps nothing.
        Checkpoint: Checkpoint option
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

/// How far the training of an ensemble has come: all that the next epoch depends on beside the settings and its number, in memory and in a
/// checkpoint.
module internal EnsembleState =
    /// Adam (Kingma & Ba 2015) on all weights of the bank: the moments (members, weights), and how many steps each member's have seen.
    type Adam =
        { First: Tensor
          Second: Tensor
          Steps: float[] }

    let private member' i (tensor: Tensor) = tensor.select (0L, int64 (i: int))

    /// How far one member has come.
    type Member =
        {
            /// Its lowest held-out loss; ∞ before there is a finite one.
            Lowest: float
            /// Epochs since.
            Stale: int
            Reduced: int
            Rate: float
            Finished: bool
        }

    /// Weights of all members and their optimiser's memory.
    type Snapshot = { Weights: Tensor; Adam: Adam }

    /// Takes member i from one snapshot to another: its moments belong to its weights, and NaN in either would stay for ever.
    let copyMember i source target =
        use _ = torch.no_grad ()

        for from, into in
            [ source.Weights, target.Weights
              source.Adam.First, target.Adam.First
              source.Adam.Second, target.Adam.Second ] do
            (member' i into).copy_(member' i from) |> ignore

        target.Adam.Steps[i] <- source.Adam.Steps[i]

    /// Weights, which are not copied, with an optimiser that remembers nothing yet.
    let snapshot (bank: WeightBank) weights =
        { Weights = weights
          Adam =
            { First = torch.zeros_like bank.Values
              Second = torch.zeros_like bank.Values
              Steps = Array.zeroCreate bank.Members } }

    /// A member before the first epoch, by its loss on the held-out rows.
    let beginning rate lowest =
        { Lowest = (if Double.IsFinite lowest then lowest else infinity)
          Stale = 0
          Reduced = 0
          Rate = rate
          Finished = false }

    /// How far training has come: all that the next epoch depends on beside the settings and its number.
    type Running =
        { Current: Snapshot
          Best: Snapshot
          Members: Member[]
          History: ResizeArray<EnsembleRecord> }

    /// The checkpoint of a training, known by its settings, the first weights, all rows, and the first losses, which stand for the loss.
    let checkpoint settings (tolerance: float) (bank: WeightBank) (rows: Tensor list) (losses: float[]) =
        let known () =
            use _ = torch.NewDisposeScope()
            Fingerprint.ofTensors [] (bank.Values :: Tensors.ofVector losses :: rows)

        let identity =
            [ if settings.Checkpoint.IsSome then
                  let numbers =
                      [ settings.LearningRate; settings.Clip; tolerance ]
                      @ ([ settings.Batch
                           settings.MaxSteps
                           settings.MaxEpochs
                           settings.Patience
                           settings.Reductions ]
                         |> List.map float)

                  "seed", string settings.Seed

                  "settings",
                  numbers
                  |> List.map _.ToString("R", CultureInfo.InvariantCulture)
                  |> String.concat " "

                  "weights, rows and losses", known () ]

        CheckpointFile.create "networks" identity settings.Progress settings.Checkpoint

    /// The tensors of a state, by name.
    let private tensors running =
        [ for kind, s in [ "current", running.Current; "best", running.Best ] do
              $"{kind}/weights", s.Weights
              $"{kind}/first moments", s.Adam.First
              $"{kind}/second moments", s.Adam.Second ]

    let private ofRows width (rows: float[][]) =
        Npy.double [| rows.Length; width |] (Array.concat rows)

    let save (file: CheckpointFile) running =
        let count = running.Members.Length

        let members =
            running.Members
            |> Array.map (fun m ->
                [| m.Lowest
                   float m.Stale
                   float m.Reduced
                   m.Rate
                   (if m.Finished then 1.0 else 0.0) |])

        CheckpointFile.write
            file
            [ for name, tensor in tensors running do
                  name, Tensors.toNpy tensor
              "steps", ofRows count [| running.Current.Adam.Steps; running.Best.Adam.Steps |]
              "members", ofRows 5 members
              "history/training", running.History |> Seq.map _.Training |> Array.ofSeq |> ofRows count
              "history/held out", running.History |> Seq.map _.HeldOut |> Array.ofSeq |> ofRows count ]

    /// Takes over what was saved, if there is something.
    let resume (file: CheckpointFile) running =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let count = running.Members.Length

        CheckpointFile.tryRead file (fun array ->
            let rows width name =
                (CheckpointFile.requireWidth file width (array name)).Data
                |> Array.chunkBySize width

            {| Tensors =
                [ for name, own in tensors running -> struct (own, CheckpointFile.tensorLike file own (array name)) ]
               Steps = rows count "steps"
               Members = rows 5 "members"
               Training = rows count "history/training"
               HeldOut = rows count "history/held out" |})
        |> Option.iter (fun found ->
            for struct (own, saved) in found.Tensors do
                own.copy_ saved |> ignore

            found.Steps[0].CopyTo(running.Current.Adam.Steps, 0)
            found.Steps[1].CopyTo(running.Best.Adam.Steps, 0)

            found.Members
            |> Array.iteri (fun i m ->
                running.Members[i] <-
                    { Lowest = m[0]
                      Stale = int m[1]
                      Reduced = int m[2]
                      Rate = m[3]
                      Finished = (m[4] = 1.0) })

            Array.map2 (fun t h -> t, h) found.Training found.HeldOut
            |> Array.iteri (fun i (training, held) ->
                running.History.Add
                    { Epoch = i + 1
                      Training = training
                      HeldOut = held }))
