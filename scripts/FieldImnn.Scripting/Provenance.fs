namespace FieldImnn

open System
open System.IO
open System.Reflection
open System.Runtime.InteropServices
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open TorchSharp

/// Where numbers come from: what made them, with what settings, and how to make them again.
module Provenance =
    /// The version of an assembly as its makers say it, and the commit, where they say that, too.
    let private saying (assembly: Assembly) =
        let said = assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()

        let parts =
            if isNull said then
                [| assembly.GetName().Version.ToString 3 |]
            else
                said.InformationalVersion.Split('+', 2)

        parts[0], Array.tryItem 1 parts

    /// The version of FieldImnn, and the commit that it was built from, where that is known.
    let version, commit = saying typeof<Model>.Assembly

    /// A word of a command as a shell would have it.
    let quoted (word: string) =
        if Regex.IsMatch(word, @"^[\w./:=,+@%-]+$") then
            word
        else
            "'" + word.Replace("'", "'\\''") + "'"

    /// The command that this process was started with.
    let command () =
        let words = Environment.GetCommandLineArgs() |> List.ofArray

        match words with
        | program :: rest when Path.GetFileName program = "fsi.dll" -> "dotnet" :: "fsi" :: rest
        | program :: rest when program.EndsWith(".dll", StringComparison.Ordinal) -> "dotnet" :: program :: rest
        | own -> own
        |> List.map quoted
        |> String.concat " "

    let private library (name: string) (version: string) : JsonNode =
        Report.fields [ "name", Report.value name; "version", Report.value version ]

    let private ofType<'a> name =
        library name (fst (saying typeof<'a>.Assembly))

    /// Features with their settings, in words.
    let rec private features (f: Features) =
        let own =
            f.Settings |> Map.toList |> List.map (fun (name, value) -> $"{name} {value}")

        match own @ List.map features f.Parts with
        | [] -> f.Kind
        | inner ->
            let listed = String.concat ", " inner
            $"{f.Kind} ({listed})"

    /// The settings of a regression, by name.
    let regression (settings: ImnnSettings) : JsonNode =
        Report.fields
            [ "features", Report.value (features settings.Features)
              "loss", Report.value "squared error of the parameters, ridge"
              "derivatives", Report.value "none" ]

    /// The settings of a training, by name.
    let training (settings: ImnnSettings) : JsonNode =
        let loss =
            match settings.Loss with
            | ClosedForm -> "closed form"
            | Regularised(lambda, epsilon) -> $"regularised (lambda {lambda}, epsilon {epsilon})"

        let derivatives =
            match settings.Derivatives with
            | Autodiff -> "automatic"
            | FiniteDifference steps -> $"""differences of {steps |> Array.map string |> String.concat ", "}"""
            | Precomputed _ -> "stored"

        Report.fields
            [ "features", Report.value (features settings.Features)
              "loss", Report.value loss
              "derivatives", Report.value derivatives
              "simulations", Report.value settings.Simulations
              "derivativeSimulations", Report.value settings.DerivativeSimulations
              "learningRate", Report.value settings.LearningRate
              "minIterations", Report.value settings.MinIterations
              "maxIterations", Report.value settings.MaxIterations
              "patience", Report.value settings.Patience
              "evaluateEvery", Report.value settings.EvaluateEvery
              "heldOut", Report.value settings.HeldOut
              "fit", Report.value settings.Fit
              "measureDerivatives", Report.value settings.MeasureDerivatives
              "quote", Report.value settings.Quote
              "chunk", Report.value settings.Chunk ]

    /// The provenance of a run with this seed, on a device, by a method, with settings (of the training, where there was one).
    let ofRun (seed: uint64) (device: string) (settings: (string * JsonNode) list) : JsonNode =
        Report.fields
            [ "version", Report.value version
              match commit with
              | Some commit -> "commit", Report.value commit
              | None -> ()
              "command", Report.value (command ())
              "directory", Report.value (Directory.GetCurrentDirectory())
              "seed", Report.value seed
              "device", Report.value device
              "runtime", Report.value RuntimeInformation.FrameworkDescription
              "system", Report.value RuntimeInformation.RuntimeIdentifier
              "libraries",
              JsonArray(
                  library "libtorch" torch.__version__,
                  ofType<torch.Tensor> "TorchSharp",
                  ofType<MathNet.Numerics.Complex32> "MathNet.Numerics",
                  ofType<PureHDF.H5File> "PureHDF"
              )
              "settings", Report.fields settings ]
