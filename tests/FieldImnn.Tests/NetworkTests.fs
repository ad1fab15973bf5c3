/// Networks against independent truths: tangents and weight gradients against central differences in float64 (and torch's own reverse mode), the composed and the
/// spectral evaluation against the definitions they replace.
module NetworkTests

open System
open Expecto
open FieldImnn.Core
open FieldImnn.Core.Networks
open TestSupport
open TorchSharp

type Tensor = torch.Tensor

let private float64 = torch.ScalarType.Float64

/// n rows with p tangents each.
let sample (shape: int64[]) p =
    Dual(normal 1UL shape, normal 2UL (Array.append [| shape[0] * p |] shape[1..]))

/// max |a − b| / max |b|
let difference (a: Tensor) (b: Tensor) =
    if a.shape <> b.shape then
        infinity
    else
        (a - b).abs().max().ToDouble() / b.abs().max().ToDouble()

/// The tangent of f at x by central differences of its values, one parameter at a time.
let byDifferences (f: Dual -> Dual) (x: Dual) =
    let step = 1e-6
    let tangent = x.TangentByParameter

    let derivative (a: int) =
        let direction = tangent.select (1L, int64 a)

        let value (sign: float) =
            f(Dual(x.Primal + direction * (sign * step).ToScalar())).Primal

        (value 1.0 - value -1.0) / (2.0 * step).ToScalar()

    torch.stack([| for a in 0 .. x.Parameters - 1 -> derivative a |], 1L).flatten(0L, 1L)

/// How far the pushed-forward tangent is from central differences, relative to the largest.
let tangentError (f: Dual -> Dual) (x: Dual) =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    difference (f x: Dual).Tangent (byDifferences f x)

/// The tangent of f at x by torch's own reverse mode: the gradient of every feature by the field, then its product with the tangent.
/// Exact where central differences step over a kink, and independent of our forward rules.
let byReverse (f: Dual -> Dual) (x: Dual) =
    use _ = torch.enable_grad ()
    let point = x.Primal.detach().clone().requires_grad_ true
    let y = f(Dual point).Primal

    let feature j =
        let total = y.select(1L, j).sum()

        let gradient =
            torch.autograd.grad ([| total |], [| point |], retain_graph = true) |> Seq.head

        (gradient.unsqueeze 1L * x.TangentByParameter).flatten(2L).sum 2L

    torch.stack([| for j in 0L .. y.shape[1] - 1L -> feature j |], 2L).flatten(0L, 1L)

let private image = sample [| 3L; 4L; 9L; 7L |] 2L
let private vector = sample [| 3L; 6L |] 2L

let private positive (x: Dual) =
    Dual(x.Primal.abs () + 0.5.ToScalar(), x.Tangent)

let private kernel = normal 3UL [| 5L; 4L; 3L; 3L |]
let private bias = normal 4UL [| 5L |]

let private operations: (string * (Dual -> Dual) * Dual) list =
    [ "convolution", (fun x -> x.Convolve(kernel, bias, 2L, Border(0L, 1L), Border(1L, 2L))), image
      "convolution without padding", (fun x -> x.Convolve(kernel, bias)), image
      "zero padding", (fun x -> x.PadZero(Border(1L, 0L), Border(0L, 2L))), image
      "circular padding", (fun x -> x.PadCircular(Border(3L, 2L), Border(9L, 1L))), image
      "subsampling", (fun x -> x.Subsample 4L), image
      "leaky ReLU", (fun x -> x.LeakyReLU()), image
      "SiLU", (fun x -> x.SiLU()), image
      "square", (fun x -> x.Square()), image
      "logarithm", (fun x -> x.Log()), positive image
      "inverse hyperbolic sine", (fun x -> x.Asinh()), image
      "mean", (fun x -> x.Mean()), image
      "average pooling", (fun x -> x.AveragePool()), image
      "max pooling", (fun x -> x.MaxPool()), image
      "strided max pooling", (fun x -> x.MaxPool 4L), image
      "linear", (fun x -> x.Linear(normal 5UL [| 2L; 6L |], normal 6UL [| 2L |])), vector
      "concatenation", (fun x -> DualOperations.Concatenate(x, x.Square(), x.SiLU())), image
      "flattening", (fun x -> x.Flatten()), image
      "constant", (fun x -> x.Add(normal 7UL [| 1L; 4L; 9L; 7L |])), image ]

let create description =
    let network = SummaryNetwork.Create(description, 11UL)
    network.To float64
    network

/// A small inception network whose biases matter.
let private inception n =
    let network =
        create (NetworkDescription.Inception([| n; n |], 3L)) :?> InceptionNetwork

    use _ = torch.no_grad ()

    network.Parameters
    |> Seq.iteri (fun i struct (name, weight) ->
        if name.EndsWith ".bias" then
            weight.copy_ (normal (uint64 i) weight.shape) |> ignore)

    network

let private filterBank shape size =
    create (NetworkDescription.FilterBank(shape, 4L, size)) :?> FilterBankNetwork

/// A loss that depends on values and tangents.
let private loss (f: Dual -> Dual) x =
    let y: Dual = f x
    y.Primal.square().mean() + y.Tangent.square().mean()

/// Largest error of ∂loss/∂w by reverse mode against central differences, for the first element of each weight, relative.
let gradientError (network: SummaryNetwork) (x: Dual) =
    use _ = torch.NewDisposeScope()
    let weights = [| for struct (_, weight) in network.Parameters -> weight :> Tensor |]

    let gradients =
        torch.autograd.grad ([| loss network.Forward x |], weights) |> Seq.toArray

    let step = 1e-6

    let byDifference (weight: Tensor) =
        use _ = torch.no_grad ()
        let first = weight.view(-1L).narrow(0L, 0L, 1L)

        let at (shift: float) =
            first.add_ (shift.ToScalar()) |> ignore
            (loss network.Forward x).ToDouble()

        let above = at step
        let below = at (-2.0 * step)
        at step |> ignore
        (above - below) / (2.0 * step)

    let pairs =
        Array.map2 (fun (g: Tensor) w -> g.reshape(-1L).[0L].ToDouble(), byDifference w) gradients weights

    let scale = pairs |> Array.map (snd >> abs) |> Array.max
    pairs |> Array.map (fun (a, b) -> abs (a - b) / scale) |> Array.max

let near tolerance what error =
    Expect.isLessThan error tolerance $"{what}: relative error"

/// Values, tangents and the gradients by the weights of two evaluations of one network.
let disagreement (network: SummaryNetwork) (f: Dual -> Dual) (g: Dual -> Dual) x =
    use _ = torch.NewDisposeScope()
    let weights = [| for struct (_, weight) in network.Parameters -> weight :> Tensor |]

    let gradients h =
        torch.autograd.grad ([| loss h x |], weights) |> Seq.toArray

    let a, b = f x, g x

    let scale =
        gradients g |> Array.map (fun t -> t.abs().max().ToDouble()) |> Array.max

    let worst =
        Array.map2 (fun (s: Tensor) (t: Tensor) -> (s - t).abs().max().ToDouble() / scale) (gradients f) (gradients g)

    max (max (difference a.Primal b.Primal) (difference a.Tangent b.Tangent)) (Array.max worst)

let private single (x: Dual) =
    Dual(x.Primal.``to`` torch.ScalarType.Float32, x.Tangent.``to`` torch.ScalarType.Float32)

let tests =
    testList
        "networks"
        [ testList
              "the tangent of an operation is its directional derivative"
              [ for name, f, x in operations -> testCase name (fun () -> near 1e-7 name (tangentError f x)) ]

          testCase "a wrong rule is caught" (fun () ->
              let wrong (x: Dual) =
                  x.Pointwise(x.Primal.square (), (fun () -> x.Primal))

              Expect.isGreaterThan (tangentError wrong image) 0.1 "half the tangent of a square"

              let unmoved (x: Dual) = Dual(x.MaxPool().Primal, x.Tangent)
              Expect.isGreaterThan (tangentError unmoved image) 0.1 "max pooling with the tangent left in place"

              let reordered (x: Dual) =
                  let y = x.Square()

                  if y.Parameters = 0 then
                      y
                  else
                      Dual(y.Primal, y.Tangent.reshape(2L, 3L, 4L, 9L, 7L).transpose(0L, 1L).flatten(0L, 1L))

              Expect.isGreaterThan
                  (tangentError reordered image)
                  0.1
                  "tangents parameter-major instead of sample-major")

          testCase "'SAME' padding is that of TensorFlow" (fun () ->
              // tf.nn documentation: total = max((⌈n/s⌉ − 1) s + k − n, 0), the odd element at the end
              Expect.equal (Border.Same(128L, 5L, 4L)) (Border(0L, 1L)) "5 at stride 4 on 128"
              Expect.equal (Border.Same(128L, 3L, 4L)) (Border(0L, 0L)) "3 at stride 4 on 128"
              Expect.equal (Border.Same(2L, 5L, 4L)) (Border(1L, 2L)) "5 at stride 4 on 2"
              Expect.equal (Border.Same(9L, 3L, 1L)) (Border(1L, 1L)) "3 at stride 1")

          testCase "max pooling at strides is max pooling, subsampled" (fun () ->
              let y, z = image.MaxPool 4L, image.MaxPool().Subsample 4L
              Expect.equal (difference y.Primal z.Primal, difference y.Tangent z.Tangent) (0.0, 0.0) "equal")

          testCase "inception: tangents and weight gradients" (fun () ->
              for n in [ 128L; 21L ] do
                  use network = inception n
                  let x = sample [| 2L; n; n |] 2L
                  use _ = torch.NewDisposeScope()

                  near
                      1e-12
                      $"composed, {n}"
                      (difference (network.Composed x).Tangent (byReverse network.Straightforward x))

                  near
                      1e-12
                      $"straightforward, {n}"
                      (difference (network.Straightforward x).Tangent (byReverse network.Composed x))

                  near 1e-4 $"central differences, {n}" (tangentError network.Composed x)

              use network = inception 21L
              near 1e-5 "gradient" (gradientError network (sample [| 2L; 21L; 21L |] 2L)))

          testCase "inception: composed = straightforward" (fun () ->
              for n in [ 128L; 20L; 37L ] do
                  use network = inception n
                  let x = sample [| 3L; n; n |] 2L
                  near 1e-12 $"float64, {n}" (disagreement network network.Composed network.Straightforward x)
                  network.To torch.ScalarType.Float32
                  near 1e-5 $"float32, {n}" (disagreement network network.Composed network.Straightforward (single x)))

          testCase "inception: the published size has the published weights" (fun () ->
              use network =
                  SummaryNetwork.Create(NetworkDescription.Inception [| 128L; 128L |], 1UL)
              // per block with c inputs and 55 filters: four (or two) 1×1, 55² (9 + 25) and the biases
              let block c =
                  4L * (c * 55L + 55L) + 55L * 55L * 34L + 110L

              let expected =
                  block 1L + 2L * block 220L + 2L * (220L * 55L + 55L) + (110L * 2L + 2L)

              Expect.equal
                  (network.Parameters |> Seq.sumBy (fun struct (_, w) -> w.numel ()))
                  expected
                  "number of weights")

          testCase "filter bank: tangents and weight gradients" (fun () ->
              for shape in [ [| 32L |]; [| 16L; 24L |]; [| 8L; 8L; 8L |] ] do
                  use network = filterBank shape 3L
                  let x = sample (Array.append [| 2L |] shape) 2L
                  near 1e-6 $"{shape.Length} dimensions" (tangentError network.Forward x)
                  near 1e-6 $"{shape.Length} dimensions" (gradientError network x))

          testCase "filter bank: spectral = direct" (fun () ->
              // 8² on the coarsest level: filters of 7 overlap themselves around the border
              for n, size in [ 64L, 7L; 32L, 7L; 32L, 4L ] do
                  use network = filterBank [| n; n |] size
                  let x = sample [| 3L; n; n |] 2L
                  near 1e-12 $"float64, {n}, {size}" (disagreement network network.Forward network.Direct x)
                  network.To torch.ScalarType.Float32
                  near 1e-5 $"float32, {n}, {size}" (disagreement network network.Forward network.Direct (single x)))

          testCase "filter bank: a filter of one point measures the mean square" (fun () ->
              use network = filterBank [| 4L; 4L; 4L |] 1L
              let x = normal 8UL [| 2L; 4L; 4L; 4L |]
              let struct (_, weight) = network.Parameters[0]
              let w = weight.detach().reshape(3L, 4L)

              let expected =
                  (x.square().mean([| 1L; 2L; 3L |]).unsqueeze 1L * w[0L].square()).log()

              near 1e-12 "first level" (difference (network.Forward(Dual x).Primal.narrow(1L, 0L, 4L)) expected))

          testCase "axis filters: tangents and weight gradients" (fun () ->
              use network =
                  create (NetworkDescription.AxisFilters([| 7L; 7L |], 1.2, 0.01, 2L, 3L, 2L, 3L))

              let x = sample [| 3L; 7L; 7L |] 2L
              near 1e-5 "tangents" (tangentError network.Forward (positive x))
              near 1e-5 "gradient" (gradientError network (positive x)))

          testCase
              "axis filters: features are the means of products written out; transposed fields have the same"
              (fun () ->
                  // one matrix and no nonlinear weight: u = (t, 0), y = (I + W) t (I + W)ᵀ, features ⟨y²⟩ and ⟨y⟩ among zeros
                  use network =
                      create (NetworkDescription.AxisFilters([| 5L; 5L |], 1.2, 0.01, 1L, 2L, 1L, 2L))

                  use _ = torch.no_grad ()

                  let weight name =
                      network.Parameters
                      |> Seq.pick (fun struct (n, w) -> if n = name then Some w else None)

                  (weight "sums").zero_() |> ignore
                  let f = (sample [| 1L; 5L; 5L |] 1L).Primal
                  let t = ((f + 1.2) / 0.02).asinh() - Math.Asinh(1.2 / 0.02).ToScalar()
                  let within = torch.ones(5L, 5L, dtype = float64).tril(2L).triu -2L
                  let m = (weight "filters")[0] * within + torch.eye (5L, dtype = float64)
                  let y = m.matmul(t[0]).matmul(m.t ())
                  let features = network.Forward(Dual f).Primal[0]
                  let sorted (x: Tensor) = let struct (v, _) = x.sort () in v
                  let expected = torch.stack [| y.square().mean(); y.mean () |]
                  let zeros = torch.zeros (features.shape[0] - 2L, dtype = float64)
                  near 1e-12 "features" (difference (sorted features) (sorted (torch.cat [| expected; zeros |])))

                  use isotropic =
                      create (NetworkDescription.AxisFilters([| 5L; 5L |], 1.2, 0.01, 2L, 3L, 2L, 2L))

                  let transposed = isotropic.Forward(Dual(f.mT)).Primal
                  near 1e-12 "transposed" (difference transposed (isotropic.Forward(Dual f).Primal)))

          testCase "the same seed gives the same weights, another seed others" (fun () ->
              for description in
                  [ NetworkDescription.Inception([| 16L; 16L |], 2L)
                    NetworkDescription.FilterBank [| 16L; 16L |]
                    NetworkDescription.AxisFilters([| 16L; 16L |], 1.0) ] do
                  let weights seed =
                      torch.rand 3L |> ignore // the global generator must not matter
                      use network = SummaryNetwork.Create(description, seed)

                      [| for struct (_, w) in network.Parameters do
                             yield! w.detach().flatten().data<float32>().ToArray() |]

                  Expect.equal (weights 5UL) (weights 5UL) "same seed"
                  Expect.notEqual (weights 5UL) (weights 6UL) "another seed")

          testCase "a description survives JSON" (fun () ->
              let description = NetworkDescription.FilterBank([| 16L; 16L |], 5L)
              let text = Text.Json.JsonSerializer.Serialize description

              use network =
                  SummaryNetwork.Create(Text.Json.JsonSerializer.Deserialize<NetworkDescription> text, 1UL)

              Expect.equal network.Features 15L "features of the network rebuilt")

          testCase "mistakes are named" (fun () ->
              use network = filterBank [| 16L; 16L |] 3L

              Expect.throwsT<ShapeException>
                  (fun () -> network.Forward(Dual(torch.zeros (2L, 8L, 8L))) |> ignore)
                  "field"

              Expect.throwsT<ShapeException>
                  (fun () -> Dual(torch.zeros (2L, 3L), torch.zeros (3L, 3L)) |> ignore)
                  "tangent"

              Expect.throwsT<SettingException> (fun () -> filterBank [| 18L; 18L |] 3L |> ignore) "pyramid"

              Expect.throwsT<SettingException>
                  (fun () -> create (NetworkDescription.AxisFilters([| 8L; 16L |], 1.0)) |> ignore)
                  "axes of different length"

              Expect.throwsT<SettingException>
                  (fun () -> SummaryNetwork.Create(NetworkDescription("other", [| 8L |]), 1UL) |> ignore)
                  "kind") ]
