// Figure 12: distance from the exact posterior against the number of simulations, for rejection ABC, population Monte Carlo and DELFI.
// dotnet fsi scripts/fig12-simulation-budget.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options =
    StudyOptions.ofScript "artifacts/simulation-budget" fsi.CommandLineArgs

let progress = Study.progress options
let settings = SimulationBudget.settings options progress

let panel = SimulationBudget.panel SimulationBudget.methods

let seeds =
    match settings.Seeds.Length with
    | 1 -> "one seed"
    | n -> $"{n} seeds"

let accepted =
    match AbcSettings.Published.Acceptance with
    | Nearest part -> $"{part:P1}"
    | other -> $"%A{other}"

let describe points name =
    let last measure =
        (SimulationBudget.curve name measure points |> Array.last).Middle

    $"{name} after {last (fun p -> float p.Simulations):F0} simulations: area {last _.AreaRatio:F2} times the exact one, mean {last _.Shift:F2} sds away, C2ST {last _.C2st:F2}"

for name in [ "power-law"; "dark-matter" ] do
    let problem, compressor, field = SimulationBudget.subject options progress name
    let points = SimulationBudget.run settings problem compressor field
    ConsoleProgress.finish ()
    let target = problem.Example |> Array.map string |> String.concat ", "

    Plot.bands
        "simulations"
        [ panel points "area / exact area" true (Some 1.0) _.AreaRatio
          panel points "shift of the mean / exact sd" true None _.Shift
          panel points "C2ST against the exact posterior" false (Some 0.5) _.C2st ]
    |> Plot.withCaption
        $"How far the inferred posterior of one {name} field at ({target}), {options.ModesName} modes, is from the exact one of all its pixels, against the number of simulations beyond those of the compressor. Lines: mean over {seeds}; bands: their range; dashed: an exact result. C2ST 0.5 means that no classifier tells the two apart. ABC from the prior accepts the nearest {accepted}, as the paper did, so its ε does not fall with more simulations. All use the same two summaries: what the compression lost stays. {describe points SimulationBudget.methods[0]}. {describe points SimulationBudget.methods[3]}."
    |> Export.figure options.Out $"fig12-simulation-budget-{name}"

    SimulationBudget.report points |> Study.results options $"fig12-{name}"

    for m in SimulationBudget.methods do
        printfn $"{name}: {describe points m}"
