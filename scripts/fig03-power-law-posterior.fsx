// Figure 3: the posterior of a field at the target (0.9, 0.6): ABC, the Gaussian approximation, and the exact answer.
// dotnet fsi scripts/fig03-power-law-posterior.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Random
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/power-law" fsi.CommandLineArgs
let problem = Study.problem options "power-law"
let progress = Study.progress options
let compressor = Study.compressor options progress problem

let field =
    Simulator.field problem.Simulator problem.Example (NoiseKey.SeedFor(options.Seed, "target"))

let abc =
    let kept = Some(Study.simulations options "fig03")
    Study.infer "abc" (NamedMethod.create "abc" options.Quick options.Seed progress kept) problem compressor field

let gaussian = Study.infer "gaussian" Method.gaussian problem compressor field
ConsoleProgress.finish ()

Plot.corner
    [ "exact", abc.Exact.Posterior
      "ABC", abc.Posterior
      "Gaussian approximation", gaussian.Posterior ]
    (Some problem.Example)
|> Plot.withCaption
    $"Posterior of one simulated field at (A, B) = ({problem.Example[0]}, {problem.Example[1]}) (dashed), {options.ModesName} modes; contours hold 68 %% and 95 %%. The network compressed 16 384 pixels to two numbers. Area over the exact area: ABC {abc.AreaRatio:F3} ({abc.Simulations - compressor.Simulations} simulations, regression-adjusted), Gaussian approximation {gaussian.AreaRatio:F3}. The Gaussian takes its width from the fiducial (1, 0.5), so it cannot follow the exact width here."
|> Export.figure options.Out "fig03-posterior"

let numbers result =
    Study.summary options problem compressor.Seconds result

Report.fields [ "abc", numbers abc; "gaussian", numbers gaussian ]
|> Study.results options "fig03"

printfn $"area over exact: ABC {abc.AreaRatio:F3}, Gaussian {gaussian.AreaRatio:F3}"
