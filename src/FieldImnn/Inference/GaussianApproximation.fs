namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// The Gaussian approximation: ln p(θ | d) = −½ (θ − θ̂)ᵀ F (θ − θ̂) + ln prior, truncated and normalised by the prior.
module GaussianApproximation =
    /// Its unnormalised log density at rows of θ.
    let logDensity (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) (rows: float[][]) =
        let centre = Vector<float>.Build.DenseOfArray estimate

        rows
        |> Array.map (fun row ->
            let away = Vector<float>.Build.DenseOfArray row - centre
            Prior.logDensity prior row - 0.5 * away.DotProduct(fisher * away))

    /// The posterior about an estimate θ̂ with Fisher matrix F, on a grid (two parameters).
    let posterior (prior: Prior) (estimate: float[]) (fisher: Matrix<float>) =
        if estimate.Length <> prior.Names.Length then
            raise (ShapeException("estimate", $"{prior.Names.Length} parameters", $"{estimate.Length}"))

        match estimate |> Array.tryFindIndex (System.Double.IsFinite >> not) with
        | Some i -> raise (NonFiniteException("estimate", "finite numbers", $"{estimate[i]} for {prior.Names[i]}"))
        | None -> ()

        GridPosterior.compute 161 prior.Names (Prior.bounds prior) (logDensity prior estimate fisher)
