/// Universes of other people (those of shared/universes, made small), from the simulator to the posterior, each beside its exact answer.
module UniverseTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// A compressor of bands or other features that train in no time: their closed-form layer is all there is.
let private trainOn quote features (model: Model) fiducial =
    let settings =
        { ImnnSettings.Default with
            Features = features
            Simulations = 300
            DerivativeSimulations = 300
            MinIterations = 1
            MaxIterations = 1
            HeldOut = 500
            Fit = quote
            Quote = quote }

    Imnn.train settings model.Simulator fiducial

let private train features = trainOn 6000 features

/// The part of det F that is kept, a parameter.
let private kept (model: Model) (compressor: Compressor) fiducial =
    let retained = Fisher.retained compressor.Fisher (model.Exact.Value.Fisher fiducial)
    retained ** (1.0 / float (Model.parameters model))

/// What a method made of one field of this truth, with the ratio of areas a parameter.
let private infer method (model: Model) compressor truth =
    let observed = Simulator.field model.Simulator truth 7UL
    let result: InferenceResult = method model compressor observed
    let exact = result.Exact.Value.Posterior
    let struct (_, wider) = Posterior.areaRatio exact result.Posterior
    exact, result, wider

/// A typed error with these words.
let private refusesAny (words: string list) (action: unit -> unit) =
    try
        action ()
        failtest "nothing was refused"
    with :? FieldImnnException as error ->
        for word in words do
            Expect.stringContains error.Message word "message"

let private abc budget =
    Infer.abc
        { AbcSettings.Default with
            Budget = budget }

let private spectra =
    [ tensorTest "01: three parameters, from the simulator to a posterior beside the exact one" (fun () ->
          let spectrum: Spectrum =
              { Parameters = [| "A"; "B"; "N" |]
                LogPower =
                  fun k ->
                      let lnk = k.log().unsqueeze 0L |> Tensors.keep

                      fun theta ->
                          let p i = theta.narrow (1L, int64 i, 1L)
                          (p 0 * (-(p 1) * lnk).exp() + p 2).log() }

          let field =
              SpectrumField.create spectrum (FourierGrid(2, 32, 32.0)) ModeConvention.Ideal

          let model =
              Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 2.0; "N", 0.05, 1.5 ]
              |> Model.create (SpectrumField.simulator "three" field)
              |> Model.withExact (SpectrumLikelihood.exact field)

          let fiducial, truth = [| 1.0; 1.0; 0.5 |], [| 1.2; 0.9; 0.45 |]
          let compressor = train (Features.bandPower 14) model fiducial
          Expect.isGreaterThan (kept model compressor fiducial) 0.95 "kept, a parameter"
          let exact, result, wider = infer (abc 1000) model compressor truth
          Expect.isLessThan (abs (log wider)) (log 1.25) $"area a parameter, {wider:F2}"
          Expect.isLessThan (Posterior.shift exact result.Posterior) 0.8 "means in sds"
          Expect.isTrue (result.Exact.Value.AreaRatio > 0.0 && exact.Samples.Length > 1000) "the exact one by walkers")

      tensorTest
          "08: one amplitude and six; bands of one's own keep all of it, and the area of ABC is not too small"
          (fun () ->
              let ends = [| 0.5; 0.9; 1.4; 2.0; 2.7 |]

              for spectrum, features, truth in
                  [ Spectrum.bands [||] _.reciprocal(), Features.bandPower 12, [| 1.1 |]
                    Spectrum.bands ends _.reciprocal(),
                    (let k = torch.fft.fftfreq (32, 1.0 / (2.0 * Math.PI))
                     let band = (k.square().unsqueeze 1L + k.square ()).sqrt()

                     let masks =
                         Array.pairwise [| 1e-6; yield! ends; 9.0 |]
                         |> Array.map (fun (lo, hi) ->
                             band.gt (lo.ToScalar()) * band.le (hi.ToScalar()) |> Tensors.keep)

                     Features.own "power in six bands" 6 (fun fields ->
                         let power = (torch.fft.fft2 fields).abs().square()
                         torch.stack (masks |> Array.map (fun m -> (power * m).mean [| 1L; 2L |]), 1L))),
                    [| 1.1; 0.9; 1.05; 1.0; 0.95; 1.1 |] ] do
                  let field =
                      SpectrumField.create spectrum (FourierGrid(2, 32, 32.0)) ModeConvention.Ideal

                  let model =
                      Prior.uniform [ for p in spectrum.Parameters -> p, 0.3, 2.0 ]
                      |> Model.create (SpectrumField.simulator "amplitudes" field)
                      |> Model.withExact (SpectrumLikelihood.exact field)

                  let fiducial = truth |> Array.map (fun _ -> 1.0)
                  let compressor = trainOn 20000 features model fiducial
                  Expect.isGreaterThan (kept model compressor fiducial) 0.95 $"kept a parameter of {truth.Length}"
                  let _, _, wider = infer (abc 2000) model compressor truth
                  Expect.isGreaterThan wider 0.85 $"ABC of {truth.Length} parameters")

      tensorTest "one and three dimensions: 1,001 points and 12³" (fun () ->
          for dimensions, n, bands, least in [ 1, 1001, 40, 0.85; 3, 12, 6, 0.9 ] do
              let field =
                  SpectrumField.create PowerLaw.spectrum (FourierGrid(dimensions, n, float n)) ModeConvention.Ideal

              let model =
                  Prior.uniform [ "A", 0.2, 3.0; "B", 0.2, 1.8 ]
                  |> Model.create (SpectrumField.simulator $"{dimensions}-D" field)
                  |> Model.withExact (SpectrumLikelihood.exact field)

              let fiducial = [| 1.0; 1.0 |]
              let compressor = train (Features.bandPower bands) model fiducial
              let kept = kept model compressor fiducial
              Expect.isGreaterThan kept least $"kept in {dimensions}-D, {kept:F3}"
              let exact, result, wider = infer (abc 1000) model compressor [| 1.1; 0.9 |]
              Expect.isLessThan (abs (log wider)) (log 1.35) $"area a parameter in {dimensions}-D, {wider:F2}"
              Expect.isLessThan (Posterior.shift exact result.Posterior) 1.0 "means in sds") ]

let private observations =
    [ tensorTest "02: a footprint with noise keeps 0.95 by sixteen bands" (fun () ->
          let n = 32
          let mask = DenseFieldTests.holes n

          let field =
              SpectrumField.create PowerLaw.spectrum (FourierGrid(2, n, float n)) ModeConvention.Ideal

          let model =
              Prior.uniform [ "A", 0.1, 3.0; "B", 0.1, 2.5 ]
              |> Model.create (
                  SpectrumField.simulator "power law" field
                  |> Observation.noisy (White 0.7)
                  |> Observation.masked mask
              )
              |> Model.withExact (
                  DenseField.ofSpectrum field
                  |> DenseField.noisy 0.7
                  |> DenseField.masked mask
                  |> DenseField.exact
              )

          let fiducial = [| 1.0; 1.0 |]

          let kept =
              kept model (trainOn 20000 (Features.bandPower 16) model fiducial) fiducial

          Expect.isGreaterThan (kept * kept) 0.94 $"part of det F, {kept * kept:F3}")

      tensorTest "03: two and three correlated maps keep 0.95 by powers and cross powers in bands" (fun () ->
          for maps in [ 2; 3 ] do
              let spectra: MapSpectra =
                  { Parameters = [| "A"; "r" |]
                    Maps = maps
                    Power =
                      fun k ->
                          let shape = k.reciprocal () |> Tensors.keep

                          fun theta ->
                              let a, r = theta.narrow (1L, 0L, 1L) * shape, theta.narrow (1L, 1L, 1L)

                              let row i =
                                  torch.stack (Array.init maps (fun j -> if i = j then a else a * r), 1L)

                              torch.stack (Array.init maps row, 1L) }

              let sky =
                  CorrelatedMaps.create spectra (FourierGrid(2, 32, 32.0))
                  |> CorrelatedMaps.withNoise (Array.create maps (sqrt 0.3))

              let model =
                  Prior.uniform [ "A", 0.3, 3.0; "r", 0.05, 0.95 ]
                  |> Model.create (CorrelatedMaps.simulator "maps" sky)
                  |> Model.withExact (CorrelatedMapsLikelihood.exact sky)

              let fiducial = [| 1.0; 0.6 |]
              let compressor = train (Features.bandPower 12) model fiducial
              let kept = kept model compressor fiducial
              Expect.isGreaterThan (kept * kept) 0.94 $"part of det F of {maps} maps, {kept * kept:F3}")

      tensorTest "09: features of one's own beside a network's keep more than either" (fun () ->
          let sky =
              SpectrumField.create PowerLaw.spectrum (FourierGrid(2, 16, 16.0)) ModeConvention.Ideal
              |> TransformedField.create LocalTransform.sinhArcsinh

          let model =
              Prior.uniform [ "A", 0.5, 5.0; "B", 0.3, 1.7; "ε", -0.3, 0.9; "τ", 0.4, 1.3 ]
              |> Model.create (TransformedField.simulator "sinh-arcsinh" sky)
              |> Model.withExact (TransformedFieldLikelihood.exact sky)

          let moments =
              Features.own "moments of arsinh" 4 (fun d ->
                  let u = d.arcsinh ()
                  let mean (x: Tensor) = x.mean [| 1L; 2L |]
                  torch.stack ([| mean u; mean (u * u); mean (u * u * u); mean (u * u * u * u) |], 1L))

          let fiducial = [| 2.0; 1.0; 0.3; 0.8 |]

          let by features =
              kept model (train features model fiducial) fiducial

          let bands = Features.bandPower 6
          let own, power, both = by moments, by bands, by (Features.beside [ moments; bands ])
          Expect.isGreaterThan both (1.1 * max own power) $"{own:F3} and {power:F3} make {both:F3}"
          Expect.isLessThan both 1.03 "no more than there is") ]

/// White noise of deviation s and mean m, by a function of θ and noise.
let private white f =
    Simulator.create "mine" [ "s"; "m" ] [ 16; 16 ] [ 16; 16 ] f

let private settings =
    { ImnnSettings.Default with
        Features = Features.filterBank 4 3 2
        MinIterations = 1
        MaxIterations = 1
        HeldOut = 200
        Fit = 200
        Quote = 200 }

let private s (t: Tensor) = t.narrow(1L, 0L, 1L).unsqueeze -1L
let private m (t: Tensor) = t.narrow(1L, 1L, 1L).unsqueeze -1L
let private good = white (fun t z -> s t * z + m t)
let private fiducial = [| 1.0; 0.5 |]

/// Simulators that are wrong, and the words of the error.
let private wrongSimulators =
    [ "θ detached", [ "derivative"; "s" ], white (fun t z -> let t = t.detach () in s t * z + m t)
      "θ[0, 0]", [ "batch"; "row" ], white (fun t z -> t[0L, 0L] * z + t[0L, 1L])
      "θ[.., 0]", [ "mine"; "(2, 2)"; "row for each" ], white (fun t z -> t.select (1L, 0L) * z + t.select (1L, 1L))
      "fields (n, 1, N, N)", [ "(2, 16, 16)"; "(2, 1, 16, 16)" ], white (fun t z -> (s t * z).unsqueeze 1L)
      "a parameter without effect", [ "m"; "no effect" ], white (fun t z -> s t * z + 0.0 * m t)
      "a constant field", [ "whatever the noise" ], white (fun t z -> 0.0 * z + s t + m t)
      "NaN", [ "NaN"; "s = 1" ], white (fun t z -> (s t * z).log() + m t) ]

/// Other mistakes.
let private mistakes: (string * string list * (unit -> obj)) list =
    [ "a prior in another order",
      [ "order"; "s, m"; "m, s" ],
      (fun () -> Model.create good (Prior.uniform [ "m", -1.0, 1.0; "s", 0.5, 1.5 ]))
      "a prior of three",
      [ "s, m"; "x" ],
      (fun () -> Model.create good (Prior.uniform [ "s", 0.5, 1.5; "m", -1.0, 1.0; "x", 0.0, 1.0 ]))
      "few simulations",
      [ "n_s" ],
      (fun () ->
          let few =
              { settings with
                  Simulations = 8
                  DerivativeSimulations = 8 }

          Imnn.train few good fiducial)
      "an observation of another size",
      [ "(batch, 16, 16)"; "20" ],
      (fun () -> Compressor.estimate (Imnn.train settings good fiducial) (torch.zeros (20L, 20L)))
      "four axes",
      [ "1, 2 or 3 sides"; "4" ],
      (fun () ->
          let shape = [ 2; 4; 4; 4 ]

          let four =
              Simulator.create "four" [ "s" ] shape shape (fun t z -> t.reshape (-1L, 1L, 1L, 1L, 1L) * z)

          Imnn.train settings four [| 1.0 |])
      "a fiducial outside the prior",
      [ "fiducial"; "s = 3" ],
      (fun () ->
          let model = Model.create good (Prior.uniform [ "s", 0.5, 1.5; "m", -1.0, 1.0 ])

          let recipe =
              { Recipe.ofSettings settings with
                  Fiducial = Some [| 3.0; 0.0 |] }

          Recipe.train model recipe) ]

let private named =
    testList
        "10: a newcomer's mistakes, each named at the door"
        [ for name, words, simulator in wrongSimulators do
              tensorTest name (fun () -> refusesAny words (fun () -> Imnn.train settings simulator fiducial |> ignore))

          for name, words, mistake in mistakes do
              tensorTest name (fun () -> refusesAny words (mistake >> ignore)) ]

let tests = testList "universes" (spectra @ observations @ [ named ])
