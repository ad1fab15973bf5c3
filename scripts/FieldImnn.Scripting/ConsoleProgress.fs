namespace FieldImnn

open System
open System.Diagnostics
open System.Threading

/// A progress bar on standard error: what is being done, how far it is and the time left. Where standard error is not a terminal
/// it prints a line every ten seconds instead. Ctrl-C asks the work to stop and keep what it has; a second one ends the program.
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

    /// A progress bar that cancels on Ctrl-C.
    let create () : Progress =
        let cancel = new CancellationTokenSource()

        Console.CancelKeyPress.Add(fun press ->
            if not cancel.IsCancellationRequested then
                press.Cancel <- true
                eprintfn "\nstopping; what has been done is kept (Ctrl-C again to end at once)"
                cancel.Cancel())

        let clock = Stopwatch.StartNew()
        let mutable stage = ""
        let mutable started = 0.0
        let mutable printed = -infinity
        let live = not Console.IsErrorRedirected

        let report (r: ProgressReport) =
            let now = clock.Elapsed.TotalSeconds

            if r.Stage <> stage then
                if live && stage <> "" then
                    eprintfn ""

                stage <- r.Stage
                started <- now
                printed <- -infinity

            if now - printed > (if live then 0.1 else 10.0) || (live && r.Fraction >= 1.0) then
                printed <- now
                let text = line r (now - started)

                if live then
                    eprintf "\r%s\u001b[K" text
                else
                    eprintfn "%s" text

        { Report = report
          Cancellation = cancel.Token }

    /// Ends the bar's line, so that what is printed next starts on its own.
    let finish () =
        if not Console.IsErrorRedirected then
            eprintfn ""
