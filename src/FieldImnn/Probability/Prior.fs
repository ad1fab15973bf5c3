namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions

/// What is known of one parameter beforehand.
type Marginal =
    /// Flat between lo and hi, both finite.
    | Uniform of lo: float * hi: float
    /// Gaussian, sd > 0.
    | Normal of mean: float * sd: float
    /// Gaussian cut to lo … hi and normalised there; mean and sd are those before the cut. One end or both may be infinite.
    | TruncatedNormal of mean: float * sd: float * lo: float * hi: float

/// Support, density and quantiles of one parameter.
module Marginal =
    /// The standard normal's probability between a and b, from the tail where the difference is exact.
    let private between a b =
        if a > 0.0 then
            Normal.CDF(0.0, 1.0, -a) - Normal.CDF(0.0, 1.0, -b)
        else
            Normal.CDF(0.0, 1.0, b) - Normal.CDF(0.0, 1.0, a)

    /// The marginal itself if its settings can work; errors go by the name.
    let check (name: string) marginal =
        let refuse expected received =
            raise (SettingException($"prior of {name}", expected, received))

        let location mean sd =
            if not (Double.IsFinite mean) then
                refuse "a finite mean" (string mean)

            if not (Double.IsFinite sd && sd > 0.0) then
                refuse "a finite standard deviation > 0" (string sd)

        match marginal with
        | Uniform(lo, hi) ->
            if not (lo < hi && Double.IsFinite(hi - lo)) then
                refuse "finite bounds lo < hi" $"lo = {string lo}, hi = {string hi}"
        | Normal(mean, sd) -> location mean sd
        | TruncatedNormal(mean, sd, lo, hi) ->
            location mean sd

            if not (lo < hi) then
                refuse "bounds lo < hi" $"lo = {string lo}, hi = {string hi}"

            if not (between ((lo - mean) / sd) ((hi - mean) / sd) > 0.0) then
                refuse "bounds that leave some of the normal's probability" $"lo = {string lo}, hi = {string hi}"

        marginal

    /// The smallest interval outside which the density is zero.
    let support marginal =
        match marginal with
        | Uniform(lo, hi)
        | TruncatedNormal(_, _, lo, hi) -> lo, hi
        | Normal _ -> Double.NegativeInfinity, Double.PositiveInfinity

    /// A finite number within the support, its ends included.
    let contains marginal value =
        let lo, hi = support marginal
        Double.IsFinite value && lo <= value && value <= hi

    /// ln p(value), −∞ outside the support.
    let logDensity marginal value =
        if not (contains marginal value) then
            Double.NegativeInfinity
        else
            match marginal with
            | Uniform(lo, hi) -> -log(hi - lo)
            | Normal(mean, sd) -> Normal.PDFLn(mean, sd, value)
            | TruncatedNormal(mean, sd, lo, hi) ->
                Normal.PDFLn(mean, sd, value)
                - log (between ((lo - mean) / sd) ((hi - mean) / sd))

    /// The marginal cut to lo … hi, where it has some of its probability.
    let cut name lo hi marginal =
        match marginal with
        | Uniform(a, b) -> Uniform(max a lo, min b hi)
        | Normal(mean, sd) -> TruncatedNormal(mean, sd, lo, hi)
        | TruncatedNormal(mean, sd, a, b) -> TruncatedNormal(mean, sd, max a lo, min b hi)
        |> check name

    /// The value below which the probability u lies, 0 < u < 1: the inverse of the cumulative distribution.
    let quantile marginal u =
        match marginal with
        | Uniform(lo, hi) -> lo + u * (hi - lo)
        | Normal(mean, sd) -> Normal.InvCDF(mean, sd, u)
        | TruncatedNormal(mean, sd, lo, hi) ->
            let a, b = (lo - mean) / sd, (hi - mean) / sd

            let z =
                if a > 0.0 then
                    -Normal.InvCDF(0.0, 1.0, Normal.CDF(0.0, 1.0, -a) - u * between a b)
                else
                    Normal.InvCDF(0.0, 1.0, Normal.CDF(0.0, 1.0, a) + u * between a b)

            Math.Clamp(mean + sd * z, lo, hi)

    /// The probability below the value, from 0 to 1: the inverse of the quantile.
    let cumulative marginal value =
        match marginal with
        | Uniform(lo, hi) -> Math.Clamp((value - lo) / (hi - lo), 0.0, 1.0)
        | Normal(mean, sd) -> Normal.CDF(mean, sd, value)
        | TruncatedNormal(mean, sd, lo, hi) ->
            let standard v = (v - mean) / sd

            between (standard lo) (standard (Math.Clamp(value, lo, hi)))
            / between (standard lo) (standard hi)

/// How parameters that are not independent of each other are distributed.
type Dependence =
    {
        /// ln p(θ) of θ (p) within the marginals' support; −∞ where there is no probability.
        LogDensity: float[] -> float
        /// seed → index of a draw → θ (p), by these two alone.
        Draw: int -> int64 -> float[]
    }

/// What is known of the parameters beforehand, in the simulator's order.
type Prior =
    {
        Names: string[]
        /// Independent parameters: the distribution of each. Dependent ones: a frame about them, which has the bounds, and in whose
        /// quantiles methods work where they need numbers without bounds.
        Marginals: Marginal[]
        /// None for independent parameters.
        Dependence: Dependence option
    }

/// Making priors, their densities and their draws.
module Prior =
    /// A prior from names and marginals.
    let create (marginals: (string * Marginal) list) =
        let names = marginals |> List.map fst |> Array.ofList

        if names.Length = 0 || names |> Array.exists String.IsNullOrWhiteSpace then
            raise (SettingException("prior", "at least one parameter, each with a name", $"%A{names}"))

        if (Array.distinct names).Length < names.Length then
            raise (SettingException("prior", "parameters of different names", String.concat ", " names))

        { Names = names
          Marginals = marginals |> List.map (fun (name, m) -> Marginal.check name m) |> Array.ofList
          Dependence = None }

    /// A prior of dependent parameters, from a frame (names, and marginals that hold all of the probability: their bounds are the prior's),
    /// ln p(θ), and draws by seed and index. Density and draws must be of the same distribution.
    let dependent frame (logDensity: float[] -> float) (draw: int -> int64 -> float[]) =
        { create frame with
            Dependence = Some { LogDensity = logDensity; Draw = draw } }

    /// A flat prior from names and bounds: [ "A", 0.1, 1.25; "B", 0.0, 1.0 ].
    let uniform (bounds: (string * float * float) list) =
        bounds |> List.map (fun (name, lo, hi) -> name, Uniform(lo, hi)) |> create

    /// The support of every parameter; infinite for a normal.
    let bounds prior =
        prior.Marginals |> Array.map Marginal.support


    /// The prior cut to a box, of bounds for each parameter.
    let within (box: (float * float)[]) prior =
        if box.Length <> prior.Names.Length then
            raise (ShapeException("bounds of a box", $"{prior.Names.Length}", $"{box.Length}"))

        { prior with
            Marginals =
                Array.map3
                    (fun name (lo, hi) marginal -> Marginal.cut name lo hi marginal)
                    prior.Names
                    box
                    prior.Marginals }

    let private checkCount prior (theta: float[]) =
        if theta.Length <> prior.Names.Length then
            let names = String.concat ", " prior.Names
            raise (ShapeException("parameters θ", $"{prior.Names.Length} ({names})", $"{theta.Length}"))

    /// ln of the frame's density at θ (parameters), the marginals' product; −∞ outside their support. The prior's own where the parameters
    /// are independent.
    let internal logFrame prior (theta: float[]) =
        checkCount prior theta
        Array.map2 Marginal.logDensity prior.Marginals theta |> Array.sum

    /// ln p(θ), θ (parameters); −∞ outside the support.
    let logDensity prior (theta: float[]) =
        let frame = logFrame prior theta

        match prior.Dependence with
        | Some dependence when frame > Double.NegativeInfinity ->
            let own = dependence.LogDensity theta

            if Double.IsNaN own || Double.IsPositiveInfinity own then
                let at = theta |> Array.map string |> String.concat ", "
                raise (NonFiniteException("log density of the prior", "a number, or −∞", $"{string own} at ({at})"))

            own
        | _ -> frame

    /// θ (parameters) lies in the support.
    let contains prior (theta: float[]) =
        checkCount prior theta

        Array.forall2 Marginal.contains prior.Marginals theta
        && (prior.Dependence.IsNone || logDensity prior theta > Double.NegativeInfinity)

    /// θ itself if it lies in the support. The subject says in the error what θ is.
    let require (subject: string) prior (theta: float[]) =
        checkCount prior theta

        (prior.Names, prior.Marginals, theta)
        |||> Array.zip3
        |> Array.iter (fun (name, marginal, value) ->
            if not (Marginal.contains marginal value) then
                let lo, hi = Marginal.support marginal

                raise (
                    RangeException(
                        subject,
                        $"{name} in the prior's support {string lo} … {string hi}",
                        $"{name} = {string value}"
                    )
                ))

        if not (contains prior theta) then
            let at = theta |> Array.map string |> String.concat ", "
            raise (RangeException(subject, "parameters that the prior gives a density > 0", $"({at}), which have none"))

        theta

    // nearer to an end of a prior than this, as a part of its probability, its z would be infinite
    let private edge = 1e-12

    /// z (parameters) of θ (parameters) in the support: z_k = Φ⁻¹(the marginal's probability below θ_k), without bounds; a prior of independent
    /// parameters is the standard normal there.
    let toNormal prior (theta: float[]) =
        checkCount prior theta

        Array.map2
            (fun marginal t ->
                match marginal with
                | Normal(mean, sd) -> (t - mean) / sd
                | _ -> Normal.InvCDF(0.0, 1.0, Math.Clamp(Marginal.cumulative marginal t, edge, 1.0 - edge)))
            prior.Marginals
            theta

    /// θ (parameters) in the support of z (parameters): the inverse of `toNormal`.
    let ofNormal prior (z: float[]) =
        checkCount prior z

        Array.map2
            (fun marginal v ->
                match marginal with
                | Normal(mean, sd) -> mean + sd * v
                | _ -> Marginal.quantile marginal (Math.Clamp(Normal.CDF(0.0, 1.0, v), edge, 1.0 - edge)))
            prior.Marginals
            z

    /// A number in (0, 1) that (seed, index, parameter) alone decides.
    let private unit (seed: int) (index: int64) parameter =
        let stream = SplitMix.Mix(SplitMix.Golden * (uint64 (int64 seed) + 1UL))
        let draw = SplitMix.Mix(stream + SplitMix.Golden * (uint64 index + 1UL))
        let bits = SplitMix.Mix(draw + SplitMix.Golden * (uint64 (parameter: int) + 1UL))
        (float (bits >>> 11) + 0.5) * (1.0 / 9007199254740992.0)

    let private independent (seed: int) prior index =
        prior.Marginals
        |> Array.mapi (fun k marginal -> Marginal.quantile marginal (unit seed index k))

    /// Draws tried for one within the bounds, of a prior that has been cut.
    let private most = 1000

    let private rejected seed prior dependence (index: int64) =
        let inside attempt =
            let theta: float[] =
                dependence.Draw
                    (if attempt = 0 then
                         seed
                     else
                         NoiseKey.IntSeedFor(uint64 (uint32 seed), $"attempt {attempt}"))
                    index

            checkCount prior theta
            if contains prior theta then Some theta else None

        match Seq.init most inside |> Seq.tryPick id with
        | Some theta -> theta
        | None ->
            raise (
                RangeException(
                    $"draw {index} of the prior",
                    "one with density > 0 within the bounds",
                    $"none in {most} attempts: draws and density are of different distributions, or the bounds leave too little"
                )
            )

    /// Draws start … start + n − 1 of a seed, (n, parameters). Draw i is the same whatever start and n are.
    let sample (seed: int) (start: int64) (n: int) prior =
        Guard.AtLeast("first draw", 0L, start) |> ignore
        Guard.AtLeast("number of draws", 0L, int64 n) |> ignore

        let draw =
            match prior.Dependence with
            | None -> independent seed prior
            | Some dependence -> rejected seed prior dependence

        Array.init n (fun i -> draw (start + int64 i))

    /// Draws of a prior among which one must meet a condition.
    let private mostRejected = 100000

    /// The prior where a condition on θ holds: its density there, unnormalised, and those of its draws that meet it. For conditions that a good part of
    /// the prior meets: a draw takes as many of the prior's as that makes it.
    let where (holds: float[] -> bool) prior =
        let density theta =
            if holds theta then logDensity prior theta else -infinity

        let draw (seed: int) index =
            Seq.init mostRejected (fun again -> (sample (seed + 7919 * again) index 1 prior)[0])
            |> Seq.tryFind holds
            |> Option.defaultWith (fun () ->
                raise (
                    RangeException(
                        "condition on a prior",
                        "one that some of its draws meet",
                        $"none of {mostRejected}"
                    )
                ))

        dependent (List.ofArray (Array.zip prior.Names prior.Marginals)) density draw

    /// Draws whose median is that of dependent parameters.
    let private enough = 1001

    /// The median of every parameter; of dependent ones the draw nearest to their medians, in units of their scatter.
    let median prior =
        match prior.Dependence with
        | None -> prior.Marginals |> Array.map (fun m -> Marginal.quantile m 0.5)
        | Some _ ->
            let draws = sample 1 0L enough prior

            let columns =
                Array.init prior.Names.Length (fun k -> draws |> Array.map (fun d -> d[k]) |> Array.sort)

            let middle = columns |> Array.map (fun c -> c[enough / 2])
            let scatter = columns |> Array.map (fun c -> c[3 * enough / 4] - c[enough / 4])

            draws
            |> Array.minBy (fun d -> Array.map3 (fun v m s -> ((v - m) / s) ** 2.0) d middle scatter |> Array.sum)

    /// Half the distance of the marginals' quantiles that hold 68 % between them, (p): the width of what is known beforehand.
    let width prior =
        prior.Marginals
        |> Array.map (fun m -> 0.5 * (Marginal.quantile m 0.84 - Marginal.quantile m 0.16))
