/// Exact answers of any number of parameters: their posteriors by walkers against grids and dense sums, and Fisher matrices from scores.
module ExactAnswerTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open ExactSupport
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// The power law with the amplitude split in as many factors as wanted: more parameters than the data tell apart, but for the prior.
let private field = FourierGrid(2, 24, 24.0)

let private powerLaw =
    lazy SpectrumField.create PowerLaw.spectrum field ModeConvention.Ideal

let private exactly = lazy SpectrumLikelihood.exact powerLaw.Value

/// A Gaussian log-likelihood of p parameters about the field's first p pixels, with this precision.
let private gaussian (precision: Matrix<float>) (d: Tensor) =
    let p = int64 precision.RowCount

    let mean =
        (d.flatten().narrow(0L, 0L, p).``to`` torch.ScalarType.Float64).clone()
        |> Tensors.keep

    let precision = Tensors.ofMatrix precision |> Tensors.keep

    fun (theta: Tensor) ->
        let away = theta - mean
        (away.matmul precision * away).sum 1L * -0.5

let private correlated p =
    let a =
        Matrix<float>.Build.Dense(p, p, (fun i j -> if i = j then 1.0 else 0.9 ** float (abs (i - j))))

    let scale = Matrix<float>.Build.Diagonal(p, p, (fun i -> 10.0 ** float -i))
    scale * a * scale

let private walkers =
    [ tensorTest
          "five correlated parameters of scales 1 to 1e-4: the covariance of the closed form, and the same bits again"
          (fun () ->
              let covariance = correlated 5
              let truth = [| 0.5; 0.02; -0.003; 0.0004; 0.00005 |]
              let d = Tensors.ofVector truth

              let exact =
                  ExactAnswer.create (fun _ -> covariance.Inverse()) (gaussian (covariance.Inverse()))

              let prior =
                  Prior.uniform [ for i in 0..4 -> $"p{i}", -20.0 * 10.0 ** float -i, 20.0 * 10.0 ** float -i ]

              let found, warnings = ExactAnswer.posteriorWithWarnings exact prior d
              Expect.isEmpty warnings "settled"

              let deviations scale =
                  (Posterior.covariance found)
                      .MapIndexed(fun i j v ->
                          (v - scale * covariance[i, j]) / sqrt (covariance[i, i] * covariance[j, j]))
                      .Enumerate()
                  |> Seq.map abs
                  |> Seq.max

              // 5,000 or more independent draws: a variance is known to 2 %
              Expect.isLessThan (deviations 1.0) 0.1 "covariance in units of the sds"
              Expect.isGreaterThan (deviations 1.2) 0.1 "a planted sd 10 % too wide"

              let away =
                  Array.mapi (fun i (m: float) -> abs (m - truth[i]) / sqrt covariance[i, i]) (Posterior.mean found)

              Expect.isLessThan (Array.max away) 0.06 "means in sds"
              Expect.equal (ExactAnswer.posterior exact prior d).Samples found.Samples "the same bits"
              let volume = sqrt (covariance.Determinant())
              Expect.isLessThan (abs (Posterior.area found / volume - 1.0)) 0.1 "area: √det of the covariance"

              let level =
                  ExactAnswer.hpdLevel exact prior d (Array.mapi (fun i t -> t + 0.1 ** float i) truth) found
              // (1, …, 1) in the coordinates of the scales: χ² of five degrees of freedom
              let ones = Vector<float>.Build.Dense(5, (fun i -> 10.0 ** float -i))
              let chi2 = ones * (covariance.Inverse() * ones)
              let expected = MathNet.Numerics.Distributions.ChiSquared.CDF(5.0, chi2)
              Expect.isLessThan (abs (level - expected)) 0.02 $"HPD level, {expected:F3}")

      tensorTest "walkers and the grid agree on two parameters; where a grid refuses, walkers walk" (fun () ->
          let exact = exactly.Value

          let d =
              Simulator.field (SpectrumField.simulator "power law" powerLaw.Value) [| 0.9; 0.6 |] 8UL

          let grid = ExactAnswer.posterior exact PowerLaw.prior d

          let walked =
              (PosteriorSampling.settle 5 1 PowerLaw.prior (ExactAnswer.logPosterior exact PowerLaw.prior d)).Posterior

          Expect.isLessThan (Posterior.shift grid walked) 0.06 "means"
          Expect.isLessThan (abs (Posterior.area walked / Posterior.area grid - 1.0)) 0.06 "area"
          Expect.isSome grid.Grid "a grid of two parameters"
          // correlated so that no grid resolves the ridge
          let ridge =
              Matrix<float>.Build.DenseOfArray(array2D [ [ 1.0; 1.0 - 1e-9 ]; [ 1.0 - 1e-9; 1.0 ] ])

          let thin =
              ExactAnswer.create (fun _ -> ridge.Inverse()) (gaussian (ridge.Inverse()))

          let prior = Prior.uniform [ "a", -10.0, 10.0; "b", -10.0, 10.0 ]
          let found = ExactAnswer.posterior thin prior (Tensors.ofVector [| 0.3; 0.3 |])
          Expect.isNone found.Grid "walkers"
          Expect.isLessThan (abs ((Posterior.sd found)[0] - 1.0)) 0.1 "sd along the ridge")

      tensorTest "walkers that have not settled say so, and are refused as exact" (fun () ->
          // two peaks 20,000 sds apart, which walkers hardly change
          let far (rows: float[][]) =
              let at c =
                  Array.sumBy (fun t -> -0.5 * (t - (c: float)) ** 2.0)

              rows
              |> Array.map (fun t ->
                  if Array.forall (fun v -> abs v <= 2e4) t then
                      max (at -1e4 t) (at 1e4 t)
                  else
                      -infinity)

          let prior = Prior.uniform [ for name in [ "a"; "b"; "c" ] -> name, -2e4, 2e4 ]
          let found = PosteriorSampling.settle 1 1 prior far
          Expect.isTrue (found.Posterior.Samples.Length > 100) "a sample all the same"

          let told warnings =
              Expect.exists
                  warnings
                  (function
                  | NotConverged _ -> true
                  | _ -> false)
                  "not converged"

          told found.Warnings

          let hurried =
              ExactAnswer.create
                  (fun _ -> Matrix<float>.Build.DenseIdentity 3)
                  (gaussian (Matrix<float>.Build.DenseIdentity 3))
              |> ExactAnswer.withSampler (Walkers(60, 2, 5, 5000))

          let prior = Prior.uniform [ for name in [ "a"; "b"; "c" ] -> name, -5.0, 5.0 ]
          let d = torch.zeros 3L
          ExactAnswer.posteriorWithWarnings hurried prior d |> snd |> told

          refuses<NotServedException> [ "exact posterior"; "posteriorWithWarnings" ] (fun () ->
              ExactAnswer.posterior hurried prior d |> ignore))

      testCase "fitted moves keep a density that is no t: an exponential, a corner and a banana" (fun () ->
          // x ~ Exp(1), y ~ U(0, x), z = x² + N(0, 1)
          let logDensity (rows: float[][]) =
              rows
              |> Array.map (fun t ->
                  if t[0] > 0.0 && t[1] > 0.0 && t[1] < t[0] then
                      -t[0] - log t[0] - 0.5 * (t[2] - t[0] * t[0]) ** 2.0
                  else
                      -infinity)

          let random = Random 5

          let start =
              Array.init 100 (fun _ ->
                  let x = 0.5 + random.NextDouble() in [| x; x * random.NextDouble(); x * x + random.NextDouble() |])

          let run = EnsembleSampler.runWith [ Stretch; Fitted ] 3 300 3000 logDensity start

          let column k =
              run.Samples |> Array.map (fun s -> s[k])

          let levels = column 0 |> Array.map (fun x -> 1.0 - exp -x)
          // mean and second moment of U(0, 1)
          Expect.isLessThan (abs (Array.average levels - 0.5)) 0.015 "x"
          Expect.isLessThan (abs (Array.averageBy (fun v -> v * v) levels - 1.0 / 3.0)) 0.015 "x, squared"
          Expect.isLessThan (abs (Array.average (column 2) / 2.0 - 1.0)) 0.1 "z = ⟨x²⟩ = 2"
          let parts = Array.map2 (/) (column 1) (column 0)
          Expect.isLessThan (abs (Array.average parts - 0.5)) 0.015 "y/x"

          refuses<SettingException> [ "at least one kind" ] (fun () ->
              EnsembleSampler.runWith [] 1 1 1 logDensity start |> ignore)

          refuses<SettingException> [ "at least 24" ] (fun () ->
              EnsembleSampler.runWith [ Fitted ] 1 1 1 logDensity start[..9] |> ignore)) ]

let private fisher =
    [ tensorTest
          "a Fisher matrix from scores has the closed form within the errors that it states; another point is caught"
          (fun () ->
              let simulator = SpectrumField.simulator "power law" powerLaw.Value
              let exact = exactly.Value
              let fiducial = [| 1.0; 0.5 |]

              let measured =
                  ExactAnswer.scoreCovariance simulator 800 3UL exact.LogLikelihood fiducial

              Expect.isLessThan (fisherDeviation measured (exact.Fisher fiducial)) 4.0 "in standard errors"
              Expect.isGreaterThan (fisherDeviation measured (exact.Fisher [| 0.85; 0.5 |])) 4.0 "planted"
              let relative = measured.Error[0, 0] / measured.Fisher[0, 0]
              Expect.isLessThan (abs (relative / sqrt (2.0 / 800.0) - 1.0)) 0.2 "√(2/n), as is stated"

              let of' = ExactAnswer.ofLogLikelihood simulator 800 3UL exact.LogLikelihood
              Expect.equal (of'.Fisher fiducial) measured.Fisher "the same bits"

              refuses<SettingException> [ "simulations" ] (fun () ->
                  ExactAnswer.scoreCovariance simulator 3 3UL exact.LogLikelihood fiducial
                  |> ignore)) ]

let private interpolated =
    [ tensorTest
          "a polynomial through some hundred points is the grid of ten thousand; what none follows is refused"
          (fun () ->
              let exact = exactly.Value

              let d =
                  Simulator.field (SpectrumField.simulator "power law" powerLaw.Value) [| 0.9; 0.6 |] 9UL

              let mutable evaluations = 0

              let counted =
                  { exact with
                      LogLikelihood =
                          fun d ->
                              let logL = exact.LogLikelihood d

                              fun theta ->
                                  evaluations <- evaluations + int theta.shape[0]
                                  logL theta }

              let grid = ExactAnswer.posterior exact PowerLaw.prior d

              let found =
                  ExactAnswer.posterior (ExactAnswer.withSampler (Interpolated 11) counted) PowerLaw.prior d

              Expect.isLessThan evaluations 800 "evaluations"
              Expect.isLessThan (Posterior.shift grid found) 0.002 "means in sds"
              close 0.002 (Posterior.sd found) (Posterior.sd grid) "sds"

              let rough =
                  { exact with
                      LogLikelihood =
                          fun d ->
                              let logL = exact.LogLikelihood d
                              fun theta -> logL theta + (theta.select (1L, 0L) * 300.0).sin() }
                  |> ExactAnswer.withSampler (Interpolated 11)

              refuses<RangeException> [ "polynomial" ] (fun () ->
                  ExactAnswer.posterior rough PowerLaw.prior d |> ignore)) ]

let tests = testList "exact answers" (walkers @ fisher @ interpolated)
