/// Statistics for fields that nobody described, told nothing of them, against exact information.
module LocalStatisticsTests

open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Networks
open TestSupport
open TorchSharp

let private settings features =
    { ImnnSettings.Default with
        Features = features
        Simulations = 200
        HeldOut = 1000
        Quote = 6000 }

let private kept features simulator (exact: ExactAnswer) fiducial =
    let compressor = Imnn.train (settings features) simulator fiducial
    Fisher.retained compressor.Fisher (exact.Fisher fiducial)

/// A power-law field behind a sinh-arcsinh transform of unknown shape: four parameters.
let private transformed =
    lazy (TransformedField.create LocalTransform.sinhArcsinh (PowerLaw.model 32 ModeConvention.Ideal))

let tests =
    testList
        "local statistics"
        [ tensorTest
              "keep the information of a field behind an unknown transform, where a quadratic form keeps none"
              (fun () ->
                  let sky = transformed.Value
                  let simulator = TransformedField.simulator "transformed" sky
                  let exact = TransformedFieldLikelihood.exact sky
                  let fiducial = [| 2.0; 1.0; 0.3; 0.8 |]
                  let told = kept Features.localStatistics simulator exact fiducial
                  Expect.isGreaterThan told 0.8 $"kept {told:F3}"
                  Expect.isLessThan told 1.1 $"kept {told:F3}: more than there is"
                  let planted = kept (Features.bandPower 12) simulator exact fiducial
                  Expect.isLessThan planted 0.01 $"planted: band powers kept {planted:G3}")

          tensorTest "keep the information of log-normal fields without a logarithm or an edge that is told" (fun () ->
              let problem = CorrelatedLogNormal.create 20

              let found =
                  kept Features.localStatistics problem.Simulator problem.Exact problem.Fiducial

              Expect.isGreaterThan found 0.88 $"kept {found:F3}"
              Expect.isLessThan found 1.1 $"kept {found:F3}: more than there is")

          tensorTest "have the tangents that finite differences have, and load as they were saved" (fun () ->
              let sky = transformed.Value
              let simulator = TransformedField.simulator "transformed" sky
              let fiducial = [| 2.0; 1.0; 0.3; 0.8 |]
              let compressor = Imnn.train (settings Features.localStatistics) simulator fiducial
              let keys = Core.Random.NoiseKey.Range(3UL, 0UL, 8)

              let struct (_, tangents) =
                  Simulator.withDerivatives simulator Autodiff (Tensors.ofVector fiducial) keys

              let at theta =
                  Simulator.fields simulator (Tensors.ofVector theta) keys

              let features (fields: Tensor) =
                  (compressor.Network.Forward(Dual(fields.``to`` torch.float32, null))).Primal.``to`` torch.float64

              for a in 0..3 do
                  let h = 1e-2 * fiducial[a]

                  let moved sign =
                      fiducial |> Array.mapi (fun k t -> if k = a then t + sign * h else t)

                  let difference =
                      (features (at (moved 1.0)) - features (at (moved -1.0))) / (2.0 * h)

                  let fields = (at fiducial).``to`` torch.float32
                  let tangent = (tangents.select (1L, int64 a)).``to`` torch.float32
                  let own = (compressor.Network.Forward(Dual(fields, tangent))).Tangent

                  close 0.05 (Tensors.toArray own) (Tensors.toArray difference) $"parameter {a}"

              inFolder (fun folder ->
                  let path = Path.Combine(folder, "local.imnn")
                  CompressorFile.save path compressor
                  let field = Simulator.field simulator fiducial 9UL

                  Expect.equal
                      (Compressor.estimate (CompressorFile.load path) field)
                      (Compressor.estimate compressor field)
                      "the same estimate")) ]
