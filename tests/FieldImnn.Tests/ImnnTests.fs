module ImnnTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TestSupport
open TorchSharp

let problem = lazy (PowerLaw.create 32 ModeConvention.Ideal)

let private quick =
    { ImnnSettings.Default with
        Features = Features.filterBank 6 5 2
        Simulations = 100
        DerivativeSimulations = 100
        MaxIterations = 100
        MinIterations = 100
        HeldOut = 600
        Fit = 4000
        Quote = 4000 }

/// Trained once for all tests that need a compressor of the power-law field on 32² pixels.
let trained = lazy (Imnn.train quick problem.Value.Simulator problem.Value.Fiducial)

let private detRatio (c: Compressor) =
    Fisher.retained c.Fisher (problem.Value.Exact.Fisher problem.Value.Fiducial)

/// Linear Gaussian data: d = θ₀ a + θ₁ b + noise of 6 pixels, whose Fisher matrix is [a·a, a·b; b·b].
let private a, private b =
    [| 1.0; 2.0; 0.0; 1.0; 0.0; 0.0 |], [| 0.0; 1.0; 1.0; 0.0; 3.0; 0.0 |]

let private linearFisher summaries derivatives n =
    let noise =
        Noise.Normal(NoiseKey.Range(4UL, 0UL, n), [| 6L |], ``type`` = torch.ScalarType.Float64)

    let dx = (Tensors.ofRows derivatives).unsqueeze(0L).expand(int64 n, 2L, 6L)
    (Fisher.statistics (summaries noise) dx).Fisher

let tests =
    testSequenced
    <| testList
        "imnn"
        [ tensorTest
              "Fisher of Gaussian data is the closed form; Hartlap's factor removes the bias; without it the check fails"
              (fun () ->
                  let dot x y = Array.map2 (*) x y |> Array.sum
                  let exact = [| dot a a; dot a b; dot b b |]
                  // 40 simulations of 6 summaries: the inverse covariance is biased by 39/32 without the factor
                  let estimate scale =
                      Array.init 300 (fun i ->
                          let noise =
                              Noise.Normal(
                                  NoiseKey.Range(uint64 i, 0UL, 40),
                                  [| 6L |],
                                  ``type`` = torch.ScalarType.Float64
                              )

                          let dx = (Tensors.ofRows [| a; b |]).unsqueeze(0L).expand(40L, 2L, 6L)
                          scale * (Fisher.statistics noise dx).Fisher[0, 0])
                      |> Array.average

                  Expect.isLessThan (abs (estimate 1.0 / exact[0] - 1.0)) 0.05 "with Hartlap's factor"
                  Expect.isGreaterThan (abs (estimate (39.0 / 32.0) / exact[0] - 1.0)) 0.05 "planted: without it"
                  let f = linearFisher id [| a; b |] 20000
                  close 0.05 [| f[0, 0]; f[0, 1]; f[1, 1] |] exact "F")

          tensorTest "the published loss is its formula" (fun () ->
              let x =
                  Noise.Normal(NoiseKey.Range(1UL, 0UL, 50), [| 2L |], ``type`` = torch.ScalarType.Float64)
                  * 1.7

              let dx =
                  Noise.Normal(NoiseKey.Range(2UL, 0UL, 50), [| 2L; 2L |], ``type`` = torch.ScalarType.Float64)
                  + 1.0

              let struct (value, detF, lambda, strength) =
                  Optimisation.loss (Regularised(10.0, 0.1)) x dx
              // by hand in plain matrices
              let rows = Tensors.toMatrix x
              let centred = rows.MapIndexed(fun _ j v -> v - rows.Column(j).Sum() / 50.0)
              let c = centred.TransposeThisAndMultiply centred / 49.0
              let mu = Tensors.toMatrix (dx.mean [| 0L |])
              let f = mu * c.Inverse() * mu.Transpose()
              let identity = MathNet.Numerics.LinearAlgebra.Matrix<float>.Build.DenseIdentity 2

              let distance =
                  (c - identity).FrobeniusNorm() + (c.Inverse() - identity).FrobeniusNorm()

              let steep = -log(0.1 * 9.0 + 0.01 / 1.1) / 0.1
              let r = 10.0 * distance / (distance + exp (-steep * distance))

              close
                  1e-10
                  [| detF; lambda; strength; value.ToDouble() |]
                  [| f.Determinant(); distance; r; -log(f.Determinant()) + r * distance |]
                  "loss")

          tensorTest "gradients accumulated in chunks are those of one batch" (fun () ->
              let simulator = problem.Value.Simulator
              let network = Imnn.network (Features.inception 3) simulator 3UL

              let gradients chunk =
                  for struct (_, w) in network.Parameters do
                      w.grad <- null

                  let source =
                      Batch.source
                          network
                          { quick with
                              Features = Features.inception 3
                              Chunk = chunk }
                          simulator
                          problem.Value.Fiducial

                  let struct (detF, _, _) =
                      Optimisation.accumulate network (Regularised(10.0, 0.1)) 2 (source.Draw Training 0UL 40 40)

                  Array.append
                      [| detF |]
                      (network.Parameters
                       |> Seq.collect (fun struct (_, w) -> Tensors.toArray w.grad)
                       |> Seq.toArray)

              let whole, parts = gradients 40, gradients 16
              close 1e-4 parts[1..] whole[1..] "gradients"
              close 1e-4 [| parts[0] |] [| whole[0] |] "det F")

          tensorTest "a small field is compressed with little loss, measured out of sample" (fun () ->
              let kept = detRatio trained.Value
              Expect.isGreaterThan kept 0.85 $"kept {kept:P1}"

              Expect.isLessThan
                  kept
                  1.12
                  $"kept {kept:P1}: more than there is, beyond the scatter of 4,000 simulations"

              let history = trained.Value.History
              Expect.equal history.Length 100 "a record for every iteration"

              Expect.equal
                  (history |> Array.filter (fun r -> Double.IsFinite r.HeldOutDetF)).Length
                  10
                  "ten evaluations")

          tensorTest "estimates are unbiased at the fiducial with covariance F⁻¹; shifted ones are caught" (fun () ->
              let p = problem.Value
              let n = 2000

              let fields =
                  Simulator.fields p.Simulator (Tensors.ofVector p.Fiducial) (NoiseKey.Range(90UL, 0UL, n))

              let estimates = Compressor.estimates trained.Value fields
              let covariance = trained.Value.Fisher.Inverse()

              let deviation shift i =
                  let mean =
                      estimates
                      |> Array.averageBy (fun e -> e[i] - p.Fiducial[i] + shift * sqrt covariance[i, i])

                  abs mean / sqrt (covariance[i, i] / float n)

              Expect.isLessThan (max (deviation 0.0 0) (deviation 0.0 1)) 5.0 "means, in standard errors"
              Expect.isGreaterThan (deviation 0.2 0) 5.0 "planted shift of 0.2 sd"

              let variance i =
                  estimates |> Array.averageBy (fun e -> (e[i] - p.Fiducial[i]) ** 2.0)

              close 0.15 [| variance 0; variance 1 |] [| covariance[0, 0]; covariance[1, 1] |] "variances")

          tensorTest "the same seed trains the same compressor" (fun () ->
              let short =
                  { quick with
                      MaxIterations = 3
                      MinIterations = 3
                      EvaluateEvery = 1
                      HeldOut = 100
                      Fit = 100
                      Quote = 100 }

              let train seed =
                  Imnn.train { short with Seed = seed } problem.Value.Simulator problem.Value.Fiducial

              Expect.equal (train 5UL).Fisher (train 5UL).Fisher "same seed"
              Expect.notEqual (train 5UL).Fisher (train 6UL).Fisher "another seed")

          tensorTest "seed-matched differences and stored simulations train as well" (fun () ->
              let p = problem.Value

              let short =
                  { quick with
                      MaxIterations = 60
                      MinIterations = 60
                      Fit = 2000
                      Quote = 2000 }

              let differences =
                  Imnn.train
                      { short with
                          Derivatives = FiniteDifference [| 1e-2; 1e-2 |] }
                      p.Simulator
                      p.Fiducial

              Expect.isGreaterThan (detRatio differences) 0.75 $"differences kept {detRatio differences:P1}"

              let stored purpose n =
                  let keys = NoiseKey.Range(NoiseKey.SeedFor(1UL, purpose), 0UL, n)

                  let struct (d, t) =
                      Simulator.withDerivatives p.Simulator Autodiff (Tensors.ofVector p.Fiducial) keys

                  StoredSimulations.ofTensors d t

              let sets = Precomputed(stored "stored training" 1500, stored "stored held out" 1500)

              let precomputed =
                  Imnn.train { short with Derivatives = sets } p.Simulator p.Fiducial

              Expect.isGreaterThan (detRatio precomputed) 0.7 $"stored simulations kept {detRatio precomputed:P1}")

          tensorTest
              "a compressor loads as it was saved: the same estimates to the last bit, and damaged files are refused"
              (fun () ->
                  let path = Path.Combine(Path.GetTempPath(), $"fieldimnn-{Guid.NewGuid()}.imnn")

                  try
                      let saved =
                          { trained.Value with
                              Notes = Map [ "problem", "power-law" ] }

                      CompressorFile.save path saved
                      let loaded = CompressorFile.load path

                      let fields =
                          Simulator.fields
                              problem.Value.Simulator
                              (Tensors.ofVector [| 0.9; 0.6 |])
                              (NoiseKey.Range(3UL, 0UL, 5))

                      Expect.equal (Compressor.estimates loaded fields) (Compressor.estimates saved fields) "estimates"
                      Expect.equal loaded.Notes saved.Notes "notes"
                      Expect.equal loaded.History.Length saved.History.Length "history"
                      let bytes = File.ReadAllBytes path
                      File.WriteAllBytes(path, bytes[.. bytes.Length / 2])
                      refuses<StoreException> [ path ] (fun () -> CompressorFile.load path |> ignore)
                  finally
                      File.Delete path)

          tensorTest "cancelled training returns the best compressor so far" (fun () ->
              use cancel = new Threading.CancellationTokenSource()
              let seen = ResizeArray<ProgressReport>()

              let progress =
                  { Report =
                      fun r ->
                          if r.Stage = "training" then
                              seen.Add r

                          if seen.Count = 5 then
                              cancel.Cancel()
                    Cancellation = cancel.Token }

              let short =
                  { quick with
                      EvaluateEvery = 1
                      HeldOut = 100
                      Fit = 100
                      Quote = 100
                      Progress = progress }

              let c = Imnn.train short problem.Value.Simulator problem.Value.Fiducial
              Expect.equal c.History.Length 5 "stopped at once"
              Expect.isGreaterThan (c.Fisher.Determinant()) 0.0 "usable")

          testCase "impossible settings are refused" (fun () ->
              let train settings () =
                  Imnn.train settings problem.Value.Simulator problem.Value.Fiducial |> ignore

              refuses<SettingException>
                  [ "λ = 100"; "a = -22.9" ]
                  (train
                      { quick with
                          Loss = Regularised(100.0, 0.1) })

              refuses<SettingException>
                  [ "n_s"; "≥ 15" ]
                  (train
                      { quick with
                          Simulations = 12
                          DerivativeSimulations = 12 })

              refuses<SettingException>
                  [ "n_d" ]
                  (train
                      { quick with
                          DerivativeSimulations = 101 })

              refuses<SettingException> [ "minimum" ] (train { quick with MinIterations = 101 })

              refuses<ShapeException> [ "2 numbers" ] (fun () ->
                  Imnn.train quick problem.Value.Simulator [| 1.0 |] |> ignore))

          tensorTest "singular covariances and wrong fields are refused" (fun () ->
              let x = torch.ones (50L, 2L)

              refuses<SingularMatrixException> [ "covariance" ] (fun () ->
                  Fisher.statistics x (torch.ones (50L, 2L, 2L)) |> Fisher.bestLinear |> ignore)

              refuses<ShapeException> [ "(batch, 32, 32)" ] (fun () ->
                  Compressor.estimates trained.Value (torch.zeros (1L, 16L, 16L)) |> ignore)

              let bad = torch.zeros (1L, 32L, 32L)
              bad[0, 3, 4] <- nan.ToTensor()
              refuses<NonFiniteException> [ "1 NaN" ] (fun () -> Compressor.estimates trained.Value bad |> ignore)) ]
