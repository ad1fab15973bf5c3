/// What is written appears whole or not at all, and says why not; what is larger than 2 GB is made and written in pieces.
module WritingTests

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Plots
open TestSupport
open TorchSharp

/// The argument, followed by a path, that makes the test program write a figure there instead of running tests.
let argument = "--figure"

let private figure =
    lazy (Plot.field "a field" (FieldValues.image (Array2D.init 4 4 (fun i j -> float (i + j)))))

/// What the test program does with the argument.
let writeFigure (path: string) =
    try
        Export.html path figure.Value
        0
    with :? StoreException as error ->
        Console.Error.WriteLine error.Message
        3

let private posterior names =
    Posterior.ofSamples names (Array.create 2 (-10.0, 10.0)) [| [| 0.5; 1.5 |]; [| -0.25; 2.0 |] |] [| 1.0; 1.0 |]

let private files =
    testList
        "files"
        [ testCase "a figure that finds no room is a StoreException, and the older one stays" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "figure.html")
                  File.WriteAllText(path, "older")
                  let program = Reflection.Assembly.GetExecutingAssembly().Location
                  // no file may grow beyond 1 MiB, of which a page needs four; the runtime's own double mapping would, too
                  let command =
                      $"trap '' XFSZ; ulimit -f 1024; exec dotnet '{program}' {argument} '{path}'"

                  let info = ProcessStartInfo("bash", [ "-c"; command ], RedirectStandardError = true)
                  info.Environment["DOTNET_EnableWriteXorExecute"] <- "0"
                  use child = Process.Start info
                  let errors = child.StandardError.ReadToEnd()
                  child.WaitForExit()
                  Expect.equal child.ExitCode 3 errors
                  Expect.stringContains errors $"{path}: expected a file that can be written" "message"
                  Expect.equal (File.ReadAllText path) "older" "the older figure"
                  Expect.hasLength (Directory.GetFiles folder) 1 "no draft is left"))

          testCase "a folder that a run holds is no other's, until the run has ended" (fun () ->
              inFolder (fun folder ->
                  let out = Path.Combine(folder, "out")

                  let command =
                      CommandLine.command (Catalogue.problem "power-law" ModeConvention.Ideal).Model Recipe.Default

                  let infer method =
                      listening (fun () ->
                          CommandLine.guarded (fun () ->
                              CommandLine.runCommand
                                  command
                                  [| "--theta"; "1,1"; "--out"; out; "--method"; method |]))

                  let held = Files.hold out
                  let code, _, said = infer "abc"
                  Expect.equal code 2 said
                  Expect.stringContains said "no other run" "why not"

                  Expect.equal
                      (Directory.GetFiles out |> Array.map Path.GetFileName)
                      [| ".running" |]
                      "nothing is written"

                  held.Dispose()
                  let _, _, said = infer "magic"
                  Expect.stringContains said "magic" "planted: nobody holds it, so that the next fault is told"
                  Expect.isEmpty (Directory.GetFiles out) "nothing is left"))

          testCase "a stream that fails half way leaves the older file and no draft" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "numbers.npy")
                  Npy.write path (Npy.double [| 1 |] [| 1.5 |])
                  let older = File.ReadAllBytes path

                  refuses<StoreException> [ "numbers.npy"; "No space left" ] (fun () ->
                      Files.writeAtomically path (fun stream ->
                          stream.WriteByte 1uy
                          raise (IOException "No space left on device.")))

                  Expect.equal (File.ReadAllBytes path) older "the older file"
                  Expect.hasLength (Directory.GetFiles folder) 1 "no draft is left"))

          testCase "a figure goes where a figure was, whole, and its folder is made" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "deep", "figure.html")
                  Export.html path figure.Value
                  let text = File.ReadAllText path
                  Export.html path figure.Value
                  Expect.equal (File.ReadAllText(path).Length) text.Length "again"
                  Expect.isTrue (text.TrimEnd().EndsWith "</html>") "to its end"
                  Expect.equal (File.ReadAllBytes(path)[..2]) [| 0xEFuy; 0xBBuy; 0xBFuy |] "byte order mark"
                  Expect.hasLength (Directory.GetFiles(Path.GetDirectoryName path)) 1 "no draft is left"

                  refuses<StoreException> [ "a file"; "a folder" ] (fun () -> Export.html folder figure.Value)))

          testCase "names with commas, quotes and newlines are quoted in CSV (RFC 4180)" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "posterior.csv")
                  PosteriorFile.write path (posterior [| "a, \"b\""; "c\nd" |])
                  let header = "\"a, \"\"b\"\"\",\"c\nd\",weight"
                  Expect.stringStarts (File.ReadAllText path) (header + Environment.NewLine) "header"
                  PosteriorFile.write path (posterior [| "Ω_c"; "σ_8" |])
                  Expect.equal (File.ReadLines path |> Seq.head) "Ω_c,σ_8,weight" "plain names stay plain"))

          testCase "NaN in JSON is a NonFiniteException with its field, and the older file stays" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "summary.json")
                  Report.writeJson path (Report.fields [ "area", Report.value 0.5 ])
                  let older = File.ReadAllText path

                  for wrong, what in [ nan, "NaN"; infinity, "Infinity"; -infinity, "-Infinity" ] do
                      let json =
                          Report.fields
                              [ "area", Report.value 0.5
                                "exact", Report.fields [ "mean", Report.numbers [ 1.0; wrong ] ] ]

                      refuses<NonFiniteException> [ "summary.json"; "exact.mean[1]"; what ] (fun () ->
                          Report.writeJson path json)

                  refuses<NonFiniteException> [ "sd"; "NaN" ] (fun () ->
                      Report.writeJson path (Report.fields [ "sd", Report.value nanf ]))

                  Expect.equal (File.ReadAllText path) older "the older file"
                  Report.writeJson path (Report.fields [ "none", (null: JsonNode); "text", Report.value "NaN" ])))

          testCase "an array goes to a stream in pieces, and comes back" (fun () ->
              let data = Array.init 200001 (fun i -> float (float32 (sin (float i))))
              let array = Npy.double [| 3; 66667 |] data

              for array in [ array; { array with SinglePrecision = true } ] do
                  use memory = new MemoryStream()
                  Npy.writeTo memory array
                  let back = Npy.ofBytes "a" (memory.ToArray())
                  Expect.equal back array "array") ]

let private same (a: Tensor, b: Tensor) = a.ne(b).any().ToBoolean() |> not

/// A stretch of numbers beyond 2 GiB, by another way to the same counter: the row that holds them alone.
let private large =
    testList
        "large"
        [ tensorTest "noise beyond 2 GiB is that of each key, to its last number" (fun () ->
              if GC.GetGCMemoryInfo().TotalAvailableMemoryBytes < (12L <<< 30) then
                  skiptest "less than 12 GiB of memory"

              // 1,050 rows of 2¹⁹ + 3 numbers: 2.05 GiB
              let side, rows = (1L <<< 19) + 3L, 1050
              let keys = NoiseKey.Range(1UL, 0UL, rows)
              use all = Noise.Uniform(keys, [| side |])

              for row in [ 0; 1023; 1024; rows - 1 ] do
                  let alone = Noise.Uniform([| keys[row] |], [| side |])
                  Expect.isTrue (same (all[int64 row], alone[0L])) $"row {row}")

          tensorTest "a row longer than a piece of work is the same stream of numbers" (fun () ->
              let key = [| NoiseKey(7UL, 3UL) |]
              let piece = 1L <<< 24
              let long = Noise.Normal(key, [| piece + 45L |])
              // the counter counts blocks of four numbers: a draw is its own beginning, whatever follows
              Expect.isTrue (same (long.narrow (1L, 0L, 1001L), Noise.Normal(key, [| 1001L |]))) "beginning"
              let across = long.narrow (1L, piece - 64L, 109L) |> Tensors.toArray
              Expect.hasLength (Array.distinct across) 109 "no number comes twice across the seam"
              let longer = Noise.Normal(key, [| piece + 77L |])
              Expect.isTrue (same (long.narrow (1L, piece, 45L), longer.narrow (1L, piece, 45L))) "the end")

          testCase "what no array or counter can hold is refused with its size, before anything is made" (fun () ->
              refuses<ShapeException> [ "noise"; "17179869184" ] (fun () ->
                  Noise.Normal([| NoiseKey(1UL, 0UL) |], [| 1L <<< 17; 1L <<< 17 |]) |> ignore)

              use one = torch.zeros (1L)

              refuses<ShapeException> [ "tensor to array"; "4294967296"; "(65536, 65536)" ] (fun () ->
                  Tensors.toArray (one.expand (65536L, 65536L)) |> ignore)) ]

/// Parameters of log-normal fields that are no numbers above zero: +∞ passes a comparison with the least.
let private parameters =
    testList
        "parameters of the correlated log-normal field"
        [ for value, shown in [ infinity, "Infinity"; nan, "NaN"; 0.0, "0"; -0.5, "-0.5" ] do
              let refused name theta =
                  tensorTest $"{name} = {value}" (fun () ->
                      let field = CorrelatedLogNormalField 4
                      let noise = field.DrawNoise [| NoiseKey(1UL, 0UL); NoiseKey(1UL, 1UL) |]
                      let words = [ name; "a finite number > 0"; shown ]
                      refuses<RangeException> words (fun () -> field.Simulate(Tensors.ofRows theta, noise) |> ignore)

                      refuses<RangeException> words (fun () ->
                          field.SimulateWithDerivatives(Tensors.ofVector theta[1], noise) |> ignore))

              refused "α" [| [| 1.0; 0.5 |]; [| value; 0.5 |] |]
              refused "β" [| [| 1.0; 0.5 |]; [| 1.0; value |] |] ]

let tests = testList "writing" [ files; large; parameters ]
