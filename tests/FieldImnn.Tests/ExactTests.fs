module ExactTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open ExactSupport
open TestSupport
open TorchSharp

let private fiducial = [| 1.0; 0.5 |]

let private logL model field (t: float[]) =
    (SpectrumLikelihood.logLikelihood model field (Tensors.ofRows [| t |])).ToDouble()

let private exactOf n modes =
    let model = PowerLaw.model n modes

    { Fisher = SpectrumLikelihood.fisher model
      LogLikelihood = SpectrumLikelihood.logLikelihood model }

let private levels modes count factor =
    let simulator = (PowerLaw.create 24 modes).Simulator
    hpdLevels simulator (exactOf 24 modes |> tempered factor) PowerLaw.prior count

let private scoreVariance modes count at =
    scoreDeviations (PowerLaw.create 16 modes).Simulator (exactOf 16 modes) count fiducial at

let tests =
    testList
        "exact"
        [ tensorTest "Fisher matrices at (1, 0.5), 128²: the oracle table" (fun () ->
              // reference: physics.md §2 and theory/fisher.csv, computed for this project in double precision
              let fisher modes =
                  lower (SpectrumLikelihood.fisher (PowerLaw.model 128 modes) fiducial)

              close 1e-8 (fisher ModeConvention.Ideal) [| 8191.5; -6365.163971079639; 7076.180218977116 |] "Ideal"

              let quoted =
                  SpectrumLikelihood.quotedFisher (PowerLaw.model 128 ModeConvention.Ideal) fiducial

              close 1e-8 (lower quoted) [| 1984.5; -1545.0637952393427; 1690.492649782041 |] "quoted quadrant"
              Expect.floatClose Accuracy.medium (quoted.Determinant()) 967560.532133058 "quoted det"
              let small = PowerLaw.model 16

              let ideal16 =
                  lower (SpectrumLikelihood.fisher (small ModeConvention.Ideal) fiducial)

              close 1e-8 ideal16 [| 127.5; -100.80207962898012; 108.892163663252 |] "Ideal, 16²"
              // the table's unit of a column pair, 0.677032, is 1.6e-4 above the converged 0.676922 (see the next test)
              close 3e-6 (fisher ModeConvention.Published) [| 4075.442944; -3179.123708; 3521.382782 |] "Published"

              let published16 =
                  lower (SpectrumLikelihood.fisher (small ModeConvention.Published) fiducial)

              close 3e-5 published16 [| 61.52917262; -49.89323517; 53.63676605 |] "Published, 16²")

          tensorTest "laws of column 0: their densities are those of drawn modes, and integrate to one" (fun () ->
              let draws = 200000
              let random = Random 4

              let normal () =
                  MathNet.Numerics.Distributions.Normal.Sample(random, 0.0, 1.0)

              let phase () =
                  Math.PI * (random.NextDouble() - random.NextDouble() + 1.0)

              let check (law: ModeLaw) (sample: unit -> float) =
                  let density =
                      law.Values
                      |> Array.mapi (fun i g ->
                          let s = law.First + law.Step * float i
                          exp (law.Occupation * s - law.Slope * exp s + g))

                  let cumulative = density |> Array.scan (+) 0.0
                  let total = Array.last cumulative

                  Array.init draws (fun _ ->
                      let t = (log (sample ()) - law.First) / law.Step
                      let i = int (floor t)
                      (cumulative[i] + (t - float i) * density[i]) / total)
                  |> uniformity

              let pair () =
                  let m1, m2, delta = normal (), normal (), phase () + phase ()
                  m1 * m1 + m2 * m2 + 2.0 * m1 * m2 * cos delta

              let single () = (normal () * cos (phase ())) ** 2.0
              Expect.isGreaterThan (check PublishedModes.pair.Value pair) 0.001 "pair"
              Expect.isGreaterThan (check PublishedModes.single.Value single) 0.001 "single"

              Expect.isLessThan
                  (check PublishedModes.pair.Value (fun () -> 1.03 * pair ()))
                  0.001
                  "planted 3 % of power"
              // 0.676921911 by tanh–sinh quadrature of the same law, an independent program; 0.28995 from physics.md §2
              Expect.floatClose
                  Accuracy.medium
                  (PublishedModes.information PublishedModes.pair.Value)
                  0.676921911
                  "unit of a pair"

              Expect.isLessThan
                  (abs (PublishedModes.information PublishedModes.single.Value - 0.28995))
                  1e-5
                  "unit of a single mode")

          tensorTest
              "Ideal likelihood is that of a dense Gaussian over pixels; a wrong determinant is caught"
              (fun () ->
                  let n = 6
                  let model = PowerLaw.model n ModeConvention.Ideal
                  let simulator = SpectrumField.simulator "power-law" model

                  let d =
                      (Simulator.field simulator [| 0.9; 0.6 |] 3UL).``to`` torch.ScalarType.Float64

                  let d = d - d.mean ()

                  let dense =
                      differences (fun t -> denseLogLikelihood n (fun k -> t[0] * k ** -t[1]) (Tensors.toArray d))

                  close 1e-9 (differences (logL model d)) dense "ln p differences"

                  let wrong t =
                      logL model d t + float (n * n - 1) * log t[0]

                  Expect.isGreaterThan (relative (differences wrong) dense) 0.01 "planted sign of the determinant")

          tensorTest "score variance is the Fisher matrix within its error; a wrong point is caught" (fun () ->
              for modes in [ ModeConvention.Ideal; ModeConvention.Published ] do
                  let z = scoreVariance modes 2000 fiducial

                  Expect.isLessThan
                      (z |> Array.map abs |> Array.max)
                      4.5
                      $"{modes}: deviations %A{z} in standard errors"

              let planted = scoreVariance ModeConvention.Ideal 2000 [| 1.0; 0.62 |]
              Expect.isGreaterThan (planted |> Array.map abs |> Array.max) 4.5 "planted")

          calibrationOver200 levels

          tensorTest "the ensemble sampler agrees with the grid" (fun () ->
              let problem = PowerLaw.create 32 ModeConvention.Ideal
              let d = Simulator.field problem.Simulator [| 0.9; 0.6 |] 8UL
              let grid = ExactAnswer.posterior problem.Exact problem.Prior d
              let start = Posterior.resample 1 40 grid

              let run =
                  EnsembleSampler.run 2 100 500 (ExactAnswer.logPosterior problem.Exact problem.Prior d) start

              let samples =
                  Posterior.ofSamples
                      problem.Prior.Names
                      (Prior.bounds problem.Prior)
                      run.Samples
                      (Array.create run.Samples.Length 1.0)

              let z =
                  Array.map3
                      (fun a b s -> abs (a - b) / s)
                      (Posterior.mean samples)
                      (Posterior.mean grid)
                      (Posterior.sd grid)

              Expect.isLessThan (Array.max z) 0.1 "means in sds"
              Expect.isLessThan (abs (Posterior.area samples / Posterior.area grid - 1.0)) 0.1 "area"
              Expect.equal run.Stuck 0 "no stuck walker"
              Expect.isTrue (run.Samples |> Array.forall (Prior.contains problem.Prior)) "nothing outside the prior") ]
