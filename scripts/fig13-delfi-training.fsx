// Figure 13: losses of DELFI's ensemble of density estimators, round by round.
// dotnet fsi scripts/fig13-delfi-training.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
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
ConsoleProgress.finish ()

Plot.ensemble
    [ for i, round in Array.indexed result.Rounds -> $"round {i + 1}: {round.Simulations} simulations", round.History ]
|> Plot.withCaption
    $"Loss of each of the ensemble's {result.Likelihood.Stacking.Length} masked autoregressive flows while they learn the likelihood of the score estimates, in nats of the whitened estimates: 2.84 would be a standard normal. Dotted: simulations trained on; solid: simulations held out. Each network goes back to its best weights when its held-out loss has stopped falling, goes on with a third of the step, and in the end keeps the best; what it does after that point is over-fitting, and is not used."
|> Export.figure options.Out "fig13-delfi-training"

Report.fields
    [ for i, round in Array.indexed result.Rounds do
          $"round {i + 1}",
          Report.fields
              [ "simulations", Report.value round.Simulations
                "epochs", Report.value round.History.Length
                "heldOutLogDensity", Report.value round.HeldOutLogDensity ] ]
|> StudyOptions.results options "fig13"
