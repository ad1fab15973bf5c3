/// One machine, same seed, same bits: whatever the number of threads, the batch and the order, under every instruction set that the
/// tensor library can be held to. Each instruction set is a child process of its own, since the library chooses its kernels once.
module BitsTests

open System
open System.Diagnostics
open System.Security.Cryptography
open Expecto
open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open LogNormalTests
open TestSupport
open TorchSharp

/// The argument that makes the test program print its universes' hashes instead of running tests.
let argument = "--universes"

/// What the argument is followed by where the planted faults are to be printed.
let private planted = "planted"

/// What the argument is followed by where a compressor's hashes are to be printed.
let private compressor = "compressor"

/// Fields, or derivatives, of θ (n, p) and their keys (n).
type private Universe =
    { Name: string
      Make: float[][] -> NoiseKey[] -> Tensor }

/// The bits of a tensor's numbers as float64, which holds every float32 exactly.
let private bytes (tensor: Tensor) =
    let values = Tensors.toArray tensor
    let bytes = Array.zeroCreate (8 * values.Length)
    Buffer.BlockCopy(values, 0, bytes, 0, bytes.Length)
    bytes

/// One hash of fields given in any grouping, in the order of their keys.
let private hash (parts: byte[][]) =
    Convert.ToHexString(SHA256.HashData(Array.concat parts)).Substring(0, 16)

let private fieldsOf name (simulator: Simulator) =
    { Name = name
      Make = fun theta keys -> Simulator.fields simulator (Tensors.ofRows theta) keys }

/// Derivatives (n, p, shape…) at one θ, by the simulator's rule or by automatic differentiation.
let private derivativesOf name (simulator: Simulator) =
    { Name = name
      Make =
        fun theta keys ->
            let struct (_, tangents) =
                Simulator.withDerivatives simulator Autodiff (Tensors.ofVector theta[0]) keys

            tangents }

let private gaussian dimensions n convention =
    SpectrumField.simulator
        "gaussian"
        (SpectrumField.create PowerLaw.spectrum (FourierGrid(dimensions, n, float n)) convention)

let private logNormal dimensions n =
    LogNormalModel.simulator
        "log-normal"
        (LogNormalModel.create toy (FourierGrid(dimensions, n, 2.0 * float n)) ModeConvention.Ideal)

let private darkMatter n convention =
    (DarkMatter.create n convention).Simulator

let private correlated n =
    CorrelatedLogNormal.simulator (CorrelatedLogNormalField(n, LogNormalForm.Standardised, 0.01))

let private simulators =
    [ for n in [ 8; 9; 16; 31; 32; 64; 100; 128 ] do
          $"Gaussian, 1-D, {n}", gaussian 1 n ModeConvention.Ideal

      for n in [ 8; 15; 16; 32; 33; 64; 128 ] do
          $"Gaussian, 2-D, {n}", gaussian 2 n ModeConvention.Ideal

      for n in [ 8; 9; 16; 32 ] do
          $"Gaussian, 3-D, {n}", gaussian 3 n ModeConvention.Ideal

      for n in [ 16; 32; 64 ] do
          $"published, {n}", gaussian 2 n ModeConvention.Published

      for dimensions, n in [ 1, 64; 2, 15; 2, 32; 3, 8; 3, 16 ] do
          $"log-normal, {dimensions}-D, {n}", logNormal dimensions n

      for n in [ 16; 32; 64; 128 ] do
          $"dark matter, {n}", darkMatter n ModeConvention.Ideal

      for n in [ 16; 64 ] do
          $"published dark matter, {n}", darkMatter n ModeConvention.Published

      for n in [ 8; 20; 33 ] do
          $"correlated log-normal, {n}", correlated n ]

/// θ within the prior of every one of them.
let private parameters =
    Prior.sample 3 0L 7 (Prior.uniform [ "a", 0.4, 0.7; "b", 0.4, 0.7 ])

let private universes =
    [ for name, simulator in simulators -> fieldsOf name simulator ]
    @ [ for name, simulator in
            [ "Gaussian", gaussian 2 32 ModeConvention.Ideal
              "published", gaussian 2 16 ModeConvention.Published
              "dark matter", darkMatter 16 ModeConvention.Ideal
              "correlated log-normal", correlated 9 ] do
            derivativesOf $"derivatives of {name}" simulator
            derivativesOf $"automatic derivatives of {name}" { simulator with Tangents = None } ]

/// The faults that must be seen: what a thread or a neighbour adds last changes the last bits.
let private faults =
    let white = gaussian 2 16 ModeConvention.Ideal

    let faulty name (change: Tensor -> Tensor) =
        { Name = name
          Make = fun theta keys -> change (Simulator.fields white (Tensors.ofRows theta) keys) }

    [ // the mode k = 0 of a transform, summed by as many parts as there are threads
      faulty "a transform split by thread" (fun fields ->
          let parts = fields.flatten(1L).tensor_split(int64 TorchRuntime.Threads, 1L)

          fields
          + (parts
             |> Array.map (fun part -> part.sum (1L, keepdim = true))
             |> Array.reduce (+))
              .unsqueeze
              2L)
      faulty "a sum over neighbours" (fun fields -> fields + fields.mean ([| 0L |], keepdim = true) * 1e-3)
      faulty "a rounding by the place in the batch" (fun fields ->
          let place = torch.arange (fields.shape[0], dtype = torch.ScalarType.Float32)
          fields * (1.0 + place.reshape (-1L, 1L, 1L) * 2e-7)) ]

/// Hashes of a universe's fields, one line for each number of threads and each grouping: all together, in reverse, alone, in threes.
let private print universe =
    let keys = NoiseKey.Range(5UL, 100UL, parameters.Length)

    let make (theta: float[][]) keys =
        Tensors.using (fun () -> bytes (universe.Make theta keys))
    // derivatives are at one θ, whatever the grouping
    let theta indices =
        if universe.Name.Contains "derivatives" then
            [| parameters[0] |]
        else
            indices |> Array.map (fun i -> parameters[i])

    let rows indices =
        let all = make (theta indices) (indices |> Array.map (fun i -> keys[i]))
        Array.chunkBySize (all.Length / indices.Length) all

    let every = [| 0 .. parameters.Length - 1 |]

    for threads in [ 1; 2; 3 ] do
        TorchRuntime.Threads <- threads

        for grouping, parts in
            [ "together", rows every
              "reversed", Array.rev (rows (Array.rev every))
              "alone", every |> Array.collect (fun i -> rows [| i |])
              "in threes", every |> Array.chunkBySize 3 |> Array.collect rows ] do
            Console.Out.WriteLine(String.Join('\t', universe.Name, $"{threads} threads, {grouping}", hash parts))

/// Hashes of a compressor: its layer, F and an estimate, one line for each number of threads.
let private printCompressor () =
    let simulator = gaussian 2 16 ModeConvention.Ideal
    let fiducial = [| 1.0; 0.5 |]

    for threads in [ 1; 2; 3 ] do
        TorchRuntime.Threads <- threads

        let made =
            Imnn.train
                { ImnnSettings.Default with
                    Fit = 20000
                    Quote = 4000 }
                simulator
                fiducial

        let estimates =
            Simulator.fields simulator (Tensors.ofVector fiducial) (NoiseKey.Range(3UL, 0UL, 500))
            |> Compressor.estimates made

        for name, numbers in
            [ "layer", made.Linear.Value.ToRowArrays()
              "F", made.Fisher.ToRowArrays()
              "estimates", estimates ] do
            let parts = [| bytes (Tensors.ofRows numbers) |]
            Console.Out.WriteLine(String.Join('\t', name, $"{threads} threads", hash parts))

/// What the test program does with the argument: its exit code.
let printAll (rest: string[]) =
    if Array.contains compressor rest then
        printCompressor ()
    else
        for universe in (if Array.contains planted rest then faults else universes) do
            print universe

    0

/// The lines of a child process under these variables: universe, variant, hash.
let private child (variables: (string * string) list) (rest: string list) =
    let program = Reflection.Assembly.GetExecutingAssembly().Location

    let info =
        ProcessStartInfo(
            "dotnet",
            [ program; argument ] @ rest,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    for name, value in variables do
        info.Environment[name] <- value

    use running = Process.Start info
    let errors = running.StandardError.ReadToEndAsync()

    let lines =
        running.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries)

    running.WaitForExit()
    Expect.equal running.ExitCode 0 errors.Result

    [ for line in lines do
          match line.Split '\t' with
          | [| universe; variant; hash |] -> universe, (variant, hash)
          | _ -> failtest $"not a line of hashes: {line}" ]

/// Universes whose variants have different hashes, with those that differ from the first.
let private differing lines =
    [ for universe, group in List.groupBy fst lines do
          let variants = List.map snd group

          let others =
              variants
              |> List.filter (fun (_, hash) -> hash <> snd variants[0])
              |> List.map fst

          if not others.IsEmpty then
              universe, others ]

let private instructionSets =
    [ "the machine's own", []
      "SSE4.2", [ "ATEN_CPU_CAPABILITY", "default"; "MKL_ENABLE_INSTRUCTIONS", "SSE4_2" ]
      "AVX2", [ "ATEN_CPU_CAPABILITY", "avx2"; "MKL_ENABLE_INSTRUCTIONS", "AVX2" ]
      "AVX-512", [ "ATEN_CPU_CAPABILITY", "avx512"; "MKL_ENABLE_INSTRUCTIONS", "AVX512" ] ]

let tests =
    testList
        "same bits"
        [ for name, variables in instructionSets do
              testCase $"{name}: one, two and three threads, any batch and any order" (fun () ->
                  let lines = child variables []
                  Expect.hasLength lines (12 * universes.Length) "universes × threads × groupings"
                  Expect.isEmpty (differing lines) "universes whose bits depend on threads, batch or order"
                  let hashes = lines |> List.map (snd >> snd) |> List.distinct
                  Expect.isGreaterThan hashes.Length (universes.Length - 4) "different universes, different hashes")

          testCase "a compressor is the same by one, two and three threads" (fun () ->
              let lines = child [] [ compressor ]
              Expect.hasLength lines 9 "layer, F and estimates × threads"
              Expect.isEmpty (differing lines) "what depends on threads")

          testCase "a transform split by thread, a sum over neighbours and a place in the batch are seen" (fun () ->
              let seen = differing (child [] [ planted ]) |> List.map fst
              Expect.equal seen (faults |> List.map _.Name) "planted faults") ]
