/// What a command writes and says: every file and every key of summary.json against docs/outputs.md, progress in a pipe, the console.
module OutputTests

open System
open System.IO
open System.Text.Json
open System.Text.RegularExpressions
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private side = 16

/// White noise of amplitude σ about a mean μ: F = diag(2n, n)/σ².
let private white =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ side; side ] [ side; side ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
        parameter 0L * noise + parameter 1L)

let private prior =
    Prior.create [ "σ", Uniform(0.5, 2.0); "μ", Marginal.Normal(0.0, 1.0) ]

let private exact =
    let n = float (side * side)

    ExactAnswer.create
        (fun theta -> Matrix<float>.Build.DenseOfDiagonalArray [| 2.0 * n; n |] / theta[0] ** 2.0)
        (fun field ->
            let d = field.``to``(torch.float64).flatten().unsqueeze 0L

            fun theta ->
                let parameter i = theta.narrow (1L, i, 1L)
                let z = (d - parameter 1L) / parameter 0L
                -0.5 * (z.square ()).sum(1L) - n * (parameter 0L).log().squeeze 1L)

let private recipe =
    let moments =
        Features.own "spread and mean" 2 (fun fields ->
            torch.stack ([| fields.std [| 1L; 2L |]; fields.mean [| 1L; 2L |] |], 1L))

    Recipe.ofSettings
        { ImnnSettings.Default with
            Features = moments
            MinIterations = 1
            MaxIterations = 1
            HeldOut = 200
            Quote = 500 }

/// Runs a command of a model, and returns its exit code, what it printed and what it said on standard error.
let private inferring (model: Model) (arguments: string list) =
    listening (fun () -> CommandLine.infer model recipe (Array.ofList ("own.fsx" :: arguments)))

/// Its exit code and what it printed.
let private infer model arguments =
    let code, printed, _ = inferring model arguments
    code, printed

let private read folder =
    JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "summary.json"))).RootElement

/// Paths of the values in JSON, as docs/outputs.md has them; of lists of numbers, the list.
let rec private paths (prefix: string) (json: JsonElement) : string list =
    match json.ValueKind with
    | JsonValueKind.Object ->
        [ for field in json.EnumerateObject() do
              yield! paths (if prefix = "" then field.Name else $"{prefix}.{field.Name}") field.Value ]
    | JsonValueKind.Array ->
        let items = json.EnumerateArray() |> List.ofSeq

        if items |> List.exists (fun item -> item.ValueKind = JsonValueKind.Object) then
            items |> List.collect (paths (prefix + "[]"))
        else
            [ prefix ]
    | _ -> [ prefix ]

/// First columns of the tables of docs/outputs.md: files, names in a line of the log, and keys.
let private documented =
    lazy
        (let lines = File.ReadAllLines(Path.Combine(root, "docs", "outputs.md"))
         let log = Array.IndexOf(lines, "## run-log.jsonl")
         let split = Array.IndexOf(lines, "## summary.json")

         let names (part: string[]) =
             part
             |> Array.filter _.StartsWith("| `")
             |> Array.collect (fun line ->
                 [| for name in Regex.Matches(line.Split('|')[1], "`([^`]+)`") -> name.Groups[1].Value |])
             |> Set.ofArray

         names lines[..log], names lines[log..split], names lines[split..])

/// A summary of a result with every warning that there is.
let private warned =
    lazy
        (let posterior =
            Posterior.ofSamples [| "a" |] [| 0.0, 1.0 |] [| [| 0.2 |]; [| 0.4 |] |] [| 1.0; 1.0 |]

         let result: InferenceResult =
             { Method = "abc"
               Estimate = [| 0.3 |]
               Fiducial = [| 0.3 |]
               Fisher = Matrix<float>.Build.DenseIdentity 1
               Posterior = posterior
               Exact =
                 Some
                     { Posterior = posterior
                       AreaRatio = 1.0
                       FisherRetained = 1.0
                       FisherRetainedPerParameter = 1.0
                       Warnings = [ NotConverged(10, 5.0, 0) ] }
               Simulations = 1
               Warnings = [ Outsider 9.0; FarFromFiducial 4.0 ]
               Failed = 0 }

         Report.summary [] [| "a" |] 1.0 1UL result)

let private summaries =
    testCase
        "every file and every key of summary.json stands in docs/outputs.md, and there is none that is not written"
        (fun () ->
            inFolder (fun folder ->
                let model = Model.create white prior |> Model.withExact exact
                let first, second = Path.Combine(folder, "first"), Path.Combine(folder, "second")

                let code, printed =
                    infer
                        model
                        [ "--out"
                          first
                          "--theta"
                          "1.1,0.25"
                          "--seed"
                          "5"
                          "--quick"
                          "--watch"
                          "--formats"
                          "npz,hdf5,getdist,netcdf" ]

                Expect.equal code 0 "exit code"
                Expect.stringContains printed "simulating one at σ = 1.1, μ = 0.25" "what is simulated"
                let json = read first

                let numbers (element: JsonElement) =
                    [| for item in element.EnumerateArray() -> item.GetDouble() |]

                Expect.equal (numbers (json.GetProperty "truth")) [| 1.1; 0.25 |] "truth"
                Expect.isTrue (json.GetProperty("quick").GetBoolean()) "quick"
                Expect.equal (json.GetProperty("seed").GetUInt64()) 5UL "seed"
                let bounds = json.GetProperty "prior"
                Expect.equal (bounds[0].GetProperty("lower").GetDouble()) 0.5 "lower bound of σ"
                Expect.equal (bounds[0].GetProperty("upper").GetDouble()) 2.0 "upper bound of σ"
                Expect.equal (bounds[1].GetProperty("upper").ValueKind) JsonValueKind.Null "μ has none"
                let rounds = json.GetProperty("rounds").EnumerateArray() |> Array.ofSeq

                close
                    1e-12
                    (numbers (rounds[0].GetProperty "fiducial"))
                    (Prior.median prior)
                    "the first round's fiducial"

                Expect.equal
                    (numbers (rounds[rounds.Length - 1].GetProperty "fiducial"))
                    (numbers (json.GetProperty "fiducial"))
                    "the last round's"

                // the field is the one of the truth and the seed, and infers the same again
                let stored = Npy.read (Path.Combine(first, "field.npy"))

                let simulated =
                    Simulator.field white [| 1.1; 0.25 |] (Random.NoiseKey.SeedFor(5UL, "target"))
                    |> Tensors.toArray

                Expect.equal stored.Data simulated "field.npy"

                let code, printed =
                    infer
                        model
                        [ "--out"
                          second
                          "--field"
                          Path.Combine(first, "field.npy")
                          "--seed"
                          "5"
                          "--quick"
                          "--compressor"
                          Path.Combine(first, "compressor.imnn")
                          "--skip-failures"
                          "0.01"
                          "--campaign"
                          Path.Combine(folder, "campaign")
                          "--add-to-campaign"
                          "fields" ]

                Expect.equal code 0 "again"
                Expect.isFalse (printed.Contains "left out") "nothing failed"
                let again = read second
                Expect.equal (again.GetProperty("mean").GetRawText()) (json.GetProperty("mean").GetRawText()) "mean"
                Expect.equal (again.GetProperty("rounds").GetArrayLength()) 0 "no round"
                Expect.isFalse (fst (again.TryGetProperty "truth")) "nobody knows the truth"

                let page folder =
                    File.ReadAllText(Path.Combine(folder, "corner.html"))

                Expect.stringContains (page first) "simulated at σ = 1.1, μ = 0.25 (dashed)" "caption"
                Expect.stringContains (page second) "Posterior of the observed field" "caption"

                // every file of the posterior is the same posterior, with its provenance
                let path name = Path.Combine(first, name)
                let csv = PosteriorFile.read (path "posterior.csv")

                for name in [ "posterior.npz"; "posterior.h5"; "posterior.txt"; "posterior.nc" ] do
                    let read = PosteriorFile.read (path name)
                    Expect.equal (read.Names, read.Samples, read.Weights) (csv.Names, csv.Samples, csv.Weights) name

                    let made =
                        JsonDocument.Parse((PosteriorFile.provenance (path name)).Value).RootElement

                    Expect.equal (made.GetProperty("seed").GetUInt64()) 5UL $"provenance in {name}"

                    Expect.equal
                        (made.GetProperty("command").GetString())
                        (Provenance.command ())
                        $"command in {name}"

                // the tables
                let files, logged, keys = documented.Value

                let written =
                    Directory.GetFileSystemEntries first
                    |> Array.map Path.GetFileName
                    |> Set.ofArray
                    |> Set.add "corner.png" // where there is a browser

                Expect.equal written files "files"

                let names =
                    [ for line in File.ReadLines(Path.Combine(first, "run-log.jsonl")) do
                          for name in paths "" (JsonDocument.Parse(line).RootElement) do
                              Regex.Replace(name, " [σμ]$", " NAME") ]
                    |> Set.ofList

                Expect.isEmpty (names - logged) "names in the log"

                for name in [ "seconds"; "event"; "acceptance"; "mean NAME"; "error NAME"; "areaRatio" ] do
                    Expect.contains names name "the log has them"

                let found =
                    [ json; again; JsonDocument.Parse(warned.Value.ToJsonString()).RootElement ]
                    |> List.collect (paths "")
                    |> Set.ofList
                    |> Set.remove "warnings" // an empty list
                    |> Set.remove "rounds"
                    |> Set.add "modes" // of infer.fsx: CommandTests
                    |> Set.add "training" // of a set made elsewhere: StoredInferenceTests

                Expect.equal found keys "keys"))

let private failures =
    testCase "--skip-failures leaves out and counts; without it the error names both ways" (fun () ->
        inFolder (fun folder ->
            let failing =
                { white with
                    Name = "failing"
                    Field =
                        fun theta noise ->
                            let low = theta.narrow(1L, 0L, 1L).lt(0.52.ToScalar()).unsqueeze -1L
                            (white.Field theta noise).masked_fill(low, nan.ToScalar()) }

            let model = Model.create failing prior
            let out = Path.Combine(folder, "out")
            let code, _, said = inferring model [ "--out"; out; "--quick" ]
            Expect.equal code 2 "refused"

            for words in [ "σ = 0.5"; "--skip-failures 0.05"; "Simulator.skippingFailures 0.05" ] do
                Expect.stringContains said words "message"

            let code, printed =
                infer model [ "--out"; out; "--quick"; "--skip-failures"; "0.05"; "--theta"; "0.6,0.0" ]

            Expect.equal code 0 "exit code"
            let json = read out
            let failed = json.GetProperty("failedSimulations").GetInt32()
            Expect.isGreaterThan failed 0 "counted"
            Expect.equal (json.GetProperty("skipFailures").GetDouble()) 0.05 "what was allowed"
            Expect.stringContains printed $"{failed} simulations of the inference failed and were left out" "console"
            Expect.equal (fst (infer model [ "--out"; out; "--quick"; "--skip-failures"; "1.5" ])) 2 "not a part"))

/// What progress writes of reports (stage, fraction, note, seconds later).
let private written live (reports: (string * float * string * float) list) =
    let mutable now = 0.0
    let text = Text.StringBuilder()

    let report, finish =
        ConsoleProgress.writing live (fun () -> now) (fun s -> text.Append s |> ignore)

    for stage, fraction, note, later in reports do
        now <- now + later

        report
            { Stage = stage
              Step = int (100.0 * fraction)
              Of = 100
              Numbers = []
              Note = note }

    now <- now + 0.5
    finish ()
    text.ToString()

let private progress =
    [ test "in a pipe every stage has a line when it begins and one with its seconds when it ends, and rounds theirs" {
          let lines =
              written
                  false
                  [ "training, round 1", 0.1, "det F 3", 0.0
                    "training, round 1", 0.5, "det F 4", 2.0
                    "training, round 1", 0.8, "det F 5", 9.0
                    "measuring F", 0.0, "", 1.0
                    "round 1", 1.0, "trained at A = 1", 2.0
                    "ABC sampling", 0.0, "", 0.0 ]

          Expect.equal
              (lines.Split('\n', StringSplitOptions.RemoveEmptyEntries)
               |> Array.map (fun line -> Regex.Replace(line, @" +\[.*", " [bar]")))
              [| "training, round 1 …"
                 "training, round 1 [bar]"
                 "training, round 1: done in 12.0 s, det F 5"
                 "measuring F …"
                 "measuring F: done in 2.0 s"
                 "round 1: trained at A = 1"
                 "ABC sampling …"
                 "ABC sampling: done in 0.5 s" |]
              "lines"
      }

      test "on a terminal each stage is a bar in its own line, and what a round came to stays" {
          let text =
              written
                  true
                  [ "training", 0.5, "", 0.0
                    "round 1", 1.0, "trained at A = 1", 1.0
                    "ABC", 0.5, "", 1.0 ]

          let lines = text.Split '\n'
          Expect.equal lines.Length 4 "two bars, a round and the end"
          Expect.stringContains lines[0] "training" "bar"
          Expect.equal lines[1] "round 1: trained at A = 1" "round"
          Expect.stringContains lines[2] "ABC" "bar"
      }

      tensorTest
          "rounds are told of when they end, each with where it was trained and where it places the field"
          (fun () ->
              let told = ResizeArray<ProgressReport>()

              let progress =
                  { Progress.silent with
                      Report = told.Add }

              let field = (Simulator.field white [| 1.6; 0.4 |] 3UL).unsqueeze 0L

              let rounds =
                  Infer.refit (Model.create white prior) (recipe |> Recipe.withProgress progress) field

              let ends = told |> Seq.filter (fun r -> r.Stage.StartsWith "round") |> List.ofSeq
              Expect.equal (ends |> List.map _.Stage) [ for i in 1 .. rounds.Length -> $"round {i}" ] "one a round"

              for round, report in List.zip rounds ends do
                  Expect.stringContains report.Note $"{round.Moved:F2} standard errors away" "how far"

              let second = told.FindIndex(fun r -> r.Stage.EndsWith "round 2")
              Expect.isLessThan (told.FindIndex(fun r -> r.Stage = "round 1")) second "before the next begins") ]

let private console =
    test "numbers are printed to three digits of their error, whatever their size" {
        for value, error, expected in
            [ 0.81234, 0.02159, "0.8123 ± 0.0216"
              12345.6, 212.0, "12346 ± 212"
              1.00001234, 0.0000567, "1.0000123 ± 5.67E-05"
              1.23456e-9, 2.159e-11, "1.2346E-09 ± 2.16E-11"
              -0.5, 0.0, "-0.50 ± 0.00" ] do
            Expect.equal (Report.measured value error) expected $"{value} ± {error}"
    }

let tests =
    testSequenced
    <| testList "outputs" ([ summaries; failures; console ] @ progress)
