// Figure 12: distance from the exact posterior against the number of simulations: rejection ABC, population Monte Carlo, DELFI.
// dotnet fsi scripts/fig12-simulation-budget.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options =
    StudyOptions.read "artifacts/simulation-budget" fsi.CommandLineArgs[1..]

let progress = ConsoleProgress.create ()
let settings = SimulationBudget.settings options progress

let problem, compressor, field =
    SimulationBudget.subject options progress "power-law"

let points = SimulationBudget.run settings problem compressor field
ConsoleProgress.finish ()

let panel title logarithmic ideal measure =
    { Title = title
      Logarithmic = logarithmic
      Ideal = Some ideal
      Curves =
        [ for name in SimulationBudget.methods do
              let curve = SimulationBudget.curve name measure points

              { Name = name
                X = curve |> Array.map _.Simulations
                Low = curve |> Array.map _.Low
                Middle = curve |> Array.map _.Middle
                High = curve |> Array.map _.High } ] }

let last name measure =
    (SimulationBudget.curve name measure points |> Array.last).Middle

let describe name =
    let n = last name (fun p -> float p.Simulations)
    $"{name}, {n:F0} simulations: area {last name _.AreaRatio:F2} times the exact one, mean {last name _.Shift:F2} sds away, C2ST {last name _.C2st:F2}"

Plot.bands
    "simulations"
    [ panel "area / exact area" true 1.0 _.AreaRatio
      panel "shift of the mean / exact sd" false 0.0 _.Shift
      panel "C2ST against the exact posterior" false 0.5 _.C2st ]
|> Plot.withCaption
    $"How far the inferred posterior of one power-law field at (A, B) = ({problem.Target[0]}, {problem.Target[1]}), {options.ModesName} modes, is from the exact one of all its pixels, against the number of simulations beyond those of the compressor. Lines: mean of {settings.Seeds.Length} seeds; bands: their range; dashed: an exact result. C2ST 0.5 means that no classifier tells the two apart. All use the same two summaries, so what the compression lost remains at the right. {describe SimulationBudget.methods[0]}. {describe SimulationBudget.methods[3]}."
|> Export.figure options.Out "fig12-simulation-budget"

Report.fields
    [ for name in SimulationBudget.methods do
          name,
          System.Text.Json.Nodes.JsonArray(
              [| for p in points do
                     if p.Method = name then
                         Report.fields
                             [ "seed", Report.value p.Seed
                               "simulations", Report.value p.Simulations
                               "areaRatio", Report.value p.AreaRatio
                               "shift", Report.value p.Shift
                               "c2st", Report.value p.C2st ] |]
          ) ]
|> StudyOptions.results options "fig12"

for name in SimulationBudget.methods do
    printfn $"{describe name}"
