/// Diagnostics on what used to get a verdict without one: constants, NaN, ties, flat and discrete posteriors, few draws.
module VerdictTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.Distributions
open TestSupport

let private normals seed n d (f: float[] -> float[]) =
    let random = Random(seed: int)
    Array.init n (fun _ -> f (Array.init d (fun _ -> Normal.Sample(random, 0.0, 1.0))))

let private compare reference samples = C2st.compare 1UL reference samples

let private c2st =
    testList
        "C2ST"
        [ testCase "a constant column is set aside; the other tells" (fun () ->
              let apart shift =
                  compare
                      (normals 1 600 2 (fun z -> [| z[0]; 0.67 |]))
                      (normals 2 600 2 (fun z -> [| z[0] + shift; 0.67 |]))

              let far = apart 3.0
              // Φ(3/2) is the best that can be done
              Expect.isLessThan (abs (far.Accuracy - Normal.CDF(0.0, 1.0, 1.5))) 0.03 $"accuracy {far.Accuracy:F3}"
              Expect.isFalse (C2st.distinguishable (apart 0.0)) "the same")

          testCase "sets of one value: another one, the same one; and one value against many" (fun () ->
              let all v = Array.create 500 [| v; v |]
              Expect.equal (compare (all 1.0) (all 0.0)).Accuracy 1.0 "ones against zeros"
              Expect.equal (compare (all 1.0) (all 1.0)).Accuracy 0.5 "the same"
              let spread = normals 3 500 2 id
              Expect.equal (compare spread (all 0.0)).Accuracy 1.0 "a point against a normal"
              Expect.equal (compare (all 0.0) spread).Accuracy 1.0 "and the other way"
              // a tenth of the samples have moved: they alone are told
              let mixed =
                  Array.init 500 (fun i -> if i % 10 = 0 then [| 1.0; 1.0 |] else [| 0.0; 0.0 |])

              Expect.floatClose Accuracy.high (compare (all 0.0) mixed).Accuracy 0.55 "a tenth")

          testCase "NaN and other numbers of parameters are refused" (fun () ->
              let good = normals 1 200 2 id
              let holed = Array.copy good
              holed[17] <- [| nan; 0.0 |]
              refuses<NonFiniteException> [ "samples"; "row 17" ] (fun () -> compare good holed |> ignore)
              refuses<NonFiniteException> [ "reference"; "row 17" ] (fun () -> compare holed good |> ignore)
              refuses<ShapeException> [ "2 parameters" ] (fun () -> compare good (normals 1 200 3 id) |> ignore))

          testCase "of a larger set a random part counts, not its beginning" (fun () ->
              // sorted: its first rows are its lowest
              let sorted = normals 1 3000 1 id |> Array.sort
              let other = normals 2 600 1 id
              Expect.isFalse (C2st.distinguishable (compare sorted other)) "the same distribution"
              Expect.equal (compare sorted other).ByFold (compare sorted other).ByFold "same seed, same answer"
              Expect.isTrue (C2st.distinguishable (compare (Array.truncate 600 sorted) other)) "planted: its beginning") ]

let private trials n (infer: Random -> float[] -> float[][]) (truth: Random -> float[]) =
    let random = Random 11

    Array.init n (fun _ ->
        let truth = truth random

        { Truth = truth
          Draws = infer random truth })

/// A die of k faces: the posterior is the prior, and all is ties.
let private dice k n shift =
    let throw (random: Random) = float (random.Next k)

    trials n (fun random _ -> Array.init 60 (fun _ -> [| throw random + shift; throw random |])) (fun random ->
        [| throw random; throw random |])

let private verdicts trials logDensity =
    let ranks = Calibration.ranks trials |> Array.map Calibration.verdictOfRanks

    ranks[0], Coverage.verdict (Coverage.levels logDensity trials), Tarp.verdict (Tarp.levels 3 trials)

let private ties =
    testList
        "ties"
        [ for k in [ 2; 3; 10 ] do
              testCase $"exact posteriors of {k} values are calibrated; planted: a third of them to the side" (fun () ->
                  let flat _ rows = rows |> Array.map (fun _ -> 0.0)

                  Expect.equal (verdicts (dice k 400 0.0) flat) (Calibrated, Calibrated, Calibrated) "exact"
                  let planted, _, region = verdicts (dice k 400 (float ((k + 2) / 3))) flat
                  Expect.equal planted Biased "planted: ranks"
                  Expect.notEqual region Calibrated "planted: TARP")

          testCase "a flat posterior over a box is calibrated; one over its half is over-confident" (fun () ->
              let over width =
                  trials
                      400
                      (fun random _ -> Array.init 60 (fun _ -> [| 0.5 + width * (random.NextDouble() - 0.5) |]))
                      (fun random -> [| random.NextDouble() |])

              let density width _ (rows: float[][]) =
                  rows
                  |> Array.map (fun t -> if abs (t[0] - 0.5) <= 0.5 * width then 0.0 else -infinity)

              Expect.equal (verdicts (over 1.0) (density 1.0)) (Calibrated, Calibrated, Calibrated) "exact"

              Expect.equal
                  (verdicts (over 0.5) (density 0.5))
                  (Overconfident, Overconfident, Overconfident)
                  "planted: half as wide")

          testCase
              "a parameter that nothing varies is set aside by TARP; one that the draws alone vary is refused"
              (fun () ->
                  let some vary =
                      trials
                          100
                          (fun random _ ->
                              Array.init 40 (fun _ ->
                                  [| random.NextDouble(); (if vary then random.NextDouble() else 0.67) |]))
                          (fun random -> [| random.NextDouble(); 0.67 |])

                  Expect.equal (Tarp.verdict (Tarp.levels 1 (some false))) Calibrated "set aside"
                  refuses<RangeException> [ "parameter 1" ] (fun () -> Tarp.levels 1 (some true) |> ignore)

                  let none = trials 30 (fun _ t -> Array.create 20 t) (fun _ -> [| 1.0 |])
                  refuses<RangeException> [ "varies" ] (fun () -> Tarp.levels 1 none |> ignore)) ]

let private refusals =
    let good =
        trials 30 (fun r _ -> Array.init 20 (fun _ -> [| r.NextDouble() |])) (fun r -> [| r.NextDouble() |])

    let planted i trial =
        good |> Array.mapi (fun k t -> if k = i then trial t else t)

    let each expect (trials: CalibrationTrial[]) =
        expect (fun () -> Calibration.ranks trials |> ignore)
        expect (fun () -> Coverage.levels (fun _ rows -> Array.map Array.head rows) trials |> ignore)
        expect (fun () -> Tarp.levels 1 trials |> ignore)

    testList
        "refusals"
        [ testCase "NaN draws and truths, few draws and log densities that are none: by the trial's number" (fun () ->
              planted 7 (fun t ->
                  { t with
                      Draws = t.Draws |> Array.mapi (fun k d -> if k = 3 then [| nan |] else d) })
              |> each (refuses<NonFiniteException> [ "trial 7"; "draws" ])

              planted 8 (fun t -> { t with Truth = [| infinity |] })
              |> each (refuses<NonFiniteException> [ "trial 8"; "truth" ])

              planted 9 (fun t -> { t with Draws = t.Draws[..2] })
              |> each (refuses<SettingException> [ "trial 9"; "at least 19"; "steps" ])

              let levels logDensity () =
                  Coverage.levels logDensity good |> ignore

              refuses<NonFiniteException>
                  [ "trial 5"; "NaN" ]
                  (levels (fun i rows -> rows |> Array.map (fun _ -> if i = 5 then nan else 0.0)))

              refuses<ShapeException> [ "trial 0"; "21 values" ] (levels (fun _ _ -> [| 0.0 |])))

          testCase "equal posteriors are compared by draws of their own" (fun () ->
              let samples = normals 1 500 2 id

              let posterior =
                  Posterior.ofSamples
                      [| "a"; "b" |]
                      (Array.create 2 (-infinity, infinity))
                      samples
                      (Array.create 500 1.0)

              let point = SimulationBudget.compare "ABC" 1UL 500 400 posterior posterior
              Expect.isLessThan point.C2st 0.6 "the same"
              // of one stream every draw would stand in both sets
              let drawn purpose =
                  Posterior.resample (Random.NoiseKey.IntSeedFor(1UL, purpose)) 400 posterior

              Expect.notEqual (drawn "C2ST: exact") (drawn "C2ST: ABC") "two streams")

          testCase "a sample of few draws is not compared by drawing them again and again" (fun () ->
              let sample seed n =
                  let rows = normals seed n 6 id

                  Posterior.ofSamples
                      [| for k in 1..6 -> $"θ{k}" |]
                      (Array.create 6 (-infinity, infinity))
                      rows
                      (Array.create n 1.0)

              let few, many = sample 1 300, sample 2 2000
              let point = SimulationBudget.compare "few" 1UL 0 2000 few many
              Expect.isLessThan point.C2st 0.56 "two samples of one distribution"
              let again = C2st.compare 1UL (Posterior.resample 3 2000 few) many.Samples
              Expect.isGreaterThan again.Accuracy 0.6 "planted: drawn again and again") ]

let tests = testList "verdicts" [ c2st; ties; refusals ]
