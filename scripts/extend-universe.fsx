// A universe of your own, from its simulator to the posterior of a field; then one whose exact answer nobody knows.
// dotnet fsi scripts/extend-universe.fsx
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots

// 1. The universe: Gaussian fields of 64 × 64 pixels whose power is A k^−B, and white noise of power N. A spectrum is a function of k and of
//    rows of parameters; the simulator made of it is a function of parameters and noise, as any other would be.
let spectrum: Spectrum =
    { Parameters = [| "A"; "B"; "N" |]
      LogPower =
        fun k theta ->
            let a, b, n =
                theta.narrow (1L, 0L, 1L), theta.narrow (1L, 1L, 1L), theta.narrow (1L, 2L, 1L)

            (a * (-b * k.log ()).exp() + n).log() }

let grid = FourierGrid(2, 64, 64.0)
let sky = SpectrumField.create spectrum grid ModeConvention.Ideal
let simulator = SpectrumField.simulator "three-parameters" sky
// 2. What is known beforehand; and, because these fields are Gaussian, the exact likelihood and information.
let prior = Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 1.8; "N", 0.05, 0.8 ]

let known =
    Model.create simulator prior |> Model.withExact (SpectrumLikelihood.exact sky)

// 3. The same sky through a detector that saturates: tensor operations on the fields make another simulator, and derivatives follow.
let saturating =
    { simulator with
        Name = "saturating"
        Field = fun theta noise -> (simulator.Field theta noise).tanh()
        Tangents = None }

let unknown = Model.create saturating prior

// 4. How it is compressed: the default features, trained where the observed field turns out to be.
let progress = ConsoleProgress.create ()

let recipe = Recipe.Default |> Recipe.withProgress progress

for model in [ known; unknown ] do
    let truth = [| 1.2; 0.8; 0.3 |]
    let field = Simulator.field model.Simulator truth 7UL
    let rounds = Infer.refit model recipe (field.unsqueeze 0L)
    let compressor = (List.last rounds).Compressor

    // 5. The posterior by two methods, and a report of each; where there is an exact answer it stands beside them.
    let abc = Infer.abc AbcSettings.Default model compressor field
    let delfi = Infer.delfi DelfiSettings.Default model compressor field
    ConsoleProgress.finish ()
    [ abc; delfi ] |> List.iter (CommandLine.print model)

    let exact = abc.Exact |> Option.map (fun e -> "exact", e.Posterior) |> Option.toList

    Plot.corner (exact @ [ "ABC", abc.Posterior; "DELFI", delfi.Posterior ]) (Some truth)
    |> Export.figure "artifacts/own-universe" model.Simulator.Name
