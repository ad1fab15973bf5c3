// What somebody outside the repository adds to it, with the packages alone: own features, an own class with weights, an own prior, an
// own method, an own exact answer, and the command line. PackTests runs it, behind the lines that name the packages, in an empty folder.

open System
open System.IO
open FieldImnn
open FieldImnn.Core.Networks
open TorchSharp

let expect what condition =
    if not condition then
        failwith $"outside: {what}"

/// White noise of amplitude σ about a mean μ: F = diag(2n, n)/σ².
let side = 16

let simulator =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ side; side ] [ side; side ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
        parameter 0L * noise + parameter 1L)

// own features: a function of fields, and a class with weights
let moments =
    Features.own "moments" 2 (fun fields ->
        let x = fields.flatten 1L
        torch.stack ([| x.mean [| 1L |]; (x - x.mean ([| 1L |], true)).square().mean [| 1L |] |], 1L))

type Squashed(description, generator: torch.Generator) as this =
    inherit OwnNetwork(description, 3L)
    do this.AddWeight("scale", generator, 1.0, 3L)

    override this.Compute fields =
        (fields.flatten(1L).unsqueeze 2L * this.Weight "scale").tanh().mean [| 1L |]

let squashed = Features.ownNetwork "squashed" (fun d g -> new Squashed(d, g))

// an own prior: σ and μ are not independent
let prior =
    let logDensity (theta: float[]) =
        -0.5 * ((theta[1] - 0.5 * theta[0]) / 0.2) ** 2.0

    let frame = Prior.uniform [ "σ", 0.5, 2.0; "u", 0.0, 1.0 ]

    let draw seed index =
        let u = (Prior.sample seed index 1 frame)[0]

        let z =
            MathNet.Numerics.Distributions.Normal.InvCDF(0.0, 1.0, 1e-9 + (1.0 - 2e-9) * u[1])

        [| u[0]; 0.5 * u[0] + 0.2 * z |]

    Prior.dependent [ "σ", Uniform(0.5, 2.0); "μ", Uniform(-3.0, 4.0) ] logDensity draw

// an own exact answer
let exact =
    let n = float (side * side)

    ExactAnswer.create
        (fun theta ->
            MathNet.Numerics.LinearAlgebra.Matrix<float>.Build.DenseOfDiagonalArray([| 2.0 * n; n |])
            / theta[0] ** 2.0)
        (fun field ->
            let d = field.``to``(torch.float64).flatten().unsqueeze 0L

            fun theta ->
                let parameter i = theta.narrow (1L, i, 1L)
                let z = (d - parameter 1L) / parameter 0L
                -0.5 * (z.square ()).sum(1L) - n * (parameter 0L).log().squeeze 1L)

let model = Model.create simulator prior |> Model.withExact exact

let settings features =
    { ImnnSettings.Default with
        Features = features
        MinIterations = 40
        MaxIterations = 40
        HeldOut = 400
        Fit = 2000
        Quote = 2000 }

let recipe =
    { Recipe.ofSettings (settings (Features.beside [ moments; squashed ])) with
        Fiducial = Some [| 1.0; 0.5 |] }

let compressor = Recipe.train model recipe
let kept = Fisher.retained compressor.Fisher (exact.Fisher [| 1.0; 0.5 |])
expect $"sufficient statistics keep nearly all: {kept}" (kept > 0.9 && kept < 1.1)

// an own method: the exact posterior itself, by its own grid
let own: Method =
    fun model _ fields ->
        [ for field in fields do
              let posterior = ExactAnswer.posterior model.Exact.Value model.Prior field

              { Posterior = posterior
                Simulations = 0
                Failed = 0
                Warnings = [] } ]

let field = Simulator.field simulator [| 1.1; 0.6 |] 3UL
let result = Infer.by "own" own model compressor field
expect "the own method's area is the exact one" (abs (result.Exact.Value.AreaRatio - 1.0) < 1e-9)

let abc =
    Infer.abc
        { AbcSettings.Default with
            Budget = 2000 }
        model
        compressor
        field

let shift = Posterior.shift abc.Exact.Value.Posterior abc.Posterior
expect $"ABC under the own prior: shift {shift}" (shift < 0.5)

// a compressor with own features is saved and read again, but not where another function has the name
let path = Path.Combine(Environment.CurrentDirectory, "own.imnn")
CompressorFile.save path compressor
let again = CompressorFile.load path
expect "the same estimate" (Compressor.estimate again field = Compressor.estimate compressor field)

Features.own "moments" 2 (fun fields -> fields.flatten(1L).narrow(1L, 0L, 2L))
|> ignore

let another =
    try
        CompressorFile.load path |> ignore
        ""
    with error ->
        error.Message

expect $"another function of that name is refused: {another}" (another.Contains "moments")

// all of infer.fsx, with the own method by name
let code =
    CommandLine.runCommand
        { CommandLine.command model (Recipe.ofSettings (settings (Features.filterBank 2 3 1))) with
            Methods = [ "own", own ] }
        [| "--out"; "out"; "--method"; "own"; "--theta"; "1.1,0.6"; "--rounds"; "1" |]

expect "posterior.csv" (File.Exists "out/posterior.csv")
printfn "outside: all well"
