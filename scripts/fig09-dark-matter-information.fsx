// Figure 9: does the power spectrum hold all of the information? det F of the measured P(k) of δ, of that of ln(1 + δ), of a trained filter
// bank and of the default features, over the exact det F, against the size of the field.
// dotnet fsi scripts/fig09-dark-matter-information.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/dark-matter" fsi.CommandLineArgs

let sizes = if options.Quick then [ 16; 32 ] else [ 16; 32; 64; 128 ]

let progress = Study.progress options

/// A compressor of a network kind at the target on N × N pixels, and the part of the exact det F that it keeps.
let kept kind n =
    let problem = DarkMatter.create n options.Modes

    let compressor =
        Study.trained
            { ImnnSettings.Default with
                Features = kind n }
            problem.Example
            options
            (Progress.labelled $"N = {n}" progress)
            problem

    Fisher.retained compressor.Fisher (problem.Exact.Fisher problem.Example)

let summaries: (string * (int -> Features)) list =
    [ "P(k) of δ", (fun n -> Features.bandPower (n / 2))
      "P(k) of ln(1 + δ)", (fun n -> Features.ofLogarithm (Features.bandPower (n / 2)))
      "filter bank of ln(1 + δ)", (fun n -> (DarkMatter.training n).Features)
      "default, told nothing", (fun _ -> Features.localStatistics) ]

let measured =
    [ for name, kind in summaries -> name, sizes |> List.map (kept kind) ]

ConsoleProgress.finish ()

let curve (name, values: float list) : Curve =
    { Name = name
      X = sizes |> List.map float |> Array.ofList
      Y = Array.ofList values
      Errors = [||]
      Style = Marked }

let exact: Curve =
    { Name = "exact"
      X = [| float sizes.Head; float (List.last sizes) |]
      Y = [| 1.0; 1.0 |]
      Errors = [||]
      Style = Dashed }

let last name =
    measured |> List.find (fst >> (=) name) |> snd |> List.last

Plot.curves
    { Title = "pixels a side N"
      Logarithmic = true }
    { Title = "det <b>F</b> / det <b>F</b><sub>exact</sub>"
      Logarithmic = true }
    (List.map curve measured @ [ exact ])
|> Plot.withCaption
    $"How much of the exact information of a log-normal dark-matter field at Planck's parameters ({options.ModesName} modes) each summary keeps, on fields of N × N pixels of {DarkMatter.boxLength / 128.0:F2} Mpc/h, measured on fresh simulations. At N = {List.last sizes} the power spectrum of the contrast δ, with its covariance, keeps {last (fst summaries[0]):P1}: a log-normal field is not Gaussian. The spectrum of ln(1 + δ), which is, keeps {last (fst summaries[1]):P1} in bands of finite width, a trained filter bank of it {last (fst summaries[2]):P1}, and the default features, which are told neither of logarithms nor of spectra, {last (fst summaries[3]):P1}."
|> Export.figure options.Out "fig09-information"

Report.fields
    [ "pixels", Report.numbers (sizes |> List.map float)
      for name, values in measured do
          name, Report.numbers values ]
|> Study.results options "fig09"

for name, values in measured do
    let shown = values |> List.map (sprintf "%.3f") |> String.concat "  "
    printfn $"{name}: {shown}"
