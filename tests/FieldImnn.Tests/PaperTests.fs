/// The report: references and what they say where they name nothing, typed numbers, results of older code, its page; and the report itself.
module PaperTests

open System.IO
open System.Text.Json.Nodes
open Expecto
open TestSupport
open Works

let private example =
    """{ "a": { "x": 0.98765, "F": [[2, 1], [1, 3]], "note": "far", "hole": null },
         "b.c": { "run 1": { "kept": 0.5 }, "run 2": { "kept": 0.75 }, "other": 3 },
         "cells": [ { "universe": "power law 128², ideal", "features": "default", "kept": 0.9 },
                    { "universe": "power law 128², ideal", "features": "bins=11", "kept": 0.4 } ],
         "tiny": 1.2e-15, "seconds": 5000, "infinite": 1e999, "text": "NaN",
         "provenance": { "commit": "abc1234", "command": "made", "machine": "a computer" } }"""

/// A copy of the repository with one file of results, example.json, and one figure.
let private withExample test =
    inFolder (fun root ->
        let results, figures =
            Path.Combine(root, "paper", "results"), Path.Combine(root, "paper", "figures")

        Directory.CreateDirectory results |> ignore
        Directory.CreateDirectory figures |> ignore
        File.WriteAllText(Path.Combine(results, "example.json"), example)
        test (Results.ofFolders [ results ]) figures)

let private resolved results expression format =
    Template.resolve results "example" expression format false

let private refused results expression format =
    try
        failtest $"{expression}: {resolved results expression format}"
    with Results.Unresolved message ->
        message

let private context results figures : Template.Context =
    { Results = results
      Figures = figures
      State = fun _ -> Missing
      Quick = false }

/// Lines and messages of what is wrong with a text.
let private faults results figures text =
    let _, found = Template.render (context results figures) text
    found |> List.map (fun f -> f.Line, f.Message)

let private references =
    testList
        "references"
        [ test "values, rows, functions and ratios in every format" {
              withExample (fun results _ ->
                  for expression, format, expected in
                      [ "a.x", "F2", "0.99"
                        "a.x", "P1", "98.8 %"
                        "a.x", "G3", "0.988"
                        "det(a.F)", "N0", "5"
                        "a.F[0]", "F1", "2.0, 1.0"
                        "a.F[*][1]", "F0", "1, 3"
                        "'b.c'.run*.kept", "F2", "0.50, 0.75"
                        "mean('b.c'.run*.kept)", "F3", "0.625"
                        "max('b.c'.run*.kept)", "F2", "0.75"
                        "[universe=power law 128², ideal & features=bins=11].kept", "F1", "0.4"
                        "last([*].kept)", "F1", "0.4"
                        "count([*].kept)", "F0", "2"
                        "a.x / tiny", "E0", "8 · 10¹⁴"
                        "a.x / example: tiny", "E0", "8 · 10¹⁴"
                        "tiny", "E1", "1.2 · 10⁻¹⁵"
                        "seconds", "D", "83 min"
                        "a.note", "text", "far" ] do
                      Expect.equal (resolved results expression format) expected $"{expression} | {format}"

                  Expect.equal
                      (Template.resolve results "example" "[*].kept" "F1" true)
                      "0.4 to 0.9"
                      "smallest and largest")
          }

          test "what names nothing says what there is" {
              withExample (fun results _ ->
                  for expression, format, expected in
                      [ "a.y", "F2", "example.json.a has no 'y'; there are x, F, note, hole"
                        "a.F[2]", "F2", "has no [2]; there is a list of 2"
                        "[features=none].kept", "F1", "no row [features=none]; there are default; bins=11"
                        "'b.c'.walk*", "F1", "has no 'walk*'; there are run 1, run 2, other"
                        "a.note", "F1", "is no number: far"
                        "a.hole", "F1", "is null"
                        "infinite", "F1", "is Infinity"
                        "text", "F1", "is no number: NaN"
                        "a.x", "Q7", "no format Q7"
                        "middle(a.x)", "F1", "no function 'middle'; there are det, "
                        "a.x / a.F", "F1", "a ratio of 1 and 4 numbers"
                        "a..x", "F1", "is no path" ] do
                      let message = refused results expression format
                      Expect.stringContains message expected $"{expression} | {format}"

                  try
                      Template.resolve results "absent" "a" "F1" false |> failtest
                  with Results.Unresolved message ->
                      Expect.equal message "there is no absent.json among the results" "file")
          }

          test "a text is filled in, and its faults have their lines" {
              withExample (fun results figures ->
                  let text, found =
                      Template.render
                          (context results figures)
                          "Kept: {{example: a.x | P1}} of $F_{ab}$, `{x}`.\n{{when absent}}\nnever\n{{otherwise}}\nso\n{{end}}\n{{when example}}\nthere\n{{end}}"

                  Expect.isEmpty found "no faults"
                  Expect.equal text "Kept: 98.8 % of F<sub>ab</sub>, `{x}`.\nso\nthere" "text"

                  for text, line, message in
                      [ "\n{{example: a.y | F2}}", 2, "has no 'y'"
                        "{{example: a.x}}", 1, "is no reference"
                        "\n\n{{table nothing}}", 3, "there is no table 'nothing'"
                        "{{figure fig01-field: A field}}", 1, "there is no figure 'fig01-field'"
                        "{{when example}}", 1, "no {{end}}"
                        "{{end}}", 1, "does not belong here" ] do
                      match faults results figures text with
                      | [ found, said ] ->
                          Expect.equal found line text
                          Expect.stringContains said message text
                      | other -> failtest $"{text}: %A{other}")
          }

          test "a figure without a place in the text, and one that nothing makes" {
              withExample (fun results figures ->
                  File.WriteAllText(Path.Combine(figures, "drawing.png"), "")

                  Expect.equal
                      (faults results figures "")
                      [ 0, "the figure 'drawing' has no place in the text" ]
                      "forgotten"

                  let message = faults results figures "{{figure drawing: By hand}}" |> List.map snd
                  Expect.exists message _.Contains("no work of") "of no work")
          } ]

let private typedNumbers =
    testList
        "typed numbers"
        [ test "a number in prose is found with its line, whatever its markup" {
              for text, number in
                  [ "kept 0.98 of it", "0.98"
                    "kept 98 % of it", "98"
                    "**12,000** simulations", "12,000"
                    "| power law | 0.987 |", "0.987"
                    "- 3 sds", "3"
                    "kept $0.98$ of it", "0.98"
                    "kept `98 %` of it", "98"
                    "about −2.5", "2.5"
                    "(95)", "95" ] do
                  Expect.equal (Numbers.typedIn $"\n{text}") [ 2, number ] text
          }

          test "names, definitions, code, links, headings and the bibliography may have digits" {
              for text in
                  [ "σ8, C2ST and fig08"
                    "fields of $128 × 128$ pixels at $(A, B) = (1, 0.5)$"
                    "`--seeds 3`"
                    "    F = 0.5 Σ"
                    "```\nlet x = 1\n```"
                    "# 20 fields"
                    "see [Makinen et al. 2021](#makinen2021), arXiv:2107.07405, Figures 1 to 4 and Section 2"
                    "1. first"
                    "{{power-law: fig02[0] | F3}}"
                    "## Bibliography\n- 2021, ApJ 496, 605" ] do
                  Expect.isEmpty (Numbers.typedIn text) text

              Expect.equal (Numbers.typedIn "## Bibliography\n1998\n## Notes\n1998") [ 4, "1998" ] "after it"
          } ]

let private staleness =
    test "results are of the code, settings and inputs that made them, or stale" {
        inFolder (fun root ->
            let write (path: string) (text: string) =
                let full = Path.Combine(root, path)
                Directory.CreateDirectory(Path.GetDirectoryName full) |> ignore
                File.WriteAllText(full, text)

            let results = Path.Combine(root, "results")
            let work = all |> List.find (fun w -> w.Name = "power-law")
            write "src/A.fs" "let a = 1"
            write "scripts/fig01-power-law-field.fsx" "draw"
            Expect.equal (state root false results work) Missing "nothing yet"

            let origin: Origin.Origin =
                { Commit = "abc1234"
                  Machine = "a computer"
                  System = "a system"
                  Command = "made"
                  Digest = Some(digest root false work) }

            write "results/power-law.json" ((Origin.stamped origin (JsonObject())).ToJsonString())
            Expect.equal (state root false results work) Current "made now"
            Expect.equal (state root true results work) Stale "settings: a quick run is another"

            write "src/A.fs" "let a = 2"
            Expect.equal (state root false results work) Stale "a library changed"
            write "src/A.fs" "let a = 1"
            Expect.equal (state root false results work) Current "and back"
            write "src/obj/B.fs" "made by the build"
            write "scripts/fig05-dark-matter-power.fsx" "another study's"
            Expect.equal (state root false results work) Current "what it does not depend on"
            write "scripts/fig01-power-law-field.fsx" "draw more"
            Expect.equal (state root false results work) Stale "its script changed"

            let reader = { work with Inputs = [ "targets" ] }
            let before = digest root false reader
            write "targets/field.npy" "another field"
            Expect.notEqual (digest root false reader) before "its inputs changed"

            write "results/power-law.json" "{}"
            Expect.equal (state root false results work) Stale "nothing says what made it")
    }

let private origins =
    test "an origin names no place of the machine, and rows of a benchmark stand beside it" {
        inFolder (fun root ->
            let command = [ "dotnet"; "--targets"; "/home/someone/targets"; "two words" ]
            let origin = Origin.here root [ command ] None
            Expect.equal origin.Command "dotnet --targets targets \"two words\"" "command"
            let stamped = Origin.stamped origin (JsonArray(JsonValue.Create 1))
            Expect.equal (stamped[Origin.rows].AsArray().Count) 1 "rows"
            Expect.equal (Origin.tryRead stamped) (Some origin) "origin"
            Expect.equal (Origin.tryRead (JsonArray())) None "none")
    }

let private page =
    test "a page holds its pictures and fetches nothing" {
        inFolder (fun folder ->
            File.WriteAllBytes(Path.Combine(folder, "a.png"), [| 1uy; 2uy; 3uy |])

            let html =
                Page.ofMarkdown
                    folder
                    "# Title\n\nText.\n\n## Part one\n\n![A figure](a.png)\n\n| a | b |\n|---|---|\n| x | y |\n"

            Expect.stringContains html "<title>Title</title>" "title"
            Expect.stringContains html "<a href=\"#part-one\">Part one</a>" "contents"
            Expect.stringContains html "data:image/png;base64,AQID" "picture"
            Expect.stringContains html "<div class=\"wide\" tabindex=\"0\"><table>" "tables"
            Expect.isEmpty (Page.fetched html) "fetched"
            Expect.equal (Page.fetched "<img src=\"https://a/b.png\">") [ "https://a/b.png" ] "planted")
    }

let private report =
    testList
        "of the repository"
        [ test "every reference is to a result that is there, and no number is typed" {
              let _, found = Paper.render (Paper.places false root)
              Expect.isEmpty found "faults"
          }

          test "paper/README.md is its text with these results; a result that has changed would show" {
              let places = Paper.places false root
              let text, _ = Paper.render places

              /// Without the rows that say which results are of older code, which every change of the code changes.
              let told (text: string) =
                  text.Split '\n'
                  |> Array.filter (fun line -> not (line.StartsWith "| `"))
                  |> String.concat "\n"

              let written = File.ReadAllText places.Text.Value

              Expect.equal
                  (told written)
                  (told (Paper.generated + text))
                  "dotnet fsi build.fsx paper --only-text writes it"
          }

          test "every file of results names what made it" {
              let results = Path.Combine(root, "paper", "results")

              for path in Directory.GetFiles(results, "*.json") do
                  let name = Path.GetFileNameWithoutExtension path
                  Expect.exists all (fun work -> work.Name = name) $"{name} is of a work"

                  match Origin.tryRead (JsonNode.Parse(File.ReadAllText path)) with
                  | Some origin ->
                      Expect.isFalse (Path.IsPathRooted origin.Command || origin.Command.Contains " /") name
                  | None -> failtest $"{name} has no origin"
          } ]

let tests =
    testList "paper" [ references; typedNumbers; staleness; origins; page; report ]
