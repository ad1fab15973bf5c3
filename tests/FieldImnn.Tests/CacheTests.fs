/// Caches know a simulator by what it produces, and what was cancelled never passes for what was finished.
module CacheTests

open System
open System.IO
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open DoorTests
open TestSupport
open TorchSharp

let private problem = lazy (PowerLaw.create 16 ModeConvention.Ideal)

let private settings =
    { short with
        Features = Features.filterBank 2 3 2 }

let private fingerprint simulator =
    Fingerprint.ofSimulator simulator Autodiff problem.Value.Fiducial

let private cached folder simulator settings =
    Cache.trainOrLoad folder [ "problem", "mine" ] settings simulator None problem.Value.Fiducial
    |> ignore

let private files folder =
    if Directory.Exists folder then
        (Directory.GetFiles folder).Length
    else
        0

let private fingerprints =
    [ tensorTest
          "a simulator of another noise level, mask, slab depth, derivative or line of code has another fingerprint; the same, the same"
          (fun () ->
              let own = problem.Value.Simulator
              let mask = torch.ones (16L, 16L)
              let holed = mask.clone ()
              holed[3L, 4L] <- (0.0).ToTensor()
              let noisy level = own |> Observation.noisy (White level)

              let variants =
                  [ own
                    noisy 0.1
                    noisy 0.1000001
                    noisy 3.0
                    own |> Observation.masked mask |> Observation.noisy (White 0.1)
                    own |> Observation.masked holed
                    { own with
                        Tangents =
                            Some(fun t z ->
                                let struct (d, tangent) = own.Tangents.Value t z
                                struct (d, tangent * 1.001)) }
                    { own with
                        Field =
                            fun t z ->
                                own.Field t z
                                + (t.narrow (1L, 0L, 1L) - 1.005).clamp_min(0.0.ToScalar()).unsqueeze -1L } ]

              let prints = variants |> List.map fingerprint
              Expect.equal (List.distinct prints).Length variants.Length "all different"
              Expect.equal (variants |> List.map fingerprint) prints "made again"

              let deep depth =
                  let p = DarkMatter.create 16 ModeConvention.Ideal

                  let field =
                      LogNormalModel.create
                          (DarkMatter.spectrum (Slab depth))
                          (FourierGrid(2, 16, 31.25))
                          ModeConvention.Ideal

                  Fingerprint.ofSimulator (LogNormalModel.simulator "slab" field) Autodiff p.Fiducial

              Expect.notEqual (deep 50.0) (deep 60.0) "slab depth")

      tensorTest "a fingerprint does not depend on threads" (fun () ->
          let prints =
              [ for threads in [ 1; 2; 3 ] -> onThreads threads (fun () -> fingerprint problem.Value.Simulator) ]

          Expect.equal (List.distinct prints).Length 1 "one")

      tensorTest "compressors: another noise level, mask or stored set under the same name is trained anew" (fun () ->
          inFolder (fun folder ->
              let own = problem.Value.Simulator

              for expected, simulator in
                  [ 1, own |> Observation.noisy (White 0.1)
                    2, own |> Observation.noisy (White 3.0)
                    2, own |> Observation.noisy (White 0.1)
                    2, own |> Observation.noisy (White 3.0) ] do
                  cached folder simulator settings
                  Expect.equal (files folder) expected "files"

              let stored seed =
                  let theta = Tensors.ofVector problem.Value.Fiducial

                  let part first =
                      let struct (d, t) =
                          Simulator.withDerivatives own Autodiff theta (NoiseKey.Range(seed, first, 150))

                      StoredSimulations.ofTensors d t

                  { settings with
                      Derivatives = Precomputed(part 0UL, part 1000UL) }

              for expected, seed in [ 3, 1UL; 4, 2UL; 4, 1UL ] do
                  cached folder own (stored seed)
                  Expect.equal (files folder) expected "stored sets"))

      tensorTest "a compressor that starts from another's weights is known by these" (fun () ->
          inFolder (fun folder ->
              let own = problem.Value.Simulator

              let from seed =
                  Imnn.train { settings with Seed = seed } own problem.Value.Fiducial

              for expected, earlier in [ 1, from 1UL; 2, from 2UL; 2, from 1UL ] do
                  Cache.trainOrLoad folder [] settings own (Some earlier) problem.Value.Fiducial
                  |> ignore

                  Expect.equal (files folder) expected "files"))

      testCase "fields too large for a chunk of them are made and compressed a few at a time, to the same" (fun () ->
          inFolder (fun folder ->
              let most, all = ref 0L, ref 0L

              let simulator =
                  Simulator.create "large" [ "a" ] [ 700; 700 ] [ 700; 700 ] (fun t z -> t.unsqueeze -1L + 1e-6 * z)

              let compress (fields: Tensor) =
                  most.Value <- max most.Value fields.shape[0]
                  all.Value <- all.Value + fields.shape[0]
                  fields.flatten(1L).narrow(1L, 0L, 3L) |> Tensors.toRows

              let theta = Array.init 7 (fun i -> [| float i |])

              let run () =
                  Simulations.run
                      { SimulationSettings.Default with
                          Chunk = 7
                          Folder = Some folder }
                      simulator
                      compress
                      1UL
                      "test"
                      theta

              let made = run ()
              Expect.isLessThanOrEqual most.Value (max 2L (int64 TorchRuntime.Threads)) "fields at a time"

              for i in 0..6 do
                  let own = made.Summaries[i]
                  Expect.isLessThan (abs (own[0] - float i)) 1e-4 "its own θ"

              // what is read again is compared with the probes' fields
              Expect.equal (run ()).Summaries made.Summaries "kept"
              Expect.equal all.Value (7L + 2L) "and not made again, but for two probes"))

      testCase "chunks of simulations: a change anywhere in the chunk's range of θ is seen, however small" (fun () ->
          inFolder (fun folder ->
              let prior = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]
              let theta = Prior.sample 1 0L 200 prior

              let simulator change =
                  Simulator.create "jump" [ "a"; "b" ] [ 2 ] [ 2 ] (fun t z -> change t (t + 0.1 * z))

              let run folder change =
                  Simulations.run
                      { SimulationSettings.Default with
                          Chunk = 50
                          Folder = folder }
                      (simulator change)
                      Tensors.toRows
                      1UL
                      "test"
                      theta

              let plain _ d : Tensor = d
              let above a (t: Tensor) : Tensor = t.narrow(1L, a, 1L).gt(0.9.ToScalar())
              let below a (t: Tensor) : Tensor = t.narrow(1L, a, 1L).lt(0.1.ToScalar())
              let first = run (Some folder) plain
              Expect.equal (run (Some folder) plain) first "read again"

              for change in
                  [ fun t (d: Tensor) -> d + (above 0L t).``to``(d.dtype)
                    fun t d -> d + (below 1L t).``to``(d.dtype)
                    fun _ d -> d * 1.0000001
                    plain ] do
                  let other = run (Some folder) change
                  Expect.equal other (run None change) "as made anew")) ]

let private cancelAfter reports =
    let source = new CancellationTokenSource()
    let mutable seen = 0

    { Report =
        fun report ->
            if report.Stage = "training" || seen > 0 then
                seen <- seen + 1

            if seen >= reports then
                source.Cancel()
      Cancellation = source.Token }

let private interruptions =
    [ tensorTest "a training that is cancelled says so, keeps what it learned, and is not kept or used" (fun () ->
          let own = problem.Value.Simulator

          let trained (settings: ImnnSettings) =
              Imnn.train settings own problem.Value.Fiducial

          let weights (c: Compressor) =
              c.Network.Parameters
              |> Seq.map (fun struct (_, w) -> Tensors.toArray w)
              |> Seq.toArray

          let long =
              { settings with
                  MinIterations = 50
                  MaxIterations = 50
                  EvaluateEvery = 10 }

          let stopped = trained { long with Progress = cancelAfter 3 }
          Expect.isTrue stopped.Interrupted "before its first evaluation"
          Expect.equal stopped.History.Length 3 "steps"

          let initial =
              (Imnn.network settings.Features own settings.Seed).Parameters
              |> Seq.map (fun struct (_, w) -> Tensors.toArray w)
              |> Seq.toArray

          Expect.notEqual (weights stopped) initial "not the initial weights"
          Expect.isFalse (trained long).Interrupted "to its end"
          // cancelled while F is measured: the weights are final
          Expect.isFalse (trained { long with Progress = cancelAfter 51 }).Interrupted "after its end"

          let few =
              { long with
                  Fit = 20000
                  MeasureDerivatives = 10
                  Progress = cancelAfter 3 }

          Expect.isTrue (trained few).Interrupted "of which hardly a derivative was measured"

          inFolder (fun folder ->
              let path = Path.Combine(folder, "stopped.imnn")
              CompressorFile.save path stopped
              Expect.isTrue (CompressorFile.load path).Interrupted "in its file"

              refuses<SettingException> [ "interrupted" ] (fun () ->
                  Cache.require [] path (CompressorFile.load path) |> ignore)

              let cache = Path.Combine(folder, "cache")

              Expect.throwsT<OperationCanceledException>
                  (fun () -> cached cache own { long with Progress = cancelAfter 3 })
                  "nothing to use"

              Expect.equal (files cache) 0 "nothing is kept"
              cached cache own long
              Expect.equal (files cache) 1 "the same command goes on"))

      testCase
          "infer.fsx, interrupted in what stands for training, writes no compressor and ends with code 130"
          (fun () ->
              if not (OperatingSystem.IsLinux()) then
                  skiptest "signals are sent as Linux has them"

              inFolder (fun folder ->
                  let info =
                      interruptible
                          [ "fsi"
                            Path.Combine(root, "scripts", "infer.fsx")
                            "--out"
                            folder
                            "--method"
                            "gaussian" ]

                  info.RedirectStandardOutput <- true
                  use child = Diagnostics.Process.Start info
                  let output = child.StandardOutput.ReadToEndAsync()
                  let errors = Text.StringBuilder()
                  let measuring = new ManualResetEventSlim(false)

                  child.ErrorDataReceived.Add(fun line ->
                      if not (isNull line.Data) then
                          errors.AppendLine line.Data |> ignore

                          if line.Data.Contains "measuring F" then
                              measuring.Set())

                  child.BeginErrorReadLine()
                  // it says so within ten seconds of its start
                  let started = Diagnostics.Stopwatch.StartNew()

                  while not measuring.IsSet
                        && started.Elapsed.TotalSeconds < 180.0
                        && not child.HasExited do
                      Thread.Sleep 100

                  // dotnet runs the script in a process of its own, to which a terminal's Ctrl-C goes, too
                  let script = File.ReadAllText $"/proc/{child.Id}/task/{child.Id}/children"

                  for id in script.Split(' ', StringSplitOptions.RemoveEmptyEntries) do
                      interrupt (int id)

                  interrupt child.Id

                  let ended = child.WaitForExit 180000

                  if not ended then
                      child.Kill true

                  Expect.isTrue ended "it ends"
                  output.Wait()
                  Expect.equal child.ExitCode 130 $"exit code; {errors}"

                  Expect.isEmpty (Directory.GetFiles(folder, "*.imnn", SearchOption.AllDirectories)) "no compressor")) ]

let tests = testSequenced <| testList "caches" (fingerprints @ interruptions)
