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

/// Information of a Hermitian pair of column 0 on ln P, by tanh–sinh quadrature of the law of PublishedModes in another program, the
/// same to ten digits at two step sizes.
let private pairUnit = 0.6769219114

/// e^{−z} I_ν(z), ν = 0 or 1: Abramowitz & Stegun 9.6.10 below 25, 9.7.1 above.
let private bessel nu z =
    if z < 25.0 then
        let rec sum k term total =
            if term < 1e-18 * total then
                total
            else
                let next = term * 0.25 * z * z / (k * (k + nu))
                sum (k + 1.0) next (total + next)

        exp -z * (if nu = 0.0 then 1.0 else 0.5 * z) * sum 1.0 1.0 1.0
    else
        let rec sum k term total =
            let next = -term * (4.0 * nu * nu - (2.0 * k - 1.0) ** 2.0) / (8.0 * k * z)

            if k > 25.0 || abs next > abs term then
                total
            else
                sum (k + 1.0) next (total + next)

        sum 1.0 1.0 1.0 / sqrt (2.0 * Math.PI * z)

/// Information of the single real mode of column 0, with K₀ and K₁ from their integral ∫ e^{−u cosh t} cosh νt dt by the trapezoidal
/// rule in another program, the same to eleven digits at two step sizes and two ranges.
let private singleUnit = 0.2899419957

/// What the oracle table (theory/fisher.csv) took for the two: its entries at 16² and 128², less the half of every other mode.
let private tabledPair, private tabledSingle = 0.677031633210, 0.289951188088

/// The unit of a pair by another route: given the difference Δ of the two phases, y = 4|h|²/P is (1 + cos Δ) z₁² + (1 − cos Δ) z₂² of two normal
/// numbers, so that f(y) = ⟨e^{−y/2s²} I₀(y cos Δ/2s²)/2s⟩ over Δ, s = sin Δ. Returns ∫ f (1 + y f′/f)² dy and ∫ f dy.
let private pairByBessel points =
    let rows =
        Array.init points (fun i ->
            // midpoints in w, Δ = π/2 (w − sin 2πw/2π): equal weights at the ends would converge slowly
            let w = (float i + 0.5) / float points
            let delta = 0.5 * Math.PI * (w - sin (2.0 * Math.PI * w) / (2.0 * Math.PI))
            struct (delta, (1.0 - cos (2.0 * Math.PI * w)) / float points))

    let step, low, high = 0.1, -40.0, log 300.0
    let mutable unit = 0.0
    let mutable mass = 0.0

    for i in 0 .. int ((high - low) / step) do
        let y = exp (low + step * float i)
        let mutable f = 0.0
        let mutable slope = 0.0

        for struct (delta, weight) in rows do
            let s, c = sin delta, cos delta
            let rate = 0.5 / (s * s)
            let z = c * y * rate
            // e^{−y rate} Iₙ(z) = e^{−y rate (1 − c)} Iₙ(z) e^{−z}
            let scale = weight * exp (-y * rate * (2.0 * sin (0.5 * delta) ** 2.0)) / (2.0 * s)

            let i0, i1 = bessel 0.0 z, bessel 1.0 z
            f <- f + scale * i0
            slope <- slope + scale * y * rate * (c * i1 - i0)

        mass <- mass + step * y * f
        unit <- unit + step * y * f * (1.0 + slope / f) ** 2.0

    unit, mass

/// Σ unit (∂ln P)(∂ln P)ᵀ of the power law at B, as (AA, AB, BB), for modes k: ∂ln P = (1, −ln k).
let private counted (modes: (float * float) seq) =
    let sum f =
        modes |> Seq.sumBy (fun (k, unit) -> unit * f (log k))

    [| sum (fun _ -> 1.0); sum (fun l -> -l); sum (fun l -> l * l) |]

/// The Hermitian pairs of column 0, each with this unit.
let private columnPairs n unit =
    counted [ for i in 1 .. n / 2 - 1 -> wave n (float n) i, unit ]

/// The published power law's information at (1, 0.5), counted by hand from the construction: row 0 is zero; of the other columns each
/// two modes about the centre share a magnitude, ½, and the centre has its own; column 0 has n/2 − 1 pairs and a single real mode.
let private publishedByCounting pair single n =
    let k i j =
        sqrt (wave n (float n) i ** 2.0 + wave n (float n) j ** 2.0)

    let others =
        counted
            [ for i in 1 .. n - 1 do
                  for j in 1 .. n - 1 -> k i j, (if i = n / 2 && j = n / 2 then 0.5 else 0.25) ]

    Array.map3 (fun a b c -> a + b + c) others (columnPairs n pair) (counted [ k (n / 2) 0, single ])

let private logL model field (t: float[]) =
    (SpectrumLikelihood.logLikelihood model field (Tensors.ofRows [| t |])).ToDouble()

let private exactOf n modes =
    let model = PowerLaw.model n modes

    ExactAnswer.create (SpectrumLikelihood.fisher model) (SpectrumLikelihood.logLikelihood model)

let private levels modes count factor =
    let simulator = (PowerLaw.create 24 modes).Simulator
    hpdLevels simulator (exactOf 24 modes |> tempered factor) PowerLaw.prior count

let private scoreVariance modes count at =
    scoreDeviations (PowerLaw.create 16 modes).Simulator (exactOf 16 modes) count fiducial at

let tests =
    testList
        "exact"
        [ tensorTest "Fisher matrices at (1, 0.5), 128²: the oracle table" (fun () ->
              // reference: docs/universes.md §2 and a table computed for this project in double precision
              let fisher modes =
                  lower (SpectrumLikelihood.fisher (PowerLaw.model 128 modes) fiducial)

              close 1e-8 (fisher ModeConvention.Ideal) [| 8191.5; -6365.163971079639; 7076.180218977116 |] "Ideal"

              let quoted =
                  SpectrumLikelihood.quotedFisher (PowerLaw.model 128 ModeConvention.Ideal) fiducial

              close 1e-8 (lower quoted) [| 1984.5; -1545.0637952393427; 1690.492649782041 |] "quoted quadrant"
              Expect.floatClose Accuracy.medium (quoted.Determinant()) 967560.532133058 "quoted det"

              let ideal16 =
                  lower (SpectrumLikelihood.fisher (PowerLaw.model 16 ModeConvention.Ideal) fiducial)

              close 1e-8 ideal16 [| 127.5; -100.80207962898012; 108.892163663252 |] "Ideal, 16²"

              for n in [ 128; 16 ] do
                  let found =
                      lower (SpectrumLikelihood.fisher (PowerLaw.model n ModeConvention.Published) fiducial)

                  close 1e-9 found (publishedByCounting pairUnit singleUnit n) $"Published, {n}²"

              // the oracle table, whose units of column 0 are not converged, and whose other figures stand
              for n, values in
                  [ 128, [| 4075.442944080318; -3179.123708162968; 3521.382781965999 |]
                    16, [| 61.52917262055806; -49.89323516795704; 53.63676604589871 |] ] do
                  close 1e-10 (publishedByCounting tabledPair tabledSingle n) values $"the table, {n}²"

                  let found =
                      lower (SpectrumLikelihood.fisher (PowerLaw.model n ModeConvention.Published) fiducial)

                  Expect.isGreaterThan (relative found values) 1e-6 $"the table's units are caught, {n}²")

          tensorTest "the units of column 0 are those of other derivations; the table's are caught" (fun () ->
              let unit, mass = pairByBessel 96
              Expect.floatClose Accuracy.veryHigh mass 1.0 "the density integrates to one"
              Expect.isLessThan (abs (unit - pairUnit)) 2e-9 "by Bessel functions"

              Expect.isLessThan (abs (PublishedModes.information PublishedModes.pair.Value - pairUnit)) 1e-9 "the law"

              Expect.isGreaterThan (abs (unit - tabledPair)) 1e-4 "the table's pair"
              let single = PublishedModes.information PublishedModes.single.Value
              Expect.isLessThan (abs (single - singleUnit)) 1e-9 "single mode"
              Expect.isGreaterThan (abs (single - tabledSingle)) 9e-6 "the table's single mode")

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
              // 0.676921911 by tanh–sinh quadrature of the same law, an independent program; 0.28995 of docs/universes.md §2
              Expect.isLessThan
                  (abs (PublishedModes.information PublishedModes.pair.Value - 0.676921911))
                  1e-9
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
