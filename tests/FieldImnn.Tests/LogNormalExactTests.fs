/// The exact answers of log-normal fields: against dense Gaussians over pixels, the oracle table of information, and (where ../shared is
/// present) likelihood surfaces of the original authors' fields.
module LogNormalExactTests

open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core.Fields
open LogNormalTests
open MathNet.Numerics.LinearAlgebra
open ExactSupport
open TestSupport
open TorchSharp

/// ln N(y; mean, C) with C of pixel pairs from a correlation on the periodic grid.
let private dense n (xi: float[,]) mean (y: float[]) =
    let factor = (pixelCovariance n xi).Cholesky()
    let away = Vector<float>.Build.DenseOfArray(y |> Array.map (fun v -> v - mean))
    -0.5 * away.DotProduct(factor.Solve away) - 0.5 * factor.DeterminantLn

let private scoreVariance convention count at =
    let problem = DarkMatter.create 16 convention
    scoreDeviations problem.Simulator problem.Exact count [| 0.4; 0.7 |] at

/// Levels of the toy spectrum's fields, whose exact answer is quick.
let private levels convention count factor =
    let model = LogNormalModel.create toy (FourierGrid(2, 16, 40.0)) convention

    hpdLevels
        (LogNormalModel.simulator "toy" model)
        (DarkMatter.exact model |> tempered factor)
        (Prior.uniform [ "A", 2.0, 7.0; "B", 1.2, 2.6 ])
        count

let private checks =

    [ tensorTest "Published information: the oracle table, with the right unit of a pair" (fun () ->
          for row in table "fisher.csv" do
              if row "case" = "cosmoLN_simulator_as_coded" then
                  let theta = [| float (row "theta1"); float (row "theta2") |]
                  let model = DarkMatter.model 128 ModeConvention.Published
                  let found = lower (DarkMatter.exact model |> fun exact -> exact.Fisher theta)
                  let tabled = [| float (row "F11"); float (row "F12"); float (row "F22") |]
                  close 1e-5 found tabled "F"
                  // the table's units of column 0, 63 pairs and a single mode, are high (ExactTests has the right ones)
                  let _, slopes =
                      SpectrumField.logPowerWithSlopes model.Gaussian (Tensors.ofVector theta)

                  let classes =
                      model.Gaussian.Classes.Index.reshape(128L, 65L).select(1L, 0L).narrow(0L, 1L, 64L)

                  let units =
                      Array.append
                          (Array.create 63 (0.677031633210 - 0.6769219114))
                          [| 0.289951188088 - 0.2899419957 |]

                  let d = slopes.detach().index_select(0L, classes)

                  let excess =
                      lower (Tensors.toMatrix (d.t().matmul(Tensors.ofVector(units).unsqueeze 1L * d)))

                  close 1e-7 found (Array.map2 (-) tabled excess) "F, corrected"
                  Expect.isGreaterThan (relative found tabled) 1e-6 "the wrong unit is caught")

      tensorTest "Ideal information: a table derived independently, to 2e-6; another depth is caught" (fun () ->
          let deeper =
              FourierGrid(2, 128, DarkMatter.boxLength)
              |> fun grid ->
                  LogNormalModel.create
                      (DarkMatter.spectrum (Slab(1.001 * DarkMatter.depth)))
                      grid
                      ModeConvention.Ideal
              |> DarkMatter.exact

          let exact = DarkMatter.exact (DarkMatter.model 128 ModeConvention.Ideal)
          let rows = table "ideal_dark_matter_fisher.csv"
          Expect.hasLength rows 2 "rows"

          for row in rows do
              let theta = [| float (row "Omega_c"); float (row "sigma8") |]
              let tabled = [| float (row "F_11"); float (row "F_12"); float (row "F_22") |]
              close 2e-6 (lower (exact.Fisher theta)) tabled $"F at %A{theta}"
              Expect.isGreaterThan (relative (lower (deeper.Fisher theta)) tabled) 2e-5 "a slab 0.1 % deeper")

      tensorTest "Ideal likelihood is that of a dense Gaussian over ln(1 + δ); a forgotten mean is caught" (fun () ->
          let n, length = 6, 15.0

          let model =
              LogNormalModel.create toy (FourierGrid(2, n, length)) ModeConvention.Ideal

          let d =
              Simulator.field (LogNormalModel.simulator "toy" model |> doubled) [| 6.0; 2.0 |] 3UL

          let y = Tensors.toArray (d.log1p ())
          let logL = LogNormalLikelihood.logLikelihood model d

          let truth mean (theta: float[]) =
              let xi =
                  correlation n length (toyPower theta) |> Array2D.map (fun x -> log (1.0 + x))

              dense n xi (mean * xi[0, 0]) y

          let differences f =
              [| [| 5.0; 2.0 |]; [| 6.0; 2.4 |]; [| 8.0; 1.7 |] |]
              |> Array.map (fun t -> f t - f [| 6.0; 2.0 |])

          let ours = differences (fun t -> (logL (Tensors.ofRows [| t |])).ToDouble())
          close 1e-9 ours (differences (truth -0.5)) "ln p differences"
          Expect.isGreaterThan (relative ours (differences (truth 0.0))) 1e-3 "planted: mean 0")

      testCase
          "Published likelihood of the stored targets: the reference surfaces, and their posteriors to 1 %"
          (fun () ->
              withShared (fun folder ->
                  let read name =
                      (Npy.read (Path.Combine(folder, "exact", name))).Data

                  let problem = DarkMatter.create 128 ModeConvention.Published

                  let omegaC, sigma8 =
                      read "dark_matter_axis_omega_c.npy", read "dark_matter_axis_sigma8.npy"

                  let summary =
                      File.ReadAllLines(Path.Combine(folder, "exact", "dark_matter_posterior_summary.csv"))[1..]
                      |> Array.map (fun line -> line.Split ',' |> Array.map float)

                  for i in 1..2 do
                      Tensors.using (fun () ->
                          let target =
                              ObservedField.read
                                  (Path.Combine(folder, "targets", $"target_field_planck_{i}.npy"))
                                  [| 128; 128 |]
                              |> ObservedField.toTensor

                          let surface = read $"dark_matter_lnlike_field_{i}.npy"

                          let points =
                              [| for j in 0..10..200 do
                                     for k in 0..10..200 -> [| omegaC[k]; sigma8[j] |], surface[j * 201 + k] |]

                          let ours =
                              problem.Exact.LogLikelihood target (points |> Array.map fst |> Tensors.ofRows)
                              |> Tensors.toArray

                          let offset = Array.map2 (fun a (_, b) -> a - b) ours points

                          let range =
                              (Array.map snd points |> Array.max) - (Array.map snd points |> Array.min)

                          Expect.isLessThan ((Array.max offset - Array.min offset) / range) 1e-6 $"surface {i}"
                          let posterior = ExactAnswer.posteriorOn 51 problem.Exact problem.Prior target
                          let mean, sd = Posterior.mean posterior, Posterior.sd posterior
                          let expected = summary[i - 1]
                          close 0.01 [| mean[0]; mean[1] |] [| expected[1]; expected[3] |] "means"
                          close 0.01 [| sd[0]; sd[1] |] [| expected[2]; expected[4] |] "sds"
                          close 0.01 [| Posterior.area posterior |] [| expected[8] |] "area")))

      tensorTest "score variance is the Fisher matrix within its error; a wrong point is caught" (fun () ->
          for convention in [ ModeConvention.Ideal; ModeConvention.Published ] do
              let z = scoreVariance convention 600 [| 0.4; 0.7 |]
              Expect.isLessThan (z |> Array.map abs |> Array.max) 4.5 $"{convention}: %A{z} standard errors"

          let planted = scoreVariance ModeConvention.Ideal 600 [| 0.4; 0.8 |]
          Expect.isGreaterThan (planted |> Array.map abs |> Array.max) 4.5 "planted")

      calibrationOver200 levels ]

let tests = testList "log-normal exact answers" checks
