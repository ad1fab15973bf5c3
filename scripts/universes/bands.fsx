// One parameter, and six: the amplitude of a universe of power A/k, and its amplitudes in six bands of k.
// dotnet fsi scripts/universes/bands.fsx [--out FOLDER]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots
open TorchSharp

let options = StudyOptions.ofScript "artifacts/universe-bands" fsi.CommandLineArgs

// 1. Two spectra of one universe: its power as one number, or as six.
let ends = [| 0.5; 0.9; 1.4; 2.0; 2.7 |]
let whole = Spectrum.bands [||] _.reciprocal()
let six = Spectrum.bands ends _.reciprocal()

// 2. Features of one's own: the powers in these very bands are all that six amplitudes have.
let k = torch.fft.fftfreq (32, 1.0 / (2.0 * System.Math.PI))
let band = (k.square().unsqueeze 1L + k.square ()).sqrt()

let within (lo: float, hi: float) =
    band.gt (lo.ToScalar()) * band.le (hi.ToScalar())

let masks = Array.pairwise [| 1e-6; yield! ends; 9.0 |] |> Array.map within

let inBands =
    Features.own "power in the six bands" 6 (fun fields ->
        let power = (torch.fft.fft2 fields).abs().square()
        torch.stack (masks |> Array.map (fun mask -> (power * mask).mean [| 1L; 2L |]), 1L))

let study name (spectrum: Spectrum) (truth: float[]) features =
    let grid = FourierGrid(2, 32, 32.0)
    let field = SpectrumField.create spectrum grid ModeConvention.Ideal
    let simulator = SpectrumField.simulator name field
    let exact = SpectrumLikelihood.exact field
    let prior = Prior.uniform [ for p in spectrum.Parameters -> p, 0.3, 2.0 ]
    let model = Model.create simulator prior |> Model.withExact exact
    let fiducial = Array.map (fun _ -> 1.0) truth
    let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })
    let compressor = Recipe.trainAt fiducial model recipe
    let kept = Fisher.retained compressor.Fisher (exact.Fisher fiducial)
    printfn $"{name}: keeps {kept:P1} of det F, {kept ** (1.0 / float truth.Length):P1} a parameter"

    // 3. Each method beside the exact posterior: on a line for one parameter, by walkers for six.
    let observed = Simulator.field simulator truth 7UL
    let abc = Infer.abc AbcSettings.Default model compressor observed
    let delfi = Infer.delfi DelfiSettings.Default model compressor observed
    let exactly = abc.Exact.Value.Posterior

    for result in [ abc; delfi ] do
        let struct (ratio, each) = Posterior.areaRatio exactly result.Posterior
        printfn $"  {result.Method}: {ratio:F2} of the exact area, {each:F2} a parameter"

    let layers = [ "exact", exactly; "ABC", abc.Posterior; "DELFI", delfi.Posterior ]
    Plot.corner layers (Some truth) |> Export.figure options.Out name

study "one-amplitude" whole [| 1.1 |] (Features.bandPower 12)
study "six-amplitudes" six [| 1.1; 0.9; 1.05; 1.0; 0.95; 1.1 |] inBands
