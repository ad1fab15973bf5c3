// A Gaussian field behind a footprint, with noise: what features keep of the exact information, which is that of a dense covariance over
// the seen pixels, and a posterior beside the exact one.
// dotnet fsi scripts/universes/mask.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/universe-mask" fsi.CommandLineArgs

// 1. The footprint: weights of 32 × 32 pixels, 0 in three round holes and along a border.
let weight (y, x) =
    let hole (cx, cy, r) =
        (x - cx) ** 2.0 + (y - cy) ** 2.0 < r * r

    let holes = [ 6.0, 7.0, 4.2; 25.0, 26.0, 5.0; 14.0, 18.0, 4.0 ]
    if x < 2.0 || List.exists hole holes then 0.0 else 1.0

let pixels = Array.allPairs [| 0.0 .. 31.0 |] [| 0.0 .. 31.0 |]
let footprint = (Tensors.ofVector (Array.map weight pixels)).reshape(32L, 32L)

// 2. An observation is composed with a simulator; and so is the exact answer, in the same words.
let field =
    SpectrumField.create PowerLaw.spectrum (FourierGrid(2, 32, 32.0)) ModeConvention.Ideal

let simulator =
    SpectrumField.simulator "power law" field
    |> Observation.noisy (White 0.7)
    |> Observation.masked footprint

let exact =
    DenseField.ofSpectrum field
    |> DenseField.noisy 0.7
    |> DenseField.masked footprint
    |> DenseField.exact

let prior = Prior.uniform [ "A", 0.1, 3.0; "B", 0.1, 2.5 ]
let model = Model.create simulator prior |> Model.withExact exact

// 3. What features keep. Bands of the measured power mix through the footprint; the linear layer behind them undoes that.
let fiducial, truth = [| 1.0; 1.0 |], [| 1.1; 0.9 |]

let train features =
    let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })
    Recipe.trainAt fiducial model (if options.Quick then Recipe.quick recipe else recipe)

let bands, filters =
    train (Features.bandPower 16), train (Features.filterBank 8 7 3)

for name, compressor in [ "bands", bands; "filters", filters ] do
    printfn $"{name} keep {Fisher.retained compressor.Fisher (exact.Fisher fiducial):P1} of the information"

// 4. One observed field, by the bands.
let observed = Simulator.field simulator truth 7UL
let result = Infer.delfi DelfiSettings.Default model bands observed
CommandLine.print model result
let layers = [ "exact", result.Exact.Value.Posterior; "DELFI", result.Posterior ]
Plot.corner layers (Some truth) |> Export.figure options.Out "corner"
