/// No tensor outlives the work that made it, but for those of its result.
module LeakTests

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Networks
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

/// The argument that makes the test program prepare fields for the default features and print by how much the heap has grown.
let heapArgument = "--grow-heap"

[<Struct; StructLayout(LayoutKind.Sequential)>]
type private HeapInfo =
    { Arena: unativeint
      Free1: unativeint
      Free2: unativeint
      Mapped: unativeint
      MappedSize: unativeint
      Unused1: unativeint
      Unused2: unativeint
      Used: unativeint
      Free: unativeint
      Top: unativeint }

[<DllImport("libc")>]
extern HeapInfo private mallinfo2()

/// Polynomials of 16 fields with numbers that only the collector frees: what the default features did once.
let private polynomials (x: Tensor) =
    let mutable h = x

    let all =
        [| for j in 1..5 do
               h <- (x * h - x * (0.3 * float j).ToScalar()) / (sqrt (float j)).ToScalar()
               h |]

    torch.stack (all, 1L) |> ignore

/// What the test program does with the argument: prints by how many MB the heap of the C library grows in 200 batches, none of whose tensors
/// live on, without a garbage collection.
let printHeap (rest: string[]) =
    TorchRuntime.Configure()
    use _ = torch.no_grad ()
    let simulator = (PowerLaw.create 64 ModeConvention.Ideal).Simulator
    use network = Imnn.network Features.localStatistics simulator 1UL
    network.Fit(torch.randn (500L, 64L, 64L))
    let dual = Dual(torch.randn (16L, 64L, 64L), torch.randn (32L, 64L, 64L))
    let large = torch.randn (16L, 128L, 128L)

    let run () =
        use _ = torch.NewDisposeScope()

        if Array.contains planted rest then
            polynomials large
        else
            network.Forward dual |> ignore

    for _ in 1..20 do
        run ()

    GC.Collect()
    let still = GC.TryStartNoGCRegion 200_000_000L
    let before = mallinfo2().Arena

    for _ in 1..200 do
        run ()

    let grown = float (mallinfo2().Arena - before) / 1e6

    if still then
        GC.EndNoGCRegion()

    Console.Out.WriteLine $"%.0f{grown}"
    0

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

/// How many more tensors live after the work than before; the first run makes what is made once.
let private leaked (work: unit -> unit) =
    work ()
    let before = alive ()
    work ()
    alive () - before

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

          testCase "what is freed leaves no holes behind numbers that wait for the collector" (fun () ->
              let glibc =
                  match NativeLibrary.TryLoad "libc.so.6" with
                  | true, handle -> NativeLibrary.TryGetExport(handle, "mallinfo2") |> fst
                  | _ -> false

              if not glibc then
                  skiptest "the heap of glibc is looked at"

              Expect.isLessThan (float (ownProcess [ heapArgument ])) 20.0 "MB in 200 batches"
              Expect.isGreaterThan (float (ownProcess [ heapArgument; planted ])) 100.0 "MB where numbers wait")

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
