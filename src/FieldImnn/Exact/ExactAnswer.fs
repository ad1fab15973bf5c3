namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// The exact field-level answer of a universe: what every approximate one stands beside.
type ExactAnswer =
    {
        /// Fisher matrix (p, p) at θ (p).
        Fisher: float[] -> Matrix<float>
        /// Field (shape…) → θ (b, p) → ln p(d | θ) (b), up to a constant, differentiable in θ.
        LogLikelihood: Tensor -> Tensor -> Tensor
        /// How the exact posterior is made of it.
        Sampler: PosteriorSampler
    }

/// A Fisher matrix from simulations: its elements and their standard errors.
type MeasuredFisher =
    { Fisher: Matrix<float>
      Error: Matrix<float> }

/// Exact scores and posteriors, of any number of parameters.
module ExactAnswer =
    /// An exact answer from the Fisher matrix at θ and the log-likelihood, field (shape…) → θ (b, p) → (b).
    let create fisher logLikelihood =
        { Fisher = fisher
          LogLikelihood = logLikelihood
          Sampler = Suited }

    /// The answer with another way to its posterior.
    let withSampler sampler exact = { exact with Sampler = sampler }

    let private scoreOf (logLikelihood: Tensor -> Tensor -> Tensor) (field: Tensor) (theta: float[]) : float[] =
        Tensors.using (fun () ->
            let logLikelihood = logLikelihood field

            Autodiff.grad (fun (t: Tensor) -> (logLikelihood (t.unsqueeze 0L)).squeeze()) (Tensors.ofVector theta)
            |> Tensors.toArray)

    /// ∂_θ ln p(d | θ), the score of a field (shape…), (p).
    let score exact (field: Tensor) (theta: float[]) : float[] = scoreOf exact.LogLikelihood field theta

    /// The Fisher matrix at θ as the covariance of the score, whose mean is known to be zero, over so many simulations, in double precision
    /// where the simulator takes noise of it. Where scores are Gaussian the relative errors are √(2/n) of a diagonal element and √(2p/n)
    /// of the determinant; the errors returned are the measured ones.
    let scoreCovariance (simulator: Simulator) number seed logLikelihood (theta: float[]) : MeasuredFisher =
        Guard.AtLeast("simulations for a Fisher matrix", int64 (2 * theta.Length), int64 number)
        |> ignore

        let p = theta.Length
        let rows = Array2D.zeroCreate p p, Array2D.zeroCreate p p

        for struct (start, length) in Tensors.chunks 100 number do
            Tensors.using (fun () ->
                let keys = NoiseKey.Range(seed, uint64 start, length)

                let fields =
                    Simulator.precise simulator (Tensors.ofVector theta) (simulator.DrawNoise keys)

                for i in 0 .. length - 1 do
                    let s = scoreOf logLikelihood fields[int64 i] theta

                    for a in 0 .. p - 1 do
                        for b in 0 .. p - 1 do
                            (fst rows)[a, b] <- (fst rows)[a, b] + s[a] * s[b]
                            (snd rows)[a, b] <- (snd rows)[a, b] + (s[a] * s[b]) ** 2.0)

        let n = float number
        let mean = Matrix<float>.Build.DenseOfArray(fst rows) / n
        let square = Matrix<float>.Build.DenseOfArray(snd rows) / n

        { Fisher = mean
          Error = (square - mean.PointwiseMultiply mean).Map(fun v -> sqrt (max 0.0 v / n)) }

    /// An exact answer where the Fisher matrix has no closed form: it is `scoreCovariance` over so many simulations of a seed, with that
    /// function's error, made once for every θ.
    let ofLogLikelihood simulator number seed logLikelihood =
        let known =
            System.Collections.Concurrent.ConcurrentDictionary<float list, Lazy<MeasuredFisher>>()

        let fisher (theta: float[]) =
            known
                .GetOrAdd(List.ofArray theta, (fun _ -> lazy scoreCovariance simulator number seed logLikelihood theta))
                .Value.Fisher

        create fisher logLikelihood

    /// Rows of θ whose spectra are in memory at a time: of thousands of modes, with what is made of them on the way, tens of MB.
    let private rowsAtOnce = 128

    /// Unnormalised log posterior of a field, for rows of θ; −∞ outside the prior.
    let logPosterior exact (prior: Prior) (field: Tensor) : float[][] -> float[] =
        let logLikelihood = exact.LogLikelihood field

        fun rows ->
            let values = Array.create rows.Length -infinity
            let logPrior = rows |> Array.map (Prior.logDensity prior)

            let inside =
                [| 0 .. rows.Length - 1 |] |> Array.filter (fun i -> logPrior[i] > -infinity)

            for struct (start, length) in Tensors.chunks rowsAtOnce inside.Length do
                let part = inside[start .. start + length - 1]

                let logL =
                    Tensors.using (fun () ->
                        use _ = torch.no_grad ()

                        logLikelihood (part |> Array.map (fun i -> rows[i]) |> Tensors.ofRows)
                        |> Tensors.toArray)

                part |> Array.iteri (fun q i -> values[i] <- logL[q] + logPrior[i])

            values

    /// The exact posterior of a field on an n × n grid (two parameters; one on a line).
    let posteriorOn n exact (prior: Prior) (field: Tensor) =
        GridPosterior.compute n prior.Names (Prior.bounds prior) (logPosterior exact prior field)

    let private seed, private doublings = 1, 5

    /// The exact posterior of a field by the answer's sampler, and what must be known before it is trusted. `Suited`: one or two parameters
    /// on a grid (of 121 × 121 points about the peak) where one resolves them, else walkers until their moments are settled.
    /// The same field gives the same bits.
    let posteriorWithWarnings exact (prior: Prior) (field: Tensor) : Posterior * Warning list =
        let logDensity = logPosterior exact prior field

        let sampled =
            match exact.Sampler with
            | Suited when prior.Names.Length > 2 -> PosteriorSampling.settle doublings seed prior logDensity
            | Suited ->
                try
                    PosteriorSampling.onGrid 121 prior logDensity
                with :? RangeException as refusal when refusal.Subject = GridSearch.subject ->
                    PosteriorSampling.settle doublings seed prior logDensity
            | sampler ->
                let candidates = Prior.sample seed 0L (PosteriorSampling.candidatesOf sampler) prior
                PosteriorSampling.sample sampler seed true prior candidates logDensity

        sampled.Posterior, sampled.Warnings

    /// As `posteriorWithWarnings`, but what cannot be trusted is an error.
    let posterior exact (prior: Prior) (field: Tensor) : Posterior =
        match posteriorWithWarnings exact prior field with
        | found, [] -> found
        | _, warnings ->
            raise (
                NotServedException(
                    "exact posterior",
                    "a sampler that settles (posteriorWithWarnings returns what it has)",
                    warnings |> List.map _.Message |> String.concat " "
                )
            )

    /// The probability of the smallest credible region (HPD) of a field's exact posterior that holds θ, for any number of parameters.
    let hpdLevel exact (prior: Prior) (field: Tensor) (theta: float[]) (posterior: Posterior) =
        Posterior.hpdLevelBy (logPosterior exact prior field) theta posterior
