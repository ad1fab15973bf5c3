// Figure 20: weak lensing over the whole prior: ranks and coverage of the amortised neural posterior of six parameters.
// dotnet fsi scripts/fig20-lensing-calibration.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/lensing" fsi.CommandLineArgs
let progress = Study.progress options
let study = LensingStudy.create options progress
let compressor = Study.compressor options progress study.Problem
let simulations, fields = if options.Quick then 1000, 60 else 10000, 200

let result =
    CalibrationStudy.ofNeuralPosterior options progress study.Problem compressor simulations fields

ConsoleProgress.finish ()

let from =
    $"{fields} skies of the whole prior, five maps of {study.Survey.Pixels} × {study.Survey.Pixels} pixels with shape noise, {options.ModesName} modes"

let held = CalibrationStudy.covered 0.68 result

Plot.ranks 10 3 [ for k in 0..5 -> "neural posterior", LensingStudy.axes[k], result.Ranks[k] ]
|> Plot.withCaption
    $"Simulation-based calibration of six parameters: ranks of the truth among draws of its posterior, for {from}. The neural posterior has learned once, from {simulations} simulations of the prior, each compressed to six estimates. A calibrated inference gives flat histograms: the grey band holds 95 %% of the bins of one."
|> Export.figure options.Out "fig20-lensing-ranks"

Plot.coverage
    [ "smallest credible regions", [ "neural posterior", result.Levels ]
      "TARP: about random points", [ "neural posterior", result.TarpLevels ] ]
|> Plot.withCaption
    $"How often regions hold the truth against how often they should, for {from}. Below the diagonal: over-confident (or biased); above: under-confident. Grey: 95 %% of calibrated curves at each point. Verdicts: coverage {result.LevelVerdict}, TARP {result.TarpVerdict}; 68 %% regions hold {held:P0}."
|> Export.figure options.Out "fig20-lensing-coverage"

CalibrationStudy.report [ result ] |> Study.results options "fig20"
printfn $"ranks %A{result.RankVerdicts}; coverage {result.LevelVerdict}; TARP {result.TarpVerdict}"
