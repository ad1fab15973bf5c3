namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics.Distributions
open TorchSharp

/// Simulations that are unlike their like, and observations that are unlike the simulations.
module Misfit =
    /// Distances of rows of x from what θ lets expect, in sds of their scatter about it.
    let private distances whitening (x: float[][]) (theta: float[][]) =
        Tensors.using (fun () ->
            let whitened = Whitening.condition whitening (Tensors.ofRows theta)

            (Whitening.residual whitening (Tensors.ofRows x) whitened).square().sum(1L).sqrt()
            |> Tensors.toArray)

    let private whitenedRows whitening (theta: float[][]) =
        Tensors.using (fun () -> Whitening.condition whitening (Tensors.ofRows theta) |> Tensors.toRows)

    let private squared (a: float[]) (b: float[]) =
        let mutable sum = 0.0

        for k in 0 .. a.Length - 1 do
            sum <- sum + (a[k] - b[k]) * (a[k] - b[k])

        sum

    /// Rows that no density should be learned from: summaries more than eight times as far from what is expected as half of the
    /// simulations of the nearest parameters are, the scatter being theirs, not the whole prior's: a distribution that widens with θ has none.
    /// Returns the rows and the distance of the farthest, in those terms; none where they are over a twentieth of all: these are
    /// no outliers.
    let outliers (x: float[][]) (theta: float[][]) : int[] * float =
        let n = x.Length
        let whitening = Whitening.fit x theta
        let far = distances whitening x theta
        let typical = sqrt (ChiSquared.InvCDF(float whitening.Target.Kept.Length, 0.5))
        let candidates = [| 0 .. n - 1 |] |> Array.filter (fun i -> far[i] > 8.0 * typical)

        if candidates.Length = 0 || float candidates.Length > 0.05 * float n then
            [||], 0.0
        else
            let places = whitenedRows whitening theta
            let neighbours = min (n - 1) (max 50 (n / 10))

            let found =
                candidates
                |> Array.map (fun i ->
                    let order = Array.init n id
                    Array.Sort(Array.init n (fun j -> squared places[i] places[j]), order)
                    let near = order[..neighbours] |> Array.map (fun j -> far[j]) |> Array.sort
                    i, far[i] / max typical near[near.Length / 2])
                |> Array.filter (fun (_, times) -> times > 8.0)

            Array.map fst found, (found |> Array.fold (fun most (_, times) -> max most (times * typical)) 0.0)

    /// θ and x without the outliers among them, and a warning where there are any.
    let withoutOutliers (theta: float[][]) (x: float[][]) =
        let out, farthest = outliers x theta

        if out.Length = 0 then
            theta, x, []
        else
            let bad = Set.ofArray out
            let kept = [| 0 .. x.Length - 1 |] |> Array.filter (bad.Contains >> not)

            kept |> Array.map (fun i -> theta[i]),
            kept |> Array.map (fun i -> x[i]),
            [ SimulationsLeftOut(out.Length, x.Length, farthest) ]

    /// Well-specified observations that are warned of: at most this part.
    let falseAlarms = 1e-3

    /// Points that stand for a posterior: its samples at even steps of their weight.
    let private representatives count (posterior: Posterior) =
        let cumulative = Weighted.cumulative posterior.Weights

        Array.init count (fun i -> posterior.Samples[Weighted.choose cumulative ((float i + 0.5) / float count)])

    /// The least distance of observed summaries from what the posterior's parameters simulate, in sds of the simulations' scatter, and the
    /// number of summaries that count. What they simulate, and its scatter, is a (robust, polynomial) regression of the summaries on the
    /// parameters over the nearest simulations. Infinite where the observation breaks what all simulations obey: a constant, a sum.
    let distance (theta: float[][]) (x: float[][]) (observed: float[]) (posterior: Posterior) =
        let p, d = theta[0].Length, observed.Length
        let centre, sd = Posterior.mean posterior, Posterior.sd posterior

        let scaled (t: float[]) =
            Array.map3 (fun v m s -> (v - m) / (s + 1e-12 * (1.0 + abs m))) t centre sd

        // not of its mean, where a posterior of two peaks has nothing
        let peaks = representatives 50 posterior |> Array.map scaled

        let away (t: float[]) =
            let t = scaled t
            peaks |> Array.fold (fun least peak -> min least (squared t peak)) infinity

        let count = max (20 * (p + d + 2)) (theta.Length / 10)
        let order = Array.init theta.Length id
        Array.Sort(theta |> Array.map away, order)
        let nearest = Array.truncate count order
        let near = nearest |> Array.map (fun i -> x[i])

        if Columns.breaks (Columns.choose x) observed then
            infinity, d
        else
            let whitening = Whitening.fit near (nearest |> Array.map (fun i -> theta[i]))
            let points = representatives 400 posterior
            let found = distances whitening (Array.create points.Length observed) points
            Array.min found, whitening.Target.Kept.Length

    /// Warnings of an observation that the model is unlikely to have made, given all simulations (θ, x) of an inference and the posterior that
    /// it found. Of observations that the model did make at most 1 in 1,000 are warned of (`falseAlarms`): the distance of the true
    /// parameters is χ-distributed and that of the posterior's best is less. With as many summaries as parameters, an observation within
    /// the simulations' range can always be explained: no test of summaries can object to it.
    let warnings (theta: float[][]) (x: float[][]) (observed: float[]) posterior : Warning list =
        // too few simulations to know their scatter by
        if x.Length < 4 * (theta[0].Length + observed.Length + 2) then
            []
        else
            let dropped = Columns.choose x |> Columns.dropped |> List.map ((+) 1)

            [ if not dropped.IsEmpty then
                  SummariesDropped dropped

              let sds, summaries = distance theta x observed posterior

              if not (sds * sds <= ChiSquared.InvCDF(float summaries, 1.0 - falseAlarms)) then
                  Outsider sds ]

    /// As `warnings`, of a Gaussian approximation about an estimate with Fisher matrix F: the distance of the estimate from the nearest of
    /// the posterior's samples.
    let ofApproximation
        (estimate: float[])
        (fisher: MathNet.Numerics.LinearAlgebra.Matrix<float>)
        (posterior: Posterior)
        =
        let least =
            posterior.Samples
            |> Array.map (fun theta -> Matrices.squaredDistance fisher theta estimate)
            |> Array.min

        if not (least <= ChiSquared.InvCDF(float estimate.Length, 1.0 - falseAlarms)) then
            [ Outsider(sqrt least) ]
        else
            []
