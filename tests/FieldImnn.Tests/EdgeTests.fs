/// Densities whose edge a parameter sets, against the χ² distribution; looking for a posterior where a pilot finds it.
module EdgeTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.Distributions
open TestSupport

/// x = θ + s χ²₂: nothing lies below θ. Pairs of x and θ, θ ~ U(0, 2).
let private pairs seed n =
    let draws =
        Prior.sample
            seed
            0L
            n
            (Prior.create
                [ yield "θ", Uniform(0.0, 2.0)
                  for i in 1..2 do
                      yield $"z{i}", Marginal.Normal(0.0, 1.0) ])

    let theta = draws |> Array.map (fun d -> [| d[0] |])

    let x =
        draws
        |> Array.map (fun d -> [| d[0] + 0.1 * (d[1..] |> Array.sumBy (fun z -> z * z)) |])

    x, theta

let private exact (x: float[]) (theta: float[]) =
    let chi = (x[0] - theta[0]) / 0.1
    ChiSquared.PDFLn(2.0, chi) - log 0.1

let private settings edges =
    { KnownPosterior.delfi.Estimator with
        Kind = Mixture(4, [ 16 ])
        Edges = edges }

let private edge = [ { Summary = 0; Parameter = 0 } ]

let tests =
    testList
        "edges of summaries"
        [ tensorTest "a density with an edge is learned as one, and nothing is left beyond it" (fun () ->
              let x, theta = pairs 1 4000
              let freshX, freshTheta = pairs 2 4000
              let truth = Array.map2 exact freshX freshTheta

              let loss edges =
                  use density = DensityEstimator.fit (settings edges) x theta
                  let found = DensityEstimator.logDensity density freshX freshTheta

                  let beyond =
                      DensityEstimator.logDensity density [| [| 0.5 |] |] [| [| 0.55 |]; [| 0.7 |] |]

                  let drawn = DensityEstimator.sample density 3UL freshTheta
                  Array.map2 (-) truth found |> Array.average, beyond, drawn, density.HeldOutLogDensity

              let lost, beyond, drawn, heldOut = loss edge
              Expect.isLessThan lost 0.03 $"ln p − ln q on fresh pairs {lost:F4}"
              Expect.isLessThan (abs (heldOut - Array.average truth)) 0.15 "the held-out density counts the Jacobian"
              Expect.all beyond Double.IsNegativeInfinity "no density beyond the edge"

              Array.iter2
                  (fun (d: float[]) (t: float[]) -> Expect.isGreaterThan d[0] t[0] "no draw beyond the edge")
                  drawn
                  freshTheta

              let mean =
                  Array.map2 (fun (d: float[]) (t: float[]) -> d[0] - t[0]) drawn freshTheta
                  |> Array.average

              Expect.isLessThan (abs (mean - 0.2)) 0.03 $"mean of s χ²₂ {mean:F3}"

              let without, leaked, _, _ = loss []
              Expect.isGreaterThan without 0.04 $"planted: a flow by itself loses {without:F4}"
              Expect.all leaked Double.IsFinite "planted: and leaves some beyond the edge")

          tensorTest "an edge that a simulation crosses, or that nothing has, is refused" (fun () ->
              let x, theta = pairs 1 100
              x[7][0] <- theta[7][0] - 1.0

              refuses<RangeException> [ "simulation 7"; "above parameter 0" ] (fun () ->
                  DensityEstimator.fit (settings edge) x theta |> ignore)

              refuses<SettingException> [ "summary of an edge"; "0 to 0" ] (fun () ->
                  DensityEstimator.fit (settings [ { Summary = 1; Parameter = 0 } ]) x theta
                  |> ignore))

          testCase
              "a peak is that of the density, at the border too, where a point stands for half a cell; samples have none"
              (fun () ->
                  let x, y = [| 0.0; 1.0; 2.0 |], [| 0.0; 1.0; 2.0 |]
                  let density = Array2D.init 3 3 (fun i j -> float (1 + i) - 0.1 * float (j * j))
                  let names, bounds = [| "a"; "b" |], [| 0.0, 2.0; 0.0, 2.0 |]
                  let posterior = Posterior.ofGrid names bounds x y density
                  Expect.equal (Posterior.peak posterior) (Some [| 2.0; 0.0 |]) "a corner"

                  let heaviest =
                      posterior.Samples[posterior.Weights |> Seq.indexed |> Seq.maxBy snd |> fst]

                  Expect.notEqual heaviest [| 2.0; 0.0 |] "planted: the heaviest point is another"

                  let samples =
                      Posterior.ofSamples names bounds [| [| 0.1; 0.1 |]; [| 1.0; 1.0 |] |] [| 1.0; 1.0 |]

                  Expect.isNone (Posterior.peak samples) "samples")

          testCase "a corner of samples on a line is refused for what it is" (fun () ->
              let samples = [| for i in 0..99 -> [| 0.01 * float i; 0.5 * 0.01 * float i |] |]

              let line =
                  Posterior.ofSamples [| "a"; "b" |] [| 0.0, 1.0; 0.0, 1.0 |] samples (Array.create 100 1.0)

              refuses<SingularMatrixException> [ "a and b"; "line" ] (fun () ->
                  FieldImnn.Plots.Plot.corner [ ("line", line) ] None |> ignore))

          testCase "a prior cut to a box is the prior given that θ lies there" (fun () ->
              let prior =
                  Prior.create
                      [ "a", Uniform(0.0, 4.0)
                        "b", Marginal.Normal(0.0, 1.0)
                        "c", TruncatedNormal(0.0, 1.0, 0.0, infinity) ]

              let box = [| -1.0, 1.0; -0.5, 2.0; 0.5, 1.0 |]
              let part = Prior.within box prior
              Expect.equal (Prior.bounds part) [| 0.0, 1.0; -0.5, 2.0; 0.5, 1.0 |] "bounds"

              // the probability of the box, from draws of the whole prior
              let draws = Prior.sample 5 0L 100000 prior
              let inside = draws |> Array.filter (Prior.contains part)
              let mass = float inside.Length / 100000.0
              let ratio = exp (Prior.logDensity prior inside[0] - Prior.logDensity part inside[0])
              Expect.isLessThan (abs (ratio / mass - 1.0)) 0.05 $"density {ratio:F4}, mass {mass:F4}"

              refuses<SettingException> [ "a" ] (fun () ->
                  Prior.within [| 5.0, 6.0; 0.0, 1.0; 0.0, 1.0 |] prior |> ignore)

              refuses<ShapeException> [ "box" ] (fun () -> Prior.within [| 5.0, 6.0 |] prior |> ignore)) ]
