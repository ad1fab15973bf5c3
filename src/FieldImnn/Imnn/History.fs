namespace FieldImnn

/// One line of a training history. Quantities that were not measured at this iteration are NaN.
type TrainingRecord =
    {
        /// Iterations done.
        Iteration: int
        /// det F of the training batch (biased high: the network was fitted to such batches).
        DetF: float
        /// Λ, the distance of the summaries' covariance from the identity (regularised loss).
        Lambda: float
        /// r, the strength of the regulariser (regularised loss).
        Strength: float
        /// det F of simulations that training never sees.
        HeldOutDetF: float
        /// Seconds since training began.
        Seconds: float
    }
