namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Networks
open TorchSharp

/// The highest held-out det F so far with its weights, and how many evaluations have gone by since.
[<Struct>]
type internal BestWeights =
    { DetF: float
      Weights: Tensor[]
      Stale: int }

/// How far the steps of a training have come: all that the next one depends on beside the settings, since simulations are drawn by the
/// number of the step.
[<RequireQualifiedAccess>]
type internal TrainingState =
    {
        Network: SummaryNetwork
        Adam: Modules.Adam
        /// Steps scatter about where they lead: what is evaluated and kept is their average.
        Averaged: Tensor[]
        History: ResizeArray<TrainingRecord>
        mutable Best: BestWeights
    }

module internal TrainingState =
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

    let none =
        { DetF = -infinity
          Weights = [||]
          Stale = 0 }

    /// Before the first step.
    let create (network: SummaryNetwork) rate : TrainingState =
        let weights = network.Parameters |> Seq.map (fun struct (_, w) -> w) |> Seq.toArray

        { Network = network
          Adam = torch.optim.Adam(weights, rate)
          Averaged = copy network
          History = ResizeArray()
          Best = none }

    let free (state: TrainingState) =
        Array.append state.Best.Weights state.Averaged |> Array.iter _.Dispose()
        state.Adam.Dispose()

    /// Adam's moments and its number of steps, for each weight.
    let private moments (state: TrainingState) =
        [ for own in state.Adam.state_dict().State -> own :?> Modules.Adam.State ]

    let private names (state: TrainingState) =
        [ for struct (name, _) in state.Network.Parameters -> name ]

    /// The tensors of a state, by name, in the order of the weights.
    let private tensors (state: TrainingState) =
        let first = moments state |> List.map _.exp_avg
        let second = moments state |> List.map _.exp_avg_sq

        let weights =
            [ for struct (_, weight) in state.Network.Parameters -> weight :> Tensor ]

        [ for kind, all in
              [ "weights", weights
                "averaged", List.ofArray state.Averaged
                "first moments", first
                "second moments", second ] do
              for name, tensor in List.zip (names state) all do
                  $"{kind}/{name}", tensor ]

    let save (file: CheckpointFile) (state: TrainingState) =
        use _ = torch.NewDisposeScope()

        CheckpointFile.write
            file
            [ for name, tensor in tensors state do
                  name, Tensors.toNpy tensor
              for name, tensor in Seq.zip (names state) state.Best.Weights do
                  $"best/{name}", Tensors.toNpy tensor
              "steps of Adam", moments state |> Seq.map (fun m -> float m.step) |> Array.ofSeq |> Npy.vector
              "best", Npy.vector [| state.Best.DetF; float state.Best.Stale |]
              "history", TrainingHistory.toNpy state.History ]

    /// Takes over what was saved, if there is something; a state that has not begun.
    let resume (file: CheckpointFile) (state: TrainingState) =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let like = CheckpointFile.tensorLike file
        let numbers = CheckpointFile.numbers file

        CheckpointFile.tryRead file (fun array ->
            let best = numbers 2 (array "best")
            let weights = names state |> List.map (fun name -> $"best/{name}")

            {| Tensors = [ for name, tensor in tensors state -> struct (tensor, like tensor (array name)) ]
               Steps = numbers (moments state).Length (array "steps of Adam")
               Best =
                { DetF = best[0]
                  Stale = int best[1]
                  Weights =
                    if best[0] > -infinity then
                        List.map2 (fun name own -> like own (array name)) weights (List.ofArray state.Averaged)
                        |> Array.ofList
                    else
                        [||] }
               History = TrainingHistory.ofNpy (CheckpointFile.path file) (array "history") |})
        |> Option.iter (fun found ->
            for struct (own, saved) in found.Tensors do
                own.copy_ saved |> ignore

            List.iter2
                (fun (m: Modules.Adam.State) steps -> m.step <- int64 steps)
                (moments state)
                (List.ofArray found.Steps)

            found.Best.Weights |> Array.iter (Tensors.keep >> ignore)
            state.Best <- found.Best
            state.History.AddRange found.History)
