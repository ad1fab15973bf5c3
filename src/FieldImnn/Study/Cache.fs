namespace FieldImnn

open System
open System.IO
open FieldImnn.Core
open System.Security.Cryptography
open System.Text

/// Trained compressors kept in a folder by what they were trained with, so that scripts that need the same one share it and each
/// still runs alone.
module Cache =
    let private key (notes: Map<string, string>) settings (fieldShape: int64[]) (fiducial: float[]) =
        let derivatives =
            match settings.Derivatives with
            | Precomputed _ -> "precomputed"
            | other -> $"%A{other}"

        let text =
            String.concat
                "\n"
                [ $"{CompressorFile.version} %A{settings.Network} %A{settings.Loss} {derivatives}"
                  $"{settings.Simulations} {settings.DerivativeSimulations} {string settings.LearningRate} {settings.MinIterations}"
                  $"{settings.MaxIterations} {settings.Patience} {settings.EvaluateEvery} {settings.HeldOut} {settings.Quote}"
                  $"{settings.Chunk} {settings.Seed} %A{fieldShape} %A{fiducial} %A{Map.toList notes}" ]

        let hash = SHA256.HashData(Encoding.UTF8.GetBytes text)
        (Convert.ToHexString hash).Substring(0, 12).ToLowerInvariant()

    /// The compressor trained with these settings at these parameters, from the weights of an earlier one if there is one: read from
    /// the folder if it is there, else trained and kept. Notes (problem, modes) tell simulators apart. A cancelled training is returned
    /// but not kept.
    let trainOrLoad (folder: string) (notes: (string * string) list) settings (simulator: Simulator) earlier fiducial =
        let origin =
            match earlier with
            | Some(c: Compressor) -> [ "startedFrom", key c.Notes settings c.FieldShape c.Fiducial ]
            | None -> []

        let notes = Map.ofList (notes @ origin)

        let path =
            Path.Combine(folder, $"{simulator.Name}-{key notes settings simulator.FieldShape fiducial}.imnn")

        if File.Exists path then
            CompressorFile.load path
        else
            let compressor =
                { Imnn.trainFrom earlier settings simulator fiducial with
                    Notes = notes }

            if not settings.Progress.Cancellation.IsCancellationRequested then
                CompressorFile.save path compressor

            compressor

    /// A compressor that was read from a file, if it was trained for what the notes say.
    let require (notes: (string * string) list) path (compressor: Compressor) =
        for key, wanted in notes do
            match Map.tryFind key compressor.Notes with
            | Some found when found = wanted -> ()
            | found ->
                let came = defaultArg found "none"
                raise (SettingException($"{key} of compressor '{path}'", wanted, came))

        compressor
