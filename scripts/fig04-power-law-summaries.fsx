// Figure 4: raw network outputs beside score estimates, over fields drawn from the prior.
// dotnet fsi scripts/fig04-power-law-summaries.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Random
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/power-law" fsi.CommandLineArgs
let problem = Study.problem options "power-law"
let progress = Study.progress options
let compressor = Study.compressor options progress problem
ConsoleProgress.finish ()
let count = if options.Quick then 200 else 600
let theta = Prior.sample (int options.Seed) 0L count problem.Prior

let raw =
    Simulator.fields
        problem.Simulator
        (Tensors.ofRows theta)
        (NoiseKey.Range(NoiseKey.SeedFor(options.Seed, "fig04"), 0UL, count))
    |> Compressor.summaries compressor

let estimates = Compressor.estimateOfSummaries compressor raw

Plot.summaries problem.Simulator.Parameters theta (Tensors.toRows raw) estimates
|> Plot.withCaption
    $"{count} fields with parameters from the prior. Above: the network's two outputs, which each mix A and B. Below: score estimates, the outputs turned and scaled by the Fisher matrix and the mean derivative at ({problem.Fiducial[0]}, {problem.Fiducial[1]}); exact there, and bent further away, where A and B are no longer a small step from the fiducial. Inference does not assume the line: ABC compares estimates with estimates."
|> Export.figure options.Out "fig04-summaries"

let deviation i =
    Array.map2 (fun (e: float[]) (t: float[]) -> (e[i] - t[i]) ** 2.0) estimates theta
    |> Array.average
    |> sqrt

Report.fields
    [ "fields", Report.value count
      "rootMeanSquare", Report.numbers [ deviation 0; deviation 1 ] ]
|> Study.results options "fig04"
