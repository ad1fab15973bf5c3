/// No tensor outlives the work that made it, but for those of its result.
module LeakTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open DoorTests
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// The argument that makes the test program split its free memory and print what it then holds instead of running tests.
let argument = "--split-memory"

/// What the argument is followed by where the fault is planted: nothing is given back.
let private planted = "planted"

/// Resident memory of this process, MB.
let private resident () =
    use me = Process.GetCurrentProcess()
    float me.WorkingSet64 / 1e6

/// Tensors of a gigabyte and a quarter, freed all but a small one after each large one, which keeps the large holes apart.
let private split () =
    use _ = torch.NewDisposeScope()

    [| for _ in 1..80 do
           torch.zeros(4_000_000L).add_(1.0.ToScalar()) |> ignore
           Tensors.keep (torch.zeros 1000L) |]

/// What the test program does with the argument: prints resident memory before and after a piece of work that follows.
let printMemory (rest: string[]) =
    TorchRuntime.Configure()
    let kept = split ()
    let before = resident ()
    Thread.Sleep 1000 // memory is looked at twice a second

    if not (Array.contains planted rest) then
        Tensors.using (fun () -> torch.zeros 3L |> ignore)

    Console.Out.WriteLine $"%.0f{before} %.0f{resident ()}"
    kept |> Array.iter _.Dispose()
    0

/// Resident memory, MB, before and after a piece of work in a child process whose free memory is split.
let private afterSplitting (rest: string list) =
    let output = ownProcess (argument :: rest)

    match output.Split ' ' with
    | [| before; after |] -> float before, float after
    | _ -> failtest $"not two numbers: {output}"

/// Tensors that live, in scopes and out of them.
let private alive () =
    let s = DisposeScopeManager.Statistics.TensorStatistics
    s.ThreadTotalLiveCount

/// How many more tensors live after the work than before; the first run makes what is made once. On one thread: tensors are counted by the thread
/// that makes them and by that which frees them, and a test may run on one that has two.
let private leaked (work: unit -> unit) =
    onThreads 1 (fun () ->
        work ()
        let before = alive ()
        work ()
        alive () - before)

let private dispose (c: Compressor) = (c.Network :> IDisposable).Dispose()

let private train settings () =
    Imnn.train settings good [| 1.0; 0.5 |] |> dispose

let private prior = Prior.uniform [ "s", 0.5, 1.5; "m", -1.0, 1.0 ]

let private summaries (fields: Tensor) =
    Tensors.toRows (torch.stack ([| fields.std ([| 1L; 2L |]); fields.mean ([| 1L; 2L |]) |], 1L))

let tests =
    testSequenced
    <| testList
        "leaks"
        [ testCase "free memory that small tensors hold apart goes back to the system before the next work" (fun () ->
              if not (File.Exists "/proc/self/statm") then
                  skiptest "resident memory is looked at on Linux only"

              let before, after = afterSplitting []
              Expect.isGreaterThan before 1200.0 "MB, of 80 tensors of 16 MB that were freed"
              Expect.isLessThan after 400.0 "MB after it"

              let before, after = afterSplitting [ planted ]
              Expect.isGreaterThan after (0.9 * before) "MB where nothing gives it back")

          testCase "a planted leak is seen" (fun () ->
              let kept = ResizeArray<Tensor>()

              let leak () = kept.Add(torch.ones (3L))

              Expect.equal (leaked leak) 1L "one tensor"
              kept |> Seq.iter _.Dispose()

              let inTraining () =
                  train
                      { short with
                          Progress =
                              { Progress.silent with
                                  Report = fun _ -> kept.Add(Tensors.keep (torch.ones (3L))) } }
                      ()

              Expect.isGreaterThan (leaked inTraining) 0L "in a report of training")

          testCase "training leaves none, by any derivative, network or loss" (fun () ->
              for settings in
                  [ short
                    { short with
                        Derivatives = FiniteDifference [| 1e-3; 1e-3 |] }
                    { short with
                        Loss = Regularised(10.0, 0.1) }
                    { short with
                        Features = Features.filterBank 2 3 2 }
                    { short with
                        Features = Features.localStatistics } ] do
                  Expect.equal (leaked (train settings)) 0L $"%A{settings.Features} %A{settings.Derivatives}")

          testCase "no step of a training holds more than the one before, with a checkpoint or without" (fun () ->
              let held checkpoint =
                  let counts = ResizeArray<int64>()

                  train
                      { short with
                          MinIterations = 40
                          MaxIterations = 40
                          EvaluateEvery = 10
                          Checkpoint = checkpoint
                          Progress =
                              { Progress.silent with
                                  Report =
                                      fun report ->
                                          if report.Stage = "training" then
                                              counts.Add(alive ()) } }
                      ()

                  // the first evaluation keeps the first best weights
                  counts |> Seq.skip 10 |> Seq.distinct |> Seq.length

              Expect.equal (held None) 1 "numbers of tensors"

              inFolder (fun folder ->
                  let always =
                      { Checkpoint.inFolder folder with
                          Every = 1e-6 }

                  Expect.equal (held (Some always)) 1 "numbers of tensors, saved after every step"))

          testCase "simulations with and without derivatives leave none" (fun () ->
              let keys = NoiseKey.Range(1UL, 0UL, 5)

              for simulator in
                  [ (PowerLaw.create 16 ModeConvention.Ideal).Simulator
                    (PowerLaw.create 16 ModeConvention.Published).Simulator
                    (DarkMatter.create 16 ModeConvention.Ideal).Simulator
                    (CorrelatedLogNormal.create 9).Simulator ] do
                  let simulate () =
                      Tensors.using (fun () ->
                          let theta = Tensors.ofVector [| 0.6; 0.6 |]
                          Simulator.fields simulator theta keys |> ignore
                          Simulator.withDerivatives simulator Autodiff theta keys |> ignore)

                  Expect.equal (leaked simulate) 0L simulator.Name)

          testCase "estimates, checks, fingerprints and files leave none" (fun () ->
              let compressor = Imnn.train short good [| 1.0; 0.5 |]
              use field = Simulator.field good [| 1.0; 0.5 |] 1UL

              inFolder (fun folder ->
                  let path = IO.Path.Combine(folder, "c.imnn")

                  let work () =
                      Compressor.estimate compressor field |> ignore
                      Door.training good Autodiff [| 1.0; 0.5 |] 1UL
                      Door.inference good prior 1UL
                      Fingerprint.ofSimulator good Autodiff [| 1.0; 0.5 |] |> ignore
                      CompressorFile.save path compressor
                      CompressorFile.load path |> dispose

                  Expect.equal (leaked work) 0L "tensors")

              dispose compressor)

          testCase "ABC, population Monte Carlo and DELFI leave none but the likelihood's own" (fun () ->
              let fisher = Matrix<float>.Build.DenseOfDiagonalArray [| 128.0; 64.0 |]

              let abc () =
                  Abc.run
                      { AbcSettings.Default with
                          Budget = 400 }
                      good
                      summaries
                      fisher
                      prior
                      [| 1.0; 0.0 |]
                  |> ignore

              Expect.equal (leaked abc) 0L "ABC"

              let pmc () =
                  PopulationMonteCarlo.run
                      { PmcSettings.Default with
                          Population = 60
                          Budget = 400 }
                      good
                      summaries
                      fisher
                      prior
                      [| 1.0; 0.0 |]
                  |> ignore

              Expect.equal (leaked pmc) 0L "population Monte Carlo"

              let delfi () =
                  let result =
                      Delfi.run
                          { DelfiSettings.Default with
                              Rounds = [ 100; 100 ]
                              Estimator =
                                  { EstimatorSettings.Default with
                                      Members = 2
                                      Training =
                                          { EstimatorSettings.Default.Training with
                                              MaxEpochs = 5 } } }
                          good
                          summaries
                          prior
                          [| [| [| 1.0; 0.0 |] |] |]

                  (result.Likelihood :> IDisposable).Dispose()

              Expect.equal (leaked delfi) 0L "DELFI") ]
