/// Statistics for fields that nobody described. Truths: central differences; dense matrices; and the information of warped, masked and open
/// Gaussian fields, from the covariance of a score written down here or from dense traces.
module LocalStatisticsTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open MathNet.Numerics.LinearAlgebra
open NetworkTests
open TestSupport
open TorchSharp

let private float64 = torch.ScalarType.Float64
let private number (x: float) = x.ToScalar()

let private describe shape channels =
    Features.describe shape channels 2 Features.localStatistics

/// ln |k| of a square periodic grid (n, n), that of the fundamental at k = 0.
let private logK n =
    let frequency =
        [| for i in 0 .. n - 1 -> 2.0 * Math.PI * float (if i <= n / 2 then i else i - n) / float n |]

    [| for a in frequency do
           for b in frequency -> log (max (sqrt (a * a + b * b)) frequency[1]) |]
    |> fun values -> (Tensors.ofVector values).reshape(1L, int64 n, int64 n) |> Tensors.keep

/// The Gaussian field g of power A k^−B of white noise (n, N, N).
let private gaussian (lnK: Tensor) (a: Tensor) (b: Tensor) (noise: Tensor) =
    let amplitude = ((a.log () - b * lnK) * number 0.5).exp()
    torch.fft.ifft2(torch.fft.fft2 (noise.``to`` float64) * amplitude).real

let private parameter (theta: Tensor) i = theta.narrow(1L, i, 1L).unsqueeze -1L

/// d = sinh((asinh g + ε)/t), θ = (A, B, ε, t): heavy tails and skewness of unknown size.
let private warped n =
    let lnK = logK n

    Simulator.create "warped" [ "A"; "B"; "ε"; "t" ] [ n; n ] [ n; n ] (fun theta noise ->
        let g = gaussian lnK (parameter theta 0L) (parameter theta 1L) noise
        ((g.asinh () + parameter theta 2L) / parameter theta 3L).sinh())

/// F of the warped fields: the covariance of ∂ ln p/∂θ over m of them, with g = sinh(t asinh d − ε) and the density of g.
let private warpedFisher n (fiducial: float[]) m =
    let lnK = logK n
    let simulator = warped n

    let score start length =
        Tensors.scoped (fun () ->
            let keys = NoiseKey.Range(77UL, uint64 start, length)
            let d = Simulator.fields simulator (Tensors.ofVector fiducial) keys
            let theta = (Tensors.ofRows (Array.replicate length fiducial)).requires_grad_ true

            let a, b, e, t =
                parameter theta 0L, parameter theta 1L, parameter theta 2L, parameter theta 3L

            let g = (t * d.asinh () - e).sinh()
            // dg/dd = √(1 + g²) t/√(1 + d²)
            let logJacobian =
                ((g.square () + number 1.0).log() - (d.square () + number 1.0).log())
                * number 0.5
                + t.log ()

            let lnP = a.log () - b * lnK
            let modes = torch.fft.fft2 g
            let power = (modes.real.square () + modes.imag.square ()) / number (float (n * n))

            let logDensity =
                (power / lnP.exp () + lnP).sum([| 1L; 2L |]) * number -0.5
                + logJacobian.sum [| 1L; 2L |]

            (torch.autograd.grad ([| logDensity.sum () |], [| theta |]) |> Seq.head).detach())

    Tensors.using (fun () ->
        let scores =
            Tensors.chunks 500 m
            |> Array.map (fun struct (start, length) -> score start length)

        Tensors.toMatrix (Fisher.covariance (torch.cat (scores, 0L))))

/// A field seen through a footprint with noise, power A k^−B, θ = (A, B); and F = ½ tr C⁻¹∂C C⁻¹∂C over the seen pixels.
let private hole n =
    let seen i j =
        (i - n / 3) * (i - n / 3) + (j - n / 2) * (j - n / 2) > n * n / 12
        && not (i > 3 * n / 4 && j < n / 3)

    let footprint =
        Tensors.ofRows [| for i in 0 .. n - 1 -> [| for j in 0 .. n - 1 -> if seen i j then 1.0 else 0.0 |] |]

    let lnK = logK n

    let simulator =
        Simulator.create "hole" [ "A"; "B" ] [ n; n ] [ n; n ] (fun theta noise ->
            gaussian lnK (parameter theta 0L) (parameter theta 1L) noise)
        |> Observation.noisy (White 0.5)
        |> Observation.masked footprint

    let fisher (theta: float[]) =
        let at =
            [| for i in 0 .. n - 1 do
                   for j in 0 .. n - 1 do
                       if seen i j then
                           (i, j) |]

        let power = (lnK * number -theta[1]).exp()

        let matrix (spectrum: Tensor) =
            let r = Tensors.toArray2D (torch.fft.ifft2(spectrum).real[0])

            Matrix<float>
                .Build.Dense(
                    at.Length,
                    at.Length,
                    fun a b ->
                        let (i, j), (k, l) = at[a], at[b]
                        r[(i - k + n) % n, (j - l + n) % n]
                )

        let inverse =
            (matrix (power * number theta[0])
             + Matrix<float>.Build.DiagonalIdentity at.Length * 0.25)
                .Inverse()

        let change =
            [| inverse * matrix power; inverse * matrix (-lnK * power * number theta[0]) |]

        Matrix<float>
            .Build.Dense(2, 2, fun a b -> 0.5 * (change[a].TransposeThisAndMultiply(change[b].Transpose())).Trace())

    simulator, fisher

let private settings quote =
    { ImnnSettings.Default with
        Features = Features.localStatistics
        Fit = quote
        Quote = quote }

let private kept settings simulator (fiducial: float[]) (fisher: Matrix<float>) =
    let compressor = Imnn.train settings simulator fiducial
    compressor.Network.Dispose()
    Fisher.retained compressor.Fisher fisher

let private kinds =
    [ "a line of odd length", [| 15L |], 1
      "a plane", [| 8L; 12L |], 1
      "three maps", [| 3L; 8L; 8L |], 3
      "two lines", [| 2L; 9L |], 2
      "a volume", [| 4L; 6L; 4L |], 1 ]

/// Fields (n, shape…) whose pixels are correlated and skewed, the last ones along the last axis zero if masked.
let private examples n (shape: int64[]) masked : Tensor =
    let white = normal 5UL (Array.append [| n |] shape)
    let x = (white + white.roll (1L, -1L) * number 0.7).exp()

    if masked then
        x.narrow(-1L, shape[shape.Length - 1] - 2L, 2L).zero_() |> ignore

    x

/// A network fitted to such fields, in double precision.
let private fitted shape channels masked =
    let network = SummaryNetwork.Create(describe shape channels, 1UL)
    network.Fit((examples 400L shape masked).``to`` torch.ScalarType.Float32)
    network

let private dense =
    [ tensorTest
          "the quantile function undoes a monotone function, with its slope, and goes on beyond what it was fitted to"
          (fun () ->
              let g = normal 3UL [| 200000L |]
              let tables = Gaussianisation.Tables(Gaussianisation.Fit(Tensors.toArray (g.exp ())))
              let z = torch.linspace (-3.0, 3.0, 61L, dtype = float64)
              let d = z.exp().reshape(1L, -1L)
              let u = Gaussianisation.Apply(Dual(d, torch.ones_like d), tables)
              Expect.isLessThan ((u.Primal - z).abs().max().ToDouble()) 0.05 "u = ln d"
              // du/dd = 1/d
              Expect.isLessThan (((u.Tangent * d) - number 1.0).abs().median().ToDouble()) 0.03 "slope"
              let far = torch.tensor([| -5.0; 0.0; 1e-6; 1e3; 1e9 |]).reshape(1L, -1L)
              let f (x: Dual) = Gaussianisation.Apply(x, tables)
              let values = Tensors.toArray (f (Dual far)).Primal
              Expect.equal values (Array.sort values) "rises"
              Expect.isTrue (values |> Array.forall (fun v -> abs v < 60.0)) "slowly"
              near 1e-6 "tangent" (tangentError f (Dual(d, torch.ones_like d))))

      tensorTest "values that many pixels share are no fault" (fun () ->
          let tables =
              Gaussianisation.Tables(Gaussianisation.Fit(Array.init 1000 (fun i -> float (i % 3))))

          let u =
              Gaussianisation.Apply(Dual(torch.tensor([| 0.0; 1.0; 2.0 |]).reshape(1L, -1L)), tables).Primal

          let values = Tensors.toArray u
          Expect.isTrue (values |> Array.forall Double.IsFinite) "finite"
          Expect.isTrue (values[0] < values[1] && values[1] < values[2]) "in order")

      tensorTest
          "C⁻¹u of a field with a hole is that of the dense matrix over what is seen, at once or step by step"
          (fun () ->
              for n, tolerance in [ 24L, 1e-4; 48L, 0.05 ] do
                  let lnK = logK (int n)
                  let power = (lnK * number -1.2).exp() + number 0.2

                  let spectrum =
                      torch.stack([| power; torch.zeros_like power |], -1L).narrow(2L, 0L, n / 2L + 1L)

                  let mask = torch.ones (1L, n, n)
                  mask.narrow(1L, 3L, n / 3L).narrow(2L, 5L, n / 4L).zero_() |> ignore
                  use covariance = new HomogeneousCovariance(spectrum.unsqueeze 0L, [| n; n |], mask)
                  let u = normal 4UL [| 2L; 1L; n; n |] * mask
                  let found = covariance.Field(covariance.Inverse u)
                  let at = mask.flatten().nonzero().squeeze 1L

                  let y, x =
                      at.div (number (float n), torch.RoundingMode.floor), at.remainder (number (float n))

                  let apart (p: Tensor) =
                      (p.unsqueeze 1L - p.unsqueeze 0L).remainder(number (float n))

                  let index = (apart y * number (float n) + apart x).to_type torch.ScalarType.Int64
                  let matrix = torch.fft.ifft2(power).real.flatten().take index
                  let expected = torch.linalg.solve (matrix, u.flatten(1L).index_select(1L, at).t())
                  let shown = found.flatten(1L).index_select(1L, at).t()

                  Expect.isLessThan
                      ((shown - expected).norm().ToDouble() / expected.norm().ToDouble())
                      tolerance
                      $"{n}²")

      tensorTest
          "what is left of noisy pixels is Wiener's filter of them, by white power that nobody told of"
          (fun () ->
              let n = 48L
              let signal = (logK (int n) * number -3.0).exp()

              let filtered noise =
                  let power = signal + number noise

                  let spectrum =
                      torch.stack([| power; torch.zeros_like power |], -1L).narrow(2L, 0L, n / 2L + 1L)

                  use covariance =
                      new HomogeneousCovariance(spectrum.unsqueeze 0L, [| n; n |], torch.ones (1L, n, n))

                  let u =
                      torch.fft.ifft2(torch.fft.fft2 (normal 4UL [| 8L; 1L; n; n |]) * power.sqrt ()).real

                  let w =
                      covariance.Filter(u, covariance.Field(covariance.Inverse u)) / covariance.Scale

                  let wiener = torch.fft.ifft2(torch.fft.fft2 u * signal / power).real
                  let away = ((w - wiener).norm() / wiener.norm ()).ToDouble()
                  let variance = w.square().mean().ToDouble()
                  covariance.Noise[0].ToDouble(), away, covariance.Scale[0].ToDouble() ** -2.0 / variance

              let floor, away, variance = filtered 0.2

              Expect.isLessThan
                  (abs (floor / 0.2 - 1.0))
                  0.3
                  $"the noise, and what is left of the signal in it: {floor}"

              Expect.isLessThan away 0.05 "S C⁻¹u"
              Expect.isLessThan (abs (variance - 1.0)) 0.1 "and its variance"
              // planted: the filter of other noise is another
              let _, other, _ = filtered 0.002
              Expect.isGreaterThan other 0.05 "a field whose own power is its floor") ]

let private rules =
    [ tensorTest "the same bits on one thread and several, and the same numbers of a field alone" (fun () ->
          use network = SummaryNetwork.Create(describe [| 64L; 64L |] 1, 1UL)
          network.Fit(normal 5UL [| 200L; 64L; 64L |])
          let x, dx = normal 6UL [| 40L; 64L; 64L |], normal 7UL [| 80L; 64L; 64L |]
          use _ = torch.no_grad ()

          let made threads from count =
              let before = TorchRuntime.Threads
              TorchRuntime.Threads <- threads

              try
                  let all =
                      network.Prepare(Dual(x.narrow (0L, from, count), dx.narrow (0L, 2L * from, 2L * count)))

                  Tensors.toArray all.Primal, Tensors.toArray all.Tangent
              finally
                  TorchRuntime.Threads <- before

          let one = made 1 0L 40L
          Expect.equal (made 4 0L 40L) one "four threads"
          let alone, _ = made 4 17L 1L
          let primal, _ = one
          let f = int network.Features
          close 1e-5 alone primal[17 * f .. 18 * f - 1] "one field")

      tensorTest
          "tangents are central differences: fitted or not, with a mask, with channels, odd sides, one to three axes"
          (fun () ->
              for name, shape, channels in kinds do
                  for fit, masked in [ false, false; true, false; true, true ] do
                      use network =
                          if fit then
                              fitted shape channels masked
                          else
                              SummaryNetwork.Create(describe shape channels, 1UL)

                      let x =
                          Dual(examples 3L shape masked, (sample (Array.append [| 3L |] shape) 2L).Tangent)

                      Expect.equal (network.Forward x).Primal.shape [| 3L; network.Features |] $"{name}: shape"
                      near 1e-5 $"{name}, fitted {fit}, masked {masked}" (tangentError network.Forward x))

      tensorTest "features of a batch are those of each field alone, and those of a large one in pieces, too" (fun () ->
          for name, shape, channels in kinds @ [ "pieces", [| 512L; 512L |], 1 ] do
              use network = SummaryNetwork.Create(describe shape channels, 1UL)
              use _ = torch.no_grad ()
              let x = examples 3L shape false
              let together = network.Forward(Dual x).Primal

              for i in 0L .. 2L do
                  near
                      1e-9
                      name
                      (difference (network.Forward(Dual(x.narrow (0L, i, 1L))).Primal.squeeze 0L) together[i]))

      tensorTest "nothing is told: a monotone function of all pixels changes no feature" (fun () ->
          let shape = [| 16L; 16L |]

          let features (f: Tensor -> Tensor) =
              use network = SummaryNetwork.Create(describe shape 1, 1UL)
              let x = (normal 6UL [| 500L; 16L; 16L |]) + (normal 7UL [| 500L; 1L; 16L |])
              network.Fit((f x).``to`` torch.ScalarType.Float32)
              // of the first scale: averages over pixels are other numbers
              network.Forward(Dual(f (x.narrow (0L, 0L, 20L)))).Primal.narrow(1L, 0L, 30L)

          let plain = features id
          let warped = features (fun x -> (x * number 0.6).exp() - number 3.0)
          let spread = plain.std (0L)
          Expect.isLessThan (((plain - warped) / spread).abs().median().ToDouble()) 0.02 "in standard deviations")

      tensorTest "without bins, or without the filter, there are as many features fewer" (fun () ->
          let count name (value: float) =
              let features = Features.localStatistics

              use network =
                  Features.describe
                      [| 16L; 16L |]
                      1
                      2
                      { features with
                          Settings = features.Settings.Add(name, value) }
                  |> fun description -> SummaryNetwork.Create(description, 1UL)

              network.Features

          let bands = Features.localStatistics.Settings["crossBands"]
          Expect.equal (count "bins" 11.0 - count "bins" 0.0) 11L "bins"
          // of each band and order, and a mean of each order
          Expect.equal (count "filtered" 2.0 - count "filtered" 0.0) (2L * (int64 bands + 1L)) "filtered")

      tensorTest "every feature varies, of white fields, too, of which a filter leaves nothing" (fun () ->
          for name, shape, channels in kinds do
              use network = SummaryNetwork.Create(describe shape channels, 1UL)
              let x = normal 8UL (Array.append [| 5000L |] shape)
              network.Fit(x.``to`` torch.ScalarType.Float32)
              let spread = network.Forward(Dual x).Primal.std 0L
              Expect.isGreaterThan (spread.min().ToDouble()) 0.0 name)

      tensorTest "fields that do not vary, and constants of another shape, are refused by name" (fun () ->
          use network = SummaryNetwork.Create(describe [| 2L; 8L; 8L |] 2, 1UL)
          let fields = (normal 8UL [| 20L; 2L; 8L; 8L |]).``to`` torch.ScalarType.Float32
          fields.select(1L, 1L).fill_(number 3.0) |> ignore
          refuses<SettingException> [ "local statistics"; "channel 2" ] (fun () -> network.Fit fields)) ]

let private information =
    [ tensorTest
          "a warped Gaussian field, told nothing, keeps 0.9 of the exact information of four parameters; a filter bank, nothing"
          (fun () ->
              let fiducial = [| 2.0; 1.0; 0.3; 0.8 |]
              let fisher = warpedFisher 32 fiducial 20000
              let local = kept (settings 8000) (warped 32) fiducial fisher

              let quadratic =
                  kept
                      { settings 4000 with
                          Features = Features.filterBank 8 5 2
                          MinIterations = 30
                          MaxIterations = 30 }
                      (warped 32)
                      fiducial
                      fisher

              Expect.isGreaterThan local 0.88 $"local statistics kept {local:g3}"
              Expect.isLessThan local 1.08 $"local statistics kept {local:g3}: more than there is"
              Expect.isLessThan quadratic 0.01 $"filter bank kept {quadratic:g3}")

      tensorTest "a field with a hole and noise keeps 0.93, and a field that is not periodic" (fun () ->
          let simulator, fisher = hole 24
          let fiducial = [| 1.0; 1.0 |]
          let masked = kept (settings 10000) simulator fiducial (fisher fiducial)
          Expect.isGreaterThan masked 0.92 $"kept {masked:g3}"
          Expect.isLessThan masked 1.06 $"kept {masked:g3}: more than there is"
          let open' = CorrelatedLogNormal.create 12

          let edge =
              kept (settings 10000) open'.Simulator [| 0.95; 0.55 |] (open'.Exact.Fisher [| 0.95; 0.55 |])

          Expect.isGreaterThan edge 0.92 $"correlated log-normal kept {edge:g3}"
          Expect.isLessThan edge 1.06 $"correlated log-normal kept {edge:g3}: more than there is")

      tensorTest "what was fitted is saved and loaded, and refused where it is damaged" (fun () ->
          inFolder (fun folder ->
              let path = Path.Combine(folder, "local.imnn")
              let simulator = warped 16
              let fiducial = [| 2.0; 1.0; 0.3; 0.8 |]

              let saved =
                  Imnn.train
                      { settings 1000 with
                          Features = Features.beside [ Features.localStatistics; Features.bandPower 4 ] }
                      simulator
                      fiducial

              CompressorFile.save path saved
              let field = Simulator.field simulator fiducial 3UL

              Expect.equal
                  (Compressor.estimate (CompressorFile.load path) field)
                  (Compressor.estimate saved field)
                  "estimate"

              let file = Npz.read path
              let key = "constants/1.1.spectrum"

              for shape, words in [ [| 3 |], [ "spectrum"; "(3)" ]; [| 1; 1; 16; 9; 2 |], [ key; "NaN" ] ] do
                  let damaged =
                      { file.Arrays[key] with
                          Shape = shape
                          Data = Array.create (Array.fold (*) 1 shape) nan }

                  let data =
                      if shape.Length = 1 then
                          { damaged with
                              Data = [| 1.0; 2.0; 3.0 |] }
                      else
                          damaged

                  Npz.write
                      path
                      { file with
                          Arrays = file.Arrays.Add(key, data) }

                  refuses<StoreException> (path :: words) (fun () -> CompressorFile.load path |> ignore)

              Npz.write
                  path
                  { file with
                      Arrays = file.Arrays.Remove key }

              refuses<StoreException> [ path; key ] (fun () -> CompressorFile.load path |> ignore))) ]

let tests =
    testSequenced
    <| testList "local statistics" [ yield! dense; yield! rules; yield! information ]
