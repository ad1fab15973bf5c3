namespace FieldImnn

open System
open System.Net

/// The page on which a run is watched, from its log: it draws itself anew for as long as the run goes on, and needs neither a server nor a network.
module WatchPage =
    /// The page's name in an output folder.
    let fileName = "watch.html"

    /// Seconds after which a page that has not been written says so.
    let private silence = 60

    let private text (words: string) = WebUtility.HtmlEncode words

    let private span (seconds: float) =
        let s = int (round seconds)

        if s < 60 then $"{s} s"
        elif s < 3600 then $"{s / 60} min {s % 60:d2} s"
        else $"{s / 3600} h {s / 60 % 60:d2} min"

    let private reports (entries: RunEntry list) =
        entries
        |> List.choose (function
            | Told(_, seconds, report) -> Some(seconds, report)
            | _ -> None)

    /// What is told once, when it has ended, as against work under way.
    let private isNews (report: ProgressReport) = report.Step = 1 && report.Of = 1

    /// Points of a number of the reports, broken where the stage changes.
    let private parts name (told: (float * ProgressReport) list) =
        let mutable stage, part = "", 0

        [| for seconds, report: ProgressReport in told do
               if report.Stage <> stage then
                   stage <- report.Stage
                   part <- part + 1

               match report.Numbers |> List.tryFind (fst >> (=) name) with
               | Some(_, value) when Double.IsFinite value -> part, (seconds, value)
               | _ -> () |]
        |> Array.groupBy fst
        |> Array.map (snd >> Array.map snd >> WatchChart.thinned)
        |> List.ofArray

    let private line name (shown: string) told : WatchCurve =
        { Name = shown
          Parts = parts name told
          Errors = None }

    /// θ with its errors, one by one as they became known.
    let private measured (mean: string) (sd: string) shown (told: (float * ProgressReport) list) : WatchCurve =
        let found =
            [| for seconds, report in told do
                   let number name =
                       report.Numbers |> List.tryFind (fst >> (=) name) |> Option.map snd

                   match number mean, number sd with
                   | Some m, Some s when Double.IsFinite m && Double.IsFinite s -> (seconds, m), s
                   | _ -> () |]
            |> WatchChart.thinned

        { Name = shown
          Parts = [ Array.map fst found ]
          Errors = Some(Array.map snd found) }

    /// Names of parameters, in the order in which they were told of.
    let private parameters (told: (float * ProgressReport) list) =
        [ for _, report in told do
              for name, _ in report.Numbers do
                  for before in [ "mean "; "estimate " ] do
                      if name.StartsWith(before, StringComparison.Ordinal) then
                          name.Substring before.Length ]
        |> List.distinct

    let private charts seconds told =
        let work = told |> List.filter (snd >> isNews >> not)

        let chart title logarithmic curves =
            WatchChart.svg title logarithmic seconds curves

        [ chart
              "det F"
              true
              [ line "detF" "of a training batch" work
                line "heldOutDetF" "held out, the best so far" work ]
          chart
              "loss of the networks"
              false
              [ line "loss" "of an epoch" work
                line "heldOutLoss" "held out, the best so far" work ]
          chart "acceptance" false [ line "acceptance" "accepted of what was proposed" work ]
          for name in parameters told do
              chart
                  name
                  false
                  [ measured $"estimate {name}" $"error {name}" "estimate by round of training" told
                    measured $"mean {name}" $"sd {name}" "posterior so far, ± sd" told ] ]
        |> List.filter ((<>) "")

    /// Stages with the seconds that each took, those that were told of once with what they came to; the latest first.
    let private table (seconds: float) (told: (float * ProgressReport) list) =
        let folder rows (at, report: ProgressReport) =
            match rows with
            | (began, last: ProgressReport) :: rest when last.Stage = report.Stage -> (began, report) :: rest
            | _ -> (at, report) :: rows

        let latest = told |> List.fold folder [] |> List.truncate 40
        let ends = seconds :: List.map fst latest |> List.truncate latest.Length

        let rows =
            List.map2
                (fun ended (began, report: ProgressReport) ->
                    let took = if isNews report then "" else span (ended - began)
                    $"<tr><td>{text report.Stage}<td>{took}<td>{text report.Note}")
                ends
                latest

        "<table>" :: rows @ [ "</table>" ]

    /// How far the stage is that is at work.
    let private bar (seconds: float) (told: (float * ProgressReport) list) =
        match told |> List.tryFindBack (snd >> isNews >> not) with
        | None -> []
        | Some(_, last) ->
            let began =
                told
                |> List.rev
                |> List.takeWhile (fun (_, r) -> r.Stage = last.Stage || isNews r)
                |> List.filter (fun (_, r) -> r.Stage = last.Stage)
                |> List.last
                |> fst

            let took, part = seconds - began, last.Fraction

            let left =
                if part > 0.02 then
                    $", {span (took * (1.0 - part) / part)} left"
                else
                    ""

            let percent = (100.0 * part).ToString "F0"

            [ $"<p><b>{text last.Stage}</b>: {last.Step} of {last.Of}, {span took} so far{left}. {text last.Note}</p>"
              $"<div class='bar'><div style='width:{percent}%%'></div></div>" ]

    let private style =
        """body{font:15px/1.4 system-ui,sans-serif;margin:1.5em auto;max-width:960px;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.25em}figure{display:inline-block;margin:0 8px 12px 0}figcaption{font-size:13px}svg{font-size:11px;fill:#444}
svg path,svg polyline{fill:none;stroke-width:1.5}svg .grid{stroke:#e4e4e4;stroke-width:1}.bar{background:#e8e8e8;height:8px}
.bar div{background:#0072B2;height:8px}td{padding:1px 14px 1px 0;vertical-align:top;font-size:13px}.failed{color:#b00020}#age{color:#b00020}"""

    /// Says where nothing has been written for long: a process that was killed writes no end.
    let private script (now: DateTimeOffset) =
        $"""<script>
var written = {now.ToUnixTimeMilliseconds()};
function look() {{
  var silent = Math.round((Date.now() - written) / 1000);
  document.getElementById('age').textContent = silent < {silence} ? '' :
    'Nothing has been heard for ' + (silent < 120 ? silent + ' s' : Math.round(silent / 60) + ' min') + ': a long step, or the process was killed.';
}}
look(); setInterval(look, 1000);
</script>"""

    /// The page of a run in a folder of this name, from the entries of its log, written now.
    let page (name: string) (now: DateTimeOffset) (seconds: float) (entries: RunEntry list) : string =
        let told = reports entries

        let state =
            match List.tryLast entries with
            | Some(Ended(_, _, state)) -> state
            | _ -> Running

        let heading, refresh, body =
            match state with
            | Running ->
                $"running for {span seconds}",
                "<meta http-equiv='refresh' content='3'>\n",
                bar seconds told @ [ "<p id='age'></p>"; script now ]
            | Done -> $"done after {span seconds}", "", []
            | Stopped -> $"stopped after {span seconds}; the same command goes on", "", []
            | Failed message -> $"failed after {span seconds}", "", [ $"<p class='failed'>{text message}</p>" ]

        [ $"<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>\n{refresh}<title>{text name}: {heading}</title>"
          $"<style>{style}</style></head>\n<body><h1>{text name}: {heading}</h1>"
          yield! body
          yield! charts seconds told
          yield! table seconds told
          "</body></html>\n" ]
        |> String.concat "\n"
