namespace FieldImnn

open FieldImnn.Core

/// What a simulator guarantees of a summary: it lies above a parameter, whatever the noise. A flow has no edges and cannot follow this
/// one, so x_k is replaced by ln(x_k − θ_j), which has none.
type SummaryEdge =
    {
        /// k, the summary that has the edge.
        Summary: int
        /// j, the parameter at which it lies.
        Parameter: int
    }

/// Summaries (rows) without their edges, and back.
module internal SummaryEdge =
    let private replaced edges (x: float[]) value =
        let changed = Array.copy x

        for edge in edges do
            changed[edge.Summary] <- value edge

        changed

    /// The edges themselves if there are such summaries and parameters.
    let check summaries parameters edges =
        for edge in edges do
            if edge.Summary < 0 || edge.Summary >= summaries then
                raise (SettingException("summary of an edge", $"0 to {summaries - 1}", $"{edge.Summary}"))

            if edge.Parameter < 0 || edge.Parameter >= parameters then
                raise (SettingException("parameter of an edge", $"0 to {parameters - 1}", $"{edge.Parameter}"))

        edges

    /// x with ln(x_k − θ_j) for x_k; −∞ at the edge and NaN beyond it.
    let free edges (x: float[]) (theta: float[]) =
        replaced edges x (fun e -> log (x[e.Summary] - theta[e.Parameter]))

    /// x of what `free` made of it.
    let restore edges (freed: float[]) (theta: float[]) =
        replaced edges freed (fun e -> theta[e.Parameter] + exp freed[e.Summary])

    /// ln |∂free/∂x| of what `free` made of x.
    let logJacobian edges (freed: float[]) =
        -(edges |> List.sumBy (fun e -> freed[e.Summary]))

    /// x without edges, of simulations, none of which may lie beyond one.
    let freeAll edges (x: float[][]) (theta: float[][]) =
        if List.isEmpty edges then
            x
        else
            Array.map2 (free edges) x theta
            |> Array.mapi (fun i row ->
                for e in edges do
                    if not (System.Double.IsFinite row[e.Summary]) then
                        raise (
                            RangeException(
                                $"summary {e.Summary} of simulation {i}",
                                $"one above parameter {e.Parameter}, as the edge says, {theta[i][e.Parameter]}",
                                $"{x[i][e.Summary]}"
                            )
                        )

                row)
