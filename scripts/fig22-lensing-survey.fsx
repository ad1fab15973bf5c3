// Figure 22: weak lensing on the survey's own pixels, where no posterior of the field is at hand: the network against the power spectra.
// dotnet fsi scripts/fig22-lensing-survey.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/lensing-survey" fsi.CommandLineArgs

let progress = Study.progress options
let pixels = if options.Quick then 64 else 256
let study = LensingStudy.ofPixels pixels options progress

let compressor = LensingStudy.network study
let network = LensingStudy.delfi study "network" compressor

let power =
    LensingStudy.powerSpectrum study |> LensingStudy.delfi study "power-spectrum"

ConsoleProgress.finish ()

let merits (result: InferenceResult) = LensingStudy.merits result.Posterior

let ratios = List.map2 (/) (merits network) (merits power)

let described result =
    merits result |> List.map (sprintf "%.0f") |> String.concat ", "

Plot.corner [ "power spectra", power.Posterior; "network", network.Posterior ] (Some WeakLensing.fiducial)
|> Plot.withCaption
    $"Weak lensing on {pixels} × {pixels} pixels, 10° × 10°, in five bins with shape noise, {options.ModesName} modes, one simulated sky; dashed: the truth. Posteriors by sequential neural likelihood from the network's six estimates and from auto- and cross-spectra in {LensingStudy.bands} bands, compressed in the same way. Figures of merit of (Ω<sub>c</sub>, σ<sub>8</sub>), (Ω<sub>c</sub>, w<sub>0</sub>) and (σ<sub>8</sub>, w<sub>0</sub>): network {described network}, power spectra {described power}."
|> Export.figure options.Out "fig22-lensing-survey"

let numbers name (result: InferenceResult) =
    name,
    Report.fields (
        LensingStudy.described result.Posterior
        @ [ "fiducial", Report.numbers result.Fiducial ]
        @ LensingStudy.accounted result
    )

Report.fields
    [ "theta", Report.numbers WeakLensing.fiducial
      "modes", Report.value options.ModesName
      "pixels", Report.value pixels
      "seed", Report.value options.Seed
      numbers "network" network
      numbers "powerSpectrum" power
      "ratios", Report.numbers (Array.ofList ratios) ]
|> Study.results options "fig22"

let times = ratios |> List.map (sprintf "%.2f") |> String.concat ", "
printfn $"figures of merit: network {described network}, power spectra {described power}, ratios {times}"
