namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// Where the parameters of ABC simulations are drawn.
type AbcProposal =
    /// From the prior, as the paper does.
    | FromPrior
    /// From a Gaussian about the estimate, its sd `widen` times that of F⁻¹, cut to the prior; samples are weighted by prior over
    /// proposal. Needs a hundredth of the simulations where the prior is wide.
    | AroundEstimate of widen: float

/// Which simulations ABC accepts.
type AbcAcceptance =
    /// Those with distance ρ below ε.
    | Within of epsilon: float
    /// This part of all simulations, the nearest ones.
    | Nearest of quantile: float

/// How rejection ABC is run.
type AbcSettings =
    { Simulations: int
      Proposal: AbcProposal
      Acceptance: AbcAcceptance
      /// Local-linear regression of θ on θ̂ with Epanechnikov weights (Beaumont, Zhang & Balding 2002): takes out what a finite ε adds.
      Regression: bool
      Chunk: int
      Seed: uint64
      Progress: Progress }

    /// 10,000 simulations about the estimate, the nearest 20 % of them, with regression.
    static member Default =
        { Simulations = 10000
          Proposal = AroundEstimate 3.0
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
    { Posterior: Posterior
      /// The largest accepted distance.
      Epsilon: float
      Accepted: int
      Simulations: int }

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
        | AroundEstimate widen -> Guard.Positive("widening of the proposal", widen) |> ignore
        | FromPrior -> ()

    /// Proposed parameters and the log of prior over proposal, unnormalised: draw i of a seed whatever the batch.
    let private propose (settings: AbcSettings) (prior: Prior) (observed: float[]) (fisher: Matrix<float>) =
        let seed = int (NoiseKey.SeedFor(settings.Seed, "abc parameters") >>> 33)
        let n = settings.Simulations

        match settings.Proposal with
        | FromPrior -> Prior.sample seed 0L n prior, Array.zeroCreate n
        | AroundEstimate widen ->
            let factor = (Matrices.inverse "Fisher matrix" fisher).Cholesky().Factor * widen
            let p = observed.Length
            let centre = Vector<float>.Build.DenseOfArray observed
            let standard = Prior.create [ for i in 1..p -> $"z{i}", Normal(0.0, 1.0) ]

            let draws =
                Seq.initInfinite (fun block -> Prior.sample seed (int64 block * 4096L) 4096 standard)
                |> Seq.truncate (50 + n / 40)
                |> Seq.concat
                |> Seq.map (fun z ->
                    let z = Vector<float>.Build.DenseOfArray z
                    (centre + factor * z).ToArray(), 0.5 * z.DotProduct z)
                |> Seq.filter (fun (theta, _) -> Prior.contains prior theta)
                |> Seq.truncate n
                |> Seq.toArray

            if draws.Length < n then
                let at = observed |> Array.map (sprintf "%.4g") |> String.concat ", "
                raise (RangeException("estimate of the observed field", "one near the prior's support", $"({at}), far outside"))

            draws |> Array.map fst, draws |> Array.map (fun (theta, half) -> half + Prior.logDensity prior theta)

    /// Weighted least squares of θ on θ̂ − θ̂_obs; returns θ moved to θ̂ = θ̂_obs.
    let private regress (theta: float[][]) (away: float[][]) (weights: float[]) =
        let design =
            Matrix<float>.Build.DenseOfRowArrays(away |> Array.map (Array.append [| 1.0 |]))

        let response = Matrix<float>.Build.DenseOfRowArrays theta
        let weighted = design.MapIndexed(fun i _ v -> v * weights[i])
        let coefficients = (design.TransposeThisAndMultiply weighted).Solve(weighted.TransposeThisAndMultiply response)

        let shift = design.SubMatrix(0, design.RowCount, 1, design.ColumnCount - 1)
                    * coefficients.SubMatrix(1, coefficients.RowCount - 1, 0, coefficients.ColumnCount)

        (response - shift).ToRowArrays()

    /// Runs ABC for an observed estimate: θ's are simulated, compressed by `compress` (fields (n, shape…) → rows of θ̂), and
    /// accepted by their distance under F.
    let run (settings: AbcSettings) simulator (compress: Tensor -> float[][]) (fisher: Matrix<float>) (prior: Prior) (observed: float[]) =
        validate settings

        let theta, logWeights = propose settings prior observed fisher
        let seed = NoiseKey.SeedFor(settings.Seed, "abc fields")
        let cancelled () = settings.Progress.Cancellation.IsCancellationRequested

        let estimates =
            Tensors.chunks settings.Chunk theta.Length
            |> Array.takeWhile (fun _ -> not (cancelled ()))
            |> Array.collect (fun struct (start, length) ->
                Progress.report settings.Progress "ABC" start theta.Length ""

                Tensors.using (fun () ->
                    let parameters = Tensors.ofRows theta[start .. start + length - 1]
                    compress (Simulator.fields simulator parameters (NoiseKey.Range(seed, uint64 start, length)))))

        let away = estimates |> Array.map (fun e -> Array.map2 (-) e observed)

        let distance =
            away
            |> Array.map (fun a ->
                let v = Vector<float>.Build.DenseOfArray a
                sqrt (v.DotProduct(fisher * v)))

        let epsilon =
            match settings.Acceptance with
            | Within epsilon -> epsilon
            | Nearest quantile ->
                let sorted = Array.sort distance
                sorted[max 0 (int (quantile * float sorted.Length) - 1)]

        let accepted = [| 0 .. distance.Length - 1 |] |> Array.filter (fun i -> distance[i] <= epsilon)

        if accepted.Length < 2 * (observed.Length + 1) then
            raise (
                SettingException(
                    "ABC acceptance",
                    $"at least {2 * (observed.Length + 1)} accepted simulations; more simulations or a larger ε",
                    $"{accepted.Length} of {distance.Length} within ρ ≤ {epsilon:g3}"
                )
            )

        let pick (values: 'v[]) = accepted |> Array.map (fun i -> values[i])
        let highest = pick logWeights |> Array.max
        let importance = pick logWeights |> Array.map (fun w -> exp (w - highest))

        let samples, weights =
            if settings.Regression then
                let kernel = pick distance |> Array.map (fun r -> 1.0 - (r / (epsilon * 1.0000001)) ** 2.0)
                let weights = Array.map2 (*) importance kernel
                let moved = regress (pick theta) (pick away) weights
                // an adjusted sample may leave the prior: it then has no weight
                moved, Array.map2 (fun t w -> if Prior.contains prior t then w else 0.0) moved weights
            else
                pick theta, importance

        { Posterior = Posterior.ofSamples prior.Names (Prior.bounds prior) samples weights
          Epsilon = epsilon
          Accepted = accepted.Length
          Simulations = estimates.Length }

    /// ABC with a trained compressor, for one observed field (shape…).
    let infer (settings: AbcSettings) simulator compressor prior (field: Tensor) =
        run settings simulator (Compressor.estimates compressor) compressor.Fisher prior (Compressor.estimate compressor field)
