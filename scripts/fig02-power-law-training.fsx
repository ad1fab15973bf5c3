// Figure 2: det F against iteration, ours and the published network with the published loss, beside the exact information of the
// field and the "theory" that the paper quotes.
// dotnet fsi scripts/fig02-power-law-training.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/power-law" fsi.CommandLineArgs
let problem = Study.problem options "power-law"
let progress = Study.progress options
let default' = Study.compressor options progress problem

let ours = Study.trained PowerLaw.training problem.Fiducial options progress problem

let publishedSettings =
    { ImnnSettings.Published with
        Seed = options.Seed
        Progress = progress
        Simulations = 100
        DerivativeSimulations = 100
        MaxIterations = (if options.Quick then 4 else 120)
        MinIterations = (if options.Quick then 4 else 120)
        EvaluateEvery = (if options.Quick then 2 else 10)
        HeldOut = (if options.Quick then 100 else 300)
        Fit = (if options.Quick then 100 else 2000)
        Quote = (if options.Quick then 100 else 2000) }

let published =
    Study.compressorWith publishedSettings problem.Fiducial options problem

ConsoleProgress.finish ()
let exact = problem.Exact.Fisher problem.Fiducial
let quoted = problem.QuotedFisher.Value problem.Fiducial
let kept (c: Compressor) = Fisher.retained c.Fisher exact

Plot.training
    [ "filter bank", ours.History; "published network", published.History ]
    [ "exact", exact.Determinant()
      "default features", default'.Fisher.Determinant()
      "quoted “theory”", quoted.Determinant() ]
|> Plot.withCaption
    $"Training at (A, B) = ({problem.Fiducial[0]}, {problem.Fiducial[1]}), {options.ModesName} modes. Faint: det F of the training batches, which is biased high; bold: simulations never trained on. Out of sample, on {ours.QuotedOn} fresh simulations, the filter bank with its closed-form last layer keeps {kept ours:P1} of the field's information after {ours.Seconds:F0} s on this machine; the published network with the published loss, {kept published:P1} on {published.QuotedOn} after {published.Seconds:F0} s (cut short here; the authors trained it far longer on a GPU). The default features, which nothing trains but the closed-form layer, keep {kept default':P1} after {default'.Seconds:F0} s. The line that the paper quotes as theory counts one of two independent quadrants of modes: {quoted.Determinant() / exact.Determinant():P1} of what is there."
|> Export.figure options.Out "fig02-training"

let numbers (c: Compressor) =
    Report.fields
        [ "fisher", Report.matrix c.Fisher
          "detF", Report.value (c.Fisher.Determinant())
          "retained", Report.value (kept c)
          "quotedOn", Report.value c.QuotedOn
          "iterations", Report.value c.History.Length
          "seconds", Report.value c.Seconds
          "simulations", Report.value c.Simulations ]

Report.fields
    [ "exactFisher", Report.matrix exact
      "quotedFisher", Report.matrix quoted
      "default", numbers default'
      "filterBank", numbers ours
      "published", numbers published ]
|> Study.results options "fig02"

printfn
    $"kept of the field's information: default {kept default':P1}, filter bank {kept ours:P1}, published network {kept published:P1}"
