/// Features of fields of several channels, against those of each and of sums, and against the exact information of two correlated maps from
/// matrices in closed form.
module ChannelTests

open System
open System.IO
open Expecto
open FeaturesTests
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open NetworkTests
open TestSupport
open TorchSharp

let private float64 = torch.ScalarType.Float64

let private channels =
    [ tensorTest "filter bank: spectral = direct, with channels" (fun () ->
          for channels, n, size in [ 2, 32L, 5L; 3, 16L, 4L; 2, 8L, 7L ] do
              let shape = [| int64 channels; n; n |]

              use network =
                  build shape channels (Features.filterBank 4 (int size) 2) :?> FilterBankNetwork

              let x = sample (Array.append [| 3L |] shape) 2L
              near 1e-12 $"{channels} channels, {n}, {size}" (disagreement network network.Forward network.Direct x))

      tensorTest "a filter bank that is blind to a channel is that of the other" (fun () ->
          use both = build [| 2L; 16L; 16L |] 2 (Features.filterBank 3 3 2)
          use one = build [| 16L; 16L |] 1 (Features.filterBank 3 3 2)
          use _ = torch.no_grad ()
          let struct (_, w) = both.Parameters[0]
          let struct (_, single) = one.Parameters[0]
          w.select(2L, 1L).zero_() |> ignore
          single.copy_ (w.narrow (2L, 0L, 1L)) |> ignore
          let x = normal 5UL [| 4L; 2L; 16L; 16L |]

          near
              1e-12
              "energies"
              (difference (both.Forward(Dual x).Primal) (one.Forward(Dual(x.select (1L, 0L))).Primal)))

      tensorTest "cross power: P of a sum is P + P' + 2 P×, in every band" (fun () ->
          use both = build [| 2L; 9L; 9L |] 2 (Features.bandPower 4)
          use one = build [| 9L; 9L |] 1 (Features.bandPower 4)
          let x = normal 6UL [| 3L; 2L; 9L; 9L |]
          let p = both.Forward(Dual x).Primal.reshape(3L, 3L, 4L)
          let of' (d: Tensor) = one.Forward(Dual d).Primal
          near 1e-12 "first" (difference (p.select (1L, 0L)) (of' (x.select (1L, 0L))))
          let sum = p.select (1L, 0L) + p.select (1L, 2L) + p.select (1L, 1L) * 2.0.ToScalar()
          near 1e-12 "sum" (difference sum (of' (x.sum 1L))))

      tensorTest "means of products over bands, by matrices, are the sums over modes" (fun () ->
          use bands = new FourierBands([| 12L; 10L |], [| 12L; 10L |], 5L)
          let c, n, modes = 3L, 2L, 12L * 6L
          let pairs = ChannelPairs c

          let complex seed =
              torch.complex (normal seed [| n; c; modes |], normal (seed + 1UL) [| n; c; modes |])

          let a, b = complex 11UL, complex 13UL
          let order (modes: Tensor) = modes.index_select (2L, bands.Outwards)
          let found = bands.Products(order a, order b)

          let mode i j =
              (a.select(1L, i).conj() * b.select (1L, j)).real.matmul(bands.Average.``to`` float64)

          for i in 0L .. c - 1L do
              for j in 0L .. c - 1L do
                  near 1e-12 $"{i}, {j}" (difference (found.select(1L, i).select(1L, j)) (mode i j))

          let chosen = pairs.Of(found, 1L)
          Expect.equal chosen.shape [| n; 6L; bands.Count |] "a ≤ b"
          near 1e-12 "(0, 0), (0, 1), (0, 2), (1, 1), …" (difference (chosen.select (1L, 3L)) (mode 1L 1L)))

      tensorTest "cross correlation: that of a sum, likewise" (fun () ->
          use both = build [| 2L; 5L; 7L |] 2 (Features.correlation 3)
          use one = build [| 5L; 7L |] 1 (Features.correlation 3)
          let x = normal 7UL [| 3L; 2L; 5L; 7L |]
          let xi = both.Forward(Dual x).Primal.reshape(3L, 3L, 4L)
          let of' (d: Tensor) = one.Forward(Dual d).Primal
          near 1e-12 "second" (difference (xi.select (1L, 2L)) (of' (x.select (1L, 1L))))

          let sum =
              xi.select (1L, 0L) + xi.select (1L, 2L) + xi.select (1L, 1L) * 2.0.ToScalar()

          near 1e-12 "sum" (difference sum (of' (x.sum 1L))))

      tensorTest "channels where there are none, or others, are refused by name" (fun () ->
          refuses<SettingException> [ "axisFilters"; "one channel"; "2" ] (fun () ->
              build [| 2L; 8L; 8L |] 2 (Features.axisFilters 1.0 0.01 1 3 2 2) |> ignore)

          refuses<SettingException> [ "2 channels"; "(8, 8)" ] (fun () ->
              build [| 8L; 8L |] 2 (Features.filterBank 2 3 1) |> ignore)

          refuses<SettingException> [ "1, 2 or 3 sides"; "4" ] (fun () ->
              build [| 2L; 2L; 2L; 2L |] 1 (Features.filterBank 2 3 1) |> ignore)

          let simulator = Simulator.create "s" [ "a" ] [ 4 ] [ 4 ] (fun t z -> t * z)
          refuses<ShapeException> [ "channels, sides"; "(4)" ] (fun () -> Simulator.withChannels simulator |> ignore))

      tensorTest "as many levels as the sides allow: 1,001 points in a line, 48 × 36 in a plane" (fun () ->
          let levels shape =
              (Features.describe shape 1 2 (Features.filterBank 2 3 4)).Setting "levels"

          Expect.equal (levels [| 1001L |], levels [| 48L; 36L |], levels [| 32L; 32L; 32L |]) (1L, 3L, 4L) "levels"
          use network = build [| 1001L |] 1 (Features.filterBank 2 9 3)
          Expect.equal (network.Forward(fields [| 1001L |])).Primal.shape [| 3L; 2L |] "features")

      tensorTest "a mask of the sides hides all channels" (fun () ->
          let simulator =
              Simulator.create "s" [ "a" ] [ 2; 4 ] [ 2; 4 ] (fun t z -> t.unsqueeze -1L * z)
              |> Simulator.withChannels
              |> Observation.masked (torch.tensor [| 1.0; 0.0; 1.0; 1.0 |])

          let field = Simulator.field simulator [| 1.0 |] 1UL
          Expect.equal simulator.Channels 2 "channels"
          Expect.equal (field.ne(0.0.ToScalar()).sum().ToInt64()) 6L "pixels seen") ]

/// Two correlated maps that differ: C(k) = [[A, 2 r √A], [2 r √A, 4]]/k + N, θ = (A, r), on n² pixels.
let twoMaps n =
    let level = 0.3

    let frequency =
        [| for i in 0 .. n - 1 -> 2.0 * Math.PI * float (if i <= n / 2 then i else i - n) / float n |]

    let k =
        [| for a in frequency do
               for b in frequency -> sqrt (a * a + b * b) |]

    let root =
        (Tensors.ofVector (k |> Array.map (fun k -> if k = 0.0 then 0.0 else sqrt (1.0 / k)))).reshape(int64 n, int64 n)
        |> Tensors.keep

    let simulator =
        Simulator.create "two maps" [ "A"; "r" ] [ 2; n; n ] [ 4; n; n ] (fun theta noise ->
            let noise = noise.``to`` float64

            let red (x: Tensor) =
                torch.fft.ifft2(torch.fft.fft2 x * root).real

            let g i = red (noise.select (1L, i))
            let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
            let a, r = (parameter 0L).sqrt(), parameter 1L

            let white i =
                noise.select (1L, i) * (sqrt level).ToScalar()

            torch.stack (
                [| a * g 0L + white 2L
                   2.0.ToScalar() * (r * g 0L + (1.0.ToScalar() - r * r).sqrt() * g 1L) + white 3L |],
                1L
            ))

    let fisher (theta: float[]) =
        let matrix first cross second =
            Matrix<float>.Build.DenseOfArray(array2D [ [ first; cross ]; [ cross; second ] ])

        let made = Matrix<float>.Build.Dense(2, 2)
        let a, r = theta[0], theta[1]

        for k in k |> Array.filter (fun k -> k > 0.0) do
            let inverse =
                (matrix (a / k + level) (2.0 * r * sqrt a / k) (4.0 / k + level)).Inverse()

            let change =
                [| inverse * matrix (1.0 / k) (r / sqrt a / k) 0.0
                   inverse * matrix 0.0 (2.0 * sqrt a / k) 0.0 |]

            for a in 0..1 do
                for b in 0..1 do
                    made[a, b] <- made[a, b] + 0.5 * (change[a] * change[b]).Trace()

        made

    simulator, fisher

let private two =
    [ tensorTest
          "two correlated maps keep 0.9 of the exact information and more; taken for a volume, far less"
          (fun () ->
              let simulator, fisher = twoMaps 32
              let fiducial = [| 1.0; 0.6 |]

              let measure features simulator =
                  let settings =
                      { ImnnSettings.Default with
                          Features = features
                          MinIterations = 30
                          MaxIterations = 30
                          HeldOut = 1000
                          Fit = 8000
                          Quote = 8000 }

                  let compressor = Imnn.train settings simulator fiducial
                  compressor.Network.Dispose()
                  Fisher.retained compressor.Fisher (fisher fiducial)

              let both = Features.beside [ Features.bandPower 12; Features.filterBank 4 5 2 ]
              let maps = measure both (Simulator.withChannels simulator)
              let volume = measure (Features.filterBank 8 7 3) simulator
              Expect.isGreaterThan maps 0.9 $"two maps kept {maps:g3}"
              Expect.isLessThan maps 1.06 $"two maps kept {maps:g3}: more than there is"
              Expect.isLessThan volume 0.3 $"a volume kept {volume:g3}") ]

// ----------------------------------------------------------------------------------------------------- composition

let tests = testSequenced <| testList "channels" [ yield! channels; yield! two ]
