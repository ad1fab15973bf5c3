module AutodiffTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open TestSupport
open TorchSharp

// Truth: closed forms, and central differences extrapolated to zero step (Richardson), in double precision.

let private vector (values: float list) = Tensors.ofVector (Array.ofList values)

let private extrapolated (f: Tensor -> Tensor) (x: Tensor) (v: Tensor) =
    let central h =
        (f (x + v * h) - f (x - v * h)) / (2.0 * h)
    // steps h, h/2, h/4: errors of order h² and h⁴ removed
    let a, b, c = central 4e-3, central 2e-3, central 1e-3
    let ab, bc = (b * 4.0 - a) / 3.0, (c * 4.0 - b) / 3.0
    (bc * 16.0 - ab) / 15.0 |> Tensors.toArray

let private compare f x v =
    close 1e-9 (Autodiff.jacobianv f x v |> Tensors.toArray) (extrapolated f x v) "jacobian–vector product"

let private kernel =
    torch.linspace (-1.0, 1.0, 18L, dtype = torch.ScalarType.Float64)

let private convolved (x: Tensor) =
    torch.nn.functional.conv2d(x.reshape (1L, 1L, 6L, 6L), kernel.reshape (2L, 1L, 3L, 3L)).tanh().flatten()

let private transformed (x: Tensor) =
    let k = torch.fft.rfft2 (x.reshape (6L, 6L))
    torch.fft.irfft2(k * (k.abs().square() + 1.0).log()).flatten()

let private image =
    (torch.linspace (0.1, 2.0, 36L, dtype = torch.ScalarType.Float64)).sin()

let private direction =
    (torch.linspace (3.0, 5.0, 36L, dtype = torch.ScalarType.Float64)).cos()

/// A square whose backward rule is wrong by a factor: half of the product is cut from the graph.
let private plantedSquare (x: Tensor) = x * x.detach ()

let tests =
    testList
        "autodiff"
        [ tensorTest "Jacobians by both modes, tall and wide, of a linear map" (fun () ->
              let m =
                  torch.arange(12.0.ToScalar(), dtype = torch.ScalarType.Float64).reshape(4L, 3L)

              let tall = Autodiff.jacobian (fun x -> m.matmul x) (vector [ 1.0; 2.0; 3.0 ])
              close 1e-15 (Tensors.toArray tall) (Tensors.toArray m) "4 × 3"

              let wide =
                  Autodiff.jacobian (fun x -> m.t().matmul x) (vector [ 1.0; 2.0; 3.0; 4.0 ])

              close 1e-15 (Tensors.toArray wide) (Tensors.toArray (m.t().contiguous())) "3 × 4"
              let v = vector [ 1.0; -1.0; 2.0; 0.5 ]
              let pulled = Autodiff.jacobianTv (fun x -> m.matmul x) (vector [ 1.0; 2.0; 3.0 ]) v
              close 1e-15 (Tensors.toArray pulled) (Tensors.toArray (m.t().matmul v)) "vector–Jacobian product")

          tensorTest "convolutions and Fourier transforms against extrapolated differences" (fun () ->
              compare convolved image direction
              compare transformed image direction)

          tensorTest "nested: the derivative of a derivative, through a convolution and a transform" (fun () ->
              let inner f (x: Tensor) = Autodiff.jacobianv f x direction
              compare (inner convolved) image direction
              compare (inner transformed) image direction
              // d/da of ∂/∂b (a b²) = 2b, with a captured by the inner closure
              let outer (a: Tensor) =
                  Autodiff.grad (fun (b: Tensor) -> a * b * b) (torch.tensor 1.5)

              close 1e-15 (Autodiff.grad outer (torch.tensor 0.3) |> Tensors.toArray) [| 3.0 |] "captured variable")

          tensorTest "the derivative of an IMNN loss through ∂x/∂θ" (fun () ->
              let weight = torch.linspace (-0.7, 0.9, 8L, dtype = torch.ScalarType.Float64)

              let data =
                  (torch.arange (640.0.ToScalar(), dtype = torch.ScalarType.Float64)).sin().reshape(40L, 16L)

              let loss (w: Tensor) =
                  let summaries (theta: Tensor) =
                      let d = data * theta[0] + (data * theta[1]).square()

                      d.matmul(torch.cat([| w; w.flip 0L |]).reshape(16L, 1L)).tanh()
                      |> fun x -> torch.cat ([| x; x.square () + d.narrow (1L, 0L, 1L) |], 1L)

                  let theta = vector [ 1.0; 0.5 ]
                  let x, dx = Autodiff.fjacobian summaries theta
                  let struct (fisher, _) = Fisher.ofSummaries x (dx.movedim ([| -1L |], [| 1L |]))
                  torch.logdet fisher

              let v = (torch.arange (8.0.ToScalar(), dtype = torch.ScalarType.Float64)).cos()
              let gradient = Autodiff.grad loss weight
              close 1e-9 [| gradient.dot(v).ToDouble() |] (extrapolated loss weight v) "gradient of −ln det F")

          tensorTest "a planted wrong rule is caught by the same comparison" (fun () ->
              Expect.throws (fun () -> compare plantedSquare image direction) "half of the product rule is missing"
              compare (fun x -> x * x) image direction)

          tensorTest "without a graph around it, a result carries none" (fun () ->
              use _ = torch.no_grad ()
              let g = Autodiff.grad (fun x -> (x * x).sum()) (vector [ 1.0; 2.0 ])
              Expect.isFalse g.requires_grad "detached"
              close 1e-15 (Tensors.toArray g) [| 2.0; 4.0 |] "value")

          tensorTest "wrong shapes and types are refused" (fun () ->
              refuses<ShapeException> [ "gradient"; "one number" ] (fun () ->
                  Autodiff.grad id (vector [ 1.0; 2.0 ]) |> ignore)

              refuses<ShapeException> [ "(2)" ] (fun () ->
                  Autodiff.jacobianv id (vector [ 1.0; 2.0 ]) (vector [ 1.0 ]) |> ignore)

              refuses<ShapeException> [ "floating" ] (fun () ->
                  Autodiff.grad (fun x -> x.sum ()) (torch.tensor [| 1L; 2L |]) |> ignore)) ]
