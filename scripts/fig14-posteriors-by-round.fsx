// Figure 14: DELFI's posterior after each round, beside the exact one.
// dotnet fsi scripts/fig14-posteriors-by-round.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options =
    StudyOptions.read "artifacts/simulation-budget" fsi.CommandLineArgs[1..]

let progress = ConsoleProgress.create ()
let settings = SimulationBudget.settings options progress

let problem, compressor, field =
    SimulationBudget.subject options progress "power-law"

let result = SimulationBudget.delfi settings problem compressor field options.Seed
let exact = ExactAnswer.posterior problem.Exact problem.Prior field
ConsoleProgress.finish ()

let ratio posterior =
    Posterior.area posterior / Posterior.area exact

Plot.corner
    [ "exact", exact
      for i, round in Array.indexed result.Rounds do
          $"round {i + 1}, {round.Simulations} simulations", round.Posteriors[0] ]
    (Some problem.Target)
|> Plot.withCaption
    $"Posterior of one simulated field at (A, B) = ({problem.Target[0]}, {problem.Target[1]}) (dashed), {options.ModesName} modes, after each round of DELFI; contours hold 68 %% and 95 %%. The first round's simulations come from the prior, the others from the posterior before. Area over the exact area after the first round {ratio result.Rounds[0].Posteriors[0]:F2}, after the last {ratio (Array.last result.Rounds).Posteriors[0]:F2}."
|> Export.figure options.Out "fig14-posteriors-by-round"

Report.fields
    [ "areaRatios", Report.numbers [ for round in result.Rounds -> ratio round.Posteriors[0] ]
      "simulations", Report.numbers [ for round in result.Rounds -> float round.Simulations ] ]
|> StudyOptions.results options "fig14"
