/// What becomes of a simulator, or of features, that fail somewhere in the prior. Truths: simulators that fail where they are told to.
module FailureTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp
open DoorTests

/// θ + 0.1 z, NaN for a < 0.05: 5 % of the prior.
let private corner =
    Simulator.create "corner" [ "a"; "b" ] [ 2 ] [ 2 ] (fun theta noise ->
        (theta + 0.1 * noise).masked_fill(theta.narrow(1L, 0L, 1L).lt(0.05.ToScalar()), nan.ToScalar()))

let private policies =
    [ testCase "failed simulations stop everything, or are left out and counted, by every method" (fun () ->
          let prior = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]
          let fisher = Matrix<float>.Build.DenseOfDiagonalArray [| 100.0; 100.0 |]
          let observed = [| 0.5; 0.5 |]

          let quick =
              { EstimatorSettings.Default with
                  Members = 1
                  Training =
                      { EstimatorSettings.Default.Training with
                          MaxEpochs = 30 } }

          let methods simulator : (unit -> Posterior * int * int) list =
              [ fun () ->
                    let r =
                        Abc.run
                            { AbcSettings.Default with
                                Budget = 2000 }
                            simulator
                            Tensors.toRows
                            fisher
                            prior
                            observed

                    r.Posterior, r.Simulations, r.Failed
                fun () ->
                    let r =
                        PopulationMonteCarlo.run
                            { PmcSettings.Default with
                                Budget = 3000
                                Population = 200 }
                            simulator
                            Tensors.toRows
                            fisher
                            prior
                            observed

                    r.Posterior, r.Simulations, r.Failed
                fun () ->
                    let r =
                        Delfi.run
                            { DelfiSettings.Default with
                                Rounds = [ 400 ]
                                Estimator = quick }
                            simulator
                            Tensors.toRows
                            prior
                            [| [| observed |] |]

                    r.Posteriors[0], r.Simulations, r.Failed
                fun () ->
                    let r =
                        NeuralPosterior.learn
                            { NpeSettings.Default with
                                Budget = 400
                                Estimator = quick }
                            simulator
                            Tensors.toRows
                            prior

                    NeuralPosterior.posterior r observed, r.Simulations, r.Failed ]

          for run in methods corner do
              refuses<NonFiniteException>
                  [ "corner"
                    "a = 0.0"
                    "seed "
                    "index "
                    "skippingFailures"
                    "--skip-failures" ]
                  (run >> ignore)

          for run in methods (corner |> Simulator.skippingFailures 0.2) do
              let posterior, made, failed = run ()
              Expect.isTrue (failed > 0 && float failed < 0.1 * float made) $"{failed} of {made} failed"
              let mean = Posterior.mean posterior
              Expect.isLessThan (abs (mean[0] - 0.5)) 0.05 "mean"

          refuses<SimulatorException> [ "at most a part of 0.01" ] (fun () ->
              (methods (corner |> Simulator.skippingFailures 0.01)).Head() |> ignore))

      testCase "the same simulations are left out whatever the chunks, and when they are read again" (fun () ->
          inFolder (fun folder ->
              let theta = Prior.sample 1 0L 300 (Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ])

              let run chunk folder =
                  Simulations.run
                      { SimulationSettings.Default with
                          Chunk = chunk
                          Folder = folder }
                      (corner |> Simulator.skippingFailures 0.5)
                      Tensors.toRows
                      1UL
                      "test"
                      theta

              let first = run 70 (Some folder)

              Expect.equal
                  first.Failed
                  (theta |> Array.filter (fun t -> t[0] < 0.05) |> Array.length)
                  "those with a < 0.05"

              Expect.equal (first.Made, first.Theta.Length) (300, 300 - first.Failed) "counts"
              Expect.equal (run 70 (Some folder)) first "read again"
              Expect.equal (run 33 None) first "other chunks"))

      testCase "summaries that are NaN, too few or ragged are refused" (fun () ->
          let theta = Prior.sample 1 0L 50 prior

          let run (compress: Tensor -> float[][]) () =
              Simulations.run SimulationSettings.Default good compress 1UL "test" theta
              |> ignore

          let means (t: Tensor) =
              Tensors.toRows (t.mean([| 1L; 2L |]).unsqueeze 1L)

          run means ()

          refuses<NonFiniteException>
              [ "summaries"; "s = " ]
              (run (means >> Array.map (fun r -> if r[0] < 0.0 then [| nan |] else r)))

          refuses<ShapeException> [ "50 rows" ] (run (means >> Array.tail))

          refuses<ShapeException>
              [ "one length" ]
              (run (means >> Array.mapi (fun i r -> if i = 3 then [| 1.0; 2.0 |] else r)))

          for most in [ 0.0; 1.0; -1.0; nan ] do
              refuses<SettingException> [ "may fail" ] (fun () -> Simulator.skippingFailures most good |> ignore)

              refuses<SettingException> [ "may fail" ] (fun () ->
                  let broken =
                      { good with
                          Failures = SkipFailures most }

                  Simulations.run SimulationSettings.Default broken means 1UL "test" theta
                  |> ignore)) ]

/// d = s z + m as `good`, which fails where `bad` says so of θ (n or 1, 2).
let private failing (bad: Tensor -> Tensor) =
    simulatorOf [ "s"; "m" ] (fun t z ->
        (column 0L t * z + column 1L t).masked_fill((bad t).unsqueeze -1L, nan.ToScalar()))

/// Training and inference as a script has them.
let private refit simulator features =
    let model = Model.create simulator prior
    let observed = Simulator.field good [| 1.0; 0.3 |] 3UL
    let recipe = Recipe.ofSettings { short with Features = features }
    let rounds = Infer.refit model { recipe with Rounds = 1 } (observed.unsqueeze 0L)

    Infer.abc
        { AbcSettings.Default with
            Budget = 400 }
        model
        rounds.Head.Compressor
        observed

let private filters = Features.filterBank 3 3 1

let private elsewhere =
    [ tensorTest "a simulator that fails elsewhere in the prior is refused before it is trained, with θ" (fun () ->
          let mutable made = 0

          let counting (simulator: Simulator) =
              { simulator with
                  Field =
                      fun theta noise ->
                          made <- made + int noise.shape[0]
                          simulator.Field theta noise }

          // far from the median (1, 0), where it would be trained
          for bad in
              [ fun (t: Tensor) -> t.narrow(1L, 0L, 1L).lt(0.52.ToScalar())
                fun (t: Tensor) -> t.narrow(1L, 1L, 1L).gt(0.9.ToScalar()) ] do
              made <- 0

              refuses<NonFiniteException>
                  [ "fields of white"
                    "all over the prior"
                    "s = "
                    "m = "
                    "--skip-failures"
                    "skippingFailures" ]
                  (fun () -> refit (counting (failing bad)) filters |> ignore)

              Expect.isLessThan made 30 "before any training"

          // an exception is named with its θ, too
          let throws =
              simulatorOf [ "s"; "m" ] (fun t z ->
                  if t.narrow(1L, 1L, 1L).gt(0.9.ToScalar()).any().ToBoolean() then
                      invalidOp "no such universe"

                  column 0L t * z + column 1L t)

          refuses<SimulatorException> [ "no such universe"; "InvalidOperationException"; "m = 0.99" ] (fun () ->
              refit throws filters |> ignore))

      tensorTest "where failures are left out, they are left out all the way, and counted" (fun () ->
          let bad (t: Tensor) =
              t.narrow(1L, 0L, 1L).lt(0.52.ToScalar())

          let result = refit (failing bad |> Simulator.skippingFailures 0.2) filters
          Expect.isGreaterThan result.Failed 0 "counted"
          Expect.isLessThan (abs ((Posterior.mean result.Posterior)[0] - 1.0)) 0.2 "the posterior"

          let always =
              failing (fun t -> t.narrow(1L, 0L, 1L).gt(0.0.ToScalar()))
              |> Simulator.skippingFailures 0.5

          refuses<NonFiniteException> [ "8 of 8" ] (fun () -> Door.inference always prior 1UL))

      tensorTest
          "all of a prior's ends are tried, of any number of parameters, and of dependent ones where they are"
          (fun () ->
              for p in [ 1; 2; 3; 5; 8 ] do
                  let names = [ for k in 1..p -> $"p{k}" ]
                  let prior = Prior.uniform [ for name in names -> name, -1.0, 1.0 ]
                  let seen = ResizeArray<float[]>()

                  let watching =
                      Simulator.create "watching" names [ 4 ] [ 4 ] (fun t z ->
                          seen.AddRange(Tensors.toRows t)
                          z + t.sum (1L, keepdim = true))

                  Door.inference watching prior 1UL

                  for k in 0 .. p - 1 do
                      for wanted in [ -0.99; 0.99 ] do
                          Expect.exists
                              seen
                              (fun t -> abs (t[k] - wanted) < 1e-9)
                              $"{wanted} of parameter {k + 1} of {p}"

              let triangle =
                  Prior.dependent
                      [ "a", Uniform(0.0, 1.0); "b", Uniform(0.0, 1.0) ]
                      (fun t -> if t[0] + t[1] <= 1.0 then log 2.0 else -infinity)
                      (fun seed i ->
                          let u = (Prior.sample seed i 1 (Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]))[0]

                          if u[0] + u[1] <= 1.0 then
                              u
                          else
                              [| 1.0 - u[0]; 1.0 - u[1] |])

              let rooted =
                  Simulator.create "rooted" [ "a"; "b" ] [ 4 ] [ 4 ] (fun t z ->
                      z + (1.0 - t.sum (1L, keepdim = true)).sqrt())

              Door.inference rooted triangle 1UL) ]

let private logMean =
    Features.own "log mean" 2 (fun f -> torch.stack ([| f.mean([| 1L; 2L |]).log(); f.std [| 1L; 2L |] |], 1L))

let private features =
    [ tensorTest
          "features that are not numbers are named before training, with the field's θ and seed, or the observed one"
          (fun () ->
              for features, words in
                  [ logMean, [ "log mean"; "NaN" ]
                    Features.beside [ filters; logMean ], [ "log mean"; "NaN" ]
                    Features.ofLogarithm filters, [ "filterBank of logarithm"; "> −1" ] ] do
                  refuses<SimulatorException> ("observed field 1" :: words) (fun () ->
                      let model = Model.create good prior
                      let recipe = Recipe.ofSettings { short with Features = features }
                      let observed = (Simulator.field good [| 1.0; -0.9 |] 3UL).unsqueeze 0L
                      Infer.refit model recipe observed |> ignore)

              // the observed field is well, another one of the prior is not
              refuses<SimulatorException>
                  [ "features log mean of the field of white"; "seed "; "index "; "m = -0.99" ]
                  (fun () -> refit good logMean |> ignore))

      tensorTest "features that fail in an inference are named with the simulation, or left out with it" (fun () ->
          let compressor = Imnn.train { short with Features = logMean } good [| 1.0; 0.9 |]

          let abc simulator =
              Infer.abc
                  { AbcSettings.Default with
                      Budget = 2000 }
                  (Model.create simulator prior)
                  compressor

          let observed = Simulator.field good [| 1.0; 0.8 |] 3UL

          refuses<SimulatorException>
              [ "summaries of fields of white"
                "features log mean"
                "in number 1 of 2"
                "seed "
                "m = -"
                "--skip-failures" ]
              (fun () -> abc good observed |> ignore)

          let result = abc (good |> Simulator.skippingFailures 0.9) observed
          Expect.isGreaterThan result.Failed 100 "about half of the prior's first round"
          Expect.isLessThan (abs ((Posterior.mean result.Posterior)[1] - 0.8)) 0.3 "the posterior of the others"

          refuses<SimulatorException> [ "observed field 1"; "features log mean"; "NaN" ] (fun () ->
              abc good (Simulator.field good [| 1.0; -0.8 |] 3UL) |> ignore)) ]

let tests = testSequenced <| testList "failures" (policies @ elsewhere @ features)
