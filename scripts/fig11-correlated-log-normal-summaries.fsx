// Figure 11: one log-normal field: the correlation function as a summary, the network with and without the edge, the exact answer with
// and without pixel noise.
// dotnet fsi scripts/fig11-correlated-log-normal-summaries.fsx [--out FOLDER] [--targets FOLDER] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Plots

let options =
    StudyOptions.ofScript "artifacts/correlated-log-normal" fsi.CommandLineArgs

let problem = Study.problem options "correlated-log-normal"
let progress = Study.progress options
let compressor = Study.compressor options progress problem

let title, field = (Study.observed options "lognormal20_field_" 1 problem).Head

let abc =
    Method.abc
        { AbcSettings.Default with
            Seed = options.Seed
            Simulations =
                { SimulationSettings.Default with
                    Progress = progress }
            Budget = (if options.Quick then 5000 else 20000) }

let network = Study.infer "abc" abc problem compressor field

let estimatesAlone =
    Study.infer "abc" abc problem (Compressor.comparing None compressor) field

let largestLag = 5

let correlation =
    let settings =
        { (Study.recipe options progress problem).Training problem.Fiducial with
            Features = Features.correlation largestLag }

    let compressor =
        Study.compressorWith settings problem.Fiducial options problem
        |> Compressor.comparing None

    Study.infer "abc" abc problem compressor field

let pixelNoise = 0.01
let noisy = CorrelatedLogNormalField(20, LogNormalForm.Standardised, pixelNoise)

// a stored field holds its noise; a simulated one gets it here
let noisyField =
    match options.Targets with
    | Some _ -> field
    | None ->
        Simulator.field
            (CorrelatedLogNormal.simulator noisy)
            problem.Example
            (NoiseKey.SeedFor(options.Seed, "target 1"))

let hmc =
    { HmcSettings.Default with
        Warmup = 300
        Draws = (if options.Quick then 200 else 700)
        LeapfrogSteps = 16
        Seed = options.Seed
        Progress = progress
        Checkpoint = Some(Checkpoint.inFolder (Study.simulations options "fig11")) }

let latent =
    LatentLogNormal.posterior
        hmc
        noisy
        problem.Prior
        (Posterior.resample (int options.Seed) hmc.Chains network.Exact.Posterior)
        noisyField

ConsoleProgress.finish ()
let chains = latent.Chains

let posterior (result: StudyResult) = result.Posterior
let kept (result: StudyResult) = result.FisherRetained

Plot.contours
    2
    [| "α"; "β [pixels]" |]
    [ "near the exact answer",
      [ "exact", network.Exact.Posterior
        "network and edge", posterior network
        $"with pixel noise {pixelNoise} (HMC)", latent.Posterior ],
      Some problem.Example
      "summaries that lose",
      [ "correlation function", posterior correlation
        "network without the edge", posterior estimatesAlone
        "exact", network.Exact.Posterior ],
      Some problem.Example ]
|> Plot.withCaption
    $"One log-normal field of 20 × 20 pixels at (α, β) = (1, 0.5) (dashed): {title}; contours hold 68 %% and 95 %%. Left: the exact posterior; ABC on the network's two score estimates and the edge −1/min f, {network.AreaRatio:F2} times the exact area; and the exact posterior where each pixel has noise of {pixelNoise}, so that the field is latent and is sampled with α and β ({hmc.Chains} chains of {hmc.Draws} draws, R̂ ≤ {Array.max chains.RHat:F3}, effective draws ≥ {Array.min chains.EffectiveSize:F0}). Right, on a wider scale: the two-point correlation function to {largestLag} pixels keeps {kept correlation:P3} of the exact det F at ({problem.Fiducial[0]}, {problem.Fiducial[1]}) and has {correlation.AreaRatio:F0} times the exact area. The network keeps {kept network:P0} there, but its estimates alone have {estimatesAlone.AreaRatio:F0} times the area: score estimates from one fiducial do not tell far larger α apart, which the lowest pixel excludes."
|> Export.figure options.Out "fig11-summaries"

let numbers result =
    Study.summary options problem compressor.Seconds result

Report.fields
    [ "field", Report.value title
      "network", numbers network
      "networkWithoutEdge", numbers estimatesAlone
      "correlationFunction", numbers correlation
      "pixelNoise",
      Report.fields
          [ "sigma", Report.value pixelNoise
            "mean", Report.numbers (Posterior.mean latent.Posterior)
            "sd", Report.numbers (Posterior.sd latent.Posterior)
            "correlation", Report.matrix (Posterior.correlation latent.Posterior)
            "rHat", Report.numbers chains.RHat
            "effectiveSize", Report.numbers chains.EffectiveSize
            "acceptance", Report.value chains.Acceptance
            "step", Report.value chains.Step
            "divergent", Report.value chains.Divergent
            "warnings", Report.value (String.concat "; " chains.Warnings) ] ]
|> Study.results options "fig11"

printfn
    $"area over exact: network {network.AreaRatio:F2}, without the edge {estimatesAlone.AreaRatio:F1}, correlation function {correlation.AreaRatio:F1}"
