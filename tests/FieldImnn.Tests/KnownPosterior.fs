/// A Gaussian inference problem of two parameters, whose posterior is known.
module KnownPosterior

open Expecto
open FieldImnn
open MathNet.Numerics.LinearAlgebra
open TorchSharp

type Known =
    {
        Prior: Prior
        Fisher: Matrix<float>
        /// x = θ + L z of covariance F⁻¹: with a flat prior, wide against it, the posterior is N(x_obs, F⁻¹), exactly.
        Simulator: Simulator
    }

/// The problem with a flat prior of the given half width, and the given scale of F.
let gaussian half scale =
    let fisher: Matrix<float> =
        (scale: float)
        * Matrix<float>.Build.DenseOfRowArrays([| [| 4.0; 1.2 |]; [| 1.2; 2.0 |] |])

    let factor = fisher.Inverse().Cholesky().Factor

    { Prior = Prior.uniform [ "a", -half, half; "b", -half, half ]
      Fisher = fisher
      Simulator =
        Simulator.create "gaussian" [ "a"; "b" ] [ 2 ] [ 2 ] (fun theta noise ->
            theta + (noise.``to`` torch.float64).matmul(Tensors.ofMatrix(factor).t())) }

/// Two parameters of unit scale and a prior that is wide against them.
let wide = gaussian 5.0 1.0

/// The same with errors of a few tenths, for methods that learn over the whole prior.
let narrow = gaussian 2.0 10.0

/// What is observed where nothing else is said.
let observed = [| 0.3; -0.7 |]

/// Shift of the mean in sds, and area ratio, of the posterior from n observations with mean `centre` against the exact one.
let against known (centre: float[]) n (posterior: Posterior) =
    let exact = known.Fisher.Inverse() / float (n: int)

    let shift =
        Array.mapi (fun i m -> abs (m - centre[i]) / sqrt exact[i, i]) (Posterior.mean posterior)
        |> Array.max

    shift, Posterior.area posterior / sqrt (exact.Determinant())

let expectExact what tolerance (shift, area) =
    Expect.isLessThan shift tolerance $"{what}: shift in sds"
    Expect.isLessThan (abs (area - 1.0)) tolerance $"{what}: area ratio {area:F3}"

/// DELFI with few simulations and a small ensemble.
let delfi =
    { DelfiSettings.Default with
        Rounds = [ 400; 400 ]
        Settled = 0.0
        Sampler = OnGrid 101
        Estimator =
            { EstimatorSettings.Default with
                Kind = Maf(2, [ 16 ])
                Members = 2
                Training =
                    { EstimatorSettings.Default.Training with
                        Patience = 5
                        Reductions = 1 } } }
