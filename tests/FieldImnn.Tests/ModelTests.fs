/// Models of one's own: no exact answer, another prior, another method, any number of parameters; and the command line for them.
module ModelTests

open System.IO
open System.Text.Json
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open KnownPosterior
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// A Gaussian of correlation 0.9 and unit widths, between −5 and 5.
let private correlated =
    let covariance =
        Matrix<float>.Build.DenseOfRowArrays([| [| 1.0; 0.9 |]; [| 0.9; 1.0 |] |])

    let precision = covariance.Inverse()
    let factor = covariance.Cholesky().Factor

    let logDensity (theta: float[]) =
        let t = Vector<float>.Build.DenseOfArray theta
        -0.5 * t.DotProduct(precision * t)

    let draw seed (index: int64) =
        let normals =
            Prior.create [ "u", Marginal.Normal(0.0, 1.0); "v", Marginal.Normal(0.0, 1.0) ]

        let u = Vector<float>.Build.DenseOfArray((Prior.sample seed index 1 normals)[0])
        (factor * u).ToArray()

    let prior =
        Prior.dependent [ "a", Uniform(-5.0, 5.0); "b", Uniform(-5.0, 5.0) ] logDensity draw

    prior, precision

let private compression (known: Known) : Compression =
    { Parameters = known.Prior.Names
      Fiducial = [| 0.0; 0.0 |]
      Information = known.Fisher
      Estimates = Tensors.toRows
      Unlike = None
      Further = None
      Edges = [] }

/// The posterior of an observation x under x = θ + N(0, F⁻¹) and the correlated prior: N(S F x, S), S = (F + Λ)⁻¹.
let private conjugate (known: Known) (x: float[]) =
    let covariance = (known.Fisher + snd correlated).Inverse()
    let mean = covariance * known.Fisher * Vector<float>.Build.DenseOfArray x
    mean, covariance

let private dependentPriors =
    let x = [| 0.9; -0.6 |]
    let field () = Tensors.ofVector x

    let judge (posterior: Posterior) =
        let mean, covariance = conjugate wide x

        let shift =
            Posterior.mean posterior
            |> Array.mapi (fun i m -> abs (m - mean[i]) / sqrt covariance[i, i])
            |> Array.max

        shift, Posterior.area posterior / sqrt (covariance.Determinant())

    let inferred prior (method: Method) =
        let model = Model.create wide.Simulator prior
        (method model (compression wide) [ field () ]).Head.Posterior |> judge

    [ "the Gaussian approximation", Method.gaussian, 0.05
      "abc", Method.abc AbcSettings.Default, 0.25
      "pmc", Method.pmc PmcSettings.Default, 0.3
      "delfi", Method.delfi KnownPosterior.delfi, 0.25
      "npe",
      Method.npe
          { NpeSettings.Default with
              Budget = 1000
              Estimator = KnownPosterior.delfi.Estimator },
      0.2 ]
    |> List.map (fun (name, method, tolerance) ->
        tensorTest $"a prior of dependent parameters is what {name} multiplies the likelihood with" (fun () ->
            inferred (fst correlated) method |> expectExact name tolerance
            // planted: the frame for the prior
            let shift, _ = inferred wide.Prior method
            Expect.isGreaterThan shift 0.5 "planted: independent parameters"))

/// Gaussian fields of power A k^−B + N on n × n pixels.
let private threeParameters n =
    let spectrum: Spectrum =
        { Parameters = [| "A"; "B"; "N" |]
          LogPower =
            fun k ->
                let lnK = k.log () |> Tensors.keep

                fun theta ->
                    let parameter i = theta.narrow (1L, i, 1L)
                    (parameter 0L * (-(parameter 1L) * lnK).exp() + parameter 2L).log() }

    SpectrumField.create spectrum (FourierGrid(2, n, float n)) ModeConvention.Ideal
    |> SpectrumField.simulator "three-parameters"

let private prior = Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 1.8; "N", 0.05, 0.8 ]

let private commandLine =
    testCase "CommandLine.infer does all of infer.fsx for three parameters and no exact answer" (fun () ->
        inFolder (fun folder ->
            let model = Model.create (threeParameters 32) prior

            let recipe =
                Recipe.ofSettings
                    { ImnnSettings.Default with
                        Features = Features.filterBank 4 3 1 }

            let out = Path.Combine(folder, "out")

            let infer arguments =
                CommandLine.infer model recipe (Array.ofList ("own.fsx" :: arguments))

            Expect.equal (infer [ "--out"; out; "--quick"; "--theta"; "1.0,0.8,0.3" ]) 0 "exit code"

            let json =
                JsonDocument.Parse(File.ReadAllText(Path.Combine(out, "summary.json"))).RootElement

            let has (name: string) = fst (json.TryGetProperty name)

            for name in
                [ "problem"
                  "method"
                  "estimate"
                  "mean"
                  "sd"
                  "correlation"
                  "area"
                  "warnings"
                  "seed" ] do
                Expect.isTrue (has name) name

            for name in [ "exact"; "areaRatio"; "fisherRetained"; "fisherRetainedPerParameter" ] do
                Expect.isFalse (has name) $"{name} without an exact answer"

            for file in [ "posterior.csv"; "corner.html"; "compressor.imnn" ] do
                Expect.isTrue (File.Exists(Path.Combine(out, file))) file

            Expect.equal (infer [ "--out"; out; "--theta"; "1.0,9.0,0.5" ]) 2 "outside the prior"
            Expect.equal (infer [ "--out"; out; "--method"; "magic" ]) 2 "no such method"))

/// What inference of a field of mean m(θ) at θ = 2 says, from features trained there that hold this mean.
let private warned mean =
    let simulator =
        Simulator.create "mean" [ "θ" ] [ 8; 8 ] [ 8; 8 ] (fun theta noise ->
            mean (theta.unsqueeze -1L) + noise * 0.3.ToScalar())

    let level (x: Tensor) =
        x.flatten(1L).mean([| 1L |], keepdim = true)

    let settings =
        { ImnnSettings.Default with
            Features = Features.own "test level" 1 level
            Fit = 1000
            Quote = 1000 }

    let model = Model.create simulator (Prior.uniform [ "θ", -1.0, 3.0 ])
    let compressor = Imnn.train settings simulator [| 2.0 |]
    let observed = Simulator.field simulator [| 2.0 |] 5UL

    (Infer.abc
        { AbcSettings.Default with
            Budget = 500 }
        model
        compressor
        observed)
        .Warnings

let private ambiguous =
    [ tensorTest "a posterior much wider than the compressor's error says so, and only such a one" (fun () ->
          // (θ − 1)² is 1 at θ = 0, too: two peaks of sd 0.019, which are two apart, have an sd of 1, and their mean is far from both
          match warned (fun theta -> (theta - 1.0.ToScalar()).square()) with
          | [ FarFromFiducial _; WiderThanErrors [ "θ", times ] ] ->
              Expect.floatClose { absolute = 0.0; relative = 0.1 } times (1.0 / 0.01875) "times"
          | other -> failtest $"{other}"

          Expect.isEmpty (warned id) "θ itself: one peak") ]

/// Pixels of mean μ(θ), the same at θ = 1 and 5, and of an sd that is 1 up to θ = 3 and grows beyond: at the fiducial only the mean tells θ, the
/// variance says that the field is none of θ = 5.
let private twice =
    Simulator.create "mean and spread" [ "θ" ] [ 10; 10 ] [ 10; 10 ] (fun theta noise ->
        let at = theta.unsqueeze -1L
        let beyond = (at - 3.0.ToScalar()).clamp_min(0.0.ToScalar())

        at * (6.0.ToScalar() - at) * (1.0 / 9.0).ToScalar()
        + noise * (1.0.ToScalar() + beyond.square ()))

/// The mass of a posterior above θ = 3, of a field at θ = 1 with stripes of a height, and what is warned of.
let private aboveBy features (stripes: float) (change: Compressor -> Compressor) method =
    let settings =
        { ImnnSettings.Default with
            Features = features
            Fit = 2000
            Quote = 1000 }

    let compressor = Imnn.train settings twice [| 1.0 |]
    // of every other row more and of the rest less, so that the estimate hardly moves
    let observed =
        Simulator.field twice [| 1.0 |] 5UL
        + torch.tensor(Array.init 10 (fun i -> if i % 2 = 0 then stripes else -stripes)).unsqueeze 1L

    let model = Model.create twice (Prior.uniform [ "θ", 0.0, 8.0 ])
    let found = Infer.by "" method model (change compressor) observed

    Array.map2 (fun (t: float[]) w -> if t[0] > 3.0 then w else 0.0) found.Posterior.Samples found.Posterior.Weights
    |> Array.sum,
    found.Warnings |> List.map _.Kind

/// Means of every row, which cannot tell fields of θ = 5 from those of 1, and mean squares, which can.
let private means, private moments =
    Features.own "rows: means" 10 (fun x -> x.mean [| 2L |]),
    Features.own "rows: means and squares" 20 (fun x -> torch.cat ([| x.mean [| 2L |]; x.square().mean [| 2L |] |], 1L))

let private above stripes change method = aboveBy moments stripes change method

let private both =
    [ "abc",
      Method.abc
          { AbcSettings.Default with
              Budget = 2000 }
      "pmc", Method.pmc PmcSettings.Default ]

let private keptApart =
    both
    |> List.map (fun (name, method) ->
        tensorTest $"{name} finds no second peak where the estimate is the same and the field is not" (fun () ->
            let mass, warnings = above 0.0 id method
            Expect.isLessThan mass 0.02 "kept apart"
            Expect.isFalse (List.contains "unlike-fiducial" warnings) "it is like the fiducial's"
            let mass, _ = above 0.0 (fun c -> { c with Typical = None }) method
            Expect.isGreaterThan mass 0.2 "planted: estimates alone"))

let private byLooks =
    tensorTest "abc finds no second peak where features cannot tell the fields, and anybody would" (fun () ->
        let method = snd both.Head
        let mass, _ = aboveBy means 0.0 id method
        Expect.isLessThan mass 0.1 "kept apart"
        let mass, _ = aboveBy means 0.0 (fun c -> { c with Plain = None }) method
        Expect.isGreaterThan mass 0.2 "planted: features alone")

let private unlike =
    tensorTest "a field that is nothing like the fiducial's, though its estimate is there, is warned of" (fun () ->
        let method = Method.gaussian
        let _, warnings = above 1.2 id method
        Expect.contains warnings "unlike-fiducial" "stripes higher than the noise"
        let _, warnings = above 0.3 id method
        Expect.isFalse (List.contains "unlike-fiducial" warnings) "not of such as there may be"

        let _, warnings =
            above 1.2 (fun c -> { c with Typical = None; Plain = None }) method

        Expect.isFalse (List.contains "unlike-fiducial" warnings) "planted: nothing known of what is typical")

let tests =
    testList
        "models"
        [ yield! dependentPriors
          yield! ambiguous
          yield! keptApart
          byLooks
          unlike

          test "a prior whose draws and density disagree is refused, as is a density that is NaN" {
              let frame = [ "a", Uniform(0.0, 1.0) ]
              let nowhere = Prior.dependent frame (fun _ -> -infinity) (fun _ _ -> [| 0.5 |])
              refuses<RangeException> [ "draw 0"; "density" ] (fun () -> Prior.sample 1 0L 1 nowhere |> ignore)
              let broken = Prior.dependent frame (fun _ -> nan) (fun _ _ -> [| 0.5 |])

              refuses<NonFiniteException> [ "log density of the prior" ] (fun () ->
                  Prior.sample 1 0L 1 broken |> ignore)

              let long = Prior.dependent frame (fun _ -> 0.0) (fun _ _ -> [| 0.5; 0.5 |])
              refuses<ShapeException> [ "1 (a)"; "2" ] (fun () -> Prior.sample 1 0L 1 long |> ignore)
          }

          test "draws of a dependent prior are the same in any batch, cut or not" {
              let prior = fst correlated
              let cut = Prior.within [| -0.5, 5.0; -5.0, 5.0 |] prior

              for p in [ prior; cut ] do
                  let whole = Prior.sample 3 0L 50 p
                  Expect.equal (Array.append (Prior.sample 3 0L 7 p) (Prior.sample 3 7L 43 p)) whole "in two parts"

              Expect.isTrue (Prior.sample 3 0L 50 cut |> Array.forall (fun t -> t[0] >= -0.5)) "within the bounds"
          }

          test "the errors of a Fisher matrix do not depend on units; what it cannot tell has none" {
              let fisher =
                  Matrix<float>
                      .Build.DenseOfRowArrays([| [| 4.0; 1.0; 0.5 |]; [| 1.0; 2.0; -0.3 |]; [| 0.5; -0.3; 1.0 |] |])

              let expected = fisher.Inverse().Diagonal().PointwiseSqrt().ToArray()
              close 1e-12 (Matrices.errors fisher) expected "of one size"
              let units = [| 1e-9; 1.0; 1e12 |]
              let scaled = fisher.MapIndexed(fun i j v -> v / (units[i] * units[j]))
              close 1e-12 (Array.map2 (/) (Matrices.errors scaled) units) expected "in other units"

              let together =
                  Matrix<float>
                      .Build.DenseOfRowArrays([| [| 4.0; 2.0; 0.0 |]; [| 2.0; 1.0; 0.0 |]; [| 0.0; 0.0; 4.0 |] |])

              Expect.equal (Matrices.errors together) [| infinity; infinity; 0.5 |] "two of one effect"
              let nothing = Matrix<float>.Build.DenseOfDiagonalArray [| 4.0; 0.0 |]
              Expect.equal (Matrices.errors nothing) [| 0.5; infinity |] "nothing of the second"
          }

          tensorTest "an own method stands beside those of the house" (fun () ->
              let own: Method =
                  fun model compression fields ->
                      [ for field in fields do
                            let x = Compression.ofField compression field

                            { Posterior =
                                Posterior.ofSamples
                                    model.Prior.Names
                                    (Prior.bounds model.Prior)
                                    [| x; x |]
                                    [| 1.0; 1.0 |]
                              Simulations = 3
                              Failed = 0
                              Warnings = [] } ]

              let model = Model.create wide.Simulator wide.Prior
              let found = own model (compression wide) [ Tensors.ofVector observed ]
              Expect.equal (Posterior.mean found.Head.Posterior) observed "its posterior")

          test "a prior that names other parameters is refused where the model is made" {
              refuses<SettingException> [ "A, B, N"; "B, A, N" ] (fun () ->
                  Prior.uniform [ "B", 0.2, 1.8; "A", 0.2, 3.0; "N", 0.05, 0.8 ]
                  |> Model.create (threeParameters 8)
                  |> ignore)
          }

          test "a recipe begins at the prior's median, and hands its seed to the training" {
              let model = Model.create (threeParameters 8) prior
              close 1e-12 (Recipe.fiducial model Recipe.Default) [| 1.6; 1.0; 0.425 |] "median"
              let recipe = Recipe.Default |> Recipe.withSeed 7UL |> Recipe.quick
              Expect.equal (recipe.Training [| 1.0; 1.0; 0.5 |]).Seed 7UL "seed"
              Expect.isLessThan recipe.Rounds 6 "quick"

              let dear =
                  { ImnnSettings.Default with
                      HeldOut = 100
                      Fit = 300
                      Quote = 200
                      MeasureDerivatives = 50
                      MinIterations = 5
                      MaxIterations = 10 }

              let quicker = (Recipe.ofSettings dear |> Recipe.quick).Training [| 1.0; 1.0; 0.5 |]

              Expect.equal
                  [ quicker.HeldOut; quicker.Fit; quicker.Quote ]
                  [ 100; 300; 200 ]
                  "no more than were asked for"

              Expect.equal quicker.MeasureDerivatives 50 "of derivatives, too"

              refuses<RangeException> [ "A" ] (fun () ->
                  { Recipe.Default with
                      Fiducial = Some [| 5.0; 1.0; 0.5 |] }
                  |> Recipe.fiducial model
                  |> ignore)
          }

          commandLine ]
