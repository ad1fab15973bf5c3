// Figures 13 and 14: DELFI round by round: losses of its ensemble of density estimators, and its posteriors beside the exact one.
// dotnet fsi scripts/fig13-fig14-delfi-rounds.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options =
    StudyOptions.ofScript "artifacts/simulation-budget" fsi.CommandLineArgs

let progress = Study.progress options
let settings = SimulationBudget.settings options progress

let problem, compressor, field =
    SimulationBudget.subject options progress "power-law"

let result = SimulationBudget.delfi settings problem compressor field options.Seed
let exact = ExactAnswer.posterior problem.Exact problem.Prior field
ConsoleProgress.finish ()

/// Entropy of a standard normal in as many dimensions as there are estimates.
let normal =
    0.5 * float problem.Fiducial.Length * (1.0 + log (2.0 * System.Math.PI))

/// What the simulations asked for.
let kind =
    match result.Likelihood.Kind with
    | Spline _ -> "neural spline flows"
    | Mixture _ -> "mixtures of Gaussians"
    | _ -> "masked autoregressive flows"

Plot.ensemble
    [ for i, round in Array.indexed result.Rounds -> $"round {i + 1}: {round.Simulations} simulations", round.History ]
|> Plot.withCaption
    $"Loss of each of the ensemble's {result.Likelihood.Stacking.Length} {kind} while they learn the likelihood of the score estimates, in nats of the whitened estimates: {normal:F2} would be a standard normal. Dotted: simulations trained on; solid: simulations held out. Each network goes back to its best weights when its held-out loss has stopped falling, goes on with a third of the step, and in the end keeps the best; what it does after that point is over-fitting, and is not used."
|> Export.figure options.Out "fig13-delfi-training"

Report.fields
    [ for i, round in Array.indexed result.Rounds do
          $"round {i + 1}",
          Report.fields
              [ "simulations", Report.value round.Simulations
                "epochs", Report.value round.History.Length
                "heldOutLogDensity", Report.value round.HeldOutLogDensity ] ]
|> Study.results options "fig13"

let ratio posterior =
    Posterior.area posterior / Posterior.area exact

Plot.corner
    [ "exact", exact
      for i, round in Array.indexed result.Rounds do
          $"round {i + 1}, {round.Simulations} simulations", round.Posteriors[0] ]
    (Some problem.Example)
|> Plot.withCaption
    $"Posterior of one simulated field at (A, B) = ({problem.Example[0]}, {problem.Example[1]}) (dashed), {options.ModesName} modes, after each round of DELFI; contours hold 68 %% and 95 %%. The first round's simulations come from the prior, the others from the posterior before. Area over the exact area after the first round {ratio result.Rounds[0].Posteriors[0]:F2}, after the last {ratio (Array.last result.Rounds).Posteriors[0]:F2}."
|> Export.figure options.Out "fig14-posteriors-by-round"

Report.fields
    [ "areaRatios", Report.numbers [ for round in result.Rounds -> ratio round.Posteriors[0] ]
      "simulations", Report.numbers [ for round in result.Rounds -> float round.Simulations ] ]
|> Study.results options "fig14"
