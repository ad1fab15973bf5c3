module CommandTests

open System
open System.Diagnostics
open System.IO
open System.Text.Json
open Expecto
open FieldImnn
open TestSupport

/// A script as its users run it: its own process, its exit code, its messages, its files.
let private script (name: string) (arguments: string list) =
    let info =
        ProcessStartInfo(
            "dotnet",
            [ "fsi"; Path.Combine(root, "scripts", name) ] @ arguments,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    use child = Process.Start info
    let output = child.StandardOutput.ReadToEndAsync()
    let errors = child.StandardError.ReadToEnd()
    child.WaitForExit()
    struct (child.ExitCode, output.Result, errors)

let private infer = script "infer.fsx"

/// The same command in this process, where nothing of the script's own is asked for: its exit code and its errors.
let private inferHere (arguments: string list) =
    let problem = Catalogue.problem "power-law" (Catalogue.modes "ideal")

    let code, _, said =
        listening (fun () ->
            let command = CommandLine.command problem.Model problem.Recipe
            CommandLine.guarded (fun () -> CommandLine.runCommand command (Array.ofList arguments)))

    struct (code, "", said)

let private refusedBy infer (arguments: string list) (words: string list) folder =
    let out = Path.Combine(folder, $"{Guid.NewGuid()}")

    let struct (code, _: string, errors: string) =
        infer (arguments @ [ "--out"; out; "--quick" ])

    Expect.equal code 2 $"exit code; stderr: {errors}"

    for word in words do
        Expect.stringContains errors word "message"

    Expect.isFalse (Directory.Exists out && Directory.GetFiles(out).Length > 0) "nothing was written"

let private refused = refusedBy infer

let tests =
    testSequenced
    <| testList
        "infer.fsx"
        [ testCase "a figure's script says what it cannot read, and no trace of the stack" (fun () ->
              let struct (code, _, errors) = script "fig01-power-law-field.fsx" [ "--bogus" ]
              Expect.equal code 2 "exit code"
              Expect.stringContains errors "--bogus" "what came"
              Expect.stringContains errors "--seed N" "what there is"
              Expect.isFalse (errors.Contains "   at ") "no trace")

          testCase "refuses bad input with a clear message and exit code 2, and writes nothing" (fun () ->
              inFolder (fun folder ->
                  let write name shape (data: float[]) =
                      let path = Path.Combine(folder, name)
                      Npy.write path (Npy.double shape data)
                      path

                  let small = write "small.npy" [| 64; 64 |] (Array.zeroCreate 4096)
                  refused [ "--field"; small ] [ "(128, 128)"; "(64, 64)" ] folder
                  let empty = write "empty.npy" [| 128; 128 |] (Array.create 16384 -1.0)
                  refused [ "--problem"; "dark-matter"; "--field"; empty ] [ "> −1" ] folder
                  refused [ "--problem"; "dark-matter"; "--theta"; "0.3,2.5" ] [ "σ_8"; "2.5" ] folder
                  refused [ "--modes"; "perfect" ] [ "ideal or published"; "perfect" ] folder

                  // what the script leaves to the command
                  let refused = refusedBy inferHere
                  let pixels = Array.zeroCreate 16384
                  pixels[5] <- nan
                  let holed = write "nan.npy" [| 128; 128 |] pixels
                  refused [ "--field"; holed ] [ "1 NaN or infinite"; "(0, 5)" ] folder
                  refused [ "--theta"; "2.0,0.5" ] [ "A"; "2" ] folder
                  refused [ "--rounds"; "0" ] [ "rounds"; "0" ] folder
                  refused [ "--method"; "magic" ] [ "abc, delfi, pmc, npe, gaussian"; "magic" ] folder))

          testCase
              "infers a stored field to files that scripts can read, and again from the saved compressor"
              (fun () ->
                  inFolder (fun folder ->
                      let problem = PowerLaw.create 128 Core.Fields.ModeConvention.Ideal
                      let field = Simulator.field problem.Simulator [| 0.9; 0.6 |] 12UL
                      let path = Path.Combine(folder, "field.npy")
                      Npy.write path (Npy.single [| 1; 128; 128 |] (Tensors.toArray field |> Array.map float32))
                      let out = Path.Combine(folder, "out")

                      let struct (code, _, errors) =
                          infer
                              [ "--field"
                                path
                                "--out"
                                out
                                "--quick"
                                "--rounds"
                                "1"
                                "--method"
                                "gaussian" ]

                      Expect.equal code 0 errors

                      let summary folder =
                          JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "summary.json"))).RootElement

                      let json = summary out

                      for name in
                          [ "problem"
                            "modes"
                            "method"
                            "parameters"
                            "estimate"
                            "mean"
                            "sd"
                            "correlation"
                            "area"
                            "exact"
                            "areaRatio"
                            "fisherRetained"
                            "simulations"
                            "seconds"
                            "seed"
                            "version" ] do
                          Expect.isTrue (fst (json.TryGetProperty name)) name

                      let exact = ExactAnswer.posterior problem.Exact problem.Prior field
                      let exactMean = (json.GetProperty("exact").GetProperty("mean")[0]).GetDouble()
                      Expect.floatClose Accuracy.low exactMean ((Posterior.mean exact)[0]) "exact mean"
                      let lines = File.ReadAllLines(Path.Combine(out, "posterior.csv"))
                      Expect.equal (lines[0]) "A,B,weight" "header"
                      Expect.isGreaterThan lines.Length 1000 "rows"
                      Expect.isTrue (File.Exists(Path.Combine(out, "corner.html"))) "figure"
                      let kept = Path.Combine(out, "compressor.imnn")
                      let again = Path.Combine(folder, "again")

                      let struct (code, _, errors) =
                          infer
                              [ "--field"
                                path
                                "--out"
                                again
                                "--compressor"
                                kept
                                "--method"
                                "delfi"
                                "--quick" ]

                      Expect.equal code 0 errors

                      let estimate (json: JsonElement) =
                          json.GetProperty("estimate").GetRawText()

                      Expect.equal (estimate (summary again)) (estimate json) "same estimate"

                      refused
                          [ "--field"; path; "--modes"; "published"; "--compressor"; kept ]
                          [ "published"; "ideal" ]
                          folder)) ]
