module CorrelatedLogNormalTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open MathNet.Numerics.LinearAlgebra
open ExactSupport
open TestSupport
open TorchSharp

let private target = [| 1.0; 0.5 |]
let private fiducial = [| 0.95; 0.55 |]
let private forms = [ LogNormalForm.Standardised; LogNormalForm.Exponential ]

/// With float64 noise, so that everything else is in double precision, too.
let private doubled (model: CorrelatedLogNormalField) =
    { CorrelatedLogNormal.simulator model with
        DrawNoise = fun keys -> model.DrawNoise(keys, torch.ScalarType.Float64) }

/// Ξ_ij = exp(−r²/4β²) over all pairs of pixels, and its derivative by β: the dense truth behind the Kronecker form.
let private denseCorrelation n beta =
    let r2 a b =
        float (a / n - b / n) ** 2.0 + float (a % n - b % n) ** 2.0

    let xi =
        Matrix<float>.Build.Dense(n * n, n * n, (fun a b -> exp (-r2 a b / (4.0 * beta * beta))))

    xi, xi.MapIndexed(fun a b v -> v * r2 a b / (2.0 * beta ** 3.0))

/// docs/universes.md §3 to the letter, with dense matrices.
let private denseFisher n (theta: float[]) =
    let alpha = theta[0]
    let a2, e = alpha * alpha, exp (alpha * alpha)
    let xi, xiByBeta = denseCorrelation n theta[1]
    let inverse = xi.Inverse()
    let b = inverse * xiByBeta
    let ones = Vector<float>.Build.Dense(n * n, 1.0)

    let byAlpha =
        float (n * n) / a2 * (2.0 - 4.0 * e + exp (3.0 * a2))
        + e * e / (a2 * a2) * (inverse * (a2 * xi).PointwiseExp()).Trace()
        + ((1.0 - 2.0 * e) / (a2 * a2) + 1.0 + 2.0 * (1.0 - e) / a2)
          * ones.DotProduct(inverse * ones)

    [| byAlpha; (1.0 - e) / alpha * b.Trace(); 0.5 * (b * b).Trace() |]

/// ln p of a field by the change of variables, pixel by pixel, under a dense Gaussian; `jacobian` of 1 for the truth.
let private denseLogLikelihood n form jacobian (f: float[]) (theta: float[]) =
    let alpha = theta[0]
    let xi, _ = denseCorrelation n theta[1]

    let g, slope =
        match form with
        | LogNormalForm.Exponential -> f |> Array.map (fun v -> log v / alpha), f |> Array.map (fun v -> alpha * v)
        | _ ->
            f |> Array.map (fun v -> log (1.0 + alpha * v) / alpha + alpha / 2.0),
            f |> Array.map (fun v -> 1.0 + alpha * v)

    let g = Vector<float>.Build.DenseOfArray g
    let logDet = xi.Cholesky().DeterminantLn

    -0.5 * (g.DotProduct(xi.Solve g) + logDet + float (n * n) * log (2.0 * Math.PI))
    - jacobian * Array.sumBy log slope

let private logL model field (theta: float[]) =
    (CorrelatedLogNormalLikelihood.logLikelihood model field (Tensors.ofRows [| theta |])).ToDouble()

let private shared = Path.Combine(root, "..", "shared", "reference")

/// A table of ../shared/reference, which is not part of the repository: without it the test reports itself skipped.
let reference name =
    let path = Path.Combine(shared, name)

    if File.Exists path then
        path
    else
        skiptest $"needs ../shared/reference/{name}"

let stored i =
    ObservedField.read (reference $"targets/lognormal20_field_{i}.npy") [| 20; 20 |]
    |> ObservedField.toTensor

/// Score variance over simulations against the Fisher matrix, in standard errors of the (heavy-tailed) mean of products.
let private scoreDeviations count (at: float[]) =
    let model = CorrelatedLogNormalField 12

    let fields =
        Simulator.fields (doubled model) (Tensors.ofVector target) (NoiseKey.Range(31UL, 0UL, count))

    let products =
        CorrelatedLogNormalLikelihood.scores model fields at
        |> Array.map (fun s -> [| s[0] * s[0]; s[0] * s[1]; s[1] * s[1] |])

    meanDeviations products (lower (CorrelatedLogNormalLikelihood.fisher model target))

/// HPD levels over fields from a narrowed prior; `temper` plants a fault in the log-likelihood.
let private levels count temper =
    let model = CorrelatedLogNormalField 8
    let prior = Prior.uniform [ "α", 0.3, 1.5; "β", 0.35, 0.75 ]

    let exact =
        ExactAnswer.create
            (CorrelatedLogNormalLikelihood.fisher model)
            (CorrelatedLogNormalLikelihood.logLikelihood model)

    hpdLevels (doubled model) (tempered temper exact) prior count

let private simulatorTests =
    [ tensorTest "fields are those of the dense Cholesky factor of Ξ, pixel by pixel" (fun () ->
          let n = 9
          let factor = (fst (denseCorrelation n 0.6)).Cholesky().Factor

          for form in forms do
              let model = CorrelatedLogNormalField(n, form)
              let noise = model.DrawNoise(NoiseKey.Range(3UL, 0UL, 1), torch.ScalarType.Float64)
              let g = factor * Vector<float>.Build.DenseOfArray(Tensors.toArray noise)

              let expected =
                  g.ToArray()
                  |> Array.map (fun g ->
                      match form with
                      | LogNormalForm.Exponential -> exp (0.8 * g)
                      | _ -> (exp (0.8 * g - 0.32) - 1.0) / 0.8)

              let made = model.Simulate(Tensors.ofRows [| [| 0.8; 0.6 |] |], noise)
              close 1e-11 (Tensors.toArray made) expected $"{form}")

      tensorTest
          "a field is bit-identical alone, in any batch, in any order, at any thread count, with its own θ"
          (fun () ->
              let simulator =
                  CorrelatedLogNormal.simulator (CorrelatedLogNormalField(20, LogNormalForm.Standardised, 0.01))

              let equal (a: Tensor) (b: Tensor) = Tensors.toArray a = Tensors.toArray b
              let theta = Prior.sample 3 0L 13 CorrelatedLogNormal.prior
              let keys = NoiseKey.Range(5UL, 100UL, 13)

              let fields theta keys =
                  Simulator.fields simulator (Tensors.ofRows theta) keys

              let batch = fields theta keys
              let alone = fields [| theta[7] |] [| keys[7] |]
              let reversed = fields (Array.rev theta) (Array.rev keys)
              Expect.isTrue (equal batch[7] alone[0]) "alone"
              Expect.isTrue (equal batch[7] reversed[5]) "in another order"

              for threads in [ 1; 2; 3 ] do
                  let again = onThreads threads (fun () -> fields theta keys)
                  Expect.isTrue (equal batch again) $"at {threads} threads"

              let many = fields [| theta[7] |] (NoiseKey.Range(5UL, 0UL, 257))
              Expect.isTrue (equal many[107] batch[7]) "one θ for a batch of 257, and θ's of their own"
              Expect.isFalse (equal batch[6] batch[7]) "different keys, different fields")

      tensorTest "derivatives: forward rule, automatic differentiation and seed-matched differences agree" (fun () ->
          for form in forms do
              derivativesAgree $"{form}" (doubled (CorrelatedLogNormalField(7, form, 0.05))) [| 1e-5; 1e-5 |] fiducial)

      tensorTest "pixel noise is added to the same field, with the wanted deviation" (fun () ->
          let made sigma =
              Simulator.fields
                  (doubled (CorrelatedLogNormalField(16, LogNormalForm.Standardised, sigma)))
                  (Tensors.ofVector target)
                  (NoiseKey.Range(4UL, 0UL, 50))

          let noise = made 0.01 - made 0.0 |> Tensors.toArray
          let deviation = sqrt (noise |> Array.averageBy (fun v -> v * v))
          Expect.isLessThan (abs (deviation / 0.01 - 1.0)) 0.05 "deviation")

      tensorTest "64 × 64 pixels, and the mean and variance that a log-normal field has" (fun () ->
          let alpha = 0.7

          let fields =
              Simulator.fields
                  (CorrelatedLogNormal.simulator (CorrelatedLogNormalField 64))
                  (Tensors.ofVector [| alpha; 0.8 |])
                  (NoiseKey.Range(6UL, 0UL, 40))

          // ⟨f⟩ = 0, ⟨f²⟩ = (e^{α²} − 1)/α², ⟨f f'⟩ = (e^{α²ξ} − 1)/α² at a lag of (1, 1), ξ = e^{−2/4β²}
          let moment (a: Tensor) (b: Tensor) = (a * b).mean().ToDouble()

          let variance xi =
              (exp (alpha * alpha * xi) - 1.0) / (alpha * alpha)

          let neighbours =
              moment (fields.narrow(1L, 0L, 63L).narrow(2L, 0L, 63L)) (fields.narrow(1L, 1L, 63L).narrow(2L, 1L, 63L))

          Expect.isLessThan (abs (fields.mean().ToDouble())) 0.02 "mean"
          Expect.isLessThan (abs (moment fields fields / variance 1.0 - 1.0)) 0.04 "variance"
          Expect.isLessThan (abs (neighbours / variance (exp (-0.5 / 0.64)) - 1.0)) 0.05 "neighbours")

      tensorTest "impossible models and parameters are refused" (fun () ->
          let simulator = CorrelatedLogNormal.simulator (CorrelatedLogNormalField 8)

          let fields theta () =
              Simulator.fields simulator (Tensors.ofVector theta) (NoiseKey.Range(1UL, 0UL, 2))
              |> ignore

          refuses<RangeException> [ "α"; "> 0"; "-0.1" ] (fields [| -0.1; 0.5 |])
          refuses<RangeException> [ "α"; "0" ] (fields [| 0.0; 0.5 |])
          refuses<RangeException> [ "β"; "-0.5" ] (fields [| 1.0; -0.5 |])
          refuses<NonFiniteException> [ "θ" ] (fields [| 1.0; nan |])

          refuses<SingularMatrixException> [ "β"; "3" ] (fun () ->
              Simulator.fields
                  (CorrelatedLogNormal.simulator (CorrelatedLogNormalField 64))
                  (Tensors.ofVector [| 1.0; 3.0 |])
                  (NoiseKey.Range(1UL, 0UL, 1))
              |> ignore)

          refuses<SettingException> [ "pixels a side"; "1" ] (fun () -> CorrelatedLogNormalField 1 |> ignore)

          refuses<SettingException> [ "noise"; "-1" ] (fun () ->
              CorrelatedLogNormalField(8, LogNormalForm.Standardised, -1.0) |> ignore)) ]

/// Every other value, from the first.
let private everyOther (values: 'value[]) =
    [| for i in 0..2 .. values.Length - 1 -> values[i] |]

/// A table by rows of so many columns, at every other row and column: a quarter of its points, over all of its range.
let private thinned columns (table: float[]) =
    table |> Array.chunkBySize columns |> everyOther |> Array.collect everyOther

let private exactTests =
    [ tensorTest "Fisher matrices: the oracle values, and the dense formulas" (fun () ->
          // values at the fiducial, computed for this project in double precision
          let fisher form theta =
              CorrelatedLogNormalLikelihood.fisher (CorrelatedLogNormalField(20, form)) theta

          let standardised = fisher LogNormalForm.Standardised >> lower
          close 1e-7 (standardised target) [| 11008.186; 2088.175; 5815.559 |] "(1, 0.5)"

          close
              1e-10
              (standardised fiducial)
              [| 9424.680346641018; 2352.5180894794844; 7468.40544655202 |]
              "(0.95, 0.55)"

          let det = (fisher LogNormalForm.Exponential target).Determinant()
          Expect.isLessThan (abs (det / 3175567.0 - 1.0)) 1e-6 "det of f = e^{αg}, the notebooks' value"

          for theta in [ target; fiducial; [| 0.3; 0.7 |]; [| 1.6; 0.3 |] ] do
              let model = CorrelatedLogNormalField 6

              close
                  1e-10
                  (lower (CorrelatedLogNormalLikelihood.fisher model theta))
                  (denseFisher 6 theta)
                  $"6², %A{theta}")

      tensorTest
          "the likelihood is that of a dense Gaussian with the Jacobian; without the Jacobian it is caught"
          (fun () ->
              for form in forms do
                  let model = CorrelatedLogNormalField(6, form)
                  let d = Simulator.field (doubled model) [| 0.9; 0.6 |] 3UL
                  let points = [| [| 0.9; 0.6 |]; [| 0.7; 0.5 |]; [| 0.4; 0.75 |]; [| 0.85; 0.3 |] |]

                  let dense jacobian =
                      points |> Array.map (denseLogLikelihood 6 form jacobian (Tensors.toArray d))

                  let ours = points |> Array.map (logL model d)
                  close 1e-11 ours (dense 1.0) $"{form}: ln p"
                  Expect.isGreaterThan (relative ours (dense 0.0)) 0.01 $"{form}: planted, no Jacobian")

      tensorTest "there is nothing beyond the edge α = −1/min f, and the Gaussian limit at α = 0" (fun () ->
          let model = CorrelatedLogNormalField 6
          let d = Simulator.field (doubled model) [| 0.9; 0.6 |] 3UL
          let edge = -1.0 / d.min().ToDouble()
          Expect.equal (logL model d [| edge * 1.0001; 0.6 |]) -infinity "beyond"
          Expect.isTrue (Double.IsFinite(logL model d [| edge * 0.9999; 0.6 |])) "within"
          let limit, near = logL model d [| 0.0; 0.6 |], logL model d [| 1e-6; 0.6 |]
          Expect.isLessThan (abs (limit - near)) 1e-2 "α → 0"
          refuses<RangeException> [ "α" ] (fun () -> logL model d [| -0.1; 0.6 |] |> ignore)

          refuses<SettingException> [ "without pixel noise" ] (fun () ->
              logL (CorrelatedLogNormalField(6, LogNormalForm.Standardised, 0.1)) d target
              |> ignore)

          refuses<RangeException> [ "pixels > 0" ] (fun () ->
              logL (CorrelatedLogNormalField(6, LogNormalForm.Exponential)) d target |> ignore))

      for i in 0..1 do
          tensorTest $"stored field {i}: the computed surface to 1e-8, and the public BHM grid" (fun () ->
              let exact = (CorrelatedLogNormal.create 20).Exact
              let logL = exact.LogLikelihood(stored i)

              let evaluate (alpha: float[]) (beta: float[]) =
                  [| for b in beta do
                         for a in alpha -> [| a; b |] |]
                  |> Array.chunkBySize 2048
                  |> Array.collect (fun rows ->
                      Tensors.using (fun () -> logL (Tensors.ofRows rows) |> Tensors.toArray))

              let axis name =
                  (Npy.read (reference $"exact/lognormal20_axis_{name}.npy")).Data |> everyOther

              let ours = evaluate (axis "alpha") (axis "beta")

              let table =
                  (Npy.read (reference $"exact/lognormal20_lnlike_field_{i}.npy")).Data
                  |> thinned 401

              let pairs = Array.zip ours table |> Array.filter (fun (_, t) -> Double.IsFinite t)

              let offset = fst pairs[0] - snd pairs[0]
              let worst = pairs |> Array.map (fun (a, t) -> abs (a - t - offset)) |> Array.max
              Expect.isLessThan worst 1e-8 $"largest deviation {worst:g3}"

              Expect.isTrue
                  (Array.forall2 (fun a t -> Double.IsFinite a = Double.IsFinite t) ours table)
                  "the same support"

              // 250 β in 0.2 … 0.8 by 250 α in 0 … 2, un-normalised, NaN outside the support
              let line lo hi =
                  Array.init 250 (fun k -> lo + (hi - lo) * float k / 249.0) |> everyOther

              let grid =
                  (Npy.read (reference $"published/lognormal20_bhm_marginal_field_{i}.npy")).Data
                  |> thinned 250

              let ours = evaluate (line 0.0 2.0) (line 0.2 0.8)
              let highest = Array.max grid |> max (grid |> Seq.filter Double.IsFinite |> Seq.max)
              let best = Array.max ours

              let worst =
                  Array.map2
                      (fun a p ->
                          if Double.IsFinite p && p > 1e-12 * highest then
                              abs (exp (a - best) - p / highest)
                          else
                              0.0)
                      ours
                      grid
                  |> Array.max

              Expect.isLessThan worst 1e-8 $"largest deviation from the BHM grid, of its peak, {worst:g3}")

      tensorTest "stored fields: moments of the exact posterior" (fun () ->
          let rows =
              File.ReadAllLines(reference "exact/lognormal20_posterior_summary.csv")
              |> Array.skip 1

          let problem = CorrelatedLogNormal.create 20

          for row in rows do
              let v = row.Split ',' |> Array.map float
              let p = ExactAnswer.posterior problem.Exact problem.Prior (stored (int v[0]))
              let sd = Posterior.sd p
              close 1e-3 (Posterior.mean p) [| v[1]; v[3] |] "means"
              close 1e-3 sd [| v[2]; v[4] |] "standard deviations"
              Expect.isLessThan (abs ((Posterior.correlation p)[0, 1] - v[5])) 1e-3 "correlation")

      tensorTest "score variance is the Fisher matrix within its error; a wrong point is caught" (fun () ->
          // the α-score has kurtosis 11: its variance is known to √(10/n), 3 % here
          let z = scoreDeviations 10000 target |> Array.map abs |> Array.max
          Expect.isLessThan z 4.5 $"{z:F1} standard errors"
          let planted = scoreDeviations 10000 [| 0.99; 0.53 |] |> Array.map abs |> Array.max
          Expect.isGreaterThan planted 4.5 $"planted: {planted:F1} standard errors")

      tensorTest
          "calibration over 200 fields: the truth's HPD level is uniform; a tempered likelihood is caught"
          (fun () ->
              let p = uniformity (levels 200 1.0)
              Expect.isGreaterThan p 0.005 $"p = {p:g3}"
              let planted = uniformity (levels 200 1.8)
              Expect.isLessThan planted 0.005 $"planted, over-confident: p = {planted:g3}") ]

let tests =
    testList "correlated log-normal" [ testList "simulator" simulatorTests; testList "exact" exactTests ]
