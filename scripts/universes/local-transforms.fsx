// Gaussian fields behind monotone local transforms of unknown shape, of four parameters: a yardstick for features that are told nothing
// of the field. The exact information has a closed form, whatever the transform.
// dotnet fsi scripts/universes/local-transforms.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots

let options =
    StudyOptions.ofScript "artifacts/universe-transforms" fsi.CommandLineArgs

let n = if options.Quick then 32 else 64

let gaussian = PowerLaw.model n ModeConvention.Ideal

// 1. A transform by its function alone: the library solves for its inverse.
let heavyTails =
    LocalTransform.ofForward [ "h"; "c" ] (fun t g -> g * (t[0] * g.square () * 0.5).exp() + t[1])

// 2. Two of the library's, with the parameters A and B of the power law before their own.
let universes =
    [ "sinh-arcsinh", LocalTransform.sinhArcsinh, [| 2.0; 1.0; 0.3; 0.8 |]
      "two-slopes", LocalTransform.twoSlopes, [| 1.0; 1.0; 0.4; 0.7 |]
      "heavy-tails", heavyTails, [| 1.0; 1.0; 0.15; 0.5 |] ]

for name, transform, truth in universes do
    let sky = TransformedField.create transform gaussian
    let simulator = TransformedField.simulator name sky
    let exact = TransformedFieldLikelihood.exact sky
    let errors = (exact.Fisher truth).Inverse().Diagonal().PointwiseSqrt().ToArray()
    printfn $"{name}: exact errors %A{Array.zip sky.Parameters errors}"

    let bounds =
        Array.map3 (fun name t e -> name, 0.1 * t, t + 8.0 * e) sky.Parameters truth errors

    let prior = Prior.uniform (List.ofArray bounds)

    let model = Model.create simulator prior |> Model.withExact exact

    // 3. What two kinds of features keep of it, neither of which is told of the transform.
    for features in [ Features.filterBank 8 7 3; Features.localStatistics ] do
        let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })

        let compressor =
            Recipe.trainAt truth model (if options.Quick then Recipe.quick recipe else recipe)

        let kept = Fisher.retained compressor.Fisher (exact.Fisher truth)
        printfn $"  {features.Kind}: {100.0 * kept:G3} %% of det F, {kept ** 0.25:P1} a parameter"

    // 4. The exact posterior of one sky.
    let observed = Simulator.field simulator truth 7UL
    let exactly = ExactAnswer.posterior exact prior observed

    Plot.field name (Simulator.values simulator observed)
    |> Export.figure options.Out $"{name}-field"

    Plot.corner [ ("exact", exactly) ] (Some truth)
    |> Export.figure options.Out $"{name}-exact"
