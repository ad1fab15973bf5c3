namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// The exact field-level answer of a problem: what every approximate one stands beside.
type ExactAnswer =
    {
        /// Fisher matrix at θ.
        Fisher: float[] -> Matrix<float>
        /// Field (shape…) → θ (b, p) → ln p(d | θ) (b), up to a constant, differentiable in θ.
        LogLikelihood: Tensor -> Tensor -> Tensor
    }

/// Exact scores and posteriors.
module ExactAnswer =
    /// From F at θ (p), and ln p(d | θ) of a field (shape…) at rows of θ (b, p), up to a constant and differentiable in θ.
    let create fisher logLikelihood =
        { Fisher = fisher
          LogLikelihood = logLikelihood }

    /// ∂_θ ln p(d | θ), the score of a field (shape…), (p).
    let score exact (field: Tensor) (theta: float[]) : float[] =
        Tensors.using (fun () ->
            let logLikelihood = exact.LogLikelihood field

            Autodiff.grad (fun (t: Tensor) -> (logLikelihood (t.unsqueeze 0L)).squeeze()) (Tensors.ofVector theta)
            |> Tensors.toArray)

    /// Unnormalised log posterior of a field, for rows of θ; −∞ outside the prior.
    let logPosterior exact (prior: Prior) (field: Tensor) : float[][] -> float[] =
        let logLikelihood = exact.LogLikelihood field

        fun rows ->
            let values = Array.create rows.Length -infinity
            let logPrior = rows |> Array.map (Prior.logDensity prior)

            let inside =
                [| 0 .. rows.Length - 1 |] |> Array.filter (fun i -> logPrior[i] > -infinity)

            for struct (start, length) in Tensors.chunks 1024 inside.Length do
                let part = inside[start .. start + length - 1]

                let logL =
                    Tensors.using (fun () ->
                        use _ = TorchSharp.torch.no_grad ()

                        logLikelihood (part |> Array.map (fun i -> rows[i]) |> Tensors.ofRows)
                        |> Tensors.toArray)

                part |> Array.iteri (fun q i -> values[i] <- logL[q] + logPrior[i])

            values

    /// The exact posterior of a field on an n × n grid (two parameters).
    let posteriorOn n exact (prior: Prior) (field: Tensor) =
        GridPosterior.compute n prior.Names (Prior.bounds prior) (logPosterior exact prior field)

    /// The exact posterior of a field on a grid of 121 × 121 points about its peak (two parameters).
    let posterior exact (prior: Prior) (field: Tensor) = posteriorOn 121 exact prior field
