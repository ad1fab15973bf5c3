/// What networks keep of log-normal fields, and what the edge beside the estimates is worth; on 8 × 8 pixels.
module LogNormalCompressionTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TestSupport
open TorchSharp

let private problem = CorrelatedLogNormal.create 8

let private quick =
    { CorrelatedLogNormal.training problem.Fiducial with
        Simulations = 300
        DerivativeSimulations = 300
        MinIterations = 150
        MaxIterations = 150
        HeldOut = 2000
        Fit = 10000
        Quote = 10000 }

let private train settings =
    Imnn.train settings problem.Simulator problem.Fiducial

let private trained = lazy (train quick)

let private kept (c: Compressor) =
    Fisher.retained c.Fisher (problem.Exact.Fisher problem.Fiducial)

let private correlation =
    lazy
        (train
            { quick with
                Features = Features.correlation 4 })

/// ξ in bins of |Δ| over all pairs of pixels, in loops.
let private correlationByLoops (f: float[,]) largest =
    let rows, columns = Array2D.length1 f, Array2D.length2 f
    let sums, pairs = Array.zeroCreate (largest + 1), Array.zeroCreate (largest + 1)

    for y in 0 .. rows - 1 do
        for x in 0 .. columns - 1 do
            for v in 0 .. rows - 1 do
                for u in 0 .. columns - 1 do
                    let bin = int (Math.Round(sqrt (float ((y - v) * (y - v) + (x - u) * (x - u)))))

                    if bin <= largest && abs (y - v) <= largest && abs (x - u) <= largest then
                        sums[bin] <- sums[bin] + f[y, x] * f[v, u]
                        pairs[bin] <- pairs[bin] + 1.0

    Array.map2 (/) sums pairs

let tests =
    testSequenced
    <| testList
        "log-normal compression"
        [ tensorTest
              "the correlation function is the sum over pairs written out, and its tangent their derivative"
              (fun () ->
                  use network =
                      SummaryNetwork.Create(NetworkDescription.CorrelationFunction([| 5L; 7L |], 3L), 1UL)

                  let f =
                      Noise.Normal(NoiseKey.Range(1UL, 0UL, 1), [| 5L; 7L |], ``type`` = torch.ScalarType.Float64)

                  let direction = (f * 0.3).sin()
                  let made = network.Forward(Dual(f, direction))

                  let loops (x: Tensor) =
                      correlationByLoops (Tensors.toArray2D x[0]) 3

                  close 1e-12 (Tensors.toArray made.Primal) (loops f) "ξ"
                  let h = 1e-5.ToScalar()

                  let difference =
                      Array.map2 (fun a b -> (a - b) / 2e-5) (loops (f + direction * h)) (loops (f - direction * h))

                  close 1e-8 (Tensors.toArray made.Tangent) difference "tangent"

                  refuses<SettingException> [ "below the side, 5" ] (fun () ->
                      SummaryNetwork.Create(NetworkDescription.CorrelationFunction([| 5L; 7L |], 5L), 1UL)
                      |> ignore))

          tensorTest
              "the axis filters keep most of the information out of sample, the correlation function little"
              (fun () ->
                  let network, summary = kept trained.Value, kept correlation.Value
                  Expect.isGreaterThan network 0.75 $"network kept {network:P1}"
                  Expect.isLessThan network 1.1 $"network kept {network:P1}: more than there is"
                  Expect.isLessThan summary 0.2 $"correlation function kept {summary:P1}"
                  Expect.equal correlation.Value.History.Length 0 "nothing to train")

          tensorTest
              "with the edge beside the estimates the posterior is near the exact one; without it, it is not"
              (fun () ->
                  let field = Simulator.field problem.Simulator [| 1.0; 0.5 |] 5UL

                  let abc compressor =
                      Study.infer "abc" (Method.abc AbcSettings.Default) problem compressor field

                  let beside = trained.Value |> Compressor.comparing problem.Recipe.Beside |> abc

                  let alone = trained.Value |> Compressor.comparing None |> abc

                  Expect.isLessThan beside.AreaRatio 1.6 $"area ratio {beside.AreaRatio:F2}"

                  let shift =
                      Array.map3
                          (fun a b s -> abs (a - b) / s)
                          (Posterior.mean beside.Posterior)
                          (Posterior.mean beside.Exact.Posterior)
                          (Posterior.sd beside.Exact.Posterior)

                  Expect.isLessThan (Array.max shift) 1.0 "means, in exact sds"

                  Expect.isGreaterThan
                      alone.AreaRatio
                      (2.0 * beside.AreaRatio)
                      $"without the edge {alone.AreaRatio:F2}")

          tensorTest "compressors of both kinds load as they were saved" (fun () ->
              inFolder (fun folder ->
                  let fields =
                      Simulator.fields
                          problem.Simulator
                          (Tensors.ofVector problem.Example)
                          (NoiseKey.Range(3UL, 0UL, 4))

                  for saved in [ trained.Value; correlation.Value ] do
                      let path = Path.Combine(folder, "a.imnn")
                      CompressorFile.save path saved
                      let loaded = CompressorFile.load path

                      Expect.equal
                          (Compressor.estimates loaded fields)
                          (Compressor.estimates saved fields)
                          "estimates")) ]
