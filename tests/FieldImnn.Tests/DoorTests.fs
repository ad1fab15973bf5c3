/// What a simulator must do before simulations are spent on it; the right ones pass, each fault is called by its name.
module DoorTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let n = 8

/// White noise of 8 × 8 pixels, d = s z + m: F = diag(2 N/s², N/s²).
let simulatorOf names field =
    Simulator.create "white" names [ n; n ] [ n; n ] field

/// Column a of θ, beside fields.
let column a (theta: Tensor) = theta.narrow(1L, a, 1L).unsqueeze -1L

/// d = s z + m.
let good =
    simulatorOf [ "s"; "m" ] (fun theta noise -> column 0L theta * noise + column 1L theta)

let fiducial = [| 1.0; 0.5 |]

let prior = Prior.uniform [ "s", 0.5, 1.5; "m", -1.0, 1.0 ]

/// A training of a second.
let short =
    { ImnnSettings.Default with
        Features = Features.filterBank 3 3 1
        Simulations = 60
        DerivativeSimulations = 60
        HeldOut = 100
        Fit = 200
        Quote = 200
        MinIterations = 4
        MaxIterations = 4
        EvaluateEvery = 2 }

let private train settings simulator fiducial () =
    use _ = torch.NewDisposeScope()
    Imnn.train settings simulator fiducial |> ignore

let private withSteps steps =
    { short with
        Derivatives = FiniteDifference steps }

let private refusesTraining words simulator =
    refuses<SimulatorException> words (train short simulator fiducial)

let private passes =
    [ testCase "right simulators pass, at training and at inference: white noise, and the paper's three" (fun () ->
          let problems =
              [ PowerLaw.create 16 ModeConvention.Ideal
                PowerLaw.create 16 ModeConvention.Published
                DarkMatter.create 16 ModeConvention.Ideal
                CorrelatedLogNormal.create 12 ]

          for p in problems do
              Door.training p.Simulator Autodiff p.Fiducial 1UL
              Door.training { p.Simulator with Tangents = None } Autodiff p.Fiducial 2UL

              for seed in 1UL .. 4UL do
                  Door.inference p.Simulator p.Prior seed

          for seed in 1UL .. 20UL do
              Door.training good Autodiff fiducial seed
              Door.training good (FiniteDifference [| 1e-3; 1e-3 |]) fiducial seed
              Door.inference good prior seed)

      testCase
          "a step that single precision does not hold passes where double does, with the same derivatives"
          (fun () ->
              let p = PowerLaw.create 16 ModeConvention.Ideal
              let keys = NoiseKey.Range(3UL, 0UL, 4)

              let derivative kind =
                  Tensors.using (fun () ->
                      let struct (_, t) =
                          Simulator.withDerivatives p.Simulator kind (Tensors.ofVector p.Fiducial) keys

                      Tensors.toArray t)

              let exact = derivative Autodiff

              for h in [ 1e-3; 1e-5; 1e-7 ] do
                  Door.training p.Simulator (FiniteDifference [| h; h |]) p.Fiducial 1UL
                  close 1e-4 (derivative (FiniteDifference [| h; h |])) exact $"step {h}") ]

let private mistakes =
    [ testCase "θ[0, 0], shared noise and noise of its own are told apart from each other" (fun () ->
          let first = simulatorOf [ "s"; "m" ] (fun t z -> t[0L, 0L] * z + t[0L, 1L])
          refuses<SimulatorException> [ "θ[0, a]"; "row 1" ] (fun () -> Door.inference first prior 1UL)
          refusesTraining [ "θ[0, a]" ] first

          let shared =
              simulatorOf [ "s"; "m" ] (fun t z -> column 0L t * z.narrow (0L, 0L, 1L) + column 1L t)

          refuses<SimulatorException> [ "noise of row 0" ] (fun () -> Door.inference shared prior 1UL)

          let own =
              simulatorOf [ "s"; "m" ] (fun t z -> column 0L t * torch.randn_like z + column 1L t)

          refuses<SimulatorException> [ "random numbers of its own" ] (fun () -> Door.inference own prior 1UL))

      testCase "every inference refuses a simulator of one θ for all, and a prior in another order" (fun () ->
          let first = simulatorOf [ "s"; "m" ] (fun t z -> t[0L, 0L] * z + t[0L, 1L])
          let swapped = Prior.uniform [ "m", -1.0, 1.0; "s", 0.5, 1.5 ]

          let compress (fields: Tensor) =
              Tensors.toRows (torch.stack ([| fields.std ([| 1L; 2L |]); fields.mean ([| 1L; 2L |]) |], 1L))

          let fisher = Matrix<float>.Build.DenseOfDiagonalArray [| 128.0; 64.0 |]

          let methods: (Simulator -> Prior -> unit) list =
              [ fun s p -> Abc.run AbcSettings.Default s compress fisher p fiducial |> ignore
                fun s p ->
                    PopulationMonteCarlo.run PmcSettings.Default s compress fisher p fiducial
                    |> ignore
                fun s p -> Delfi.run DelfiSettings.Default s compress p [| [| fiducial |] |] |> ignore
                fun s p -> NeuralPosterior.learn NpeSettings.Default s compress p |> ignore ]

          for run in methods do
              refuses<SimulatorException> [ "θ[0, a]" ] (fun () -> run first prior)
              refuses<SettingException> [ "in its order: s, m"; "received m, s" ] (fun () -> run good swapped))

      testCase "a parameter without effect, two of one effect and three that depend are named" (fun () ->
          let three = simulatorOf [ "s"; "m"; "q" ]
          let at = [| 1.0; 0.5; 0.3 |]

          refuses<SimulatorException>
              [ "parameter 3 (q) has no effect" ]
              (train short (three (fun t z -> column 0L t * z + column 1L t)) at)

          refusesTraining
              [ "parameter 1 (s) and parameter 2 (m)"; "same effect" ]
              (simulatorOf [ "s"; "m" ] (fun t z -> column 0L t * column 1L t * z))

          refuses<SimulatorException>
              [ "combination of parameter 1 (s), parameter 2 (m), parameter 3 (q)" ]
              (train short (three (fun t z -> (column 0L t + column 2L t) * z + column 1L t + column 2L t)) at)

          // differences see the same
          refuses<SimulatorException>
              [ "parameter 3 (q) has no effect" ]
              (train (withSteps [| 0.01; 0.01; 0.01 |]) (three (fun t z -> column 0L t * z + column 1L t)) at))

      testCase "derivatives that are missing or wrong are named, by parameter" (fun () ->
          refusesTraining
              [ "none by parameter 2 (m)"; "detached" ]
              (simulatorOf [ "s"; "m" ] (fun t z -> column 0L t * z + (column 1L t).detach()))

          refusesTraining
              [ "parameter 1 (s)"; "depends on it" ]
              (simulatorOf [ "s"; "m" ] (fun t z -> (column 0L t * z * 3.0 + column 1L t).round()))

          let wrong =
              { good with
                  Tangents =
                      Some(fun t z ->
                          struct (good.Field (t.unsqueeze 0L) z, torch.stack ([| z; torch.ones_like z * 1.1 |], 1L))) }

          refusesTraining [ "parameter 2 (m)"; "off by 0.09" ] wrong)

      testCase "fields that are constant, of another shape or type, or beyond single precision are named" (fun () ->
          refusesTraining
              [ "the same field whatever the noise" ]
              (simulatorOf [ "s"; "m" ] (fun t z -> z * 0.0 + column 0L t + column 1L t))

          refuses<ShapeException>
              [ "(2, 8, 8)"; "(2, 1, 8, 8)" ]
              (train short (simulatorOf [ "s"; "m" ] (fun t z -> (column 0L t * z).unsqueeze 1L)) fiducial)

          refuses<ShapeException>
              [ "real floating point"; "Int32" ]
              (train
                  short
                  (simulatorOf [ "s"; "m" ] (fun t z -> (column 0L t * z).``to`` torch.ScalarType.Int32))
                  fiducial)

          refuses<SimulatorException> [ "rms of"; "unit" ] (train short good [| 1e-25; 1e-25 |]))

      testCase
          "a constant that single precision cannot hold beside the pixels' scatter is told, of stored fields, too"
          (fun () ->
              let above offset =
                  simulatorOf [ "s"; "m" ] (fun t z ->
                      (column 0L t * z + column 1L t).``to`` torch.ScalarType.Float64 + offset)

              let words = [ "single precision"; "subtract" ]
              refuses<SimulatorException> words (train short (above 1e5) fiducial)
              train short (above 1e3) fiducial () // planted: one that it can

              let two =
                  Simulator.create "white" [ "s"; "m" ] [ 2; n; n ] [ 2; n; n ] (fun t z ->
                      let d = column 0L t * z.flatten (1L, 2L) + column 1L t

                      d.reshape(-1L, 2L, int64 n, int64 n).``to`` torch.ScalarType.Float64
                      + torch.tensor([| 0.0; 1e5 |]).reshape(1L, 2L, 1L, 1L))
                  |> Simulator.withChannels

              refuses<SimulatorException> ("channel 1" :: words) (train short two fiducial)

              let pairs offset () =
                  let theta = Prior.sample 3 0L 60 prior
                  let keys = NoiseKey.Range(5UL, 0UL, 60)
                  use _ = torch.NewDisposeScope()

                  Simulator.fields (above offset) (Tensors.ofRows theta) keys
                  |> Slices.ofTensor
                  |> Regression.train ImnnSettings.Default good theta
                  |> ignore

              refuses<SimulatorException> words (pairs 1e6)
              pairs 1e3 ())

      testCase
          "NaN is named with θ, seed and index; a batch of training too; derivatives with their parameter"
          (fun () ->
              let holed =
                  simulatorOf [ "s"; "m" ] (fun t z -> (column 0L t * z + column 1L t).sqrt())

              refuses<NonFiniteException> [ "s = 1, m = 0.5"; "seed "; "index " ] (train short holed fiducial)

              // NaN in one simulation of 500, which the door does not see: training does
              let rare =
                  simulatorOf [ "s"; "m" ] (fun t z ->
                      let worst = z.amax ([| 1L; 2L |], keepdim = true)
                      (column 0L t * z + column 1L t).masked_fill(worst.gt (3.6.ToScalar()), nan.ToScalar()))

              refuses<NonFiniteException>
                  [ "fields of white"; "index " ]
                  (train { short with Fit = 5000; Quote = 5000 } rare fiducial)

              refuses<NonFiniteException>
                  [ "derivatives by"; "parameter 2 (m)" ]
                  (train
                      short
                      (simulatorOf [ "s"; "m" ] (fun t z -> column 0L t * z + (column 1L t).abs().sqrt()))
                      [| 1.0; 0.0 |])) ]

let private steps =
    [ testCase "a step that is not resolved is refused with the least that is; that one passes" (fun () ->
          let single =
              simulatorOf [ "s"; "m" ] (fun t z ->
                  let f = z.``to`` torch.float32
                  (column 0L t).``to`` torch.float32 * f + (column 1L t).``to`` torch.float32)

          for h in [ 1e-6; 1e-7; 1e-8; 1e-9; 1e-12 ] do
              refuses<SettingException>
                  [ "parameter 1 (s)"
                    "at least "
                    "single precision"
                    h.ToString("g3", Globalization.CultureInfo.InvariantCulture) ]
                  (fun () -> Door.training single (FiniteDifference [| h; 1e-2 |]) fiducial 1UL)

          Door.training single (FiniteDifference [| 1e-3; 1e-3 |]) fiducial 1UL

          // θ alone is rounded: the field is of double precision
          let rounded =
              simulatorOf [ "s"; "m" ] (fun t z ->
                  (column 0L t).``to`` torch.float32 * z + (column 1L t).``to`` torch.float32)

          refuses<SettingException> [ "parameter 2 (m)"; "at least " ] (fun () ->
              Door.training rounded (FiniteDifference [| 1e-2; 1e-9 |]) fiducial 1UL)

          refuses<SettingException> [ "double precision" ] (fun () ->
              Door.training good (FiniteDifference [| 1e-15; 1e-2 |]) fiducial 1UL)

          let counts =
              simulatorOf [ "s"; "m" ] (fun t z -> (4.0 * (column 0L t * z + column 1L t)).round())

          refuses<SettingException> [ "parameter 1 (s)"; "jump"; "1e-06" ] (fun () ->
              Door.training counts (FiniteDifference [| 1e-6; 1e-6 |]) fiducial 1UL))

      testCase "a step out of the simulator's domain is refused with the parameter and where it led" (fun () ->
          let rooted =
              simulatorOf [ "s"; "m" ] (fun t z -> (column 0L t).sqrt() * z + column 1L t)

          refuses<SettingException>
              [ "step 0.1 of parameter 1 (s)"; "s = -0.05" ]
              (train (withSteps [| 0.1; 0.1 |]) rooted [| 0.05; 0.5 |])

          train (withSteps [| 0.01; 0.1 |]) rooted [| 0.05; 0.5 |] ()

          for wrong in [ [| 0.1 |]; [| 0.1; 0.0 |]; [| 0.1; nan |]; [| -0.1; 0.1 |] ] do
              refuses<SettingException> [ "finite-difference steps" ] (train (withSteps wrong) good fiducial))

      testCase "runs to either side of a difference are counted" (fun () ->
          use _ = torch.NewDisposeScope()
          let plain = Imnn.train short good fiducial
          let differences = Imnn.train (withSteps [| 1e-3; 1e-3 |]) good fiducial
          // 4 steps of 60, 100 held out, twice 200 to measure
          Expect.equal plain.Simulations (4 * 60 + 100 + 400) "automatic"
          Expect.equal differences.Simulations (5 * plain.Simulations) "1 + 2p runs each") ]

let tests = testSequenced <| testList "door" (passes @ mistakes @ steps)
