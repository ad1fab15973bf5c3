/// Masked, noisy and non-periodic Gaussian fields: against another program's number, plain sums, closed forms and the covariance of the score.
module DenseFieldTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open ExactSupport
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private powerLaw n =
    SpectrumField.create PowerLaw.spectrum (FourierGrid(2, n, float n)) ModeConvention.Ideal

/// The footprint of shared/universes/02-mask-dense.py.
let holes n =
    let discs =
        [ 6, 7, 4.2; 20, 10, 3.1; 25, 26, 5.0; 10, 24, 3.4; 3, 18, 2.0; 16, 17, 1.6 ]

    let seen y x =
        let inside =
            discs
            |> List.exists (fun (cx, cy, r) -> float ((x - cx) * (x - cx) + (y - cy) * (y - cy)) < r * r)

        if inside || x < 2 || (y >= n - 3 && x >= 10 && x < 22) then
            0.0
        else
            1.0

    (Tensors.ofVector
        [| for y in 0 .. n - 1 do
               for x in 0 .. n - 1 -> seen y x |])
        .reshape(int64 n, int64 n)

/// A footprint of 10² with a hole, and weights at its border.
let private footprint () =
    let mask = torch.ones (10L, 10L, dtype = torch.ScalarType.Float64)
    mask.narrow(0L, 3L, 3L).narrow(1L, 4L, 3L).zero_() |> ignore
    mask.narrow(0L, 0L, 1L).fill_(0.5.ToScalar()) |> ignore
    mask

let private theta = [| 1.0; 1.0 |]
let private elements (m: Matrix<float>) = m.ToColumnMajorArray()

let private information =
    [ tensorTest
          "power law behind a footprint with noise: det F 3086 of another program; noise forgotten is caught"
          (fun () ->
              // shared/universes/02-mask-dense.py in NumPy: its F is printed in 02-mask.fsx
              let seen noise =
                  DenseField.ofSpectrum (powerLaw 32)
                  |> DenseField.noisy noise
                  |> DenseField.masked (holes 32)

              let found = DenseField.fisher (seen 0.7) theta
              close 1e-7 (lower found) [| 87.94664; -44.494374; 57.6026386 |] "F"
              Expect.isLessThan (abs (found.Determinant() - 3086.2)) 0.1 "det F"
              Expect.isGreaterThan (relative (lower (DenseField.fisher (seen 0.6) theta)) (lower found)) 0.05 "planted")

      tensorTest "all of a periodic field with noise: the sum over modes of P + N" (fun () ->
          let model = powerLaw 16 |> SpectrumField.withMean

          let known =
              model |> SpectrumField.withNoise (fun k -> torch.full_like (k, 0.49.ToScalar()))

          let dense = DenseField.ofSpectrum model |> DenseField.noisy 0.7
          close 1e-9 (elements (DenseField.fisher dense theta)) (elements (SpectrumLikelihood.fisher known theta)) "F"
          let d = Simulator.field (SpectrumField.simulator "noisy" known |> doubled) theta 5UL

          let ours =
              differences (fun t -> (DenseField.logLikelihood dense d (Tensors.ofRows [| t |])).ToDouble())

          let truth =
              differences (fun t -> (SpectrumLikelihood.logLikelihood known d (Tensors.ofRows [| t |])).ToDouble())

          close 1e-8 ours truth "ln p differences")

      tensorTest "a field without borders: the covariance element by element, in one to three dimensions" (fun () ->
          let correlation (r: Tensor) =
              let r2 = r.square().unsqueeze 0L |> Tensors.keep

              fun (t: Tensor) ->
                  let sigma, beta = t.narrow (1L, 0L, 1L), t.narrow (1L, 1L, 1L)
                  sigma.square () * (r2 / beta.square () * -0.25).exp()

          for shape in [ [ 40 ]; [ 7; 9 ]; [ 3; 4; 5 ] ] do
              let places =
                  let rec all =
                      function
                      | [] -> [| [] |]
                      | s :: rest ->
                          [| for i in 0 .. s - 1 do
                                 for tail in all rest -> i :: tail |]

                  all shape

              let covariance (t: float[]) =
                  Matrix<float>
                      .Build.Dense(
                          places.Length,
                          places.Length,
                          (fun a b ->
                              let r2 =
                                  List.zip places[a] places[b]
                                  |> List.sumBy (fun (i, j) -> float ((i - j) * (i - j)))

                              t[0] ** 2.0 * exp (-0.25 * r2 / t[1] ** 2.0) + (if a = b then 0.25 else 0.0))
                      )

              let at = [| 1.1; 0.8 |]
              let inverse = (covariance at).Inverse()
              let h = 1e-5

              let slope a =
                  (covariance (at |> Array.mapi (fun i v -> if i = a then v + h else v))
                   - covariance (at |> Array.mapi (fun i v -> if i = a then v - h else v)))
                  / (2.0 * h)

              let w = Array.init 2 (fun a -> inverse * slope a)

              let truth =
                  Matrix<float>.Build.Dense(2, 2, (fun a b -> 0.5 * (w[a] * w[b]).Trace()))

              let model =
                  DenseField.ofCorrelation [| "σ"; "β" |] shape correlation
                  |> DenseField.noisy 0.5

              close 1e-8 (elements (DenseField.fisher model at)) (elements truth) $"F, %A{shape}"

              let d = Tensors.ofVector (Array.init places.Length (fun i -> sin (float (i * i))))
              let away = Vector<float>.Build.DenseOfArray(Tensors.toArray d)

              let logL t =
                  let c = covariance t in -0.5 * away * (c.Inverse() * away) - 0.5 * log (c.Determinant())

              let ours =
                  DenseField.logLikelihood model (d.reshape (shape |> List.map int64 |> List.toArray))

              let others = [| [| 1.0; 0.8 |]; [| 1.1; 1.2 |] |]

              let less f =
                  others |> Array.map (fun t -> f t - f at)

              close 1e-8 (less (fun t -> (ours (Tensors.ofRows [| t |])).ToDouble())) (less logL) "ln p differences") ]

let private scores =
    [ tensorTest
          "footprint with weights, noise before and after: the score's covariance is the Fisher matrix; the second noise forgotten is caught"
          (fun () ->
              let model = powerLaw 10
              let mask = footprint ()

              let simulator =
                  SpectrumField.simulator "power law" model
                  |> Observation.noisy (White 0.3)
                  |> Observation.masked mask
                  |> Observation.noisy (White 0.4)

              let dense =
                  DenseField.ofSpectrum model
                  |> DenseField.noisy 0.3
                  |> DenseField.masked mask
                  |> DenseField.noisy 0.4

              let exact = DenseField.exact dense

              let measured =
                  ExactAnswer.scoreCovariance simulator 600 2UL exact.LogLikelihood theta

              Expect.isLessThan (fisherDeviation measured (exact.Fisher theta)) 4.5 "deviations in standard errors"

              let first =
                  DenseField.ofSpectrum model |> DenseField.noisy 0.3 |> DenseField.masked mask

              Expect.isGreaterThan (fisherDeviation measured (DenseField.fisher first theta)) 4.5 "planted")

      tensorTest "the posterior by a polynomial through some hundred likelihoods is that of a grid" (fun () ->
          let model =
              DenseField.ofSpectrum (powerLaw 10)
              |> DenseField.masked (footprint ())
              |> DenseField.noisy 0.4

          let simulator =
              SpectrumField.simulator "power law" (powerLaw 10)
              |> Observation.masked (footprint ())
              |> Observation.noisy (White 0.4)

          let exact = DenseField.exact model
          let prior = Prior.uniform [ "A", 0.1, 4.0; "B", 0.1, 2.5 ]
          let d = Simulator.field simulator theta 3UL
          let found = ExactAnswer.posterior exact prior d
          let grid = ExactAnswer.posteriorOn 61 exact prior d
          Expect.isLessThan (Posterior.shift grid found) 0.01 "means in sds"
          Expect.isLessThan (abs (Posterior.area found / Posterior.area grid - 1.0)) 0.01 "area") ]

let private refusals =
    [ tensorTest "a covariance that has no inverse, too many pixels, and masks that are none are refused" (fun () ->
          refuses<SingularMatrixException> [ "noise"; "withMean" ] (fun () ->
              DenseField.fisher (DenseField.ofSpectrum (powerLaw 8)) theta |> ignore)

          refuses<ShapeException> [ "4096" ] (fun () ->
              DenseField.fisher (DenseField.ofSpectrum (powerLaw 66) |> DenseField.noisy 1.0) theta
              |> ignore)

          let model = DenseField.ofSpectrum (powerLaw 8)

          refuses<RangeException> [ "mask"; "none" ] (fun () ->
              DenseField.masked (torch.zeros (8L, 8L)) model |> ignore)

          refuses<RangeException> [ "mask"; "2" ] (fun () ->
              DenseField.masked (torch.full ([| 8L; 8L |], 2.0.ToScalar())) model |> ignore)

          refuses<ShapeException> [ "mask" ] (fun () -> DenseField.masked (torch.ones (8L)) model |> ignore)
          refuses<SettingException> [ "noise" ] (fun () -> DenseField.noisy -1.0 model |> ignore)

          refuses<ShapeException> [ "1 to 3 axes" ] (fun () ->
              DenseField.ofCorrelation [| "a" |] [ 2; 2; 2; 2 ] (fun r _ -> r) |> ignore)

          let published = PowerLaw.model 8 ModeConvention.Published
          refuses<SettingException> [ "Ideal" ] (fun () -> DenseField.ofSpectrum published |> ignore)) ]

let tests = testList "dense fields" (information @ scores @ refusals)
