namespace FieldImnn

open System
open System.Globalization
open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// One round of refitting: a compressor trained at a fiducial point, and what it makes of the observed fields.
type RefitRound =
    {
        Compressor: Compressor
        /// Where the fields are by this compressor: rows of θ.
        Estimates: float[][]
        /// Where their mean θ̂ and the prior place θ: the mode of the posterior that they make, if the likelihood is N(θ̂, F⁻¹).
        Place: float[]
        /// Distance of that place from the fiducial in standard errors of one field: √[(θ − θ_fid)ᵀ (F + Λ) (θ − θ_fid)/p], Λ the
        /// precision of what of the prior is normal.
        Moved: float
    }

/// Training where the data are: a network is best, and its estimate unbiased, at its fiducial point, so one is trained again at the
/// estimate (Makinen et al. 2021, §4.2). Each round is a step of Fisher scoring, towards the mode of the posterior: an estimate alone knows nothing
/// of the prior, and of a parameter that the fields hardly see it is anywhere. A step that turns back ends where the secant does.
module Refit =
    /// Between which a next fiducial may be: all of what the prior has between borders, and of what it does not end all but a thousandth.
    let private believed (marginal: Marginal) =
        match marginal with
        | Uniform(lo, hi) -> lo, hi
        | _ -> Marginal.quantile marginal 0.001, Marginal.quantile marginal 0.999

    /// Ends of each parameter of a dependent prior, whose marginals are only about it: of a thousand draws.
    let private drawn (prior: Prior) =
        let draws = Prior.sample 1 0L 1000 prior

        Array.init prior.Names.Length (fun k ->
            let column = draws |> Array.map (Array.item k)
            Array.min column, Array.max column)

    /// The same without the borders themselves, on which fields can be what they are nowhere else.
    let private inner (marginal: Marginal) =
        match marginal with
        | Uniform(lo, hi) -> lo + 0.01 * (hi - lo), hi - 0.01 * (hi - lo)
        | _ -> believed marginal

    /// μ and Λ of a prior: of parameters that are not normal, or depend on each other, none.
    let private normal (prior: Prior) =
        let each =
            prior.Marginals
            |> Array.map (function
                | Normal(mean, sd)
                | TruncatedNormal(mean, sd, _, _) when prior.Dependence.IsNone -> mean, 1.0 / (sd * sd)
                | _ -> 0.0, 0.0)

        Vector<float>.Build.DenseOfEnumerable(Seq.map fst each),
        Matrix<float>.Build.DenseOfDiagonalArray(Array.map snd each)

    /// The least of (θ − c)ᵀ H (θ − c) between bounds, one parameter after the other until none moves.
    let private nearest (h: Matrix<float>) (centre: Vector<float>) (bounds: (float * float)[]) =
        let theta =
            Vector<float>.Build.Dense(centre.Count, fun i -> Math.Clamp(centre[i], fst bounds[i], snd bounds[i]))

        let step i =
            let before = theta[i]
            let least = before - h.Row(i).DotProduct(theta - centre) / h[i, i]
            theta[i] <- Math.Clamp(least, fst bounds[i], snd bounds[i])
            abs (theta[i] - before) * sqrt h[i, i]

        let rec sweep left =
            let moved = Array.init theta.Count step |> Array.max

            if moved > 1e-9 && left > 0 then
                sweep (left - 1)

        sweep 10000
        theta

    /// Where an estimate of information F and the prior place θ, and how far from the fiducial that is.
    let private placed (prior: Prior) (compressor: Compressor) (estimate: float[]) =
        match estimate |> Array.tryFindIndex (Double.IsFinite >> not) with
        | Some a ->
            raise (
                NonFiniteException("mean estimate of the fields", "finite numbers", $"{prior.Names[a]} = {estimate[a]}")
            )
        | None -> ()

        let centre, precision = normal prior
        let f = compressor.Fisher
        let own = Vector<float>.Build.DenseOfArray estimate

        let free =
            if precision.Diagonal().Maximum() = 0.0 then
                own
            else
                (f + precision).Solve(f * own + precision * centre)

        let ends, within =
            match prior.Dependence with
            | None -> Array.map believed prior.Marginals, Array.map inner prior.Marginals
            | Some _ -> let drawn = drawn prior in drawn, drawn

        let inside = Seq.forall2 (fun v (lo, hi) -> v >= lo && v <= hi) free ends

        let place = if inside then free else nearest (f + precision) free within

        let step = place - Vector<float>.Build.DenseOfArray compressor.Fiducial
        place.ToArray(), sqrt (step.DotProduct((f + precision) * step) / float step.Count)

    /// The place, or the furthest of the points 0.9ⁿ along the way to it that a prior of dependent parameters contains; the fiducial itself if
    /// none is.
    let private within (prior: Prior) (fiducial: float[]) (place: float[]) =
        let at t =
            Array.map2 (fun a b -> a + t * (b - a)) fiducial place

        if Prior.contains prior place then
            place
        else
            Seq.init 60 (fun shorter -> at (0.9 ** float (shorter + 1)))
            |> Seq.tryFind (Prior.contains prior)
            |> Option.defaultValue fiducial

    /// Less than the way to the place, if it turns back on the way that led to the fiducial: each of two fiducials may place a field at the
    /// other, and steps in full never end between them. Where the two steps, drawn out in a line, say that neither is wanted: the secant.
    let private shortened (prior: Prior) (earlier: RefitRound list) (compressor: Compressor) (place: float[]) =
        match earlier with
        | [] -> place
        | before :: _ ->
            let way (from: float[]) (towards: float[]) =
                Vector<float>.Build.DenseOfArray(Array.map2 (-) towards from)

            let came = way before.Compressor.Fiducial compressor.Fiducial
            let along = (compressor.Fisher + snd (normal prior)) * came
            let step = along.DotProduct(way compressor.Fiducial place)
            let wanted = along.DotProduct(way before.Compressor.Fiducial before.Place)

            if step >= 0.0 then
                place
            else
                let part = min 1.0 (along.DotProduct came / (wanted - step))
                Array.map2 (fun from towards -> from + part * (towards - from)) compressor.Fiducial place

    /// Tells those who watch what a round came to: where it was trained, what it estimates (the mean of the fields), and where the next would be.
    let private tell progress number (compressor: Compressor) mean place moved =
        let at = Simulator.named compressor.Parameters
        let errors = (moved: float).ToString("F2", CultureInfo.InvariantCulture)

        let withPrior = if place = mean then "" else $", with the prior {at place}"

        $"trained at {at compressor.Fiducial}; estimate {at mean}{withPrior}, {errors} standard errors away"
        |> Progress.news
            progress
            $"round {number}"
            (("standardErrorsAway", moved)
             :: PosteriorProgress.numbers
                 compressor.Parameters
                 ("estimate", mean)
                 ("error", Matrices.errors compressor.Fisher))

    /// How far from its fiducial a compressor is still itself, in standard errors of a field: rounds only look for the place until it is nearer.
    let internal near = 3.0

    /// Rounds for observed fields (n, shape…), until where they and the prior place θ lies within so many standard errors, `settled`, of the fiducial
    /// it was made at, or there have been as many as allowed, or the work is cancelled. Progress is told of each round's end. `train` makes a compressor
    /// at a fiducial point, given whether it is only to find the place (which no last round is, and none if `search` is false) and the
    /// rounds before, the latest first; `locate` says where it places the fields, (n, parameters): Compressor.estimates, or what serves
    /// better far from the fiducial.
    let run
        progress
        search
        settled
        (train: bool -> RefitRound list -> float[] -> Compressor)
        (locate: Compressor -> Tensor -> float[][])
        prior
        (fiducial: float[])
        rounds
        (fields: Tensor)
        : RefitRound list =
        Guard.AtLeast("rounds", 1L, int64 rounds) |> ignore

        Guard.Positive("standard errors within which a place is settled", settled)
        |> ignore

        Prior.require "fiducial parameters" prior fiducial |> ignore

        let rec go fiducial (earlier: RefitRound list) =
            let far = earlier |> List.tryHead |> Option.forall (fun r -> r.Moved > near)
            let searching = search && far && earlier.Length + 1 < rounds
            let compressor = train searching earlier fiducial
            let estimates = locate compressor fields

            let mean =
                Array.init fiducial.Length (fun a -> estimates |> Array.averageBy (fun e -> e[a]))

            let place, moved = placed prior compressor mean
            tell progress (earlier.Length + 1) compressor mean place moved

            let made =
                { Compressor = compressor
                  Estimates = estimates
                  Place = place
                  Moved = moved }
                :: earlier

            let stopped =
                progress.Cancellation.IsCancellationRequested || compressor.Interrupted

            if moved < settled && not searching || made.Length = rounds || stopped then
                List.rev made
            else
                go (place |> shortened prior earlier compressor |> within prior fiducial) made

        go fiducial []
