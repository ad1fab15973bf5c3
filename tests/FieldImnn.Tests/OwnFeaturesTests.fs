/// Features of one's own, which are those of the house written again; and features in files and caches.
module OwnFeaturesTests

open System
open System.IO
open Expecto
open ChannelTests
open FeaturesTests
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open NetworkTests
open TestSupport
open TorchSharp

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

      tensorTest "trained features beside some that follow from each other keep what they keep without these" (fun () ->
          let information features =
              let c = Imnn.train (settings (Features.beside features)) simulator.Value fiducial
              c.Network.Dispose()
              c.Fisher.Determinant()

          let own = [ Features.own "test moments" 3 moments; ownFilters 2 3 ]
          let sums (x: Tensor) = moments(x).cumsum 1L
          let more = information (own @ [ Features.own "test sums" 3 sums ])
          near 0.02 "det F, relative" (more / information own - 1.0))

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

let tests = testSequenced <| testList "own features" [ yield! own; yield! files ]
