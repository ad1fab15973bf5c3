/// Tables of the report, from results. Those of benchmarks are the benchmarks' own.
module ReportTables

open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Results
open Works

let private row (cells: string list) = "| " + String.concat " | " cells + " |"

let private header (names: string list) =
    [ row names; row (names |> List.map (fun _ -> "---")) ]

let private number (format: string) (value: float) =
    Numbers.tryFormat format value |> Option.defaultValue "–"

let private text (cell: JsonNode) (key: string) = cell[key].GetValue<string>()
let private real (cell: JsonNode) (key: string) = cell[key].GetValue<float>()

let private refusal = Regex(@"refused: (?<why>[^|]+?) \|")

/// A table of a benchmark, with why a cell was refused below it, where there is room.
let private withNotes (table: string list) =
    let reasons =
        table
        |> List.collect (fun line -> [ for m in refusal.Matches line -> m.Groups["why"].Value ])
        |> List.distinct

    let rows = table |> List.map (fun line -> refusal.Replace(line, "refused |"))
    rows @ (reasons |> List.collect (fun reason -> [ ""; $"Refused: {reason}" ]))

/// The ablation: a row for each change of the default features, a column for each universe.
let private ablation (cells: JsonNode list) =
    let kept (cell: JsonNode) =
        $"""{number "F3" (real cell "kept")} ({number "F0" (real cell "featureCount")})"""

    let universes = cells |> List.map (fun c -> text c "universe") |> List.distinct

    let changes =
        cells
        |> List.map (fun c -> text c "features")
        |> List.distinct
        |> List.sortBy (fun name -> name <> "default")

    [ yield! header ("changed" :: universes)
      for change in changes do
          let one universe =
              cells
              |> List.tryFind (fun c -> text c "universe" = universe && text c "features" = change)
              |> Option.map kept
              |> Option.defaultValue "–"

          row ((if change = "default" then "nothing" else change) :: List.map one universes) ]

/// C2ST of neural likelihood beside the published values.
let private sbibm (cells: JsonNode list) =
    [ yield!
          header
              [ "task"
                "method"
                "simulations"
                "C2ST"
                "published"
                "goal"
                "reached"
                "time" ]
      for c in cells do
          let published =
              [ for p in c["published"].AsObject() -> $"""{p.Key} {number "F3" (p.Value.GetValue<float>())}""" ]
              |> String.concat ", "

          row
              [ text c "task"
                text c "method"
                number "N0" (real c "simulations")
                number "F3" (real c "mean")
                published
                number "F3" (real c "goal")
                (if real c "mean" <= real c "goal" then "yes" else "NO")
                number "D" (real c "seconds") ] ]

/// The last point of every method's curve, over its seeds: what the largest budget reached.
let private budget results figure =
    let points (value: JsonNode) =
        value.AsArray()
        |> List.ofSeq
        |> List.groupBy (fun p -> real p "seed")
        |> List.map snd

    /// Smallest and largest over the seeds of one point of a curve.
    let range key format (ofSeed: JsonNode list -> JsonNode) seeds =
        let found = seeds |> List.map (fun points -> real (ofSeed points) key)
        $"{number format (List.min found)} to {number format (List.max found)}"

    [ yield! header [ "method"; "simulations"; "area / exact"; "shift in exact sds"; "C2ST" ]
      for curve in (values results "simulation-budget" figure).Head.AsObject() do
          let seeds = points curve.Value

          for ofSeed in [ List.head; List.last ] do
              row
                  [ curve.Key
                    range "simulations" "F0" ofSeed seeds
                    range "areaRatio" "F2" ofSeed seeds
                    range "shift" "F2" ofSeed seeds
                    range "c2st" "F3" ofSeed seeds ] ]

/// What made every file of results, and how it stands to the code.
let private provenance (state: Work -> State) results =
    [ yield! header [ "results"; "commit"; "machine"; "command"; "state" ]
      for work in all do
          match state work with
          | Missing -> ()
          | found ->
              let origin = Origin.tryRead (file results work.Name)

              let told what =
                  origin |> Option.map what |> Option.defaultValue "**not recorded**"

              row
                  [ $"`{work.Name}.json`"
                    told _.Commit
                    told _.Machine
                    "`" + told _.Command + "`"
                    match found with
                    | Current -> "of the code as it is"
                    | Stale -> "**older code, not run again since**"
                    | _ -> "kept: an arrangement that the code no longer has" ] ]

/// A table of the report by its name.
let tryFind (state: Work -> State) results name : string list option =
    match name with
    | "information" -> Some(withNotes (Tables.information (cells results name)))
    | "posteriors" -> Some(Tables.posteriors (cells results name))
    | "calibration"
    | "calibration-default" -> Some(withNotes (Tables.calibration (cells results name)))
    | "scaling" -> Some(Tables.scaling (cells results name))
    | "information-ablation" -> Some(ablation (cells results name))
    | "sbibm" -> Some(sbibm (cells results name))
    | "budget-power-law" -> Some(budget results "fig12-power-law")
    | "budget-dark-matter" -> Some(budget results "fig12-dark-matter")
    | "provenance" -> Some(provenance state results)
    | _ -> None
