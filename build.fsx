/// The build of FieldImnn, in one script without packages: dotnet fsi build.fsx COMMAND, from any folder.
open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open System.Threading
open System.Xml.Linq

/// What `reproduce` knows: a study, and its scripts in the order in which they build on each other.
let studies =
    Map
        [ ("power-law",
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
          ("correlated-log-normal",
           [ "fig10-correlated-log-normal-posteriors"
             "fig11-correlated-log-normal-summaries" ])
          ("simulation-budget",
           [ "fig12-simulation-budget"
             "fig13-delfi-training"
             "fig14-posteriors-by-round" ]) ]

let libraries = [ "FieldImnn.Core"; "FieldImnn"; "FieldImnn.Plots" ]

// ---------------------------------------------------------------------------------------------------------- places

let root = __SOURCE_DIRECTORY__
let at (path: string) = Path.Combine(root, path)
let shown (path: string) = Path.GetRelativePath(root, path)

let artifacts name =
    Directory.CreateDirectory(at "artifacts") |> ignore
    at $"artifacts/{name}"

/// The machine's NuGet cache, which is Paket's package source. NUGET_PACKAGES is kept from every program started here, so
/// that all of them mean this folder; on a machine with a small home directory, make it a link.
let cache =
    Path.Combine(Environment.GetFolderPath Environment.SpecialFolder.UserProfile, ".nuget", "packages")

/// Ends the build: the text for the user, and the exit code.
exception Stop of text: string * code: int

let fail text = raise (Stop(text, 1))

let misuse text =
    raise (Stop(text + "\nCommands: dotnet fsi build.fsx help", 2))

// -------------------------------------------------------------------------------------------------------- programs

let mutable running: Process option = None
let mutable interrupted = false

let stopOn signal code =
    PosixSignalRegistration.Create(
        signal,
        fun context ->
            context.Cancel <- true
            interrupted <- true
            running |> Option.iter (fun child -> child.Kill(entireProcessTree = true))
            exit code
    )

let signals = [ stopOn PosixSignal.SIGINT 130; stopOn PosixSignal.SIGTERM 143 ]

let launch (program: string) (arguments: string list) redirect =
    let info = ProcessStartInfo(program, arguments, WorkingDirectory = root)
    info.RedirectStandardOutput <- redirect
    info.RedirectStandardError <- redirect
    info.Environment.Remove "NUGET_PACKAGES" |> ignore
    info.Environment["MSBUILDDISABLENODEREUSE"] <- "1" // leave no idle process behind
    info.Environment["DOTNET_NOLOGO"] <- "1"

    try
        let child = Process.Start info
        running <- Some child
        child
    with :? ComponentModel.Win32Exception as error ->
        fail $"Cannot start '{program}': {error.Message}. The .NET SDK named in global.json must be on PATH."

/// Waits for a program's end and returns its exit code. One that ended by an interrupt has nothing more to say: the handler
/// above is about to end this script, too.
let ended (child: Process) =
    child.WaitForExit()

    if interrupted then
        Thread.Sleep Timeout.Infinite

    running <- None
    child.ExitCode

/// Runs a program on this terminal (progress bars work) and returns its exit code.
let stream program arguments =
    use child = launch program arguments false
    ended child

/// Runs dotnet with its output in artifacts/logs; a failure shows the errors in it.
let dotnet log arguments =
    let path = artifacts $"logs/{log}.log"
    Directory.CreateDirectory(Path.GetDirectoryName path) |> ignore
    use child = launch "dotnet" arguments true
    let lines = ResizeArray<string>()

    let keep (event: DataReceivedEventArgs) =
        if not (isNull event.Data) then
            lock lines (fun () -> lines.Add event.Data)

    child.OutputDataReceived.Add keep
    child.ErrorDataReceived.Add keep
    child.BeginOutputReadLine()
    child.BeginErrorReadLine()
    let code = ended child
    File.WriteAllLines(path, lines)

    if code <> 0 then
        let said = lines |> Seq.filter (String.IsNullOrWhiteSpace >> not) |> Seq.toList

        let errors =
            said |> List.filter (fun line -> line.Contains ": error ") |> List.distinct

        let telling =
            if errors.IsEmpty then
                said |> List.skip (max 0 (said.Length - 30))
            else
                errors |> List.truncate 30

        let command = String.Join(" ", arguments)
        let body = String.Join("\n", telling)
        fail $"{body}\n'dotnet {command}' failed (exit code {code}); its whole output: {shown path}"

// ----------------------------------------------------------------------------------------------------------- steps

type Step =
    {
        Title: string
        /// Its program writes to the terminal, so that no clock may tick there.
        Streams: bool
        Work: unit -> unit
    }

let quiet title work =
    { Title = title
      Streams = false
      Work = work }

let streaming title work =
    { Title = title
      Streams = true
      Work = work }

/// Runs the steps in order, each with its number and its seconds; on a terminal the seconds tick.
let perform (steps: Step list) =
    for number, step in List.indexed steps do
        let clock = Stopwatch.StartNew()
        let heading = $"[{number + 1}/{steps.Length}] {step.Title} …"
        let seconds () = $"{clock.Elapsed.TotalSeconds:F1} s"

        if step.Streams then
            printfn $"{heading}"
            step.Work()
            printfn $"[{number + 1}/{steps.Length}] {step.Title}: {seconds ()}"
        else
            printf $"{heading} "
            let tick _ = printf $"\r{heading} {seconds ()}"

            let period =
                if Console.IsOutputRedirected then
                    Timeout.Infinite
                else
                    1000

            use _timer = new Timer(tick, null, period, period)

            try
                step.Work()
            with _ ->
                printfn "failed"
                reraise ()

            let line = if Console.IsOutputRedirected then "" else $"\r{heading} "
            printfn $"{line}{seconds ()}"

// ---------------------------------------------------------------------------------------------------------- restore

/// Every package of paket.lock with its version. The lock is the only place where versions of indirect packages live.
let locked () =
    File.ReadLines(at "paket.lock")
    |> Seq.map (fun line -> Regex.Match(line, @"^    (\S+) \(([^)\s]+)\)"))
    |> Seq.filter _.Success
    |> Seq.map (fun entry -> entry.Groups[1].Value, entry.Groups[2].Value)
    |> Seq.toList

let isCached (name: string, version: string) =
    let name, version = name.ToLowerInvariant(), version.ToLowerInvariant()
    File.Exists(Path.Combine(cache, name, version, $"{name}.{version}.nupkg"))

/// Fills the NuGet cache with the locked packages, from whatever NuGet source this machine is configured for.
let seedCache () =
    let missing = locked () |> List.filter (isCached >> not)

    if not missing.IsEmpty then
        let folder = artifacts "seed"
        Directory.CreateDirectory folder |> ignore

        let downloads =
            missing
            |> List.map (fun (name, version) -> $"    <PackageDownload Include=\"{name}\" Version=\"[{version}]\" />")

        File.WriteAllText(Path.Combine(folder, "Directory.Build.props"), "<Project />\n")

        File.WriteAllLines(
            Path.Combine(folder, "seed.csproj"),
            [ "<Project Sdk=\"Microsoft.NET.Sdk\">"
              "  <PropertyGroup>"
              "    <TargetFramework>net10.0</TargetFramework>"
              "    <RestoreEnablePackagePruning>false</RestoreEnablePackagePruning>"
              "  </PropertyGroup>"
              "  <ItemGroup>"
              yield! downloads
              "  </ItemGroup>"
              "</Project>" ]
        )

        dotnet "seed" [ "restore"; Path.Combine(folder, "seed.csproj"); "--packages"; cache ]

        match missing |> List.filter (isCached >> not) with
        | [] -> ()
        | absent ->
            let names =
                String.Join(", ", absent |> List.map (fun (name, version) -> $"{name} {version}"))

            fail
                $"These packages of paket.lock did not reach {cache}: {names}. Is a NuGet source configured (dotnet nuget list source)?"

/// Scripts get their references from files with absolute paths, made again when the lock or the cache's place changes.
let loadScripts () =
    let main = at ".paket/load/net10.0/main.group.fsx"
    let torch = at ".paket/load/net10.0/TorchSharp.fsx"

    let current =
        File.Exists main
        && File.GetLastWriteTimeUtc main > File.GetLastWriteTimeUtc(at "paket.lock")
        && File.Exists torch
        && File.ReadAllText(torch).Contains cache

    if not current then
        dotnet "load-scripts" [ "paket"; "generate-load-scripts"; "--framework"; "net10.0"; "--type"; "fsx" ]

let restoring =
    quiet "Restoring packages" (fun () ->
        dotnet "tools" [ "tool"; "restore" ]
        seedCache ()
        dotnet "paket" [ "paket"; "restore" ]
        loadScripts ())

// ----------------------------------------------------------------------------------------------------- build and test

let release = [ "-c"; "Release"; "--nologo"; "-v"; "q" ]

let program (project: string) =
    at $"{project}/bin/Release/net10.0/{Path.GetFileName project}.dll"

let building =
    quiet "Building" (fun () -> dotnet "build" ([ "build"; at "FieldImnn.sln" ] @ release))

/// Passed, failed and skipped tests of Expecto's JUnit report.
let count (report: string) =
    let has names (case: XElement) =
        case.Elements()
        |> Seq.exists (fun child -> List.contains child.Name.LocalName names)

    let cases =
        XDocument.Load(report).Descendants()
        |> Seq.filter (fun element -> element.Name.LocalName = "testcase")
        |> Seq.toList

    let failed = cases |> List.filter (has [ "failure"; "error" ]) |> List.length
    let skipped = cases |> List.filter (has [ "skipped" ]) |> List.length
    cases.Length - failed - skipped, failed, skipped

/// The last line that `test` prints is the count, whatever happened before.
let test arguments =
    let report = artifacts "tests.xml"
    File.Delete report
    let mutable code = 1

    let run () =
        let plain =
            if Console.IsOutputRedirected then
                [ "--colours"; "0" ]
            else
                []

        let reporting = [ "--no-spinner"; "--junit-summary"; report ] @ plain
        code <- stream "dotnet" (program "tests/FieldImnn.Tests" :: reporting @ arguments)

    let problem =
        try
            perform [ restoring; building; streaming "Testing" run ]
            None
        with Stop(text, _) ->
            Some text

    problem |> Option.iter (eprintfn "%s")
    let passed, failed, skipped = if File.Exists report then count report else 0, 0, 0

    if problem.IsNone && not (File.Exists report) then
        eprintfn $"The tests ended with exit code {code} and wrote no report."

    // A run that broke off, or was told to fail by an option, counts as a failure even where no test does.
    let failed =
        if code <> 0 || not (File.Exists report) then
            max 1 failed
        else
            failed

    let skips = if skipped > 0 then $", {skipped} skipped" else ""
    Console.Error.Flush()
    printfn $"{passed} passed, {failed} failed{skips}"
    if failed > 0 then 1 else 0

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
        Directory.GetFiles(at "scripts", "*.fsx")
        |> Array.sort
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

// ------------------------------------------------------------------------------------------------------------ pack

let version () =
    (XDocument.Load(at "Directory.Build.props").Descendants(XName.Get "Version")
     |> Seq.head)
        .Value

let packing folder =
    quiet "Packing" (fun () ->
        if Directory.Exists folder then
            Directory.Delete(folder, true)

        for library in libraries do
            let project = at $"src/{library}"
            dotnet $"pack-{library}" ([ "pack"; project; "--no-build"; "-o"; folder ] @ release))

let pack () =
    let folder = artifacts "packages"
    perform [ restoring; building; packing folder ]
    printfn $"Packages are in {shown folder}. From a script anywhere:"
    printfn $"    #i \"nuget: {folder}\""
    printfn $"    #r \"nuget: FieldImnn.Plots, {version ()}\""

    for library in libraries do
        let old = Path.Combine(cache, library.ToLowerInvariant(), version ())

        if Directory.Exists old then
            printfn $"The NuGet cache holds an earlier {library} {version ()}, which scripts go on using: delete {old}"

    0

// --------------------------------------------------------------------------------------------------------- reproduce

/// One results.json for a study: what each figure wrote, and where and how long it ran.
let merge (folder: string) (quick: bool) (seconds: (string * float) list) =
    let merged = JsonObject()

    for part in Directory.GetFiles(Path.Combine(folder, "results"), "*.json") |> Array.sort do
        merged[Path.GetFileNameWithoutExtension part] <- JsonNode.Parse(File.ReadAllText part)

    merged["machine"] <-
        JsonSerializer.SerializeToNode
            {| os = RuntimeInformation.OSDescription
               architecture = string RuntimeInformation.OSArchitecture
               cores = Environment.ProcessorCount
               dotnet = RuntimeInformation.FrameworkDescription
               quick = quick
               seconds = dict [ for script, time in seconds -> script, Math.Round(time, 1) ]
               totalSeconds = Math.Round(List.sumBy snd seconds, 1) |}

    let text = merged.ToJsonString(JsonSerializerOptions(WriteIndented = true))
    File.WriteAllText(Path.Combine(folder, "results.json"), text + "\n")

/// Options beyond --quick go to every script of the study. Figures of other modes than the default get a folder of their own.
let reproduce study (options: string list) =
    let quick = List.contains "--quick" options

    let suffix =
        match options |> List.tryFindIndex ((=) "--modes") with
        | Some at when at + 1 < options.Length && options[at + 1] <> "ideal" -> $"-{options[at + 1]}"
        | _ -> ""

    let scripts =
        match Map.tryFind study studies with
        | Some scripts -> scripts
        | None ->
            let known = String.Join(", ", studies.Keys)
            misuse $"Unknown study '{study}'; the studies are: {known}."

    let clock = Stopwatch.StartNew()
    let folder = artifacts (study + suffix)
    let results = Path.Combine(folder, "results")

    if Directory.Exists results then
        Directory.Delete(results, true) // numbers of an earlier run must not pass for this one's

    Directory.CreateDirectory results |> ignore
    let seconds = ResizeArray<string * float>()

    let running script =
        streaming script (fun () ->
            let own = Stopwatch.StartNew()
            let path = at $"scripts/{script}.fsx"

            let arguments = [ "fsi"; path; "--out"; folder ] @ options

            let code = stream "dotnet" arguments

            if code <> 0 then
                fail $"{shown path} failed (exit code {code}); the figures before it are in {shown folder}."

            seconds.Add(script, own.Elapsed.TotalSeconds))

    perform ([ restoring; building ] @ List.map running scripts)
    merge folder quick (List.ofSeq seconds)
    printfn $"Written to {shown folder}:"

    for file in Directory.GetFiles(folder, "*", SearchOption.AllDirectories) |> Array.sort do
        printfn $"    {Path.GetRelativePath(folder, file)}  {float (FileInfo(file).Length) / 1024.0:F0} KiB"

    printfn $"Study {study} reproduced in {clock.Elapsed.TotalSeconds:F0} s."
    0

// ---------------------------------------------------------------------------------------------------------- commands

let help () =
    let known = String.Join(", ", studies.Keys)

    printfn
        $"""dotnet fsi build.fsx COMMAND
    restore                    tools and packages, from this machine's own NuGet source
    build                      everything, in Release; full output in artifacts/logs
    test [EXPECTO ARGUMENTS]   build and run the tests; the last line is "N passed, N failed"
    check                      format, warnings as errors, every script type-checks
    format                     format F# and C# in place
    bench [ARGUMENTS]          build and run the benchmarks
    benchmark sbibm [--full]   neural likelihood against the published table, in artifacts/sbibm.json
    pack                       NuGet packages of the libraries, in artifacts/packages
    reproduce STUDY [--quick] [OPTIONS]
                               every figure and number of a study, in artifacts/STUDY; OPTIONS go to its scripts (--seed N,
                               --modes published, --targets FOLDER). Studies: {known}"""

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
    | "bench" :: rest -> bench rest
    | "benchmark" :: "sbibm" :: rest -> sbibm rest
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
