namespace FieldImnn

open FieldImnn.Core

/// How a posterior is made from a score estimate.
type InferenceMethod =
    | GaussianMethod
    | AbcMethod of AbcSettings

/// A posterior from a compressed field beside the exact one.
type InferenceResult =
    {
        Method: string
        Estimate: float[]
        Posterior: Posterior
        Exact: Posterior
        /// Area over the exact area: 1 where nothing was lost.
        AreaRatio: float
        /// det F of the compressor over the exact det F at its fiducial.
        FisherRetained: float
        /// Simulations used, training included.
        Simulations: int
    }

/// From an observed field to posteriors.
module FieldInference =
    /// The posterior of one field (shape…) by a method, with the exact one.
    let infer method (problem: Problem) compressor (field: Tensor) =
        let estimate = Compressor.estimate compressor field

        let name, posterior, used =
            match method with
            | GaussianMethod ->
                "gaussian",
                GaussianApproximation.posterior problem.Prior estimate compressor.Fisher,
                compressor.Simulations
            | AbcMethod settings ->
                let run =
                    match problem.Beside with
                    | None -> Abc.infer settings problem.Simulator compressor problem.Prior
                    | Some beside -> Abc.inferBeside settings problem.Simulator compressor problem.Prior beside

                let result = run field
                "abc", result.Posterior, compressor.Simulations + result.Simulations

        let exact = ExactAnswer.posterior problem.Exact problem.Prior field

        { Method = name
          Estimate = estimate
          Posterior = posterior
          Exact = exact
          AreaRatio = Posterior.area posterior / Posterior.area exact
          FisherRetained = Fisher.retained compressor.Fisher (problem.Exact.Fisher compressor.Fiducial)
          Simulations = used }
