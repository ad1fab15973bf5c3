/// One training step of the published network on 128² fields with two parameters: features, their derivatives by the parameters,
/// −ln det F, and its gradient by all weights. The ordinary way takes the layers as they are written and gets the derivatives by reverse mode to
/// the field, one pass a summary; ours composes the kernels and pushes the tangents forward.
module TrainingStep

open FieldImnn.Core.Networks
open TorchSharp

type Tensor = torch.Tensor

let private images, side, parameters = 12L, 128L, 2L

/// −ln det of F = μ'ᵀ C⁻¹ μ' from features (n, s) and their derivatives (n, p, s).
let private loss (features: Tensor) (derivatives: Tensor) =
    let centred = features - features.mean ([| 0L |], true)
    let covariance = centred.t().matmul(centred) / (float (images - 1L)).ToScalar()
    let slope = derivatives.mean [| 0L |]
    let fisher = slope.matmul (torch.linalg.solve (covariance, slope.t ()))
    fisher.logdet().neg()

let private toArray (t: Tensor) =
    t.detach().flatten().``to``(torch.float64).data<float>().ToArray()

/// Features, their derivatives and the gradient of every weight, end to end.
let private results (network: InceptionNetwork) (features: Tensor) (derivatives: Tensor) =
    let weights = [| for struct (_, weight) in network.Parameters -> weight :> Tensor |]

    let gradients =
        torch.autograd.grad ([| loss features derivatives |], weights) |> Seq.toArray

    let scaled (t: Tensor) = t / t.detach().abs().max()
    let gradient = torch.cat [| for g in gradients -> g.flatten () |]

    Array.concat
        [ toArray (scaled features)
          toArray (scaled derivatives)
          toArray (scaled gradient) ]

let private ordinary (network: InceptionNetwork) (fields: Dual) () =
    use _ = torch.NewDisposeScope()
    let point = fields.Primal.detach().requires_grad_ true
    let features = network.Straightforward(Dual point).Primal

    let derivative summary =
        let total = features.select(1L, summary).sum()

        let gradient =
            torch.autograd.grad ([| total |], [| point |], create_graph = true, retain_graph = true)
            |> Seq.head

        (gradient.unsqueeze 1L * fields.TangentByParameter).sum [| 2L; 3L |]

    results network features (torch.stack ([| for s in 0L .. network.Features - 1L -> derivative s |], 2L))

let private forward (evaluate: Dual -> Dual) (network: InceptionNetwork) (fields: Dual) () =
    use _ = torch.NewDisposeScope()
    let features = evaluate fields
    results network features.Primal features.TangentByParameter

let run alternations =
    use network =
        SummaryNetwork.Create(NetworkDescription.Inception [| side; side |], 1UL) :?> InceptionNetwork

    use generator = new torch.Generator(2UL)

    let normal (shape: int64[]) =
        torch.randn (shape, generator = generator)

    let fields =
        Dual(normal [| images; side; side |], normal [| images * parameters; side; side |])

    let composed = forward network.Composed network fields

    [ Ratio.compare "training step, published network" 3.0 alternations (ordinary network fields) composed
      Ratio.compare
          "of which the composed kernels (both with forward tangents)"
          1.0
          alternations
          (forward network.Straightforward network fields)
          composed ]
