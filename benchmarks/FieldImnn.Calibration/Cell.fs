/// One problem by one method: what the trials say together.
module Cell

open System.IO
open FieldImnn
open Subject

/// A cell of the table. Refused: why the method does not take the problem; the rest is then empty.
type Cell =
    { Problem: string
      Method: string
      Trials: Trial.Trial[]
      Calibration: CalibrationResult option
      Refused: string option
      Goal: float * float * float
      Seconds: float }

let areas cell = cell.Trials |> Array.map _.Area

/// exp of the mean of ln area / exact area, and the sd of its logarithm.
let area cell =
    let logs = areas cell |> Array.map log
    exp (Array.average logs), MathNet.Numerics.Statistics.Statistics.StandardDeviation logs

/// Root mean square over fields and parameters.
let shift cell =
    cell.Trials |> Array.collect _.Shift |> Array.averageBy (fun s -> s * s) |> sqrt

/// Whether ranks, coverage and TARP all call it calibrated.
let calibrated (result: CalibrationResult) =
    Array.forall ((=) Calibrated) result.RankVerdicts
    && result.LevelVerdict = Calibrated
    && result.TarpVerdict = Calibrated

let judge subject name (trials: Trial.Trial[]) seconds =
    let calibration =
        CalibrationStudy.ofTrials
            (int subject.Options.Seed)
            name
            (trials |> Array.map (fun t -> { Truth = t.Truth; Draws = t.Draws }))
            (trials |> Array.map _.LogDensity)

    { Problem = subject.Name
      Method = name
      Trials = trials
      Calibration = Some calibration
      Refused = None
      Goal = subject.Goal
      Seconds = seconds }

let refused subject name why =
    { Problem = subject.Name
      Method = name
      Trials = [||]
      Calibration = None
      Refused = Some why
      Goal = subject.Goal
      Seconds = 0.0 }

/// Whether a cell is as wanted: calibrated with its area and shift within the goals, or refused; the control has to be caught.
let reached cell =
    match cell.Refused, cell.Calibration with
    | Some _, _ -> true
    | None, Some c when cell.Method = "gaussian" -> not (calibrated c)
    | None, Some c ->
        let low, high, most = cell.Goal
        let mean, _ = area cell
        calibrated c && mean >= low && mean <= high && shift cell <= most
    | None, None -> false

let json cell =
    let low, high, most = cell.Goal

    Report.fields
        [ "problem", Report.value cell.Problem
          "method", Report.value cell.Method
          match cell.Refused, cell.Calibration with
          | Some why, _ -> "refused", Report.value why
          | None, Some c ->
              let mean, spread = area cell
              "fields", Report.value cell.Trials.Length
              "ranks", Report.value (c.RankVerdicts |> Array.map string |> String.concat ", ")
              "coverage", Report.value (string c.LevelVerdict)
              "tarp", Report.value (string c.TarpVerdict)
              "coverageOf68", Report.value (CalibrationStudy.covered 0.68 c)
              "coverageOf95", Report.value (CalibrationStudy.covered 0.95 c)
              "area", Report.value mean
              "areaSpread", Report.value spread
              "areaGoal", Report.numbers [ low; high ]
              "rmsShift", Report.value (shift cell)

              "rmsShiftOfLostInformation",
              Report.value (cell.Trials |> Array.averageBy (fun t -> t.Lost * t.Lost) |> sqrt)

              "shiftGoal", Report.value most
              "simulations", Report.value (cell.Trials |> Array.averageBy (fun t -> float t.Simulations))
              "warnings", Report.value (cell.Trials |> Array.sumBy _.Warnings)
              "areas", Report.numbers (areas cell)
              "shifts", Report.rows (cell.Trials |> Array.map _.Shift)
              "truths", Report.rows (cell.Trials |> Array.map _.Truth)
          | None, None -> ()
          "reached", Report.value (reached cell)
          "seconds", Report.value cell.Seconds ]

/// The cell's file: one for every number of fields, of pixels and seed, so that none is taken for another.
let path folder problem name counts =
    Path.Combine(Cells.folder folder, $"{(problem: string).Replace(' ', '-')}-{name}-{counts}.json")
