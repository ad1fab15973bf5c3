namespace FieldImnn

open System
open System.Diagnostics
open System.IO
open System.Text
open System.Text.Json
open System.Text.Json.Nodes
open FieldImnn.Core

/// How a run has ended, or that it has not.
type RunState =
    | Running
    | Done
    /// By Ctrl-C or SIGTERM: the same command goes on.
    | Stopped
    | Failed of message: string

/// A line of a run's log.
type RunEntry =
    /// A process has begun, or gone on with, the run.
    | Began of time: DateTimeOffset * seconds: float
    | Told of time: DateTimeOffset * seconds: float * report: ProgressReport
    | Ended of time: DateTimeOffset * seconds: float * state: RunState

    /// When, by the clock on the wall.
    member this.Time =
        match this with
        | Began(time, _)
        | Told(time, _, _)
        | Ended(time, _, _) -> time

    /// Seconds of work until then, those of processes that were stopped included.
    member this.Seconds =
        match this with
        | Began(_, seconds)
        | Told(_, seconds, _)
        | Ended(_, seconds, _) -> seconds

/// Lines of a run's log as JSON, and back.
module RunEntry =
    let private words state : (string * JsonNode) list =
        match state with
        | Running -> [ "event", Report.value "began" ]
        | Done -> [ "event", Report.value "done" ]
        | Stopped -> [ "event", Report.value "stopped" ]
        | Failed message -> [ "event", Report.value "failed"; "note", Report.value message ]

    let private stamp (time: DateTimeOffset) (seconds: float) : (string * JsonNode) list =
        [ "time", Report.value (time.ToString "yyyy-MM-ddTHH:mm:ss.fffzzz")
          "seconds", Report.value (Math.Round(seconds, 3)) ]

    // names of parameters stay as they are: a notebook asks for "mean σ8"
    let private form =
        JsonSerializerOptions(Encoder = Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping)

    /// One line of JSON, without its end. Numbers that JSON does not have (NaN, ∞) are left out.
    let write (entry: RunEntry) : string =
        let told =
            match entry with
            | Began _ -> words Running
            | Ended(_, _, state) -> words state
            | Told(_, _, report) ->
                [ "stage", Report.value report.Stage
                  "step", Report.value report.Step
                  "of", Report.value report.Of
                  for name, number in report.Numbers do
                      if Double.IsFinite number then
                          name, Report.value number
                  if report.Note <> "" then
                      "note", Report.value report.Note ]

        (Report.fields (stamp entry.Time entry.Seconds @ told)).ToJsonString form

    /// What a line says; None where it is not whole, as the last one is of a process that was killed while it wrote.
    let read (line: string) : RunEntry option =
        let names = set [ "time"; "seconds"; "event"; "stage"; "step"; "of"; "note" ]

        try
            use json = JsonDocument.Parse line

            let all =
                Map.ofSeq (json.RootElement.EnumerateObject() |> Seq.map (fun p -> p.Name, p.Value))

            let text name =
                all |> Map.tryFind name |> Option.map _.GetString() |> Option.defaultValue ""

            let time, seconds = all["time"].GetDateTimeOffset(), all["seconds"].GetDouble()

            match text "event" with
            | "began" -> Some(Began(time, seconds))
            | "done" -> Some(Ended(time, seconds, Done))
            | "stopped" -> Some(Ended(time, seconds, Stopped))
            | "failed" -> Some(Ended(time, seconds, Failed(text "note")))
            | _ ->
                let report =
                    { Stage = all["stage"].GetString()
                      Step = all["step"].GetInt32()
                      Of = all["of"].GetInt32()
                      Numbers =
                        [ for KeyValue(name, value) in all do
                              if not (names.Contains name) then
                                  name, value.GetDouble() ]
                      Note = text "note" }

                Some(Told(time, seconds, report))
        with
        | :? JsonException
        | :? InvalidOperationException
        | :? FormatException
        | :? Collections.Generic.KeyNotFoundException -> None

/// The log of a run: `run-log.jsonl` in its output folder, a line of JSON for a report. A run that goes on adds to it.
type RunLog =
    private
        {
            mutable File: FileStream option
            /// Seconds since this process began the log.
            Clock: unit -> float
            /// Seconds of work before this process.
            Before: float
            Lines: ResizeArray<RunEntry>
            /// The last report, if it is not written yet.
            mutable Pending: RunEntry option
            mutable Stage: string
            mutable StageBegan: float
            mutable Written: float
        }

    /// What was written, by earlier processes, too.
    member log.Entries: RunEntry seq = log.Lines

/// Writing and reading logs of runs.
module RunLog =
    /// The log's name in an output folder.
    let fileName = "run-log.jsonl"

    let private lines (path: string) =
        if File.Exists path then
            Files.readAllBytes path
            |> Encoding.UTF8.GetString
            |> _.Split('\n', StringSplitOptions.RemoveEmptyEntries)
        else
            [||]

    /// The whole lines of a log, in order; none where there is no file.
    let read (path: string) : RunEntry list =
        lines path |> Seq.choose RunEntry.read |> List.ofSeq

    /// The log of an output folder, at its end. Where it cannot be written the run goes on without.
    let private openAt (path: string) =
        try
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath path))
            |> ignore

            // no buffer, which a full disk would keep for the end; and of two processes at once one goes without
            let file =
                new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read, 0)

            let length = file.Seek(0L, SeekOrigin.End)

            // a process that was killed while it wrote left a part of a line
            if length > 0L then
                file.Seek(-1L, SeekOrigin.End) |> ignore

                if file.ReadByte() <> int '\n' then
                    file.WriteByte(byte '\n')

            Some file
        with Files.Refusal why ->
            eprintfn $"{path} cannot be written, so that the run has no log: {why}"
            None

    let private put (log: RunLog) (entry: RunEntry) =
        log.Lines.Add entry
        log.Written <- entry.Seconds

        match log.File with
        | Some file ->
            try
                file.Write(Encoding.UTF8.GetBytes(RunEntry.write entry + "\n"))
            with Files.Refusal why ->
                eprintfn $"the log of the run ends here: {why}"
                log.File <- None
                file.Dispose()
        | None -> ()

    let private now (log: RunLog) = log.Before + log.Clock()

    let private flush (log: RunLog) =
        log.Pending |> Option.iter (put log)
        log.Pending <- None

    /// As `start`, by a clock of one's own.
    let internal startBy (clock: unit -> float) (folder: string) : RunLog =
        let path = Path.Combine(folder, fileName)

        // one that cannot be read is no reason not to run
        let earlier =
            try
                read path
            with :? StoreException ->
                []

        let log =
            { File = openAt path
              Clock = clock
              Before = earlier |> List.tryLast |> Option.map _.Seconds |> Option.defaultValue 0.0
              Lines = ResizeArray earlier
              Pending = None
              Stage = ""
              StageBegan = 0.0
              Written = -infinity }

        put log (Began(DateTimeOffset.Now, log.Before))
        log

    /// The log in a folder, which must be there, with a first line for this process.
    let start (folder: string) : RunLog =
        let clock = Stopwatch.StartNew()
        startBy (fun () -> clock.Elapsed.TotalSeconds) folder

    /// Seconds of work until now, those of earlier processes included.
    let seconds (log: RunLog) : float = now log

    /// Seconds from line to line of one stage: half a second at first, then a two hundredth of what it has taken, so that a stage of a day has some
    /// 2,000 lines.
    let private spacing (log: RunLog) (seconds: float) =
        max 0.5 ((seconds - log.StageBegan) / 200.0)

    /// Takes a report: the first and the last of each stage are written, and those between as far apart as `spacing` says; of stages that take
    /// turns faster than four times a second not all. What is told once, when it has ended, is always written.
    let tell (log: RunLog) (report: ProgressReport) : unit =
        let seconds = now log
        let entry = Told(DateTimeOffset.Now, seconds, report)

        if report.Stage <> log.Stage then
            let news = report.Step >= report.Of

            if news || seconds - log.Written > 0.25 then
                flush log
                put log entry
            else
                log.Pending <- Some entry

            if not news then
                log.Stage <- report.Stage
                log.StageBegan <- seconds
        elif seconds - log.Written >= spacing log seconds then
            log.Pending <- None
            put log entry
        else
            log.Pending <- Some entry

    /// Writes the last report and how the run has ended, and closes the file.
    let finish (log: RunLog) (state: RunState) : unit =
        flush log
        put log (Ended(DateTimeOffset.Now, now log, state))
        log.File |> Option.iter _.Dispose()
