namespace FieldImnn

open System
open System.Diagnostics
open System.IO
open System.Text
open FieldImnn.Core

/// Runs that leave a log in their output folder, and are watched on a page there.
module Watched =
    /// A run under way: its log, and where its page is, if it has one.
    [<ReferenceEquality>]
    type private Run =
        {
            Folder: string
            Log: RunLog
            Watch: bool
            /// The thread that does the work.
            Worker: int
            Clock: Stopwatch
            /// Seconds of the clock at which the page is due.
            mutable Due: float
            /// Seconds that the last page took.
            mutable Cost: float
        }

    /// Those that have not ended.
    let private under = ResizeArray<Run>()

    let private gate = obj ()

    /// The page is written every two seconds, or so seldom that it takes no more than a two hundredth of the time; the first one, for which code is
    /// compiled, and one that a busy disk held up do not count.
    let private draw (run: Run) =
        let began = run.Clock.Elapsed.TotalSeconds

        let name =
            Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath run.Folder))

        let page =
            WatchPage.page name DateTimeOffset.Now (RunLog.seconds run.Log) (List.ofSeq run.Log.Entries)

        try
            Files.makeAtomically (Path.Combine(run.Folder, WatchPage.fileName)) (fun path ->
                File.WriteAllText(path, page, UTF8Encoding false))
        with :? StoreException ->
            () // what cannot be watched goes on all the same

        let ended = run.Clock.Elapsed.TotalSeconds
        run.Due <- ended + max 2.0 (200.0 * min run.Cost (ended - began))
        run.Cost <- ended - began

    let private start watch worker folder =
        let run =
            { Folder = folder
              Log = RunLog.start folder
              Watch = watch
              Worker = worker
              Clock = Stopwatch.StartNew()
              Due = 0.0
              Cost = 0.0 }

        if watch then
            draw run
            eprintfn $"watch: {Uri(Path.GetFullPath(Path.Combine(folder, WatchPage.fileName))).AbsoluteUri}"

        under.Add run
        run

    let private tell (run: Run) report =
        RunLog.tell run.Log report

        if run.Watch && run.Clock.Elapsed.TotalSeconds >= run.Due then
            draw run

    let private finish state (which: Run -> bool) =
        lock gate (fun () ->
            for run in under.ToArray() do
                if which run then
                    under.Remove run |> ignore
                    RunLog.finish run.Log state

                    if run.Watch then
                        draw run)

    /// Says how the work of this thread has ended, in its log and on its page; nothing where none was begun.
    let ended (state: RunState) : unit =
        let worker = Environment.CurrentManagedThreadId
        finish state (fun run -> run.Worker = worker)

    /// What an exit code says of runs whose scripts did not say how they ended.
    let private onExit _ =
        let state =
            match Environment.ExitCode with
            | 0 -> Done
            | code when code = ConsoleProgress.interrupted || code = ConsoleProgress.continues -> Stopped
            | code -> Failed $"The program ended with exit code {code}; its console says why."

        finish state (fun _ -> true)

    let private atExit = lazy (AppDomain.CurrentDomain.ProcessExit.Add onExit)

    /// Progress on standard error, as ConsoleProgress.create, that leaves a log in an output folder, from the first report on; with `watch`,
    /// a page there, too. The folder is there by then.
    /// Whatever fails in the log or its page is said once, and costs these and not the work.
    let progress (watch: bool) (folder: string) : Progress =
        let console = ConsoleProgress.create ()
        atExit.Force()
        let worker = Environment.CurrentManagedThreadId
        let mine: Run option ref = ref None
        let mutable broken = false

        let log report =
            lock gate (fun () ->
                let run =
                    match mine.Value with
                    | Some run when under.Contains run -> run
                    | _ ->
                        let run = start watch worker folder
                        mine.Value <- Some run
                        run

                tell run report)

        { console with
            Report =
                fun report ->
                    console.Report report

                    if not broken then
                        try
                            log report
                        with fault ->
                            broken <- true
                            eprintfn $"the run goes on without its log and page: {fault.Message}" }
