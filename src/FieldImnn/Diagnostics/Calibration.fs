namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.Distributions

/// One test of an inference: the parameters of a simulation and draws (equally weighted) of the posterior that was inferred from it.
type CalibrationTrial = { Truth: float[]; Draws: float[][] }

/// What a calibration test says of an inference.
type CalibrationVerdict =
    | Calibrated
    /// Posteriors lie to one side of the truth.
    | Biased
    /// Posteriors are too narrow, or beside the truth in a way this test cannot tell from that.
    | Overconfident
    /// Posteriors are too wide.
    | Underconfident

/// Numbers in [0, 1] that are uniform where an inference is calibrated.
module Calibration =
    /// Trials of an inference: parameters from the prior, `infer` from their index and parameters to draws of the posterior.
    let trials seed n prior (infer: int -> float[] -> float[][]) =
        Prior.sample seed 0L n prior
        |> Array.mapi (fun i truth -> { Truth = truth; Draws = infer i truth })

    let internal check (trials: CalibrationTrial[]) =
        Guard.AtLeast("trials of a calibration test", 20L, int64 trials.Length)
        |> ignore

        for trial in trials do
            if trial.Draws.Length = 0 || trial.Draws[0].Length <> trial.Truth.Length then
                raise (
                    ShapeException("draws of a trial", $"rows of {trial.Truth.Length} parameters", "others, or none")
                )

    /// How far the mean and the mean square about ½ of n numbers lie from those of U(0, 1), in standard deviations of chance.
    let deviations (values: float[]) =
        let n = float values.Length
        let mean = Array.average values - 0.5
        let spread = (values |> Array.averageBy (fun v -> (v - 0.5) ** 2.0)) - 1.0 / 12.0
        mean * sqrt (12.0 * n), spread * sqrt (180.0 * n)

    /// Deviations beyond this many standard deviations are taken for a fault: 1 in 4,000 by chance.
    let internal threshold = 3.7

    /// Ranks of the truth among the draws (simulation-based calibration, Talts et al. 2018), as parts of one, for each parameter (p, n).
    let ranks (trials: CalibrationTrial[]) =
        check trials

        Array.init trials[0].Truth.Length (fun k ->
            trials
            |> Array.map (fun trial ->
                let below =
                    trial.Draws |> Array.filter (fun d -> d[k] < trial.Truth[k]) |> Array.length

                (float below + 0.5) / float (trial.Draws.Length + 1)))

    /// The verdict of one parameter's ranks: a slope of their histogram is a bias, a U overconfidence, an arch its opposite.
    let verdictOfRanks (ranks: float[]) =
        let mean, spread = deviations ranks

        if abs mean > threshold then Biased
        elif spread > threshold then Overconfident
        elif spread < -threshold then Underconfident
        else Calibrated

    /// The range that a count of n falls into with this probability, if each falls in with probability p (both tails equal).
    let band probability n p =
        let tail = (1.0 - probability) / 2.0
        let counts = Binomial(p, n)

        let rec first bound k =
            if k >= n || counts.CumulativeDistribution(float k) > bound then
                k
            else
                first bound (k + 1)

        first tail 0, first (1.0 - tail) 0

    /// The part of the values at or below each level: the diagonal where they are uniform.
    let curve (levels: float[]) (values: float[]) =
        levels
        |> Array.map (fun level ->
            float (values |> Array.filter (fun v -> v <= level) |> Array.length)
            / float values.Length)
