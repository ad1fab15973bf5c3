// Two and three correlated maps, as tomographic bins are: C_ij(k) = A r^|i − j|/k, and noise of another level in each.
// dotnet fsi scripts/universes/channels.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots
open TorchSharp

let options =
    StudyOptions.ofScript "artifacts/universe-channels" fsi.CommandLineArgs

// 1. Spectra are a matrix over the maps at every k: wavenumbers (m) → θ (b, 2) → (b, maps, maps, m).
let spectra maps : MapSpectra =
    { Parameters = [| "A"; "r" |]
      Maps = maps
      Power =
        fun k theta ->
            let a, r = theta.narrow (1L, 0L, 1L), theta.narrow (1L, 1L, 1L)

            let element (i: int) j =
                a / k * r.pow ((abs (i - j)).ToScalar())

            let row i =
                torch.stack (Array.init maps (element i), 1L)

            torch.stack (Array.init maps row, 1L) }

let fiducial, truth = [| 1.0; 0.6 |], [| 1.1; 0.55 |]
let prior = Prior.uniform [ "A", 0.3, 3.0; "r", 0.05, 0.95 ]

for maps in [ 2; 3 ] do
    let noise = Array.init maps (fun i -> 0.4 + 0.2 * float i)
    let quiet = CorrelatedMaps.create (spectra maps) (FourierGrid(2, 32, 32.0))
    let sky = CorrelatedMaps.withNoise noise quiet

    // 2. The simulator says that the first axis of its fields is one of channels: networks mix maps, and filter pixels.
    let simulator = CorrelatedMaps.simulator $"{maps} maps" sky
    let exact = CorrelatedMapsLikelihood.exact sky
    let model = Model.create simulator prior |> Model.withExact exact

    // 3. Powers and cross powers in bands of k are nearly all that these fields have.
    let train features =
        let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })
        Recipe.trainAt fiducial model (if options.Quick then Recipe.quick recipe else recipe)

    let bands, filters =
        train (Features.bandPower 12), train (Features.filterBank 16 5 2)

    for name, compressor in [ "bands", bands; "filters", filters ] do
        let kept = Fisher.retained compressor.Fisher (exact.Fisher fiducial)
        printfn $"{maps} maps: {name} keep {kept:P1} of the information"

    // 4. The posterior of one sky.
    let observed = Simulator.field simulator truth 7UL
    let result = Infer.abc AbcSettings.Default model bands observed
    CommandLine.print model result
    let layers = [ "exact", result.Exact.Value.Posterior; "ABC", result.Posterior ]
    Plot.corner layers (Some truth) |> Export.figure options.Out $"corner-{maps}"
