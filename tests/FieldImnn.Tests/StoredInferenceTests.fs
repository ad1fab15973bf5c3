/// From a set made elsewhere to a posterior. Truths: the exact posteriors of power-law fields; which simulations were made to fail.
module StoredInferenceTests

open System
open System.IO
open System.Text.Json
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TestSupport
open TorchSharp

let private side = 16

let private problem = lazy (PowerLaw.create side ModeConvention.Ideal)

/// Pairs of the prior: θ and fields.
let private pairs =
    lazy
        (let theta = Prior.sample 5 0L 3000 problem.Value.Prior

         let fields =
             Tensors.chunks 500 theta.Length
             |> Array.map (fun struct (start, length) ->
                 Simulator.fields
                     problem.Value.Simulator
                     (Tensors.ofRows theta[start .. start + length - 1])
                     (NoiseKey.Range(9UL, uint64 start, length)))

         theta, torch.cat (fields, 0L) |> Tensors.keep)

let private single (t: Tensor) =
    Npy.single (t.shape |> Array.map int) (Tensors.toArray t |> Array.map float32)

let private writePairs folder (theta: float[][]) (fields: Tensor) =
    Npy.write (Path.Combine(folder, "theta.npy")) (Npy.double [| theta.Length; 2 |] (Array.concat theta))
    Npy.write (Path.Combine(folder, "fields.npy")) (single fields)

let private prior = "A 0.1 1.25, B 0.1 1.25"

let private truth = [| 0.8; 0.5 |]

let private observed =
    lazy (Simulator.field problem.Value.Simulator truth 21UL |> Tensors.keep)

/// Runs the command in a folder with the set in it: exit code, what it printed, its errors.
let private infer folder (arguments: string list) =
    let field = Path.Combine(folder, "observed.npy")

    if not (File.Exists field) then
        Npy.write field (single observed.Value)

    listening (fun () ->
        CommandLine.guarded (fun () ->
            StoredInference.runCommand
                "infer"
                (Array.ofList (
                    [ "--field"
                      field
                      "--out"
                      Path.Combine(folder, "out")
                      "--simulations"
                      folder ]
                    @ (if List.contains "--prior" arguments then
                           []
                       else
                           [ "--prior"; prior ])
                    @ arguments
                ))))

let private summary folder =
    JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "out", "summary.json"))).RootElement

let private exact =
    lazy (ExactAnswer.posterior problem.Value.Exact problem.Value.Prior observed.Value)

/// The posterior in the folder against the exact one: the shift of its means in sds, its area over the exact one.
let private against folder =
    let found = PosteriorFile.read (Path.Combine(folder, "out", "posterior.csv"))
    Posterior.shift exact.Value found, Posterior.area found / Posterior.area exact.Value

let private right =
    [ tensorTest "pairs alone: the compressor is a regression, and the posterior is near the exact one" (fun () ->
          inFolder (fun folder ->
              let theta, fields = pairs.Value
              writePairs folder theta fields
              let code, printed, errors = infer folder [ "--method"; "abc"; "--formats"; "npz" ]
              Expect.equal code 0 errors
              Expect.stringContains printed "regression of the parameters on the features of 1500" "it says so"
              let json = summary folder
              Expect.equal (json.GetProperty("training").GetString()) "regression" "and in the file"
              Expect.equal (json.GetProperty("warnings").GetArrayLength()) 0 printed
              let shift, area = against folder
              Expect.isLessThan shift 1.0 "means"
              Expect.isTrue (area > 0.8 && area < 2.0) $"area over exact {area:F2}"

              let compressor =
                  CompressorFile.load (Path.Combine(folder, "out", "compressor.imnn"))

              let told =
                  [| for v in json.GetProperty("estimate").EnumerateArray() -> v.GetDouble() |]

              close 1e-6 (Compressor.estimate compressor observed.Value) told "the compressor that was kept"))

      tensorTest
          "± simulations alone: an IMNN, and the Gaussian approximation; pairs in HDF5 with the axes turned round"
          (fun () ->
              inFolder (fun folder ->
                  let simulator, fiducial = problem.Value.Simulator, truth
                  let theta = Tensors.ofVector fiducial
                  let keys = NoiseKey.Range(4UL, 0UL, 3000)
                  let noise = simulator.DrawNoise keys

                  let fields = Simulator.fields simulator theta keys

                  let last (t: Tensor) =
                      (t.movedim ([| 0L |], [| -1L |])).contiguous()

                  Hdf5.write
                      (Path.Combine(folder, "set.h5"))
                      [ "fiducial", Npy.double [| 2 |] fiducial
                        "fiducial_fields", single (last fields)
                        "step", Npy.double [| 2 |] [| 0.02; 0.02 |]
                        for k, name in [ 0, "A"; 1, "B" ] do
                            let struct (above, below) = Simulator.bothSides simulator theta noise k 0.02
                            $"plus_{name}", single (last above)
                            $"minus_{name}", single (last below) ]
                      []

                  let arguments = [ "--simulations"; Path.Combine(folder, "set.h5"); "--axes"; "xyn" ]

                  let field = Path.Combine(folder, "observed.npy")
                  Npy.write field (single observed.Value)
                  let out = Path.Combine(folder, "out")

                  let run further =
                      let code, _, errors =
                          listening (fun () ->
                              CommandLine.guarded (fun () ->
                                  StoredInference.runCommand
                                      "infer"
                                      (Array.ofList (
                                          arguments @ [ "--field"; field; "--out"; out; "--prior"; prior ] @ further
                                      ))))

                      code, errors

                  let code, errors = run []
                  Expect.equal code 0 errors
                  let json = summary folder
                  Expect.equal (json.GetProperty("training").GetString()) "IMNN" "derivatives"
                  Expect.equal (json.GetProperty("method").GetString()) "gaussian" "the only method without pairs"
                  let shift, area = against folder
                  Expect.isLessThan shift 1.0 "means"
                  Expect.isTrue (area > 0.7 && area < 1.6) $"area over exact {area:F2}"

                  for method in [ "npe"; "abc"; "delfi" ] do
                      let code, errors = run [ "--method"; method ]
                      Expect.equal code 2 "refused"
                      Expect.stringContains errors "pairs of parameters and fields" method))

      tensorTest "neural posterior and likelihood of the pairs hold the exact means" (fun () ->
          let theta, fields = pairs.Value

          let pairs =
              { Theta = theta[..499]
                Fields = Slices.ofTensor (fields.narrow (0L, 0L, 500L))
                Failures = StopAtFailure
                Progress = Progress.silent }

          let model = Model.create problem.Value.Simulator problem.Value.Prior

          let compressor =
              Regression.train
                  ImnnSettings.Default
                  problem.Value.Simulator
                  theta[500..2999]
                  (Slices.ofTensor (fields.narrow (0L, 500L, 2500L)))

          let quick =
              { EstimatorSettings.Default with
                  Members = 1
                  Training =
                      { EstimatorSettings.Default.Training with
                          MaxEpochs = 40 } }

          for name, method in
              [ "npe",
                Pairs.npe
                    { NpeSettings.Default with
                        Estimator = quick }
                    pairs
                "delfi",
                Pairs.delfi
                    { DelfiSettings.Default with
                        Estimator = quick }
                    pairs ] do
              let found = Infer.by name method model compressor observed.Value
              Expect.isLessThan (Posterior.shift exact.Value found.Posterior) 1.0 name
              Expect.equal found.Simulations 3000 "the pairs of the compressor and of the inference") ]

let private wrong =
    [ tensorTest "pairs fill a prior by its probability, not by its length" (fun () ->
          let n = 400

          let pairsOf (theta: float[][]) =
              { Theta = theta
                Fields = Slices.ofTensor (torch.zeros (int64 theta.Length, 2L))
                Failures = StopAtFailure
                Progress = Progress.silent }

          let narrow = Prior.create [ "a", TruncatedNormal(0.3, 0.05, 0.0, 1.0) ]
          let draws = Prior.sample 1 0L n narrow
          Expect.equal (Pairs.within narrow (pairsOf draws)).Theta.Length n "draws of the prior itself"

          refuses<SettingException> [ "prior of a"; "fill" ] (fun () ->
              Pairs.within narrow (pairsOf (draws |> Array.filter (fun d -> d[0] > 0.3)))
              |> ignore)

          let within = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]

          let corner =
              Prior.dependent
                  [ "a", Uniform(0.0, 1.0); "b", Uniform(0.0, 1.0) ]
                  (fun t -> if t[0] + t[1] < 0.8 then 0.0 else -infinity)
                  (fun seed i ->
                      Prior.sample seed (i * 100L) 100 within
                      |> Array.find (fun t -> t[0] + t[1] < 0.8))

          let draws = Prior.sample 1 0L n corner
          Expect.equal (Pairs.within corner (pairsOf draws)).Theta.Length n "draws of a dependent prior")

      tensorTest "what cannot be done says so: methods, priors, shapes, θ of other fields" (fun () ->
          inFolder (fun folder ->
              let theta, fields = pairs.Value
              let few = fields.narrow (0L, 0L, 600L)
              writePairs folder theta[..599] few

              let refused (arguments: string list) (words: string list) =
                  let code, _, errors = infer folder arguments
                  Expect.equal code 2 errors

                  for word in words do
                      Expect.stringContains errors word "message"

              refused [ "--method"; "pmc" ] [ "new simulations"; "npe, delfi, abc" ]
              refused [ "--method"; "gaussian" ] [ "derivatives at a fiducial point" ]
              refused [ "--method"; "magic" ] [ "npe, delfi, abc, gaussian"; "magic" ]
              refused [ "--prior"; "A 0.1 1.25, B 0.1 3.0" ] [ "prior of B"; "0.1 to 3" ]
              refused [ "--prior"; "A 0.1 1.25" ] [ "1 in a row, A"; "2" ]
              refused [ "--prior"; "A 0.1, B 0.1 1.25" ] [ "--prior"; "received A 0.1" ]
              refused [ "--axes"; "nx" ] [ "axes"; "'nx'" ]
              let field = Path.Combine(folder, "observed.npy")
              Npy.write field (single (torch.randn (8L, 8L)))
              refused [] [ "(16, 16)"; "(8, 8)" ]
              Npy.write field (single observed.Value)
              // θ of other fields: planted
              writePairs folder (Array.rev theta[..599]) few
              refused [] [ "left unexplained"; "parameter 1 (A)" ]
              File.Delete(Path.Combine(folder, "theta.npy"))
              refused [] [ "an array 'theta'" ]

              File.WriteAllLines(
                  Path.Combine(folder, "theta.txt"),
                  [| for t in theta[..598] -> $"{t[0]:R} {t[1]:R}" |]
              )

              refused [] [ "599 and 600" ]))

      tensorTest "no pair serves both the regression and the inference, wherever the prior cuts" (fun () ->
          let inside = [| for i in 1..40 -> [| float i / 41.0 |] |]

          for outside in [ 0; 1; 2; 7; 20 ] do
              let theta = Array.insertAt outside [| 5.0 |] inside

              let learning, rest =
                  StoredInference.halves
                      (Prior.uniform [ "a", 0.0, 1.0 ])
                      { Theta = theta
                        Fields = Slices.ofTensor (torch.randn (41L, 4L))
                        Failures = StopAtFailure
                        Progress = Progress.silent }

              let places (pairs: Pairs) =
                  [ for i in 0 .. pairs.Fields.Count - 1 -> pairs.Fields.Place i ]

              Expect.isEmpty (Set.intersect (set (places learning)) (set (places rest))) $"in both, {outside} outside"

              Expect.equal
                  (List.sort (places learning @ places rest))
                  ([ 0..40 ] |> List.except [ outside ])
                  "all that are inside"

              for pairs in [ learning; rest ] do
                  Expect.equal
                      [ for i in places pairs -> theta[i] ]
                      (List.ofArray pairs.Theta)
                      "θ of the field's place")

      tensorTest "simulations that are NaN stop everything, or are left out and counted; θ as text" (fun () ->
          inFolder (fun folder ->
              let theta, fields = pairs.Value
              let holed = (fields.narrow (0L, 0L, 1000L)).clone()
              // of the half that the posterior is learned from, and of that of the regression
              for i in [ 11L; 501L; 999L; 40L; 600L ] do
                  holed[i, 3L, 3L] <- torch.tensor nan

              Npy.write (Path.Combine(folder, "fields.npy")) (single holed)

              File.WriteAllLines(
                  Path.Combine(folder, "theta.txt"),
                  [| yield "A B"; for t in theta[..999] -> $"{t[0]:R}\t{t[1]:R} # pair" |]
              )

              let code, _, errors = infer folder [ "--method"; "abc" ]
              Expect.equal code 2 errors
              Expect.stringContains errors "--skip-failures" "what to do"

              let code, printed, errors =
                  infer folder [ "--method"; "abc"; "--skip-failures"; "0.05" ]

              Expect.equal code 0 errors
              Expect.equal ((summary folder).GetProperty("failedSimulations").GetInt32()) 3 "counted"
              Expect.stringContains printed "3 simulations of the inference failed" "and said")) ]

let tests = testSequenced <| testList "sets made elsewhere" (right @ wrong)
