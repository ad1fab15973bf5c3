module FieldTests

open System
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open MathNet.Numerics.Distributions
open TestSupport
open TorchSharp

let private equal (a: Tensor) (b: Tensor) = Tensors.toArray a = Tensors.toArray b

/// Mean measured power over expected at every used mode, in sds of the mean: values far from N(0, 1) fail.
let private powerDeviations (model: SpectrumField) (theta: float[]) (spectrumUsed: float[]) count =
    let simulator = SpectrumField.simulator "spectrum" model

    Tensors.using (fun () ->
        let fields =
            Simulator.fields simulator (Tensors.ofVector theta) (NoiseKey.Range(11UL, 0UL, count))

        let power =
            model.Field.Grid.ModePower(fields) / model.Field.Grid.ModeVariancePerPower

        let used = model.Field.Support.flatten().nonzero().squeeze 1L
        let mean = (power.mean [| 0L |]).flatten().index_select(0L, used)
        let k = (model.Field.Grid.HalfWavenumber.flatten ()).index_select(0L, used)

        let expected =
            (PowerLaw.spectrum.LogPower k ((Tensors.ofVector spectrumUsed).unsqueeze 0L)).squeeze(0L).exp()

        // |δ_k|² of a complex mode has relative sd 1, of a real one √2
        ((mean / expected - 1.0) * sqrt (float count)) |> Tensors.toArray)

let private spectrumHolds model theta used =
    let z = powerDeviations model theta used 800
    // the largest of m deviations of relative sd ≤ √2, and the mean over modes
    let mean = Array.average z * sqrt (float z.Length)
    abs mean < 5.0 && (z |> Array.map abs |> Array.max) < 7.5

let private power dimensions n length =
    SpectrumField.create PowerLaw.spectrum (FourierGrid(dimensions, n, length)) ModeConvention.Ideal

/// The published simulator written as its description reads, with full complex arrays and loops.
let private publishedByLoops (noise: float[,,]) (theta: float[]) n =
    let full = n + 1
    let modes = Array2D.create n n Numerics.Complex.Zero

    for i in 0 .. n - 1 do
        for j in 0 .. n - 1 do
            let m = (noise[0, i, j] + noise[0, full - 1 - i, full - 1 - j]) / sqrt 2.0
            let phase q r = 2.0 * Math.PI * noise[1, q, r]
            let p = (phase i j - phase (full - 1 - i) (full - 1 - j)) / 2.0 + Math.PI

            let wave q =
                2.0 * Math.PI * float (if q <= n / 2 then q else q - n) / float n

            let k = sqrt (wave i ** 2.0 + wave j ** 2.0)
            let power = if i = 0 then 0.0 else theta[0] * k ** -theta[1]

            modes[i, j] <-
                Numerics.Complex.FromPolarCoordinates(1.0, p)
                * Numerics.Complex(m * sqrt power, 0.0)

    // Re ifft2 · N, by the definition of the transform
    Array2D.init n n (fun x y ->
        let mutable sum = 0.0

        for i in 0 .. n - 1 do
            for j in 0 .. n - 1 do
                let angle = 2.0 * Math.PI * float (i * x + j * y) / float n
                sum <- sum + (modes[i, j] * Numerics.Complex.FromPolarCoordinates(1.0, angle)).Real

        sum / float n)

/// Number i of a key's normal noise by its definition, in double precision: Philox's block of four, Box and Muller's formula. Eight blocks
/// lie side by side: first numbers, second, third, fourth.
let private normalByDefinition (key: NoiseKey) i =
    let lane, part, block = i % 8, i / 8 % 4, 8 * (i / 32)

    let struct (a, b, c, d) =
        Philox.Block(
            uint32 (block + lane),
            0u,
            uint32 key.Index,
            uint32 (key.Index >>> 32),
            uint32 key.Seed,
            uint32 (key.Seed >>> 32)
        )

    let a, b = if part < 2 then a, b else c, d
    // the uniform number is one of single precision below 1
    let u = min (float (float32 (a >>> 1) + 0.5f) / 2147483648.0) 0.99999994
    let angle = 2.0 * Math.PI * float b / 4294967296.0
    sqrt (-2.0 * log u) * (if part % 2 = 0 then cos angle else sin angle)

/// The largest relative error of a key's noise against its definition, each number changed before.
let private largestError (change: float -> float) =
    let key = NoiseKey(0x123456789abcdefUL, 0xfedcba987654321UL)
    let drawn = Noise.Normal([| key |], [| 100_000L |]) |> Tensors.toArray

    drawn
    |> Array.mapi (fun i z ->
        let exact = normalByDefinition key i
        abs (change z - exact) / (abs exact + 1e-12))
    |> Array.max

let tests =
    testList
        "fields"
        [ testCase "Philox gives the known answers of Random123" (fun () ->
              let check counter key expected =
                  let struct (c0, c1, c2, c3) = counter
                  let struct (k0, k1) = key
                  Expect.equal (Philox.Block(c0, c1, c2, c3, k0, k1)) expected "philox4x32-10"

              check
                  (struct (0u, 0u, 0u, 0u))
                  (struct (0u, 0u))
                  (struct (0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u))

              let all = UInt32.MaxValue

              check
                  (struct (all, all, all, all))
                  (struct (all, all))
                  (struct (0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu))

              check
                  (struct (0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u))
                  (struct (0xa4093822u, 0x299f31d0u))
                  (struct (0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)))

          testCase "scalar random numbers are Philox's, two of 64 bits a block, and fair whatever the range" (fun () ->
              let key = NoiseKey.SeedFor(7UL, "lots")

              let expected =
                  [| for block in 0u .. 2u do
                         let struct (a, b, c, d) =
                             Philox.Block(block, 0u, 0u, 0u, uint32 key, uint32 (key >>> 32))

                         (uint64 b <<< 32) ||| uint64 a
                         (uint64 d <<< 32) ||| uint64 c |]

              let bytes = Array.zeroCreate<byte> 48
              PhiloxRandom(7UL, "lots").NextBytes bytes
              Expect.equal (Array.init 6 (fun i -> BitConverter.ToUInt64(bytes, 8 * i))) expected "bits"
              let random = PhiloxRandom(7UL, "lots")

              for bits in expected do
                  Expect.equal (random.NextDouble()) (float (bits >>> 11) / 9007199254740992.0) "uniform"

              // of a range of 3·2⁶¹, a remainder would fall into the first quarter half as often again as into the others
              let range = 3L <<< 61
              let n = 40000

              let share draw =
                  let first = Array.init n draw |> Array.filter (fun v -> v < range / 4L)
                  float first.Length / float n

              let error = sqrt (0.25 * 0.75 / float n)
              let fair = share (fun _ -> random.NextInt64 range)

              let faulty =
                  share (fun _ -> int64 (uint64 (random.NextInt64 Int64.MaxValue) * 2UL % uint64 range))

              Expect.isLessThan (abs (fair - 0.25)) (4.0 * error) "a quarter"
              Expect.isGreaterThan (abs (faulty - 0.25)) (4.0 * error) "a remainder is caught"

              for minimum, maximum in [ 3, 3; -5, 2; Int32.MinValue, Int32.MaxValue ] do
                  let drawn = Array.init 1000 (fun _ -> random.Next(minimum, maximum))

                  Expect.isTrue
                      (drawn |> Array.forall (fun v -> v >= minimum && (v < maximum || v = minimum)))
                      "bounds"

              Expect.throws (fun () -> random.Next(2, 1) |> ignore) "bounds the wrong way round")

          tensorTest "derivatives are those of the θ that is asked for, whatever was asked before" (fun () ->
              let keys = NoiseKey.Range(2UL, 0UL, 2)

              let gaussian () =
                  SpectrumField.simulator "gaussian" (power 2 16 16.0)

              let darkMatter () =
                  (DarkMatter.create 16 ModeConvention.Ideal).Simulator

              let tangents simulator (theta: float[]) =
                  let struct (_, t) =
                      Simulator.withDerivatives simulator Autodiff (Tensors.ofVector theta) keys

                  Tensors.toArray t

              for make in [ gaussian; darkMatter ] do
                  let simulator = make ()
                  let first, second = [| 0.5; 0.6 |], [| 0.5; 0.7 |]
                  let all = [ first; first; second; first ] |> List.map (tangents simulator)
                  Expect.equal all[0] (tangents (make ()) first) "the first"
                  Expect.equal all[2] (tangents (make ()) second) "another"
                  Expect.equal (all[1], all[3]) (all[0], all[0]) "the first again"
                  Expect.notEqual all[0] all[2] "derivatives differ between them")

          tensorTest "fields whose sum overflows are finite; infinity and NaN among them are refused" (fun () ->
              let constant (value: float) =
                  Simulator.create "constant" [ "a" ] [ 4; 4 ] [ 4; 4 ] (fun theta noise ->
                      let a = theta.unsqueeze(-1L).to_type torch.ScalarType.Float32
                      noise * 0.0 + a * value)

              let draw value =
                  Simulator.fields (constant value) (Tensors.ofVector [| 1.0 |]) (NoiseKey.Range(1UL, 0UL, 3))

              let drawn = Tensors.toArray (draw 3e38)
              Expect.equal drawn[0] (float 3e38f) "near the largest number"

              for value in [ infinity; nan; 1e39 ] do
                  Expect.throwsT<NonFiniteException> (fun () -> draw value |> ignore) $"{value}")

          tensorTest "normal noise is that of its definition in double precision; an error of 10⁻⁵ is seen" (fun () ->
              Expect.isLessThan (largestError id) 1e-6 "relative error"
              Expect.isGreaterThan (largestError (fun z -> z * 1.00001)) 5e-6 "relative error with a planted fault")

          tensorTest "normal noise is normal, and a planted bias of 1 % is caught" (fun () ->
              let draws =
                  Noise.Normal(NoiseKey.Range(3UL, 0UL, 20), [| 10000L |]) |> Tensors.toArray

              let p shift =
                  draws |> Array.map (fun z -> Normal.CDF(0.0, 1.0, z + shift)) |> uniformity

              Expect.isGreaterThan (p 0.0) 0.001 "Kolmogorov–Smirnov"
              Expect.isLessThan (p 0.01) 0.001 "planted shift"
              let neighbours = Array.pairwise draws |> Array.averageBy (fun (a, b) -> a * b)
              Expect.isLessThan (abs neighbours) (5.0 / sqrt 200000.0) "neighbours are uncorrelated")

          tensorTest
              "a simulation is bit-identical alone, in any batch, in any order and at any thread count"
              (fun () ->
                  for modes in [ ModeConvention.Ideal; ModeConvention.Published ] do
                      let simulator = (PowerLaw.create 32 modes).Simulator
                      let theta = Tensors.ofVector [| 0.8; 0.7 |]
                      let keys = NoiseKey.Range(5UL, 100UL, 13)
                      let batch = Simulator.fields simulator theta keys
                      let alone = Simulator.fields simulator theta [| keys[7] |]
                      let reversed = Simulator.fields simulator theta (Array.rev keys)
                      Expect.isTrue (equal batch[7] alone[0]) "alone"
                      Expect.isTrue (equal batch[7] reversed[5]) "in another order"

                      for threads in [ 1; 2; 3 ] do
                          let again = onThreads threads (fun () -> Simulator.fields simulator theta keys)
                          Expect.isTrue (equal batch again) $"at {threads} threads"

                      Expect.isFalse (equal batch[6] batch[7]) "different keys, different fields")

          tensorTest "measured spectra are the wanted one: 1, 2 and 3 dimensions, even and odd N, any box" (fun () ->
              for dimensions, n, length in
                  [ 1, 64, 64.0; 1, 33, 10.0; 2, 16, 16.0; 2, 15, 40.0; 3, 8, 8.0; 3, 7, 25.0 ] do
                  let model = power dimensions n length

                  Expect.isTrue
                      (spectrumHolds model [| 0.9; 0.6 |] [| 0.9; 0.6 |])
                      $"{dimensions}-D, N = {n}, L = {length}"

                  Expect.isFalse
                      (spectrumHolds model [| 0.9; 0.6 |] [| 0.9; 0.75 |])
                      "a planted wrong slope must be seen")

          tensorTest "Published is the described construction, mode by mode" (fun () ->
              let n = 8
              let problem = PowerLaw.create n ModeConvention.Published

              let noise =
                  problem.Simulator.DrawNoise(NoiseKey.Range(1UL, 0UL, 1)).``to`` torch.ScalarType.Float64

              let values = Tensors.toArray noise

              let cube =
                  Array3D.init 2 (n + 1) (n + 1) (fun c i j -> values[(c * (n + 1) + i) * (n + 1) + j])

              let theta = [| 0.9; 0.6 |]
              let made = problem.Simulator.Field ((Tensors.ofVector theta).unsqueeze 0L) noise

              close
                  1e-12
                  (Tensors.toArray made)
                  (publishedByLoops cube theta n |> Seq.cast<float> |> Seq.toArray)
                  "field")

          tensorTest
              "derivatives: forward rule, automatic differentiation and seed-matched differences agree"
              (fun () ->
                  for modes in [ ModeConvention.Ideal; ModeConvention.Published ] do
                      let simulator = (PowerLaw.create 16 modes).Simulator

                      let doubled =
                          { simulator with
                              DrawNoise = fun keys -> (simulator.DrawNoise keys).``to`` torch.ScalarType.Float64 }

                      derivativesAgree $"{modes}" doubled [| 1e-4; 1e-4 |] [| 0.9; 0.6 |])

          tensorTest "impossible grids, modes and parameters are refused" (fun () ->
              refuses<SettingException> [ "1, 2 or 3"; "4" ] (fun () -> FourierGrid(4, 8, 1.0) |> ignore)
              refuses<SettingException> [ "box length" ] (fun () -> FourierGrid(2, 8, -1.0) |> ignore)

              refuses<SettingException> [ "even"; "N = 9" ] (fun () ->
                  PowerLaw.create 9 ModeConvention.Published |> ignore)

              let simulator = (PowerLaw.create 8 ModeConvention.Ideal).Simulator
              let keys = NoiseKey.Range(1UL, 0UL, 2)

              refuses<ShapeException> [ "2 (A, B)" ] (fun () ->
                  Simulator.fields simulator (Tensors.ofVector [| 1.0 |]) keys |> ignore)

              refuses<NonFiniteException> [ "θ" ] (fun () ->
                  Simulator.fields simulator (Tensors.ofVector [| nan; 1.0 |]) keys |> ignore)

              refuses<NonFiniteException> [ "ln P" ] (fun () ->
                  Simulator.fields simulator (Tensors.ofVector [| -1.0; 0.5 |]) keys |> ignore)

              refuses<SettingException> [ "steps" ] (fun () ->
                  let step = FiniteDifference [| 0.0; 1e-3 |]

                  Simulator.withDerivatives simulator step (Tensors.ofVector [| 1.0; 0.5 |]) keys
                  |> ignore)) ]
