namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// Where the parameters of ABC simulations are drawn.
type AbcProposal =
    /// From the prior, as the paper does.
    | FromPrior
    /// From a Gaussian that two pilot rounds (an eighth of the simulations each: from the prior, then from what that accepts) place
    /// over the posterior, its sd `widen` times theirs, cut to the prior; samples are weighted by prior over proposal. Needs a
    /// hundredth of the simulations where the prior is wide.
    | Focused of widen: float

/// Which simulations ABC accepts.
type AbcAcceptance =
    /// Those with distance ρ below ε.
    | Within of epsilon: float
    /// This part of all simulations, the nearest ones.
    | Nearest of quantile: float

/// How rejection ABC is run.
type AbcSettings =
    {
        Simulations: int
        Proposal: AbcProposal
        Acceptance: AbcAcceptance
        /// Local-linear regression of θ on θ̂ with Epanechnikov weights (Beaumont, Zhang & Balding 2002): takes out what a finite ε adds.
        Regression: bool
        Chunk: int
        Seed: uint64
        Progress: Progress
    }

    /// 10,000 simulations after two pilot rounds, the nearest 20 % of them, with regression.
    static member Default =
        { Simulations = 10000
          Proposal = Focused 2.5
          Acceptance = Nearest 0.2
          Regression = true
          Chunk = 200
          Seed = 1UL
          Progress = Progress.silent }

    /// As in the paper's talk: 12,000 simulations from the prior, the nearest 350, plain rejection.
    static member Published =
        { AbcSettings.Default with
            Simulations = 12000
            Proposal = FromPrior
            Acceptance = Nearest(350.0 / 12000.0)
            Regression = false }

/// What rejection ABC found.
type AbcResult =
    {
        Posterior: Posterior
        /// The largest accepted distance.
        Epsilon: float
        Accepted: int
        Simulations: int
    }

/// Approximate Bayesian computation by rejection, with the Fisher distance ρ² = (θ̂ − θ̂_obs)ᵀ F (θ̂ − θ̂_obs).
module Abc =
    let private validate (settings: AbcSettings) =
        let refuse what expected (received: obj) =
            raise (SettingException(what, expected, string received))

        Guard.AtLeast("ABC simulations", 10L, int64 settings.Simulations) |> ignore
        Guard.AtLeast("chunk", 1L, int64 settings.Chunk) |> ignore

        match settings.Acceptance with
        | Within epsilon -> Guard.Positive("ε", epsilon) |> ignore
        | Nearest q when not (q > 0.0 && q <= 1.0) -> refuse "accepted quantile" "a number in (0, 1]" q
        | Nearest _ -> ()

        match settings.Proposal with
        | Focused widen -> Guard.Positive("widening of the proposal", widen) |> ignore
        | FromPrior -> ()

    /// n proposed parameters and the log of prior over proposal, unnormalised: draw i of a purpose whatever the batch.
    let private propose seed (prior: Prior) n (gaussian: (Vector<float> * Matrix<float>) option) =
        match gaussian with
        | None -> Prior.sample seed 0L n prior, Array.zeroCreate n
        | Some(centre, covariance) ->
            let factor = covariance.Cholesky().Factor
            let block = 4096

            let standard =
                Prior.create [ for i in 1 .. centre.Count -> $"z{i}", Normal(0.0, 1.0) ]

            let draws =
                Seq.initInfinite (fun i -> Prior.sample seed (int64 i * int64 block) block standard)
                |> Seq.truncate (50 + 20 * n / block) // ends even where hardly a draw falls into the prior
                |> Seq.concat
                |> Seq.map (fun z ->
                    let z = Vector<float>.Build.DenseOfArray z
                    (centre + factor * z).ToArray(), 0.5 * z.DotProduct z)
                |> Seq.filter (fun (theta, _) -> Prior.contains prior theta)
                |> Seq.truncate n
                |> Seq.toArray

            if draws.Length < n then
                let at = centre |> Seq.map (sprintf "%.4g") |> String.concat ", "

                raise (
                    RangeException("centre of the ABC proposal", "one near the prior's support", $"({at}), far outside")
                )

            draws |> Array.map fst, draws |> Array.map (fun (theta, half) -> half + Prior.logDensity prior theta)

    /// Weighted least squares of θ on θ̂ − θ̂_obs; returns θ moved to θ̂ = θ̂_obs.
    let private regress (theta: float[][]) (away: float[][]) (weights: float[]) =
        let design =
            Matrix<float>.Build.DenseOfRowArrays(away |> Array.map (Array.append [| 1.0 |]))

        let response = Matrix<float>.Build.DenseOfRowArrays theta
        let weighted = design.MapIndexed(fun i _ v -> v * weights[i])

        let coefficients =
            (design.TransposeThisAndMultiply weighted).Solve(weighted.TransposeThisAndMultiply response)

        let shift =
            design.SubMatrix(0, design.RowCount, 1, design.ColumnCount - 1)
            * coefficients.SubMatrix(1, coefficients.RowCount - 1, 0, coefficients.ColumnCount)

        (response - shift).ToRowArrays()

    /// The accepted of one round: samples, weights and the largest accepted distance.
    let private accept
        acceptance
        regression
        (prior: Prior)
        (fisher: Matrix<float>)
        observed
        (theta: float[][])
        estimates
        logWeights
        =
        let away = estimates |> Array.map (fun e -> Array.map2 (-) e observed)

        let distance =
            away
            |> Array.map (fun a ->
                let v = Vector<float>.Build.DenseOfArray a
                sqrt (v.DotProduct(fisher * v)))

        let epsilon =
            match acceptance with
            | Within epsilon -> epsilon
            | Nearest quantile ->
                let sorted = Array.sort distance
                sorted[max 0 (int (quantile * float sorted.Length) - 1)]

        let accepted =
            [| 0 .. distance.Length - 1 |] |> Array.filter (fun i -> distance[i] <= epsilon)

        let least = 2 * (observed.Length + 1)

        if accepted.Length < least then
            let came = $"{accepted.Length} of {distance.Length} within ρ ≤ {epsilon:g3}"

            raise (
                SettingException("ABC acceptance", $"at least {least} accepted; more simulations or a larger ε", came)
            )

        let pick (values: 'v[]) =
            accepted |> Array.map (fun i -> values[i])

        let highest = pick logWeights |> Array.max
        let importance = pick logWeights |> Array.map (fun w -> exp (w - highest))

        let samples, weights =
            if regression then
                let kernel =
                    pick distance |> Array.map (fun r -> 1.0 - (r / (epsilon * 1.0000001)) ** 2.0)

                let weights = Array.map2 (*) importance kernel
                let moved = regress (pick theta) (pick away) weights
                // an adjusted sample may leave the prior: it then has no weight
                moved, Array.map2 (fun t w -> if Prior.contains prior t then w else 0.0) moved weights
            else
                pick theta, importance

        Posterior.ofSamples prior.Names (Prior.bounds prior) samples weights, epsilon, accepted.Length

    /// Runs ABC for an observed estimate: θ's are simulated, compressed by `compress` (fields (n, shape…) → rows of θ̂), and
    /// accepted by their distance under F.
    let run
        (settings: AbcSettings)
        simulator
        (compress: Tensor -> float[][])
        (fisher: Matrix<float>)
        (prior: Prior)
        observed
        =
        validate settings

        let simulate purpose (theta: float[][]) =
            let seed = NoiseKey.SeedFor(settings.Seed, $"abc fields {purpose}")

            Tensors.chunks settings.Chunk theta.Length
            |> Array.collect (fun struct (start, length) ->
                settings.Progress.Cancellation.ThrowIfCancellationRequested()
                Progress.report settings.Progress $"ABC ({purpose})" start theta.Length ""

                Tensors.using (fun () ->
                    let parameters = Tensors.ofRows theta[start .. start + length - 1]
                    compress (Simulator.fields simulator parameters (NoiseKey.Range(seed, uint64 start, length)))))

        let round purpose n gaussian acceptance regression =
            let seed = int (NoiseKey.SeedFor(settings.Seed, $"abc parameters {purpose}") >>> 33)
            let theta, logWeights = propose seed prior n gaussian
            accept acceptance regression prior fisher observed theta (simulate purpose theta) logWeights

        let over widen posterior =
            Some(
                Vector<float>.Build.DenseOfArray(Posterior.mean posterior),
                Posterior.covariance posterior * (widen * widen)
            )

        let pilot = max 40 (settings.Simulations / 8)

        let proposal, pilots =
            match settings.Proposal with
            | FromPrior -> None, 0
            | Focused widen ->
                let first, _, _ = round "pilot 1" pilot None (Nearest 0.15) false
                let second, _, _ = round "pilot 2" pilot (over 1.5 first) (Nearest 0.3) true
                over widen second, 2 * pilot

        let posterior, epsilon, accepted =
            round "sampling" settings.Simulations proposal settings.Acceptance settings.Regression

        { Posterior = posterior
          Epsilon = epsilon
          Accepted = accepted
          Simulations = settings.Simulations + pilots }

    /// ABC with a trained compressor, for one observed field (shape…).
    let infer (settings: AbcSettings) simulator compressor prior (field: Tensor) =
        run
            settings
            simulator
            (Compressor.estimates compressor)
            compressor.Fisher
            prior
            (Compressor.estimate compressor field)

    /// ABC with a trained compressor, for one observed field (shape…), on its estimates and on further summaries `beside` them, fields
    /// (n, shape…) → (n, k). All are compared by the inverse of their covariance at the compressor's fiducial, from 1,000 simulations:
    /// for the estimates alone that is F.
    let inferBeside (settings: AbcSettings) simulator compressor prior (beside: Tensor -> Tensor) (field: Tensor) =
        let compress (fields: Tensor) =
            Array.map2 Array.append (Compressor.estimates compressor fields) (Tensors.toRows (beside fields))

        let metric =
            Tensors.using (fun () ->
                let keys = NoiseKey.Range(NoiseKey.SeedFor(settings.Seed, "abc metric"), 0UL, 1000)

                Simulator.fields simulator (Tensors.ofVector compressor.Fiducial) keys
                |> compress
                |> Tensors.ofRows
                |> Fisher.covariance
                |> Tensors.toMatrix
                |> Matrices.inverse "covariance of the summaries")

        let observed = Tensors.using (fun () -> (compress (field.unsqueeze 0L))[0])
        run settings simulator compress metric prior observed
