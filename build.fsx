/// The build of FieldImnn, without packages: dotnet fsi build.fsx COMMAND, from any folder.
// in one directive: each would load what they share again, whose exceptions are then others
#load "scripts/build/Report.fsx" "scripts/build/Testing.fsx" "scripts/build/Site.fsx"

open System
open System.IO
open Building
open Steps
open Studies
open Benchmarks
open Report
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
    let known = String.Join(", ", Works.studies.Keys)

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
    benchmark sbibm [--full]   neural likelihood against the published table, in artifacts/sbibm
    benchmark calibration [--only PROBLEM] [--methods NAME,NAME] [--fields N]
                               every method on every problem against the exact answer, in artifacts/calibration; goes on where it stopped
    benchmark information [--only UNIVERSE] [--features NAME,NAME] [--change NAME=NUMBER] [--seeds N] [--quote N] [--halved N]
                               what features keep of the exact information, in artifacts/information; goes on where it stopped
    benchmark posteriors [--only UNIVERSE] [--methods NAME,NAME] [--fields N] [--halved N]
                               their posteriors by the default features beside the exact ones, in artifacts/posteriors; goes on, too
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
                               --modes published, --targets FOLDER, --watch). Studies: {known}
    paper [--quick] [--only NAME,NAME] [--only-text]
                               the report, paper/paper.html and .pdf, after every study and benchmark that it stands on and whose code,
                               settings or inputs have changed (many hours; goes on where it stopped); --only: these alone, and what is
                               of older code is marked; --only-text: none; --quick: short ones, in artifacts/paper-quick.html"""

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
    | "benchmark" :: "posteriors" :: rest -> posteriors rest
    | "benchmark" :: "scaling" :: rest -> scaling rest
    | "benchmark" :: "resume" :: rest -> resume rest
    | "benchmark" :: "checkpoints" :: rest -> checkpoints rest
    | "benchmark" :: "soak" :: rest -> soak rest
    | [ "docs" ] -> docs ()
    | [ "pack" ] -> pack ()
    | "reproduce" :: "--quick" :: study :: rest -> reproduce study ("--quick" :: rest)
    | "reproduce" :: study :: rest -> reproduce study rest
    | "paper" :: rest -> paper rest
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
