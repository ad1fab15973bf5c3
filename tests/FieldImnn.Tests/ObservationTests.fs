/// Noise and footprints: against dense Gaussians over pixels and counted moments.
module ObservationTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open ExactSupport
open TestSupport
open TorchSharp

let private n = 16
let private problem = lazy (PowerLaw.create n ModeConvention.Ideal)
let private theta = [| 0.9; 0.6 |]

let private draw simulator count =
    Simulator.fields simulator (Tensors.ofVector theta) (NoiseKey.Range(41UL, 0UL, count))

/// P_N of a coloured noise, k in inverse pixels.
let private red (k: Tensor) = k.pow ((-1.0).ToScalar()) * 0.3

/// HPD levels of the truth over noisy fields under a likelihood that knows of so much noise.
let private levels assumed count =
    let model = PowerLaw.model n ModeConvention.Ideal
    let simulator = problem.Value.Simulator |> Observation.noisy (White 1.0)

    let known =
        model
        |> SpectrumField.withNoise (fun k -> torch.full_like (k, (assumed: float).ToScalar()))

    let exact =
        ExactAnswer.create (SpectrumLikelihood.fisher known) (SpectrumLikelihood.logLikelihood known)

    hpdLevels simulator exact PowerLaw.prior count

let tests =
    testList
        "observation"
        [ tensorTest
              "white noise has its deviation, is independent of the field, and is another one for every simulation"
              (fun () ->
                  let simulator = problem.Value.Simulator
                  let noisy = simulator |> Observation.noisy (White 0.5)
                  let fields = draw simulator 400
                  let noise = draw noisy 400 - fields
                  let values = Tensors.toArray noise
                  let count = float values.Length
                  Expect.isLessThan (abs (Array.average values)) (5.0 * 0.5 / sqrt count) "mean"
                  let variance = values |> Array.averageBy (fun v -> v * v)
                  Expect.isLessThan (abs (variance / 0.25 - 1.0)) (5.0 * sqrt (2.0 / count)) "variance"

                  // ⟨noise · field⟩ of independent ones, in its standard errors
                  let correlation noise =
                      let product = Array.map2 (*) noise (Tensors.toArray fields) |> Array.average
                      abs product * sqrt count / (0.5 * fields.square().mean().sqrt().ToDouble())

                  Expect.isLessThan (correlation values) 5.0 "independent of the field"
                  let planted = noise + fields * (0.04).ToScalar() |> Tensors.toArray
                  Expect.isGreaterThan (correlation planted) 5.0 "a planted correlation of 4 % of the field is seen"
                  Expect.notEqual (Tensors.toArray noise[0]) (Tensors.toArray noise[1]) "different noise"
                  let twice = noisy |> Observation.noisy (White 0.5)
                  let second = draw twice 400 - draw noisy 400
                  let sum = Array.map2 (*) values (Tensors.toArray second) |> Array.average
                  Expect.isLessThan (abs sum) (5.0 * 0.25 / sqrt count) "noise on noise is other noise"

                  let again =
                      Array.map2 (fun v w -> v * (w + 0.05 * v)) values (Tensors.toArray second)
                      |> Array.average

                  Expect.isGreaterThan (abs again) (5.0 * 0.25 / sqrt count) "a planted 5 % of the first noise is seen")

          tensorTest "coloured noise has its spectrum at every mode; another slope is caught" (fun () ->
              let grid = FourierGrid(2, n, float n)
              let simulator = problem.Value.Simulator

              let noise =
                  draw (simulator |> Observation.noisy (SpectrumField.noise grid red)) 800
                  - draw simulator 800

              let power = (grid.ModePower noise / grid.ModeVariancePerPower).mean [| 0L |]
              let k = grid.HalfWavenumber.clamp_min ((2.0 * Math.PI / float n).ToScalar())

              let worst (expected: Tensor) =
                  // complex modes scatter by 1, real ones by √2; k = 0 has none
                  ((power / expected - 1.0).flatten().narrow(0L, 1L, power.numel () - 1L)).abs().max().ToDouble()
                  * sqrt 800.0

              Expect.isLessThan (worst (red k)) 7.5 "spectrum"
              Expect.isGreaterThan (worst (red k * k.pow (0.5.ToScalar()))) 7.5 "planted slope"
              Expect.isLessThan (power[0, 0].ToDouble()) 1e-9 "no mean")

          tensorTest "a mask hides pixels of the field and of its derivatives, and leaves the rest" (fun () ->
              let simulator = problem.Value.Simulator
              let mask = torch.ones (int64 n, int64 n)
              mask[0L, 0L] <- 0.0f.ToTensor()
              mask[1L, 1L] <- 0.5f.ToTensor()
              let masked = simulator |> Observation.masked mask
              let keys = NoiseKey.Range(3UL, 0UL, 4)
              let at = Tensors.ofVector theta
              let struct (d, t) = Simulator.withDerivatives simulator Autodiff at keys
              let struct (dm, tm) = Simulator.withDerivatives masked Autodiff at keys
              Expect.equal (Tensors.toArray dm) (Tensors.toArray (d * mask)) "field"
              Expect.equal (Tensors.toArray tm) (Tensors.toArray (t * mask)) "derivatives"
              Expect.equal (dm[0, 0, 0].ToDouble()) 0.0 "hidden")

          tensorTest
              "both compose with a user's simulator, and stay differentiable and bit-identical in any batch"
              (fun () ->
                  let own =
                      Simulator.create "own" [ "σ"; "μ" ] [ n; n ] [ 2; n; n ] (fun theta noise ->
                          let sigma = theta.narrow(1L, 0L, 1L).unsqueeze -1L
                          let mu = theta.narrow(1L, 1L, 1L).unsqueeze -1L
                          sigma * (noise.select (1L, 0L) + noise.select (1L, 1L)) + mu)

                  let mask = torch.ones (int64 n, int64 n)
                  mask[0L] <- torch.zeros (int64 n)
                  let seen = own |> Observation.noisy (White 0.1) |> Observation.masked mask
                  let at, keys = Tensors.ofVector [| 1.0; 0.5 |], NoiseKey.Range(3UL, 0UL, 5)
                  let struct (d, auto) = Simulator.withDerivatives seen Autodiff at keys

                  let struct (_, difference) =
                      Simulator.withDerivatives seen (FiniteDifference [| 1e-2; 1e-2 |]) at keys

                  close 1e-4 (Tensors.toArray auto) (Tensors.toArray difference) "derivatives"
                  let alone = Simulator.fields seen at [| keys[3] |]
                  Expect.equal (Tensors.toArray d[3]) (Tensors.toArray alone[0]) "alone")

          tensorTest "the exact likelihood with noise is that of a dense Gaussian; forgotten noise is caught" (fun () ->
              let n = 6
              let model = PowerLaw.model n ModeConvention.Ideal

              let noise (k: Tensor) = k.pow ((-1.0).ToScalar()) * 0.3 + 0.25

              let simulator =
                  SpectrumField.simulator "power-law" model
                  |> Observation.noisy (SpectrumField.noise (FourierGrid(2, n, float n)) red)
                  |> Observation.noisy (White 0.5)

              let d = (Simulator.field simulator theta 3UL).``to`` torch.ScalarType.Float64

              let logL model (t: float[]) =
                  (SpectrumLikelihood.logLikelihood model d (Tensors.ofRows [| t |])).ToDouble()

              let centred = Tensors.toArray (d - d.mean ())

              let truth =
                  differences (fun t -> denseLogLikelihood n (fun k -> t[0] * k ** -t[1] + 0.3 / k + 0.25) centred)

              close 1e-9 (differences (logL (SpectrumField.withNoise noise model))) truth "with noise"

              Expect.isGreaterThan
                  (relative (differences (logL model)) truth)
                  0.01
                  "planted: no noise in the likelihood")

          tensorTest "noise lowers the information, and posteriors that know of it are calibrated" (fun () ->
              let model = PowerLaw.model n ModeConvention.Ideal

              let white s =
                  SpectrumField.withNoise (fun k -> torch.full_like (k, (s: float).ToScalar())) model

              let det m =
                  (SpectrumLikelihood.fisher m theta).Determinant()

              Expect.isTrue (det model > det (white 0.1) && det (white 0.1) > det (white 1.0)) "falling with noise"
              Expect.isGreaterThan (uniformity (levels 1.0 150)) 0.005 "calibrated"
              Expect.isLessThan (uniformity (levels 0.6 150)) 0.005 "planted: too little noise assumed")

          tensorTest "impossible noise and masks are refused" (fun () ->
              let simulator = problem.Value.Simulator

              refuses<SettingException> [ "noise"; "-1" ] (fun () ->
                  simulator |> Observation.noisy (White -1.0) |> ignore)

              refuses<ShapeException> [ "shape of the noise"; "(8, 8)" ] (fun () ->
                  simulator
                  |> Observation.noisy (SpectrumField.noise (FourierGrid(2, 8, 8.0)) red)
                  |> ignore)

              refuses<ShapeException> [ "mask"; "(3, 3)" ] (fun () ->
                  simulator |> Observation.masked (torch.ones (3L, 3L)) |> ignore)

              refuses<RangeException> [ "mask"; "2" ] (fun () ->
                  simulator |> Observation.masked (torch.full (int64 n, int64 n, 2.0)) |> ignore)

              refuses<RangeException> [ "mask"; "none" ] (fun () ->
                  simulator |> Observation.masked (torch.zeros (int64 n, int64 n)) |> ignore)

              refuses<SettingException> [ "Ideal modes" ] (fun () ->
                  PowerLaw.model n ModeConvention.Published
                  |> SpectrumField.withNoise red
                  |> ignore)) ]
