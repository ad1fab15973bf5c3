// Figure 19: six parameters from five convergence maps: the network, the power spectra, and the field's own posterior.
// dotnet fsi scripts/fig19-lensing-posterior.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/lensing" fsi.CommandLineArgs
let progress = Study.progress options
let study = LensingStudy.create options progress

let compressor = LensingStudy.network study
let network = LensingStudy.delfi study "network" compressor
let spectra = LensingStudy.powerSpectrum study
let power = LensingStudy.delfi study "power-spectrum" spectra
let latent = LensingStudy.truth study network.Posterior
ConsoleProgress.finish ()

LensingStudy.keep study "field" latent.Posterior
LensingStudy.keep study "network" network.Posterior
LensingStudy.keep study "power-spectrum" power.Posterior

let against (posterior: Posterior) =
    SimulationBudget.compare "" options.Seed 0 (if options.Quick then 200 else 2000) latent.Posterior posterior

let perParameter = LensingStudy.width latent.Posterior

let chains = latent.Chains
let byNetwork, byPower = against network.Posterior, against power.Posterior

let merit posterior =
    LensingStudy.merits posterior |> List.head

Plot.corner
    [ "field (latent maps, HMC)", latent.Posterior
      "network", network.Posterior
      "power spectra", power.Posterior ]
    (Some WeakLensing.fiducial)
|> Plot.withCaption
    $"Weak lensing on {study.Survey.Pixels} × {study.Survey.Pixels} pixels, 10° × 10°, in five bins with shape noise, {options.ModesName} modes; dashed: the truth. Filled: the posterior at the level of the field, θ sampled with all {5 * study.Survey.Pixels * study.Survey.Pixels} latent numbers of the maps ({chains.Draws.Length} chains of {chains.Draws[0].Length} draws, R̂ ≤ {Array.max chains.RHat:F3}, worth ≥ {Array.min chains.EffectiveSize:F0}). The network's six estimates, inferred by sequential neural likelihood, have {perParameter network.Posterior:F2} times its width a parameter (C2ST {byNetwork.C2st:F2}); auto- and cross-spectra in {LensingStudy.bands} bands {perParameter power.Posterior:F2} times (C2ST {byPower.C2st:F2}). Figure of merit of Ω<sub>c</sub> and σ<sub>8</sub>: {merit latent.Posterior:F0}, {merit network.Posterior:F0}, {merit power.Posterior:F0}."
|> Export.figure options.Out "fig19-lensing-posterior"

let numbers name (posterior: Posterior) more =
    name,
    Report.fields (
        LensingStudy.described posterior
        @ [ "widthRatio", Report.value (perParameter posterior) ]
        @ more
    )

let inferred (result: InferenceResult) (point: BudgetPoint) =
    [ "c2st", Report.value point.C2st; "shift", Report.value point.Shift ]
    @ LensingStudy.accounted result

Report.fields
    [ "theta", Report.numbers WeakLensing.fiducial
      "modes", Report.value options.ModesName
      "pixels", Report.value study.Survey.Pixels
      "seed", Report.value options.Seed
      numbers
          "field"
          latent.Posterior
          [ "rHat", Report.numbers chains.RHat
            "effectiveSize", Report.numbers chains.EffectiveSize
            "acceptance", Report.value chains.Acceptance
            "step", Report.value chains.Step
            "divergent", Report.value chains.Divergent
            "warnings", Report.value (String.concat "; " chains.Warnings) ]
      numbers "network" network.Posterior (inferred network byNetwork)
      numbers "powerSpectrum" power.Posterior (inferred power byPower) ]
|> Study.results options "fig19"

for name, posterior in
    [ "field", latent.Posterior
      "network", network.Posterior
      "power spectra", power.Posterior ] do
    let values =
        LensingStudy.merits posterior |> List.map (sprintf "%.0f") |> String.concat ", "

    printfn $"{name}: figures of merit {values}; width a parameter over the field's {perParameter posterior:F2}"

for warning in chains.Warnings do
    printfn $"warning: {warning}"

printfn $"C2ST against the field's: network {byNetwork.C2st:F3}, power spectra {byPower.C2st:F3}"
