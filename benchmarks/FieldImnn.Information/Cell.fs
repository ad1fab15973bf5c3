/// One universe by one candidate: what is kept of the exact information, for every seed.
module Cell

open System.IO
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots
open MathNet.Numerics.Statistics
open Universe
open Candidate

/// One training.
type Run =
    { Kept: float
      PerParameter: float
      Features: int
      Seconds: float
      Simulations: int }

/// Trains with a seed, quoting F on so many fresh simulations.
let run (universe: Universe) candidate fit quote seed progress =
    let settings =
        { candidate.Settings with
            Fit = fit |> Option.defaultValue candidate.Settings.Fit
            Quote = quote
            Seed = seed
            Progress = progress }

    let compressor = Imnn.train settings universe.Model.Simulator universe.Fiducial
    // what was stopped on the way is no measurement
    progress.Cancellation.ThrowIfCancellationRequested()

    let kept =
        Fisher.retained compressor.Fisher (universe.Exact.Fisher universe.Fiducial)

    { Kept = kept
      PerParameter = kept ** (1.0 / float universe.Fiducial.Length)
      Features = int compressor.Network.Features
      Seconds = compressor.Seconds
      Simulations = compressor.Simulations }

let private goal universe candidate =
    if candidate.Name = byDefault.Name then
        Some universe.Goal
    else
        universe.GoalTold

let private json (universe: Universe) candidate quote (runs: Run[]) =
    let median (f: Run -> float) =
        runs |> Array.map f |> Statistics.Median

    let kept = median (if universe.PerParameter then _.PerParameter else _.Kept)

    Report.fields
        [ "universe", Report.value universe.Name
          "features", Report.value candidate.Name
          "parameters", Report.value universe.Fiducial.Length
          "fiducial", Report.numbers universe.Fiducial
          "quotedOn", Report.value quote
          "kept", Report.value (median _.Kept)
          "keptPerParameter", Report.value (median _.PerParameter)
          "keptOfSeeds", Report.numbers (runs |> Array.map _.Kept)
          match goal universe candidate with
          | Some wanted ->
              "goal", Report.value wanted
              "goalIsPerParameter", Report.value universe.PerParameter
              "reached", Report.value (kept >= wanted)
          | None -> ()
          "featureCount", Report.value runs[0].Features
          "simulations", Report.value runs[0].Simulations
          "seconds", Report.value (median _.Seconds)
          "cannotSee", Report.value (Features.cannotSee candidate.Settings.Features) ]

/// The training that the file of one seed holds.
let private ofFile (file: JsonNode) =
    { Kept = file["kept"].GetValue<float>()
      PerParameter = file["keptPerParameter"].GetValue<float>()
      Features = file["featureCount"].GetValue<int>()
      Seconds = file["seconds"].GetValue<float>()
      Simulations = file["simulations"].GetValue<int>() }

/// What the file of one seed is to hold of a training.
let ofSeed universe candidate quote run = json universe candidate quote [| run |]

/// The cell of all seeds from the files of each; a refusal is the cell's where any seed has one.
let ofSeeds universe candidate quote (files: JsonNode list) =
    match files |> List.tryFind (fun f -> not (isNull f["refused"])) with
    | Some refusal -> refusal
    | None ->
        files
        |> List.map ofFile
        |> Array.ofList
        |> json universe candidate quote
        |> Cells.asRead

/// A candidate that cannot compress the universe, and why.
let refused (universe: Universe) candidate (error: FieldImnnException) =
    Report.fields
        [ "universe", Report.value universe.Name
          "features", Report.value candidate.Name
          "refused", Report.value error.Message ]

/// The table as a figure: of six parameters the share a parameter, as wanted there, of all others that of det F.
let figure (cells: JsonNode list) =
    let measured = cells |> List.filter (fun c -> isNull c["refused"])
    let text (cell: JsonNode) (key: string) = cell[key].GetValue<string>()

    let each (cell: JsonNode) =
        let power =
            if cell["parameters"].GetValue<int>() > 4 then
                1.0 / cell["parameters"].GetValue<float>()
            else
                1.0

        cell["keptOfSeeds"].AsArray()
        |> Seq.map (fun v -> v.GetValue<float>() ** power)
        |> Array.ofSeq

    let row (universe, cells: JsonNode list) =
        { Label = universe
          Goal =
            cells
            |> List.tryFind (fun c -> text c "features" = byDefault.Name && not (isNull c["goal"]))
            |> Option.map (fun c -> c["goal"].GetValue<float>())
          Measured = [ for c in cells -> text c "features", each c ] }

    let seeds =
        measured |> List.map (fun c -> c["keptOfSeeds"].AsArray().Count) |> List.max

    let marks =
        if seeds = 1 then
            "one seed"
        else
            $"large, the median of up to {seeds} seeds; small, each seed"

    let arrows =
        if measured |> List.exists (each >> Statistics.Median >> (>) Plot.leastShare) then
            "; arrows, below the axis"
        else
            ""

    measured
    |> List.groupBy (fun c -> text c "universe")
    |> List.map row
    |> Plot.shares "det <b>F</b> / det <b>F</b><sub>exact</sub>"
    |> Plot.withCaption
        $"What features keep of the exact Fisher information of fields, on simulations that nothing else has seen: {marks}{arrows}. The default is told nothing of the field in any row. Of six band amplitudes the share is that of one parameter, the sixth root."

/// The file of a universe by features of a name, or by what else is told apart in it.
let path folder (universe: Universe) name counts =
    let plain (text: string) =
        text |> String.map (fun c -> if System.Char.IsLetterOrDigit c then c else '-')

    Path.Combine(Cells.folder folder, $"{plain universe.Name}-{plain name}-{counts}.json")
