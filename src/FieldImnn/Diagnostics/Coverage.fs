namespace FieldImnn

open System
open FieldImnn.Core

/// Expected coverage: how often the credible regions of an inference hold the truth.
module Coverage =
    /// The probability of the smallest credible region (HPD) that holds the truth, of each trial: the part of the draws with a higher
    /// density (Hermans et al. 2022). `logDensity` is the posterior's of that trial (index → rows of θ → values), up to a constant.
    let levels (logDensity: int -> float[][] -> float[]) (trials: CalibrationTrial[]) =
        Calibration.check trials

        trials
        |> Array.mapi (fun i trial ->
            let values = logDensity i (Array.append [| trial.Truth |] trial.Draws)
            let above = values[1..] |> Array.filter (fun v -> v > values[0]) |> Array.length
            (float above + 0.5) / float (trial.Draws.Length + 1))

    /// The verdict of the levels: regions that hold the truth too seldom (too narrow, or biased: Overconfident) or too often.
    let verdict (levels: float[]) =
        match fst (Calibration.deviations levels) with
        | mean when mean > Calibration.threshold -> Overconfident
        | mean when mean < -Calibration.threshold -> Underconfident
        | _ -> Calibrated

/// TARP: tests of accuracy with random points (Lemos et al. 2023, arXiv:2302.03026), which need draws alone and no density.
module Tarp =
    /// For each trial the part of the draws that lie nearer than the truth to a random point, uniform over the range of all truths;
    /// distances in units of the truths' standard deviations.
    let levels (seed: int) (trials: CalibrationTrial[]) =
        Calibration.check trials
        let p = trials[0].Truth.Length

        let column k =
            trials |> Array.map (fun t -> t.Truth[k])

        let sd =
            Array.init p (fun k -> MathNet.Numerics.Statistics.Statistics.StandardDeviation(column k))

        let references =
            [ for k in 0 .. p - 1 -> $"{k}", Array.min (column k), Array.max (column k) ]
            |> Prior.uniform
            |> Prior.sample seed 0L trials.Length

        Array.map2
            (fun trial (reference: float[]) ->
                let distance (theta: float[]) =
                    Array.map3 (fun t r s -> ((t - r) / s) ** 2.0) theta reference sd |> Array.sum

                let truth = distance trial.Truth

                let nearer =
                    trial.Draws |> Array.filter (fun d -> distance d < truth) |> Array.length

                (float nearer + 0.5) / float (trial.Draws.Length + 1))
            trials
            references

    /// The verdict of the levels: draws that lie all nearer or all farther than the truth come from posteriors that are too narrow or
    /// biased (Overconfident); a level that is always near ½, from ones that are too wide.
    let verdict (levels: float[]) =
        let mean, spread = Calibration.deviations levels

        if spread > Calibration.threshold then Overconfident
        elif spread < -Calibration.threshold then Underconfident
        elif abs mean > Calibration.threshold then Biased
        else Calibrated
