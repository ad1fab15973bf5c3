/// One field of known parameters, inferred, beside the exact answer.
module Trial

open FieldImnn
open FieldImnn.Core.Random
open Subject

/// A posterior against the exact one of its field.
type Trial =
    {
        Truth: float[]
        Draws: float[][]
        /// ln q at the truth and at the draws.
        LogDensity: float[]
        /// Area over the exact area.
        Area: float
        /// Of each parameter: the mean less the exact mean, in exact sds.
        Shift: float[]
        /// The rms of these shifts that comes of the information which the compressor lost, at its fiducial, and not of the method.
        Lost: float
        Simulations: int
        Warnings: int
    }

/// Draws of each posterior that ranks and coverage count.
let private draws = 200

let private points = 81

/// ln q at rows of θ: of the posterior's grid, or of a kernel estimate.
let private logDensity posterior (rows: float[][]) =
    let grid = Posterior.density 0 1 points posterior
    rows |> Array.map (fun r -> log (max 1e-300 (DensityGrid.at (r[0], r[1]) grid)))

/// Draws within the part of the prior where the truth was drawn: the posterior given that the truth lies there.
let private drawWithin seed (region: Prior) posterior =
    let all = Posterior.resample seed (20 * draws) posterior
    let inside = all |> Array.filter (Prior.contains region)
    Array.truncate draws (if inside.Length >= draws then inside else all)

/// The mean of a posterior from summaries scatters about that from the field by the difference of their variances.
let private lost subject (compressor: Compressor) =
    let exact = (subject.Problem.Exact.Fisher compressor.Fiducial).Inverse()
    let kept = compressor.Fisher.Inverse()

    Array.init compressor.Fiducial.Length (fun k -> max 0.0 (kept[k, k] / exact[k, k] - 1.0))
    |> Array.average
    |> sqrt

let private against seed lost region truth (exact: Posterior) (found: Inferred) =
    let posterior = found.Posterior
    let drawn = drawWithin seed region posterior

    { Truth = truth
      Draws = drawn
      LogDensity = logDensity posterior (Array.append [| truth |] drawn)
      Area = Posterior.area posterior / Posterior.area exact
      Shift =
        Array.map3 (fun a b s -> (a - b) / s) (Posterior.mean posterior) (Posterior.mean exact) (Posterior.sd exact)
      Lost = lost
      Simulations = found.Simulations
      Warnings = found.Warnings.Length }

/// The true parameters and fields of a region of a subject's prior.
let fields subject (region: Prior) count =
    let seed = subject.Options.Seed
    let truths = Prior.sample (NoiseKey.IntSeedFor(seed, "calibration")) 0L count region

    truths
    |> Array.mapi (fun i truth ->
        truth, Simulator.field subject.Problem.Simulator truth (NoiseKey.SeedFor(seed, $"calibration field {i}")))

/// The exact posterior of a field.
let exact subject field =
    ExactAnswer.posteriorOn points subject.Problem.Exact subject.Problem.Prior field

let private posteriors (method: Method) subject compressor fields =
    method subject.Problem.Model (Infer.compression compressor |> Compression.about fields) fields

/// Fields a group at a time: each by itself, as a user's field would be, or some that share a run and a compressor.
let sequential size subject methodOf (universe: (float[] * Tensor)[]) (exacts: Posterior[]) =
    Array.zip universe exacts
    |> Array.indexed
    |> Array.chunkBySize size
    |> Array.collect (fun group ->
        let first = fst group[0]
        Progress.report subject.Progress "fields" first universe.Length [] ""
        subject.Progress.Cancellation.ThrowIfCancellationRequested()
        let fields = [ for _, ((_, field), _) in group -> field ]
        let compressor = compressor subject fields
        let lost = lost subject compressor
        let seed = NoiseKey.SeedFor(subject.Options.Seed, $"calibration method {first}")
        let found = posteriors (methodOf seed) subject compressor fields

        Array.map2
            (fun (i, ((truth, _), exact)) one -> against i lost subject.About truth exact one)
            group
            (Array.ofList found))

/// One inference for all fields of the prior.
let amortised subject methodOf (universe: (float[] * Tensor)[]) (exacts: Posterior[]) =
    let compressor = first subject
    let fields = universe |> Array.map snd |> List.ofArray

    posteriors (methodOf subject.Options.Seed) subject compressor fields
    |> List.mapi (fun i one ->
        against i (lost subject compressor) subject.Problem.Prior (fst universe[i]) exacts[i] one)
    |> Array.ofList
