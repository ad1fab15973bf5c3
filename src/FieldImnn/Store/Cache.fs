namespace FieldImnn

open System
open System.Globalization
open System.IO
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open System.Security.Cryptography
open System.Text
open TorchSharp

/// Trained compressors kept in a folder by what they were trained with, so that scripts that need the same one share it and each
/// still runs alone. A simulator, or a stored set, is known by the fingerprint of what it produces and not by its name.
module Cache =
    let private sha (text: string) =
        (Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes text))).ToLowerInvariant()

    let private exact (v: float) =
        v.ToString("R", CultureInfo.InvariantCulture)

    /// What features of one's own give, on fixed fields and on the simulator's: another function under the same name is another network.
    let private ofOwn (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) =
        match Features.owned settings.Features with
        | [] -> ""
        | kinds ->
            use _ = torch.NewDisposeScope()
            use _ = torch.no_grad ()
            use network = Imnn.network settings.Features simulator settings.Seed

            let fields =
                match settings.Derivatives with
                | Precomputed(training, _) -> training.Fields |> Slices.range 0 (min 4 training.Fields.Count)
                | _ ->
                    Simulator.fields
                        (Simulator.on Device.cpu simulator)
                        (Tensors.ofVector fiducial)
                        (NoiseKey.Range(1UL, 0UL, 4))

            let made = network.Forward(Dual(fields.``to`` torch.ScalarType.Float32)).Primal
            Fingerprint.ofTensors kinds [ Tensors.ofVector (Features.probe Device.cpu network); made ]

    let private key (notes: Map<string, string>) (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) =
        let derivatives =
            match settings.Derivatives with
            | Autodiff -> "automatic"
            | FiniteDifference step -> "differences " + String.concat " " (Array.map exact step)
            | Precomputed _ -> "stored"

        let described =
            Features.describe simulator.FieldShape simulator.Channels fiducial.Length settings.Features

        let text =
            String.concat
                "\n"
                [ $"{CompressorFile.version} {described} %A{settings.Loss} {derivatives}"
                  $"{settings.Simulations} {settings.DerivativeSimulations} {exact settings.LearningRate} {settings.MinIterations}"
                  $"{settings.MaxIterations} {settings.Patience} {settings.EvaluateEvery} {settings.HeldOut} {settings.Fit} {settings.Quote}"
                  $"{settings.Chunk} {settings.Seed} %A{Map.toList notes}"
                  String.concat " " (Array.map exact fiducial)
                  ofOwn settings simulator fiducial
                  Fingerprint.ofSimulator simulator settings.Derivatives fiducial ]

        (sha text).Substring(0, 12)

    /// An earlier compressor, by its weights and where it was trained.
    let private identity (compressor: Compressor) =
        compressor.Network.Parameters
        |> Seq.map (fun struct (_, weight) -> weight :> Tensor)
        |> Fingerprint.ofTensors [ string compressor.Network.Description; $"%A{compressor.Fiducial}" ]

    /// The compressor trained with these settings (on whatever device) at these parameters, on the device of the settings, from the weights of an earlier one if there is one: read from
    /// the folder if it is there, else trained and kept. Notes (problem, modes) are part of what it is known by. A training that was
    /// cancelled is not kept: it ends with OperationCanceledException, and what was finished before stays.
    let trainOrLoad (folder: string) (notes: (string * string) list) settings (simulator: Simulator) earlier fiducial =
        let origin =
            match earlier with
            | Some c -> [ "startedFrom", identity c ]
            | None -> []

        let notes = Map.ofList (notes @ origin)

        let path =
            Path.Combine(folder, $"{Text.fileName simulator.Name}-{key notes settings simulator fiducial}.imnn")

        if File.Exists path then
            CompressorFile.loadOn settings.Device path
        else
            let compressor =
                { Imnn.trainFrom earlier settings simulator fiducial with
                    Notes = notes }

            if compressor.Interrupted then
                (compressor.Network :> IDisposable).Dispose()
                raise (OperationCanceledException(settings.Progress.Cancellation))

            CompressorFile.save path compressor
            compressor

    /// A compressor that was read from a file, if it was trained for what the notes say, to its end.
    let require (notes: (string * string) list) path (compressor: Compressor) =
        if compressor.Interrupted then
            raise (
                SettingException(
                    $"compressor '{path}'",
                    "one whose training ended by itself",
                    "one whose training was interrupted"
                )
            )

        for key, wanted in notes do
            match Map.tryFind key compressor.Notes with
            | Some found when found = wanted -> ()
            | found ->
                let came = defaultArg found "none"
                raise (SettingException($"{key} of compressor '{path}'", wanted, came))

        compressor
