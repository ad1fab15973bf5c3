/// When the native tensor library is loaded, and when not: child processes look at what they have mapped.
module NativeTests

open System
open System.Diagnostics
open System.IO
open System.Runtime
open System.Threading
open Expecto
open FieldImnn.Core
open FieldImnn
open FieldImnn.Core.Runtime
open TestSupport
open TorchSharp

/// The argument that makes the test program print how many collections ran in the background instead of running tests.
let argument = "--collections"

/// What the argument is followed by where the fault is planted: collecting in the background, as .NET does of itself.
let private planted = "planted"

/// What the test program does with the argument: full collections after loading, asked for as the runtime itself would start them.
let printCollections (rest: string[]) =
    TorchRuntime.Load()

    if Array.contains planted rest then
        GCSettings.LatencyMode <- GCLatencyMode.Interactive

    // a heap of a few megabytes is never collected in the background
    let held = Array.init 100_000 (fun _ -> Array.zeroCreate<byte> 200)

    let background () =
        GC.GetGCMemoryInfo(GCKind.Background).Index

    let before = background ()
    let mutable asked = 0

    while asked < 100 && background () = before do
        GC.Collect(2, GCCollectionMode.Forced, false)
        Thread.Sleep 20
        asked <- asked + 1

    GC.KeepAlive held
    Console.Out.WriteLine(background () - before)
    0

let private onLinux body =
    fun () ->
        if File.Exists "/proc/self/maps" then
            inFolder body
        else
            skiptest "the kernel does not list what a process has mapped"

/// posterior-only.fsx on a posterior of four samples, with words behind it and variables set: exit code, output and errors.
let private script folder (words: string list) (variables: (string * string) list) =
    let posterior = Path.Combine(folder, "posterior.csv")
    File.WriteAllText(posterior, "a,b,weight\n0,1,0.25\n1,0,0.25\n2,3,0.25\n3,2,0.25\n")
    let path = Path.Combine(root, "tests", "FieldImnn.Tests", "posterior-only.fsx")

    let info =
        ProcessStartInfo(
            "dotnet",
            [ "fsi"; path; posterior ] @ words,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    for name, value in variables do
        info.Environment[name] <- value

    use child = Process.Start info
    let output = child.StandardOutput.ReadToEndAsync()
    let errors = child.StandardError.ReadToEnd()
    child.WaitForExit()
    Expect.stringContains output.Result "means 1.5 sds 1.29" $"the posterior was read; errors: {errors}"
    Expect.isTrue (File.Exists(posterior + ".html")) "its corner is there"
    struct (child.ExitCode, output.Result, errors)

let private processes =
    testList
        "processes"
        [ testCase "a posterior's moments and corner load no native library"
          <| onLinux (fun folder ->
              let struct (code, output, errors) = script folder [] []
              Expect.equal code 0 errors
              Expect.isFalse (output.Contains "mapped") output)

          testCase "the same script finds the library once it makes a tensor, and says where it wrote"
          <| onLinux (fun folder ->
              let cache = Path.Combine(folder, "cache")

              let struct (code, output, errors) =
                  script folder [ "tensor" ] [ "FIELDIMNN_CACHE", cache ]

              Expect.equal code 0 errors
              Expect.stringContains output "sum 3" "a tensor"
              Expect.stringContains output "mapped libtorch_cpu.so" "libtorch"
              Expect.stringContains output "mapped libLibTorchSharp.so" "TorchSharp's"
              Expect.equal (Directory.Exists cache) (errors.Contains cache) "what is written is said, and nothing else")

          testCase "a folder without libtorch is refused by its variable"
          <| onLinux (fun folder ->
              let info = ProcessStartInfo("dotnet", [ "fsi"; Path.Combine(folder, "load.fsx") ])
              let load = Path.Combine(root, "scripts", "load.fsx")

              File.WriteAllText(
                  Path.Combine(folder, "load.fsx"),
                  $"try FieldImnn.Core.Runtime.TorchRuntime.Load() with e -> printfn $\"{{e.Message}}\"\n"
                  |> fun text -> $"#load \"{load}\"\n{text}"
              )

              info.RedirectStandardError <- true
              info.RedirectStandardOutput <- true
              info.Environment["FIELDIMNN_LIBTORCH"] <- folder
              use child = Process.Start info
              let output = child.StandardOutput.ReadToEndAsync()
              let said = child.StandardError.ReadToEnd() + output.Result
              child.WaitForExit()
              Expect.stringContains said "FIELDIMNN_LIBTORCH: expected a folder that holds libtorch.so" "the message"
              Expect.stringContains said folder "the folder") ]

/// With more than one thread to give back.
let private onThree (body: unit -> unit) () = onThreads 3 body

let private threads =
    testList
        "threads"
        [ testCase "work on one thread gives them back, nested or thrown out of"
          <| onThree (fun () ->
              let before = TorchRuntime.Threads

              let inner () =
                  TorchRuntime.OnOneThread(fun () -> TorchRuntime.Threads)

              let outer =
                  TorchRuntime.OnOneThread(fun () ->
                      let within = inner ()
                      within, TorchRuntime.Threads)

              Expect.equal outer (1, 1) "one, and still one after the inner"
              Expect.equal TorchRuntime.Threads before "given back"

              Expect.throwsT<InvalidOperationException>
                  (fun () ->
                      TorchRuntime.OnOneThread(fun () -> raise (InvalidOperationException()): int)
                      |> ignore)
                  "the error comes out"

              Expect.equal TorchRuntime.Threads before "given back after an error")

          testCase
              "work side by side: each piece once, on one thread of tensors, without a graph; a fault as it was raised"
          <| onThree (fun () ->
              let before = TorchRuntime.Threads
              let seen: (int * int * bool)[] = Array.create 20 (0, 0, true)

              TorchRuntime.SideBySide(
                  Device.cpu,
                  seen.Length,
                  fun i ->
                      let times, _, _ = seen[i]
                      seen[i] <- times + 1, TorchRuntime.Threads, torch.is_grad_enabled ()
              )

              Expect.allEqual seen (1, 1, false) "times, threads, graph"
              Expect.equal TorchRuntime.Threads before "given back"

              Expect.throwsT<InvalidOperationException>
                  (fun () ->
                      TorchRuntime.SideBySide(
                          Device.cpu,
                          5,
                          fun i ->
                              if i = 3 then
                                  raise (InvalidOperationException())
                      ))
                  "not in a bundle"

              Expect.equal TorchRuntime.Threads before "given back after an error")

          testCase "two at a time leave the number that there was"
          <| onThree (fun () ->
              let before = TorchRuntime.Threads
              use entered = new CountdownEvent 2
              use left = new ManualResetEventSlim()

              // the second begins while the first has one thread, and ends after it
              let work (wait: unit -> unit) =
                  Thread(fun () ->
                      TorchRuntime.OnOneThread(fun () ->
                          entered.Signal() |> ignore
                          entered.Wait()
                          wait ()
                          0)
                      |> ignore)

              let first, second = work ignore, work (fun () -> left.Wait())
              first.Start()
              second.Start()
              first.Join()
              left.Set()
              second.Join()
              let mutable fresh = 0
              let later = Thread(fun () -> fresh <- TorchRuntime.Threads)
              later.Start()
              later.Join()
              Expect.equal (TorchRuntime.Threads, fresh) (before, before) "here and in a thread that starts now") ]

/// Collections in the background of a child process that has loaded the tensor library.
let private collections (rest: string list) =
    int64 ((ownProcess (argument :: rest)).Trim())

let private garbage =
    testList
        "garbage"
        [ testCase "nothing is collected in the background while native code reads a number" (fun () ->
              Expect.equal (collections []) 0L "collections in the background")

          testCase "a process that collects in the background is seen" (fun () ->
              Expect.isGreaterThan (collections [ planted ]) 0L "collections in the background") ]

let tests = testSequenced <| testList "native" [ threads; processes; garbage ]
