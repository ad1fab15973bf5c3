/// Refitting and what its compressors are made of: band powers against sums in loops, the logarithm against reverse mode, training
/// where the data are against the exact posterior.
module RefitTests

open System
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private quick =
    { ImnnSettings.Default with
        HeldOut = 400
        Fit = 3000
        Quote = 3000
        MaxIterations = 60
        MinIterations = 60 }

/// Published log-normal dark matter, small.
let private problem = lazy (DarkMatter.create 32 ModeConvention.Published)

let private kept kind =
    let p = problem.Value

    let compressor = Imnn.train { quick with Features = kind } p.Simulator p.Example

    Fisher.retained compressor.Fisher (p.Exact.Fisher p.Example)

let private progressOf cancelled =
    { Progress.silent with
        Cancellation = CancellationToken(cancelled: bool) }

let tests =
    testList
        "refit"
        [ tensorTest "band powers are means of |δ_k|² over rings, by sums in loops" (fun () ->
              let n, bands = 8, 3

              let network =
                  SummaryNetwork.Create(NetworkDescription.BandPower([| 8L; 8L |], int64 bands), 0UL)

              let field =
                  Simulator.field (PowerLaw.create n ModeConvention.Ideal).Simulator [| 0.9; 0.6 |] 3UL

              let d = Tensors.toArray field

              let wave q =
                  2.0 * Math.PI * float (if q <= n / 2 then q else q - n) / float n

              let widest = sqrt 2.0 * Math.PI
              let sums, counts = Array.zeroCreate bands, Array.zeroCreate<float> bands

              for i in 0 .. n - 1 do
                  for j in 0 .. n - 1 do
                      if i + j > 0 then
                          let mutable z = Numerics.Complex.Zero

                          for x in 0 .. n - 1 do
                              for y in 0 .. n - 1 do
                                  let angle = -2.0 * Math.PI * float (i * x + j * y) / float n
                                  z <- z + d[x * n + y] * Numerics.Complex.FromPolarCoordinates(1.0, angle)

                          let k = sqrt (wave i ** 2.0 + wave j ** 2.0)
                          let band = min (bands - 1) (int (ceil (k / widest * float bands - 1e-9)) - 1)
                          sums[band] <- sums[band] + z.Magnitude ** 2.0 / float (n * n)
                          counts[band] <- counts[band] + 1.0

              let found = network.Forward(Dual(field.unsqueeze 0L)).Primal |> Tensors.toArray
              close 1e-5 found (Array.map2 (/) sums counts) "P"
              let power = PowerSpectrum.measure bands (2.0 * float n) (field.unsqueeze 0L)
              close 1e-5 power.Mean (found |> Array.map (fun p -> 4.0 * p)) "in a box of pixels of 2"

              refuses<SettingException> [ "bands" ] (fun () ->
                  SummaryNetwork.Create(NetworkDescription.BandPower([| 8L; 8L |], 60L), 0UL)
                  |> ignore))

          tensorTest "tangents of band powers and of networks on the logarithm: reverse mode" (fun () ->
              for description in
                  [ NetworkDescription.BandPower([| 8L; 8L |], 4L)
                    (NetworkDescription.BandPower([| 8L; 8L |], 4L)).OfLogarithm()
                    NetworkDescription.FilterBank([| 8L; 8L |], 2L, 3L, 2L).OfLogarithm() ] do
                  let network = SummaryNetwork.Create(description, 3UL)
                  let simulator = (DarkMatter.create 8 ModeConvention.Ideal).Simulator
                  let keys = NoiseKey.Range(2UL, 0UL, 3)

                  let struct (d, t) =
                      Simulator.withDerivatives simulator Autodiff (Tensors.ofVector [| 0.4; 0.7 |]) keys

                  let forward = network.Forward(Dual(d, t.flatten (0L, 1L))).TangentByParameter

                  for a in 0L .. 1L do
                      let reverse =
                          Autodiff.jacobianv (fun x -> network.Forward(Dual x).Primal) d (t.select (1L, a))

                      close 1e-4 (Tensors.toArray (forward.select (1L, a))) (Tensors.toArray reverse) $"{description}"

                  if description.Kind = "of logarithm" then
                      refuses<RangeException> [ "> −1" ] (fun () ->
                          network.Forward(Dual(torch.full (1L, 8L, 8L, -1.5))) |> ignore))

          tensorTest
              "information of the power spectrum: nearly all in that of ln(1 + δ), little in that of δ"
              (fun () ->
                  let logarithm, contrast =
                      kept (Features.ofLogarithm (Features.bandPower 16)), kept (Features.bandPower 16)

                  Expect.isGreaterThan logarithm 0.85 "ln(1 + δ)"
                  Expect.isLessThan contrast 0.6 "δ")

          tensorTest "a compressor on the logarithm is saved and loaded" (fun () ->
              inFolder (fun folder ->
                  let p = problem.Value

                  let settings =
                      { quick with
                          Features = Features.ofLogarithm (Features.filterBank 3 3 2)
                          MaxIterations = 3
                          MinIterations = 3 }

                  let saved = Imnn.train settings p.Simulator p.Example
                  let path = IO.Path.Combine(folder, "c.imnn")
                  CompressorFile.save path saved

                  let fields =
                      Simulator.fields p.Simulator (Tensors.ofVector p.Example) (NoiseKey.Range(3UL, 0UL, 4))

                  Expect.equal
                      (Compressor.estimates (CompressorFile.load path) fields)
                      (Compressor.estimates saved fields)
                      "estimates"))

          tensorTest "rounds end at the estimate, where the posterior is; one round from afar does not" (fun () ->
              let p = problem.Value
              let field = Simulator.field p.Simulator p.Example 11UL

              let settings =
                  { quick with
                      Features = Features.ofLogarithm (Features.bandPower 16) }

              let train _ _ fiducial =
                  Imnn.train settings p.Simulator fiducial

              let refit progress fiducial rounds =
                  Refit.run progress false 1.0 train Compressor.estimates p.Prior fiducial rounds (field.unsqueeze 0L)

              let rounds = refit Progress.silent p.Fiducial 6

              let exact = ExactAnswer.posteriorOn 61 p.Exact p.Prior field
              let last = List.last rounds

              let away (estimate: float[]) =
                  Array.map3 (fun e m s -> abs (e - m) / s) estimate (Posterior.mean exact) (Posterior.sd exact)
                  |> Array.max

              Expect.isLessThan last.Moved 1.0 "the last estimate stands"
              Expect.isTrue (rounds.Length > 1 && rounds.Length < 6) $"{rounds.Length} rounds: it stops by itself"
              Expect.isGreaterThan rounds.Head.Moved 1.0 "the first fiducial is far away"
              // the maximum of the likelihood and the posterior's mean differ by less than a deviation
              Expect.isLessThan (away last.Estimates[0]) 1.0 "estimate against the exact posterior"

              let cancelled = refit (progressOf true) p.Fiducial 6
              Expect.equal cancelled.Length 1 "a cancelled run keeps what it has"

              refuses<RangeException> [ "fiducial" ] (fun () -> refit Progress.silent [| 5.0; 0.5 |] 2 |> ignore))

          testCase
              "observed fields that are none, without a batch, or NaN are refused before anything is trained"
              (fun () ->
                  let problem = PowerLaw.create 16 ModeConvention.Ideal

                  let refit fields () =
                      Infer.refit problem.Model problem.Recipe fields |> ignore

                  refuses<SettingException> [ "observed fields" ] (refit (torch.zeros (0L, 16L, 16L)))
                  refuses<ShapeException> [ "(batch, 16, 16)"; "(16, 16)" ] (refit (torch.zeros (16L, 16L)))
                  let holed = torch.zeros (2L, 16L, 16L)
                  holed[1L, 3L, 4L] <- torch.tensor nan
                  refuses<NonFiniteException> [ "observed fields" ] (refit holed)

                  let settings =
                      { quick with
                          Features = Features.bandPower 4 }

                  let compressor = Imnn.train settings problem.Simulator problem.Fiducial

                  for name in [ "abc"; "gaussian"; "delfi" ] do
                      refuses<SettingException> [ "observed fields" ] (fun () ->
                          Infer.all
                              name
                              (NamedMethod.create name true 1UL Progress.silent None)
                              problem.Model
                              compressor
                              []
                          |> ignore))

          tensorTest
              "a field too far for an estimate is placed by what simulates like it; one that is near by its estimate"
              (fun () ->
                  let p = problem.Value

                  let compressor =
                      Imnn.train { quick with Fit = 1500; Quote = 1500 } p.Simulator [| 0.6; 0.6 |]

                  let place theta =
                      let field = (Simulator.field p.Simulator theta 5UL).unsqueeze 0L
                      (Compressor.estimates compressor field)[0], (Infer.locate 1UL p.Model compressor field)[0]

                  let near, located = place [| 0.6; 0.6 |]
                  Expect.equal located near "the estimate"

                  // on 32² pixels the exact posterior of such a field is some 0.1 wide
                  let truth = [| 0.12; 0.45 |]
                  let far, located = place truth
                  Expect.isGreaterThan (Compressor.away compressor far) 3.0 "too far"
                  Expect.isTrue (Prior.contains p.Prior located) "within the prior"

                  let off (theta: float[]) =
                      Array.map2 (-) theta truth |> Array.averageBy (fun d -> d * d) |> sqrt

                  Expect.isLessThan (off located) 0.15 $"near the truth, where the estimate is {far}")

          tensorTest "an estimate that a normal prior does not believe: training stays where it does" (fun () ->
              let p = PowerLaw.create 16 ModeConvention.Ideal

              let prior =
                  Prior.create [ "A", Normal(1.0, 0.1); "B", TruncatedNormal(0.5, 0.1, 0.0, infinity) ]

              let places = ResizeArray()
              let information = ResizeArray()

              let train _ _ fiducial =
                  places.Add fiducial

                  let made =
                      Imnn.train
                          { quick with
                              Features = Features.bandPower 4 }
                          p.Simulator
                          fiducial

                  information.Add made.Fisher
                  made

              let place (estimate: float[]) =
                  places.Clear()
                  information.Clear()
                  let field = (Simulator.field p.Simulator [| 1.0; 0.5 |] 2UL).unsqueeze 0L

                  Refit.run Progress.silent false 1.0 train (fun _ _ -> [| estimate |]) prior [| 1.0; 0.5 |] 2 field
                  |> ignore

                  places[1]

              // 3.09 deviations have a thousandth beyond them
              let far = place [| -40.0; 0.5 |]
              Expect.isTrue (far[0] > 0.69 && far[0] < 0.75) $"A = {far[0]}, as far as the prior goes"

              // of two normal laws, N(θ̂, F⁻¹) and N(μ, 0.01), the mean of the product; by Cramer's rule
              let near = place [| 1.2; 0.3 |]
              let f = information[0]
              let a, b, c = f[0, 0] + 100.0, f[0, 1], f[1, 1] + 100.0
              let u = f[0, 0] * 1.2 + f[0, 1] * 0.3 + 100.0
              let v = f[1, 0] * 1.2 + f[1, 1] * 0.3 + 50.0
              let det = a * c - b * b
              Expect.floatClose Accuracy.high near[0] ((u * c - b * v) / det) "A, an estimate that it believes"
              Expect.floatClose Accuracy.high near[1] ((a * v - b * u) / det) "B")

          tensorTest "a parameter that the fields do not see keeps no other from where it is" (fun () ->
              let p = PowerLaw.create 16 ModeConvention.Ideal
              let places = ResizeArray()

              let train _ _ fiducial =
                  places.Add fiducial

                  { Imnn.train
                        { quick with
                            Features = Features.bandPower 4 }
                        p.Simulator
                        fiducial with
                      Fisher = Matrix<float>.Build.DenseOfArray(array2D [ [ 1e-4; 5.0 ]; [ 5.0; 1e6 ] ]) }

              let next prior =
                  places.Clear()
                  let field = (Simulator.field p.Simulator [| 1.0; 0.5 |] 2UL).unsqueeze 0L

                  Refit.run
                      Progress.silent
                      false
                      1.0
                      train
                      (fun _ _ -> [| [| -30.0; 0.42 |] |])
                      prior
                      [| 1.0; 0.5 |]
                      2
                      field
                  |> ignore

                  places[1]

              let believed = next (Prior.create [ "A", Normal(1.0, 0.1); "B", Uniform(0.1, 0.9) ])
              Expect.isLessThan (abs (believed[0] - 1.0)) 0.01 "A, by the prior"
              // where A is a, the most likely B of N(θ̂, F⁻¹) is 0.42 − F_AB (a + 30)/F_BB
              let b a = 0.42 - 5.0 * (a + 30.0) / 1e6
              Expect.isLessThan (abs (believed[1] - b believed[0])) 1e-6 "B, by the field"
              let uniform = next (Prior.create [ "A", Uniform(0.7, 1.3); "B", Uniform(0.1, 0.9) ])
              Expect.isLessThan (abs (uniform[0] - 0.706)) 1e-6 "A, next to the prior's end"
              Expect.isLessThan (abs (uniform[1] - b 0.706)) 1e-6 "B, by the field"
              // planted: on the straight way to the estimate B would hardly have moved
              Expect.isGreaterThan (abs (0.5 + (0.706 - 1.0) / (-30.0 - 1.0) * (0.42 - 0.5) - b 0.706)) 0.07 "the way")

          tensorTest "the marginals of a dependent prior, which are only about it, do not place a round" (fun () ->
              let p = PowerLaw.create 16 ModeConvention.Ideal
              let field = (Simulator.field p.Simulator [| 1.0; 0.5 |] 2UL).unsqueeze 0L
              let frame = [ "A", Normal(0.0, 0.2); "B", Uniform(0.1, 0.9) ]
              let own = Prior.create [ "A", Normal(1.0, 0.1); "B", Uniform(0.1, 0.9) ]

              let dependent =
                  Prior.dependent frame (Prior.logDensity own) (fun seed i -> (Prior.sample seed i 1 own)[0])

              let train _ _ fiducial =
                  { Imnn.train
                        { quick with
                            Features = Features.bandPower 4 }
                        p.Simulator
                        fiducial with
                      Fisher = Matrix<float>.Build.DenseOfDiagonalArray [| 1.0; 1e4 |] }

              let place (prior: Prior) =
                  let estimate _ _ = [| [| 1.1; 0.5 |] |]
                  (Refit.run Progress.silent false 1.0 train estimate prior [| 1.0; 0.5 |] 1 field).Head.Place

              Expect.isLessThan (abs ((place dependent)[0] - 1.1)) 1e-9 "where the field is"
              // planted: the frame for the prior
              Expect.isLessThan ((place (Prior.create frame))[0]) 0.2 "drawn to the frame")

          tensorTest "far from the fields a round is only to find the place; the one that is kept never is" (fun () ->
              let p = problem.Value
              let field = Simulator.field p.Simulator p.Example 11UL

              let settings =
                  { quick with
                      Features = Features.ofLogarithm (Features.bandPower 16) }

              let asked = ResizeArray()

              let train searching (_: RefitRound list) fiducial =
                  asked.Add searching
                  Imnn.train settings p.Simulator fiducial

              let moved search rounds =
                  asked.Clear()

                  Refit.run
                      Progress.silent
                      search
                      1.0
                      train
                      Compressor.estimates
                      p.Prior
                      p.Fiducial
                      rounds
                      (field.unsqueeze 0L)
                  |> List.map _.Moved

              let distances = moved true 6
              Expect.isTrue asked[0] "nobody knows how far it is"

              List.pairwise (Seq.toList asked |> List.zip distances)
              |> List.iteri (fun i ((before, _), (_, searching)) ->
                  Expect.equal searching (before > 3.0) $"round {i + 2}, after {before}")

              Expect.isFalse (Seq.last asked) "the last is in full"
              Expect.isLessThan (List.last distances) 1.0 "and stands"
              moved true 1 |> ignore
              Expect.sequenceEqual asked [ false ] "one round is in full"
              moved false 2 |> ignore
              Expect.sequenceEqual asked [ false; false ] "no search is wanted")

          tensorTest "a field that two fiducials place at each other: rounds end between them" (fun () ->
              let p = PowerLaw.create 16 ModeConvention.Ideal
              let field = (Simulator.field p.Simulator [| 1.0; 0.5 |] 2UL).unsqueeze 0L

              let made =
                  lazy
                      Imnn.train
                          { quick with
                              Features = Features.bandPower 4 }
                          p.Simulator
                          [| 1.0; 0.5 |]

              let train _ _ fiducial =
                  { made.Value with
                      Fiducial = fiducial
                      Fisher = Matrix<float>.Build.DenseOfDiagonalArray [| 1e4; 1e4 |] }

              let fiducials settled slope =
                  // from the fiducial, so many times the way to where the field is
                  let place (compressor: Compressor) _ =
                      [| Array.map2 (fun truth at -> at + slope * (truth - at)) [| 0.9; 0.6 |] compressor.Fiducial |]

                  let rounds =
                      Refit.run Progress.silent false settled train place p.Prior [| 0.95; 0.53 |] 6 field

                  rounds |> List.map _.Compressor.Fiducial, (List.last rounds).Moved

              for slope in [ 2.0; 2.4 ] do
                  let at, moved = fiducials 1.0 slope
                  Expect.isLessThan moved 1e-6 $"it stands, after %A{at}"
                  Expect.equal at.Length 3 "where two steps say"

              // planted: a step that does not turn back is taken in full
              let at, _ = fiducials 1.0 0.5
              let third = at[2]
              Expect.floatClose Accuracy.medium third[0] 0.9125 "half of what is left, each time"
              // 1.5 errors away after the second
              let at, moved = fiducials 2.0 0.5
              Expect.equal at.Length 2 "settled within two errors"
              Expect.isTrue (moved > 1.0 && moved < 2.0) $"{moved} errors away")

          tensorTest
              "training goes on from the weights of an earlier compressor of the same network, and of no other"
              (fun () ->
                  let p = problem.Value

                  let bank =
                      { quick with
                          Features = Features.ofLogarithm (Features.filterBank 4 5 2) }

                  let first = Imnn.train bank p.Simulator p.Example

                  let short =
                      { bank with
                          MaxIterations = 1
                          MinIterations = 1
                          EvaluateEvery = 1
                          LearningRate = 1e-6 }

                  let again = Imnn.trainFrom (Some first) short p.Simulator p.Example
                  let fresh = Imnn.train short p.Simulator p.Example
                  let det (c: Compressor) = c.Fisher.Determinant()
                  Expect.isGreaterThan (det again) (0.9 * det first) "weights are kept"
                  Expect.isLessThan (det fresh) (0.8 * det again) "planted: weights of its own"

                  refuses<SettingException> [ "filters 4"; "filters 5" ] (fun () ->
                      Imnn.trainFrom
                          (Some first)
                          { short with
                              Features = Features.ofLogarithm (Features.filterBank 5 5 2) }
                          p.Simulator
                          p.Example
                      |> ignore)) ]
