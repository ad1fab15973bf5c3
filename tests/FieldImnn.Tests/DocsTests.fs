/// The pages: their code is the text of scripts or type-checks by itself, their tables hold what there is, the scripts that they read run.
module DocsTests

open System
open System.Diagnostics
open System.IO
open System.Text.RegularExpressions
open Expecto
open FieldImnn
open Microsoft.FSharp.Reflection
open TestSupport

let private pages =
    lazy
        [ yield Path.Combine(root, "README.md")
          yield! Directory.GetFiles(Path.Combine(root, "docs"), "*.md") ]

/// Runs F# Interactive in a folder: its exit code, output and errors.
let private fsi folder (arguments: string list) =
    let info =
        ProcessStartInfo(
            "dotnet",
            "fsi" :: arguments,
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    use child = Process.Start info
    let output = child.StandardOutput.ReadToEndAsync()
    let errors = child.StandardError.ReadToEnd()
    child.WaitForExit()
    child.ExitCode, output.Result, errors

let private script name = Path.Combine(root, "scripts", name)

/// A text without what its indentation and empty lines say.
let private lines (text: string) =
    text.Split('\n', StringSplitOptions.RemoveEmptyEntries ||| StringSplitOptions.TrimEntries)
    |> String.concat "\n"

/// The F# code of a page, block by block.
let private blocks (page: string) =
    [ for found in Regex.Matches(File.ReadAllText page, "```fsharp\n(.*?)```", RegexOptions.Singleline) ->
          found.Groups[1].Value ]

let private code =
    testCase "all F# in the pages is the text of a script, or type-checks by itself without a warning" (fun () ->
        let scripts =
            Directory.GetFiles(Path.Combine(root, "scripts"), "*.fsx", SearchOption.AllDirectories)
            |> Array.map (File.ReadAllText >> lines)

        let ofNoScript =
            [ for page in pages.Value do
                  for block in blocks page do
                      if not (scripts |> Array.exists _.Contains(lines block)) then
                          block ]

        Expect.isNonEmpty ofNoScript "the ten lines of a script"

        inFolder (fun folder ->
            let files =
                [ for i, block in List.indexed ofNoScript do
                      let path = Path.Combine(folder, $"Block{i}.fsx")
                      let load = script "load.fsx"

                      File.WriteAllText(
                          path,
                          $"#load \"{load}\"\nopen FieldImnn\nopen FieldImnn.Plots\nopen TorchSharp\n{block}"
                      )

                      path ]

            let all = Path.Combine(folder, "all.fsx")
            File.WriteAllLines(all, files |> List.map (fun path -> $"#load \"{path}\""))

            let code, output, errors = fsi folder [ "--typecheck-only"; "--warnaserror+"; all ]

            Expect.equal code 0 $"{output}{errors}"
            Expect.isFalse (Regex.IsMatch(output + errors, @"(info|warning) FS\d")) $"{output}{errors}"

            // planted: a block that does not type-check
            File.AppendAllText(files[0], "\nlet planted: int = \"text\"\n")
            let code, _, _ = fsi folder [ "--typecheck-only"; "--warnaserror+"; all ]
            Expect.notEqual code 0 "planted"))

/// A warning of every kind.
let private everyWarning =
    [ for kind in FSharpType.GetUnionCases typeof<Warning> do
          let fields =
              [| for field in kind.GetFields() ->
                     if field.PropertyType = typeof<float> then
                         box 5.0
                     elif field.PropertyType = typeof<int> then
                         box 5
                     elif field.PropertyType = typeof<string> then
                         box "mean"
                     elif field.PropertyType = typeof<int list> then
                         box [ 1 ]
                     elif field.PropertyType = typeof<(string * float) list> then
                         box [ "A", 5.0 ]
                     else
                         box [ "A" ] |]

          FSharpValue.MakeUnion(kind, fields) :?> Warning ]

let private tables =
    testList
        "tables"
        [ test "docs/your-universe.md says of every kind of warning what it means and what to do" {
              let page = File.ReadAllText(Path.Combine(root, "docs", "your-universe.md"))
              let page = page.Substring(page.IndexOf "## What warnings mean")

              let documented =
                  [ for row in Regex.Matches(page, @"^\| `([a-z-]+)` \| .+ \| .+ \|$", RegexOptions.Multiline) ->
                        row.Groups[1].Value ]

              Expect.equal (Set.ofList documented) (everyWarning |> List.map _.Kind |> Set.ofList) "kinds"
          }

          test "docs/choosing.md quotes every warning as the program prints it" {
              let page = File.ReadAllText(Path.Combine(root, "docs", "choosing.md"))

              // of a message without its numbers, the beginnings of what is long enough to be known by
              let quoted (page: string) (warning: Warning) =
                  Regex.Split(warning.Message, @"\d+")
                  |> Array.filter (fun part -> part.Length >= 30)
                  |> Array.exists (fun part -> page.Contains(part.Substring(0, 30)))

              for warning in everyWarning do
                  Expect.isTrue (quoted page warning) warning.Message

              let planted = page.Replace("knows far less", "knows less")
              Expect.isFalse (everyWarning |> List.forall (quoted planted)) "planted: other words"
          }

          test "files and pages that the pages name are there" {
              for page in pages.Value do
                  for found in
                      Regex.Matches(File.ReadAllText page, @"(?<![\w/])((?:scripts|docs|tests|src)/[\w./-]*[\w/])") do
                      let named = found.Groups[1].Value.TrimEnd '/'
                      let path = Path.Combine(root, named)
                      Expect.isTrue (File.Exists path || Directory.Exists path) $"{Path.GetFileName page}: {named}"
          } ]

/// What is wrong with a first page: too long, without its commands, or without the way to a page of docs/.
let private faultsOf (page: string) =
    let lines = page.Split '\n'

    [ if lines.Length > 95 then
          $"{lines.Length} lines: two screens have 90"

      for line in lines do
          if line.Length > 140 then
              $"too long: {line}"

      for command in [ "dotnet fsi build.fsx reproduce dark-matter"; "dotnet fsi build.fsx test" ] do
          if not (page.Contains $"\n    {command} ") then
              $"no command '{command}'"

      for other in Directory.GetFiles(Path.Combine(root, "docs"), "*.md") do
          if not (page.Contains $"](docs/{Path.GetFileName other})") then
              $"no way to {Path.GetFileName other}" ]

let private first =
    test "the README is two screens, has its two commands and the way to every page" {
        let page = File.ReadAllText(Path.Combine(root, "README.md"))
        Expect.isEmpty (faultsOf page) "README"
        Expect.isNonEmpty (faultsOf (page.Replace("](docs/truth.md)", "]"))) "planted: no way to a page"
        Expect.isNonEmpty (faultsOf (page + String('x', 141))) "planted: a long line"
    }

let private runs =
    testList
        "scripts that the pages read"
        [ testCase "docs/your-universe.md: from the simulator to the posterior" (fun () ->
              inFolder (fun folder ->
                  let code, output, errors =
                      fsi
                          folder
                          [ script "your-universe.fsx"
                            "--out"
                            "out"
                            "--quick"
                            "--method"
                            "gaussian" ]

                  Expect.equal code 0 $"{output}{errors}"
                  Expect.isFalse (output.Contains "warning") output

                  // the truth is the prior's median: no parameter is far from it
                  let posterior = PosteriorFile.read (Path.Combine(folder, "out", "posterior.csv"))
                  Expect.equal posterior.Names [| "R"; "Q"; "σ" |] "parameters"
                  let sd = Posterior.sd posterior
                  Expect.isLessThan sd[2] 0.02 "σ is known well"
                  Expect.isTrue (errors.Contains "round 1: trained at") errors))

          testCase "scripts/extend-command.fsx: exit codes and messages of a command of one's own" (fun () ->
              inFolder (fun folder ->
                  let code, _, errors = fsi folder [ script "extend-command.fsx"; "show"; "5"; "0" ]
                  Expect.equal code 2 "outside the prior"
                  Expect.stringContains errors "error: show: expected σ in the prior's support" "message"
                  let code, output, _ = fsi folder [ script "extend-command.fsx"; "--"; "--help" ]
                  Expect.equal code 0 "help"
                  Expect.stringContains output "--skip-failures" "options")) ]

let tests = testSequenced <| testList "docs" [ code; tables; first; runs ]
