// Figure 15: do posteriors hold the truth as often as they say? Ranks and coverage over fields of the whole prior.
// dotnet fsi scripts/fig15-calibration.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options =
    StudyOptions.ofScript "artifacts/simulation-budget" fsi.CommandLineArgs

let progress = Study.progress options

let problem, compressor, _ = SimulationBudget.subject options progress "power-law"

let simulations, fields = if options.Quick then 1000, 100 else 4000, 400

let results =
    CalibrationStudy.run options progress problem compressor simulations fields

ConsoleProgress.finish ()

let verdicts =
    [ for result in results ->
          $"{result.Method} {result.LevelVerdict}, 68 %% regions hold {CalibrationStudy.covered 0.68 result:P0}" ]
    |> String.concat "; "

let from = $"fields of the prior, {options.ModesName} modes"

Plot.ranks
    10
    results.Length
    [ for k, name in Array.indexed problem.Simulator.Parameters do
          for result in results -> result.Method, name, result.Ranks[k] ]
|> Plot.withCaption
    $"Simulation-based calibration: rank of the true parameter among draws of its posterior, for {fields} {from}. A calibrated inference gives flat histograms: the grey band holds 95 %% of the bins of one. Exact: field-level likelihood. Neural likelihood and neural posterior: learned once from {simulations} simulations of the prior, compressed to two numbers each. The Gaussian approximation has the fiducial's width everywhere, and is right only near it."
|> Export.figure options.Out "fig15-calibration-ranks"

Plot.coverage
    [ "smallest credible regions", [ for result in results -> result.Method, result.Levels ]
      "TARP: about random points", [ for result in results -> result.Method, result.TarpLevels ] ]
|> Plot.withCaption
    $"How often regions hold the truth against how often they should, for {fields} {from}. Below the diagonal: over-confident (or biased); above: under-confident. Grey: 95 %% of calibrated curves at each point. Verdicts: {verdicts}."
|> Export.figure options.Out "fig15-calibration-coverage"

CalibrationStudy.report results |> Study.results options "fig15"

for result in results do
    printfn $"{result.Method}: ranks %A{result.RankVerdicts}; coverage {result.LevelVerdict}; TARP {result.TarpVerdict}"
