// Weak lensing by a survey of your own: redshift bins, maps, what the default features keep of them, and six parameters of one sky.
// dotnet fsi scripts/universes/lensing.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Cosmology
open FieldImnn.Core.Fields
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/universe-lensing" fsi.CommandLineArgs

// 1. A survey is a value: galaxies n(z) ∝ z² exp(−(z/0.64)^1.5) in three bins of equal number, photometric errors of 0.05 (1 + z), 5° × 5° in
//    pixels of 9′, ten galaxies an arcmin² and bin, and the scatter of their ellipticities.
let survey =
    { Bins = RedshiftBins.EqualNumber(2.0, 1.5, 0.64, 0.05, 3, 2.5)
      Side = 5.0
      Pixels = 32
      Density = 10.0
      Ellipticity = 0.26 }

// 2. Two universes of the same spectra: log-normal convergence, which has no closed likelihood, and Gaussian maps, whose exact answer is known.
let logNormal = WeakLensing.create survey ModeConvention.Ideal EmptyBeam
let gaussian = WeakLensing.createGaussian survey

let sky = Simulator.field logNormal.Simulator WeakLensing.fiducial 1UL

Plot.field "κ" (Simulator.values logNormal.Simulator sky)
|> Plot.withCaption
    "Convergence κ of one simulated sky in the survey's three bins, near to far; shape noise hides most of it."
|> Export.figure options.Out "sky"

// 3. Told nothing, the default features keep nearly all of what Gaussian maps hold; of log-normal maps they know more than power spectra do.
let compressor features (problem: Problem) =
    let recipe = problem.Recipe |> Recipe.map (fun s -> { s with Features = features })

    Recipe.trainAt WeakLensing.fiducial problem.Model (if options.Quick then Recipe.quick recipe else recipe)

let known = compressor Features.localStatistics gaussian
let exact = gaussian.Exact.Fisher WeakLensing.fiducial

let kept =
    Fisher.retained known.Fisher exact ** (1.0 / float WeakLensing.fiducial.Length)

printfn
    $"Gaussian maps: {known.Network.Features} features keep %.1f{100.0 * kept} %% of the exact information a parameter."

let network = compressor Features.localStatistics logNormal
let spectra = compressor (Features.bandPower 8) logNormal

for name, c in [ "default features", network; "power spectra", spectra ] do
    let errors =
        Array.map2 (fun p e -> $"{p} ± %.3g{e}") c.Parameters (Matrices.errors c.Fisher)

    printfn $"""log-normal maps, {name}: {String.concat ", " errors}"""

// 4. The posterior: by these errors about the estimate, within the prior, for a first look. `Infer.delfi` learns its shape from simulations.
let result =
    if options.Quick then
        Infer.gaussian logNormal.Model network sky
    else
        Infer.delfi DelfiSettings.Default logNormal.Model network sky

let named = result.Method, result.Posterior

Plot.corner [ named ] (Some WeakLensing.fiducial)
|> Plot.withCaption
    "Six parameters of the sky (dashed: its own). It says most of the two that set how much structure there is; the others are much as the prior has them."
|> Export.figure options.Out "corner"
