// Figure 1: a power-law Gaussian field at the target, and its exact derivatives by A and B.
// dotnet fsi scripts/fig01-power-law-field.fsx [--out FOLDER] [--modes ideal|published] [--seed N] [--quick]
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let options = StudyOptions.ofScript "artifacts/power-law" fsi.CommandLineArgs
let problem = Study.problem options "power-law"

let field, derivatives =
    Simulator.fieldWithDerivatives problem.Simulator Autodiff problem.Example options.Seed

Plot.fields
    [ "δ(x)", Simulator.values problem.Simulator field
      "∂δ/∂A", Simulator.values problem.Simulator derivatives[0]
      "∂δ/∂B", Simulator.values problem.Simulator derivatives[1] ]
|> Plot.withCaption
    $"A field of P(k) = A k<sup>−B</sup> at (A, B) = ({problem.Example[0]}, {problem.Example[1]}) on 128 × 128 pixels, {options.ModesName} modes, and its exact derivatives by automatic differentiation with the noise held fixed. A scales the field, so its derivative repeats it; B tilts the spectrum, so its derivative weighs each mode by −½ ln k: large scales up, small scales down."
|> Export.figure options.Out "fig01-field"

Report.fields
    [ "target", Report.numbers problem.Example
      "modes", Report.value options.ModesName
      "variance", Report.value (Tensors.toNumber (field.var ()))
      "seed", Report.value options.Seed ]
|> Study.results options "fig01"
