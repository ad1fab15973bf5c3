// Figure 10: four correlated log-normal fields at (α, β) = (1, 0.5): the exact posterior, that of the network, and the Fisher ellipse.
// dotnet fsi scripts/fig10-correlated-log-normal-posteriors.fsx [--out FOLDER] [--targets FOLDER] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options =
    StudyOptions.ofScript "artifacts/correlated-log-normal" fsi.CommandLineArgs

let problem = Study.problem options "correlated-log-normal"
let progress = Study.progress options
let compressor = Study.compressor options progress problem
let fields = Study.observed options "lognormal20_field_" 4 problem

let abc =
    Method.abc
        { AbcSettings.Default with
            Seed = options.Seed
            Simulations =
                { SimulationSettings.Default with
                    Progress = progress }
            Budget = (if options.Quick then 5000 else 20000) }

let first =
    fields
    |> List.map (fun (_, field) -> Study.infer "abc" abc problem compressor field)

// trained again where the first field's posterior is, and used for all four
let there =
    first.Head.Posterior
    |> Posterior.mean
    |> Array.map (fun v -> System.Math.Round(v, 2))

let again = CorrelatedLogNormal.createAt 20 there
let retrained = Study.compressor options progress again

let results =
    fields
    |> List.map (fun (_, field) -> Study.infer "abc" abc again retrained field)

ConsoleProgress.finish ()
let fisher = problem.Exact.Fisher problem.Example

let panel (title, _) (result: StudyResult) =
    let ellipse =
        GaussianApproximation.posterior problem.Prior (Posterior.mean result.Exact.Posterior) fisher

    $"{title}: area ratio {result.AreaRatio:F2}",
    [ "exact", result.Exact.Posterior
      "network", result.Posterior
      "Fisher", ellipse ],
    Some problem.Example

let ratios (results: StudyResult list) =
    results |> List.map (fun r -> r.AreaRatio)

Plot.contours 2 [| "α"; "β [pixels]" |] (List.map2 panel fields results)
|> Plot.withCaption
    $"Posteriors of the non-Gaussianity α and the smoothing length β [pixels] of four log-normal fields of 20 × 20 pixels at (α, β) = (1, 0.5) (dashed); contours hold 68 %% and 95 %%. Exact: field-level likelihood. Network: ABC on two score estimates and the lowest pixel's edge −1/min f, the network trained at ({there[0]}, {there[1]}), where it keeps {results.Head.FisherRetained:P0} of the exact det F; area over the exact area above each panel, on average {List.average (ratios results):F2} (trained once, at ({problem.Fiducial[0]}, {problem.Fiducial[1]}): {List.average (ratios first):F2}). Fisher: the exact Fisher matrix at the truth, about the exact mean. The exact width changes from field to field; the Fisher ellipse, and a compression to a few numbers, cannot follow it all the way."
|> Export.figure options.Out "fig10-posteriors"

let numbers (problem: Problem) (compressor: Compressor) results =
    Report.fields
        [ "fiducial", Report.numbers compressor.Fiducial
          "exactFisher", Report.matrix (problem.Exact.Fisher compressor.Fiducial)
          "fisher", Report.matrix compressor.Fisher
          "retained", Report.value (Fisher.retained compressor.Fisher (problem.Exact.Fisher compressor.Fiducial))
          "trainingSeconds", Report.value compressor.Seconds
          "simulations", Report.value compressor.Simulations
          for (title, _), result in List.zip fields results do
              title, Study.summary options problem compressor.Seconds result ]

Report.fields
    [ "first", numbers problem compressor first
      "retrained", numbers again retrained results
      "fisherAtTarget", Report.matrix fisher
      "quotedFisherAtTarget", Report.matrix (problem.QuotedFisher.Value problem.Example) ]
|> Study.results options "fig10"

for (title, _), one, two in List.zip3 fields first results do
    printfn $"{title}: area over exact {one.AreaRatio:F3}, retrained {two.AreaRatio:F3}"

printfn
    $"kept {first.Head.FisherRetained:P1} at ({problem.Fiducial[0]}, {problem.Fiducial[1]}), {results.Head.FisherRetained:P1} at ({there[0]}, {there[1]})"
