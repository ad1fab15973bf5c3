namespace FieldImnn

open System
open System.IO
open FieldImnn.Core

/// Trained compressors kept in a folder by what they were trained with, so that scripts that need the same one share it and each
/// still runs alone. A simulator, or a stored set, is known by the fingerprint of what it produces and not by its name.
module Cache =
    let private key (notes: Map<string, string>) (settings: ImnnSettings) simulator earlier fiducial =
        let known =
            TrainingIdentity.ofTraining settings simulator earlier fiducial
            |> List.map (fun (name, value) -> $"{name}: {value}")

        Text.digest (String.concat "\n" ($"{CompressorFile.version} %A{Map.toList notes}" :: known))

    /// The compressor trained with these settings (on whatever device) at these parameters, on the device of the settings, from the weights of an earlier one if there is one: read from
    /// the folder if it is there, else trained and kept. Notes (problem, modes) are part of what it is known by. A training that was
    /// cancelled is not kept: it ends with OperationCanceledException, and what was finished before stays. How far a training has come is kept
    /// in a folder beside, which goes when it has ended: one that was cancelled or killed goes on from there.
    let trainOrLoad
        (folder: string)
        (notes: (string * string) list)
        (settings: ImnnSettings)
        (simulator: Simulator)
        earlier
        fiducial
        =
        let notes = Map.ofList notes

        let path =
            Path.Combine(folder, $"{Text.fileName simulator.Name}-{key notes settings simulator earlier fiducial}.imnn")

        let kept = path + CheckpointFile.ofOne

        if File.Exists path then
            CompressorFile.loadOn settings.Device path
        else
            let place =
                { (settings.Checkpoint |> Option.defaultValue (Checkpoint.inFolder kept)) with
                    Folder = kept }

            let compressor =
                { Imnn.trainFrom
                      earlier
                      { settings with
                          Checkpoint = Some place }
                      simulator
                      fiducial with
                    Notes = notes }

            CompressorFile.save path compressor

            if Directory.Exists kept then
                Directory.Delete(kept, recursive = true)

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
