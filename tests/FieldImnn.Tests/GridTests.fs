/// Posteriors on lines and grids against closed forms: ridges, narrow and several peaks, edges, infinite bounds; and the Gaussian
/// approximation of any number of parameters.
module GridTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TestSupport

let private box = [| 0.0, 1.0; 0.0, 1.0 |]

let private compute bounds (logDensity: float[] -> float) =
    GridPosterior.compute 121 (Array.init (Array.length bounds) (fun k -> $"p{k}")) bounds (Array.map logDensity)

/// ln of a normal of these means, sds and correlation, without its constant.
let private normal rho (sx, sy) (mx, my) (t: float[]) =
    let u, v = (t[0] - mx) / sx, (t[1] - my) / sy
    -0.5 * (u * u - 2.0 * rho * u * v + v * v) / (1.0 - rho * rho)

let private agrees rho (sx, sy) (mx, my) posterior =
    let mean, sd = Posterior.mean posterior, Posterior.sd posterior
    Expect.isLessThan (max (abs (mean[0] - mx) / sx) (abs (mean[1] - my) / sy)) 1e-3 $"means %A{mean}"
    close 1e-3 [| sd[0] / sx; sd[1] / sy |] [| 1.0; 1.0 |] "sds"
    let area = Posterior.area posterior / (sx * sy * sqrt (1.0 - rho * rho))
    Expect.isLessThan (abs (area - 1.0)) 1e-3 $"area ratio {area:F4}"

let private mixture (parts: (float * (float[] -> float)) list) t =
    let values = parts |> List.map (fun (weight, log') -> log weight + log' t)
    let top = List.max values
    top + log (values |> List.sumBy (fun v -> exp (v - top)))

let private resolution =
    testList
        "resolution"
        [ for rho in [ 0.0; 0.9; 0.999; 0.9999; -0.9999 ] do
              testCase $"a ridge of correlation {rho} has its exact area" (fun () ->
                  compute box (normal rho (0.05, 0.08) (0.43, 0.57)) |> agrees rho (0.05, 0.08) (0.43, 0.57))

          testCase "sds of a millionth of the prior, and a ridge among them" (fun () ->
              compute box (normal 0.5 (1e-6, 2e-6) (0.43219, 0.57123)) |> agrees 0.5 (1e-6, 2e-6) (0.43219, 0.57123)

              compute box (normal -0.99 (1e-6, 2e-6) (0.43219, 0.57123))
              |> agrees -0.99 (1e-6, 2e-6) (0.43219, 0.57123))

          testCase "two narrow peaks far apart, each lost on a coarse grid, have their shares" (fun () ->
              let posterior =
                  compute
                      box
                      (mixture
                          [ 1.0, normal 0.0 (2e-3, 3e-3) (0.2117, 0.2)
                            6.0, normal 0.0 (1e-3, 1e-3) (0.8033, 0.7) ])

              let second =
                  Array.map2 (fun (s: float[]) w -> if s[0] > 0.5 then w else 0.0) posterior.Samples posterior.Weights
                  |> Array.sum

              // weights times the areas of the peaks: 6 and 6
              Expect.isLessThan (abs (second - 0.5)) 1e-3 $"share {second:F4}")

          testCase "a peak in a corner of the bounds: exponentials" (fun () ->
              let posterior = compute box (fun t -> -1e4 * t[0] - 3e3 * t[1])
              close 0.01 (Posterior.mean posterior) [| 1e-4; 1.0 / 3e3 |] "means"
              close 0.01 (Posterior.sd posterior) [| 1e-4; 1.0 / 3e3 |] "sds")

          testCase "a flat density keeps its bounds; one of nothing is refused" (fun () ->
              let posterior = compute box (fun _ -> -7.0)
              close 1e-3 (Posterior.sd posterior) [| 1.0 / sqrt 12.0; 1.0 / sqrt 12.0 |] "sds"
              refuses<RangeException> [ "above zero"; "zero everywhere" ] (fun () -> compute box (fun _ -> -infinity) |> ignore))

          testCase "infinite bounds: the density is found where it is" (fun () ->
              let half = [| -infinity, infinity; 0.0, infinity |]

              compute half (fun t -> normal 0.5 (3.0, 1.0) (1e3, 50.0) t) |> agrees 0.5 (3.0, 1.0) (1e3, 50.0)

              let everywhere = Array.create 2 (-infinity, infinity)
              compute everywhere (normal 0.5 (0.1, 1e2) (100.0, -50.0)) |> agrees 0.5 (0.1, 1e2) (100.0, -50.0)
              // normal priors, as they come
              let prior = Prior.create [ "a", Marginal.Normal(1.0, 2.0); "b", Marginal.Normal(0.0, 1.0) ]
              let posterior = compute (Prior.bounds prior) (Prior.logDensity prior)
              agrees 0.0 (2.0, 1.0) (1.0, 0.0) posterior)

          testCase "ln L of ±1e17, where differences are rounded away, is refused; 1e12 is not" (fun () ->
              for offset in [ 1e17; -1e17 ] do
                  refuses<RangeException> [ "subtract a constant" ] (fun () ->
                      compute box (fun t -> offset + normal 0.0 (0.1, 0.1) (0.5, 0.5) t) |> ignore)

              let posterior = compute box (fun t -> 1e12 + normal 0.0 (0.05, 0.08) (0.43, 0.57) t)
              Expect.isLessThan (abs (Posterior.area posterior / 0.004 - 1.0)) 0.01 "area")

          testCase "what no grid resolves is refused by name" (fun () ->
              refuses<RangeException> [ "resolve" ] (fun () ->
                  compute box (normal 0.999999 (0.05, 0.08) (0.43, 0.57)) |> ignore)

              // a ridge along a parabola, 1/200 wide over a length of 10
              refuses<RangeException> [ "resolve" ] (fun () ->
                  compute [| -5.0, 5.0; -5.0, 20.0 |] (fun t ->
                      -0.5 * t[0] * t[0] - 0.5 * ((t[1] - t[0] * t[0]) / 0.005) ** 2.0)
                  |> ignore)

              refuses<NonFiniteException> [ "NaN"; "θ" ] (fun () -> compute box (fun t -> sqrt (t[0] - 0.5)) |> ignore)
              refuses<SettingException> [ "one or two" ] (fun () -> compute (Array.create 3 (0.0, 1.0)) (fun _ -> 0.0) |> ignore))

          testCase "one parameter: narrow, unbounded, two peaks, at an edge; levels and contours" (fun () ->
              let sd p = (Posterior.sd p)[0]
              let narrow = compute [| 0.0, 1.0 |] (fun t -> -0.5 * ((t[0] - 0.3) / 1e-7) ** 2.0)
              close 1e-3 [| sd narrow |] [| 1e-7 |] "narrow"
              let free = compute [| -infinity, infinity |] (fun t -> -0.5 * ((t[0] - 3e5) / 2.0) ** 2.0)
              close 1e-3 [| sd free |] [| 2.0 |] "unbounded"
              // |z| < k sd holds erf(k/√2)
              Expect.isLessThan (abs (Posterior.hpdLevel [| 3e5 + 2.0 |] free - 0.6827)) 0.01 "level of one sd"

              let peak centre t =
                  -0.5 * ((Array.head t - centre) / 1e-4) ** 2.0

              let two = compute [| 0.0, 1.0 |] (mixture [ 1.0, peak 0.3; 2.0, peak 0.70013 ])
              close 1e-3 (Posterior.mean two) [| (0.3 + 2.0 * 0.70013) / 3.0 |] "two peaks"
              let edge = compute [| 0.0, 1.0 |] (fun t -> -50.0 * t[0])
              close 1e-3 (Posterior.mean edge) [| 0.02 |] "exponential"
              close 0.01 (Posterior.marginal 0 [| 0.0; 0.02 |] edge) [| 50.0; 50.0 / Math.E |] "its density"
              Expect.equal (Posterior.area edge) (sd edge) "area of one parameter is its sd"

              let levels =
                  Posterior.resample 3 1000 edge |> Array.map (fun t -> Posterior.hpdLevel t edge)

              Expect.isGreaterThan (uniformity levels) 0.005 "levels of its draws") ]

/// The mean and sd of a normal cut to lo … hi.
let private cut mean sd lo hi =
    let a, b = (lo - mean) / sd, (hi - mean) / sd
    let phi t = Normal.PDF(0.0, 1.0, t)
    let z = Normal.CDF(0.0, 1.0, b) - Normal.CDF(0.0, 1.0, a)
    let shift = (phi a - phi b) / z
    mean + sd * shift, sd * sqrt (1.0 + (a * phi a - b * phi b) / z - shift * shift)

let private diagonal (sd: float[]) =
    Matrix<float>.Build.DenseOfDiagonalArray(sd |> Array.map (fun s -> 1.0 / (s * s)))

let private anyNumber =
    testList
        "Gaussian approximation"
        [ testCase "one parameter: the truncated normal" (fun () ->
              let prior = Prior.uniform [ "a", 0.0, 3.0 ]
              let posterior = GaussianApproximation.posterior prior [| -0.5 |] (diagonal [| 1.0 |])
              let mean, sd = cut -0.5 1.0 0.0 3.0
              close 1e-3 [| (Posterior.mean posterior)[0]; (Posterior.sd posterior)[0] |] [| mean; sd |] "moments")

          testCase "six parameters, cut on one side, on both, and joined with normal priors" (fun () ->
              let prior =
                  Prior.create
                      [ "a", Uniform(0.0, 10.0)
                        "b", Uniform(-1.0, 0.5)
                        "c", Marginal.Normal(1.0, 0.5)
                        "d", TruncatedNormal(0.0, 2.0, 0.5, infinity)
                        "e", Uniform(-10.0, 10.0)
                        "f", Uniform(0.0, 1.0) ]

              let sd = [| 1.0; 1.0; 0.5; 1.0; 0.01; 1.0 |]
              let posterior = GaussianApproximation.posterior prior [| 0.0; 2.0; 0.0; 0.3; 3.0; 0.5 |] (diagonal sd)

              let expected =
                  [| cut 0.0 1.0 0.0 10.0
                     cut 2.0 1.0 -1.0 0.5
                     0.5, sqrt 0.125
                     cut (0.3 / 1.25) (sqrt 0.8) 0.5 infinity
                     3.0, 0.01
                     cut 0.5 1.0 0.0 1.0 |]

              let mean, found = Posterior.mean posterior, Posterior.sd posterior

              for k in 0..5 do
                  let m, s = expected[k]
                  Expect.isLessThan (abs (mean[k] - m) / s) 0.05 $"mean {k}"
                  Expect.isLessThan (abs (found[k] / s - 1.0)) 0.05 $"sd {k}"

              Expect.isTrue (posterior.Samples |> Array.forall (Prior.contains prior)) "inside the prior"
              Expect.isGreaterThan (Posterior.effectiveSize posterior) 10000.0 "worth"
              let again = GaussianApproximation.posterior prior [| 0.0; 2.0; 0.0; 0.3; 3.0; 0.5 |] (diagonal sd)
              Expect.equal again.Samples posterior.Samples "same bits")

          testCase "a correlated Gaussian far outside the prior: as the grid has it, and as closed forms have the third" (fun () ->
              let fisher2 = Matrix<float>.Build.DenseOfRowArrays([| [| 40.0; 12.0 |]; [| 12.0; 20.0 |] |])
              let fisher3 = Matrix<float>.Build.Dense(3, 3)
              fisher3.SetSubMatrix(0, 0, fisher2)
              fisher3[2, 2] <- 100.0
              let bounds = [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]
              let grid = GaussianApproximation.posterior (Prior.uniform bounds) [| -8.0; 3.0 |] fisher2

              let drawn =
                  GaussianApproximation.posterior (Prior.uniform (bounds @ [ "c", 0.0, 1.0 ])) [| -8.0; 3.0; -2.0 |] fisher3

              for k in 0..1 do
                  let m, s = (Posterior.mean grid)[k], (Posterior.sd grid)[k]
                  Expect.isLessThan (abs ((Posterior.mean drawn)[k] - m) / s) 0.1 $"mean {k}"
                  Expect.isLessThan (abs ((Posterior.sd drawn)[k] / s - 1.0)) 0.1 $"sd {k}"
              // 20 sds outside: nearly an exponential of length sd²/distance
              let mean = (Posterior.mean drawn)[2]
              Expect.isLessThan (abs (mean / (0.01 / 2.0) - 1.0)) 0.03 $"third {mean}")

          testCase "HPD levels of three parameters, by the log density; uniform for its draws" (fun () ->
              let prior = Prior.uniform [ "a", 0.0, 9.0; "b", -9.0, 9.0; "c", -9.0, 9.0 ]
              let fisher = diagonal [| 1.0; 2.0; 0.5 |]
              let posterior = GaussianApproximation.posterior prior [| 0.0; 0.0; 0.0 |] fisher
              let logDensity = GaussianApproximation.logDensity prior [| 0.0; 0.0; 0.0 |] fisher

              let levels =
                  Posterior.resample 5 120 posterior
                  |> Array.map (fun theta -> Posterior.hpdLevelBy logDensity theta posterior)

              Expect.isGreaterThan (uniformity levels) 0.005 "uniform"
              // the half-normal's |z| and the others: |z|² is χ² of 3
              let found = Posterior.hpdLevelBy logDensity [| 1.0; 2.0; -0.5 |] posterior
              Expect.isLessThan (abs (found - ChiSquared.CDF(3.0, 3.0))) 0.02 $"level {found}"
              // planted: the density of another
              let planted = GaussianApproximation.logDensity prior [| 0.0; 3.0; 0.0 |] fisher

              let wrong =
                  Posterior.resample 5 120 posterior
                  |> Array.map (fun theta ->
                      Posterior.hpdLevelBy planted [| theta[0]; theta[1] + 3.0; theta[2] |] posterior)

              Expect.isLessThan (uniformity wrong) 0.005 "planted"
              refuses<SettingException> [ "hpdLevelBy" ] (fun () -> Posterior.hpdLevel [| 1.0; 0.0; 0.0 |] posterior |> ignore)
              let ties = Posterior.resample 6 120 posterior |> Array.map (fun t -> Posterior.hpdLevelBy (Array.map (fun _ -> 0.0)) t posterior)
              Expect.isGreaterThan (uniformity ties) 0.005 "a flat density has exact ranks")

          testCase "refuses Fisher matrices that are none" (fun () ->
              let prior = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0; "c", 0.0, 1.0 ]
              let run estimate fisher () = GaussianApproximation.posterior prior estimate fisher |> ignore
              let centre = [| 0.5; 0.5; 0.5 |]
              refuses<SingularMatrixException> [ "positive definite" ] (run centre (Matrix<float>.Build.Dense(3, 3)))
              refuses<NonFiniteException> [ "estimate" ] (run [| nan; 0.5; 0.5 |] (diagonal [| 1.0; 1.0; 1.0 |]))
              refuses<NonFiniteException> [ "Fisher" ] (run centre (diagonal [| 1.0; nan; 1.0 |]))
              refuses<ShapeException> [ "3 × 3"; "2 × 2" ] (run centre (diagonal [| 1.0; 1.0 |]))
              refuses<RangeException> [ "information"; "b" ] (run centre (-(diagonal [| 1.0; 1.0; 1.0 |]) + Matrix<float>.Build.DenseOfDiagonalArray [| 2.0; 0.0; 2.0 |]))) ]

let tests = testList "grids of posteriors" [ resolution; anyNumber ]
