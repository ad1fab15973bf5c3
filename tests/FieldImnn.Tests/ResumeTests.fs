/// Work that was stopped or killed goes on from its checkpoint to the same bits, and nothing else passes for it.
module ResumeTests

open System
open System.Diagnostics
open System.IO
open System.Reflection
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Runtime
open TestSupport
open TorchSharp

/// The argument that makes the test program do the work of a name in a folder, instead of running tests.
let argument = "--work"

/// What the test program does with the argument; the exit code.
let perform name folder =
    CommandLine.guarded (fun () -> Work.perform name folder)

let private start name folder =
    ProcessStartInfo("dotnet", [ Assembly.GetExecutingAssembly().Location; argument; name; folder ])

let private killable name : Kills.Killable =
    { Name = name
      Start = start name
      Digest = Work.digestFile >> File.ReadAllText }

let private problem = lazy (PowerLaw.create 16 ModeConvention.Ideal)

/// 30 steps and two measurements of three parts.
let private settings =
    { ImnnSettings.Default with
        Features = Features.filterBank 2 3 2
        Simulations = 40
        DerivativeSimulations = 40
        MinIterations = 30
        MaxIterations = 30
        EvaluateEvery = 4
        HeldOut = 100
        Fit = 2500
        Quote = 2500 }

/// Saves whenever it may.
let private always folder =
    { Checkpoint.inFolder folder with
        Every = 1e-6 }

let private kept folder (settings: ImnnSettings) =
    { settings with
        Checkpoint = Some(always folder) }

/// The settings with somebody who counts reports and stops the work at one of them, and the notes of its checkpoints.
let private watched stopAt (settings: ImnnSettings) =
    let source = new CancellationTokenSource()
    let reports, notes = ResizeArray<string>(), ResizeArray<string>()

    let report (r: ProgressReport) =
        if r.Stage = "checkpoint" then
            notes.Add r.Note
        elif not (r.Stage.StartsWith("trying", StringComparison.Ordinal)) then
            reports.Add r.Stage

        if reports.Count = stopAt then
            source.Cancel()

    { settings with
        Progress =
            { Report = report
              Cancellation = source.Token } },
    reports,
    notes

let private trained (settings: ImnnSettings) =
    use _ = torch.NewDisposeScope()

    let compressor = Imnn.train settings problem.Value.Simulator problem.Value.Fiducial

    let digest = Work.digest (Work.ofCompressor compressor)
    compressor.Network.Dispose()
    digest

let private whole = lazy (trained settings)

/// The one file of a folder whose name begins so.
let private file folder prefix =
    Directory.GetFiles(folder, $"{prefix}*") |> Array.exactlyOne

let private stop at folder settings =
    let stopped, reports, _ = watched at (kept folder settings)

    Expect.throwsT<OperationCanceledException> (fun () -> trained stopped |> ignore) $"stopped at report {at}"
    reports

/// Changes an array of a file, all else as it was.
let private change path name (f: float[] -> float[]) =
    let stored = Npz.read path
    let array = stored.Arrays[name]

    Npz.write
        path
        { stored with
            Arrays = stored.Arrays.Add(name, { array with Data = f array.Data }) }

let private trainings =
    [ testCase "a training that is stopped again and again, in any of its parts, ends as one that is not" (fun () ->
          inFolder (fun folder ->
              // of the 30 steps three, nine, to the last; then in the measurements
              for at in [ 3; 9; 18; 2; 3 ] do
                  stop at folder settings |> ignore

              let last, reports, notes = watched Int32.MaxValue (kept folder settings)
              Expect.equal (trained last) whole.Value "bits"
              Expect.isEmpty notes "nothing to say"
              Expect.isFalse (reports.Contains "training") "no step was taken twice"
              Expect.isLessThan reports.Count 3 $"what was left: {reports}"

              // all there: nothing is measured again
              let again, reports, _ = watched Int32.MaxValue (kept folder settings)
              Expect.equal (trained again) whole.Value "bits"
              Expect.isEmpty reports "nothing was left"))

      testCase "moments, averages or a best that are not what they were make another training" (fun () ->
          // of the best, when no other can come
          for array, at in [ "second moments/", 13; "averaged/", 13; "steps of Adam", 13; "best/", 30 ] do
              inFolder (fun folder ->
                  stop at folder settings |> ignore
                  let path = file folder "training-"

                  let name =
                      (Npz.names path) |> List.find _.StartsWith(array, StringComparison.Ordinal)

                  change path name (Array.map (fun v -> v * 1.5 + 1.0))

                  Expect.notEqual (trained (kept folder settings)) whole.Value $"planted: {name}"))

      testCase "a checkpoint of another seed, settings, simulator or start is left alone, with a word" (fun () ->
          inFolder (fun folder ->
              // elsewhere first: what this process has left there itself needs no word
              let elsewhere = Path.Combine(folder, "elsewhere")
              stop 5 elsewhere settings |> ignore
              let path = Path.Combine(folder, Path.GetFileName(file elsewhere "training-"))
              File.Move(file elsewhere "training-", path)
              let before = File.ReadAllBytes path

              for word, other in
                  [ "its seed is 1, and here 2", { settings with Seed = 2UL }
                    "its learning rate is 0.005, and here 0.004", { settings with LearningRate = 4e-3 } ] do
                  let other, _, notes = watched 3 (kept folder other)
                  Expect.throwsT<OperationCanceledException> (fun () -> trained other |> ignore) "stopped"
                  Expect.exists notes (fun n -> n.Contains word && n.Contains path) $"{word}: {List.ofSeq notes}"
                  File.Delete(Directory.GetFiles(folder, "training-*") |> Array.find ((<>) path))

              let noisy = problem.Value.Simulator |> Observation.noisy (White 0.1)
              let other, _, notes = watched 3 (kept folder settings)

              Expect.throwsT<OperationCanceledException>
                  (fun () -> Imnn.train other noisy problem.Value.Fiducial |> ignore)
                  "stopped"

              Expect.exists notes _.Contains("simulator's fingerprint") $"{List.ofSeq notes}"
              Expect.equal (File.ReadAllBytes path) before "it stays as it is"))

      testCase "a damaged checkpoint, or one of another version, is named, and costs what it held" (fun () ->
          let damaged what harm =
              inFolder (fun folder ->
                  stop 13 folder settings |> ignore
                  let path = file folder "training-"
                  harm path
                  let again, reports, notes = watched Int32.MaxValue (kept folder settings)
                  Expect.equal (trained again) whole.Value $"{what}: bits"
                  Expect.equal (reports |> Seq.filter ((=) "training") |> Seq.length) 30 $"{what}: all steps"
                  Expect.equal notes.Count 1 $"{what}: {List.ofSeq notes}"
                  Expect.stringContains notes[0] "damaged" what
                  Expect.stringContains notes[0] path what)

          damaged "torn" (fun path -> File.WriteAllBytes(path, (File.ReadAllBytes path)[..400]))
          damaged "no zip" (fun path -> File.WriteAllText(path, "no"))

          damaged "another version" (fun path ->
              let stored = Npz.read path
              let text = stored.Texts["checkpoint.txt"].Replace("format: 1", "format: 2")

              Npz.write
                  path
                  { stored with
                      Texts = stored.Texts.Add("checkpoint.txt", text) })

          damaged "no array" (fun path ->
              let stored = Npz.read path

              Npz.write
                  path
                  { stored with
                      Arrays = stored.Arrays.Remove "history" }))

      testCase "rounds of training that are stopped in the second go on there, from a recipe with a place" (fun () ->
          inFolder (fun folder ->
              use field = Simulator.field problem.Value.Simulator problem.Value.Example 7UL

              let refit settings =
                  use _ = torch.NewDisposeScope()

                  let recipe =
                      { Recipe.ofSettings settings with
                          Fiducial = Some [| 0.3; 1.0 |]
                          Rounds = 2 }

                  Infer.refit problem.Value.Model recipe (field.unsqueeze 0L)
                  |> List.collect (fun round -> Work.ofCompressor round.Compressor)
                  |> Work.digest

              let placed settings =
                  (Recipe.ofSettings settings |> Recipe.withCheckpoint (always folder)).Training [||]

              // 30 steps, six parts that are measured and the round's end, then half as many steps
              let stopped, reports, _ = watched 44 (placed settings)
              Expect.throwsT<OperationCanceledException> (fun () -> refit stopped |> ignore) "stopped"
              Expect.equal (Seq.last reports) "training, round 2" "in the second round"
              let again, reports, _ = watched Int32.MaxValue (placed settings)
              Expect.equal (refit again) (refit settings) "bits"
              Expect.isFalse (reports.Contains "training, round 1") "no step of the first round"
              let left = reports |> Seq.filter ((=) "training, round 2") |> Seq.length
              Expect.isTrue (left > 0 && left < 15) $"{left} steps of the second"))

      testCase "a training goes on where nothing can be saved any more, and says so" (fun () ->
          inFolder (fun folder ->
              let place = Path.Combine(folder, "place")
              let watched, _, notes = watched Int32.MaxValue (kept place settings)

              let full (report: ProgressReport) =
                  watched.Progress.Report report

                  // a file where the folder was: it can be neither written to nor made
                  if report.Stage = "training" && Directory.Exists place then
                      Directory.Delete(place, recursive = true)
                      File.WriteAllText(place, "")

              let settings =
                  { watched with
                      Progress = { watched.Progress with Report = full } }

              Expect.equal (trained settings) whole.Value "bits"
              Expect.all notes _.StartsWith("not saved: ", StringComparison.Ordinal) $"{List.ofSeq notes}"
              Expect.isGreaterThan notes.Count 30 "after every step"

              // it is refused before anything is simulated
              refuses<StoreException> [ place ] (fun () -> trained (kept place settings) |> ignore)))

      testCase
          "the cache of compressors keeps the checkpoint beside, and takes it away with the last of the work"
          (fun () ->
              inFolder (fun folder ->
                  let cached (settings: ImnnSettings) =
                      use _ = torch.NewDisposeScope()

                      Cache.trainOrLoad folder [] settings problem.Value.Simulator None problem.Value.Fiducial
                      |> Work.ofCompressor
                      |> Work.digest

                  let stopped, _, _ = watched 7 settings
                  Expect.throwsT<OperationCanceledException> (fun () -> cached stopped |> ignore) "stopped"
                  let kept = Directory.GetDirectories(folder) |> Array.exactlyOne
                  Expect.stringEnds kept ".checkpoint" "beside"
                  let again, reports, _ = watched Int32.MaxValue settings
                  Expect.equal (cached again) whole.Value "bits"
                  Expect.equal (reports |> Seq.filter ((=) "training") |> Seq.length) 23 "steps that were left"
                  Expect.isEmpty (Directory.GetDirectories folder) "it is gone"
                  Expect.equal (cached settings) whole.Value "read")) ]

let private networks =
    [ testCase "networks that are stopped between epochs learn what they would have" (fun () ->
          let rows = Prior.sample 1 0L 400 KnownPosterior.narrow.Prior
          let x = rows |> Array.map (fun t -> [| t[0] + 0.1 * sin (40.0 * t[1]); t[1] |])

          let learn stopAt folder =
              use source = new CancellationTokenSource()
              let mutable epochs = 0

              let progress =
                  { Report =
                      fun _ ->
                          epochs <- epochs + 1

                          if epochs = stopAt then
                              source.Cancel()
                    Cancellation = source.Token }

              let estimator = KnownPosterior.delfi.Estimator

              use density =
                  DensityEstimator.fit
                      { estimator with
                          Training =
                              { estimator.Training with
                                  MaxEpochs = 30
                                  Patience = 3
                                  Progress = progress
                                  Checkpoint = folder |> Option.map always } }
                      x
                      rows

              let history = density.History |> Array.map (fun r -> r.Epoch, r.Training, r.HeldOut)
              Tensors.toArray density.Density.Weights.Values, Array.map (fun (_, _, h) -> h) history, epochs

          let weights, history, epochs = learn Int32.MaxValue None

          inFolder (fun folder ->
              for at in [ 1; 4; 6 ] do
                  Expect.throwsT<OperationCanceledException> (fun () -> learn at (Some folder) |> ignore) "stopped"

              let again, told, left = learn Int32.MaxValue (Some folder)
              Expect.equal again weights "weights"
              Expect.equal $"%A{told}" $"%A{history}" "losses"
              Expect.equal left (epochs - 11) "epochs that were left"
              let again, _, left = learn Int32.MaxValue (Some folder)
              Expect.equal (again, left) (weights, 0) "from its file"
              change (file folder "networks-") "best/weights" (Array.map ((*) 1.001))
              let other, _, _ = learn Int32.MaxValue (Some folder)
              Expect.notEqual other weights "planted: other weights in the file")) ]

let private processes =
    [ testCase "trainings and simulations that are killed go on to the same bits" (fun () ->
          inFolder (fun folder ->
              for name in [ "training"; "pmc" ] do
                  let outcome = Kills.run ignore (killable name) folder 3 2
                  Expect.isGreaterThan outcome.Kills 0 $"{name}: kills"
                  Expect.equal outcome.Different 0 $"{name}: runs that ended with other bits"

              let other: Kills.Killable =
                  { Name = "other"
                    Start = fun _ -> ProcessStartInfo("sleep", [ "1" ])
                    Digest = id }

              Expect.isGreaterThan
                  (Kills.run ignore other folder 3 1).Different
                  0
                  "planted: a digest of the folder's name"))

      testCase "SIGTERM saves what there is and ends with code 75, and the same command goes on" (fun () ->
          if not (OperatingSystem.IsLinux()) then
              skiptest "signals are sent as Linux has them"

          inFolder (fun folder ->
              let run () = Process.Start(start "training" folder)
              use child = run ()
              let clock = Stopwatch.StartNew()

              while Directory.GetFiles(folder, "training-*").Length = 0
                    && clock.Elapsed.TotalSeconds < 120.0
                    && not child.HasExited do
                  Thread.Sleep 50

              signal "TERM" child.Id
              Expect.isTrue (child.WaitForExit 60000) "it ends"
              Expect.equal child.ExitCode 75 "exit code"
              Expect.isFalse (File.Exists(Work.digestFile folder)) "before its end"
              use again = run ()
              again.WaitForExit()
              Expect.equal again.ExitCode 0 "goes on to its end")) ]

/// What pieces of work give that run at the same time, each on a thread of its own.
let private together (work: (unit -> 'result) list) =
    let results = Array.create work.Length None

    let threads =
        work
        |> List.mapi (fun i one -> Thread((fun () -> results[i] <- Some(one ())), 16 * 1024 * 1024))

    threads |> List.iter _.Start()
    threads |> List.iter _.Join()
    results |> Array.map Option.get |> List.ofArray

let private sideBySide =
    [ testCase "two trainings in one process disturb neither each other's numbers nor the threads" (fun () ->
          let work =
              [ for seed in [ 1UL; 2UL ] -> fun () -> trained { settings with Seed = seed } ]

          let before = TorchRuntime.Threads
          let alone = work |> List.map (fun one -> one ())
          Expect.equal (together work) alone "bits"
          Expect.equal TorchRuntime.Threads before "threads"

          // planted: work that draws from the one generator of the process
          let careless seed () =
              torch.random.manual_seed seed |> ignore

              [ for _ in 1..20 do
                    Thread.Sleep 1
                    use drawn = torch.rand (1L)
                    drawn.ToSingle() ]

          let work = [ careless 1L; careless 2L ]
          Expect.notEqual (together work) (work |> List.map (fun one -> one ())) "planted")

      testCase "inferences side by side, on one thread each, give the threads back" (fun () ->
          let infer seed () =
              let settings =
                  { KnownPosterior.delfi with
                      Rounds = [ 100 ]
                      Seed = seed }

              let found =
                  Delfi.run
                      settings
                      KnownPosterior.narrow.Simulator
                      Tensors.toRows
                      KnownPosterior.narrow.Prior
                      [| [| KnownPosterior.observed |] |]

              (found.Likelihood :> IDisposable).Dispose()
              found.Posteriors[0].Weights

          onThreads 2 (fun () ->
              let work = [ infer 1UL; infer 2UL ]
              let alone = work |> List.map (fun one -> one ())
              Expect.equal (together work) alone "bits"
              Expect.equal TorchRuntime.Threads 2 "threads")) ]

let tests =
    testSequenced
    <| testList "resuming" (trainings @ networks @ processes @ sideBySide)
