namespace FieldImnn

open System
open FieldImnn.Core

/// What an ensemble run returned.
type EnsembleResult =
    {
        Samples: float[][]
        /// Part of the proposed moves that were accepted.
        Acceptance: float
        /// Walkers that never moved: any is a sign of trouble.
        Stuck: int
    }

/// The affine-invariant ensemble sampler with stretch moves (Goodman & Weare 2010, a = 2).
module EnsembleSampler =
    let private stretch = 2.0

    /// Samples a log density (rows of θ → values) from an even number of starting points inside its support: after `burn` steps,
    /// `steps` steps of the whole ensemble. Nothing of zero density is ever returned.
    let run (seed: int) burn steps (logDensity: float[][] -> float[]) (start: float[][]) =
        let walkers = start.Length

        if walkers < 4 || walkers % 2 = 1 then
            raise (SettingException("walkers", "an even number ≥ 4", $"{walkers}"))

        let p = start[0].Length
        let random = Random seed
        let position = start |> Array.map Array.copy
        let value = logDensity position
        let moved = Array.create walkers false
        let mutable accepted = 0
        let kept = ResizeArray<float[]>()

        if value |> Array.exists Double.IsNegativeInfinity then
            raise (RangeException("walkers' starting points", "points of positive density", "points where it is zero"))

        for step in 1 .. burn + steps do
            for half in 0..1 do
                let own = [| half * walkers / 2 .. (half + 1) * walkers / 2 - 1 |]
                let first = (1 - half) * walkers / 2

                let proposals =
                    own
                    |> Array.map (fun i ->
                        let other = position[first + random.Next(walkers / 2)]
                        let z = ((stretch - 1.0) * random.NextDouble() + 1.0) ** 2.0 / stretch
                        struct (z, Array.map2 (fun o x -> o + z * (x - o)) other position[i]))

                let values = logDensity (proposals |> Array.map (fun struct (_, q) -> q))

                own
                |> Array.iteri (fun q i ->
                    let struct (z, proposal) = proposals[q]
                    let logRatio = float (p - 1) * log z + values[q] - value[i]

                    if log (random.NextDouble()) < logRatio then
                        position[i] <- proposal
                        value[i] <- values[q]
                        moved[i] <- true
                        accepted <- accepted + 1)

            if step > burn then
                kept.AddRange(position |> Array.map Array.copy)

        { Samples = kept.ToArray()
          Acceptance = float accepted / float (walkers * (burn + steps))
          Stuck = moved |> Array.filter not |> Array.length }
