/// Monotone local transforms of Gaussian fields: against closed forms, dense Gaussians with the Jacobian, and the covariance of the score.
module TransformedFieldTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open ExactSupport
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private powerLaw n =
    SpectrumField.create PowerLaw.spectrum (FourierGrid(2, n, float n)) ModeConvention.Ideal

let private universes =
    [ "sinh-arcsinh", LocalTransform.sinhArcsinh, [| 2.0; 1.0; 0.3; 0.8 |]
      "two slopes", LocalTransform.twoSlopes, [| 1.0; 1.0; 0.4; 0.7 |] ]

let private elements (m: Matrix<float>) = m.ToColumnMajorArray()

/// d = μ + e^s g: a Gaussian field again.
let private affine =
    LocalTransform.create
        [ "μ"; "s" ]
        (fun t g -> t[0] + t[1].exp() * g)
        (fun t d -> (d - t[0]) * (-t[1]).exp())
        (fun t d -> -t[1] + torch.zeros_like d)

let private transforms =
    [ testCase "T⁻¹ undoes T, and its slope is that of differences; by hand, automatically and solved for" (fun () ->
          Tensors.using (fun () ->
              let g = Tensors.ofVector [| -30.0; -3.0; -0.5; 0.0; 1e-3; 0.7; 4.0; 100.0 |]

              for name, hand, theta in universes do
                  let t = theta[2..] |> Array.map (fun v -> torch.tensor [| v |])
                  let names = List.ofArray hand.Parameters
                  let d = hand.Forward t g

                  let backward d =
                      let struct (g, _) = hand.Inverse t d in g

                  let h = d.abs () * 1e-5 + 1e-5

                  let steep =
                      ((backward (d + h) - backward (d - h)) / (h * 2.0)).abs().log()
                      |> Tensors.toArray

                  for way, transform, tolerance in
                      [ "by hand", hand, 1e-12
                        "automatically",
                        LocalTransform.ofInverse names hand.Forward (fun t d ->
                            let struct (g, _) = hand.Inverse t d in g),
                        1e-12
                        "solved for", LocalTransform.ofForward names hand.Forward, 1e-11
                        "solved for, falling", LocalTransform.ofForward names (fun t g -> hand.Forward t -g), 1e-11 ] do
                      let falling = way.EndsWith "falling"
                      let struct (back, slope) = transform.Inverse t d

                      close
                          tolerance
                          (Tensors.toArray back)
                          (Tensors.toArray (if falling then -g else g))
                          $"{name}, {way}: g"

                      close 1e-6 (Tensors.toArray slope) steep $"{name}, {way}: slope"

                  let planted = Array.mapi (fun i v -> if i = 3 then v + 1e-3 else v) steep
                  Expect.isGreaterThan (relative planted steep) 1e-6 "planted"))

      testCase "what is beyond the range of T has no g, and no likelihood" (fun () ->
          Tensors.using (fun () ->
              let exponential = LocalTransform.ofForward [ "a" ] (fun t g -> (t[0] * g).exp())

              let struct (g, _) =
                  exponential.Inverse [| torch.tensor [| 2.0 |] |] (Tensors.ofVector [| Math.E; -1.0 |])

              let g = Tensors.toArray g
              Expect.isLessThan (abs (g[0] - 0.5)) 1e-12 "ln d/a"
              Expect.isTrue (Double.IsNaN g[1]) "none"
              let model = TransformedField.create exponential (powerLaw 4)
              let d = torch.ones (4L, 4L, dtype = torch.ScalarType.Float64)
              let at = Tensors.ofRows [| [| 1.0; 1.0; 2.0 |] |]

              Expect.isTrue
                  (Double.IsFinite((TransformedFieldLikelihood.logLikelihood model d at).ToDouble()))
                  "within"

              d[0L, 0L] <- (-1.0).ToTensor()
              Expect.equal ((TransformedFieldLikelihood.logLikelihood model d at).ToDouble()) -infinity "beyond")) ]

let private likelihood =
    [ for name, transform, theta in universes do
          tensorTest
              $"{name}: a dense Gaussian over T⁻¹ of the pixels, with the Jacobian; one forgotten is caught"
              (fun () ->
                  let n = 5
                  let model = TransformedField.create transform (powerLaw n)
                  let d = Simulator.field (TransformedField.simulator name model |> doubled) theta 3UL
                  let first = 2.0 * Math.PI / float n

                  let truth jacobian (t: float[]) =
                      let own = t[2..] |> Array.map (fun v -> torch.tensor [| v |])
                      let struct (g, slope) = transform.Inverse own d
                      let g = Tensors.toArray g
                      let power k = t[0] * (max k first) ** -t[1]
                      let factor = (pixelCovariance n (correlationBySums n (float n) power)).Cholesky()
                      let g = Vector<float>.Build.DenseOfArray g

                      -0.5 * g.DotProduct(factor.Solve g) - 0.5 * factor.DeterminantLn
                      + jacobian * slope.sum().ToDouble()

                  let points =
                      [| for a in 0..3 -> theta |> Array.mapi (fun i v -> if i = a then 1.1 * v else v) |]

                  let less f =
                      points |> Array.map (fun t -> f t - f theta)

                  let logL = TransformedFieldLikelihood.logLikelihood model d
                  let ours = less (fun t -> (logL (Tensors.ofRows [| t |])).ToDouble())
                  close 1e-8 ours (less (truth 1.0)) "ln p differences"
                  Expect.isGreaterThan (relative ours (less (truth 0.0))) 1e-2 "planted"

                  close
                      1e-12
                      (logL (Tensors.ofRows points) |> Tensors.toArray)
                      (points |> Array.map (fun t -> (logL (Tensors.ofRows [| t |])).ToDouble()))
                      "a batch")

      tensorTest "solved for, a likelihood and its score are those of the closed form" (fun () ->
          for name, transform, theta in universes do
              let d =
                  Simulator.field
                      (TransformedField.simulator name (TransformedField.create transform (powerLaw 8)))
                      theta
                      3UL

              let of' transform =
                  let exact =
                      TransformedFieldLikelihood.exact (TransformedField.create transform (powerLaw 8))

                  Array.append
                      [| (exact.LogLikelihood d (Tensors.ofRows [| theta |])).ToDouble() |]
                      (ExactAnswer.score exact d theta)

              close
                  1e-9
                  (of' (LocalTransform.ofForward (List.ofArray transform.Parameters) transform.Forward))
                  (of' transform)
                  name) ]

let private information =
    [ tensorTest "an affine transform: the closed form; shared names are one parameter" (fun () ->
          let n = 12
          let at = [| 1.3; 0.8; 0.4; 0.2 |]

          let found =
              TransformedFieldLikelihood.fisher (TransformedField.create affine (powerLaw n)) at

          let spectrum =
              SpectrumLikelihood.fisher (SpectrumField.withMean (powerLaw n)) at[..1]

          let slopes =
              [| for i in 0 .. n - 1 do
                     for j in 0 .. n - 1 ->
                         log (
                             max
                                 (sqrt (wave n (float n) i ** 2.0 + wave n (float n) j ** 2.0))
                                 (2.0 * Math.PI / float n)
                         ) |]

          let pixels = float (n * n)
          // e^s multiplies every mode: ∂ln P/∂s = 2; the mean of d has the precision n²/P(0)e^2s
          let truth =
              array2D
                  [ [ spectrum[0, 0]; spectrum[0, 1]; 0.0; pixels / at[0] ]
                    [ spectrum[1, 0]; spectrum[1, 1]; 0.0; -Array.sum slopes ]
                    [ 0.0
                      0.0
                      pixels / (at[0] * (2.0 * Math.PI / float n) ** -at[1] * exp (2.0 * at[3]))
                      0.0 ]
                    [ pixels / at[0]; -Array.sum slopes; 0.0; 2.0 * pixels ] ]
              |> Matrix<float>.Build.DenseOfArray

          close 1e-9 (elements found) (elements truth) "F"
          // d = g √A: the amplitude A² k^−B, by one name
          let squared =
              LocalTransform.ofInverse [ "A" ] (fun t g -> t[0].sqrt() * g) (fun t d -> d / t[0].sqrt())

          let model = TransformedField.create squared (powerLaw n)
          Expect.equal model.Parameters [| "A"; "B" |] "two parameters"
          let shared = TransformedFieldLikelihood.fisher model at[..1]
          let double = Matrix<float>.Build.DiagonalOfDiagonalArray [| 2.0; 1.0 |]
          close 1e-9 (elements shared) (elements (double * spectrum * double)) "F of A²")

      for name, transform, theta in universes do
          tensorTest
              $"{name}: the covariance of the score over simulations; another point and a forgotten term are caught"
              (fun () ->
                  let model = TransformedField.create transform (powerLaw 8)
                  let exact = TransformedFieldLikelihood.exact model

                  let measured =
                      ExactAnswer.scoreCovariance
                          (TransformedField.simulator name model)
                          1500
                          5UL
                          exact.LogLikelihood
                          theta

                  let found = exact.Fisher theta
                  Expect.isLessThan (fisherDeviation measured found) 4.5 "deviations in standard errors"
                  let crossless = found.MapIndexed(fun i j v -> if (i < 2) <> (j < 2) then 0.0 else v)
                  Expect.isGreaterThan (fisherDeviation measured crossless) 4.5 "planted: spectrum and transform apart"
                  let moved = theta |> Array.mapi (fun i v -> if i = 3 then 1.4 * v else v)
                  Expect.isGreaterThan (fisherDeviation measured (exact.Fisher moved)) 4.5 "planted: another point")

      tensorTest "a T that turns, and an inverse of another function, are refused" (fun () ->
          let refused transform words =
              refuses<SettingException> words (fun () ->
                  TransformedFieldLikelihood.fisher
                      (TransformedField.create transform (powerLaw 8))
                      [| 1.0; 1.0; 0.5 |]
                  |> ignore)

          refused
              (LocalTransform.ofForward [ "c" ] (fun t g -> g + t[0] * g * g))
              [ "local transform of c"; "one sign" ]

          refused (LocalTransform.ofInverse [ "c" ] (fun t g -> g * t[0]) (fun t d -> d * t[0])) [ "T⁻¹(T(g)) = g" ]

          refused
              (LocalTransform.create [ "c" ] (fun t g -> g * t[0]) (fun t d -> d / t[0]) (fun t d -> t[0] + d * 0.0))
              [ "ln |∂T⁻¹/∂d|" ]

          refuses<SettingException> [ "Ideal" ] (fun () ->
              TransformedField.create affine (PowerLaw.model 8 ModeConvention.Published)
              |> ignore)) ]

let private simulator =
    [ for name, transform, theta in universes do
          tensorTest $"{name}: derivatives by rule, automatically and by differences" (fun () ->
              let model = TransformedField.create transform (powerLaw 8)
              derivativesAgree name (doubled (TransformedField.simulator name model)) (Array.create 4 1e-4) theta)

      tensorTest "a name that both have is differentiated through both" (fun () ->
          let squared =
              LocalTransform.ofInverse [ "A" ] (fun t g -> t[0].sqrt() * g) (fun t d -> d / t[0].sqrt())

          let model = TransformedField.create squared (powerLaw 8)

          derivativesAgree
              "shared"
              (doubled (TransformedField.simulator "shared" model))
              [| 1e-4; 1e-4 |]
              [| 1.3; 0.8 |]) ]

let private posterior =
    [ tensorTest
          "four parameters: the exact posterior about a truth, and its volume against the Fisher matrix"
          (fun () ->
              let name, transform, theta = universes[1]
              let model = TransformedField.create transform (powerLaw 12)
              let exact = TransformedFieldLikelihood.exact model

              let prior =
                  Prior.uniform [ "A", 0.3, 3.0; "B", 0.3, 1.7; "s", -0.9, 0.9; "w", 0.05, 5.0 ]

              let d = Simulator.field (TransformedField.simulator name model) theta 7UL
              let found, warnings = ExactAnswer.posteriorWithWarnings exact prior d
              Expect.isEmpty warnings "settled"
              let level = ExactAnswer.hpdLevel exact prior d theta found
              Expect.isTrue (level > 0.001 && level < 0.999) $"level of the truth {level:F3}") ]

let tests =
    testList "transformed fields" (transforms @ likelihood @ information @ simulator @ posterior)
