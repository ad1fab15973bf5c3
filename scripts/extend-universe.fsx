// A universe of your own, from its simulator to the posterior of an observed field; first one whose exact answer is known, then one
// where nobody knows it. Options (all optional): --out FOLDER, --quick.
// dotnet fsi scripts/extend-universe.fsx
#load "load.fsx"

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Plots

let options = StudyOptions.read "artifacts/own-universe" fsi.CommandLineArgs[1..]
let progress = ConsoleProgress.create ()

// 1. The universe: Gaussian fields of 64 × 64 pixels whose power is A k^−B and white noise of power N. A spectrum is a function of k
//    and θ (rows of parameters) to ln P; a simulator is a function of θ and noise to fields, here made from the spectrum.
let spectrum: Spectrum =
    { Parameters = [| "A"; "B"; "N" |]
      LogPower =
        fun k theta ->
            let parameter i = theta.narrow (1L, i, 1L)
            (parameter 0L * (-parameter 1L * k.log ()).exp() + parameter 2L).log() }

let fieldModel =
    SpectrumField.create spectrum (FourierGrid(2, 64, 64.0)) ModeConvention.Ideal

let simulator = SpectrumField.simulator "three-parameters" fieldModel

// 2. What is known beforehand, and, because these fields are Gaussian, the exact likelihood and information.
let prior = Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 1.8; "N", 0.05, 0.8 ]

let exact =
    ExactAnswer.create (SpectrumLikelihood.fisher fieldModel) (SpectrumLikelihood.logLikelihood fieldModel)

let known = Model.create simulator prior |> Model.withExact exact

// 3. The same sky through a detector that saturates: any tensor operations make a simulator of a simulator, and derivatives follow.
let saturating =
    { simulator with
        Name = "saturating"
        Field = fun theta noise -> (simulator.Field theta noise).tanh()
        Tangents = None }

let unknown = Model.create saturating prior

// 4. An observed field, a compressor trained where the field is, and the posterior by two methods.
let recipe =
    (if options.Quick then
         Recipe.quick Recipe.Default
     else
         Recipe.Default)
    |> Recipe.withProgress progress

let study name (model: Model) =
    let truth = [| 1.2; 0.8; 0.3 |]
    let field = Simulator.field model.Simulator truth 7UL

    let compressor =
        (Infer.refit model recipe (field.unsqueeze 0L) |> List.last).Compressor

    let abc = Infer.abc AbcSettings.Default model compressor field
    let delfi = Infer.delfi DelfiSettings.Default model compressor field
    ConsoleProgress.finish ()

    // 5. What came out: moments and warnings, the corner, and what the compression keeps, where the exact answer tells.
    for result in [ abc; delfi ] do
        CommandLine.print model result

        Report.summary [ "problem", name ] prior.Names compressor.Seconds 1UL result
        |> Study.results options $"{name}-{result.Method}"

    Plot.corner
        [ yield! abc.Exact |> Option.map (fun exact -> "exact", exact.Posterior) |> Option.toList
          "ABC", abc.Posterior
          "DELFI", delfi.Posterior ]
        (Some truth)
    |> Plot.withCaption $"{name}: posterior of one field of 64 × 64 pixels, by ABC and by DELFI; the truth is dashed."
    |> Export.figure options.Out name

study "three-parameters" known
study "saturating" unknown
