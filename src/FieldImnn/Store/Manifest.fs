namespace FieldImnn

open System
open System.Text.Json
open System.Text.Json.Nodes
open FieldImnn.Core

/// Reading JSON that anyone may have written: what is not as it should be is a StoreException that names the file and the key.
module internal Manifest =
    let fault path expected received : 'a =
        raise (StoreException($"compressor file '{path}'", expected, received))

    /// A JSON value in a line, shortened.
    let shown (node: JsonNode) =
        let text = if isNull node then "null" else node.ToJsonString()
        if text.Length > 60 then text[..59] + "…" else text

    /// A text that is a JSON object.
    let parse path (text: string) : JsonObject =
        let parsed =
            try
                JsonNode.Parse text
            with :? JsonException as error ->
                fault path "a manifest in JSON" error.Message

        match parsed with
        | :? JsonObject as found -> found
        | other -> fault path "a manifest that is a JSON object" (shown other)

    /// The value of a node; errors call it by the name.
    let valueOf path name (node: JsonNode) : 'v =
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

    /// A value by its key.
    let get path manifest name : 'v =
        member' path manifest name |> valueOf path name

    /// A whole number ≥ 0.
    let count path manifest name =
        match get path manifest name with
        | n when n >= 0 -> n
        | n -> fault path $"'{name}' that is a whole number ≥ 0" $"{n}"

    /// A list of nodes.
    let nodes path manifest name : JsonNode list =
        match member' path manifest name with
        | :? JsonArray as items -> List.ofSeq items
        | other -> fault path $"a list '{name}'" (shown other)

    /// A list of values.
    let list path manifest name : 'v[] =
        nodes path manifest name
        |> List.map (valueOf path $"element of {name}")
        |> Array.ofList

    /// An object's values by their keys.
    let pairs path manifest name : (string * 'v)[] =
        match member' path manifest name with
        | :? JsonObject as items ->
            try
                [| for pair in items -> pair.Key, valueOf path $"{name}, {pair.Key}" pair.Value |]
            with :? ArgumentException as error ->
                fault path $"'{name}' with every key once" error.Message
        | other -> fault path $"an object '{name}'" (shown other)

    /// An object.
    let object' path manifest name : JsonObject =
        match member' path manifest name with
        | :? JsonObject as found -> found
        | other -> fault path $"an object '{name}'" (shown other)

    /// A tree of features as JSON.
    let rec ofFeatures (features: Features) : JsonObject =
        let made = JsonObject()
        made["kind"] <- JsonValue.Create features.Kind

        let settings = JsonObject()

        for pair in features.Settings do
            settings[pair.Key] <- JsonValue.Create pair.Value

        made["settings"] <- settings

        made["parts"] <-
            JsonArray(
                features.Parts
                |> List.map (fun part -> ofFeatures part :> JsonNode)
                |> Array.ofList
            )

        made

    /// And back. A setting beyond a billion would make a network that only takes memory.
    let rec toFeatures path (node: JsonObject) : Features =
        let settings = pairs path node "settings"

        for name, value in settings do
            if not (abs value <= 1e9) then
                fault path $"setting '{name}' of the features within a billion" (string value)

        { Kind = get path node "kind"
          Settings = Map.ofArray settings
          Parts =
            nodes path node "parts"
            |> List.map (function
                | :? JsonObject as part -> toFeatures path part
                | other -> fault path "parts that are features" (shown other)) }
