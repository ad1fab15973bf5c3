namespace FieldImnn

open MathNet.Numerics.LinearAlgebra

/// A problem of the house: a model, with its exact answer where one is known, the recipe that suits it, and what its paper says of it.
type Problem =
    {
        Model: Model
        Recipe: Recipe
        /// Where an example observation is simulated.
        Example: float[]
        /// The Fisher matrix that the paper quotes as theory, where it quotes one that is not the exact one.
        QuotedFisher: (float[] -> Matrix<float>) option
    }

    member this.Simulator = this.Model.Simulator
    member this.Prior = this.Model.Prior

    /// The exact answer, which every problem of the paper has, and log-normal lensing maps have not.
    member this.Exact =
        match this.Model.Exact with
        | Some exact -> exact
        | None -> raise (FieldImnn.Core.SettingException("problem", "a model with an exact answer", "one without"))

    /// Where the network is trained first.
    member this.Fiducial = Recipe.fiducial this.Model this.Recipe
