/// The log that a run leaves, and the page on which it is watched: what they say, what they cost in lines, and what a stop or a kill leaves of them.
module RunLogTests

open System
open System.IO
open System.Text.Json
open System.Text.RegularExpressions
open Expecto
open FieldImnn
open TestSupport
open TorchSharp

let private report stage step total numbers : ProgressReport =
    { Stage = stage
      Step = step
      Of = total
      Numbers = numbers
      Note = "" }

/// A log of reports (seconds after the one before, report), in a folder, by a clock that stands between them.
let private logged folder state (reports: (float * ProgressReport) seq) =
    let mutable now = 0.0
    let log = RunLog.startBy (fun () -> now) folder

    for later, report in reports do
        now <- now + later
        RunLog.tell log report

    RunLog.finish log state
    RunLog.read (Path.Combine(folder, RunLog.fileName))

let private told (entries: RunEntry list) =
    entries
    |> List.choose (function
        | Told(_, seconds, report) -> Some(seconds, report)
        | _ -> None)

let private log =
    testList
        "log"
        [ test "a line comes back as it was, without the numbers that JSON does not have" {
              let time = DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero)

              let of' numbers =
                  Told(
                      time,
                      1.5,
                      { report "training \"a\", round 1" 3 10 numbers with
                          Note = "det F 2\n" }
                  )

              let line =
                  RunEntry.write (of' [ "mean σ8", 0.8; "detF", infinity; "heldOutDetF", nan ])

              Expect.stringContains line "\"mean σ8\":0.8" "names stay as they are"
              Expect.isFalse (line.Contains '\n') "one line"
              Expect.equal (RunEntry.read line) (Some(of' [ "mean σ8", 0.8 ])) "back"

              for state in [ Done; Stopped; Failed "expected < 1, received 2" ] do
                  let entry = Ended(time, 2.0, state)
                  Expect.equal (RunEntry.read (RunEntry.write entry)) (Some entry) $"%A{state}"

              Expect.isNone (RunEntry.read (line.Substring(0, line.Length / 2))) "planted: half a line"
              Expect.isNone (RunEntry.read "{}") "planted: another file's line"
          }

          test
              "of a stage of ten hours, ten reports a second, some thousand lines are left, its first and last among them" {
              inFolder (fun folder ->
                  let n = 360000

                  let found =
                      seq { for i in 1..n -> 0.1, report "training" i n [ "detF", float i ] }
                      |> logged folder Done
                      |> told

                  Expect.isLessThan found.Length 2000 "lines"
                  Expect.isGreaterThan found.Length 500 "and enough for a curve"
                  Expect.equal (List.last found |> snd).Step n "the last"
                  let early = found |> List.filter (fun (seconds, _) -> seconds < 60.0)
                  Expect.isLessThan early.Length 125 "two a second at the most")
          }

          test "stages that take turns a thousand times a second leave a few lines a second; news is always written" {
              inFolder (fun folder ->
                  let found =
                      [ for i in 1..2000 do
                            0.001, report (if i % 2 = 0 then "a" else "b") 0 2 []

                            if i % 500 = 0 then
                                0.0, report $"round {i}" 1 1 [] ]
                      |> logged folder Done
                      |> told

                  Expect.isLessThan found.Length 30 "lines"

                  Expect.equal
                      (found |> List.filter (fun (_, r) -> r.Stage.StartsWith "round") |> List.length)
                      4
                      "news")
          }

          test "a run that goes on adds to its log and to its seconds, whatever a kill left of the last line" {
              inFolder (fun folder ->
                  let path = Path.Combine(folder, RunLog.fileName)

                  logged folder Stopped [ 5.0, report "training" 1 10 []; 5.0, report "training" 2 10 [] ]
                  |> ignore

                  File.AppendAllText(path, "{\"time\":\"2026-01-02T03") // planted: killed while it wrote
                  let all = logged folder Done [ 5.0, report "training" 3 10 [] ]
                  Expect.equal (told all |> List.map (fun (s, r) -> s, r.Step)) [ 5.0, 1; 10.0, 2; 15.0, 3 ] "reports"
                  Expect.equal (all |> List.map _.Seconds |> List.sort) (all |> List.map _.Seconds) "seconds"

                  match
                      all
                      |> List.filter (function
                          | Told _ -> false
                          | _ -> true)
                  with
                  | [ Began _; Ended(_, _, Stopped); Began _; Ended(_, _, Done) ] -> ()
                  | other -> failtest $"%A{other}")
          } ]

let private begun = Began(DateTimeOffset.Now, 0.0)

let private entries =
    begun
    :: [ for i in 1..50 ->
             Told(
                 DateTimeOffset.Now,
                 float i,
                 report
                     "training, round 1"
                     i
                     100
                     [ "detF", 100.0 * float i; "heldOutDetF", (if i < 10 then nan else 90.0) ]
             ) ]
    @ [ Told(DateTimeOffset.Now, 60.0, report "round 1" 1 1 [ "estimate <σ>", 0.8; "error <σ>", 0.1 ])
        Told(DateTimeOffset.Now, 61.0, report "ABC sampling" 0 100 [])
        Told(DateTimeOffset.Now, 70.0, report "ABC sampling" 50 100 [ "acceptance", 0.2 ]) ]

let private page entries =
    WatchPage.page "out" DateTimeOffset.Now 75.0 entries

/// What a page would fetch, and numbers that its pictures cannot have.
let private faults (html: string) =
    [ for found in Regex.Matches(html, "(?:src|href)=['\"]?https?:") -> found.Value
      for found in Regex.Matches(html, "NaN|∞|Infinity") -> found.Value ]

let private pages =
    testList
        "page"
        [ test "of a run under way says the stage, how long it has taken and what is left, and draws itself anew" {
              let html = page entries
              Expect.stringContains html "http-equiv='refresh'" "anew"
              Expect.stringContains html "running for 1 min 15 s" "how long"
              Expect.stringContains html "<b>ABC sampling</b>: 50 of 100, 14 s so far, 14 s left" "the stage"
              Expect.isEmpty (faults html) "by itself"

              for title in [ "det F"; "acceptance"; "&lt;σ&gt;" ] do
                  Expect.stringContains html $"<b>{title}</b>" "charts"

              Expect.isFalse (html.Contains "loss of the networks") "no chart without a point"
              Expect.equal (Regex.Matches(html, "<polyline").Count) 2 "two curves of det F"

              Expect.isNonEmpty
                  (faults (html + "<script src='https://a.example/plotly.js'>"))
                  "planted: a page that fetches"
          }

          test "of a run that has ended says how, and stays as it is" {
              for state, words in
                  [ Done, "done after"
                    Stopped, "the same command goes on"
                    Failed "--theta: expected <numbers>", "--theta: expected &lt;numbers&gt;" ] do
                  let html = page (entries @ [ Ended(DateTimeOffset.Now, 75.0, state) ])
                  Expect.stringContains html words "how it ended"
                  Expect.isFalse (html.Contains "refresh" || html.Contains "<script") "stays"

              // gone on: under way again
              let html =
                  page (
                      entries
                      @ [ Ended(DateTimeOffset.Now, 75.0, Stopped); Began(DateTimeOffset.Now, 75.0) ]
                  )

              Expect.stringContains html "refresh" "gone on"
          }

          test "of a day's log is as small as of an hour's" {
              let many =
                  begun
                  :: [ for i in 1..20000 ->
                           Told(DateTimeOffset.Now, float i, report "training" i 20000 [ "detF", float i ]) ]

              Expect.isLessThan (page many).Length 20000 "characters"
          } ]

/// White noise of amplitude σ, by a function of σ and noise.
let private modelOf f =
    let simulator = Simulator.create "white" [ "σ" ] [ 64 ] [ 64 ] f
    Model.create simulator (Prior.uniform [ "σ", 0.5, 2.0 ])

let private model = modelOf (fun theta noise -> theta * noise)

/// One that fails once in a thousand times.
let private brittle =
    modelOf (fun theta noise ->
        let low = noise.narrow(1L, 0L, 1L).lt(3.1.ToScalar())
        theta * noise * torch.where (low, 1.0, nan))

let private recipe =
    Recipe.ofSettings
        { ImnnSettings.Default with
            Features = Features.own "spread alone" 1 (fun fields -> (fields.square().mean([| 1L |], keepdim = true)))
            MinIterations = 1
            MaxIterations = 1
            HeldOut = 100
            Fit = 500
            Quote = 500 }

/// Runs a command of the model, and returns its exit code and what it wrote to standard error.
let private infer model (arguments: string list) =
    let code, _, said =
        listening (fun () -> CommandLine.infer model recipe (Array.ofList ("own.fsx" :: arguments)))

    code, said

let private command =
    testCase
        "a command leaves its log, and with --watch its page, whose last posterior is that of summary.json"
        (fun () ->
            inFolder (fun folder ->
                let out = Path.Combine(folder, "out")
                let options = [ "--out"; out; "--quick"; "--theta"; "1.2" ]

                let entries () =
                    RunLog.read (Path.Combine(out, RunLog.fileName))

                Expect.equal (fst (infer model options)) 0 "exit code"
                Expect.isFalse (File.Exists(Path.Combine(out, WatchPage.fileName))) "no page unless asked for"

                let last = entries () |> told |> List.last |> snd

                let json =
                    JsonDocument.Parse(File.ReadAllText(Path.Combine(out, "summary.json"))).RootElement

                Expect.equal last.Stage "posterior of abc" "the last report"
                let mean = (Seq.head (json.GetProperty("mean").EnumerateArray())).GetDouble()
                let told = Map.ofList last.Numbers
                Expect.equal told["mean σ"] mean "mean"

                match List.last (entries ()) with
                | Ended(_, _, Done) -> ()
                | other -> failtest $"%A{other}"

                // where the page cannot be written, the run goes on, and its log with it
                Directory.CreateDirectory(Path.Combine(out, WatchPage.fileName)) |> ignore
                let before = (entries ()).Length
                Expect.equal (fst (infer model (options @ [ "--watch" ]))) 0 "planted: a folder in the page's place"
                Expect.isGreaterThan (entries ()).Length before "the log is longer"

                // a simulation that fails in the middle: the log and the page end with the error
                let failing = Path.Combine(folder, "failing")

                let code, said =
                    infer brittle [ "--out"; failing; "--quick"; "--theta"; "1.2"; "--watch" ]

                Expect.equal code 2 said

                match List.last (RunLog.read (Path.Combine(failing, RunLog.fileName))) with
                | Ended(_, _, Failed message) -> Expect.stringContains said message "the error"
                | other -> failtest $"%A{other}"

                let page = File.ReadAllText(Path.Combine(failing, WatchPage.fileName))
                Expect.stringContains page "failed after" "the page"
                Expect.isFalse (page.Contains "refresh") "stays"))

let tests = testSequenced <| testList "run log" [ log; pages; command ]
