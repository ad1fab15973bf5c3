// Figure 5: the power spectrum of log-normal dark-matter fields: wanted, measured, and that of the Gaussian field behind them.
// dotnet fsi scripts/fig05-dark-matter-power.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/dark-matter" fsi.CommandLineArgs
let problem = Study.problem options "dark-matter"
let model = DarkMatter.model 128 options.Modes
let count = if options.Quick then 200 else 2000

let measured theta =
    Simulator.fields problem.Simulator (Tensors.ofVector theta) (NoiseKey.Range(options.Seed, 0UL, count))
    |> PowerSpectrum.measure 48 DarkMatter.boxLength

let at (theta: float[]) = $"({theta[0]}, {theta[1]})"

let points =
    [ problem.Example; problem.Fiducial ]
    |> List.map (fun theta -> theta, measured theta)

let curve name style (x, y) errors : Curve =
    { Name = name
      X = x
      Y = y
      Errors = errors
      Style = style }

let content =
    [ for theta, power in points do
          let k, gaussian = PowerSpectrum.gaussian model theta
          curve $"wanted, at {at theta}" Solid (k, DarkMatter.power options.Modes theta k) [||]
          curve $"measured, at {at theta}" Points (power.K, power.Mean) power.Error

          if options.Modes = ModeConvention.Ideal then
              curve $"of G, at {at theta}" Dashed (PowerSpectrum.smooth 120 (k, gaussian)) [||] ]

let text =
    match options.Modes with
    | ModeConvention.Published ->
        "The original code takes √P for P on its way through the logarithm and the result for an amplitude, and drops a row of modes, so that its fields do not have the spectrum they are asked for."
    | _ ->
        "The field is made by exponentiating a Gaussian field G, whose spectrum (dashed) is chosen so that the contrast has the wanted one at every mode: the points lie on the lines."

Plot.curves
    { Title = "k  [h/Mpc]"
      Logarithmic = true }
    { Title = "P<sub>2D</sub>(k)  [(Mpc/h)<sup>2</sup>]"
      Logarithmic = true }
    content
|> Plot.withCaption
    $"Spectra of the log-normal dark-matter field at Planck's (Ω<sub>c</sub>, σ<sub>8</sub>) = {at problem.Example} and at the fiducial {at problem.Fiducial}, {options.ModesName} modes; points are means over {count} simulated fields in 48 bands, with standard errors. {text}"
|> Export.figure options.Out "fig05-power"

let deviation (theta, power: MeasuredPower) =
    let wanted = DarkMatter.power options.Modes theta power.K
    Array.map2 (fun m w -> m / w - 1.0) power.Mean wanted

Report.fields
    [ "fields", Report.value count
      "k", Report.numbers (snd points.Head).K
      "measuredOverWantedTarget", Report.numbers (deviation points[0])
      "measuredOverWantedFiducial", Report.numbers (deviation points[1]) ]
|> Study.results options "fig05"
