/// Features as values: tangents and composition. Truths: central differences, and the definitions written out in loops or by torch's own
/// transforms.
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

let float64 = torch.ScalarType.Float64

// ------------------------------------------------------------------------------------------------------- one's own

/// Means over each channel of the first three powers of the field, smooth everywhere: fields (n, …) → (n, 3).
let moments (fields: Tensor) : Tensor =
    let x = fields.flatten 1L

    torch.stack (
        [| x.mean ([| 1L |])
           x.square().mean([| 1L |])
           x.pow(3.0.ToScalar()).mean([| 1L |]) |],
        1L
    )

/// The band powers of BandPowerNetwork as anyone would write them, of square fields (n, N, N): means of |δ_k|²/N² over rings.
let ownBands (n: int) (bands: int) (fields: Tensor) : Tensor =
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

let ownFilters filters size =
    let made = Features.ownNetwork "test filters" (fun d g -> new OwnFilters(d, g))

    { made with
        Settings = Map [ "filters", float filters; "size", float size ] }

let build (shape: int64[]) channels features =
    let network =
        SummaryNetwork.Create(Features.describe shape channels 2 features, 11UL)

    network.To float64
    network

/// Fields above −1 with tangents, of sides or of channels and sides.
let fields (shape: int64[]) =
    let x = sample (Array.append [| 3L |] shape) 2L
    Dual(x.Primal.tanh () * 0.8.ToScalar() + 0.1.ToScalar(), x.Tangent)

let everyKind =
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

let tests =
    testSequenced <| testList "features" [ yield! tangents; yield! composition ]
