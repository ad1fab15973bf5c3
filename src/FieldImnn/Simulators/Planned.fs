namespace FieldImnn

open FieldImnn.Core.Random

/// Simulations that will be wanted, known before any is made: their keys, and θ.
type PlannedSimulations =
    {
        /// What for.
        Purpose: string
        Seed: uint64
        /// The index of the first; the others follow.
        First: uint64
        Count: int
        /// One row for all, or one for each.
        Theta: float[][]
        /// How they are differentiated, if they are.
        Derivatives: Derivatives option
    }

/// Parts of what is planned.
module internal Planned =
    /// Keys and θ of some of the simulations.
    let part start length planned : NoiseKey[] * float[][] =
        NoiseKey.Range(planned.Seed, planned.First + uint64 (start: int), length),
        if planned.Theta.Length = 1 then
            planned.Theta
        else
            planned.Theta[start .. start + length - 1]
