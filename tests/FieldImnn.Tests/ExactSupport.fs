/// What tests of exact answers share: pixel covariances by plain sums over modes, dense Gaussians, score variances and calibration.
module ExactSupport

open System
open System.Numerics
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// A symmetric 2 × 2 matrix as (a, a), (a, b), (b, b).
let lower (m: Matrix<float>) = [| m[0, 0]; m[0, 1]; m[1, 1] |]

/// The simulator with its noise in float64.
let doubled simulator =
    { simulator with
        DrawNoise = fun keys -> (simulator.DrawNoise keys).``to`` torch.ScalarType.Float64 }

/// The wavenumber of mode q of a side of n points and this length.
let wave n length q =
    2.0 * Math.PI * float (if q <= n / 2 then q else q - n) / length

/// Σ x_ab e^{± 2πi (pa + qb)/n} at every (p, q) of n × n values, by plain sums; the sign is the exponent's.
let fourierBySums n (sign: float) (values: Complex[,]) =
    Array2D.init n n (fun p q ->
        let mutable sum = Complex.Zero

        for a in 0 .. n - 1 do
            for b in 0 .. n - 1 do
                let angle = sign * 2.0 * Math.PI * float (p * a + q * b) / float n
                sum <- sum + values[a, b] * Complex.FromPolarCoordinates(1.0, angle)

        sum)

/// Correlation at every separation on n × n pixels of a box, from the power of its modes by a plain sum; power at k = 0 included.
let correlationBySums n length (power: float -> float) =
    Array2D.init n n (fun dx dy ->
        let mutable sum = 0.0

        for i in 0 .. n - 1 do
            for j in 0 .. n - 1 do
                let k = sqrt (wave n length i ** 2.0 + wave n length j ** 2.0)

                sum <- sum + power k * cos (2.0 * Math.PI * float (i * dx + j * dy) / float n)

        sum / (length * length))

/// The covariance of n × n pixels on a periodic grid, from their correlation.
let pixelCovariance n (xi: float[,]) =
    Matrix<float>.Build.Dense(n * n, n * n, (fun a b -> xi[(a / n - b / n + n) % n, (a % n - b % n + n) % n]))

/// ln p of a field of zero mean on n × n pixels of unit size under a dense Gaussian of this power (k > 0), in the space orthogonal to
/// the (fixed) mean.
let denseLogLikelihood n (power: float -> float) (d: float[]) =
    let evd =
        (correlationBySums n (float n) (fun k -> if k > 0.0 then power k else 0.0)
         |> pixelCovariance n)
            .Evd
            Symmetricity.Symmetric

    let modes =
        evd.EigenVectors.TransposeThisAndMultiply(Vector<float>.Build.DenseOfArray d)

    Seq.zip (evd.EigenValues.Real()) modes
    |> Seq.filter (fun (v, _) -> v > 1e-9)
    |> Seq.sumBy (fun (v, m) -> -0.5 * (log v + m * m / v))

/// A function at three points less its value at (1, 0.5): what is left of a log-likelihood without its constant.
let differences (f: float[] -> float) =
    [| [| 0.8; 0.5 |]; [| 1.1; 0.9 |]; [| 0.5; 0.3 |] |]
    |> Array.map (fun t -> f t - f [| 1.0; 0.5 |])

/// An exact answer whose log-likelihood is multiplied by a factor: over-confident above 1.
let tempered (factor: float) exact =
    { exact with
        LogLikelihood = fun d t -> exact.LogLikelihood d t * factor }

/// HPD levels of the truth over fields drawn at truths from the prior: uniform if the answer is exact.
let hpdLevels simulator exact prior count =
    let theta = Prior.sample 9 0L count prior

    Array.init count (fun i ->
        Tensors.using (fun () ->
            let d =
                Simulator.fields simulator (Tensors.ofVector theta[i]) [| NoiseKey(77UL, uint64 i) |]

            ExactAnswer.posteriorOn 61 exact prior d[0] |> Posterior.hpdLevel theta[i]))

/// Calibration of both mode conventions over 200 fields, from the HPD levels of the likelihood multiplied by a factor; and a planted
/// over-confident likelihood, which must be caught.
let calibrationOver200 (levels: ModeConvention -> int -> float -> float[]) =
    let p convention factor =
        uniformity (levels convention 200 factor)

    testSequenced (
        testList
            "calibration over 200 fields"
            [ for convention in [ ModeConvention.Ideal; ModeConvention.Published ] do
                  tensorTest $"{convention}: the truth's HPD level is uniform" (fun () ->
                      let p = p convention 1.0
                      Expect.isGreaterThan p 0.005 $"p = {p:g3}")

              tensorTest "a planted over-confident likelihood is caught" (fun () ->
                  let p = p ModeConvention.Published 1.8
                  Expect.isLessThan p 0.005 $"p = {p:g3}") ]
    )

/// The variance of the score over simulations at θ, less the Fisher matrix, in standard errors: (a, a), (a, b), (b, b). With the score
/// taken `at` another point it must differ.
let scoreDeviations simulator exact count theta at =
    let fields =
        Simulator.fields (doubled simulator) (Tensors.ofVector theta) (NoiseKey.Range(21UL, 0UL, count))

    let products =
        Array.init count (fun i ->
            let s = ExactAnswer.score exact fields[int64 i] at
            [| s[0] * s[0]; s[0] * s[1]; s[1] * s[1] |])

    meanDeviations products (lower (exact.Fisher theta))

/// A Fisher matrix less one that was measured over simulations, in the standard errors of the latter: the largest of all elements.
let fisherDeviation (measured: MeasuredFisher) (fisher: Matrix<float>) =
    (measured.Fisher - fisher).PointwiseDivide(measured.Error).Enumerate()
    |> Seq.map abs
    |> Seq.max
