/// The tables of benchmarks, in Markdown, from their results as they were written: what a benchmark prints, and what the report has.
module Tables

open System.Globalization
open System.Text.Json.Nodes

/// What features keep of the exact information.
let information (cells: JsonNode list) =
    let number (cell: JsonNode) (key: string) = cell[key].GetValue<float>()

    [ "| universe | features | share of det F | of seeds | a parameter | goal | number of features | seconds |"
      "|---|---|---|---|---|---|---|---|"
      for c in cells do
          let text (key: string) = c[key].GetValue<string>()

          if isNull c["refused"] then
              let seeds =
                  c["keptOfSeeds"].AsArray()
                  |> Seq.map (fun v -> $"%.3f{v.GetValue<float>()}")
                  |> String.concat " "

              let goal =
                  if isNull c["goal"] then
                      "–"
                  else
                      let missed = if c["reached"].GetValue<bool>() then "" else " (missed)"
                      $"""%.2f{number c "goal"}{missed}"""

              $"""| {text "universe"} | {text "features"} | %.3f{number c "kept"} | {seeds} | %.3f{number c "keptPerParameter"} | {goal} | {c["featureCount"]} | %.0f{number c "seconds"} |"""
          else
              $"""| {text "universe"} | {text "features"} | refused: {text "refused"} | | | | | |""" ]

let private text (node: JsonNode) (key: string) (form: string) =
    match node[key] with
    | null -> "–"
    | v -> v.GetValue<float>().ToString(form, CultureInfo.InvariantCulture)

/// Posteriors from what features keep, beside the exact ones.
let posteriors (cells: JsonNode list) =
    [ "| universe | parameters | method | fields | area / exact, of a pair | spread | rms shift | goal | simulations | warnings |"
      "|---|---|---|---|---|---|---|---|---|---|"
      for c in cells do
          let of' (key: string) = c[key].GetValue<string>()
          let missed = if c["reached"].GetValue<bool>() then "" else " (missed)"

          $"""| {of' "universe"} | {text c "parameters" "F0"} | {of' "method"} | {text c "fields" "F0"} | {text c "area" "F3"} | {text c "areaSpread" "F3"} | {text c "rmsShift" "F3"} | {text c "goal" "F2"}{missed} | {text c "simulations" "F0"} | {text c "warnings" "F0"} |""" ]

/// Every method on every problem.
let calibration (cells: JsonNode list) =
    [ "| problem | method | fields | ranks | coverage | TARP | 68 % hold | area / exact | spread | rms shift | by lost information | simulations | as wanted |"
      "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
      for c in cells do
          let of' (key: string) = c[key].GetValue<string>()

          if isNull c["refused"] then
              $"""| {of' "problem"} | {of' "method"} | {text c "fields" "F0"} | {of' "ranks"} | {of' "coverage"} | {of' "tarp"} | {text c "coverageOf68" "F2"} | {text c "area" "F3"} | {text c "areaSpread" "F3"} | {text c "rmsShift" "F3"} | {text c "rmsShiftOfLostInformation" "F3"} | {text c "simulations" "F0"} | {(if c["reached"].GetValue<bool>() then "yes" else "NO")} |"""
          else
              $"""| {of' "problem"} | {of' "method"} | refused: {of' "refused"} | | | | | | | | | | yes |""" ]

/// What a simulation costs against its sizes.
let scaling (cells: JsonNode list) =
    let list (node: JsonNode) (format: string) =
        node.AsArray()
        |> Seq.map _.GetValue<float>().ToString(format, CultureInfo.InvariantCulture)
        |> String.concat ", "

    [ "| against | sizes | ms a simulation with derivatives and features | slope | at most |"
      "|---|---|---|---|---|"
      for c in cells do
          let name, unit = c["series"].GetValue<string>(), c["unit"].GetValue<string>()
          let missed = if c["reached"].GetValue<bool>() then "" else " (missed)"

          $"""| {name} | {list c["sizes"] "F0"} {unit} | {list c["milliseconds"] "G3"} | %.2f{c["slope"].GetValue<float>()} | %.2f{c["goal"].GetValue<float>()}{missed} |""" ]
