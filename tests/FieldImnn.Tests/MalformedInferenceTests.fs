/// Malformed input at every entry of posteriors, grids, samplers and diagnostics, each with the error that it must give.
module MalformedInferenceTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private unit = [| 0.0, 1.0; 0.0, 1.0 |]
let private names = [| "a"; "b" |]
let private axis = [| 0.0; 0.5; 1.0 |]
let private ones = Array2D.create 3 3 1.0

let private good =
    let random = Random 1

    Posterior.ofSamples
        names
        unit
        (Array.init 50 (fun _ -> [| random.NextDouble(); random.NextDouble() |]))
        (Array.create 50 1.0)

let private cube =
    Posterior.ofSamples
        [| "a"; "b"; "c" |]
        (Array.create 3 (0.0, 1.0))
        (good.Samples |> Array.map (fun s -> [| s[0]; s[1]; s[0] * s[1] |]))
        good.Weights

let private grid = Posterior.ofGrid names unit axis axis ones

let private samples rows weights () =
    Posterior.ofSamples names unit rows weights |> ignore

let private onGrid x y density () =
    Posterior.ofGrid names unit x y density |> ignore

let private search names bounds n f () =
    GridPosterior.compute n names bounds f |> ignore

let private flat (rows: float[][]) = rows |> Array.map (fun _ -> 0.0)

let private walkers n =
    Array.init n (fun i -> [| float i; float (i * i) |])

let private prior = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]

let private gaussian estimate rows () =
    GaussianApproximation.posterior prior estimate (Matrix<float>.Build.DenseOfRowArrays(rows: float[][]))
    |> ignore

let private trials =
    Array.init 20 (fun i ->
        { Truth = [| float i |]
          Draws = Array.init 19 (fun k -> [| float k |]) })

/// What is done, what must be raised, and a part of what it says.
let private table: (string * (unit -> unit) * Type * string) list =
    let shape, setting = typeof<ShapeException>, typeof<SettingException>
    let range, finite = typeof<RangeException>, typeof<NonFiniteException>
    let singular = typeof<SingularMatrixException>

    [ "samples: none", samples [||] [||], setting, "at least one sample"
      "samples: a weight too few", samples good.Samples[..1] [| 1.0 |], shape, "2 weights"
      "samples: a parameter too few", samples [| [| 0.5 |] |] [| 1.0 |], shape, "sample 0"
      "samples: NaN", samples [| [| 0.5; 0.5 |]; [| nan; 0.5 |] |] [| 1.0; 1.0 |], finite, "a = NaN in sample 1"
      "samples: outside the bounds", samples [| [| 0.5; 1.5 |] |] [| 1.0 |], range, "b = 1.5"
      "samples: a negative weight", samples good.Samples[..1] [| 1.0; -1.0 |], finite, "weights ≥ 0"
      "samples: weights all zero", samples good.Samples[..1] [| 0.0; 0.0 |], finite, "not all of them 0"
      "samples: weights that overflow", samples good.Samples[..1] [| 1e308; 1e308 |], finite, "finite sum"
      "samples: no parameter",
      (fun () -> Posterior.ofSamples [||] [||] [| [||] |] [| 1.0 |] |> ignore),
      shape,
      "at least one parameter"
      "samples: a bound too few",
      (fun () -> Posterior.ofSamples names unit[..0] good.Samples good.Weights |> ignore),
      shape,
      "1 bounds"
      "samples: bounds turned",
      (fun () -> Posterior.ofSamples [| "a" |] [| 1.0, 0.0 |] [| [| 0.5 |] |] [| 1.0 |] |> ignore),
      range,
      "lo < hi of a"
      "samples: bounds of NaN",
      (fun () -> Posterior.ofSamples [| "a" |] [| nan, 1.0 |] [| [| 0.5 |] |] [| 1.0 |] |> ignore),
      range,
      "lo < hi of a"
      "samples: a name twice",
      (fun () -> Posterior.ofSamples [| "a"; "a" |] unit good.Samples good.Weights |> ignore),
      setting,
      "different names"
      "grid: one point", onGrid [| 0.0 |] axis (Array2D.create 1 3 1.0), shape, "two points"
      "grid: an axis that falls", onGrid (Array.rev axis) axis ones, range, "rising"
      "grid: an uneven axis", onGrid [| 0.0; 0.1; 1.0 |] axis ones, range, "equally spaced"
      "grid: a NaN on an axis", onGrid [| 0.0; nan; 1.0 |] axis ones, finite, "axis"
      "grid: another shape", onGrid axis axis (Array2D.create 3 2 1.0), shape, "3 × 2"
      "grid: NaN density", onGrid axis axis (Array2D.create 3 3 nan), finite, "densities ≥ 0"
      "grid: negative density", onGrid axis axis (Array2D.create 3 3 -1.0), finite, "densities ≥ 0"
      "grid: zero everywhere", onGrid axis axis (Array2D.create 3 3 0.0), range, "above zero"
      "grid: three parameters",
      (fun () -> Posterior.ofGrid cube.Names cube.Bounds axis axis ones |> ignore),
      shape,
      "two parameters"
      "line: two parameters", (fun () -> Posterior.ofLine names unit axis axis |> ignore), shape, "one parameter"
      "line: a density too few",
      (fun () -> Posterior.ofLine [| "a" |] [| 0.0, 1.0 |] axis [| 1.0 |] |> ignore),
      shape,
      "3 places"
      "marginal: parameter 2 of 2", (fun () -> Posterior.marginal 2 axis grid |> ignore), range, "2 parameters"
      "marginal: NaN place", (fun () -> Posterior.marginal 0 [| nan |] good |> ignore), finite, "NaN"
      "column: parameter −1", (fun () -> Posterior.column -1 good |> ignore), range, "-1"
      "density: one parameter twice", (fun () -> Posterior.density 0 0 11 good |> ignore), setting, "different"
      "density: one point", (fun () -> Posterior.density 0 1 1 good |> ignore), setting, "≥ 2"
      "resample: −1 draws", (fun () -> Posterior.resample 1 -1 good |> ignore), setting, "≥ 0"
      "shift: other parameters", (fun () -> Posterior.shift good cube |> ignore), shape, "as the reference"
      "level: three parameters",
      (fun () -> Posterior.hpdLevel [| 0.5; 0.5; 0.5 |] cube |> ignore),
      setting,
      "hpdLevelBy"
      "level: a parameter too few", (fun () -> Posterior.hpdLevel [| 0.5 |] good |> ignore), shape, "θ"
      "level: NaN", (fun () -> Posterior.hpdLevel [| nan; 0.5 |] good |> ignore), finite, "θ"
      "level: NaN density",
      (fun () -> Posterior.hpdLevelBy (Array.map (fun _ -> nan)) [| 0.5; 0.5 |] good |> ignore),
      finite,
      "log density"
      "level: densities too few",
      (fun () -> Posterior.hpdLevelBy (fun _ -> [| 0.0 |]) [| 0.5; 0.5 |] good |> ignore),
      shape,
      "51 values"
      "contour: probability 1.5",
      (fun () -> DensityGrid.contourLevels [| 1.5 |] grid.Grid.Value |> ignore),
      range,
      "0 to 1"
      "area: probability NaN", (fun () -> DensityGrid.hpdArea nan grid.Grid.Value |> ignore), range, "0 to 1"
      "search: three parameters", search cube.Names cube.Bounds 11 flat, setting, "one or two"
      "search: bounds turned", search names [| 0.0, 1.0; 1.0, 0.0 |] 11 flat, range, "lo < hi of b"
      "search: three points", search names unit 3 flat, setting, "≥ 5"
      "search: NaN", search names unit 11 (Array.map (fun _ -> nan)), finite, "NaN at θ = (0, 0)"
      "search: +∞", search names unit 11 (Array.map (fun _ -> infinity)), finite, "log density"
      "search: nothing", search names unit 11 (Array.map (fun _ -> -infinity)), range, "zero everywhere"
      "search: values too few", search names unit 11 (fun _ -> [| 0.0 |]), shape, "one for each θ"
      "search: 1e17", search names unit 11 (Array.map (fun t -> 1e17 - t[0])), range, "subtract a constant"
      "Gaussian: NaN estimate", gaussian [| nan; 0.5 |] [| [| 1.0; 0.0 |]; [| 0.0; 1.0 |] |], finite, "estimate"
      "Gaussian: a parameter too few", gaussian [| 0.5 |] [| [| 1.0 |] |], shape, "2 parameters"
      "Gaussian: another matrix", gaussian [| 0.5; 0.5 |] [| [| 1.0 |] |], shape, "2 × 2"
      "Gaussian: negative information",
      gaussian [| 0.5; 0.5 |] [| [| 1.0; 0.0 |]; [| 0.0; -1.0 |] |],
      range,
      "information ≥ 0 on b"
      "walkers: three", (fun () -> EnsembleSampler.run 1 1 1 flat (walkers 3) |> ignore), setting, "even"
      "walkers: no step", (fun () -> EnsembleSampler.run 1 1 0 flat (walkers 4) |> ignore), setting, "≥ 1"
      "walkers: values too few",
      (fun () -> EnsembleSampler.run 1 1 1 (fun _ -> [| 0.0 |]) (walkers 4) |> ignore),
      shape,
      "4 values"
      "walkers: no candidate of density",
      (fun () -> EnsembleSampler.start 1 4 (Array.create 9 -infinity) (walkers 9) |> ignore),
      range,
      "zero everywhere"
      "autocorrelation: nothing", (fun () -> EnsembleSampler.autocorrelationTime [||] |> ignore), shape, "one step"
      "R̂: chains of two lengths",
      (fun () -> ChainDiagnostics.rHat [| Array.create 8 0.0; Array.create 9 0.0 |] |> ignore),
      shape,
      "8, 9"
      "HMC: NaN start",
      (fun () ->
          HamiltonianMonteCarlo.run
              { HmcSettings.Default with Chains = 1 }
              (fun t -> t.sum 1L)
              id
              (Tensors.ofRows [| [| nan |] |])
          |> ignore),
      finite,
      "starting points"
      "C2ST: 99 samples",
      (fun () ->
          C2st.compare 1UL (Array.create 99 [| 0.0 |]) (Array.create 99 [| 0.0 |])
          |> ignore),
      setting,
      "100"
      "C2ST: no parameter",
      (fun () -> C2st.compare 1UL (Array.create 100 [||]) (Array.create 100 [||]) |> ignore),
      shape,
      "at least one parameter"
      "ranks: 19 trials", (fun () -> Calibration.ranks trials[..18] |> ignore), setting, "≥ 20"
      "ranks: draws of other parameters",
      (fun () ->
          Calibration.ranks (
              Array.append
                  trials
                  [| { Truth = [| 1.0 |]
                       Draws = Array.create 19 [| 1.0; 2.0 |] } |]
          )
          |> ignore),
      shape,
      "trial 20"
      "verdict: NaN", (fun () -> Calibration.verdictOfRanks [| nan |] |> ignore), range, "0 to 1"
      "verdict: nothing", (fun () -> Coverage.verdict [||] |> ignore), setting, "at least one"
      "curve: a level of 2", (fun () -> Calibration.curve [| 0.5 |] [| 2.0 |] |> ignore), range, "0 to 1"
      "band: a probability of 2", (fun () -> Calibration.band 2.0 10 0.5 |> ignore), range, "band"
      "corner: a fixed parameter",
      (fun () ->
          Plot.corner
              [ "x",
                { good with
                    Samples = good.Samples |> Array.map (fun s -> [| s[0]; 0.5 |]) } ]
              None
          |> ignore),
      singular,
      "b"
      "corner: names in another order",
      (fun () ->
          Plot.corner [ "x", good; "y", { good with Names = [| "b"; "a" |] } ] None
          |> ignore),
      setting,
      "one order"
      "corner: a label twice",
      (fun () -> Plot.corner [ "x", good; "x", good ] None |> ignore),
      setting,
      "name of its own" ]

let tests =
    testList
        "malformed inference"
        [ for name, action, expected, words in table do
              testCase name (fun () ->
                  use _ = torch.NewDisposeScope()

                  let raised =
                      try
                          action ()
                          None
                      with error ->
                          Some error

                  match raised with
                  | None -> failtest "nothing was refused"
                  | Some error ->
                      Expect.equal (error.GetType()) expected $"{error.Message}"
                      Expect.stringContains error.Message words "message") ]
