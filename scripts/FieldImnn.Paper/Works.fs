/// The works that the report stands on: each makes one file of results, and figures. No packages: build.fsx loads this file, too.
module Works

open System
open System.IO
open System.Text.Json.Nodes

/// What makes a work's results.
type Making =
    /// `reproduce STUDY OPTIONS`.
    | Study of study: string * options: string list
    /// `benchmark NAME ARGUMENTS`, once for each list of arguments; the project in benchmarks/.
    | Benchmark of name: string * project: string * runs: string list list
    /// An arrangement that the code no longer has: kept for comparison, and never run again.
    | Kept

type Work =
    {
        /// Of its file in paper/results.
        Name: string
        Making: Making
        /// The arguments of a first look, for a benchmark; a study has --quick.
        Quick: string list
        /// What the names of its figures begin with.
        Figures: string list
        /// What its figures have behind their names, so that those of the same study with other options are told apart.
        Mark: string
        /// Files and folders that it reads.
        Inputs: string list
    }

/// What `reproduce` knows: a study, and its scripts in the order in which they build on each other.
let studies =
    Map
        [ ("original", [ "original-defects" ])
          ("power-law",
           [ "fig01-power-law-field"
             "fig02-power-law-training"
             "fig03-power-law-posterior"
             "fig04-power-law-summaries" ])
          ("dark-matter",
           [ "fig05-dark-matter-power"
             "fig06-dark-matter-field"
             "fig07-dark-matter-training"
             "fig08-dark-matter-posteriors"
             "fig09-dark-matter-information" ])
          ("stored-fields", [ "fig08-dark-matter-posteriors" ])
          ("correlated-log-normal",
           [ "fig10-correlated-log-normal-posteriors"
             "fig11-correlated-log-normal-summaries" ])
          ("simulation-budget", [ "fig12-simulation-budget"; "fig13-fig14-delfi-rounds"; "fig15-calibration" ])
          ("lensing",
           [ "fig16-lensing-maps"
             "fig19-lensing-posterior"
             "fig20-lensing-calibration"
             "fig21-lensing-budget" ])
          ("lensing-survey", [ "fig22-lensing-survey" ]) ]

let private work name making quick figures =
    { Name = name
      Making = making
      Quick = quick
      Figures = figures
      Mark = ""
      Inputs = [] }

let private study name figures =
    work name (Study(name, [])) [ "--quick" ] figures

let private ablation =
    let changes =
        [ "bands=12"
          "bands=25"
          "bins=11"
          "bins=21"
          "crossBands=2"
          "filtered=0"
          "orders=2"
          "orders=7"
          "scales=1" ]
        |> List.collect (fun change -> [ "--change"; change ])

    let run halved universe =
        [ "--only"; universe; "--halved"; string halved; "--features"; "default" ]
        @ [ "--seeds"; "1"; "--quote"; "20000" ]
        @ changes

    Benchmark(
        "information",
        "FieldImnn.Information",
        [ run 0 "correlated log-normal"
          run 1 "sharp slopes"
          run 1 "dark matter 64², ideal" ]
    )

let private quickInformation =
    [ "--only"; "correlated log-normal"; "--features"; "default"; "--seeds"; "1" ]
    @ [ "--fit"; "2000"; "--quote"; "2000" ]

/// Public data that are not part of this repository.
let private reference = "../shared/reference"

let private targets = reference + "/targets"

/// All of them, in the order in which they are run: the shortest first.
let all =
    [ { work "original" (Study("original", [ "--targets"; reference ])) [ "--quick" ] [] with
          Inputs = [ targets; reference + "/published" ] }
      work "scaling" (Benchmark("scaling", "FieldImnn.Scaling", [ [] ])) [ "--repetitions"; "1" ] [ "scaling" ]
      study "correlated-log-normal" [ "fig10"; "fig11" ]
      { work "sbibm" (Benchmark("sbibm", "FieldImnn.Sbibm", [ [] ])) [ "--only"; "two_moons"; "--sizes"; "1000" ] [] with
          Inputs = [ reference + "/sbibm" ] }
      study "power-law" [ "fig01"; "fig02"; "fig03"; "fig04" ]
      study "dark-matter" [ "fig05"; "fig06"; "fig07"; "fig08"; "fig09" ]
      { work
            "dark-matter-published"
            (Study("stored-fields", [ "--modes"; "published"; "--targets"; targets ]))
            [ "--quick" ]
            [ "fig08" ] with
          Mark = "-published"
          Inputs = [ targets ] }
      study "simulation-budget" [ "fig12"; "fig13"; "fig14"; "fig15" ]
      study "lensing-survey" [ "fig22" ]
      study "lensing" [ "fig16"; "fig17"; "fig18"; "fig19"; "fig20"; "fig21" ]
      work
          "information"
          (Benchmark(
              "information",
              "FieldImnn.Information",
              [ [ "--features"; "default"; "--seeds"; "3"; "--quote"; "60000" ] ]
          ))
          quickInformation
          [ "information" ]
      work
          "posteriors"
          (Benchmark(
              "posteriors",
              "FieldImnn.Information",
              [ []
                [ "--only"; "two slopes"; "--methods"; "delfi" ]
                [ "--only"; "sharp slopes"; "--methods"; "delfi" ] ]
          ))
          [ "--only"; "correlated log-normal"; "--fields"; "2" ]
          []
      work "information-ablation" ablation (quickInformation @ [ "--change"; "bins=11" ]) []
      work
          "calibration-default"
          (Benchmark("calibration", "FieldImnn.Calibration", [ [] ]))
          [ "--only"
            "power-law ideal"
            "--methods"
            "gaussian"
            "--prior-fields"
            "50"
            "--pixels"
            "32" ]
          []
      work "calibration" Kept [] [] ]

/// The work whose figure this is.
let ofFigure (figure: string) =
    all
    |> List.filter (fun w ->
        w.Figures
        |> List.exists (fun start -> figure.StartsWith(start, StringComparison.Ordinal))
        && figure.EndsWith(w.Mark, StringComparison.Ordinal))
    |> List.sortByDescending _.Mark.Length
    |> List.tryHead

// --------------------------------------------------------------------------------------------------------------- commands

/// The commands that make a work's results.
let commands quick work =
    let build words =
        [ "dotnet"; "fsi"; "build.fsx" ] @ words

    match work.Making with
    | Study(study, options) -> [ build ([ "reproduce"; study ] @ options @ (if quick then work.Quick else [])) ]
    | Benchmark(name, _, runs) ->
        [ for run in (if quick then [ work.Quick ] else runs) -> build ([ "benchmark"; name ] @ run) ]
    | Kept -> []

/// What the results of a work are of: its scripts or its benchmark, what these share, the libraries, and what it reads.
let private places work =
    let own =
        match work.Making with
        | Study(study, _) -> [ for script in studies[study] -> $"scripts/{script}.fsx" ]
        | Benchmark(_, project, _) -> [ $"benchmarks/{project}"; "benchmarks/Cells.fs"; "benchmarks/Maps.fs" ]
        | Kept -> []

    own @ [ "scripts/FieldImnn.Scripting"; "src" ] @ work.Inputs

/// The digest of the code, the settings and the inputs of a work, as they are below the root now.
let digest root quick work =
    Origin.digest root (places work) (List.concat (commands quick work))

// ------------------------------------------------------------------------------------------------------------------ state

type State =
    /// Made by the code, with the settings and inputs, that are here.
    | Current
    /// Made by others: what was made, and is not what would be made now.
    | Stale
    /// Of an arrangement that is no more.
    | Record
    | Missing

/// How a work's results in a folder stand to the code below the root.
let state root quick results work =
    let path = Path.Combine(results, $"{work.Name}.json")

    if not (File.Exists path) then
        Missing
    elif work.Making = Kept then
        Record
    else
        match Origin.tryRead (JsonNode.Parse(File.ReadAllText path)) with
        | Some { Digest = Some made } when made = digest root quick work -> Current
        | _ -> Stale
