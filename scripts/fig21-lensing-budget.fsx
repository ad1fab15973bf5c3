// Figure 21: weak lensing: distance from the field's own posterior against the number of simulations beyond the compressor's.
// dotnet fsi scripts/fig21-lensing-budget.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
// Needs what fig19-lensing-posterior.fsx keeps in the same folder.
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/lensing" fsi.CommandLineArgs
let progress = Study.progress options
let study = LensingStudy.create options progress
let field = LensingStudy.kept study "field"

let compression =
    LensingStudy.network study
    |> Infer.compression
    |> Compression.about [ study.Field ]

let methods = LensingStudy.methods study
let names = List.map fst methods

let budgets, seeds, samples =
    if options.Quick then
        [ 200; 600 ], [ options.Seed ], 200
    else
        [ 200; 500; 1000; 2000; 10000 ], [ options.Seed; options.Seed + 1UL ], 2000

let points =
    [ for seed in seeds do
          for name, infer in methods do
              for n in budgets do
                  let made, posterior = infer compression n seed
                  SimulationBudget.compare name seed made samples field posterior ]

ConsoleProgress.finish ()

let panel = SimulationBudget.panel names points

/// The p-th root of the volumes' ratio.
let width (point: BudgetPoint) =
    point.AreaRatio ** (1.0 / float field.Names.Length)

let last name =
    let curve = SimulationBudget.curve name _.C2st points |> Array.last
    $"{name} {curve.Middle:F2} after {curve.Simulations:F0}"

let described = names |> List.map last |> String.concat ", "

Plot.bands
    "simulations"
    [ panel "C2ST against the field's posterior" false (Some 0.5) _.C2st
      panel "width a parameter / the field's" false (Some 1.0) width
      panel "shift of the mean / the field's sd" false None _.Shift ]
|> Plot.withCaption
    $"Weak lensing, six parameters from five maps of {study.Survey.Pixels} × {study.Survey.Pixels} pixels: how far the inferred posterior is from that of the field, sampled with its latent maps, against the number of simulations beyond those of the compressor. Lines: mean over {seeds.Length} seeds; bands: their range; dashed: an exact result. C2ST: {described}. What the compression lost stays."
|> Export.figure options.Out "fig21-lensing-budget"

SimulationBudget.report points |> Study.results options "fig21"
printfn $"C2ST: {described}"
