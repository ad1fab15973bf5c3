namespace FieldImnn

open System
open System.Diagnostics
open System.Runtime.InteropServices
open System.Threading

/// Progress on standard error: what is being done, how far it is and the time left. On a terminal that is a bar; in a pipe or a file, a line
/// when a stage begins, one every ten seconds of it, and one with its seconds when it ends. Ctrl-C asks the work to stop and keep what
/// it has; a second one ends the program. So does SIGTERM, by which a time limit is told of.
module ConsoleProgress =
    let private span (seconds: float) =
        let s = int (ceil seconds)
        if s < 60 then $"{s} s" else $"{s / 60} min {s % 60:d2} s"

    let private line (report: ProgressReport) (elapsed: float) =
        let width = 24
        let full = int (float width * report.Fraction) |> max 0 |> min width

        let left =
            if report.Fraction > 0.02 then
                $"{span (elapsed * (1.0 - report.Fraction) / report.Fraction)} left"
            else
                "…"

        $"%-28s{report.Stage} [{String('█', full)}{String('·', width - full)}] %3.0f{100.0 * report.Fraction} %%  %-14s{left} {report.Note}"

    /// What a stage came to, behind its name.
    let private noted (report: ProgressReport) =
        if report.Note = "" then "" else $", {report.Note}"

    /// A stage that is told of once, when it has ended: what a round of training came to, say.
    let private isNews (report: ProgressReport) = report.Fraction >= 1.0

    /// The reports as lines: to `report`, and to be called at the end, from a clock of seconds and a place for text.
    let private inLines (seconds: unit -> float) (write: string -> unit) =
        let mutable running: (ProgressReport * float) option = None
        let mutable printed = -infinity

        let finish () =
            match running with
            | Some(last, started) ->
                write $"{last.Stage}: done in {seconds () - started:F1} s{noted last}\n"
                running <- None
            | None -> ()

        let report (r: ProgressReport) =
            let now = seconds ()

            match running with
            | Some(last, started) when last.Stage = r.Stage ->
                running <- Some(r, started)

                if now - printed > 10.0 then
                    printed <- now
                    write $"{line r (now - started)}\n"
            | _ when isNews r ->
                finish ()
                write $"{r.Stage}: {r.Note}\n"
            | _ ->
                finish ()
                running <- Some(r, now)
                printed <- now
                write $"{r.Stage} …\n"

        report, finish

    /// A line as wide as the terminal at the most: one that went on in the next could not be written over.
    let private fitted (line: string) =
        let width =
            try
                Console.WindowWidth
            with :? IO.IOException ->
                0 // no terminal

        if width > 1 && line.Length >= width then
            line.Substring(0, width - 1)
        else
            line

    /// The reports as a bar that stays in its line, one for each stage.
    let private asBar (seconds: unit -> float) (write: string -> unit) =
        let mutable stage = ""
        let mutable started = 0.0
        let mutable printed = -infinity

        let finish () =
            if stage <> "" then
                write "\n"

            stage <- ""

        let report (r: ProgressReport) =
            let now = seconds ()

            if r.Stage <> stage then
                finish ()

                if isNews r then
                    write $"{r.Stage}: {r.Note}\n"
                else
                    stage <- r.Stage
                    started <- now
                    printed <- -infinity

            if stage <> "" && (now - printed > 0.1 || r.Fraction >= 1.0) then
                printed <- now
                write $"\r{fitted (line r (now - started))}\u001b[K"

        report, finish

    /// A function that takes reports, and one that ends what it writes: as a bar or in lines, by a clock of seconds.
    let writing
        (live: bool)
        (seconds: unit -> float)
        (write: string -> unit)
        : (ProgressReport -> unit) * (unit -> unit) =
        if live then asBar seconds write else inLines seconds write

    // there is one standard error, and at most one bar on it
    let mutable private ending: unit -> unit = ignore

    /// The exit code of what Ctrl-C has ended, and of what SIGTERM has: EX_TEMPFAIL of sysexits.h, "try again". The same command then goes on.
    let interrupted, continues = 130, 75

    /// Seconds that work has, after SIGTERM, to come to a place where it can stop: schedulers kill it some 30 seconds after. What is on disk by
    /// then is whole.
    let private patience = 20.0

    let mutable private code = interrupted

    // kept for as long as the process: what nobody holds is unregistered
    let mutable private held: IDisposable list = []

    /// The exit code of work that was stopped: which of the two signals it was.
    let stopped () = code

    /// A script that nobody guards ends with an exception where it is stopped: its exit code tells of the signal all the same.
    let private onExit stopped _ =
        if stopped () && Environment.ExitCode <> 0 then
            Environment.ExitCode <- code

    let private onTerminate (cancel: CancellationTokenSource) (context: PosixSignalContext) =
        context.Cancel <- true

        if not cancel.IsCancellationRequested then
            code <- continues
            eprintfn "\nstopping (SIGTERM); what has been done is kept, and the same command goes on from it"

            held <-
                new Timer((fun _ -> exit continues), null, int (1000.0 * patience), Timeout.Infinite)
                :: held

            cancel.Cancel()

    /// Progress on standard error that cancels on Ctrl-C and on SIGTERM.
    let create () : Progress =
        let cancel = new CancellationTokenSource()

        Console.CancelKeyPress.Add(fun press ->
            if not cancel.IsCancellationRequested then
                press.Cancel <- true
                eprintfn "\nstopping; what has been done is kept (Ctrl-C again to end at once)"
                cancel.Cancel())

        AppDomain.CurrentDomain.ProcessExit.Add(onExit (fun () -> cancel.IsCancellationRequested))
        held <- PosixSignalRegistration.Create(PosixSignal.SIGTERM, onTerminate cancel) :: held
        let clock = Stopwatch.StartNew()

        let report, finish =
            writing (not Console.IsErrorRedirected) (fun () -> clock.Elapsed.TotalSeconds) (eprintf "%s")

        ending <- finish

        { Report = report
          Cancellation = cancel.Token }

    /// Ends the last stage, so that what is printed next starts on its own line.
    let finish () = ending ()
