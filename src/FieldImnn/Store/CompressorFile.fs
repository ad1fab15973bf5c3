namespace FieldImnn

open System
open System.Collections.Generic
open System.Text.Json
open System.Text.Json.Nodes
open FieldImnn.Core
open FieldImnn.Core.Networks
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// Compressors on disk: a zip of .npy arrays (weights in single, statistics in double precision) and a manifest in JSON.
module CompressorFile =
    /// The format's version. A file of a newer one is refused, not guessed at.
    let version = 1

    let private manifestName = "manifest.json"

    let private ofMatrix (m: Matrix<float>) =
        Npy.double [| m.RowCount; m.ColumnCount |] (m.ToRowArrays() |> Array.concat)

    let private toMatrix (a: NpyArray) =
        Matrix<float>.Build.DenseOfRowMajor(a.Shape[0], a.Shape[1], a.Data)

    let private array (values: 'v seq) =
        JsonArray(values |> Seq.map (fun v -> JsonValue.Create v :> JsonNode) |> Seq.toArray)

    let private manifest compressor =
        let description = compressor.Network.Description
        let settings = JsonObject()

        for pair in description.Settings do
            settings[pair.Key] <- JsonValue.Create pair.Value

        let notes = JsonObject()

        for pair in compressor.Notes do
            notes[pair.Key] <- JsonValue.Create pair.Value

        JsonObject(
            [ KeyValuePair("format", JsonValue.Create "FieldImnn compressor" :> JsonNode)
              KeyValuePair("version", JsonValue.Create version :> JsonNode)
              KeyValuePair("network", JsonValue.Create description.Kind :> JsonNode)
              KeyValuePair("networkSettings", settings :> JsonNode)
              KeyValuePair("parameters", array compressor.Parameters :> JsonNode)
              KeyValuePair("fieldShape", array compressor.FieldShape :> JsonNode)
              KeyValuePair(
                  "weights",
                  array (compressor.Network.Parameters |> Seq.map (fun struct (n, _) -> n)) :> JsonNode
              )
              KeyValuePair("statisticsSimulations", JsonValue.Create compressor.Statistics.Simulations :> JsonNode)
              KeyValuePair("quotedOn", JsonValue.Create compressor.QuotedOn :> JsonNode)
              KeyValuePair("simulations", JsonValue.Create compressor.Simulations :> JsonNode)
              KeyValuePair("seconds", JsonValue.Create compressor.Seconds :> JsonNode)
              KeyValuePair("notes", notes :> JsonNode) ]
        )

    let private historyColumns: (TrainingRecord -> float)[] =
        [| (fun r -> float r.Iteration)
           (fun r -> r.DetF)
           (fun r -> r.Lambda)
           (fun r -> r.Strength)
           (fun r -> r.HeldOutDetF)
           (fun r -> r.Seconds) |]

    /// Writes a compressor, whole or not at all.
    let save (path: string) compressor =
        let weights =
            compressor.Network.Parameters
            |> Seq.map (fun struct (name, w) ->
                let values = Tensors.toArray w |> Array.map float32
                $"weights/{name}", Npy.single (w.shape |> Array.map int) values)

        let statistics = compressor.Statistics

        let arrays =
            [ yield! weights
              "fiducial", Npy.double [| compressor.Fiducial.Length |] compressor.Fiducial
              "mean", Npy.double [| statistics.Mean.Count |] (statistics.Mean.ToArray())
              "covariance", ofMatrix statistics.Covariance
              "meanDerivative", ofMatrix statistics.MeanDerivative
              "statisticsFisher", ofMatrix statistics.Fisher
              "fisher", ofMatrix compressor.Fisher
              "history",
              Npy.double
                  [| compressor.History.Length; historyColumns.Length |]
                  [| for r in compressor.History do
                         for column in historyColumns -> column r |]
              match compressor.Linear with
              | Some layer -> "linear", ofMatrix layer
              | None -> () ]

        Npz.write
            path
            { Arrays = Map.ofSeq arrays
              Texts =
                Map.ofList
                    [ manifestName, (manifest compressor).ToJsonString(JsonSerializerOptions(WriteIndented = true)) ] }

    let private fault path expected received =
        raise (StoreException($"compressor file '{path}'", expected, received))

    /// Reads a compressor; it gives the same estimates as the one that was saved, to the last bit.
    let load (path: string) : Compressor =
        let file = Npz.read path

        let manifest =
            try
                JsonNode.Parse(Npz.text path manifestName file).AsObject()
            with :? JsonException as error ->
                fault path "a manifest in JSON" error.Message

        let get (name: string) : 'v =
            match manifest[name] with
            | null -> fault path $"a manifest with '{name}'" "one without it"
            | node ->
                try
                    node.GetValue<'v>()
                with :? InvalidOperationException ->
                    fault path $"'{name}' of type {typeof<'v>.Name}" (node.ToJsonString())

        let list (name: string) : 'v[] =
            match manifest[name] with
            | :? JsonArray as items -> items |> Seq.map (fun i -> i.GetValue<'v>()) |> Seq.toArray
            | _ -> fault path $"a manifest with the list '{name}'" "one without it"

        let found: int = get "version"

        if found <> version then
            fault path $"format version {version}" $"version {found}"

        let settings = Dictionary<string, int64>()

        match manifest["networkSettings"] with
        | :? JsonObject as items ->
            for pair in items do
                settings[pair.Key] <- pair.Value.GetValue<int64>()
        | _ -> fault path "a manifest with 'networkSettings'" "one without them"

        let fieldShape: int64[] = list "fieldShape"

        let network =
            SummaryNetwork.Create(NetworkDescription(get "network", fieldShape, settings), 0UL, torch.CPU)

        let read name = Npz.array path name file

        using (torch.no_grad ()) (fun _ ->
            for struct (name, weight) in network.Parameters do
                let saved = read $"weights/{name}"

                if saved.Shape <> (weight.shape |> Array.map int) then
                    fault path $"'{name}' of shape {Guard.Describe weight.shape}" $"%A{saved.Shape}"

                use values = torch.tensor (saved.Data |> Array.map float32)
                weight.copy_ (values.reshape weight.shape) |> ignore)

        let notes =
            match manifest["notes"] with
            | :? JsonObject as items -> Map.ofSeq (items |> Seq.map (fun p -> p.Key, p.Value.GetValue<string>()))
            | _ -> Map.empty

        { Network = network
          Parameters = list "parameters"
          FieldShape = fieldShape
          Fiducial = (read "fiducial").Data
          Linear =
            if file.Arrays.ContainsKey "linear" then
                Some(toMatrix (read "linear"))
            else
                None
          Statistics =
            { Mean = Vector<float>.Build.DenseOfArray (read "mean").Data
              Covariance = toMatrix (read "covariance")
              MeanDerivative = toMatrix (read "meanDerivative")
              Fisher = toMatrix (read "statisticsFisher")
              Simulations = get "statisticsSimulations" }
          Fisher = toMatrix (read "fisher")
          QuotedOn = get "quotedOn"
          History =
            (read "history").Data
            |> Array.chunkBySize historyColumns.Length
            |> Array.map (fun r ->
                { Iteration = int r[0]
                  DetF = r[1]
                  Lambda = r[2]
                  Strength = r[3]
                  HeldOutDetF = r[4]
                  Seconds = r[5] })
          Simulations = get "simulations"
          Seconds = get "seconds"
          Notes = notes }
