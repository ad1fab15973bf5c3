// Hybrid summaries: moments and peak counts of one's own, the power spectrum, a network and the default statistics, each by itself and all
// beside each other, on a skewed field with heavy tails (four parameters, exact information known).
// dotnet fsi scripts/universes/hybrid.fsx [--out FOLDER] [--quick]
#load "../load.fsx"

open FieldImnn
open TorchSharp

let options = StudyOptions.ofScript "artifacts/universe-hybrid" fsi.CommandLineArgs

let sky =
    PowerLaw.model 32 (Catalogue.modes "ideal")
    |> TransformedField.create LocalTransform.sinhArcsinh

let exact = TransformedFieldLikelihood.exact sky
let simulator = TransformedField.simulator "sinh-arcsinh" sky

let prior =
    Prior.uniform [ "A", 0.5, 5.0; "B", 0.3, 1.7; "ε", -0.3, 0.9; "τ", 0.4, 1.3 ]

let model = Model.create simulator prior |> Model.withExact exact
let fiducial, truth = [| 2.0; 1.0; 0.3; 0.8 |], [| 2.3; 1.1; 0.25; 0.85 |]

// 1. Any function of fields (n, N, N) → (n, k) makes features: moments of arsinh d, and soft counts of peaks over six thresholds.
let mean (x: Tensor) = x.mean [| -2L; -1L |]

let moments (d: Tensor) =
    let u = d.arcsinh ()
    torch.stack ([| mean u; mean (u * u); mean (u * u * u); mean (u * u * u * u) |], 1L)

let peaks (d: Tensor) =
    let beside = torch.nn.functional.max_pool2d (d.unsqueeze 1L, 3L, 1L, 1L)
    let highest = (d.ge (beside.squeeze 1L)).``to`` d.dtype
    torch.stack ([| for t in [ -1.0; 0.0; 1.0; 2.0; 3.0; 5.0 ] -> mean (highest * ((d - t) * 4.0).sigmoid()) |], 1L)

let parts =
    [ "moments", Features.own "moments" 4 moments
      "peaks", Features.own "peaks" 6 peaks
      "power", Features.bandPower 12
      "network", Features.filterBank 8 5 2
      "default", Features.localStatistics ]

// 2. Each by itself, and all beside each other, in training as in inference.
let train name features =
    let recipe = Recipe.Default |> Recipe.map (fun s -> { s with Features = features })

    let compressor =
        Recipe.trainAt fiducial model (if options.Quick then Recipe.quick recipe else recipe)

    let kept = Fisher.retained compressor.Fisher (exact.Fisher fiducial)
    printfn $"{name}: {100.0 * kept:G3} %% of det F, {kept ** 0.25:P1} a parameter"
    compressor

for name, features in parts do
    train name features |> ignore

let best = train "all" (Features.beside (List.map snd parts))

// 3. The posterior of one field from all of them. Moments of heavy tails leave summaries that lie far from their like, for which ABC is the
// sturdiest method.
let observed = Simulator.field simulator truth 7UL
Infer.abc AbcSettings.Default model best observed |> CommandLine.print model
