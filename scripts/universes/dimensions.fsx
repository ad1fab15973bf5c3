// One and three dimensions: a line of 1,001 points and a box of 32³, of the same spectrum A k^−B.
// dotnet fsi scripts/universes/dimensions.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots

let options =
    StudyOptions.read "artifacts/universe-dimensions" fsi.CommandLineArgs[1..]

let fiducial, truth = [| 1.0; 1.0 |], [| 1.1; 0.9 |]
let prior = Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 1.8 ]

let abc =
    { AbcSettings.Default with
        Budget = 4000 }

for dimensions, n, bands in [ 1, 1001, 40; 3, 32, 12 ] do
    // 1. A grid of any number of points a side, odd or even, in one to three dimensions.
    let grid = FourierGrid(dimensions, n, float n)
    let field = SpectrumField.create PowerLaw.spectrum grid ModeConvention.Ideal
    let simulator = SpectrumField.simulator $"{dimensions}-D of {n}" field
    let exact = SpectrumLikelihood.exact field
    let model = Model.create simulator prior |> Model.withExact exact

    // 2. Filters and bands of as many axes as the field.
    let train features =
        let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })
        Recipe.trainAt fiducial model (if options.Quick then Recipe.quick recipe else recipe)

    let bands, filters =
        train (Features.bandPower bands), train (Features.filterBank 8 5 3)

    for name, compressor in [ "bands", bands; "filters", filters ] do
        let kept = Fisher.retained compressor.Fisher (exact.Fisher fiducial)
        printfn $"{simulator.Name}: {name} keep {kept:P1} of the information, after {compressor.Seconds:F0} s"

    // 3. One observed field.
    let observed = Simulator.field simulator truth 7UL
    let result = Infer.abc abc model bands observed
    CommandLine.print model result
    let layers = [ "exact", result.Exact.Value.Posterior; "ABC", result.Posterior ]
    let image = Simulator.values simulator observed
    Plot.field "δ" image |> Export.figure options.Out $"field-{dimensions}d"

    Plot.corner layers (Some truth)
    |> Export.figure options.Out $"corner-{dimensions}d"
