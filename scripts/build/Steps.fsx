/// Places, programs and steps of the build.
module Steps

open System
open System.Collections.Generic
open System.Diagnostics
open System.Globalization
open System.IO
open System.Runtime.InteropServices
open System.Threading

// numbers are written with a point, whatever the language of the machine
CultureInfo.CurrentCulture <- CultureInfo.InvariantCulture
CultureInfo.DefaultThreadCurrentCulture <- CultureInfo.InvariantCulture

// -------------------------------------------------------------------------------------------------------------- places

/// The folder of FieldImnn.sln.
let root = Path.GetFullPath(Path.Combine(__SOURCE_DIRECTORY__, "..", ".."))
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

// ------------------------------------------------------------------------------------------------------------ programs

/// The programs that run now; several do while the tests are shared.
let running = HashSet<Process>()
let mutable interrupted = false

/// The exit code of a script that SIGTERM has ended, and that goes on where it was when it is started again.
let continues = 75

/// Registers what a signal does to the programs that run; it gives this script's exit code.
let stopOn signal (stop: Process list -> int) =
    PosixSignalRegistration.Create(
        signal,
        fun context ->
            context.Cancel <- true
            interrupted <- true
            exit (stop (lock running (fun () -> List.ofSeq running)))
    )

let kill (children: Process list) =
    for child in children do
        child.Kill(entireProcessTree = true)

/// Passes SIGTERM on, and waits a while for the programs to save what they have.
let terminate (children: Process list) =
    for child in children do
        use sender = Process.Start("kill", [ "-TERM"; string child.Id ])
        sender.WaitForExit()

    let clock = Stopwatch.StartNew()

    let ended =
        children
        |> List.filter (fun child -> child.WaitForExit(max 0 (25000 - int clock.ElapsedMilliseconds)))

    children |> List.except ended |> kill

    if ended |> List.exists (fun child -> child.ExitCode = continues) then
        continues
    else
        143

let signals =
    [ stopOn PosixSignal.SIGINT (fun children ->
          kill children
          130)
      stopOn PosixSignal.SIGTERM terminate ]

/// Starts a program with these variables of its environment.
let launchWith (variables: (string * string) list) (program: string) (arguments: string list) redirect =
    let info = ProcessStartInfo(program, arguments, WorkingDirectory = root)
    info.RedirectStandardOutput <- redirect
    info.RedirectStandardError <- redirect
    info.Environment.Remove "NUGET_PACKAGES" |> ignore
    info.Environment["MSBUILDDISABLENODEREUSE"] <- "1" // leave no idle process behind
    info.Environment["DOTNET_NOLOGO"] <- "1"

    for name, value in variables do
        info.Environment[name] <- value

    try
        let child = Process.Start info
        lock running (fun () -> running.Add child |> ignore)
        child
    with :? ComponentModel.Win32Exception as error ->
        fail $"Cannot start '{program}': {error.Message}. The .NET SDK named in global.json must be on PATH."

let launch = launchWith []

/// Waits for a program's end and returns its exit code. One that ended by an interrupt has nothing more to say: the handler
/// above is about to end this script, too.
let ended (child: Process) =
    child.WaitForExit()

    if interrupted then
        Thread.Sleep Timeout.Infinite

    lock running (fun () -> running.Remove child |> ignore)
    child.ExitCode

/// The file of a log.
let logFile name =
    Directory.CreateDirectory(artifacts "logs") |> ignore
    artifacts $"logs/{name}.log"

/// Runs a program whose output `hear` is told, a line at a time, and returns its exit code.
let listening variables program arguments (hear: string -> unit) =
    use child = launchWith variables program arguments true
    let gate = obj ()

    let told (event: DataReceivedEventArgs) =
        if not (isNull event.Data) then
            lock gate (fun () -> hear event.Data)

    child.OutputDataReceived.Add told
    child.ErrorDataReceived.Add told
    child.BeginOutputReadLine()
    child.BeginErrorReadLine()
    ended child

/// How many programs run at a time where several do.
let processes = min 4 Environment.ProcessorCount

/// The cores of each of these, unless the user has set their number.
let threads () =
    if isNull (Environment.GetEnvironmentVariable "OMP_NUM_THREADS") then
        List.singleton ("OMP_NUM_THREADS", string (max 1 (Environment.ProcessorCount / processes)))
    else
        []

/// The name of the work that this thread does beside that of others.
let private aside = new ThreadLocal<string option>(fun () -> None)

/// Does work on this thread beside that of others. What its programs print is in the log of its name.
let doAside name work =
    aside.Value <- Some name
    File.Delete(logFile name)

    try
        work ()
    finally
        aside.Value <- None

/// Runs a program on this terminal (progress bars work), or aside, and returns its exit code.
let stream program arguments =
    match aside.Value with
    | None ->
        use child = launch program arguments false
        ended child
    | Some name ->
        use log = File.AppendText(logFile name)
        listening (threads ()) program arguments log.WriteLine

/// Runs dotnet with its output in artifacts/logs; a failure shows the errors in it.
let dotnet log arguments =
    let path = logFile log
    let lines = ResizeArray<string>()
    let code = listening [] "dotnet" arguments lines.Add
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

// --------------------------------------------------------------------------------------------------------------- steps

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

        match aside.Value with
        | Some name ->
            step.Work()
            printfn $"{name} {heading} {seconds ()}"
        | None when step.Streams ->
            printfn $"{heading}"
            step.Work()
            printfn $"[{number + 1}/{steps.Length}] {step.Title}: {seconds ()}"
        | None ->
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
