/// Runs that are stopped, cancelled or killed go on to the same result.
module LongRunTests

open System
open System.IO
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open KnownPosterior
open TestSupport

let tests =
    testSequenced
    <| testList
        "long runs"
        [ testCase
              "a run that is cancelled between chunks and started again gives what an uninterrupted one gives"
              (fun () ->
                  inFolder (fun folder ->
                      let mutable made = 0
                      use source = new CancellationTokenSource()

                      let counting cancelAfter =
                          { narrow.Simulator with
                              Field =
                                  fun theta noise ->
                                      made <- made + int noise.shape[0]

                                      if made > cancelAfter then
                                          source.Cancel()

                                      narrow.Simulator.Field theta noise }

                      let settings folder token =
                          { delfi with
                              Simulations =
                                  { Chunk = 100
                                    Folder = folder
                                    Progress =
                                      { Progress.silent with
                                          Cancellation = token } } }

                      let run simulator settings =
                          Delfi.run settings simulator Tensors.toRows narrow.Prior [| [| observed |] |]

                      Expect.throwsT<OperationCanceledException>
                          (fun () -> run (counting 250) (settings (Some folder) source.Token) |> ignore)
                          "cancelled"

                      Expect.equal (Directory.GetFiles folder).Length 3 "three whole chunks are kept"
                      made <- 0

                      let resumed =
                          run (counting Int32.MaxValue) (settings (Some folder) CancellationToken.None)

                      // 500, a few a chunk to see that it is the same, and a dozen at the door
                      Expect.isLessThan made 530 $"{made} simulations were made after all"
                      let whole = run narrow.Simulator (settings None CancellationToken.None)
                      Expect.equal resumed.Posteriors[0].Weights whole.Posteriors[0].Weights "same posterior"))

          testCase "stored simulations of another seed, or a torn file, do not pass for this run's" (fun () ->
              inFolder (fun folder ->
                  let notes = ResizeArray<string>()

                  let settings =
                      { SimulationSettings.Default with
                          Chunk = 50
                          Folder = Some folder
                          Progress =
                              { Progress.silent with
                                  Report =
                                      fun report ->
                                          if report.Stage = "checkpoint" then
                                              notes.Add report.Note } }

                  let theta = Prior.sample 1 0L 100 narrow.Prior

                  let run seed =
                      Simulations.run settings narrow.Simulator Tensors.toRows seed "test" theta

                  let first = run 1UL
                  Expect.equal (run 1UL) first "read again"
                  Expect.isEmpty notes "nothing to say"
                  let other = run 2UL
                  Expect.notEqual other first "another seed is simulated anew"
                  Expect.equal notes.Count 1 "and said, once for all chunks"
                  Expect.stringContains notes[0] "another simulator or seed" "why"
                  let file = Directory.GetFiles folder |> Array.sort |> Array.head
                  File.WriteAllBytes(file, (File.ReadAllBytes file)[..200])
                  Expect.equal (run 2UL) other "a torn file is made again")) ]
