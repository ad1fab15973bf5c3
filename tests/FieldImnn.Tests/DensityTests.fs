/// Densities of weighted samples and on grids against closed forms: at bounds, in corners, flat ones; and posteriors without a density.
module DensityTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots
open MathNet.Numerics.Distributions
open TestSupport

let private equal n = Array.create n 1.0

/// n rows of draws by their quantile functions.
let private draws seed n (quantiles: (float -> float) list) =
    let random = Random(seed: int)
    Array.init n (fun _ -> quantiles |> List.map (fun q -> q (random.NextDouble())) |> Array.ofList)

let private flat u = u

let private halfNormal u =
    0.1 * Normal.InvCDF(0.0, 1.0, 0.5 + 0.5 * u)

let private exponential u = -0.1 * log (1.0 - u)

let private halfNormalDensity x = 2.0 * Normal.PDF(0.0, 0.1, x)

let private unit = 0.0, 1.0
let private positive = 0.0, infinity
let private everywhere = -infinity, infinity

let private line bounds samples =
    Posterior.ofSamples [| "a" |] [| bounds |] samples (equal (Array.length samples))

let private plane bounds samples =
    Posterior.ofSamples [| "a"; "b" |] [| bounds; bounds |] samples (equal (Array.length samples))

/// The mean over posteriors of 2,000 draws of a marginal at places, relative to the truth: what is left is bias.
let private bias bounds quantile (truth: float -> float) places =
    let found =
        Array.init 20 (fun seed -> line bounds (draws seed 2000 [ quantile ]) |> Posterior.marginal 0 places)

    places
    |> Array.mapi (fun k x -> abs ((found |> Array.averageBy (fun f -> f[k])) / truth x - 1.0))
    |> Array.max

let private atBounds =
    [ "uniform", unit, flat, (fun _ -> 1.0), [| 0.0; 0.02; 0.1; 0.5; 0.98; 1.0 |]
      "half-normal", unit, halfNormal, halfNormalDensity, [| 0.0; 0.02; 0.05; 0.1; 0.2 |]
      "exponential", positive, exponential, (fun x -> 10.0 * exp (-10.0 * x)), [| 0.0; 0.02; 0.05; 0.1; 0.2 |] ]

/// Credible levels of truths that come from the posterior's own law, at a corner of the bounds.
let private levelsInCorner bounds =
    [| for seed in 0..11 do
           let posterior = plane bounds (draws seed 1500 [ exponential; exponential ])
           let grid = Posterior.density 0 1 101 posterior

           for truth in draws (1000 + seed) 70 [ exponential; exponential ] do
               DensityGrid.hpdLevel (truth[0], truth[1]) grid |]

let private levelsOnLine bounds =
    [| for seed in 0..39 do
           let posterior = line bounds (draws seed 1500 [ exponential ])

           for truth in draws (1000 + seed) 20 [ exponential ] -> Posterior.hpdLevel truth posterior |]

let private edges =
    testList
        "edges"
        [ for name, bounds, quantile, truth, places in atBounds do
              testCase $"the density of a {name} is right at its bound; without bounds it is halved" (fun () ->
                  let found = bias bounds quantile truth places
                  Expect.isLessThan found 0.05 $"bias {found:F3}"
                  let halved = bias everywhere quantile truth [| 0.0 |]
                  Expect.isGreaterThan halved 0.4 $"planted: no bounds, {halved:F2}")

          testCase
              "a density in a corner of the bounds, correlated or not, is right; without bounds it is a quarter"
              (fun () ->
                  let at bounds quantiles place =
                      Array.init 20 (fun seed ->
                          plane bounds (draws seed 3000 quantiles)
                          |> Posterior.density 0 1 101
                          |> DensityGrid.at place)
                      |> Array.average

                  let corner = [ halfNormal; halfNormal ]
                  let truth = halfNormalDensity 0.0 ** 2.0
                  Expect.isLessThan (abs (at unit corner (0.0, 0.0) / truth - 1.0)) 0.08 "half-normals in their corner"
                  Expect.isLessThan (abs (at unit [ flat; flat ] (1.0, 1.0) - 1.0)) 0.06 "flat in its corner"
                  Expect.isLessThan (at everywhere corner (0.0, 0.0) / truth) 0.35 "planted: no bounds"

                  // N of correlation 0.8 about the corner, cut to the quadrant, by rejection; density at the corner is φ₂(0) over the quadrant's
                  // probability ¼ + asin ρ / 2π
                  let rho = 0.8

                  let cut seed =
                      draws seed 12000 [ id; id ]
                      |> Array.map (fun u ->
                          let a, b = Normal.InvCDF(0.0, 1.0, u[0]), Normal.InvCDF(0.0, 1.0, u[1])
                          [| 0.1 * a; 0.1 * (rho * a + sqrt (1.0 - rho * rho) * b) |])
                      |> Array.filter (Array.forall (fun v -> v > 0.0))

                  let expected =
                      100.0
                      / (2.0 * Math.PI * sqrt (1.0 - rho * rho))
                      / (0.25 + asin rho / (2.0 * Math.PI))

                  let found =
                      Array.init 20 (fun seed ->
                          plane unit (cut seed) |> Posterior.density 0 1 101 |> DensityGrid.at (0.0, 0.0))
                      |> Array.average

                  Expect.isLessThan (abs (found / expected - 1.0)) 0.06 $"correlated: {found:F1} for {expected:F1}")

          testCase "weights count as samples do, at a bound, too" (fun () ->
              // draws of U(0, 1) with the weights of an exponential
              let samples = draws 1 20000 [ flat ]
              let weights = samples |> Array.map (fun s -> exp (-10.0 * s[0]))
              let weighted = Posterior.ofSamples [| "a" |] [| unit |] samples weights
              let places = [| 0.0; 0.05; 0.1; 0.2 |]

              close
                  0.06
                  (Posterior.marginal 0 places weighted)
                  (places |> Array.map (fun x -> 10.0 * exp (-10.0 * x)))
                  "density")

          testCase
              "levels of the truth are uniform at a bound and in a corner; planted: a density without bounds"
              (fun () ->
                  let check what levels =
                      let p = uniformity (levels positive)
                      Expect.isGreaterThan p 0.005 $"{what}: p = {p:g3}"
                      let planted = uniformity (levels everywhere)
                      Expect.isLessThan planted 0.005 $"{what}, planted: p = {planted:g3}"

                  check "line" levelsOnLine
                  check "plane" levelsInCorner)

          testCase "a marginal is zero outside the bounds, and integrates to one within" (fun () ->
              let posterior = line unit (draws 3 2000 [ exponential >> min 1.0 ])
              let places = Array.init 2001 (fun i -> float i / 2000.0)
              let sum = Posterior.marginal 0 places posterior |> Array.sum
              Expect.isLessThan (abs (sum / 2000.0 - 1.0)) 0.01 "one"
              Expect.equal (Posterior.marginal 0 [| -0.01; 1.01 |] posterior) [| 0.0; 0.0 |] "outside") ]

let private flatGrid n =
    let axis = Array.init n (fun i -> float i / float (n - 1))
    Posterior.ofGrid [| "a"; "b" |] [| unit; unit |] axis axis (Array2D.create n n 3.0)

let private grids =
    testList
        "grids"
        [ testCase "a flat grid holds one, its regions hold what they say, and its levels are exact ranks" (fun () ->
              let posterior = flatGrid 61
              let grid = posterior.Grid.Value
              Expect.isLessThan (abs (DensityGrid.mass grid - 1.0)) 1e-12 "mass"
              Expect.isLessThan (abs (grid.Density[30, 30] - 1.0)) 1e-12 "density"
              Expect.isLessThan (abs (DensityGrid.hpdArea 0.68 grid - 0.68)) 1e-9 "area of 68 %"
              close 1e-9 (Posterior.marginal 1 [| 0.0; 0.31; 1.0 |] posterior) [| 1.0; 1.0; 1.0 |] "marginal"

              let levels =
                  draws 4 1000 [ flat; flat ]
                  |> Array.map (fun t -> Posterior.hpdLevel t posterior)

              Expect.isGreaterThan (uniformity levels) 0.005 "levels of its draws"
              Expect.isLessThan (abs (Posterior.hpdLevel [| 0.25; 0.9 |] posterior - 0.25)) 1e-9 "exact"
              let shifted = levels |> Array.map (fun l -> 0.9 * l)
              Expect.isLessThan (uniformity shifted) 0.005 "planted"
              let resampled = Posterior.resample 1 4000 posterior |> Array.map (fun s -> s[0])
              Expect.isGreaterThan (uniformity resampled) 0.005 "draws are uniform to the edge"
              Expect.isFalse (Array.contains 0.0 resampled || Array.contains 1.0 resampled) "none piles up there")

          testCase
              "a grid that ends in mid-density: contour levels hold their probabilities by the trapezoidal rule"
              (fun () ->
                  let axis = Array.init 201 (fun i -> float i / 40.0)
                  let density = Array2D.init 201 201 (fun i j -> exp (-axis[i] - axis[j]))

                  let posterior =
                      Posterior.ofGrid [| "a"; "b" |] [| 0.0, 5.0; 0.0, 5.0 |] axis axis density

                  let grid = posterior.Grid.Value
                  Expect.isLessThan (abs (DensityGrid.mass grid - 1.0)) 1e-12 "mass"
                  // P(a + b < r) = 1 − e^−r (1 + r), but for the cut at 5
                  for r in [ 0.7; 1.5; 3.0 ] do
                      let expected = (1.0 - exp -r * (1.0 + r)) / (1.0 - exp -5.0) ** 2.0
                      let found = Posterior.hpdLevel [| 0.4 * r; 0.6 * r |] posterior
                      Expect.isLessThan (abs (found - expected)) 0.01 $"level at {r}: {found:F4} for {expected:F4}")

          testCase "marginals and densities by index; others are refused" (fun () ->
              let posterior = flatGrid 11
              let swapped = Posterior.density 1 0 11 posterior
              Expect.equal swapped.X posterior.Grid.Value.Y "transposed"

              refuses<RangeException> [ "2 parameters"; "2" ] (fun () ->
                  Posterior.marginal 2 [| 0.5 |] posterior |> ignore)

              refuses<RangeException> [ "-1" ] (fun () -> Posterior.column -1 posterior |> ignore)
              refuses<SettingException> [ "different" ] (fun () -> Posterior.density 1 1 11 posterior |> ignore)) ]

let private pair f =
    let random = Random 6
    let normal () = Normal.Sample(random, 0.0, 1.0)

    Posterior.ofSamples
        [| "a"; "b" |]
        [| everywhere; everywhere |]
        (Array.init 500 (fun _ -> f (normal ()) (normal ())))
        (equal 500)

let private degenerate =
    testList
        "degenerate posteriors"
        [ testCase "one sample has a mean and draws, but no spread" (fun () ->
              let one =
                  Posterior.ofSamples [| "a"; "b" |] [| unit; unit |] [| [| 0.5; 0.25 |] |] [| 3.0 |]

              Expect.equal (Posterior.mean one) [| 0.5; 0.25 |] "mean"
              Expect.equal (Posterior.effectiveSize one) 1.0 "effective size"
              Expect.equal (Posterior.resample 1 2 one) [| [| 0.5; 0.25 |]; [| 0.5; 0.25 |] |] "draws"

              for action in
                  [ (fun () -> Posterior.sd one |> ignore)
                    fun () -> Posterior.area one |> ignore
                    fun () -> Posterior.shift one one |> ignore
                    fun () -> Posterior.density 0 1 11 one |> ignore ] do
                  refuses<SettingException> [ "at least two samples" ] action

              let one = { one with Weights = [| 1.0 |] }

              refuses<SettingException> [ "at least two samples" ] (fun () ->
                  Plot.corner [ ("x", one) ] None |> ignore))

          testCase "correlations of ±1: exact moments, area 0, no density in the plane" (fun () ->
              for sign in [ 1.0; -1.0 ] do
                  let line = pair (fun z _ -> [| z; sign * 0.3 * z |])
                  let rho = (Posterior.correlation line)[0, 1]
                  Expect.isLessThan (abs (rho - sign)) 1e-12 "correlation"
                  Expect.isLessThanOrEqual (abs rho) 1.0 "within its range"
                  Expect.equal (Posterior.area line) 0.0 "area"
                  Expect.all (Posterior.marginal 0 [| 0.0; 0.5 |] line) (fun d -> d > 0.2) "marginals are as ever"

                  refuses<SingularMatrixException> [ "density of a and b"; "line" ] (fun () ->
                      Posterior.density 0 1 51 line |> ignore))

          testCase "a parameter that does not vary: sd and area 0, no correlation, no density" (fun () ->
              let still = pair (fun z _ -> [| z; 0.67 |])
              Expect.isLessThan (Array.last (Posterior.sd still)) 1e-14 "sd"
              refuses<SingularMatrixException> [ "b to vary" ] (fun () -> Posterior.correlation still |> ignore)
              refuses<SingularMatrixException> [ "b to vary" ] (fun () -> Posterior.shift still still |> ignore)

              refuses<SingularMatrixException> [ "density of b" ] (fun () ->
                  Posterior.marginal 1 [| 0.67 |] still |> ignore))

          testCase "scales of 1e-150 and 1e150 neither underflow nor overflow" (fun () ->
              for scale in [ 1e-150; 1e150 ] do
                  let p = pair (fun z w -> [| scale * z; scale * w |])
                  let ratio = Posterior.area p / (Posterior.sd p)[0] / (Posterior.sd p)[1]
                  Expect.isLessThan (abs (ratio - 1.0)) 0.02 $"area at {scale}") ]

/// The density of `Posterior.density`, by sums over all samples of a Gaussian of covariance C n^(−1/3).
let private bruteForce (grid: DensityGrid) posterior =
    let c =
        Posterior.covariance posterior
        * Math.Pow(Posterior.effectiveSize posterior, -1.0 / 3.0)

    let f = c.Inverse()

    let raw =
        Array2D.init grid.X.Length grid.Y.Length (fun i j ->
            Array.fold2
                (fun sum (s: float[]) w ->
                    let u, v = grid.X[i] - s[0], grid.Y[j] - s[1]

                    sum
                    + w * exp (-0.5 * (f[0, 0] * u * u + 2.0 * f[0, 1] * u * v + f[1, 1] * v * v)))
                0.0
                posterior.Samples
                posterior.Weights)

    (Posterior.ofGrid [| "a"; "b" |] [| everywhere; everywhere |] grid.X grid.Y raw).Grid.Value

let private cost =
    testList
        "cost"
        [ for rho in [ 0.0; 0.9; -0.99 ] do
              testCase
                  $"the binned density is that of sums over all samples to 1 %% of its peak, correlation {rho}"
                  (fun () ->
                      let posterior =
                          pair (fun z w -> [| 5.0 + z; 0.01 * (rho * z + sqrt (1.0 - rho * rho) * w) |])

                      let grid = Posterior.density 0 1 101 posterior
                      let exact = bruteForce grid posterior
                      let peak = exact.Density |> Seq.cast<float> |> Seq.max

                      let worst =
                          Seq.map2
                              (fun a b -> abs (a - b))
                              (Seq.cast<float> grid.Density)
                              (Seq.cast<float> exact.Density)
                          |> Seq.max

                      Expect.isLessThan (worst / peak) 0.01 $"of the peak: {worst / peak:g3}")

          testCase
              "a corner of six parameters and three layers of 20,000 samples in under 3 s of two processors"
              (fun () ->
                  let layer seed =
                      let random = Random(seed: int)

                      Posterior.ofSamples
                          [| for k in 1..6 -> $"s{k}" |]
                          (Array.create 6 (0.0, 10.0))
                          (Array.init 20000 (fun _ ->
                              Array.init 6 (fun k -> abs (Normal.Sample(random, 0.3 * float k, 1.0)) |> min 10.0)))
                          (equal 20000)

                  let layers = [ for k in 1..3 -> $"layer {k}", layer k ]
                  // of all processors together, whatever else runs beside: 3 s on two
                  let used () =
                      Diagnostics.Process.GetCurrentProcess().TotalProcessorTime.TotalSeconds

                  let before = used ()
                  Plot.corner layers None |> ignore
                  Expect.isLessThan (used () - before) 6.0 "seconds of processors") ]

let tests = testList "densities of posteriors" [ edges; grids; degenerate; cost ]
