/// Tomographic lensing spectra: against the anchor's table, two tables made outside of the project, and integrals in plain numbers.
module LensingSpectraTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Cosmology
open MathNet.Numerics.Integration
open TestSupport
open TorchSharp

/// θ = (Ω_c, Ω_b, σ8, h, n_s, w0), the order of the tables, (p) or (b, p).
let private universe (theta: Tensor) =
    let p i = theta.select (-1L, int64 i)
    CosmologyParameters(p 0, p 1, p 3, p 4, p 2, 2.726, p 5)

let private names = [| "Omega_c"; "Omega_b"; "sigma8"; "h"; "n_s"; "w0" |]
let private truth = [| 0.2664; 0.0492; 0.831; 0.6727; 0.9645; -1.0 |]

let private pairs =
    [| for i in 1..5 do
           for j in i..5 -> $"{i}{j}" |]

/// A table's rows by cosmology: θ, multipoles, and C (ℓ, pairs).
let private cases name =
    table name
    |> Array.groupBy (fun row -> names |> Array.map (row >> float))
    |> Array.map (fun (theta, rows) ->
        theta,
        rows |> Array.map (fun row -> float (row "ell")),
        rows
        |> Array.map (fun row -> pairs |> Array.map (fun p -> float (row $"C_{p}"))))

/// ln C (ℓ, pairs) at θ (p).
let private logSpectra (spectra: LensingSpectra) (theta: Tensor) =
    (spectra.Power(universe theta).squeeze 0L).log().t()

let private lsst multipoles quadrature =
    LensingSpectra(RedshiftBins.Lsst, multipoles, quadrature)

/// Largest |C/table − 1| of a rule.
let private away quadrature (theta: float[], multipoles, expected: float[][]) =
    let found =
        logSpectra (lsst multipoles quadrature) (Tensors.ofVector theta)
        |> Tensors.toRows

    Array.map2 (Array.map2 (fun a e -> abs (exp a / e - 1.0))) found expected
    |> Array.concat
    |> Array.max

let private spectra =
    [ tensorTest
          "all pairs of nine cosmologies: the anchor's table to 1e-4; the converged integrals do not pass for it"
          (fun () ->
              for case in cases "lensing_cl.csv" do
                  let theta, _, _ = case
                  Expect.isLessThan (away LensingQuadrature.Published case) 1e-4 $"at %A{theta}"
                  let difference = away LensingQuadrature.Converged case
                  Expect.isTrue (difference > 3e-3 && difference < 1e-2) $"{difference} at %A{theta}")

      tensorTest "converged: Simpson's rule on 4,096 intervals everywhere, by another program, to 1e-6" (fun () ->
          for case in cases "lensing_converged.csv" do
              let theta, _, _ = case
              Expect.isLessThan (away LensingQuadrature.Converged case) 1e-6 $"at %A{theta}")

      tensorTest
          "derivatives by all six parameters: differences of the table's recipe, by another program, to 1e-3"
          (fun () ->
              let rows = table "lensing_cl_slopes.csv"

              let multipoles = rows |> Array.map (fun row -> float (row "ell")) |> Array.distinct

              let _, slopes =
                  Autodiff.fjacobian
                      (logSpectra (lsst multipoles LensingQuadrature.Published))
                      (Tensors.ofVector truth)

              for a in 0..5 do
                  let expected =
                      rows
                      |> Array.filter (fun row -> row "parameter" = names[a])
                      |> Array.collect (fun row -> pairs |> Array.map (fun p -> float (row $"dlnC_{p}")))

                  let found = slopes.select(-1L, int64 a).contiguous() |> Tensors.toArray
                  Expect.isLessThan (relative found expected) 1e-3 names[a]
                  // to leave out the Ω_b in Ω_m is such an error
                  let planted =
                      slopes.select(-1L, int64 ((a + 1) % 6)).contiguous() |> Tensors.toArray

                  Expect.isGreaterThan (relative planted expected) 1e-2 "planted: another parameter")

      tensorTest
          "derivatives along the line between two of the table's cosmologies add up to the table's difference"
          (fun () ->
              let chosen = [| 0; 10; 20; 27 |]

              let at theta =
                  cases "lensing_cl.csv"
                  |> Array.pick (fun (t, multipoles, c) ->
                      if t = theta then
                          Some(Array.map (Array.get multipoles) chosen, Array.map (Array.get c) chosen)
                      else
                          None)

              let mix = [| 0.2; 0.045; 0.95; 0.62; 1.05; -0.8 |]
              let multipoles, first = at truth
              let _, last = at mix
              let step = Array.map2 (-) mix truth
              let rule = GaussLegendreRule(0.0, 1.0, 5)
              let model = lsst multipoles LensingQuadrature.Published

              let sum =
                  [| for i in 0 .. rule.Order - 1 ->
                         let t = Array.map2 (fun a s -> a + rule.GetAbscissa i * s) truth step

                         let _, along =
                             Autodiff.fgradv (logSpectra model >> _.sum()) (Tensors.ofVector t) (Tensors.ofVector step)

                         rule.GetWeight i * along.ToDouble() |]
                  |> Array.sum

              let expected =
                  Array.map2 (Array.map2 (fun a b -> log (b / a))) first last
                  |> Array.sumBy Array.sum

              Expect.isLessThan (abs (sum / expected - 1.0)) 1e-3 $"{sum} and {expected}") ]

/// 1/(a²E) by plain numbers.
let private rate (theta: float[]) a =
    let matter = theta[0] + theta[1]

    1.0
    / (a
       * a
       * sqrt (matter * a ** -3.0 + (1.0 - matter) * a ** (-3.0 * (1.0 + theta[5]))))

let private background =
    [ tensorTest "distances: adaptive quadrature, whatever w0" (fun () ->
          for w0 in [ -2.0; -1.0; -0.3 ] do
              let theta = truth |> Array.mapi (fun i v -> if i = 5 then w0 else v)
              let a = [| 0.05; 0.3; 0.7; 0.99 |]

              let expected =
                  a
                  |> Array.map (fun from ->
                      2997.92458
                      * DoubleExponentialTransformation.Integrate(rate theta, from, 1.0, 1e-12))

              let found =
                  Background.ComovingDistance(universe (Tensors.ofVector theta), Tensors.ofVector a)

              close 1e-9 (Tensors.toArray found) expected $"χ at w0 = {w0}")

      tensorTest "growth with w0: the equation of growth, step by step; the growth of w0 = −1 is not it" (fun () ->
          // D″ + (3/a + d ln E/da) D′ = 3/2 Ω_m D/(a⁵E²), from the matter era on
          let grown (theta: float[]) (wanted: float[]) =
              let matter = theta[0] + theta[1]
              let square a = (1.0 / (a * a * rate theta a)) ** 2.0

              let slope a (d, v) =
                  let h = 1e-5 * a
                  let logSlope = (log (square (a + h)) - log (square (a - h))) / (4.0 * h)
                  v, -(3.0 / a + logSlope) * v + 1.5 * matter / (a ** 5.0 * square a) * d

              let step h (a, d, v) =
                  let plus (d, v) (k: float * float) t = d + t * fst k, v + t * snd k
                  let k1 = slope a (d, v)
                  let k2 = slope (a + h / 2.0) (plus (d, v) k1 (h / 2.0))
                  let k3 = slope (a + h / 2.0) (plus (d, v) k2 (h / 2.0))
                  let k4 = slope (a + h) (plus (d, v) k3 h)

                  let mean f =
                      (f k1 + 2.0 * f k2 + 2.0 * f k3 + f k4) / 6.0

                  a + h, d + h * mean fst, v + h * mean snd

              // equal steps in ln a, so many to each wanted scale factor
              let reach state target =
                  let a, _, _ = state
                  let factor = (target / a) ** (1.0 / 4000.0)

                  (state, [ 1..4000 ])
                  ||> List.fold (fun (a, d, v) _ -> step (a * (factor - 1.0)) (a, d, v))

              let start = 1e-4, 1e-4, 1.0

              Array.scan reach start wanted |> Array.skip 1 |> Array.map (fun (_, d, _) -> d)

          for w0 in [ -2.0; -0.7; -0.3 ] do
              let theta = truth |> Array.mapi (fun i v -> if i = 5 then w0 else v)
              let expected = grown theta [| 0.1; 0.4; 0.8; 1.0 |]
              let expected = expected |> Array.map (fun d -> d / expected[3])

              let growth (t: float[]) =
                  Background.Growth(universe (Tensors.ofVector t), Tensors.ofVector [| 0.1; 0.4; 0.8; 1.0 |])
                  |> Tensors.toArray

              close 1e-4 (growth theta) expected $"D at w0 = {w0}"
              Expect.isGreaterThan (relative (growth truth) expected) 1e-3 "planted")

      tensorTest
          "an empty beam: κ of every source by itself, averaged over the sources; a factor 1 + z left out is caught"
          (fun () ->
              let z = [| for i in 0..4000 -> 10.0 * (float i / 4000.0) ** 2.0 |]
              let a = z |> Array.map (fun z -> 1.0 / (1.0 + z))

              let chi =
                  Background.ComovingDistance(universe (Tensors.ofVector truth), Tensors.ofVector a)
                  |> Tensors.toArray

              let density = RedshiftBins.Lsst.Density(Tensors.ofVector z) |> Tensors.toRows

              let trapezoid f =
                  Array.init (z.Length - 1) (fun i -> 0.5 * (z[i + 1] - z[i]) * (f i + f (i + 1)))
                  |> Array.sum

              // ∫ (1 + z) χ (χ_s − χ)/χ_s dχ = (F₁(s) − F₂(s)/χ_s) by running integrals
              let running power f =
                  Array.scan
                      (fun sum i ->
                          sum
                          + 0.5
                            * (chi[i + 1] - chi[i])
                            * (f i * chi[i] ** power + f (i + 1) * chi[i + 1] ** power))
                      0.0
                      [| 0 .. z.Length - 2 |]

              let shift f =
                  let first, second = running 1.0 f, running 2.0 f

                  density
                  |> Array.map (fun n ->
                      let kappa i =
                          if i = 0 then 0.0 else first[i] - second[i] / chi[i]

                      1.5 * (truth[0] + truth[1]) / 2997.92458 ** 2.0
                      * trapezoid (fun i -> n[i] * kappa i)
                      / trapezoid (fun i -> n[i]))

              let found =
                  (lsst [| 100.0 |] LensingQuadrature.Converged).EmptyBeam(universe (Tensors.ofVector truth))
                  |> Tensors.toArray

              let expected = shift (fun i -> 1.0 + z[i])
              Expect.isLessThan (Array.map2 (fun f e -> abs (f / e - 1.0)) found expected |> Array.max) 1e-4 "λ"
              Expect.isGreaterThan (relative (shift (fun _ -> 1.0)) expected) 0.1 "planted") ]

let private limits =
    [ tensorTest "halofit: linear on large scales, several times that on small ones, less so in the past" (fun () ->
          let cosmology = universe (Tensors.ofVector truth)
          let k = Tensors.ofVector [| 1e-3; 1.0; 10.0 |]

          let boost a =
              (Halofit.Power(cosmology, k, a)
               / LinearPower.LogPower(cosmology, k, Sigma8Rule.Converged, a).exp())
              |> Tensors.toArray

          let now, past = boost 1.0, boost 0.2
          Expect.isLessThan (abs (now[0] - 1.0)) 0.01 "large scales"
          Expect.isTrue (now[2] > 5.0 && now[1] > past[1] && now[2] > past[2]) $"%A{now} and %A{past}")

      tensorTest "a row is the same to the last bit whatever its batch and the threads" (fun () ->
          let rows =
              [| truth
                 [| 0.2; 0.045; 0.95; 0.62; 1.05; -0.8 |]
                 [| 0.5; 0.05; 0.6; 0.7; 1.0; -1.7 |] |]

          for quadrature in [ LensingQuadrature.Published; LensingQuadrature.Converged ] do
              let spectra = lsst [| 36.0; 900.0; 5000.0 |] quadrature

              let power threads (rows: float[][]) =
                  onThreads threads (fun () -> spectra.Power(universe (Tensors.ofRows rows)) |> Tensors.toArray)

              let all = power 1 rows
              Expect.equal (Array.concat [ for row in rows -> power 1 [| row |] ]) all "alone"
              Expect.equal (power 2 rows) all "threads")

      tensorTest "finite and positive, with finite derivatives, at the corners of wide priors" (fun () ->
          for quadrature in [ LensingQuadrature.Published; LensingQuadrature.Converged ] do
              let spectra = lsst [| 36.0; 6500.0 |] quadrature

              for omegaC, sigma8, w0 in [ 1e-4, 0.1, -2.0; 1e-4, 1.5, -0.3; 1.2, 0.1, -0.3; 1.2, 1.5, -2.0 ] do
                  let theta = Tensors.ofVector [| omegaC; 0.05; sigma8; 0.5; 0.7; w0 |]
                  let value, slopes = Autodiff.fjacobian (fun t -> spectra.Power(universe t)) theta
                  Expect.isTrue (value.gt(0.0.ToScalar()).all().ToBoolean()) $"C at {omegaC}, {sigma8}, {w0}"
                  Guard.Finite("slopes", slopes) |> ignore)

      tensorTest
          "bins are a value: equal numbers find the anchor's edges, and Euclid's ten bins have spectra"
          (fun () ->
              let found =
                  RedshiftBins.EqualNumber(2.0, 0.68, 0.11, 0.05, 5, 10.0).Edges |> Seq.toArray
              // the anchor normalises n(z) by a coarse rule
              close 1e-5 found (Seq.toArray RedshiftBins.Lsst.Edges) "edges"

              let euclid = LensingSpectra(RedshiftBins.Euclid, [| 300.0 |])
              let power = euclid.Power(universe (Tensors.ofVector truth))
              Expect.equal power.shape [| 1L; 55L; 1L |] "pairs"

              let auto =
                  [| for i in 0..9 -> power[0L, int64 (Array.findIndex ((=) (int64 i)) euclid.First), 0L].ToDouble() |]

              Expect.equal (Array.sort auto) auto "further bins are lensed more")

      tensorTest "bins that do not rise, multipoles below one and w0 out of range are refused" (fun () ->
          refuses<SettingException> [ "edges"; "rising" ] (fun () ->
              RedshiftBins(2.0, 0.68, 0.11, 0.05, 0.0, 0.5, 0.4) |> ignore)

          refuses<SettingException> [ "σ_z" ] (fun () -> RedshiftBins(2.0, 0.68, 0.11, -0.05, 0.0, 0.5) |> ignore)
          refuses<RangeException> [ "multipoles" ] (fun () -> lsst [| 1.0 |] LensingQuadrature.Converged |> ignore)

          refuses<RangeException> [ "w0"; "0.5" ] (fun () ->
              universe (Tensors.ofVector [| 0.3; 0.05; 0.8; 0.7; 1.0; 0.5 |]) |> ignore)) ]

let tests = testList "lensing spectra" (spectra @ background @ limits)
