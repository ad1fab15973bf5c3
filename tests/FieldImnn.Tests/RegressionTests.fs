/// The regression of rejection ABC and population Monte Carlo: at a prior's edge, in many dimensions, on summaries that say nothing.
module RegressionTests

open Expecto
open FieldImnn
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open MathNet.Numerics.LinearRegression
open TestSupport
open TorchSharp

/// x = θ + N(0, 1), θ ~ U(0, 10).
let private edgePrior = Prior.uniform [ "θ", 0.0, 10.0 ]

let private edgeSimulator =
    Simulator.create "edge" [ "θ" ] [ 1 ] [ 1 ] (fun theta noise -> theta + noise)

let private one = Matrix<float>.Build.DenseIdentity 1

/// Mean and sd of N(x, 1) cut to θ ≥ 0: closed form (Johnson, Kotz & Balakrishnan 1994, §10.1).
let private cutNormal x =
    let h = exp (Normal.PDFLn(0.0, 1.0, -x) - log (Normal.CDF(0.0, 1.0, x)))
    x + h, sqrt (1.0 - x * h - h * h)

let private many (infer: uint64 -> Posterior) =
    let found = [| for seed in 1UL .. 6UL -> infer seed |]
    found |> Array.averageBy (fun p -> (Posterior.mean p)[0]), found |> Array.averageBy (fun p -> (Posterior.sd p)[0])

/// Accepted simulations of x = bθ + e with θ ~ N(0, 1)^p about x = 0, and the exact sd of θ there.
let private accepted seed n p =
    let normals =
        Prior.sample seed 0L n (Prior.create [ for i in 1 .. 2 * p -> $"z{i}", Marginal.Normal(0.0, 1.0) ])

    let theta = normals |> Array.map (Array.take p)

    // θ = x/2 + e/2 with x ~ N(0, 2): e of unit variance, independent of x
    let estimates =
        normals |> Array.map (fun z -> Array.init p (fun k -> z[k] + z[p + k]))

    theta, estimates, sqrt 0.5

let private noEdges p =
    Prior.create [ for i in 1..p -> $"t{i}", Marginal.Normal(0.0, 100.0) ]

let private spread (posterior: Posterior) =
    Posterior.sd posterior |> Array.averageBy log |> exp

/// asinh θ + N(0, 0.02) of three parameters in [−35, 15]: priors 2,500 errors wide, of which a linear estimate at 0 sees some hundred. Of observed
/// zeros the posterior is N(0, 0.02) to a part in 2,000.
let private bent =
    Simulator.create "bent" [ "a"; "b"; "c" ] [ 3 ] [ 3 ] (fun theta noise ->
        theta.asinh () + 0.02 * noise.``to`` torch.float64)

let private bentPosterior most seed =
    let prior = Prior.uniform [ for name in bent.Parameters -> name, -35.0, 15.0 ]
    let fisher = Matrix<float>.Build.DenseIdentity 3 / (0.02 ** 2.0)

    let settings =
        { AbcSettings.Default with
            Budget = 4000
            Seed = seed }

    (Abc.runAfter most settings bent Tensors.toRows fisher prior [| 0.0; 0.0; 0.0 |]).Posterior

let private narrowing =
    tensorTest
        "pilots go on until they narrow no longer, so that a prior of 2,500 errors does not widen the posterior"
        (fun () ->
            for seed in 1UL .. 3UL do
                let found = bentPosterior 6 seed
                Expect.isLessThan (abs (log (spread found / 0.02))) 0.12 $"sd {spread found:F4} for 0.02"

                Expect.isLessThan
                    (Posterior.mean found |> Array.map abs |> Array.max)
                    0.012
                    "mean, by 4,000 simulations"

            let planted = spread (bentPosterior 2 1UL)
            Expect.isGreaterThan planted 0.1 $"planted: two pilots, sd {planted:F4}")

/// x = θ² + N(0, 0.18), θ in [−1, 2], of which .95 is observed: a peak to each side, of other slopes.
let private twoPeaks =
    let bounds = Prior.uniform [ "θ", -1.0, 2.0 ]

    let simulator =
        Simulator.create "square" [ "θ" ] [ 1 ] [ 1 ] (fun theta noise -> theta.square () + 0.18 * noise)

    /// sd of the peak above 0.
    let above (samples: (float * float) seq) =
        let values, weights =
            samples |> Seq.filter (fun (t, _) -> t > 0.0) |> Array.ofSeq |> Array.unzip

        let sum = Array.sum weights
        Weighted.moments values (weights |> Array.map (fun w -> w / sum)) |> snd

    let exact =
        seq { for i in -999 .. 1999 -> float i / 1000.0 }
        |> Seq.map (fun t -> t, exp (-0.5 * ((0.95 - t * t) / 0.18) ** 2.0))
        |> above

    // an estimate that was fitted at .4, and its F
    let estimate x = (x - 0.16) / 0.8 + 0.4
    let fisher = one * ((0.8 / 0.18) ** 2.0)

    let wide acceptance =
        [ for seed in 1UL .. 4UL do
              let found =
                  Abc.run
                      { AbcSettings.Default with
                          Acceptance = acceptance
                          Seed = seed }
                      simulator
                      (Tensors.toRows >> Array.map (Array.map estimate))
                      fisher
                      bounds
                      [| estimate 0.95 |]

              above (Seq.zip (found.Posterior.Samples |> Seq.map Array.head) found.Posterior.Weights)
              / exact ]
        |> List.average

    tensorTest
        "where the posterior has two peaks fewer of the nearest are accepted, so that a regression of both does not blur them"
        (fun () ->
            Expect.isLessThan (wide (Nearest 0.2)) 1.5 "sd of a peak"
            Expect.isGreaterThan (wide (Within 2.0)) 2.0 "planted: as many as a fifth")

let private differences =
    testCase "the distance of two distributions is the largest difference of theirs" (fun () ->
        // by hand: F jumps at 1, 2, 3 to 1/3, 2/3, 1, and by weights 1/2, 0, 1/2; G at 2 and 4 to 1/2 and 1
        let values = [| 3.0; 1.0; 2.0 |]
        let other = [| 2.0; 4.0 |], [| 5.0; 5.0 |]

        let close a b =
            Expect.floatClose Accuracy.high a b "largest difference"

        close (Weighted.distance (values, [| 1.0; 1.0; 1.0 |]) other) 0.5
        close (Weighted.distance (values, [| 2.0; 2.0; 0.0 |]) other) 0.5
        close (Weighted.distance other other) 0.0
        close (Weighted.distance ([| 0.0 |], [| 1.0 |]) ([| 1.0 |], [| 3.0 |])) 1.0)

let tests =
    testList
        "regression of ABC"
        [ narrowing
          twoPeaks
          differences
          tensorTest
              "at a prior's edge it keeps every sample; one that drops those which left the prior is biased"
              (fun () ->
                  let x = -1.0
                  let mean, sd = cutNormal x
                  Expect.floatClose Accuracy.low mean 0.525 "the closed form itself"

                  let check name infer =
                      let found, width = many infer
                      Expect.isLessThan (abs (found - mean)) 0.04 $"{name}: mean {found:F3} for {mean:F3}"
                      Expect.isLessThan (abs (width - sd)) 0.05 $"{name}: sd {width:F3} for {sd:F3}"

                  check "ABC" (fun seed ->
                      (Abc.run
                          { AbcSettings.Default with
                              Seed = seed
                              Simulations = chunks 5000 }
                          edgeSimulator
                          Tensors.toRows
                          one
                          edgePrior
                          [| x |])
                          .Posterior)

                  check "PMC" (fun seed ->
                      (PopulationMonteCarlo.run
                          { PmcSettings.Default with
                              Population = 1000
                              Seed = seed
                              Simulations = chunks 5000 }
                          edgeSimulator
                          Tensors.toRows
                          one
                          edgePrior
                          [| x |])
                          .Posterior)

                  // planted: the regression in θ itself, of which samples beyond the edge are dropped
                  let theta = Prior.sample 1 0L 200000 edgePrior
                  let noise = Prior.sample 2 0L 200000 (noEdges 1)

                  let near =
                      [| for t, z in Array.zip theta noise do
                             let e = t[0] + z[0] / 100.0

                             if abs (e - x) < 3.0 then
                                 t, [| e |] |]

                  let dropped =
                      Rejection.posterior
                          true
                          (noEdges 1)
                          [| x |]
                          one
                          3.0
                          (Array.map fst near)
                          (Array.map snd near)
                          (Array.create near.Length 1.0)

                  let kept = dropped.Samples |> Array.filter (fun s -> s[0] >= 0.0)

                  let biased =
                      Posterior.ofSamples [| "θ" |] [| 0.0, 10.0 |] kept (Array.create kept.Length 1.0)

                  Expect.isGreaterThan ((Posterior.mean biased)[0]) (mean + 0.05) "planted: dropping samples is biased")

          testCase "in six dimensions residuals keep their width; the fit alone takes some of it" (fun () ->
              let p = 6

              let ratios =
                  [| for seed in 1..12 ->
                         let theta, estimates, sd = accepted seed 500 p
                         let fisher = Matrix<float>.Build.DenseIdentity p * 0.5
                         let observed = Array.zeroCreate p

                         let epsilon =
                             estimates |> Array.map (Rejection.distance fisher observed) |> Array.max

                         let weights = Array.create theta.Length 1.0

                         let found =
                             Rejection.posterior true (noEdges p) observed fisher epsilon theta estimates weights

                         // planted: MathNet's least squares with the same terms, residuals as they are
                         let kernel =
                             estimates
                             |> Array.map (fun e -> 1.0 - (Rejection.distance fisher observed e / epsilon) ** 2.0)

                         let terms (e: float[]) =
                             [| yield 1.0
                                yield! e
                                for i in 0 .. p - 1 do
                                    for j in i .. p - 1 do
                                        yield e[i] * e[j] |]

                         let design = Matrix<float>.Build.DenseOfRowArrays(Array.map terms estimates)
                         let response = Matrix<float>.Build.DenseOfRowArrays theta
                         let root = kernel |> Array.map sqrt
                         let scale (m: Matrix<float>) = m.MapIndexed(fun i _ v -> v * root[i])
                         let fitted = design * MultipleRegression.QR(scale design, scale response)

                         let plain =
                             Posterior.ofSamples
                                 (noEdges p).Names
                                 (Prior.bounds (noEdges p))
                                 ((response - fitted).ToRowArrays())
                                 kernel

                         spread found / sd, spread plain / sd |]

              let mean pick = ratios |> Array.averageBy pick
              Expect.isLessThan (abs (mean fst - 1.0)) 0.012 $"width over the exact one {mean fst:F3}"
              Expect.isLessThan (mean snd) 0.98 $"planted: residuals of the fit {mean snd:F3}")

          testCase "summaries that say nothing or say it twice do no harm" (fun () ->
              let theta, estimates, sd = accepted 3 2000 1

              let check name (more: float[] -> float[]) =
                  let rows = estimates |> Array.map more
                  let observed = more [| 0.0 |]
                  let fisher = Matrix<float>.Build.DenseIdentity observed.Length
                  let epsilon = rows |> Array.map (Rejection.distance fisher observed) |> Array.max

                  let found =
                      Rejection.posterior true (noEdges 1) observed fisher epsilon theta rows (Array.create 2000 1.0)

                  Expect.isLessThan (abs (spread found / sd - 1.0)) 0.05 $"{name}: sd {spread found:F4} for {sd:F4}"
                  Expect.isLessThan (abs ((Posterior.mean found)[0])) 0.05 $"{name}: mean"

              check "alone" id
              check "constant" (fun e -> [| e[0]; 7.0 |])
              check "twice" (fun e -> [| e[0]; e[0] |])
              check "twice in single precision" (fun e -> [| e[0]; float (float32 e[0]) |])
              check "rounded" (fun e -> [| round (10.0 * e[0]) / 10.0 |]))

          testCase "an observation to one side of all simulations is not extrapolated to" (fun () ->
              // x = θ + N(0, 0.1²), θ ~ U(0, 1)², observed at 20: the nearest simulations have θ near 1
              let prior = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]
              let theta = Prior.sample 4 0L 2000 prior

              let noise =
                  Prior.sample
                      5
                      0L
                      2000
                      (Prior.create [ "a", Marginal.Normal(0.0, 0.1); "b", Marginal.Normal(0.0, 0.1) ])

              let estimates = Array.map2 (Array.map2 (+)) theta noise
              let observed = [| 20.0; 20.0 |]
              let fisher = 100.0 * Matrix<float>.Build.DenseIdentity 2
              let distances = estimates |> Array.map (Rejection.distance fisher observed)
              let epsilon = Rejection.quantile 0.1 distances
              let near = [| 0..1999 |] |> Array.filter (fun i -> distances[i] <= epsilon)
              let pick (rows: float[][]) = near |> Array.map (fun i -> rows[i])

              let found =
                  Rejection.posterior
                      true
                      prior
                      observed
                      fisher
                      epsilon
                      (pick theta)
                      (pick estimates)
                      (Array.create near.Length 1.0)

              Expect.all (Posterior.mean found) (fun m -> m > 0.7 && m < 1.0) "near the corner, where the nearest are"
              Expect.all (Posterior.sd found) (fun s -> s > 0.03) "and as wide as they are") ]
