/// The build of FieldImnn, without packages: dotnet fsi build.fsx COMMAND, from any folder.
#load "scripts/build/Studies.fsx"
#load "scripts/build/Testing.fsx"
#load "scripts/build/Site.fsx"

open System
open System.IO
open Building
open Steps
open Studies
open Testing
open Site

let libraries =
    [ "src/FieldImnn.Core"
      "src/FieldImnn"
      "src/FieldImnn.Plots"
      "scripts/FieldImnn.Scripting"
      "src/FieldImnn.Cpu" ]

// --------------------------------------------------------------------------------------------------- check and format

let sources =
    [ "src"; "tests"; "scripts"; "benchmarks"; "build.fsx" ]
    |> List.filter (fun path -> Directory.Exists(at path) || File.Exists(at path))

let csharp verify =
    [ "format"; "whitespace"; at "src/FieldImnn.Core"; "--folder" ]
    @ if verify then [ "--verify-no-changes" ] else []

/// All scripts in one F# Interactive, through a file that loads them: checked alone, a script that is one expression fails.
let typeCheck () =
    let loads =
        [| "scripts"; "scripts/universes" |]
        |> Array.collect (fun folder -> Directory.GetFiles(at folder, "*.fsx") |> Array.sort)
        |> Array.map (fun script -> $"#load \"{script}\"")

    let all = artifacts "scripts.fsx"
    File.WriteAllLines(all, loads)
    dotnet "scripts" [ "fsi"; "--typecheck-only"; "--warnaserror+"; all ]

let check () =
    perform
        [ restoring
          quiet "Checking the format of F#" (fun () -> dotnet "fantomas" ([ "fantomas"; "check" ] @ sources))
          quiet "Checking the format of C#" (fun () -> dotnet "format" (csharp true))
          { building with
              Title = "Building, warnings as errors" }
          quiet "Type-checking the scripts" typeCheck ]

    0

let format () =
    perform
        [ restoring
          quiet "Formatting F#" (fun () -> dotnet "fantomas" ("fantomas" :: sources))
          quiet "Formatting C#" (fun () -> dotnet "format" (csharp false)) ]

    0

let bench arguments =
    let project = "benchmarks/FieldImnn.Benchmarks"

    if not (Directory.Exists(at project)) then
        fail $"There is no {project} in this copy of the repository."

    perform
        [ restoring
          quiet "Building" (fun () -> dotnet "bench" ([ "build"; at project ] @ release)) ]

    stream "dotnet" (program project :: arguments)

/// Neural likelihood against the published benchmark, on its public reference posteriors.
let sbibm arguments =
    let project = "benchmarks/FieldImnn.Sbibm"
    let data = at "../shared/reference/sbibm"

    if not (Directory.Exists(at project) && Directory.Exists data) then
        fail $"This needs {project} and the benchmark's public data in ../shared/reference/sbibm."

    perform
        [ restoring
          quiet "Building" (fun () -> dotnet "sbibm" ([ "build"; at project ] @ release)) ]

    let out = artifacts "sbibm.json"
    let code = stream "dotnet" (program project :: data :: out :: arguments)
    printfn $"Written to {shown out}."
    code

/// A benchmark that writes to artifacts/NAME; one of cells goes on where it stopped.
let resumed project name arguments =
    let project = $"benchmarks/{project}"

    perform
        [ restoring
          quiet "Building" (fun () -> dotnet name ([ "build"; at project ] @ release)) ]

    let out = artifacts name
    let code = stream "dotnet" (program project :: out :: arguments)
    printfn $"Written to {shown out}."
    code

/// Every method on every problem: do its posteriors hold the truth as often as they say, and how far are they from the exact ones?
let calibration = resumed "FieldImnn.Calibration" "calibration"

/// Every universe whose information is known exactly: how much of it do features keep?
let information = resumed "FieldImnn.Information" "information"

/// What does a simulation cost against pixels, parameters, channels and features?
let scaling = resumed "FieldImnn.Scaling" "scaling"

/// Work that is killed at random moments: does it go on to the same bits, and what does a kill cost?
let resume arguments =
    resumed "FieldImnn.LongRuns" "resume" ("resume" :: arguments)

/// What a checkpoint costs, and how long it takes to go on from one.
let checkpoints arguments =
    resumed "FieldImnn.LongRuns" "checkpoints" ("checkpoints" :: arguments)

/// Long trainings and very many simulations: does memory stay where it is?
let soak arguments =
    resumed "FieldImnn.LongRuns" "soak" ("soak" :: arguments)

/// What the packages offer, into tests/api: after a change of it that is wanted.
let api () =
    perform
        [ restoring
          building
          quiet "Writing tests/api" (fun () -> dotnet "api" [ program tests; "--api"; at "tests/api" ]) ]

    0

// ------------------------------------------------------------------------------------------------------------ pack

/// The first version in the release notes.
let version () =
    System.Text.RegularExpressions.Regex.Match(File.ReadAllText(at "RELEASE_NOTES.md"), @"\d+\.\d+\.\d+").Value

let packing folder =
    quiet "Packing" (fun () ->
        if Directory.Exists folder then
            Directory.Delete(folder, true)

        for library in libraries do
            let name = Path.GetFileName library
            dotnet $"pack-{name}" ([ "pack"; at library; "--no-build"; "-o"; folder ] @ release))

let pack () =
    let folder = artifacts "packages"
    perform [ restoring; building; packing folder ]
    printfn $"Packages are in {shown folder}. From a script anywhere:"
    printfn $"    #i \"nuget: {folder}\""
    printfn $"    #r \"nuget: FieldImnn.Cpu, {version ()}\""

    for library in libraries do
        let name = Path.GetFileName library
        let old = Path.Combine(cache, name.ToLowerInvariant(), version ())

        if Directory.Exists old then
            printfn $"The NuGet cache holds an earlier {name} {version ()}, which scripts go on using: delete {old}"

    0

// ---------------------------------------------------------------------------------------------------------- commands

let help () =
    let known = String.Join(", ", studies.Keys)

    printfn
        $"""dotnet fsi build.fsx COMMAND
    restore                    tools and packages, from this machine's own NuGet source
    build                      everything, in Release; full output in artifacts/logs
    test                       build and run every test, in several processes; the last line is "N passed, N failed"
    test EXPECTO ARGUMENTS     the same in one process: --filter "FieldImnn.door"
    check                      format, warnings as errors, every script type-checks
    format                     format F# and C# in place
    api                        write what the packages offer into tests/api, after a change of it that is wanted
    bench [ARGUMENTS]          build and run the benchmarks
    benchmark sbibm [--full]   neural likelihood against the published table, in artifacts/sbibm.json
    benchmark calibration [--only PROBLEM] [--methods NAME,NAME] [--fields N]
                               every method on every problem against the exact answer, in artifacts/calibration; goes on where it stopped
    benchmark information [--only UNIVERSE] [--features NAME,NAME] [--change NAME=NUMBER] [--seeds N] [--quote N] [--halved N]
                               what features keep of the exact information, in artifacts/information; goes on where it stopped
    benchmark scaling [--repetitions N]
                               what a simulation with derivatives and features costs against its sizes, in artifacts/scaling
    benchmark resume [--work NAME,NAME] [--kills N] [--seed N]
                               work killed with -9 at random moments: the same bits, and seconds lost by a kill, in artifacts/resume
    benchmark checkpoints      what a checkpoint of a training costs, and how long it takes to go on from one, in artifacts/checkpoints
    benchmark soak [--steps N] [--simulations N]
                               resident memory of 20,000 steps and 10⁶ simulations, and tensors left, in artifacts/soak
    docs                       the site, in artifacts/site: pages, scripts (some of them run, with --quick), every public type; read
                               without a network
    pack                       NuGet packages of the libraries, in artifacts/packages
    reproduce STUDY [--quick] [OPTIONS]
                               every figure and number of a study, in artifacts/STUDY; OPTIONS go to its scripts (--seed N,
                               --modes published, --targets FOLDER, --watch). Studies: {known}"""

    0

let run steps =
    perform steps
    0

let command arguments =
    match arguments with
    | []
    | [ "help" ] -> help ()
    | [ "restore" ] -> run [ restoring ]
    | [ "build" ] -> run [ restoring; building ]
    | "test" :: rest -> test rest
    | [ "check" ] -> check ()
    | [ "format" ] -> format ()
    | [ "api" ] -> api ()
    | "bench" :: rest -> bench rest
    | "benchmark" :: "sbibm" :: rest -> sbibm rest
    | "benchmark" :: "calibration" :: rest -> calibration rest
    | "benchmark" :: "information" :: rest -> information rest
    | "benchmark" :: "scaling" :: rest -> scaling rest
    | "benchmark" :: "resume" :: rest -> resume rest
    | "benchmark" :: "checkpoints" :: rest -> checkpoints rest
    | "benchmark" :: "soak" :: rest -> soak rest
    | [ "docs" ] -> docs ()
    | [ "pack" ] -> pack ()
    | "reproduce" :: "--quick" :: study :: rest -> reproduce study ("--quick" :: rest)
    | "reproduce" :: study :: rest -> reproduce study rest
    | _ ->
        let given = String.Join(" ", arguments)
        misuse $"Unknown command or arguments: '{given}'."

let code =
    try
        command (List.tail (List.ofArray fsi.CommandLineArgs))
    with Stop(text, code) ->
        eprintfn $"{text}"
        code

exit code
