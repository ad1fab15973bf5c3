/// Values of results files by paths: `fig08.field1.delfi.areaRatio`, `[universe=correlated log-normal 20²].kept`, `mean(fig08.field*.delfi.areaRatio)`.
module Results

open System
open System.Collections.Generic
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open System.Text.RegularExpressions

/// A reference that names nothing; the message says what there is.
exception Unresolved of message: string

let private unresolved message = raise (Unresolved message)

/// The results files of a folder, each read once.
type Results =
    { Folders: string list
      Read: Dictionary<string, JsonNode> }

/// Results of several folders: a file of the first that has it.
let ofFolders folders =
    { Folders = folders
      Read = Dictionary() }

let tryPath results name =
    results.Folders
    |> List.map (fun folder -> Path.Combine(folder, $"{name}.json"))
    |> List.tryFind File.Exists

let exists results name = (tryPath results name).IsSome

let private parsed (path: string) =
    try
        JsonNode.Parse(File.ReadAllText path)
    with :? JsonException as error ->
        unresolved $"{Path.GetFileName path} is not JSON: {error.Message}"

/// The content of NAME.json.
let file results name : JsonNode =
    match results.Read.TryGetValue name with
    | true, known -> known
    | _ ->
        match tryPath results name with
        | None -> unresolved $"there is no {name}.json among the results"
        | Some path ->
            let content = parsed path
            results.Read[name] <- content
            content

/// The rows of a benchmark's results.
let cells results name =
    match (file results name)[Origin.rows] with
    | :? JsonArray as cells -> List.ofSeq cells
    | _ -> unresolved $"{name}.json has no rows"

// ----------------------------------------------------------------------------------------------------------------- paths

type private Step =
    | Key of string
    /// Every part, or those of an object whose names are like "field*".
    | Like of string
    | Index of int
    /// Of rows the one whose fields have these values.
    | Row of (string * string) list

let private stepPattern =
    Regex(
        @"\G(?:\.?'(?<key>[^']*)'|\.?(?<like>[^.\[\]']*\*[^.\[\]']*)|\.?(?<key>[^.\[\]'*]+)|\[(?<index>\d+)\]|\[(?<like>\*)\]|\[(?<row>[^\]]+)\])"
    )

let private steps (path: string) =
    let found = stepPattern.Matches path |> List.ofSeq

    if (found |> List.sumBy _.Length) <> path.Length || found.IsEmpty then
        unresolved
            $"'{path}' is no path: names between dots, names with dots or brackets in '…', names like field*, [0], [*], [key=value & key=value]"

    [ for m in found do
          if m.Groups["key"].Success then
              Key(m.Groups["key"].Value.Trim())
          elif m.Groups["like"].Success then
              Like(m.Groups["like"].Value.Trim())
          elif m.Groups["index"].Success then
              Index(int m.Groups["index"].Value)
          else
              Row
                  [ for condition in m.Groups["row"].Value.Split '&' do
                        match condition.Split('=', 2) with
                        | [| name; value |] -> name.Trim(), value.Trim()
                        | _ -> unresolved $"'[{condition}]' is no condition key=value" ] ]

let private shown (node: JsonNode) =
    match node with
    | :? JsonObject as fields ->
        let names = fields |> Seq.map _.Key |> Seq.truncate 20 |> String.concat ", "
        $"there are {names}"
    | :? JsonArray as items -> $"there is a list of {items.Count}"
    | null -> "there is null"
    | value -> $"there is {value.ToJsonString()}"

let private text (value: JsonNode) =
    match value with
    | :? JsonValue as v when v.GetValueKind() = JsonValueKind.String -> v.GetValue<string>()
    | other -> other.ToJsonString()

let private meets (conditions: (string * string) list) (row: JsonNode) =
    match row with
    | :? JsonObject as fields ->
        conditions
        |> List.forall (fun (name, value) -> not (isNull fields[name]) && text fields[name] = value)
    | _ -> false

let private step place (node: JsonNode) step : JsonNode list =
    let none what =
        unresolved $"{place} has no {what}; {shown node}"

    match step, node with
    | Key name, (:? JsonObject as fields) when fields.ContainsKey name -> [ fields[name] ]
    | Key name, _ -> none $"'{name}'"
    | Like "*", (:? JsonArray as items) when items.Count > 0 -> List.ofSeq items
    | Like name, (:? JsonObject as fields) ->
        let pattern = "^" + Regex.Escape(name).Replace("\\*", ".*") + "$"

        match
            [ for field in fields do
                  if Regex.IsMatch(field.Key, pattern) then
                      field.Value ]
        with
        | [] -> none $"'{name}'"
        | found -> found
    | Like name, _ -> none $"'{name}'"
    | Index i, (:? JsonArray as items) when i < items.Count -> [ items[i] ]
    | Index i, _ -> none $"[{i}]"
    | Row conditions, (:? JsonArray as items) ->
        match items |> Seq.filter (meets conditions) |> List.ofSeq with
        | [] ->
            let wanted =
                conditions |> List.map (fun (k, v) -> $"{k}={v}") |> String.concat " & "

            let there =
                items
                |> Seq.map (fun row ->
                    conditions
                    |> List.map (fun (k, _) -> if isNull row[k] then "–" else text row[k])
                    |> String.concat " & ")
                |> Seq.distinct
                |> Seq.truncate 20
                |> String.concat "; "

            unresolved $"{place} has no row [{wanted}]; there are {there}"
        | rows -> rows
    | Row _, _ -> none "rows"

/// All values that a path of a file names. A path that begins with [ is of a benchmark's rows.
let values results name (path: string) : JsonNode list =
    let path = if path.StartsWith '[' then $"{Origin.rows}{path}" else path

    (([ file results name ], $"{name}.json"), steps path)
    ||> List.fold (fun (nodes, place) s ->
        let next =
            match s with
            | Key k -> $"{place}.{k}"
            | Like name -> $"{place}.{name}"
            | Index i -> $"{place}[{i}]"
            | Row _ -> $"{place}[…]"

        List.collect (fun node -> step place node s) nodes, next)
    |> fst

// --------------------------------------------------------------------------------------------------------------- numbers

let private number place (node: JsonNode) =
    match node with
    | :? JsonValue as v when v.GetValueKind() = JsonValueKind.Number ->
        let x = v.GetValue<float>()

        if Double.IsFinite x then
            x
        else
            unresolved $"{place} is {x}"
    | null -> unresolved $"{place} is null"
    | other -> unresolved $"{place} is no number: {text other}"

let private determinant place (node: JsonNode) =
    match node with
    | :? JsonArray as rows when rows.Count > 0 ->
        MathNet.Numerics.LinearAlgebra.Matrix<float>.Build
            .DenseOfRows([ for row in rows -> [ for v in row.AsArray() -> number place v ] ])
            .Determinant()
    | other -> unresolved $"{place} is no matrix: {shown other}"

let private functions: Map<string, float list -> float> =
    Map
        [ "mean", List.average
          "min", List.min
          "max", List.max
          "median", MathNet.Numerics.Statistics.Statistics.Median
          "count", List.length >> float
          "last", List.last
          "largest", List.map abs >> List.max
          "rms", List.averageBy (fun x -> x * x) >> sqrt ]

let private callPattern = Regex(@"^(?<name>[a-z]+)\((?<inside>.+)\)$")

/// Numbers within lists, too.
let rec private flat place (node: JsonNode) =
    match node with
    | :? JsonArray as items -> items |> Seq.collect (flat place) |> List.ofSeq
    | other -> [ number place other ]

let private term results name (expression: string) =
    let expression = expression.Trim()
    let place = $"{name}: {expression}"
    let call = callPattern.Match expression

    if not call.Success then
        values results name expression |> List.collect (flat place)
    else
        let inside = values results name call.Groups["inside"].Value

        match call.Groups["name"].Value with
        | "det" -> inside |> List.map (determinant place)
        | other ->
            match functions.TryFind other with
            | Some f -> [ f (inside |> List.collect (flat place)) ]
            | None ->
                let known = functions.Keys |> String.concat ", "
                unresolved $"there is no function '{other}'; there are det, {known}"

/// Numbers that an expression names: a path, a function of a path, or the ratio of two of these, the second perhaps of another file:
/// `det(fig02.fisher) / published: powerLaw.detF`.
let numbers results name (expression: string) =
    match Regex.Split(expression, @"\s+/\s+") with
    | [| one |] -> term results name one
    | [| above; below |] ->
        let other = Regex.Match(below, @"^([\w-]+):\s*(.+)$")

        let divisor =
            if other.Success then
                term results other.Groups[1].Value other.Groups[2].Value
            else
                term results name below

        match term results name above, divisor with
        | [ a ], [ b ] when b <> 0.0 -> [ a / b ]
        | a, b -> unresolved $"{name}: {expression} is a ratio of {a.Length} and {b.Length} numbers, or by 0"
    | _ -> unresolved $"{name}: {expression} has more than one division"

/// The text that a path names, which says something.
let texts results name (path: string) =
    [ for value in values results name path do
          match value with
          | null -> unresolved $"{name}: {path} is null"
          | value when String.IsNullOrWhiteSpace(text value) -> unresolved $"{name}: {path} is empty"
          | value -> text value ]
