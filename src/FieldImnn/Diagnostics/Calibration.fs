namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
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

    /// Ranks among fewer draws move in steps of more than 5 %, which the tests would take for a fault.
    let private least = 19

    let internal check (trials: CalibrationTrial[]) =
        Guard.AtLeast("trials of a calibration test", 20L, int64 trials.Length)
        |> ignore

        let p = trials[0].Truth.Length

        trials
        |> Array.iteri (fun i trial ->
            let subject = $"trial {i} of a calibration test"

            if trial.Truth.Length <> p || p = 0 then
                raise (ShapeException(subject, $"a truth of {max 1 p} parameters", $"{trial.Truth.Length}"))

            if trial.Draws |> Array.exists (fun d -> d.Length <> p) then
                raise (ShapeException(subject, $"draws of {p} parameters, as the truth", "others"))

            if trial.Draws.Length < least then
                raise (
                    SettingException(
                        subject,
                        $"at least {least} draws, so that ranks move in steps of 5 %% or less",
                        $"{trial.Draws.Length}"
                    )
                )

            let finite = Array.forall Double.IsFinite

            if not (finite trial.Truth && Array.forall finite trial.Draws) then
                let what = if finite trial.Truth then "draws" else "truth"

                raise (
                    NonFiniteException(subject, $"a finite truth and finite draws", $"NaN or infinity in its {what}")
                ))

    /// The truth's place among the draws as a part of one, from how many are below it and how many tie with it. A tie is broken by lot, the
    /// same one for the same trial and parameter, so that ranks are uniform for discrete and flat posteriors, too.
    let internal part (lots: Random) below equal draws =
        let lot = lots.NextDouble()
        let within = if equal = 0 then 0.5 else lot * float (equal + 1)
        (float below + within) / float (draws + 1)

    /// Numbers in [0, 1], at least one.
    let internal checkParts subject (values: float[]) =
        if values.Length = 0 then
            raise (SettingException(subject, "at least one number", "none"))

        if values |> Array.exists (fun v -> not (v >= 0.0 && v <= 1.0)) then
            raise (RangeException(subject, "numbers from 0 to 1", "others"))

    /// How far the mean and the mean square about ½ of n numbers lie from those of U(0, 1), in standard deviations of chance.
    let deviations (values: float[]) =
        checkParts "values of a calibration test" values
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
            let lots = PhiloxRandom(uint64 k, "ties of ranks")

            trials
            |> Array.map (fun trial ->
                let count choose =
                    trial.Draws
                    |> Array.filter (fun d -> choose d[k] trial.Truth[k])
                    |> Array.length

                part lots (count (<)) (count (=)) trial.Draws.Length))

    /// The verdict of one parameter's ranks: a slope of their histogram is a bias, a U overconfidence, an arch its opposite.
    let verdictOfRanks (ranks: float[]) =
        let mean, spread = deviations ranks

        if abs mean > threshold then Biased
        elif spread > threshold then Overconfident
        elif spread < -threshold then Underconfident
        else Calibrated

    /// The range that a count of n falls into with this probability, if each falls in with probability p (both tails equal).
    let band probability n p =
        Guard.AtLeast("counts of a band", 1L, int64 n) |> ignore

        if not (probability > 0.0 && probability < 1.0 && p >= 0.0 && p <= 1.0) then
            raise (
                RangeException(
                    "band of a count",
                    "probabilities between 0 and 1",
                    FormattableString.Invariant $"{probability} and {p}"
                )
            )

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
        checkParts "values of a calibration curve" values

        levels
        |> Array.map (fun level ->
            float (values |> Array.filter (fun v -> v <= level) |> Array.length)
            / float values.Length)
