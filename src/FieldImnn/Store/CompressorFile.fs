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
              KeyValuePair("interrupted", JsonValue.Create compressor.Interrupted :> JsonNode)
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

    let private fault path expected received : 'a =
        raise (StoreException($"compressor file '{path}'", expected, received))

    /// A JSON value in a line, shortened.
    let private shown (node: JsonNode) =
        let text = if isNull node then "null" else node.ToJsonString()
        if text.Length > 60 then text[..59] + "…" else text

    let private manifestOf path file : JsonObject =
        let parsed =
            try
                JsonNode.Parse(Npz.text path manifestName file)
            with :? JsonException as error ->
                fault path "a manifest in JSON" error.Message

        match parsed with
        | :? JsonObject as found -> found
        | other -> fault path "a manifest that is a JSON object" (shown other)

    /// The value of a node; errors call it by the name.
    let private valueOf path name (node: JsonNode) : 'v =
        let refuse () =
            fault path $"'{name}' of type {typeof<'v>.Name}" (shown node)

        match node with
        | :? JsonValue as value ->
            match value.TryGetValue<'v>() with
            | true, v -> v
            | _ -> refuse ()
        | _ -> refuse ()

    let private member' path (manifest: JsonObject) (name: string) : JsonNode =
        try
            if manifest.ContainsKey name then
                manifest[name]
            else
                fault path $"a manifest with '{name}'" "one without it"
        with :? ArgumentException as error -> // a key that stands there twice
            fault path "a manifest with every key once" error.Message

    let private get path manifest name : 'v =
        member' path manifest name |> valueOf path name

    let private count path manifest name =
        match get path manifest name with
        | n when n >= 0 -> n
        | n -> fault path $"'{name}' that is a whole number ≥ 0" $"{n}"

    let private list path manifest name : 'v[] =
        match member' path manifest name with
        | :? JsonArray as items -> items |> Seq.map (valueOf path $"element of {name}") |> Seq.toArray
        | other -> fault path $"a list '{name}'" (shown other)

    let private pairs path manifest name : (string * 'v)[] =
        match member' path manifest name with
        | :? JsonObject as items ->
            try
                [| for pair in items -> pair.Key, valueOf path $"{name}, {pair.Key}" pair.Value |]
            with :? ArgumentException as error ->
                fault path $"'{name}' with every key once" error.Message
        | other -> fault path $"an object '{name}'" (shown other)

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

    let private networkOf path manifest file : SummaryNetwork =
        let settings = Dictionary<string, int64>()

        for key, value in pairs path manifest "networkSettings" do
            settings[key] <- value

        let fieldShape: int64[] = list path manifest "fieldShape"

        if fieldShape |> Array.exists (fun n -> n < 1L || n > int64 Int32.MaxValue) then
            fault path "'fieldShape' of lengths ≥ 1" (Guard.Describe fieldShape)

        if fieldShape |> Array.fold (fun product n -> product * float n) 1.0 > float Array.MaxLength then
            fault path $"'fieldShape' of at most {Array.MaxLength} pixels" (Guard.Describe fieldShape)

        // a network of weights that the file has not would only take memory
        for pair in settings do
            if pair.Value < -1_000_000_000L || pair.Value > 1_000_000_000L then
                fault path $"setting '{pair.Key}' of the network within a billion" $"{pair.Value}"

        let network =
            try
                SummaryNetwork.Create(
                    NetworkDescription(get path manifest "network", fieldShape, settings),
                    0UL,
                    torch.CPU
                )
            with
            | :? StoreException -> reraise ()
            | :? FieldImnnException as error ->
                raise (
                    StoreException(
                        $"compressor file '{path}'",
                        $"{error.Subject}: {error.Expected}",
                        error.Received,
                        error
                    )
                )
            | :? System.Runtime.InteropServices.ExternalException as error -> // more weights than there is memory for
                raise (
                    StoreException(
                        $"compressor file '{path}'",
                        "network settings with which the network can be made",
                        error.Message.Split('\n')[0],
                        error
                    )
                )

        try
            use _ = torch.no_grad ()

            for struct (name, weight) in network.Parameters do
                let saved = finite path file $"weights/{name}" (weight.shape |> Array.map int)
                use values = torch.tensor (saved.Data |> Array.map float32)
                use shaped = values.reshape weight.shape
                weight.copy_ shaped |> ignore

            network
        with _ ->
            network.Dispose()
            reraise ()

    let private historyOf path file =
        let found = Npz.array path "history" file

        match found.Shape with
        | [| _; columns |] when columns = historyColumns.Length ->
            found.Data
            |> Array.chunkBySize columns
            |> Array.map (fun r ->
                if not (r[0] >= 0.0 && r[0] < 2e9) then
                    fault path "iterations in 'history'" $"{r[0]}"

                { Iteration = int r[0]
                  DetF = r[1]
                  Lambda = r[2]
                  Strength = r[3]
                  HeldOutDetF = r[4]
                  Seconds = r[5] })
        | other -> fault path $"'history' of shape (n, {historyColumns.Length})" $"shape {NpyHeader.shapeText other}"

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

        { Network = network
          Parameters = parameters
          FieldShape = list path manifest "fieldShape"
          Fiducial = (finite path file "fiducial" [| p |]).Data
          Beside = None
          Linear = linear
          Statistics =
            { Mean = Vector<float>.Build.DenseOfArray (finite path file "mean" [| s |]).Data
              Covariance = symmetric path file "covariance" s
              MeanDerivative = toMatrix (finite path file "meanDerivative" [| p; s |])
              Fisher = symmetric path file "statisticsFisher" p
              Simulations = count path manifest "statisticsSimulations" }
          Fisher = symmetric path file "fisher" p
          QuotedOn = count path manifest "quotedOn"
          History = historyOf path file
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
        let manifest = manifestOf path file

        let format: string =
            try
                get path manifest "format"
            with :? StoreException ->
                fault path "a manifest of a FieldImnn compressor" (shown manifest)

        if format <> "FieldImnn compressor" then
            fault path "a FieldImnn compressor" format

        let found: int = get path manifest "version"

        if found <> version then
            fault path $"format version {version}" $"version {found}"

        let network = networkOf path manifest file

        try
            assemble path manifest file network
        with _ ->
            network.Dispose()
            reraise ()
