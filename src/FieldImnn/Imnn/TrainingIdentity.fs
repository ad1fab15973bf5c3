namespace FieldImnn

open System.Globalization
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TorchSharp

/// What a training is known by: two that are equal in all of it end with the same compressor. A simulator, or a stored set, counts by what it
/// produces and not by its name.
module internal TrainingIdentity =
    let private exact (v: float) =
        v.ToString("R", CultureInfo.InvariantCulture)

    let private list values =
        values |> Array.map exact |> String.concat " "

    /// The untrained network of features for a simulator's fields.
    let network device features (simulator: Simulator) seed =
        let description =
            Features.describe simulator.FieldShape simulator.Channels simulator.Parameters.Length features

        SummaryNetwork.Create(description, NoiseKey.SeedFor(seed, "weights"), device)

    /// What features of one's own give, on fixed fields and on the simulator's: another function under the same name is another network.
    let private ofOwn (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) =
        match Features.owned settings.Features with
        | [] -> []
        | kinds ->
            use _ = torch.NewDisposeScope()
            use _ = torch.no_grad ()
            use network = network Device.cpu settings.Features simulator settings.Seed

            let fields =
                match settings.Derivatives with
                | Precomputed(training, _) -> training.Fields |> Slices.range 0 (min 4 training.Fields.Count)
                | _ ->
                    Simulator.fields
                        (Simulator.on Device.cpu simulator)
                        (Tensors.ofVector fiducial)
                        (NoiseKey.Range(1UL, 0UL, 4))

            let made = network.Forward(Dual(fields.``to`` torch.ScalarType.Float32)).Primal

            [ "own features", Fingerprint.ofTensors kinds [ Tensors.ofVector (Features.probe Device.cpu network); made ] ]

    /// An earlier compressor, by its weights and where it was trained.
    let private ofEarlier (earlier: Compressor option) =
        [ for compressor in Option.toList earlier do
              "weights to start from",
              compressor.Network.Parameters
              |> Seq.map (fun struct (_, weight) -> weight :> Tensor)
              |> Fingerprint.ofTensors [ string compressor.Network.Description; list compressor.Fiducial ] ]

    /// Names and values of all that a training at fiducial parameters is known by, from the weights of an earlier compressor if there is one.
    let ofTraining (settings: ImnnSettings) (simulator: Simulator) (earlier: Compressor option) (fiducial: float[]) =
        let derivatives =
            match settings.Derivatives with
            | Autodiff -> "automatic"
            | FiniteDifference step -> $"differences {list step}"
            | Precomputed _ -> "stored"

        let loss =
            match settings.Loss with
            | ClosedForm -> "closed form"
            | Regularised(lambda, epsilon) -> $"regularised {exact lambda} {exact epsilon}"

        let described =
            Features.describe simulator.FieldShape simulator.Channels simulator.Parameters.Length settings.Features

        [ "seed", string settings.Seed
          "features", string described
          "loss", loss
          "derivatives", derivatives
          "n_s and n_d", $"{settings.Simulations} {settings.DerivativeSimulations}"
          "learning rate", exact settings.LearningRate
          "iterations", $"{settings.MinIterations} to {settings.MaxIterations}"
          "patience", $"{settings.Patience} of {settings.EvaluateEvery}"
          "held-out simulations", string settings.HeldOut
          "simulations to fit and to quote, with derivatives",
          $"{settings.Fit} {settings.Quote} {settings.MeasureDerivatives}"
          "chunk", string settings.Chunk
          "fiducial", list fiducial
          yield! ofOwn settings simulator fiducial
          yield! ofEarlier earlier
          "simulator's fingerprint", Fingerprint.ofSimulator simulator settings.Derivatives fiducial ]
