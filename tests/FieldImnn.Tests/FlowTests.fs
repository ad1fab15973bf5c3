/// Conditional densities: masks, Jacobians, normalisation, inverses; and their training on distributions that are known.
module FlowTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Flows
open MathNet.Numerics.Distributions
open TestSupport
open TorchSharp

let private kinds =
    [ Maf(4, [ 16; 16 ]); Spline(2, 6, [ 16; 16 ]); Mixture(3, [ 16 ]) ]

let private normal (seed: int) (shape: int64[]) =
    use generator = new torch.Generator(uint64 seed)
    torch.randn (shape, generator = generator)

/// An ensemble whose weights are all random, the last layers' too.
let private shaken kind members d c =
    let density = DensityEstimator.create kind members d c 3UL
    density.Weights.Load(normal 5 density.Weights.Values.shape * 0.2)
    density

let private flow kind d =
    shaken kind 2 d 2 :?> AutoregressiveFlow

/// ∂f_i/∂x_j of member 1 at one point, by automatic differentiation.
let private jacobian (f: Tensor -> Tensor) (x: Tensor) =
    let point = x.detach().requires_grad_ true
    let values = f point

    Array.init (int values.shape[2]) (fun i ->
        let gradient =
            torch.autograd.grad ([| values[1, 0, i] |], [| point |], retain_graph = true)
            |> Seq.head

        Tensors.toArray gradient[1, 0])

/// ∫ q dx over [−12, 12]^d by the midpoint rule, for a condition.
let private mass d (density: Tensor -> Tensor) =
    let n = if d = 1 then 4000 else 400
    let step = 24.0 / float n
    let axis = torch.linspace (-12.0 + step / 2.0, 12.0 - step / 2.0, int64 n)

    let points =
        if d = 1 then
            axis.unsqueeze 1L
        else
            torch.cartesian_prod [| axis; axis |]

    (density (points.unsqueeze(0L).expand(2L, -1L, -1L))).exp().sum(1L)
    * step ** float d
    |> Tensors.toArray

let private layers =
    testList
        "layers"
        [ for kind in List.take 2 kinds do
              tensorTest
                  $"{kind}: each network sees only what lies before, in an order that turns from layer to layer"
                  (fun () ->
                      use density = flow kind 3
                      let x, c = normal 1 [| 2L; 1L; 3L |], normal 2 [| 2L; 1L; 2L |]

                      density.Networks
                      |> Seq.iteri (fun layer network ->
                          let j = jacobian (fun x -> (network.Forward(x, c)).select(-1L, 0L)) x

                          for i in 0..2 do
                              for k in 0..2 do
                                  let before = if layer % 2 = 0 then k < i else k > i
                                  let slope: float = j[i][k]
                                  let what = $"layer {layer}: parameters of x{i} by x{k}: {slope}"

                                  if before then
                                      Expect.notEqual slope 0.0 what
                                  else
                                      Expect.equal slope 0.0 what))

              tensorTest $"{kind}: every layer has weights of its own" (fun () ->
                  use density = flow kind 3
                  let x, c = normal 1 [| 2L; 5L; 3L |], normal 2 [| 2L; 5L; 2L |]

                  let outputs () =
                      [ for network in density.Networks -> Tensors.toArray (network.Forward(x, c)) ]

                  let before = outputs ()
                  let count = density.Weights.Leaves.Count / before.Length

                  for layer in 0 .. before.Length - 1 do
                      use _ = torch.no_grad ()
                      let weight = density.Weights.Leaves[layer * count]
                      let kept = weight.clone ()
                      weight.add_ (0.1.ToScalar()) |> ignore
                      let changed = List.map2 (<>) before (outputs ())
                      weight.copy_ kept |> ignore
                      Expect.equal changed (List.init before.Length ((=) layer)) $"only layer {layer} has changed")

              tensorTest $"{kind}: the inverse returns x, and the log determinant is that of the Jacobian" (fun () ->
                  use density = flow kind 3
                  let x, c = 2.0 * normal 1 [| 2L; 400L; 3L |], normal 2 [| 2L; 400L; 2L |]
                  let struct (u, _) = density.Forward(x, c)
                  let away = (density.Inverse(u, c) - x).abs().max() |> Tensors.toNumber
                  Expect.isLessThan away 1e-5 "inverse(forward x) = x"

                  // in double precision, with weights far wilder than training makes them
                  use wild: AutoregressiveFlow =
                      match kind with
                      | Spline _ -> new SplineFlow(2, 3, 2, 2, 6, [| 16; 16 |], 1UL, torch.float64)
                      | _ -> new MaskedAutoregressiveFlow(2, 3, 2, 4, [| 16; 16 |], 1UL, torch.float64)

                  wild.Weights.Load(normal 6 wild.Weights.Values.shape * 0.4)
                  let x, c = x.``to`` torch.float64, c.``to`` torch.float64
                  let struct (u, _) = wild.Forward(x, c)
                  let away = (wild.Inverse(u, c) - x).abs().max() |> Tensors.toNumber
                  Expect.isLessThan away 1e-6 "in double precision"
                  let x, c = x.``to`` torch.float32, c.``to`` torch.float32
                  let one (t: Tensor) = t.narrow (1L, 7L, 1L)
                  let struct (_, logDeterminant) = density.Forward(one x, one c)

                  let j =
                      jacobian (fun x -> let struct (u, _) = density.Forward(x, one c) in u) (one x)

                  let exact =
                      MathNet.Numerics.LinearAlgebra.Matrix<float>.Build.DenseOfRowArrays(j).Determinant()
                      |> abs
                      |> log

                  Expect.isLessThan (abs (exact - Tensors.toNumber logDeterminant[1, 0])) 1e-4 "ln |det ∂u/∂x|")

          for kind in kinds do
              for d in 1..2 do
                  tensorTest
                      $"{kind}: the density of {d} dimensions integrates to one; without its Jacobian it does not"
                      (fun () ->
                          use density = shaken kind 2 d 2

                          let condition (x: Tensor) =
                              (normal 2 [| 2L; 1L; 2L |]).expand(-1L, x.shape[1], -1L)

                          let found = mass d (fun x -> density.LogDensity(x, condition x))
                          close 2e-3 found [| 1.0; 1.0 |] "mass of both members"

                          match density with
                          | :? AutoregressiveFlow as flow ->
                              let planted =
                                  mass d (fun x ->
                                      let struct (_, logDeterminant) = flow.Forward(x, condition x)
                                      flow.LogDensity(x, condition x) - 0.1 * logDeterminant)

                              Expect.isGreaterThan (relative planted [| 1.0; 1.0 |]) 4e-3 $"planted: %A{planted}"
                          | _ -> ())

              tensorTest $"{kind}: samples have the density's mean and covariance" (fun () ->
                  use density = shaken kind 1 2 1
                  let n = 40000L
                  let condition = (normal 2 [| 1L; 1L; 1L |]).expand(-1L, n, -1L)
                  use generator = new torch.Generator(9UL)
                  let uniform = torch.rand ([| 1L; n |], generator = generator)
                  use _ = torch.no_grad ()
                  let samples = density.Sample(normal 8 [| 1L; n; 2L |], uniform, condition)
                  // E[w] = 1 for w = N(x; m, S)/q(x) over samples of q: an identity that needs no other route to q
                  let centre, deviation = samples.mean ([| 1L |], true), samples.std (1L, true, true)
                  let z = (samples - centre) / (0.5 * deviation)

                  let logNormal =
                      -0.5 * z.square().sum -1L - (2.0 * Math.PI * 0.25 * deviation.prod -1L).log()

                  let ratio = (logNormal - density.LogDensity(samples, condition)).exp()
                  let mean = ratio.mean () |> Tensors.toNumber
                  let error = (ratio.std () |> Tensors.toNumber) / sqrt (float n)
                  Expect.isLessThan (abs (mean - 1.0)) (4.0 * error + 1e-3) $"mean ratio {mean:F4} ± {error:F4}") ]

/// x ~ N(sin 2θ, (0.3 + 0.2 θ²)²): neither mean nor width are linear.
let private wave n =
    let random = Random 4
    let theta = Array.init n (fun _ -> [| 4.0 * random.NextDouble() - 2.0 |])

    let place (t: float[]) =
        sin (2.0 * t[0]), 0.3 + 0.2 * t[0] * t[0]

    let x =
        theta
        |> Array.map (fun t -> let m, s = place t in [| Normal.Sample(random, m, s) |])

    x, theta, Array.map2 (fun (x: float[]) t -> let m, s = place t in Normal.PDFLn(m, s, x[0])) x theta

let private quick kind =
    { EstimatorSettings.Default with
        Kind = kind
        Members = 2
        Training =
            { EstimatorSettings.Default.Training with
                LearningRate = 5e-3
                Patience = 6
                Reductions = 1
                Seed = 7UL } }

let private training =
    testList
        "training"
        [ for kind in [ Maf(2, [ 32 ]); Spline(1, 6, [ 32 ]); Mixture(2, [ 32 ]) ] do
              testCase $"{kind} learns a bent density; one that saw shuffled conditions does not" (fun () ->
                  let x, theta, exact = wave 3000
                  let train values = Array.take 2000 values
                  let test values = Array.skip 2000 values

                  let distance condition =
                      use learned = DensityEstimator.fit (quick kind) (train x) (train condition)
                      let q = DensityEstimator.logDensity learned (test x) (test theta)
                      (Array.map2 (-) (test exact) q |> Array.average)

                  let found = distance theta
                  Expect.isLessThan found 0.06 $"Kullback–Leibler distance {found:F3}"
                  let planted = distance (Array.rev theta)
                  Expect.isGreaterThan planted 0.3 $"planted: {planted:F3}")

          testCase "a linear Gaussian is held by the whitening alone, and density and samples agree with it" (fun () ->
              let random = Random 1

              let theta =
                  Array.init 4000 (fun _ -> Array.init 2 (fun _ -> Normal.Sample(random, 3.0, 2.0)))

              let x =
                  theta
                  |> Array.map (fun t -> [| 100.0 + t[0] - t[1] + Normal.Sample(random, 0.0, 0.01) |])

              use learned = DensityEstimator.fit (quick (Maf(2, [ 16 ]))) x theta
              let at = [| [| 2.0; 5.0 |] |]
              let q = DensityEstimator.logDensity learned [| [| 97.01 |] |] at
              Expect.isLessThan (abs (q[0] - Normal.PDFLn(97.0, 0.01, 97.01))) 0.1 "ln q"

              let draws =
                  DensityEstimator.sample learned 3UL (Array.create 4000 at[0])
                  |> Array.map Array.head

              let mean, sd =
                  MathNet.Numerics.Statistics.ArrayStatistics.MeanStandardDeviation(draws).ToTuple()

              Expect.isLessThan (abs (mean - 97.0)) 1e-3 "mean"
              Expect.isLessThan (abs (sd / 0.01 - 1.0)) 0.07 "sd"
              let fewer = DensityEstimator.sample learned 3UL (Array.create 10 at[0])

              // products of matrices of another size round otherwise in single precision, whose 10⁻⁷ are of the sd 0.01
              let largestDifference (others: float[]) =
                  Array.map2 (fun (a: float[]) b -> abs (a[0] - b)) fewer others |> Array.max

              Expect.isLessThan
                  (largestDifference (Array.take 10 draws))
                  1e-7
                  "draw i is the same in any number of them"

              Expect.isGreaterThan (largestDifference draws[1..10]) 1e-3 "and draw i + 1 is another")

          testCase "the same seed gives the same weights with one thread and with two" (fun () ->
              let x, theta, _ = wave 400

              let fit () =
                  use learned = DensityEstimator.fit (quick (Spline(1, 6, [ 16 ]))) x theta
                  Tensors.toArray learned.Density.Weights.Values

              Expect.equal (onThreads 1 fit) (onThreads 2 fit) "weights")

          testCase "the best weights on held-out simulations are kept" (fun () ->
              // few simulations and a large network: it over-fits, so its last epochs are not its best
              let x, theta, _ = wave 150

              let settings =
                  { quick (Maf(2, [ 64; 64 ])) with
                      HeldOut = 0.3
                      Members = 1
                      Training =
                          { (quick (Maf(2, [ 64; 64 ]))).Training with
                              Patience = 40 } }

              use learned = DensityEstimator.fit settings x theta
              let held = learned.History |> Array.map (fun r -> r.HeldOut[0])
              Expect.isGreaterThan (Array.last held) (Array.min held + 0.01) "it over-fits"
              let shift = Whitening.logDeterminant learned.Whitening
              let kept = -learned.HeldOutLogDensity - shift
              Expect.isLessThan (abs (kept - Array.min held)) 1e-4 "held-out loss of the kept weights")

          testCase "stacking finds the mixture that made the points, and drops a member that is wrong" (fun () ->
              let random = Random 2

              let points =
                  Array.init 4000 (fun _ ->
                      Normal.Sample(random, (if random.NextDouble() < 0.3 then -1.0 else 1.0), 1.0))

              let members = [| -1.0; 1.0; 8.0 |]

              let found =
                  members
                  |> Array.map (fun m -> points |> Array.map (fun x -> Normal.PDFLn(m, 1.0, x)))
                  |> DensityEstimator.stack

              Expect.isLessThan (abs (found[0] - 0.3)) 0.05 $"%A{found}"
              Expect.isLessThan found[2] 0.002 $"%A{found}")

          testCase "refuses data that no density can be learned from" (fun () ->
              let x, theta, _ = wave 200

              let fit x theta =
                  DensityEstimator.fit (quick (Maf(2, [ 16 ]))) x theta |> ignore

              refuses<ShapeException> [ "200"; "199" ] (fun () -> fit x (Array.take 199 theta))
              refuses<NonFiniteException> [ "NaN" ] (fun () -> fit (Array.append [| [| nan |] |] x[1..]) theta)
              refuses<SingularMatrixException> [ "conditions" ] (fun () -> fit x (Array.create 200 [| 1.0 |]))
              refuses<SettingException> [ "learn from" ] (fun () -> fit (Array.take 5 x) (Array.take 5 theta))) ]

let tests = testList "flows" [ layers; training ]
