/// The closed-form layer against what is known of it without simulations.
module LinearLayerTests

open Expecto
open FieldImnn
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// Features of a known law: Gaussian, of correlation r^|i − j|, whose mean changes with one parameter.
type private Law =
    { Covariance: Matrix<float>
      Change: Vector<float> }

let private law s =
    { Covariance = Matrix<float>.Build.Dense(s, s, fun i j -> 0.6 ** float (abs (i - j)))
      Change = Vector<float>.Build.Dense(s, fun i -> 0.1 * exp (-((float i - 20.0) / 8.0) ** 2.0)) }

/// n features (n, s) of the law, and derivatives (n, 1, s) that scatter by some number.
let private draw (law: Law) n scatter seed =
    let s = law.Change.Count
    let keys = NoiseKey.Range(seed, 0UL, n)

    let normal stream =
        Noise.Normal(keys, [| int64 s |], stream).``to`` torch.ScalarType.Float64

    let factor = Tensors.ofMatrix (law.Covariance.Cholesky().Factor)
    let change = Tensors.ofVector (law.Change.ToArray())
    (normal 0u).matmul(factor.t ()), (change + normal 1u * (scatter: float)).unsqueeze 1L

/// Part of the information μ,ᵀ C⁻¹ μ, that a layer keeps, by the law itself.
let private kept (law: Law) (layer: Matrix<float>) =
    let w = layer.Column 0
    let all = law.Change * law.Covariance.Solve law.Change
    (law.Change * w) ** 2.0 / (w * law.Covariance * w) / all

let private plain x dx =
    Fisher.bestLinear (Fisher.featureStatistics x dx)

let private mean law n scatter (fit: Tensor -> Tensor -> Matrix<float>) =
    List.averageBy
        (fun seed ->
            Tensors.using (fun () ->
                let x, dx = draw law n scatter (uint64 seed)
                kept law (fit x dx)))
        [ 1..30 ]

let tests =
    testSequenced
    <| testList
        "linear layer"
        [ tensorTest "without shrinkage it loses what Reed, Mallett & Brennan (1974) derive" (fun () ->
              // the mean of Beta(n − s + 2, s − 1) for n samples of a known mean; one of them is spent on the mean
              let s, n = 50, 200
              let expected = float (n - 1 - s + 2) / float n
              Expect.floatClose { absolute = 0.01; relative = 0.0 } (mean (law s) n 0.0 plain) expected "of 30 sets"

              let of4 = mean (law s) (n / 4 * 5) 0.0 plain
              Expect.isGreaterThan of4 (expected + 0.03) "more simulations keep more")

          tensorTest
              "cross-validation finds the shrinkage that keeps more, of noisy covariances and derivatives"
              (fun () ->
                  for scatter in [ 0.0; 1.0 ] do
                      let law = law 50
                      let without = mean law 200 scatter plain
                      let shrunk = mean law 200 scatter LinearLayer.fit
                      Expect.isGreaterThan shrunk (without + 0.05) $"kept, against {without} without")

          tensorTest "judged by the simulations that it was fitted to, no shrinkage would be chosen" (fun () ->
              let law = law 50
              let x, dx = draw law 200 0.0 1UL

              let own (layer: Matrix<float>) =
                  let s =
                      Fisher.statistics (Compressor.project (Some layer) x) (Compressor.project (Some layer) dx)

                  s.Fisher[0, 0]

              Expect.isGreaterThan
                  (own (plain x dx))
                  (own (LinearLayer.fit x dx))
                  "F of the same simulations is highest without")

          tensorTest "of many simulations it is that without shrinkage" (fun () ->
              let law = law 8
              let x, dx = draw law 40000 0.1 1UL
              Expect.floatClose { absolute = 1e-3; relative = 0.0 } (kept law (LinearLayer.fit x dx)) 1.0 "all is kept")

          tensorTest "the same bits wherever arrays lie in memory" (fun () ->
              let x, dx = draw (law 50) 300 1.0 1UL
              let first = LinearLayer.fit x dx

              for i in 1..40 do
                  let kept = Array.zeroCreate<byte>(i * 24) // moves what is allocated after it
                  Expect.equal (LinearLayer.fit x dx) first $"time {i}, behind {kept.Length} bytes")

          tensorTest "parameters that no layer tells apart, and hardly any simulations, get the plain one" (fun () ->
              let x, dx = draw (law 20) 300 0.0 1UL
              let both = torch.cat ([| dx; dx |], 1L)
              let layer = LinearLayer.fit x both
              Expect.isFalse (layer.Exists(fun v -> not (System.Double.IsFinite v))) "finite"

              let few, fewDx = draw (law 8) 15 0.3 1UL
              Expect.equal (LinearLayer.fit few fewDx) (plain few fewDx) "of 15 simulations")

          tensorTest "the same features twice, and ones of other units, change nothing" (fun () ->
              let law = law 20
              let x, dx = draw law 300 0.3 1UL
              let once = kept law (LinearLayer.fit x dx)

              let unit =
                  torch.linspace (-6.0, 6.0, 20L, dtype = torch.float64)
                  |> fun t -> (t * 2.0).exp()

              let scaled = LinearLayer.fit (x * unit) (dx * unit)

              let back = scaled.MapIndexed(fun i _ v -> v * Tensors.toNumber unit[int64 i])

              Expect.floatClose Accuracy.medium (kept law back) once "other units"

              let twice (t: Tensor) = torch.cat ([| t; t |], -1L)
              let both = LinearLayer.fit (twice x) (twice dx)
              let sum = both.SubMatrix(0, 20, 0, 1) + both.SubMatrix(20, 20, 0, 1)
              Expect.isGreaterThan (kept law sum) (once - 0.02) "twice") ]
