namespace FieldImnn

open System
open FieldImnn.Core

/// Expected coverage: how often the credible regions of an inference hold the truth.
module Coverage =
    /// The probability of the smallest credible region (HPD) that holds the truth, of each trial: the part of the draws with a higher
    /// density (Hermans et al. 2022), ties broken by lot. `logDensity` is the posterior's of that trial (index → rows of θ → values), up to a constant.
    let levels (logDensity: int -> float[][] -> float[]) (trials: CalibrationTrial[]) =
        Calibration.check trials
        let lots = Random 104729

        trials
        |> Array.mapi (fun i trial ->
            let values = logDensity i (Array.append [| trial.Truth |] trial.Draws)
            let subject = $"log density of trial {i} of a calibration test"

            if values.Length <> trial.Draws.Length + 1 then
                raise (ShapeException(subject, $"{trial.Draws.Length + 1} values", $"{values.Length}"))

            if values |> Array.exists (fun v -> Double.IsNaN v || Double.IsPositiveInfinity v) then
                raise (NonFiniteException(subject, "numbers or −∞", "NaN or +∞"))

            let above = values[1..] |> Array.filter (fun v -> v > values[0]) |> Array.length
            let equal = values[1..] |> Array.filter (fun v -> v = values[0]) |> Array.length
            Calibration.part lots above equal trial.Draws.Length)

    /// The verdict of the levels: regions that hold the truth too seldom (too narrow, or biased: Overconfident) or too often.
    let verdict (levels: float[]) =
        match fst (Calibration.deviations levels) with
        | mean when mean > Calibration.threshold -> Overconfident
        | mean when mean < -Calibration.threshold -> Underconfident
        | _ -> Calibrated

/// TARP: tests of accuracy with random points (Lemos et al. 2023, arXiv:2302.03026), which need draws alone and no density.
module Tarp =
    /// For each trial the part of the draws that lie nearer than the truth to a random point, uniform over the range of all truths;
    /// distances in units of the truths' standard deviations, ties broken by lot.
    let levels (seed: int) (trials: CalibrationTrial[]) =
        Calibration.check trials
        let p = trials[0].Truth.Length

        let column k =
            trials |> Array.map (fun t -> t.Truth[k])

        // a parameter that no truth and no draw varies tells nothing; one that the draws alone vary has no range for random points
        let varies k =
            let first = trials[0].Truth[k]

            if column k |> Array.exists (fun v -> v <> first) then
                true
            elif trials |> Array.forall (fun t -> t.Draws |> Array.forall (fun d -> d[k] = first)) then
                false
            else
                raise (
                    RangeException(
                        "truths of a TARP test",
                        $"values of parameter {k} that differ, as its draws do",
                        FormattableString.Invariant $"{first} in all trials"
                    )
                )

        let used = [| 0 .. p - 1 |] |> Array.filter varies

        if used.Length = 0 then
            raise (RangeException("truths of a TARP test", "at least one parameter that varies", "none"))

        let sd =
            used
            |> Array.map (fun k -> MathNet.Numerics.Statistics.Statistics.StandardDeviation(column k))

        let references =
            [ for k in used -> $"{k}", Array.min (column k), Array.max (column k) ]
            |> Prior.uniform
            |> Prior.sample seed 0L trials.Length

        let lots = Random seed

        Array.map2
            (fun trial (reference: float[]) ->
                let distance (theta: float[]) =
                    Array.map3 (fun k r s -> ((theta[k] - r) / s) ** 2.0) used reference sd
                    |> Array.sum

                let truth = distance trial.Truth

                let distances = trial.Draws |> Array.map distance
                let nearer = distances |> Array.filter (fun d -> d < truth) |> Array.length
                let equal = distances |> Array.filter (fun d -> d = truth) |> Array.length
                Calibration.part lots nearer equal trial.Draws.Length)
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
