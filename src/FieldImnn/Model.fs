namespace FieldImnn

/// A universe and what is known of its parameters beforehand: all that inference asks for. How it is compressed is a Recipe, how it is
/// inferred a Method.
type Model =
    {
        Simulator: Simulator
        /// Names the simulator's parameters, in its order.
        Prior: Prior
        /// The exact likelihood and information, where they are known: they then stand beside every approximate answer.
        Exact: ExactAnswer option
    }

/// Making models.
module Model =
    /// A simulator with a prior over its parameters; a prior that names others, or the same in another order, is a SettingException.
    let create simulator prior =
        Door.names simulator prior

        { Simulator = simulator
          Prior = prior
          Exact = None }

    /// The model with its exact answer.
    let withExact exact model = { model with Exact = Some exact }

    /// The number of parameters, p.
    let parameters model = model.Simulator.Parameters.Length
