/// The studies of inference: distance from the exact posterior against the number of simulations, and calibration over the prior.
module StudyTests

open System.IO
open Expecto
open FieldImnn
open TestSupport

let private problem = ImnnTests.problem.Value
let private compressor = ImnnTests.trained

let private point seed simulations area =
    { Method = "m"
      Seed = seed
      Simulations = simulations
      AreaRatio = area
      Shift = 0.0
      C2st = 0.5 }

let private options folder =
    { StudyOptions.read folder [||] with
        Quick = true }

let tests =
    testList
        "studies"
        [ testCase "a curve of the budget is the mean and the range over seeds, as far as all of them came" (fun () ->
              let points =
                  [ point 1UL 100 3.0
                    point 1UL 200 2.0
                    point 1UL 300 1.0
                    point 2UL 120 5.0
                    point 2UL 220 2.5 ]

              let curve = SimulationBudget.curve "m" _.AreaRatio points
              Expect.equal (curve |> Array.map _.Simulations) [| 110.0; 210.0 |] "simulations"
              Expect.equal (curve |> Array.map _.Low) [| 3.0; 2.0 |] "low"
              Expect.equal (curve |> Array.map _.Middle) [| 4.0; 2.25 |] "middle"
              Expect.equal (curve |> Array.map _.High) [| 5.0; 2.5 |] "high")

          testCase
              "methods come near the exact posterior with their budget, and a study that is started again repeats itself"
              (fun () ->
                  inFolder (fun folder ->
                      let settings =
                          { Abc = [ 500; 2000 ]
                            Delfi = [ 250; 250 ]
                            Seeds = [ 1UL ]
                            C2stSamples = 300
                            Folder = folder
                            Progress = Progress.silent }

                      let field = Simulator.field problem.Simulator [| 0.9; 0.55 |] 5UL

                      let run () =
                          SimulationBudget.run settings problem compressor.Value field

                      let points = run ()

                      let last name =
                          points |> List.findBack (fun p -> p.Method = name)

                      for name in SimulationBudget.methods do
                          Expect.isTrue (points |> List.exists (fun p -> p.Method = name)) $"{name} is there"

                      Expect.equal (last "ABC from the prior").Simulations 2000 "budget of ABC"
                      Expect.isLessThanOrEqual (last "population Monte Carlo").Simulations 2000 "budget of PMC"
                      Expect.equal (last "DELFI").Simulations 500 "budget of DELFI"

                      for name in [ "ABC, focused, with regression"; "DELFI" ] do
                          let p = last name
                          Expect.isLessThan (abs (log p.AreaRatio)) 0.5 $"{name}: area ratio {p.AreaRatio:F2}"
                          Expect.isLessThan p.Shift 0.6 $"{name}: shift {p.Shift:F2}"

                      Expect.isGreaterThan
                          (last "ABC from the prior").AreaRatio
                          1.5
                          "planted: 58 of 2,000 from the prior are too wide"

                      let kept = Directory.GetFiles(folder, "*.npz", SearchOption.AllDirectories).Length
                      Expect.equal (run ()) points "again"

                      Expect.equal
                          (Directory.GetFiles(folder, "*.npz", SearchOption.AllDirectories).Length)
                          kept
                          "from its files"))

          testCase "the exact posterior is calibrated over the prior, the Gaussian approximation is not" (fun () ->
              inFolder (fun folder ->
                  let results =
                      CalibrationStudy.run (options folder) Progress.silent problem compressor.Value 600 80

                  let verdicts =
                      results
                      |> List.map (fun r -> r.Method, (r.LevelVerdict, r.TarpVerdict))
                      |> Map.ofList

                  Expect.equal verdicts["exact"] (Calibrated, Calibrated) "exact"

                  Expect.equal
                      (fst verdicts["Gaussian approximation"])
                      Overconfident
                      "planted: the fiducial's width everywhere"

                  for r in results do
                      Expect.equal r.Levels.Length 80 $"{r.Method}: a level for each field"
                      Expect.equal (r.Ranks |> Array.map _.Length) [| 80; 80 |] $"{r.Method}: ranks")) ]
