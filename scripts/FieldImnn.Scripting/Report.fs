namespace FieldImnn

open System.Collections.Generic
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// Results as JSON. Every file appears whole or not at all.
module Report =
    let private node (value: 'v) : JsonNode = JsonValue.Create value

    /// A number with its error, to three digits of the error: "0.8123 ± 0.0216", "1.2345E-09 ± 2.16E-11".
    let measured (value: float) (error: float) =
        let decade v =
            if v = 0.0 then 0 else int (floor (log10 (abs v)))

        let decimals = 2 - decade error

        if decimals <= 6 then
            let form = $"F{max 0 decimals}"
            $"{value.ToString form} ± {error.ToString form}"
        else
            let form = $"G{max 3 (decade value - decade error + 3)}"
            $"{value.ToString form} ± {error:G3}"

    /// A JSON list of numbers.
    let numbers (values: float seq) : JsonNode =
        JsonArray(values |> Seq.map node |> Seq.toArray)

    /// A JSON list of lists of numbers.
    let rows (values: float[][]) : JsonNode =
        JsonArray(values |> Array.map (fun row -> numbers row))

    /// A JSON list of a matrix's rows.
    let matrix (m: Matrix<float>) : JsonNode = rows (m.ToRowArrays())

    /// A JSON object.
    let fields (pairs: (string * JsonNode) list) : JsonNode =
        JsonObject(pairs |> List.map (fun (k, v) -> KeyValuePair(k, v)))

    /// A JSON string, number or truth value.
    let value (v: 'v) = node v

    /// The numbers in JSON that it cannot hold: where (a JSON path) and what.
    let rec private unspeakable (json: JsonNode) : (string * string) seq =
        match json with
        | null -> Seq.empty
        | :? JsonObject as fields -> fields |> Seq.collect (fun field -> unspeakable field.Value)
        | :? JsonArray as items -> items |> Seq.collect unspeakable
        | other ->
            match other.AsValue().TryGetValue<float>(), other.AsValue().TryGetValue<float32>() with
            | (true, v), _ when not (System.Double.IsFinite v) -> Seq.singleton (other.GetPath(), string v)
            | _, (true, v) when not (System.Single.IsFinite v) -> Seq.singleton (other.GetPath(), string v)
            | _ -> Seq.empty

    /// Writes JSON, indented. A number that is NaN or infinite, which JSON does not have, is a NonFiniteException with its field.
    let writeJson path (json: JsonNode) =
        match Seq.tryHead (unspeakable json) with
        | Some(field, came) -> raise (NonFiniteException($"field {field} of '{path}'", "a finite number", came))
        | None -> ()

        Files.writeAtomically path (fun stream ->
            use writer = new StreamWriter(stream, leaveOpen = true)
            writer.WriteLine(json.ToJsonString(JsonSerializerOptions(WriteIndented = true))))

    let private moments posterior =
        [ "mean", numbers (Posterior.mean posterior)
          "sd", numbers (Posterior.sd posterior)
          "correlation", matrix (Posterior.correlation posterior)
          "area", node (Posterior.area posterior) ]

    /// A warning: its kind, its sentence and, of an observation outside the simulations, the number of sds (none where it is infinite).
    let private warning (warning: Warning) =
        fields
            [ "kind", node warning.Kind
              "message", node warning.Message
              match warning with
              | Outsider sds when System.Double.IsFinite sds -> "sds", node sds
              | _ -> () ]

    let private warnings (found: Warning list) : JsonNode =
        JsonArray(found |> List.map warning |> Array.ofList)

    /// The exact answer and what lies between.
    let private compared (exact: Comparison) =
        [ "exact",
          fields
              [ // samples have no peak of their own
                yield!
                    Posterior.peak exact.Posterior
                    |> Option.map (fun peak -> "estimate", numbers peak)
                    |> Option.toList
                yield! moments exact.Posterior
                if not exact.Warnings.IsEmpty then
                    "warnings", warnings exact.Warnings ]
          "areaRatio", node exact.AreaRatio
          "fisherRetained", node exact.FisherRetained
          "fisherRetainedPerParameter", node exact.FisherRetainedPerParameter ]

    /// The bounds of a prior, by parameter; null where there is none.
    let prior (prior: Prior) : JsonNode =
        let bound (value: float) : JsonNode =
            if System.Double.IsFinite value then node value else null

        JsonArray(
            Array.map2
                (fun name (lower, upper) -> fields [ "name", node name; "lower", bound lower; "upper", bound upper ])
                prior.Names
                (Prior.bounds prior)
        )

    /// Rounds of training: where each was trained, where it places the field, and how far away that is.
    let rounds (made: RefitRound list) : JsonNode =
        JsonArray(
            [| for round in made ->
                   fields
                       [ "fiducial", numbers round.Compressor.Fiducial
                         "estimate", numbers round.Estimates[0]
                         "place", numbers round.Place
                         "standardErrorsAway", node round.Moved ] |]
        )

    /// The summary of an inference: what the caller tells of the model and the run (problem, modes, prior), then the result. `exact`,
    /// `areaRatio`, `fisherRetained` and `fisherRetainedPerParameter` are there only where an exact answer is known.
    let summary
        (told: (string * JsonNode) list)
        (parameters: string[])
        seconds
        (seed: uint64)
        (result: InferenceResult)
        =
        fields
            [ yield! told
              "method", node result.Method
              "parameters", JsonArray(parameters |> Array.map (fun n -> node n)) :> JsonNode
              "estimate", numbers result.Estimate
              "fiducial", numbers result.Fiducial
              "fisher", matrix result.Fisher
              yield! moments result.Posterior
              "effectiveSamples", node (Posterior.effectiveSize result.Posterior)
              yield! result.Exact |> Option.map compared |> Option.defaultValue []
              "simulations", node result.Simulations
              "warnings", warnings result.Warnings
              "failedSimulations", node result.Failed
              "seconds", node (seconds: float)
              "seed", node seed
              "version", node (typeof<Model>.Assembly.GetName().Version.ToString 3) ]
