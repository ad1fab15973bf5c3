/// The native library, loaded on old and new systems, and the guards at the library's doors.
module RuntimeTests

open System
open System.IO
open System.Text
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Runtime
open TestSupport
open TorchSharp

/// TorchSharp's native library as its package delivers it.
let private library =
    Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libLibTorchSharp.so")

/// A stand-in for libstdc++: what counts is the version names that it mentions.
let private standardLibrary folder (newest: string) =
    let path = Path.Combine(folder, "libstdc++.so.6")
    File.WriteAllBytes(path, Encoding.ASCII.GetBytes $"\127ELF GLIBCXX_3.4.30\000{newest}\000")
    path

let private onLinux body =
    fun () ->
        if File.Exists library then
            inFolder body
        else
            skiptest "the native library for Linux is not here"

/// Correlation of images x (n, c, h, w) with a kernel w (o, c, k, k), k odd, zeros outside, by sums over shifted images in double precision.
let private correlated (x: Tensor) (w: Tensor) (stride: int64) : Tensor =
    let k, side = w.shape[2], x.shape[2]
    let padded = torch.nn.functional.pad (x, [| k / 2L; k / 2L; k / 2L; k / 2L |])

    [ for i in 0L .. k - 1L do
          for j in 0L .. k - 1L do
              torch.einsum (
                  "nchw,oc->nohw",
                  padded.narrow(2L, i, side).narrow(3L, j, side),
                  w.select(3L, j).select(2L, i)
              ) ]
    |> List.reduce (+)
    |> fun y ->
        y[torch.TensorIndex.Ellipsis, torch.TensorIndex.Slice(step = stride), torch.TensorIndex.Slice(step = stride)]

/// Largest relative error of a convolution in single precision, and of its gradients by image and kernel.
let private convolutionError convolve n channels outputs side k stride =
    use _ = torch.NewDisposeScope()

    let x = normal 1UL [| n; channels; side; side |]
    let w = normal 2UL [| outputs; channels; k; k |]

    let all (f: Tensor -> Tensor -> Tensor) (scalar: torch.ScalarType) =
        let x, w = x.``to``(scalar).requires_grad_(), w.``to``(scalar).requires_grad_()
        let y = f x w
        let slopes = torch.autograd.grad ([| y.sin().sum() |], [| x; w |])
        [ y.detach (); slopes[0]; slopes[1] ]

    List.map2
        (fun (right: Tensor) (made: Tensor) ->
            (right - made.``to`` torch.ScalarType.Float64).abs().max().ToDouble()
            / right.abs().max().ToDouble())
        (all (fun x w -> correlated x w stride) torch.ScalarType.Float64)
        (all (fun x w -> convolve x w stride k) torch.ScalarType.Float32)
    |> List.max

let private convolutions =
    tensorTest "convolutions and their gradients are right for any number of channels" (fun () ->
        let convolve (x: Tensor) (w: Tensor) stride k =
            torch.nn.functional.conv2d (x, w, strides = [| stride; stride |], padding = [| k / 2L; k / 2L |])

        let without (x: Tensor) (w: Tensor) stride (k: int64) =
            let kept = torch.ones (k, k)
            kept[0L, 1L] <- torch.tensor 0.0f
            convolve x (w * kept) stride k

        for n, channels, outputs, k, stride in
            [ for n in [ 1L; 3L ] do
                  for channels, outputs in [ 1L, 1L; 2L, 3L; 16L, 4L; 55L, 2L; 20L, 55L ] do
                      for k, stride in [ 3L, 1L; 5L, 2L; 7L, 4L ] do
                          n, channels, outputs, k, stride ] do
            let what =
                $"{n} images, {channels} to {outputs} channels, {k} × {k}, every {stride}"

            Expect.isLessThan (convolutionError convolve n channels outputs 16L k stride) 1e-4 what
            Expect.isGreaterThan (convolutionError without n channels outputs 16L k stride) 1e-3 $"planted: {what}")

let private native =
    testList
        "native library"
        [ testCase "a system with the version it needs is left alone"
          <| onLinux (fun folder ->
              let cache = Path.Combine(folder, "cache")

              let path =
                  NativeLibraries.Loadable(library, standardLibrary folder ElfPatch.Wanted, cache)

              Expect.equal path library "the original is loaded"
              Expect.isFalse (Directory.Exists cache) "nothing is written")

          testCase "an older system gets a patched copy, made once"
          <| onLinux (fun folder ->
              let cache = Path.Combine(folder, "cache")
              let original = File.ReadAllBytes library

              let load () =
                  NativeLibraries.Loadable(library, standardLibrary folder "GLIBCXX_3.4.29", cache)

              let path = load ()
              Expect.stringStarts path cache "the copy is in the cache"
              let patched = File.ReadAllBytes path
              Expect.equal patched.Length original.Length "the copy's length"
              let changed = Array.map2 (<>) original patched |> Array.filter id |> Array.length
              // 12 for the symbol's name at most, 2 for its version, 4 + 4 for the requirement
              Expect.isGreaterThan changed 0 "bytes changed"
              Expect.isLessThanOrEqual changed 22 "bytes changed"
              Expect.isTrue (File.ReadAllBytes library = original) "the original is as it was"
              let written = File.GetLastWriteTimeUtc path
              Expect.equal (load ()) path "the second call finds the copy"
              Expect.equal (File.GetLastWriteTimeUtc path) written "the copy is not written again"
              Expect.hasLength (Directory.GetFiles(cache, "*", SearchOption.AllDirectories)) 1 "no draft is left")

          testCase "the copy is said on standard error when it is written, with the variable that moves it"
          <| onLinux (fun folder ->
              let load () =
                  NativeLibraries.Loadable(library, standardLibrary folder "GLIBCXX_3.4.29", folder)
                  |> ignore

              let (), _, said =
                  listening (fun () ->
                      load ()
                      load ())

              let lines = said.Split('\n', StringSplitOptions.RemoveEmptyEntries)
              Expect.hasLength lines 1 "said once"
              Expect.stringContains lines[0] folder "the folder"
              Expect.stringContains lines[0] NativeLibraries.CacheVariable "the variable")

          testCase "a copy that cannot be written is an error that names the variable"
          <| onLinux (fun folder ->
              let file = Path.Combine(folder, "file")
              File.WriteAllText(file, "")

              let error =
                  Expect.throwsC
                      (fun () ->
                          NativeLibraries.Loadable(library, standardLibrary folder "GLIBCXX_3.4.29", file)
                          |> ignore)
                      id

              match error with
              | :? NativeLibraryException as error ->
                  Expect.stringContains error.Message NativeLibraries.CacheVariable "the variable"
              | other -> failtest $"a {other.GetType().Name}")

          testCase "a version whose name only begins the same is another version"
          <| onLinux (fun folder ->
              let path =
                  NativeLibraries.Loadable(library, standardLibrary folder $"{ElfPatch.Wanted}1", folder)

              Expect.notEqual path library "the copy is loaded")

          testCase "a library that does not need the version is loaded as it is"
          <| fun () ->
              inFolder (fun folder ->
                  let other = Path.Combine(folder, "libother.so")
                  File.WriteAllText(other, "GLIBCXX_3.4.11\000")

                  let path =
                      NativeLibraries.Loadable(other, standardLibrary folder "GLIBCXX_3.4.29", folder)

                  Expect.equal path other "the original is loaded")

          for name, junk in
              [ "no bytes", [||]
                "text", Encoding.ASCII.GetBytes(String('x', 4096))
                "a 32-bit library", Array.append [| 0x7fuy; 0x45uy; 0x4cuy; 0x46uy; 1uy |] (Array.zeroCreate 4096)
                "a library without sections",
                Array.append [| 0x7fuy; 0x45uy; 0x4cuy; 0x46uy; 2uy |] (Array.zeroCreate 4096) ] do
              testCase $"{name}: not the library that the patch is for"
              <| fun () ->
                  Expect.throwsT<NativeLibraryException> (fun () -> ElfPatch.Apply junk |> ignore) "the patch refuses"

          testCase "TorchSharp runs, and nothing was copied beside it"
          <| fun () ->
              TorchRuntime.Load()
              use sum = torch.ones(3L).sum()
              Expect.equal (sum.item<float32>()) 3.0f "1 + 1 + 1"
              let beside = Path.GetDirectoryName typeof<torch>.Assembly.Location

              let copies =
                  Directory.GetFiles(beside, "*.so*")
                  |> Array.filter (fun file -> isNull (FileInfo file).LinkTarget)

              Expect.isEmpty copies "native libraries beside TorchSharp.dll"

          convolutions

          testCase "threads below one are refused"
          <| fun () ->
              Expect.throwsT<SettingException> (fun () -> TorchRuntime.Threads <- 0) "no threads"
              Expect.isGreaterThan TorchRuntime.Threads 0 "threads" ]

/// The guard raises its error, which says what was looked at, expected and received.
let private refuses<'Error when 'Error :> FieldImnnException> name expected received (act: unit -> unit) =
    testCase name
    <| fun () ->
        let error =
            try
                act ()
                None
            with :? 'Error as error ->
                Some(error :> FieldImnnException)

        match error with
        | None -> failtest $"no {typeof<'Error>.Name}"
        | Some error ->
            Expect.equal error.Expected expected "expected"
            Expect.equal error.Received received "received"
            Expect.stringContains error.Message error.Subject "the message names the subject"
            Expect.stringContains error.Message expected "the message says what was expected"
            Expect.stringContains error.Message received "the message says what was received"

let private guards =
    testList
        "guards"
        [ refuses<ShapeException> "another grid" "shape (batch, 4, 4)" "(2, 4, 5)" (fun () ->
              use field = torch.zeros (2L, 4L, 5L)
              Guard.Batched("field", field, 4L, 4L) |> ignore)

          refuses<ShapeException> "no batch axis" "shape (batch, 4, 4)" "(4, 4)" (fun () ->
              use field = torch.zeros (4L, 4L)
              Guard.Batched("field", field, 4L, 4L) |> ignore)

          refuses<NonFiniteException> "NaN and infinity" "finite numbers" "2 NaN or infinite of 3" (fun () ->
              use field = torch.tensor [| 1.0; nan; infinity |]
              Guard.Finite("field", field) |> ignore)

          for value, text in [ 0.0, "0"; -1.5, "-1.5"; nan, "NaN" ] do
              refuses<SettingException> $"{text} is not positive" "a finite number > 0" text (fun () ->
                  Guard.Positive("box size", value) |> ignore)

          refuses<SettingException> "fewer than the least" "a whole number ≥ 2" "1" (fun () ->
              Guard.AtLeast("pixels", 2L, 1L) |> ignore)

          testCase "what is right passes through"
          <| fun () ->
              use field = torch.zeros (2L, 4L, 4L)
              Expect.isTrue (obj.ReferenceEquals(Guard.Batched("field", field, 4L, 4L), field)) "the tensor itself"
              Expect.isTrue (obj.ReferenceEquals(Guard.Finite("field", field), field)) "the tensor itself"
              Expect.equal (Guard.Positive("box size", 2.5)) 2.5 "the number itself"
              Expect.equal (Guard.AtLeast("pixels", 2L, 2L)) 2L "the number itself" ]

let tests = testList "runtime" [ native; guards ]
