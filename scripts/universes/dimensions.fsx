// One and three dimensions: a line of 1,001 points and a box of 32³, of the same spectrum A k^−B.
// dotnet fsi scripts/universes/dimensions.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots
open TorchSharp

let options =
    StudyOptions.ofScript "artifacts/universe-dimensions" fsi.CommandLineArgs

let fiducial, truth = [| 1.0; 1.0 |], [| 1.1; 0.9 |]
let prior = Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 1.8 ]

// 1. On a line every octave of k tells as much of B as the next, and bands of one width see the lowest as one: half octaves of one's own.
let ends =
    Array.distinct [| for q in 0.0 .. 18.0 -> min 501L (int64 (2.0 ** (q / 2.0) + 1e-9)) |]

let halfOctaves =
    Features.own "power in half octaves" (ends.Length - 1) (fun fields ->
        let power = (torch.fft.rfft fields).abs().square()

        let band (a, b) =
            power.narrow(1L, a, b - a).mean [| 1L |]

        torch.stack (Array.pairwise ends |> Array.map band, 1L))

for dimensions, n, features in [ 1, 1001, halfOctaves; 3, 32, Features.bandPower 12 ] do
    // 2. A grid of any number of points a side, odd or even, in one to three dimensions.
    let grid = FourierGrid(dimensions, n, float n)
    let field = SpectrumField.create PowerLaw.spectrum grid ModeConvention.Ideal
    let simulator = SpectrumField.simulator $"{dimensions}-D of {n}" field
    let exact = SpectrumLikelihood.exact field
    let model = Model.create simulator prior |> Model.withExact exact

    // 3. Filters have as many axes as the field.
    let train features =
        let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })
        Recipe.trainAt fiducial model (if options.Quick then Recipe.quick recipe else recipe)

    let bands, filters = train features, train (Features.filterBank 8 5 3)

    for name, compressor in [ "bands", bands; "filters", filters ] do
        let kept = Fisher.retained compressor.Fisher (exact.Fisher fiducial)
        printfn $"{simulator.Name}: {name} keep {kept:P1} of the information, after {compressor.Seconds:F0} s"

    // 4. One observed field.
    let observed = Simulator.field simulator truth 7UL
    let result = Infer.abc AbcSettings.Default model bands observed
    CommandLine.print model result
    let layers = [ "exact", result.Exact.Value.Posterior; "ABC", result.Posterior ]

    Plot.field "δ" (Simulator.values simulator observed)
    |> Export.figure options.Out $"field-{dimensions}d"

    Plot.corner layers (Some truth)
    |> Export.figure options.Out $"corner-{dimensions}d"
