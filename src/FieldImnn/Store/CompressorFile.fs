namespace FieldImnn

open System
open System.Collections.Generic
open System.Text.Json
open System.Text.Json.Nodes
open FieldImnn.Core
open FieldImnn.Core.Networks
open MathNet.Numerics.LinearAlgebra
open Manifest
open TorchSharp

/// Compressors on disk: a zip of .npy arrays (weights in single, statistics in double precision) and a manifest in JSON.
module CompressorFile =
    /// The format's version. A file of another one is refused, not guessed at.
    let version = 4

    let private manifestName = "manifest.json"

    let private ofMatrix (m: Matrix<float>) =
        Npy.double [| m.RowCount; m.ColumnCount |] (m.ToRowArrays() |> Array.concat)

    let private toMatrix (a: NpyArray) =
        Matrix<float>.Build.DenseOfRowMajor(a.Shape[0], a.Shape[1], a.Data)

    let private array (values: 'v seq) =
        JsonArray(values |> Seq.map (fun v -> JsonValue.Create v :> JsonNode) |> Seq.toArray)

    /// The features beside, and their edges as [summary, parameter]; null where there are none.
    let private ofBeside (beside: Beside option) : JsonNode =
        match beside with
        | None -> null
        | Some beside ->
            let edges =
                beside.Edges
                |> List.map (fun edge -> array [ edge.Summary; edge.Parameter ] :> JsonNode)

            JsonObject(
                [ KeyValuePair("features", Manifest.ofFeatures beside.Features :> JsonNode)
                  KeyValuePair("edges", JsonArray(Array.ofList edges) :> JsonNode) ]
            )

    let private manifest compressor =
        let description = compressor.Network.Description
        let notes = JsonObject()

        for pair in compressor.Notes do
            notes[pair.Key] <- JsonValue.Create pair.Value

        JsonObject(
            [ KeyValuePair("format", JsonValue.Create "FieldImnn compressor" :> JsonNode)
              KeyValuePair("version", JsonValue.Create version :> JsonNode)
              KeyValuePair("features", Manifest.ofFeatures (Features.ofDescription description) :> JsonNode)
              KeyValuePair("beside", ofBeside compressor.Beside)
              KeyValuePair("parameters", array compressor.Parameters :> JsonNode)
              KeyValuePair("fieldShape", array compressor.FieldShape :> JsonNode)
              KeyValuePair("channels", JsonValue.Create description.Channels :> JsonNode)
              KeyValuePair(
                  "weights",
                  array (compressor.Network.Parameters |> Seq.map (fun struct (n, _) -> n)) :> JsonNode
              )
              KeyValuePair("statisticsSimulations", JsonValue.Create compressor.Statistics.Simulations :> JsonNode)
              KeyValuePair("quotedOn", JsonValue.Create compressor.QuotedOn :> JsonNode)
              KeyValuePair("simulations", JsonValue.Create compressor.Simulations :> JsonNode)
              KeyValuePair("interrupted", JsonValue.Create compressor.Interrupted :> JsonNode)
              KeyValuePair("seconds", JsonValue.Create compressor.Seconds :> JsonNode)
              KeyValuePair("notes", notes :> JsonNode) ]
        )

    /// Writes a compressor, whole or not at all.
    let save (path: string) compressor =
        let weights =
            compressor.Network.Parameters
            |> Seq.map (fun struct (name, w) -> $"weights/{name}", Tensors.toNpy w)

        let statistics = compressor.Statistics

        let arrays =
            [ yield! weights
              for struct (name, value) in compressor.Network.Constants do
                  $"constants/{name}",
                  Npy.single (value.shape |> Array.map int) (Tensors.toArray value |> Array.map float32)
              "fiducial", Npy.vector compressor.Fiducial
              "mean", Npy.vector (statistics.Mean.ToArray())
              "covariance", ofMatrix statistics.Covariance
              "meanDerivative", ofMatrix statistics.MeanDerivative
              "statisticsFisher", ofMatrix statistics.Fisher
              "fisher", ofMatrix compressor.Fisher
              "steps", Npy.vector compressor.Steps
              "history", TrainingHistory.toNpy compressor.History
              match compressor.Linear with
              | Some layer -> "linear", ofMatrix layer
              | None -> ()
              match compressor.Typical with
              | Some typical ->
                  "typicalMean", Npy.vector typical.Mean
                  "typicalSd", Npy.vector typical.Sd
                  "typicalRare", Npy.vector [| typical.Rare |]
              | None -> ()
              match compressor.Plain with
              | Some plain ->
                  "plainKnots", ofMatrix (Matrix<float>.Build.DenseOfRowArrays plain.Knots)
                  "plainTrend", ofMatrix plain.Trend
                  "plainSpread", Npy.vector plain.Spread
                  "plainRare", Npy.vector [| plain.Reach; plain.Largest; plain.Sum |]
              | None -> ()
              match Features.owned (Features.ofDescription compressor.Network.Description) with
              | [] -> ()
              | _ -> "probe", Npy.vector (Features.probe compressor.Device compressor.Network) ]

        Npz.write
            path
            { Arrays = Map.ofSeq arrays
              Texts =
                Map.ofList
                    [ manifestName, (manifest compressor).ToJsonString(JsonSerializerOptions(WriteIndented = true)) ] }

    /// The array of a name, of this shape, with finite numbers.
    let private finite path file name (shape: int[]) =
        let found = Npz.array path name file

        if found.Shape <> shape then
            fault path $"'{name}' of shape {NpyHeader.shapeText shape}" $"shape {NpyHeader.shapeText found.Shape}"

        found.Data
        |> Array.tryFindIndex (Double.IsFinite >> not)
        |> Option.iter (fun i -> fault path $"finite numbers in '{name}'" $"{found.Data[i]} at element {i}")

        found

    /// As finite, a matrix; one that is a covariance or information must be symmetric.
    let private symmetric path file name size =
        let m = finite path file name [| size; size |] |> toMatrix

        if (m - m.Transpose()).L2Norm() > 1e-6 * m.L2Norm() then
            fault path $"a symmetric matrix '{name}'" "one that is not"

        m

    let private fieldShapeOf path manifest =
        let fieldShape: int64[] = list path manifest "fieldShape"

        if fieldShape |> Array.exists (fun n -> n < 1L || n > int64 Int32.MaxValue) then
            fault path "'fieldShape' of lengths ≥ 1" (Guard.Describe fieldShape)

        if fieldShape |> Array.fold (fun product n -> product * float n) 1.0 > float Array.MaxLength then
            fault path $"'fieldShape' of at most {Array.MaxLength} pixels" (Guard.Describe fieldShape)

        fieldShape

    /// Features, all of which must be registered.
    let private registered path node =
        let features = toFeatures path node

        match Features.missing features with
        | [] -> features
        | missing ->
            let names = missing |> List.map (fun (name, _) -> $"'{name}'") |> String.concat ", "
            let lines = missing |> List.map snd |> String.concat "; "

            fault
                path
                $"its own features registered before it is read, as where it was made: {lines}"
                $"none of the name {names}"

    let private besideOf path (manifest: JsonObject) : Beside option =
        if not (manifest.ContainsKey "beside") || isNull manifest["beside"] then
            None
        else
            let found = object' path manifest "beside"

            let edge (node: JsonNode) =
                match node with
                | :? JsonArray as pair when pair.Count = 2 ->
                    { Summary = valueOf path "summary of an edge" pair[0]
                      Parameter = valueOf path "parameter of an edge" pair[1] }
                | other -> fault path "edges of a summary and a parameter" (shown other)

            Some
                { Features = registered path (object' path found "features")
                  Edges = nodes path found "edges" |> List.map edge }

    /// The network that a manifest describes, its weights not yet those of the file.
    let private build path manifest : SummaryNetwork =
        let features = registered path (object' path manifest "features")
        let parameters: string[] = list path manifest "parameters"

        try
            let description =
                Features.describe
                    (fieldShapeOf path manifest)
                    (count path manifest "channels")
                    parameters.Length
                    features

            SummaryNetwork.Create(description, 0UL, Device.cpu)
        with
        | :? StoreException -> reraise ()
        | :? FieldImnnException as error ->
            raise (
                StoreException($"compressor file '{path}'", $"{error.Subject}: {error.Expected}", error.Received, error)
            )
        | :? System.Runtime.InteropServices.ExternalException as error -> // more weights than there is memory for
            raise (
                StoreException(
                    $"compressor file '{path}'",
                    "settings with which the network can be made",
                    error.Message.Split('\n')[0],
                    error
                )
            )

    /// Features of one's own give what they gave where the file was made: to a hundredth, since machines round differently.
    let private checkProbe path file (network: SummaryNetwork) =
        let owned = Features.owned (Features.ofDescription network.Description)

        if not owned.IsEmpty then
            let now = Features.probe Device.cpu network
            let saved = (Npz.array path "probe" file).Data

            let largest =
                now |> Array.filter Double.IsFinite |> Array.fold (fun m v -> max m (abs v)) 0.0

            let same a b =
                a.Equals b
                || Double.IsNaN a && Double.IsNaN b
                || abs (a - b) <= 0.01 * max (abs a) (abs b) + 1e-5 * largest

            if saved.Length <> now.Length || not (Array.forall2 same saved now) then
                let names = owned |> List.map (fun name -> $"'{name}'") |> String.concat ", "
                fault path $"{names} registered as where the file was made" "another function of that name"

    let private restoreConstants path file (network: SummaryNetwork) =
        if network.Constants.Count > 0 then
            use _ = torch.NewDisposeScope()
            let constants = Dictionary<string, Tensor>()

            for struct (name, _) in network.Constants do
                let found = Npz.array path $"constants/{name}" file
                let saved = finite path file $"constants/{name}" found.Shape
                let values = torch.tensor (saved.Data |> Array.map float32)
                constants[name] <- values.reshape (saved.Shape |> Array.map int64)

            try
                network.Restore constants
            with :? ShapeException as error ->
                raise (
                    StoreException(
                        $"compressor file '{path}'",
                        $"{error.Subject} of shape {error.Expected}",
                        error.Received,
                        error
                    )
                )

    let private networkOf path manifest file : SummaryNetwork =
        let network = build path manifest

        try
            use _ = torch.no_grad ()

            for struct (name, weight) in network.Parameters do
                let saved = finite path file $"weights/{name}" (weight.shape |> Array.map int)
                use values = torch.tensor (saved.Data |> Array.map float32)
                use shaped = values.reshape weight.shape
                weight.copy_ shaped |> ignore

            restoreConstants path file network
            checkProbe path file network
            network
        with _ ->
            network.Dispose()
            reraise ()

    /// What fields look like, of a network's shape and channels; none where the file does not say it.
    let private plainOf path file (network: SummaryNetwork) (p: int) =
        if file.Arrays.ContainsKey "plainKnots" then
            let description = network.Description

            let statistics =
                PlainStatistics.count (Array.ofSeq description.FieldShape) (int description.Channels)

            let matrix name rows columns =
                finite path file name [| rows; columns |] |> toMatrix

            let rare = (finite path file "plainRare" [| 3 |]).Data

            Some
                { Knots = (matrix "plainKnots" statistics PlainStatistics.knots).ToRowArrays()
                  Trend = matrix "plainTrend" (PlainStatistics.terms p) statistics
                  Spread = (finite path file "plainSpread" [| statistics |]).Data
                  Reach = rare[0]
                  Largest = rare[1]
                  Sum = rare[2] }
        else
            None

    /// Everything but the network, whose features it must fit.
    let private assemble path manifest file (network: SummaryNetwork) : Compressor =
        let parameters: string[] = list path manifest "parameters"
        let p = parameters.Length

        if
            p = 0
            || (Array.distinct parameters).Length < p
            || Array.exists String.IsNullOrWhiteSpace parameters
        then
            fault path "'parameters' with a name of its own for each" (String.concat ", " parameters)

        let features = int network.Features

        let linear =
            if file.Arrays.ContainsKey "linear" then
                Some(toMatrix (finite path file "linear" [| features; p |]))
            else
                None

        let s = if linear.IsSome then p else features

        let typical =
            if file.Arrays.ContainsKey "typicalMean" then
                let numbers name count =
                    (finite path file name [| count |]).Data

                Some
                    { Mean = numbers "typicalMean" features
                      Sd = numbers "typicalSd" features
                      Rare = (numbers "typicalRare" 1)[0] }
            else
                None

        { Network = network
          Device = Device.cpu
          Parameters = parameters
          FieldShape = list path manifest "fieldShape"
          Fiducial = (finite path file "fiducial" [| p |]).Data
          Beside = besideOf path manifest
          Typical = typical
          Plain = plainOf path file network p
          Linear = linear
          Statistics =
            { Mean = Vector<float>.Build.DenseOfArray (finite path file "mean" [| s |]).Data
              Covariance = symmetric path file "covariance" s
              MeanDerivative = toMatrix (finite path file "meanDerivative" [| p; s |])
              Fisher = symmetric path file "statisticsFisher" p
              Simulations = count path manifest "statisticsSimulations" }
          Fisher = symmetric path file "fisher" p
          Steps =
            (match (Npz.array path "steps" file).Shape with
             | [| 0 |] -> [||]
             | _ -> (finite path file "steps" [| p |]).Data)
          QuotedOn = count path manifest "quotedOn"
          History =
            Npz.array path "history" file
            |> TrainingHistory.ofNpy $"compressor file '{path}'"
          Simulations = count path manifest "simulations"
          Interrupted =
            // absent from files of before there was such a thing
            manifest.ContainsKey "interrupted" && get path manifest "interrupted"
          Seconds = get path manifest "seconds"
          Notes =
            if manifest.ContainsKey "notes" then
                Map.ofArray (pairs path manifest "notes")
            else
                Map.empty }

    /// Reads a compressor; it gives the same estimates as the one that was saved, to the last bit.
    let load (path: string) : Compressor =
        let file = Npz.read path
        let manifest = Manifest.parse path (Npz.text path manifestName file)

        let format: string =
            try
                get path manifest "format"
            with :? StoreException ->
                fault path "a manifest of a FieldImnn compressor" (shown manifest)

        if format <> "FieldImnn compressor" then
            fault path "a FieldImnn compressor" format

        let found: int = get path manifest "version"

        if found <> version then
            fault
                path
                $"format version {version}"
                (if found < version then
                     $"version {found}, of before it said what fields look like: train it again"
                 else
                     $"version {found}")

        let network = networkOf path manifest file

        try
            assemble path manifest file network
        with _ ->
            network.Dispose()
            reraise ()

    /// Reads a compressor onto a device.
    let loadOn (device: torch.Device) (path: string) : Compressor =
        let read = load path
        let placed = Compressor.on device read

        if not (obj.ReferenceEquals(placed.Network, read.Network)) then
            read.Network.Dispose()

        placed
