/// The tasks. A further one is a value like these and a line in `all`.
module Tasks

open System
open FieldImnn
open Task
open TorchSharp

let private published estimator (values: (int * float) list) =
    { Estimator = estimator
      Values = Map.ofList values }

let private sizes = [ 1000; 10000; 100000 ]
let private maf values = published "MAF" (List.zip sizes values)

let private parameters n marginal =
    Prior.create [ for i in 1..n -> $"θ{i}", marginal ]

/// x ~ N(θ, 0.1 I) in ten dimensions.
let private gaussian name prior single sequential =
    { Name = name
      Prior = prior
      Simulator =
        Simulator.create name (List.ofArray prior.Names) [ 10 ] [ 10 ] (fun theta noise ->
            theta + sqrt 0.1 * noise.``to`` torch.float64)
      Single = [ maf single ]
      Sequential = [ maf sequential ] }

let private gaussianLinear =
    gaussian "gaussian_linear" (parameters 10 (Normal(0.0, sqrt 0.1))) [ 0.650; 0.555; 0.515 ] [ 0.628; 0.548; 0.519 ]

let private gaussianLinearUniform =
    gaussian
        "gaussian_linear_uniform"
        (parameters 10 (Uniform(-1.0, 1.0)))
        [ 0.723; 0.548; 0.506 ]
        [ 0.657; 0.552; 0.509 ]

/// A crescent in x whose place depends on θ through |θ1 + θ2|: the posterior is two crescents.
let private twoMoons =
    { Name = "two_moons"
      Prior = parameters 2 (Uniform(-1.0, 1.0))
      Simulator =
        Simulator.create "two_moons" [ "θ1"; "θ2" ] [ 2 ] [ 2 ] (fun theta noise ->
            let z = noise.``to`` torch.float64
            let r = 0.1 + 0.01 * z.select (1L, 0L)
            let a = Math.PI / 2.0 * (z.select (1L, 1L) / sqrt 2.0).erf() // uniform in (−π/2, π/2)
            let t1, t2 = theta.select (1L, 0L), theta.select (1L, 1L)

            torch.stack (
                [| r * a.cos () + 0.25 - (t1 + t2).abs() / sqrt 2.0
                   r * a.sin () + (t2 - t1) / sqrt 2.0 |],
                1L
            ))
      Single =
        [ maf [ 0.773; 0.713; 0.668 ]
          published "NSF" (List.zip sizes [ 0.666; 0.639; 0.537 ]) ]
      Sequential = [ maf [ 0.657; 0.571; 0.582 ] ] }

let all = [ gaussianLinear; gaussianLinearUniform; twoMoons ]
