/// Every function of Autodiff against closed forms, worked out by hand; nested, and under each of its names.
module AutodiffVocabularyTests

open Expecto
open FieldImnn
open FieldImnn.Core
open TestSupport
open TorchSharp

let private vector (values: float list) = Tensors.ofVector (Array.ofList values)

let private cube (x: Tensor) = x * x * x

/// f = x₀² x₁ + sin x₁ + x₀ x₂³, its gradient, its Hessian and its third derivative along v, by hand.
let private potential (x: Tensor) =
    x[0].square() * x[1] + x[1].sin() + x[0] * cube x[2]

let private a, b, c = 1.3, 0.7, -0.9
let private point () = vector [ a; b; c ]
let private v = [ 0.4; -1.1; 0.6 ]

let private value = a * a * b + sin b + a * c ** 3.0
let private gradient = [| 2.0 * a * b + c ** 3.0; a * a + cos b; 3.0 * a * c * c |]

let private hessianRows =
    [| [| 2.0 * b; 2.0 * a; 3.0 * c * c |]
       [| 2.0 * a; -(sin b); 0.0 |]
       [| 3.0 * c * c; 0.0; 6.0 * a * c |] |]

let private third =
    [| 2.0 * v[1]
       2.0 * v[0]
       6.0 * c * v[2]
       2.0 * v[0]
       -(cos b) * v[1]
       0.0
       6.0 * c * v[2]
       0.0
       6.0 * c * v[0] + 6.0 * a * v[2] |]

let private dot (row: float[]) =
    Array.sum (Array.map2 (*) row (Array.ofList v))

let private laplacian = hessianRows |> Array.mapi (fun i row -> row[i]) |> Array.sum

/// F = (x₀ x₁ x₂², x₀³ x₂ + x₁², sin x₀ x₁ x₂), its Jacobian, its curl and its divergence, by hand.
let private flow (x: Tensor) =
    torch.stack
        [| x[0] * x[1] * x[2].square()
           cube x[0] * x[2] + x[1].square()
           x[0].sin() * x[1] * x[2] |]

let private flowValue = [| a * b * c * c; a ** 3.0 * c + b * b; sin a * b * c |]

let private flowJacobian =
    [| [| b * c * c; a * c * c; 2.0 * a * b * c |]
       [| 3.0 * a * a * c; 2.0 * b; a ** 3.0 |]
       [| cos a * b * c; sin a * c; sin a * b |] |]

let private curl =
    [| sin a * c - a ** 3.0
       2.0 * a * b * c - cos a * b * c
       3.0 * a * a * c - a * c * c |]

let private divergence = b * c * c + 2.0 * b + sin a * b

/// A function of one number with two components, e²ᵗ and t³.
let private curve (t: Tensor) =
    torch.stack [| (t * 2.0).exp(); cube t |]

let private time = 0.5

let private pair (value, derivative) = [ value; derivative ]
let private triple (value, first, second) = [ value; first; second ]
let private single (derivative: Tensor) = [ derivative ]

/// Each function of Autodiff under each of its names, what it gives for the functions above, and the closed forms.
let private vocabulary: (string * ((Tensor -> Tensor) -> Tensor list) * (Tensor -> Tensor) * float[] list) list =
    let t () = torch.tensor time
    let v () = vector v

    let curveAt n =
        [| 2.0 ** float n * exp (2.0 * time)
           [| time ** 3.0; 3.0 * time * time; 6.0 * time |][n] |]

    let hv = Array.map dot hessianRows
    let h = Array.concat hessianRows
    let gv = [| dot gradient |]
    let j = Array.concat flowJacobian
    let jv = Array.map dot flowJacobian
    let jTv = Array.map dot (Array.transpose flowJacobian)
    let y = [| value |]

    [ "diff", (fun f -> Autodiff.diff f (t ()) |> single), curve, [ curveAt 1 ]
      "fdiff", (fun f -> Autodiff.fdiff f (t ()) |> pair), curve, [ curveAt 0; curveAt 1 ]
      "diff2", (fun f -> Autodiff.diff2 f (t ()) |> single), curve, [ curveAt 2 ]
      "fdiff2", (fun f -> Autodiff.fdiff2 f (t ()) |> pair), curve, [ curveAt 0; curveAt 2 ]
      "diffn", (fun f -> Autodiff.diffn 2 f (t ()) |> single), curve, [ curveAt 2 ]
      "fdiffn", (fun f -> Autodiff.fdiffn 0 f (t ()) |> pair), curve, [ curveAt 0; curveAt 0 ]
      "ffdiffn", (fun f -> Autodiff.ffdiffn 2 f (t ()) |> List.ofArray), curve, List.init 3 curveAt

      for name, grad in [ "grad", Autodiff.grad; "g", Autodiff.g ] do
          name, (fun f -> grad f (point ()) |> single), potential, [ gradient ]
      for name, fgrad in [ "fgrad", Autodiff.fgrad; "fg", Autodiff.fg ] do
          name, (fun f -> fgrad f (point ()) |> pair), potential, [ y; gradient ]
      for name, gradv in [ "gradv", Autodiff.gradv; "gvp", Autodiff.gvp ] do
          name, (fun f -> gradv f (point ()) (v ()) |> single), potential, [ gv ]
      for name, fgradv in [ "fgradv", Autodiff.fgradv; "fgvp", Autodiff.fgvp ] do
          name, (fun f -> fgradv f (point ()) (v ()) |> pair), potential, [ y; gv ]

      for name, hessian in [ "hessian", Autodiff.hessian; "h", Autodiff.h ] do
          name, (fun f -> hessian f (point ()) |> single), potential, [ h ]
      for name, fhessian in [ "fhessian", Autodiff.fhessian; "fh", Autodiff.fh ] do
          name, (fun f -> fhessian f (point ()) |> pair), potential, [ y; h ]
      for name, hessianv in [ "hessianv", Autodiff.hessianv; "hvp", Autodiff.hvp ] do
          name, (fun f -> hessianv f (point ()) (v ()) |> single), potential, [ hv ]
      for name, fhessianv in [ "fhessianv", Autodiff.fhessianv; "fhvp", Autodiff.fhvp ] do
          name, (fun f -> fhessianv f (point ()) (v ()) |> pair), potential, [ y; hv ]

      for name, gradhessian in [ "gradhessian", Autodiff.gradhessian; "gh", Autodiff.gh ] do
          name, (fun f -> gradhessian f (point ()) |> pair), potential, [ gradient; h ]
      for name, fgradhessian in [ "fgradhessian", Autodiff.fgradhessian; "fgh", Autodiff.fgh ] do
          name, (fun f -> fgradhessian f (point ()) |> triple), potential, [ y; gradient; h ]
      for name, gradhessianv in [ "gradhessianv", Autodiff.gradhessianv; "ghvp", Autodiff.ghvp ] do
          name, (fun f -> gradhessianv f (point ()) (v ()) |> pair), potential, [ gv; hv ]
      for name, fgradhessianv in [ "fgradhessianv", Autodiff.fgradhessianv; "fghvp", Autodiff.fghvp ] do
          name, (fun f -> fgradhessianv f (point ()) (v ()) |> triple), potential, [ y; gv; hv ]

      "laplacian", (fun f -> Autodiff.laplacian f (point ()) |> single), potential, [ [| laplacian |] ]
      "flaplacian", (fun f -> Autodiff.flaplacian f (point ()) |> pair), potential, [ y; [| laplacian |] ]

      for name, jacobian in [ "jacobian", Autodiff.jacobian; "j", Autodiff.j ] do
          name, (fun f -> jacobian f (point ()) |> single), flow, [ j ]
      for name, fjacobian in [ "fjacobian", Autodiff.fjacobian; "fj", Autodiff.fj ] do
          name, (fun f -> fjacobian f (point ()) |> pair), flow, [ flowValue; j ]
      for name, jacobianv in [ "jacobianv", Autodiff.jacobianv; "jvp", Autodiff.jvp ] do
          name, (fun f -> jacobianv f (point ()) (v ()) |> single), flow, [ jv ]
      for name, fjacobianv in [ "fjacobianv", Autodiff.fjacobianv; "fjvp", Autodiff.fjvp ] do
          name, (fun f -> fjacobianv f (point ()) (v ()) |> pair), flow, [ flowValue; jv ]
      for name, jacobianTv in [ "jacobianTv", Autodiff.jacobianTv; "vjp", Autodiff.vjp ] do
          name, (fun f -> jacobianTv f (point ()) (v ()) |> single), flow, [ jTv ]
      for name, fjacobianTv in [ "fjacobianTv", Autodiff.fjacobianTv; "fvjp", Autodiff.fvjp ] do
          name, (fun f -> fjacobianTv f (point ()) (v ()) |> pair), flow, [ flowValue; jTv ]

      "curl", (fun f -> Autodiff.curl f (point ()) |> single), flow, [ curl ]
      "fcurl", (fun f -> Autodiff.fcurl f (point ()) |> pair), flow, [ flowValue; curl ]
      "divergence", (fun f -> Autodiff.divergence f (point ()) |> single), flow, [ [| divergence |] ]
      "fdivergence", (fun f -> Autodiff.fdivergence f (point ()) |> pair), flow, [ flowValue; [| divergence |] ]
      "curldivergence", (fun f -> Autodiff.curldivergence f (point ()) |> pair), flow, [ curl; [| divergence |] ]
      "fcurldivergence",
      (fun f -> Autodiff.fcurldivergence f (point ()) |> triple),
      flow,
      [ flowValue; curl; [| divergence |] ] ]

let tests =
    testList
        "autodiff vocabulary"
        [ for name, derive, f, expected in vocabulary do
              tensorTest $"{name}: closed form, one evaluation, no graph inside no_grad" (fun () ->
                  let mutable evaluations = 0

                  let counted x =
                      evaluations <- evaluations + 1
                      f x

                  let actual = derive counted
                  Expect.equal evaluations 1 "evaluations of the function"

                  for tensor, numbers in List.zip actual expected do
                      close 1e-14 (Tensors.toArray tensor) numbers name

                  use _ = torch.no_grad ()
                  Expect.all (derive f) (fun t -> not t.requires_grad) "a result carries no graph")

          testCase "every function of the module is in the table"
          <| fun () ->
              let all =
                  (typeof<Progress>.Assembly.GetType "FieldImnn.Autodiff").GetMethods()
                  |> Seq.filter _.IsStatic
                  |> Seq.map _.Name
                  |> Set.ofSeq

              Expect.equal (set [ for name, _, _, _ in vocabulary -> name ]) all "names"

          tensorTest "nested: derivatives of derivatives against closed forms" (fun () ->
              let product x =
                  Autodiff.hessianv potential x (vector v)

              close 1e-14 (Autodiff.jacobian product (point ()) |> Tensors.toArray) third "∇(H v)"

              // in three dimensions ∇² r⁴ = 20 r², so ∇⁴ r⁴ = 120
              let quartic (x: Tensor) = x.square().sum().square()
              let inner = Autodiff.laplacian quartic
              close 1e-14 (inner (point ()) |> Tensors.toArray) [| 20.0 * (a * a + b * b + c * c) |] "∇² r⁴"
              close 1e-14 (Autodiff.laplacian inner (point ()) |> Tensors.toArray) [| 120.0 |] "∇⁴ r⁴"

              // d/dx of x ∂(x y)/∂y = 2x, whatever y
              let outer (x: Tensor) =
                  x * Autodiff.diff (fun y -> x * y) (torch.tensor 3.0)

              close 1e-15 (Autodiff.diff outer (torch.tensor 2.0) |> Tensors.toArray) [| 4.0 |] "captured variable"

              let fourth =
                  Autodiff.diff2 (Autodiff.diff2 (fun (t: Tensor) -> (t * 2.0).sin())) (torch.tensor time)

              close 1e-14 (Tensors.toArray fourth) [| 16.0 * sin (2.0 * time) |] "d⁴ sin 2t"

              let tenth =
                  Autodiff.diffn 10 (fun (t: Tensor) -> (t * 2.0).exp()) (torch.tensor time)

              close 1e-14 (Tensors.toArray tenth) [| 1024.0 * exp (2.0 * time) |] "d¹⁰ e²ᵗ")

          tensorTest "identities of vector analysis, by nesting" (fun () ->
              let zero what (t: Tensor) =
                  Expect.isLessThan (t.abs().max().ToDouble()) 1e-14 what

              zero "curl of a gradient" (Autodiff.curl (Autodiff.grad potential) (point ()))
              zero "divergence of a curl" (Autodiff.divergence (Autodiff.curl flow) (point ()))
              let both = Autodiff.divergence (Autodiff.grad potential) (point ())
              close 1e-14 (Tensors.toArray both) [| laplacian |] "divergence of a gradient")

          tensorTest "points of any shape" (fun () ->
              let x = torch.linspace (0.1, 2.0, 6L, dtype = torch.ScalarType.Float64)
              let cubes (x: Tensor) = (cube x).sum()
              let g, h = Autodiff.gradhessian cubes (x.reshape (2L, 3L))
              Expect.equal g.shape [| 2L; 3L |] "gradient"
              Expect.equal h.shape [| 2L; 3L; 2L; 3L |] "Hessian"
              close 1e-14 (Tensors.toArray h) (Tensors.toArray (torch.diag (x * 6.0))) "Hessian"
              let j = Autodiff.jacobian (fun x -> x.sum 0L) (x.reshape (2L, 3L))
              Expect.equal j.shape [| 3L; 2L; 3L |] "Jacobian"
              let sum = Autodiff.laplacian cubes (x.reshape (2L, 3L))
              close 1e-14 (Tensors.toArray sum) [| 6.0 * (x.sum().ToDouble()) |] "Laplacian")

          tensorTest "a function that returns a tensor of its caller's" (fun () ->
              let mine = torch.tensor 2.0
              use scope = torch.NewDisposeScope()
              let value, gradient = Autodiff.fgrad (fun _ -> mine) (point ())
              close 1e-15 (Tensors.toArray value) [| 2.0 |] "value"
              Expect.equal (Tensors.toArray gradient) (Array.zeroCreate 3) "gradient"
              scope.Dispose()
              Expect.isFalse mine.IsInvalid "the caller's tensor is where it was")

          tensorTest "what a word has no meaning for is refused" (fun () ->
              let x, two = point (), vector [ 1.0; 2.0 ]

              let refused words act =
                  refuses<ShapeException> words (act >> ignore)

              refused [ "one number"; "(3)" ] (fun () -> Autodiff.diff id x)
              refused [ "one number"; "(3)" ] (fun () -> Autodiff.hessian flow x)
              refused [ "one number"; "(3)" ] (fun () -> Autodiff.laplacian flow x)
              refused [ "direction"; "(3)"; "(2)" ] (fun () -> Autodiff.hessianv potential x two)
              refused [ "direction"; "(3)"; "(2)" ] (fun () -> Autodiff.gradv potential x two)
              refused [ "direction"; "(3)"; "(2)" ] (fun () -> Autodiff.jacobianTv flow x two)
              refused [ "curl"; "three numbers"; "(2)" ] (fun () -> Autodiff.curl id two)
              refused [ "divergence"; "3 numbers"; "()" ] (fun () -> Autodiff.divergence potential x)
              refuses<SettingException> [ "order"; "-1" ] (fun () -> Autodiff.diffn -1 id (torch.tensor 1.0) |> ignore)) ]
