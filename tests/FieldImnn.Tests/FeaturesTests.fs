/// Features as values: channels, composition, one's own, files and caches. Truths: central differences, the definitions written out in loops
/// or by torch's own transforms, and the exact information of two correlated maps from matrices in closed form.
module FeaturesTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open NetworkTests
open TestSupport
open TorchSharp

type private Generator = torch.Generator

let private float64 = torch.ScalarType.Float64

// ------------------------------------------------------------------------------------------------------- one's own

/// Means over each channel of the first three powers of the field, smooth everywhere: fields (n, …) → (n, 3).
let private moments (fields: Tensor) : Tensor =
    let x = fields.flatten 1L

    torch.stack (
        [| x.mean ([| 1L |])
           x.square().mean([| 1L |])
           x.pow(3.0.ToScalar()).mean([| 1L |]) |],
        1L
    )

/// The band powers of BandPowerNetwork as anyone would write them, of square fields (n, N, N): means of |δ_k|²/N² over rings.
let private ownBands (n: int) (bands: int) (fields: Tensor) : Tensor =
    use _ = torch.NewDisposeScope()
    let frequency = torch.fft.fftfreq (int64 n, 1.0 / (2.0 * Math.PI), dtype = float64)

    let k =
        (frequency.square().unsqueeze 1L + frequency.square().unsqueeze 0L).sqrt().flatten()

    let band =
        ((k * (float bands / k.max().ToDouble()).ToScalar()).ceil().clamp(1.0.ToScalar(), (float bands).ToScalar())
         - 1.0.ToScalar())
            .to_type
            torch.ScalarType.Int64

    let inside =
        torch.where (k.gt (0.0.ToScalar()), torch.ones_like k, torch.zeros_like k)

    let members =
        torch.zeros(k.shape[0], int64 bands, dtype = float64).scatter(1L, band.unsqueeze 1L, inside.unsqueeze 1L)

    let average = (members / members.sum 0L).to_type fields.dtype
    let modes = torch.fft.fft2 fields
    let power = (modes.real.square () + modes.imag.square ()).flatten 1L
    (power.matmul average / (float (n * n)).ToScalar()).MoveToOuterDisposeScope()

/// One level of the filter bank by convolution of the field itself, as a network of one's own.
type private OwnFilters(description: NetworkDescription, generator: Generator) as this =
    inherit OwnNetwork(description, description.Setting "filters")

    let size = description.Setting "size"

    do
        this.AddWeight(
            "filters",
            generator,
            1.0 / sqrt (float (size * size * description.Channels)),
            description.Setting "filters",
            description.Channels,
            size,
            size
        )

    override this.Compute fields =
        let x =
            if description.Channels > 1L then
                fields
            else
                fields.unsqueeze 1L

        let low, high = (size - 1L) / 2L, size / 2L

        let padded =
            torch.nn.functional.pad (x, [| low; high; low; high |], PaddingModes.Circular)

        torch.nn.functional.conv2d(padded, this.Weight "filters").square().mean([| 2L; 3L |]).log()

let private ownFilters filters size =
    let made = Features.ownNetwork "test filters" (fun d g -> new OwnFilters(d, g))

    { made with
        Settings = Map [ "filters", float filters; "size", float size ] }

let private build (shape: int64[]) channels features =
    let network =
        SummaryNetwork.Create(Features.describe shape channels 2 features, 11UL)

    network.To float64
    network

/// Fields above −1 with tangents, of sides or of channels and sides.
let private fields (shape: int64[]) =
    let x = sample (Array.append [| 3L |] shape) 2L
    Dual(x.Primal.tanh () * 0.8.ToScalar() + 0.1.ToScalar(), x.Tangent)

let private everyKind =
    lazy
        [ "filterBank", [| 32L |], 1, Features.filterBank 3 3 3
          "filterBank, two channels", [| 2L; 16L |], 2, Features.filterBank 3 3 2
          "filterBank, three channels, a plane", [| 3L; 8L; 12L |], 3, Features.filterBank 3 3 2
          "filterBank, two channels, a volume", [| 2L; 4L; 8L; 4L |], 2, Features.filterBank 2 3 2
          "bandPower, a line of odd length", [| 9L |], 1, Features.bandPower 3
          "bandPower, three channels", [| 3L; 8L; 8L |], 3, Features.bandPower 4
          "bandPower, two channels, a volume", [| 2L; 4L; 4L; 4L |], 2, Features.bandPower 2
          "inception, two channels", [| 2L; 16L; 16L |], 2, Features.inception 2
          "correlation", [| 7L; 9L |], 1, Features.correlation 3
          "correlation, three channels", [| 3L; 6L; 5L |], 3, Features.correlation 2
          "axisFilters", [| 7L; 7L |], 1, Features.axisFilters 1.2 0.01 1 3 2 2
          "of the logarithm, two channels", [| 2L; 8L; 8L |], 2, Features.ofLogarithm (Features.filterBank 2 3 2)
          "of asinh", [| 16L |], 1, Features.ofTransform "asinh" (Features.bandPower 3)
          "of the square, two channels", [| 2L; 8L; 8L |], 2, Features.ofTransform "square" (Features.bandPower 3)
          "of an own function",
          [| 8L; 8L |],
          1,
          Features.ofOwn "test cubic" (fun x -> x + x.pow (3.0.ToScalar())) (Features.bandPower 3)
          "own", [| 2L; 6L; 5L |], 2, Features.own "test moments" 3 moments
          "own network, two channels", [| 2L; 8L; 8L |], 2, ownFilters 3 3
          "beside",
          [| 2L; 8L; 8L |],
          2,
          Features.beside
              [ Features.bandPower 2
                Features.own "test moments" 3 moments
                ownFilters 2 3
                Features.beside [ Features.ofLogarithm (Features.filterBank 2 3 1); Features.inception 1 ] ] ]

let private tangents =
    [ tensorTest
          "tangents of every kind, with channels, are central differences; so are the gradients by the weights"
          (fun () ->
              for name, shape, channels, features in everyKind.Value do
                  use network = build shape channels features
                  let x = fields shape
                  // steps may cross a kink of the inception network
                  let tolerance =
                      if name.Contains "inception" || name = "beside" then
                          1e-4
                      else
                          1e-6

                  near tolerance name (tangentError network.Forward x)
                  Expect.equal (network.Forward x).Primal.shape [| 3L; network.Features |] $"{name}: shape"

                  Expect.equal
                      (network.Prepare x).Primal.shape[1..]
                      (Seq.toArray network.StatisticsShape)
                      $"{name}: statistics"

                  if network.Parameters.Count > 0 then
                      near 1e-5 $"{name}: gradient" (gradientError network x))

      tensorTest "features of a batch are those of each field alone" (fun () ->
          for name, shape, channels, features in everyKind.Value do
              use network = build shape channels features
              use _ = torch.no_grad ()
              let x = (fields shape).Primal
              let together = network.Forward(Dual x).Primal

              for i in 0L .. 2L do
                  near
                      1e-9
                      name
                      (difference (network.Forward(Dual(x.narrow (0L, i, 1L))).Primal.squeeze 0L) together[i])) ]

// -------------------------------------------------------------------------------------------------------- channels

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
let private twoMaps n =
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

let private composition =
    [ tensorTest "beside are the parts side by side" (fun () ->
          let shape = [| 2L; 8L; 8L |]

          let parts =
              [ Features.bandPower 3
                Features.own "test moments" 3 moments
                Features.ofTransform "square" (Features.bandPower 2) ]

          let x = fields shape
          let made = (build shape 2 (Features.beside parts)).Forward x

          let alone =
              parts |> List.map (fun part -> (build shape 2 part).Forward x) |> Array.ofList

          let expected = DualOperations.Concatenate alone

          Expect.equal
              (difference made.Primal expected.Primal, difference made.Tangent expected.Tangent)
              (0.0, 0.0)
              "features")

      tensorTest "parts with weights have those of the network beside, by the part's number" (fun () ->
          let shape = [| 8L; 8L |]

          use both =
              build shape 1 (Features.beside [ Features.bandPower 2; Features.filterBank 2 3 1 ])

          use alone = build shape 1 (Features.filterBank 2 3 1)
          let struct (name, weight) = both.Parameters[0]
          Expect.equal name "2.filters" "name"
          let struct (_, single) = alone.Parameters[0]
          use _ = torch.no_grad ()
          weight.copy_ single |> ignore
          let x = fields shape

          Expect.equal
              (difference ((both.Forward x).Primal.narrow(1L, 2L, 2L)) (alone.Forward x).Primal)
              0.0
              "features")

      tensorTest "of a function are the part's of the function less its mean, and the mean" (fun () ->
          let shape = [| 2L; 8L; 8L |]
          let x = fields shape

          let functions: (string * (Tensor -> Tensor)) list =
              [ "logarithm", (fun x -> x.log1p ())
                "asinh", (fun x -> x.asinh ())
                "square", (fun x -> x.square ()) ]

          for name, f in functions do
              use network = build shape 2 (Features.ofTransform name (Features.bandPower 3))
              use part = build shape 2 (Features.bandPower 3)
              let y = f x.Primal
              let mean = y.mean ([| 2L; 3L |], keepdim = true)

              let expected =
                  torch.cat ([| (part.Forward(Dual(y - mean))).Primal; mean.flatten 1L |], 1L)

              near 1e-12 name (difference (network.Forward x).Primal expected))

      tensorTest "an own pointwise function, with torch's derivative or its own, is that of the house" (fun () ->
          let shape = [| 8L; 8L |]
          let x = fields shape
          use house = build shape 1 (Features.ofLogarithm (Features.filterBank 2 3 2))

          use own =
              build shape 1 (Features.ofOwn "test logarithm" (fun t -> t.log1p ()) (Features.filterBank 2 3 2))

          TransformNetwork.Register(
              "test with derivative",
              (fun t -> t.log1p ()),
              (fun t -> (t + 1.0.ToScalar()).reciprocal())
          )

          use given =
              build shape 1 (Features.ofTransform "test with derivative" (Features.filterBank 2 3 2))

          near 1e-12 "torch's" (difference (own.Forward x).Tangent (house.Forward x).Tangent)
          near 1e-12 "its own" (difference (given.Forward x).Tangent (house.Forward x).Tangent)

          refuses<RangeException> [ "test logarithm"; "-1.5" ] (fun () ->
              own.Forward(Dual(torch.full (1L, 8L, 8L, -1.5))) |> ignore))

      testCase "features are data: equal where all of it is, and described in a line" (fun () ->
          let made () =
              Features.beside [ Features.bandPower 4; Features.ofLogarithm (Features.filterBank 8 7 3) ]

          Expect.equal (made ()) (made ()) "equal"
          Expect.notEqual (Features.filterBank 8 7 3) (Features.filterBank 8 7 2) "other settings"
          let description = Features.describe [| 2L; 64L; 64L |] 2 2 (made ())

          Expect.equal
              (string description)
              "beside [bandPower (bands 4), of logarithm [filterBank (filters 8, levels 3, size 7)]] on fields (2, 64, 64) of 2 channels"
              "text"

          Expect.equal description (Features.describe [| 2L; 64L; 64L |] 2 2 (made ())) "descriptions are equal, too"
          Expect.equal (Features.ofDescription description) (made ()) "and back"
          Expect.stringContains (Features.cannotSee (Features.filterBank 8 7 3)) "beyond two points" "blind spot"
          let both = Features.cannotSee (made ())

          for words in [ "none of its parts"; "(bandPower)"; "of ln(1 + δ)" ] do
              Expect.stringContains both words "of both") ]

// ------------------------------------------------------------------------------------------------------------- own

/// Expects the first fields to be refused, with an error that names the features.
let private refused<'error when 'error :> FieldImnnException> count (f: Tensor -> Tensor) words =
    let shape = [| 4L; 4L |]
    use network = build shape 1 (Features.own "test wrong" count f)
    refuses<'error> ("features test wrong" :: words) (fun () -> network.Forward(fields shape) |> ignore)

let private own =
    [ tensorTest "band powers written as own features are those of the house, tangents too" (fun () ->
          let shape = [| 8L; 8L |]
          use house = build shape 1 (Features.bandPower 4)
          use own = build shape 1 (Features.own "test bands" 4 (ownBands 8 4))
          let x = fields shape
          near 1e-6 "values" (difference (own.Forward x).Primal (house.Forward x).Primal)
          near 1e-6 "tangents" (difference (own.Forward x).Tangent (house.Forward x).Tangent))

      tensorTest "a filter bank written as an own network is that of the house, gradients too" (fun () ->
          let shape = [| 2L; 8L; 8L |]
          use house = build shape 2 (Features.filterBank 3 3 1)
          use own = build shape 2 (ownFilters 3 3)
          let struct (_, w) = own.Parameters[0]
          let struct (_, v) = house.Parameters[0]

          (use _ = torch.no_grad ()
           w.copy_ (v.squeeze 0L) |> ignore)

          let x = fields shape

          let loss (network: SummaryNetwork) (weight: Tensor) =
              let y = network.Forward x
              let total = y.Primal.square().mean() + y.Tangent.square().mean()
              (torch.autograd.grad ([| total |], [| weight |]) |> Seq.head).flatten()

          near 1e-12 "values" (difference (own.Forward x).Primal (house.Forward x).Primal)
          near 1e-12 "tangents" (difference (own.Forward x).Tangent (house.Forward x).Tangent)
          near 1e-12 "gradients" (difference (loss own w) (loss house v)))

      tensorTest "what cannot be learned from is named at the first fields" (fun () ->
          let mean (t: Tensor) =
              t.flatten(1L).mean([| 1L |], keepdim = true)

          refused<ShapeException> 1 (fun t -> mean(t).squeeze 1L) [ "(3, 1)"; "of shape (3)" ]
          refused<ShapeException> 2 mean [ "(3, 2)"; "(3, 1)" ]
          refused<NonFiniteException> 1 (fun t -> (mean t - 10.0.ToScalar()).log()) [ "NaN" ]
          refused<SettingException> 1 (fun t -> mean t - (mean t).mean()) [ "alone as in a batch"; "feature 1" ]
          // counts: of comparisons there is no gradient at all, of rounding there is a constant zero
          let count (t: Tensor) =
              t.gt(0.1.ToScalar()).flatten(1L).to_type(float64).sum(1L, keepdim = true)

          refused<SettingException> 1 count [ "can differentiate"; "counts" ]
          refused<SettingException> 1 (fun t -> mean ((t * 5.0.ToScalar()).round())) [ "can differentiate"; "counts" ]

          refused<SettingException>
              2
              (fun t -> torch.cat ([| mean t; count t |], 1L))
              [ "feature 2 of 2 varies"; "no gradient" ]

          refused<SettingException> 1 (fun t -> mean (t.detach ())) [ "can differentiate" ])

      testCase "names: those of the house are not given away; unknown kinds are named with the known ones" (fun () ->
          refuses<SettingException> [ "'filterBank'"; "the house" ] (fun () ->
              Features.own "filterBank" 3 moments |> ignore)

          refuses<SettingException> [ "empty" ] (fun () -> Features.own " " 3 moments |> ignore)

          refuses<SettingException> [ "'of wavelets'"; "filterBank"; "of logarithm" ] (fun () ->
              build [| 8L |] 1 (Features.ofTransform "wavelets" (Features.bandPower 2))
              |> ignore)

          refuses<SettingException> [ "at least one" ] (fun () -> Features.beside [] |> ignore)

          refuses<SettingException> [ "features test moments"; "3, as they are registered"; "4" ] (fun () ->
              let made = Features.own "test moments" 3 moments

              build
                  [| 8L |]
                  1
                  { made with
                      Settings = Map [ "count", 4.0 ] }
              |> ignore)) ]

let private simulator =
    lazy
        Simulator.create "skewed" [ "s"; "g" ] [ 8; 8 ] [ 8; 8 ] (fun theta noise ->
            let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
            let z = noise.``to`` float64 * parameter 0L
            z + parameter 1L * (z.square () - 1.0.ToScalar()))

let private fiducial = [| 1.0; 0.2 |]

let private settings features =
    { ImnnSettings.Default with
        Features = features
        Simulations = 100
        DerivativeSimulations = 100
        MinIterations = 10
        MaxIterations = 10
        EvaluateEvery = 5
        HeldOut = 400
        Fit = 1000
        Quote = 1000 }

let private hybrid () =
    Features.beside [ Features.own "test moments" 3 moments; ownFilters 2 3; Features.bandPower 3 ]

let private files =
    [ tensorTest "beside keeps at least what each part keeps" (fun () ->
          let kept features =
              let c = Imnn.train (settings features) simulator.Value fiducial
              c.Network.Dispose()
              c.Fisher.Determinant()

          let moments = Features.own "test moments" 3 moments
          let both = kept (Features.beside [ moments; Features.bandPower 3 ])
          // a mean moves with nothing here, a power with both parameters alike: alone each is far less
          Expect.isGreaterThan both (0.97 * kept moments) "moments"
          Expect.isGreaterThan both (1.5 * kept (Features.bandPower 3)) "power")

      tensorTest
          "a compressor with own features loads where they are registered; where not, each that is missing is named"
          (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "own.imnn")
                  let saved = Imnn.train (settings (hybrid ())) simulator.Value fiducial
                  CompressorFile.save path saved

                  let observed =
                      Simulator.fields simulator.Value (Tensors.ofVector fiducial) (NoiseKey.Range(9UL, 0UL, 3))

                  let loaded = CompressorFile.load path

                  Expect.equal
                      (Compressor.estimates loaded observed)
                      (Compressor.estimates saved observed)
                      "estimates"

                  // as in a process that knows nothing of these names
                  let rename (text: string) =
                      text.Replace("test moments", "other moments").Replace("test filters", "other filters")

                  let file = Npz.read path

                  Npz.write
                      path
                      { file with
                          Texts = file.Texts |> Map.map (fun _ text -> rename text) }

                  refuses<StoreException>
                      [ path
                        "'other moments', 'other filters'"
                        "Features.own \"other moments\" 3 f"
                        "Features.ownNetwork \"other filters\" factory" ]
                      (fun () -> CompressorFile.load path |> ignore)

                  CompressorFile.save path saved
                  Features.own "test moments" 3 (fun x -> moments x * 2.0.ToScalar()) |> ignore

                  refuses<StoreException> [ path; "'test moments'"; "another function" ] (fun () ->
                      CompressorFile.load path |> ignore)

                  Features.own "test moments" 3 moments |> ignore
                  CompressorFile.load path |> ignore))

      tensorTest "channels are in the file" (fun () ->
          inFolder (fun folder ->
              let path = Path.Combine(folder, "channels.imnn")
              let maps = fst (twoMaps 8) |> Simulator.withChannels
              let saved = Imnn.train (settings (Features.filterBank 2 3 2)) maps [| 1.0; 0.6 |]
              CompressorFile.save path saved
              let loaded = CompressorFile.load path
              Expect.equal loaded.Network.Description saved.Network.Description "description"
              let field = Simulator.field maps [| 1.0; 0.6 |] 3UL
              Expect.equal (Compressor.estimate loaded field) (Compressor.estimate saved field) "estimate"))

      tensorTest "another function under the same name is not answered with an old compressor" (fun () ->
          inFolder (fun folder ->
              let kept () = Directory.GetFiles(folder).Length

              let train f =
                  let before = kept ()
                  let features = Features.own "test cached" 3 f

                  Cache.trainOrLoad folder [] (settings features) simulator.Value None fiducial
                  |> ignore

                  kept () > before

              Expect.isTrue (train moments) "first"
              Expect.isFalse (train moments) "again"
              Expect.isTrue (train (fun x -> moments (x * 1.01.ToScalar()))) "another function"
              Expect.isFalse (train (fun x -> moments (x * 1.01.ToScalar()))) "and that again")) ]

let tests =
    testSequenced
    <| testList
        "features"
        [ yield! tangents
          yield! channels
          yield! two
          yield! composition
          yield! own
          yield! files ]
