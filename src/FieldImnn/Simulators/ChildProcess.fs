namespace FieldImnn

open System
open System.Collections.Generic
open System.ComponentModel
open System.Diagnostics
open System.IO
open System.Runtime.ExceptionServices
open System.Runtime.InteropServices
open System.Text
open System.Threading
open System.Threading.Tasks
open FieldImnn.Core

/// How a program ended.
type internal ProgramEnd =
    /// By itself, with an exit code and the end of what it wrote to standard error (where that is nothing, of standard output).
    | Exited of code: int * said: string
    /// It ran longer than it may, and was ended.
    | TimedOut of said: string

/// Programs as processes of this one: started without a shell, watched, and ended with everything that they have started.
module internal ChildProcess =
    /// Characters that are kept of what a program says: the last ones.
    let private mostSaid = 4000

    /// Reads to the end, in the background; what is kept can be asked for at any time.
    let private listen (reader: StreamReader) : Task * (unit -> string) =
        let kept = StringBuilder()

        let reading () : Task =
            task {
                let buffer = Array.zeroCreate<char> 4096
                let mutable more = true

                while more do
                    let! n = reader.ReadAsync(buffer, 0, buffer.Length)

                    if n = 0 then
                        more <- false
                    else
                        lock kept (fun () ->
                            kept.Append(buffer, 0, n) |> ignore

                            if kept.Length > mostSaid then
                                kept.Remove(0, kept.Length - mostSaid) |> ignore)
            }

        reading (), (fun () -> lock kept (fun () -> kept.ToString().Trim()))

    let private start (command: string list) (folder: string) =
        let info =
            ProcessStartInfo(
                List.head command,
                List.tail command,
                WorkingDirectory = folder,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
                RedirectStandardError = true
            )

        try
            let child = Process.Start info
            child.StandardInput.Close()
            child
        with
        | :? Win32Exception
        | :? DirectoryNotFoundException as fault ->
            raise (
                SimulatorException(
                    $"program '{List.head command}'",
                    "a program that can be started",
                    $"\"{fault.Message}\"",
                    fault
                )
            )

    let private kill (child: Process) =
        try
            child.Kill(entireProcessTree = true)
        with
        | :? InvalidOperationException // it has ended meanwhile
        | :? Win32Exception -> ()

    /// Exit codes of programs that were told to stop, with this one, from the same terminal: 128 and SIGINT, SIGTERM.
    let private interrupted = [ 130; 143 ]

    /// Runs a program in a folder to its end, or to the end of its time. Stopping ends it, and is an OperationCanceledException.
    let run (command: string list) (folder: string) (limit: TimeSpan) (stop: CancellationToken) : ProgramEnd =
        stop.ThrowIfCancellationRequested()
        use child = start command folder
        use _ = stop.Register(fun () -> kill child)
        use out = child.StandardOutput // whoever asks for the pipes closes them
        use error = child.StandardError
        let output, said = listen out
        let errors, complained = listen error

        let ended =
            child.WaitForExit(int (min limit.TotalMilliseconds (float Int32.MaxValue)))

        if not ended then
            kill child
            child.WaitForExit()

        // whoever still holds the pipes is not waited for
        Task.WaitAll([| output; errors |], 1000) |> ignore

        if ended && List.contains child.ExitCode interrupted then
            stop.WaitHandle.WaitOne 500 |> ignore

        stop.ThrowIfCancellationRequested()
        let words = if complained () = "" then said () else complained ()

        if ended then
            Exited(child.ExitCode, words)
        else
            TimedOut words

    /// Calls the work with 0, 1, … count − 1, so many at a time, each on a thread of its own. The first exception stops what is
    /// under way, and is raised.
    let private each (atATime: int) (count: int) (stop: unit -> unit) (work: int -> unit) =
        let next = ref -1
        let faults = Queue<exn>()

        let rec go () =
            let i = Interlocked.Increment next

            if i < count && lock faults (fun () -> faults.Count = 0) then
                try
                    work i
                with fault ->
                    lock faults (fun () -> faults.Enqueue fault)
                    stop ()

                go ()

        let threads =
            Array.init (min atATime count) (fun _ -> Thread(go, IsBackground = true))

        threads |> Array.iter _.Start()
        threads |> Array.iter _.Join()

        if faults.Count > 0 then
            ExceptionDispatchInfo.Throw(faults.Peek())

    /// A pool of so many processes: calls the work with each index below the count and with a token that Ctrl-C, SIGTERM and the caller's own
    /// token cancel, upon which every process ends and an OperationCanceledException is raised.
    let pool (atATime: int) (count: int) (cancellation: CancellationToken) (work: CancellationToken -> int -> unit) =
        use stop = CancellationTokenSource.CreateLinkedTokenSource cancellation

        let registrations =
            [ PosixSignal.SIGINT; PosixSignal.SIGTERM; PosixSignal.SIGHUP ]
            |> List.map (fun signal -> PosixSignalRegistration.Create(signal, fun _ -> stop.Cancel()))

        try
            each atATime count stop.Cancel (work stop.Token)
        finally
            registrations |> List.iter _.Dispose()
