namespace FieldImnn

open MathNet.Numerics.LinearAlgebra

/// Where a posterior is, roughly: its mean and covariance.
type internal Place =
    { Mean: float[]
      Covariance: Matrix<float> }

/// The part of a prior in which posteriors are looked for, from pilots' posteriors of a few simulations.
module internal Place =
    /// How far from a place, in its sds along any direction, a posterior is looked for.
    let private reach = 8.0

    /// How many times as wide as a place parameters are drawn about it.
    let private widen = 2.0

    /// The place of a pilot's posterior, no narrower than what the compression and the prior together leave open where it was trained.
    let ofPilot (prior: Prior) compression pilot : Place =
        let covariance = Posterior.covariance pilot

        { Mean = Posterior.mean pilot
          // the information is the estimates': an edge beside them may tell far more
          Covariance =
            (if compression.Further.IsSome then
                 covariance
             else
                 Abc.leftOpen prior compression.Information covariance) }

    /// n parameters of the prior about a place, by a seed.
    let draws prior place seed n =
        Abc.about seed prior n place.Mean (widen * widen * place.Covariance)

    /// The distance of θ from the nearest of places, in their sds: √[(θ − mean)ᵀ C⁻¹ (θ − mean)].
    let private distance (places: Place list) =
        let each =
            [ for p in places -> p.Mean, Matrices.generalisedInverse "covariance of a pilot's posterior" p.Covariance ]

        fun (theta: float[]) ->
            each
            |> List.map (fun (mean, precision) -> sqrt (max 0.0 (Matrices.squaredDistance precision theta mean)))
            |> List.min

    /// Draws of the box about the part that places reach, and how many of them must lie in it for the part to be drawn from by rejection.
    let private tried = 2000

    let private least = 20

    /// The part of the prior that places reach: within so many of their sds in every direction; where that is too little of the box
    /// about it to be drawn from, as of many parameters, the box.
    let around (prior: Prior) (places: Place list) =
        let ends pick extreme =
            places
            |> List.map (fun p -> Array.map2 pick p.Mean (p.Covariance.Diagonal().PointwiseSqrt().ToArray()))
            |> List.reduce (Array.map2 extreme)

        let low = ends (fun m s -> m - reach * s) min
        let high = ends (fun m s -> m + reach * s) max
        let box = Prior.within (Array.zip low high) prior
        let distance = distance places
        let near theta = distance theta <= reach
        let inside = Prior.sample 1 0L tried box |> Array.filter near

        if inside.Length < least then box else Prior.where near box

    /// The part of a posterior's probability that lies near the end of the part of the prior in which it was looked for.
    let atEnd (places: Place list) (posterior: Posterior) =
        let distance = distance places

        Array.map2 (fun theta w -> if distance theta > 0.9 * reach then w else 0.0) posterior.Samples posterior.Weights
        |> Array.sum
