// Figures 16 to 18: five tomographic convergence maps, their exact derivatives by six parameters, and their spectra, wanted and measured.
// dotnet fsi scripts/fig16-lensing-maps.fsx [--out FOLDER] [--modes ideal|published] [--targets FOLDER] [--seed N] [--quick]
// Published maps take the authors' table of shifts, lognormal_shifts.npy in the folder of --targets.
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Plots
open TorchSharp

let options = StudyOptions.ofScript "artifacts/lensing" fsi.CommandLineArgs
let survey = WeakLensing.survey (if options.Quick then 64 else 256)

let model = WeakLensing.model survey options.Modes (LensingStudy.shift options)
let simulator = LogNormalMaps.simulator "lensing" model
let theta = WeakLensing.fiducial

// 1. Maps without noise, and what each parameter does to the furthest bin.
let maps, slopes =
    Simulator.fieldWithDerivatives simulator Autodiff theta options.Seed

let bin (field: Tensor) i =
    FieldValues.create 1 model.Transform.Grid.Shape (Tensors.toArray field[int64 i])

Plot.fields [ for i in 0..4 -> $"κ, bin {i + 1}", bin maps i ]
|> Plot.withCaption
    $"Convergence in five redshift bins on 10° × 10° at the centre of the prior, {options.ModesName} modes, without shape noise, whose standard deviation is {WeakLensing.noise survey:F3} a pixel. The bins see the same matter in front of them, so that they are much alike, and the further the stronger."
|> Export.figure options.Out "fig16-maps"

Plot.fields [ for a in 0..5 -> $"∂κ<sub>5</sub>/∂{LensingStudy.axes[a]}", bin slopes[a] 4 ]
|> Plot.withCaption
    $"The exact derivatives of the furthest bin by six parameters, the noise of its modes held fixed: by σ<sub>8</sub> all waves grow, by h and n<sub>s</sub> the long ones shrink against the short ones, by Ω<sub>b</sub> they grow, and by Ω<sub>c</sub> and w<sub>0</sub> distances, growth and the shift of the logarithm change, too."
|> Export.figure options.Out "fig17-derivatives"

// 2. Spectra: wanted at every |ℓ|, and the mean over simulations in bands of it.
let count = if options.Quick then 100 else 400
let bands = 16
let pairs = [ 0, 0; 1, 1; 2, 2; 3, 3; 4, 4; 0, 4; 2, 4 ]

let wanted = model.Power(Tensors.ofRows [| theta |]).squeeze 0L

let grid, classes = model.Transform.Grid, model.Transform.Classes
let radius = classes.Radii.index_select (0L, classes.RadiusIndex)
let weight = classes.Sum grid.HermitianWeight

let low, high =
    grid.FundamentalWavenumber, float survey.Pixels / 2.0 * grid.FundamentalWavenumber

let band =
    ((radius / low).log() * (float bands / log (high / low))).floor().``to`` torch.int64

/// Means over the bands of values by class (classes), each class as often as it has modes.
let banded (values: Tensor) =
    [| for b in 0 .. bands - 1 do
           let inside =
               band.eq((int64 b).ToScalar()).logical_and(radius.gt (0.0.ToScalar())).``to`` torch.float64
               * weight

           let modes = inside.sum().ToDouble()

           if modes > 0.0 then
               (inside * values).sum().ToDouble() / modes |]

let measured =
    [| for chunk in 0 .. count / 20 - 1 do
           use _ = torch.NewDisposeScope()
           let keys = NoiseKey.Range(options.Seed, uint64 (1 + 20 * chunk), 20)
           let fields = Simulator.fields simulator (Tensors.ofVector theta) keys
           let modes = grid.Forward(fields.``to`` torch.float64)

           for k in 0L .. 19L do
               [ for i, j in pairs do
                     let a, b = modes[k, int64 i], modes[k, int64 j]

                     let cross =
                         (a.real * b.real + a.imag * b.imag) * grid.HermitianWeight
                         / grid.ModeVariancePerPower

                     banded (classes.Sum cross / weight) ] |]

let l = banded radius

let scale (c: float[]) =
    Array.map2 (fun l c -> l * l * c / (2.0 * System.Math.PI)) l c

let statistics p =
    let rows = measured |> Array.map (List.item p)
    let mean = Array.init l.Length (fun b -> rows |> Array.averageBy (Array.item b))

    let error =
        Array.init l.Length (fun b -> sqrt ((rows |> Array.averageBy (fun r -> (r[b] - mean[b]) ** 2.0)) / float count))

    mean, error

let deviations =
    [ for p, (i, j) in List.indexed pairs do
          let mean, error = statistics p
          let expected = banded wanted[int64 i, int64 j]
          Array.init l.Length (fun b -> (mean[b] - expected[b]) / error[b]) ]

let curve name style y errors : Curve =
    { Name = name
      X = l
      Y = y
      Errors = errors
      Style = style }

Plot.curves
    { Title = "ℓ"; Logarithmic = true }
    { Title = "ℓ<sup>2</sup> C<sub>ij</sub>/2π"
      Logarithmic = true }
    // all wanted ones first: as many curves as there are colours
    [ for i, j in pairs do
          curve $"wanted, bins {i + 1} and {j + 1}" Solid (scale (banded wanted[int64 i, int64 j])) [||]

      for p, (i, j) in List.indexed pairs do
          let mean, error = statistics p
          curve $"measured, bins {i + 1} and {j + 1}" Points (scale mean) (scale error) ]
|> Plot.withCaption
    $"Auto- and cross-spectra of log-normal convergence at the centre of the prior, {options.ModesName} modes: wanted (halofit in Limber's approximation), and the mean over {count} simulated skies without noise in {bands} bands of ℓ, with standard errors."
|> Export.figure options.Out "fig18-spectra"

Report.fields
    [ "theta", Report.numbers theta
      "modes", Report.value options.ModesName
      "pixels", Report.value survey.Pixels
      "skies", Report.value count
      "ell", Report.numbers l
      "meanSquareDeviation", Report.value (deviations |> Seq.collect id |> Seq.averageBy (fun d -> d * d))
      "largestDeviation", Report.value (deviations |> Seq.collect id |> Seq.map abs |> Seq.max)
      "variance", Report.numbers [| for i in 0L .. 4L -> Tensors.toNumber (maps[i].var()) |]
      "seed", Report.value options.Seed ]
|> Study.results options "fig16"
