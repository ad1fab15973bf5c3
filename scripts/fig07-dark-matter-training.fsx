// Figure 7: det F against iteration at the first fiducial and at the estimate of the observed fields, beside the exact information at
// both and the "theory" that the paper's authors quote.
// dotnet fsi scripts/fig07-dark-matter-training.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--targets FOLDER] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/dark-matter" fsi.CommandLineArgs
let problem = Study.problem options "dark-matter"
let progress = Study.progress options

let rounds =
    Study.observed options "target_field_planck" 4 problem
    |> List.map snd
    |> Tensors.stack
    |> Study.refit options progress problem

let first, last = rounds.Head.Compressor, (List.last rounds).Compressor

let bank =
    if options.Quick then
        { DarkMatter.training 128 with
            Simulations = 100
            DerivativeSimulations = 50
            MinIterations = 30
            MaxIterations = 30 }
    else
        DarkMatter.training 128

let trained (c: Compressor) =
    Study.trained bank c.Fiducial options progress problem

let bankFirst, bankLast = trained first, trained last
ConsoleProgress.finish ()

let at (c: Compressor) =
    $"({c.Fiducial[0]:F3}, {c.Fiducial[1]:F3})"

let exact (c: Compressor) = problem.Exact.Fisher c.Fiducial
let kept (c: Compressor) = Fisher.retained c.Fisher (exact c)
let quoted = DarkMatter.quotedDeterminants.Head |> snd

Plot.training
    [ $"at {at first}", bankFirst.History; $"at {at last}", bankLast.History ]
    [ $"exact at {at first}", (exact first).Determinant()
      $"exact at {at last}", (exact last).Determinant()
      $"default at {at last}", last.Fisher.Determinant()
      "quoted “theory”", quoted ]
|> Plot.withCaption
    $"Training of a filter bank on ln(1 + δ) of dark-matter fields, {options.ModesName} modes, at the paper's first fiducial (Ω<sub>c</sub>, σ<sub>8</sub>) = {at first} and at the mean estimate of four observed fields, {at last}. Faint: det F of the training batches, which is biased high; bold: simulations never trained on. Out of sample, on {last.QuotedOn} fresh simulations each, it keeps {kept bankFirst:P1} and {kept bankLast:P1} of the field's information; the default features, told nothing and not trained, {kept first:P1} and {kept last:P1}. The value that the authors quote as theory at (0.6, 0.6), for their fields (published modes), comes from the logarithm of negative numbers."
|> Export.figure options.Out "fig07-training"

let numbers (round: RefitRound) =
    let c = round.Compressor

    Report.fields
        [ "fiducial", Report.numbers c.Fiducial
          "fisher", Report.matrix c.Fisher
          "exactFisher", Report.matrix (exact c)
          "retained", Report.value (kept c)
          "quotedOn", Report.value c.QuotedOn
          "estimates", Report.rows round.Estimates
          "movedInStandardErrors", Report.value round.Moved
          "iterations", Report.value c.History.Length
          "seconds", Report.value c.Seconds
          "simulations", Report.value c.Simulations ]

Report.fields
    [ yield! rounds |> List.mapi (fun i round -> $"round{i + 1}", numbers round)
      "filterBankRetained", Report.numbers [ kept bankFirst; kept bankLast ]
      "quotedDeterminant", Report.value quoted ]
|> Study.results options "fig07"

for round in rounds do
    printfn
        $"at {at round.Compressor}: kept {kept round.Compressor:P1}; the mean estimate lies {round.Moved:F2} standard errors away"
