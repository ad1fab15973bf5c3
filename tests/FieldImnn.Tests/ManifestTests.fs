/// Compressor files that are not what they should be: each is refused as a StoreException that names the file.
module ManifestTests

open System
open System.IO
open System.Text.Json.Nodes
open Expecto
open FieldImnn
open FieldImnn.Core
open TestSupport
open TorchSharp

let private compressor =
    lazy
        (let trained =
            Imnn.train
                { DoorTests.short with
                    Simulations = 40
                    DerivativeSimulations = 40 }
                DoorTests.good
                [| 1.0; 0.5 |]

         { trained with
             Notes = Map [ "problem", "white" ] })

/// The file of a compressor after a change of its parts.
let private changed (change: Npz -> Npz) folder =
    let path = Path.Combine(folder, "changed.imnn")
    CompressorFile.save path compressor.Value
    Npz.read path |> change |> Npz.write path
    path

let private manifest (change: JsonObject -> unit) (npz: Npz) =
    let json = (JsonNode.Parse npz.Texts["manifest.json"]).AsObject()
    change json

    { npz with
        Texts = Map [ "manifest.json", json.ToJsonString() ] }

let private text (json: string) (npz: Npz) =
    { npz with
        Texts = Map [ "manifest.json", json ] }

let private set (key: string) (json: string) =
    manifest (fun m -> m[key] <- JsonNode.Parse json)

let private without (key: string) =
    manifest (fun m -> m.Remove key |> ignore)

/// Sets a key of the features, or takes it away.
let private features (key: string) (json: string option) =
    manifest (fun m ->
        let tree = m["features"].AsObject()

        match json with
        | Some text -> tree[key] <- JsonNode.Parse text
        | None -> tree.Remove key |> ignore)

let private array key (change: NpyArray -> NpyArray) (npz: Npz) =
    { npz with
        Arrays = npz.Arrays |> Map.change key (Option.map change) }

let private drop key (npz: Npz) =
    { npz with
        Arrays = npz.Arrays.Remove key }

let private shaped shape (a: NpyArray) =
    { Shape = shape
      Data = Array.zeroCreate (Array.fold (*) 1 shape)
      SinglePrecision = a.SinglePrecision }

let private spoiled (value: float) (a: NpyArray) =
    { a with
        Data = a.Data |> Array.mapi (fun i v -> if i = 0 then value else v) }

let private weight =
    lazy
        (compressor.Value.Network.Parameters
         |> Seq.head
         |> fun struct (name, _) -> $"weights/{name}")

/// What is done to a right file, and the words that its refusal holds.
let private faults: (string * (Npz -> Npz) * string list) list =
    [ "a list", text "[]", [ "JSON object"; "[]" ]
      "null", text "null", [ "JSON object"; "null" ]
      "a number", text "3", [ "JSON object"; "3" ]
      "a string", text "\"compressor\"", [ "JSON object" ]
      "no JSON", text "{", [ "manifest in JSON" ]
      "nothing", text "", [ "manifest in JSON" ]
      "another object", text "{}", [ "FieldImnn compressor" ]
      "a key that stands twice", text """{"format": "FieldImnn compressor", "format": "x"}""", []
      "another format", set "format" "\"other\"", [ "a FieldImnn compressor"; "other" ]
      "no manifest", (fun npz -> { npz with Texts = Map.empty }), [ "manifest.json" ]
      "a newer version", set "version" "5", [ "version 4"; "version 5" ]
      "an older version", set "version" "1", [ "version 4"; "version 1"; "train it again" ]
      "a version in words", set "version" "\"2\"", [ "version"; "Int32" ]
      "a version of null", set "version" "null", [ "version"; "null" ]
      "no features", without "features", [ "'features'" ]
      "features that are a number", set "features" "7", [ "object 'features'" ]
      "features without a kind", features "kind" None, [ "'kind'" ]
      "features of a kind that is a number", features "kind" (Some "7"), [ "kind"; "String" ]
      "unknown features",
      features "kind" (Some "\"transformer\""),
      [ "'transformer'"; "Features.ownNetwork \"transformer\" factory" ]
      "features with parts in words", features "parts" (Some "[\"a\"]"), [ "parts"; "a" ]
      "parts that are no list", features "parts" (Some "{}"), [ "list 'parts'" ]
      "settings that are a list", features "settings" (Some "[]"), [ "settings" ]
      "a setting in words", features "settings" (Some """{"filters": "many"}"""), [ "filters"; "many" ]
      "a setting missing", features "settings" (Some """{"filters": 3}"""), [ "a setting 'size'" ]
      "a setting too small",
      features "settings" (Some """{"filters": 0, "size": 3, "levels": 1}"""),
      [ "filters"; "≥ 1" ]
      "half a filter",
      features "settings" (Some """{"filters": 2.5, "size": 3, "levels": 1}"""),
      [ "filters"; "whole number"; "2.5" ]
      "a setting too large",
      features "settings" (Some """{"filters": 99999999999, "size": 3, "levels": 1}"""),
      [ "within a billion" ]
      "another number of filters",
      features "settings" (Some """{"filters": 4, "size": 3, "levels": 1}"""),
      [ "weights/"; "shape" ]
      "no channels", set "channels" "0", [ "channels" ]
      "other channels", set "channels" "2", [ "2 channels" ]
      "a field of no axes", set "fieldShape" "[]", [ "1, 2 or 3 sides" ]
      "a field of four axes", set "fieldShape" "[2, 2, 2, 2]", [ "1, 2 or 3 sides" ]
      "a field of length 0", set "fieldShape" "[0, 8]", [ "fieldShape" ]
      "a field in words", set "fieldShape" """["8", "8"]""", [ "fieldShape"; "Int64" ]
      "a field of null", set "fieldShape" "[null, 8]", [ "fieldShape"; "null" ]
      "a field beyond memory", set "fieldShape" "[2147483647, 2147483647]", [ "fieldShape" ]
      "names that are numbers", set "parameters" "[1, 2]", [ "parameters"; "String" ]
      "names that are null", set "parameters" "[null, null]", [ "parameters" ]
      "names that are one string", set "parameters" "\"s, m\"", [ "list 'parameters'" ]
      "no names", set "parameters" "[]", [ "parameters" ]
      "a name twice", set "parameters" """["s", "s"]""", [ "parameters" ]
      "a name too many", set "parameters" """["s", "m", "q"]""", [ "shape" ]
      "a negative count", set "quotedOn" "-1", [ "quotedOn"; "-1" ]
      "half a simulation", set "simulations" "0.5", [ "simulations"; "0.5" ]
      "interrupted perhaps", set "interrupted" "\"perhaps\"", [ "interrupted" ]
      "notes that are numbers", set "notes" """{"problem": 3}""", [ "notes, problem" ]
      "no weights", (fun npz -> drop weight.Value npz), [ "weights/" ]
      "weights of another shape", (fun npz -> array weight.Value (shaped [| 2 |]) npz), [ "weights/"; "(2)" ]
      "weights of NaN", (fun npz -> array weight.Value (spoiled nan) npz), [ "weights/"; "NaN" ]
      "statistics of NaN", array "mean" (spoiled nan), [ "mean"; "NaN" ]
      "a covariance of infinity", array "covariance" (spoiled infinity), [ "covariance"; "finite" ]
      "a covariance that is no matrix", array "covariance" (shaped [| 4 |]), [ "covariance"; "(2, 2)"; "(4)" ]
      "a covariance that is not symmetric",
      array "covariance" (fun a ->
          { a with
              Data = [| 1.0; 0.5; 0.0; 1.0 |] }),
      [ "symmetric"; "covariance" ]
      "a Fisher matrix of three", array "fisher" (shaped [| 3; 3 |]), [ "fisher"; "(2, 2)"; "(3, 3)" ]
      "a Fisher matrix that is a number", array "fisher" (shaped [||]), [ "fisher"; "(2, 2)" ]
      "no Fisher matrix", drop "fisher", [ "fisher" ]
      "a layer of another width", array "linear" (shaped [| 5; 2 |]), [ "linear" ]
      "a fiducial of three", array "fiducial" (shaped [| 3 |]), [ "fiducial"; "(2)" ]
      "a history of three columns", array "history" (shaped [| 4; 3 |]), [ "history" ]
      "a history of NaN iterations", array "history" (spoiled nan), [ "iterations"; "NaN" ] ]

let tests =
    testList
        "manifests"
        [ for name, change, words in faults do
              tensorTest name (fun () ->
                  inFolder (fun folder ->
                      let path = changed change folder
                      refuses<StoreException> (path :: words) (fun () -> CompressorFile.load path |> ignore)))

          tensorTest "what was not changed loads as it was; a file of before 'interrupted' does, too" (fun () ->
              inFolder (fun folder ->
                  for change in [ id; without "interrupted"; without "notes" ] do
                      let loaded = CompressorFile.load (changed change folder)
                      Expect.equal loaded.Fisher compressor.Value.Fisher "F"
                      Expect.isFalse loaded.Interrupted "finished"))

          tensorTest "a file cut anywhere, or with a byte changed, is refused or the same" (fun () ->
              inFolder (fun folder ->
                  let path = changed id folder
                  let bytes = File.ReadAllBytes path
                  let random = Random 1

                  let attempt (damaged: byte[]) =
                      File.WriteAllBytes(path, damaged)

                      try
                          let loaded = CompressorFile.load path
                          Expect.equal loaded.Fisher compressor.Value.Fisher "the same F"
                          Expect.equal loaded.Statistics compressor.Value.Statistics "the same statistics"
                      with :? StoreException as refusal ->
                          Expect.stringContains refusal.Message path "names the file"

                  for _ in 1..150 do
                      attempt bytes[.. random.Next bytes.Length - 1]
                      let flipped = Array.copy bytes
                      let at = random.Next bytes.Length
                      flipped[at] <- flipped[at] ^^^ byte (1 <<< random.Next 8)
                      attempt flipped)) ]
