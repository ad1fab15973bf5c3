/// Diagnostics against inferences whose faults are known: accurate, biased, over- and under-confident.
module DiagnosticsTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.Distributions
open TestSupport

let private prior =
    Prior.create [ "a", Marginal.Normal(0.0, 1.0); "b", Marginal.Normal(0.0, 1.0) ]

/// x = θ + noise of sd 1: the posterior is N(x/2, ½) for each parameter; it is shifted by some sds and stretched.
let private posterior shift stretch =
    let sd = sqrt 0.5

    let centre (truth: float[]) seed =
        let random = Random(seed: int)

        truth
        |> Array.map (fun t -> (t + Normal.Sample(random, 0.0, 1.0)) / 2.0 + shift * sd)

    let draws i truth =
        let centre = centre truth i
        let random = Random(10000 + i)
        Array.init 200 (fun _ -> centre |> Array.map (fun c -> Normal.Sample(random, c, stretch * sd)))

    let trials = Calibration.trials 5 400 prior draws

    let logDensity i rows =
        let centre = centre trials[i].Truth i

        rows
        |> Array.map (fun (t: float[]) ->
            Array.map2 (fun v c -> Normal.PDFLn(c, stretch * sd, v)) t centre |> Array.sum)

    trials, logDensity

let private faults =
    [ "accurate", 0.0, 1.0, Calibrated, Calibrated
      "biased", 0.9, 1.0, Biased, Overconfident
      "over-confident", 0.0, 0.6, Overconfident, Overconfident
      "under-confident", 0.0, 1.6, Underconfident, Underconfident ]

let private gaussian seed n (mean: float) sd =
    let random = Random(seed: int)
    Array.init n (fun _ -> [| Normal.Sample(random, mean, sd); Normal.Sample(random, mean, sd) |])

let tests =
    testList
        "diagnostics"
        [ for name, shift, stretch, ranks, regions in faults do
              testCase $"an inference that is {name} is called so by ranks, coverage and TARP" (fun () ->
                  let trials, logDensity = posterior shift stretch

                  for parameter in Calibration.ranks trials do
                      Expect.equal (Calibration.verdictOfRanks parameter) ranks "ranks"

                  Expect.equal (Coverage.verdict (Coverage.levels logDensity trials)) regions "coverage"
                  Expect.equal (Tarp.verdict (Tarp.levels 3 trials)) regions "TARP")

          testCase "coverage of a posterior that is 0.6 times too narrow is what the Gaussian says" (fun () ->
              let trials, logDensity = posterior 0.0 0.6

              let found =
                  Calibration.curve [| 0.3; 0.6; 0.9 |] (Coverage.levels logDensity trials)
              // two dimensions: the region of probability p reaches ρ² = −2 ln(1 − p) in its own units, and holds 1 − exp(−½ 0.36 ρ²)
              let exact = [| 0.3; 0.6; 0.9 |] |> Array.map (fun p -> 1.0 - (1.0 - p) ** 0.36)
              close 0.12 found exact "coverage")

          testCase "the band of a count is that of the binomial, and most uniform histograms lie within it" (fun () ->
              let low, high = Calibration.band 0.95 100 0.1
              Expect.equal (low, high) (5, 16) "2.5 % and 97.5 % of Binomial(0.1, 100), from tables"

              let random = Random 1

              let inside =
                  [ for _ in 1..400 do
                        let count =
                            Seq.init 100 (fun _ -> random.NextDouble())
                            |> Seq.filter (fun u -> u < 0.1)
                            |> Seq.length

                        if count >= low && count <= high then 1.0 else 0.0 ]
                  |> List.average

              Expect.isGreaterThan inside 0.93 "inside")

          for name, mean, sd, differs in
              [ "the same distribution", 0.0, 1.0, false
                "a shifted one", 0.5, 1.0, true
                "a narrower one", 0.0, 0.6, true
                "a wider one", 0.0, 1.6, true ] do
              testCase $"C2ST tells {name} rightly" (fun () ->
                  let result = C2st.compare 1UL (gaussian 1 1500 0.0 1.0) (gaussian 2 1500 mean sd)
                  Expect.equal (C2st.distinguishable result) differs $"accuracy {result.Accuracy:F3}"

                  if name = "a shifted one" then
                      // the best classifier of N(0, 1)² against N(½, 1)² is right with probability Φ(√2 · ½ / 2)
                      Expect.isLessThan
                          (abs (result.Accuracy - Normal.CDF(0.0, 1.0, sqrt 2.0 / 4.0)))
                          0.03
                          $"{result.Accuracy:F3}")

          testCase "refuses too little" (fun () ->
              refuses<SettingException> [ "100" ] (fun () ->
                  C2st.compare 1UL (gaussian 1 99 0.0 1.0) (gaussian 2 99 0.0 1.0) |> ignore)

              refuses<SettingException> [ "trials" ] (fun () ->
                  Calibration.ranks
                      [| { Truth = [| 0.0 |]
                           Draws = [| [| 0.0 |] |] } |]
                  |> ignore)) ]
