/// Priors: the oracles are closed-form moments and MathNet's quadrature, never our own sampler or density.
module PriorTests

open System
open Expecto
open MathNet.Numerics.Distributions
open MathNet.Numerics.Integration
open FieldImnn
open FieldImnn.Core
open TestSupport

/// Marginals with their closed-form mean and standard deviation.
/// Truncated normal: Johnson, Kotz & Balakrishnan (1994), Continuous Univariate Distributions 1, §10.1.
let private cases =
    let truncated mean sd lo hi =
        let a, b = (lo - mean) / sd, (hi - mean) / sd

        let pdf x =
            if Double.IsInfinity x then 0.0 else Normal.PDF(0.0, 1.0, x)

        let times x =
            if Double.IsInfinity x then 0.0 else x * pdf x

        let z = Normal.CDF(0.0, 1.0, b) - Normal.CDF(0.0, 1.0, a)
        let shift = (pdf a - pdf b) / z
        let variance = 1.0 + (times a - times b) / z - shift * shift
        TruncatedNormal(mean, sd, lo, hi), mean + sd * shift, sd * sqrt variance

    [ Uniform(0.1, 1.25), 0.675, 1.15 / sqrt 12.0
      Normal(-2.0, 0.3), -2.0, 0.3
      truncated 0.5 0.2 0.4 1.0
      truncated 0.0 1.0 2.0 infinity
      truncated 1.0 2.0 -infinity -1.0 ]

/// The interval that holds all but 1e-20 of the probability.
let private interval marginal mean sd =
    let lo, hi = Marginal.support marginal
    max lo (mean - 30.0 * sd), min hi (mean + 30.0 * sd)

let private mass (density: float -> float) (lo, hi) =
    GaussLegendreRule.Integrate(density, lo, hi, 256)

/// Mean and standard deviation of n draws agree with those given, within 5 standard errors (that of the standard deviation
/// being sd √((kurtosis − 1)/4n), at most sd √(2/n) for kurtosis ≤ 9).
let private momentsAgree mean sd (draws: float[]) =
    let n = float draws.Length
    let m = Array.average draws
    let s = sqrt ((draws |> Array.sumBy (fun x -> (x - m) ** 2.0)) / (n - 1.0))
    abs (m - mean) < 5.0 * sd / sqrt n && abs (s - sd) < 5.0 * sd * sqrt (2.0 / n)

let private densities =
    testList
        "densities"
        [ for marginal, mean, sd in cases do
              test $"{marginal} integrates to one" {
                  let density x = exp (Marginal.logDensity marginal x)
                  let range = interval marginal mean sd
                  Expect.floatClose { absolute = 1e-10; relative = 0.0 } (mass density range) 1.0 "mass"
                  let first = mass (fun x -> x * density x) range
                  Expect.floatClose { absolute = 1e-9; relative = 0.0 } first mean "closed-form mean"
              }

          test "the check catches a density that forgets the cut" {
              let wrong x = Normal.PDF(0.5, 0.2, x)
              Expect.isGreaterThan (abs (mass wrong (0.4, 1.0) - 1.0)) 0.1 "caught"
          }

          test "joint density, support and bounds" {
              let prior = Prior.create [ "A", Uniform(0.0, 2.0); "B", Normal(1.0, 0.5) ]
              let expected = log 0.5 - 0.5 * log (2.0 * Math.PI * 0.25) - 0.5
              Expect.floatClose Accuracy.veryHigh (Prior.logDensity prior [| 1.0; 1.5 |]) expected "product"
              Expect.equal (Prior.logDensity prior [| 2.1; 1.5 |]) -infinity "outside"
              Expect.equal (Prior.logDensity prior [| nan; 1.5 |]) -infinity "not a number"
              Expect.isTrue (Prior.contains prior [| 2.0; 99.0 |]) "ends included"
              Expect.isFalse (Prior.contains prior [| 1.0; infinity |]) "infinity is no parameter"
              Expect.equal (Prior.bounds prior) [| 0.0, 2.0; -infinity, infinity |] "bounds"
          }

          test "far in the tail the truncated normal keeps its digits" {
              // p(x | x > 30σ) is, to first order, exponential with rate 30: mean ≈ 30 + 1/30 − 2/30³
              let marginal = TruncatedNormal(0.0, 1.0, 30.0, infinity)
              let density x = exp (Marginal.logDensity marginal x)
              Expect.floatClose { absolute = 1e-9; relative = 0.0 } (mass density (30.0, 32.0)) 1.0 "mass"
              let median = Marginal.quantile marginal 0.5
              Expect.floatClose { absolute = 1e-9; relative = 0.0 } (mass density (30.0, median)) 0.5 "median"
          } ]

let private draws =
    let n = 100_000

    testList
        "draws"
        [ for marginal, mean, sd in cases do
              test $"{marginal} has its closed-form moments" {
                  let x =
                      Prior.create [ "x", marginal ] |> Prior.sample 1 0L n |> Array.map Array.head

                  Expect.isTrue (momentsAgree mean sd x) "moments"
                  Expect.isFalse (momentsAgree mean (1.05 * sd) x) "the check catches a wrong standard deviation"
                  Expect.isFalse (momentsAgree (mean + 0.05 * sd) sd x) "the check catches a wrong mean"
                  Expect.isTrue (Array.forall (Marginal.contains marginal) x) "within the support"
              }

              test $"quantiles of {marginal} invert its distribution" {
                  for u in [ 1e-6; 0.1; 0.5; 0.9; 1.0 - 1e-6 ] do
                      let lo, _ = interval marginal mean sd

                      let below =
                          mass (Marginal.logDensity marginal >> exp) (lo, Marginal.quantile marginal u)

                      Expect.floatClose { absolute = 1e-10; relative = 0.0 } below u "distribution at the quantile"
              }

          test "parameters, draws and seeds are independent" {
              let prior = Prior.uniform [ "A", 0.0, 1.0; "B", 0.0, 1.0 ]
              let x = prior |> Prior.sample 1 0L n
              let other = prior |> Prior.sample 2 0L n

              let correlation (a: float[]) (b: float[]) =
                  Array.map2 (fun s t -> 12.0 * (s - 0.5) * (t - 0.5)) a b |> Array.average

              let a, b = Array.map Array.head x, Array.map Array.last x
              let limit = 5.0 / sqrt (float n)
              Expect.isLessThan (abs (correlation a b)) limit "between parameters"
              Expect.isLessThan (abs (correlation a[1..] a[.. n - 2])) limit "between neighbours"
              Expect.isLessThan (abs (correlation a (Array.map Array.head other))) limit "between seeds"
              Expect.isGreaterThan (correlation a a) 0.9 "the check catches equal columns"
          }

          test "draw i is the same whatever n and start are" {
              let prior =
                  Prior.create [ for name, (m, _, _) in List.zip [ "a"; "b"; "c"; "d"; "e" ] cases -> name, m ]

              let whole = prior |> Prior.sample -7 0L 100

              let parts =
                  Array.append (prior |> Prior.sample -7 0L 37) (prior |> Prior.sample -7 37L 63)

              Expect.equal parts whole "in two parts"
              Expect.equal (prior |> Prior.sample -7 99L 1) [| whole[99] |] "alone"
              Expect.notEqual (prior |> Prior.sample -6 0L 100) whole "another seed"
              Expect.isEmpty (prior |> Prior.sample -7 5L 0) "no draws"
          } ]

let private errors =
    testList
        "errors"
        [ for marginal, part in
              [ Uniform(1.0, 1.0), "lo < hi"
                Uniform(2.0, 1.0), "lo = 2, hi = 1"
                Uniform(nan, 1.0), "lo < hi"
                Uniform(0.0, infinity), "finite"
                Uniform(-1e308, 1e308), "finite"
                Normal(0.0, 0.0), "> 0"
                Normal(0.0, -1.0), "-1"
                Normal(0.0, nan), "> 0"
                Normal(infinity, 1.0), "finite mean"
                TruncatedNormal(0.0, 1.0, 1.0, 0.0), "lo < hi"
                TruncatedNormal(0.0, 0.0, 0.0, 1.0), "> 0"
                TruncatedNormal(0.0, 1.0, 50.0, 60.0), "probability" ] do
              test $"{marginal}" {
                  refuses<SettingException> [ "Omega_c"; part ] (fun () ->
                      Prior.create [ "Omega_c", marginal ] |> ignore)
              }

          test "names" {
              refuses<SettingException> [ "at least one" ] (fun () -> Prior.uniform [] |> ignore)
              refuses<SettingException> [ "name" ] (fun () -> Prior.uniform [ " ", 0.0, 1.0 ] |> ignore)

              refuses<SettingException> [ "different"; "A, A" ] (fun () ->
                  Prior.uniform [ "A", 0.0, 1.0; "A", 0.0, 1.0 ] |> ignore)
          }

          test "parameters outside, too many, or a negative start" {
              let prior = Prior.uniform [ "A", 0.1, 1.25; "B", 0.0, 1.0 ]
              Expect.equal (Prior.require "fiducial" prior [| 0.5; 0.5 |]) [| 0.5; 0.5 |] "inside"

              refuses<RangeException> [ "fiducial"; "0.1"; "1.25"; "A = 3" ] (fun () ->
                  Prior.require "fiducial" prior [| 3.0; 0.5 |] |> ignore)

              refuses<RangeException> [ "B = NaN" ] (fun () -> Prior.require "fiducial" prior [| 0.5; nan |] |> ignore)
              refuses<ShapeException> [ "2 (A, B)"; "1" ] (fun () -> Prior.logDensity prior [| 1.0 |] |> ignore)
              refuses<ShapeException> [ "2 (A, B)"; "3" ] (fun () -> Prior.contains prior [| 1.0; 1.0; 1.0 |] |> ignore)
              refuses<SettingException> [ "-1" ] (fun () -> Prior.sample 1 -1L 5 prior |> ignore)
              refuses<SettingException> [ "-5" ] (fun () -> Prior.sample 1 0L -5 prior |> ignore)
          } ]

let private conditions =
    testList
        "conditions"
        [ test "draws where a condition holds are those of the prior that meet it: a disc in a square" {
              let square = Prior.uniform [ "A", -1.0, 1.0; "B", -1.0, 1.0 ]
              let radius (t: float[]) = sqrt (t[0] * t[0] + t[1] * t[1])
              let disc = Prior.where (fun t -> radius t <= 1.0) square
              let draws = Prior.sample 3 0L 4000 disc
              Expect.isTrue (draws |> Array.forall (Prior.contains disc)) "inside"
              Expect.equal (Prior.sample 3 100L 5 disc) draws[100..104] "by seed and index alone"
              // uniform in a disc: r² is uniform between 0 and 1, whose mean has an error of 0.29/√4000
              let mean = draws |> Array.averageBy (fun t -> radius t ** 2.0)
              Expect.isLessThan (abs (mean - 0.5)) (4.0 * 0.2887 / sqrt 4000.0) "r²"

              let all =
                  Prior.sample 3 0L 4000 square |> Array.averageBy (fun t -> radius t ** 2.0)

              Expect.isGreaterThan (abs (all - 0.5)) (4.0 * 0.2887 / sqrt 4000.0) "planted: the square"
              Expect.equal (Prior.logDensity disc [| 0.1; 0.2 |]) (Prior.logDensity square [| 0.1; 0.2 |]) "density"
              Expect.equal (Prior.logDensity disc [| 0.9; 0.9 |]) -infinity "outside"
          }

          test "a condition that no draw meets" {
              let prior = Prior.uniform [ "A", 0.0, 1.0 ] |> Prior.where (fun t -> t[0] > 2.0)
              refuses<RangeException> [ "condition"; "none of" ] (fun () -> Prior.sample 1 0L 1 prior |> ignore)
          } ]

let tests = testList "prior" [ densities; draws; conditions; errors ]
