namespace FieldImnn

open System
open FieldImnn.Core
open TorchSharp

/// What training minimises.
type Loss =
    /// −ln det F + r Λ (Charnock et al. 2018; as coded for Makinen et al. 2021): Λ = ‖C − I‖ + ‖C⁻¹ − I‖,
    /// r = λΛ/(Λ + e^{−aΛ}), a = −ln[ε(λ − 1) + ε²/(1 + ε)]/ε.
    | Regularised of lambda: float * epsilon: float
    /// −ln det of the Fisher matrix of all features, F = μ,ᵀ C⁻¹ μ, : the best linear layer behind them has a closed form, so nothing
    /// has to be regularised. The compressor then holds that layer.
    | ClosedForm

/// How an IMNN is trained.
type ImnnSettings =
    {
        Features: Features
        Loss: Loss
        Derivatives: Derivatives
        /// n_s, simulations a step for the covariance.
        Simulations: int
        /// n_d ≤ n_s, those of them with derivatives.
        DerivativeSimulations: int
        /// Adam's rate; it falls linearly to 2 % over the second half.
        LearningRate: float
        MinIterations: int
        MaxIterations: int
        /// Held-out evaluations without a better one after which training stops.
        Patience: int
        /// Iterations between held-out evaluations.
        EvaluateEvery: int
        /// Simulations that choose the best weights. Of stored simulations, half of those held out do.
        HeldOut: int
        /// Simulations that fit the closed-form layer and the statistics of the estimate. Without shrinkage the layer would lose about
        /// features/Fit of the information of each parameter, with it, often half of that. Of stored simulations, those that choose.
        Fit: int
        /// Fresh simulations on which F is quoted. Of stored simulations, the other half of those held out.
        Quote: int
        /// Of those that fit, and of those on which F is quoted, so many with derivatives at the most. They cost a multiple of those without, and
        /// fewer are enough: a derivative scatters by less than the feature itself in a standard error of θ. Of stored simulations, all that have them.
        MeasureDerivatives: int
        /// Simulations in memory at a time, at most: fewer of fields of more than 128² pixels.
        Chunk: int
        Seed: uint64
        Progress: Progress
        /// Where training keeps how far it has come: weights, Adam's moments, the best so far, what was measured. None keeps nothing.
        Checkpoint: Checkpoint option
        /// Where fields, networks and their training are, and the compressor that comes of it: Device.named "cuda".
        Device: torch.Device
    }

    /// Local statistics, which are told nothing of the field, with the closed-form last layer.
    static member Default =
        { Features = Features.localStatistics
          Loss = ClosedForm
          Derivatives = Autodiff
          Simulations = 200
          DerivativeSimulations = 200
          LearningRate = 5e-3
          MinIterations = 300
          MaxIterations = 500
          Patience = 30
          EvaluateEvery = 10
          HeldOut = 2000
          Fit = 20000
          Quote = 10000
          MeasureDerivatives = 4000
          Chunk = 100
          Seed = 1UL
          Progress = Progress.silent
          Checkpoint = None
          Device = Device.cpu }

    /// The published network with the published loss (λ = 10, ε = 0.1, Adam 1e-3, 55 filters).
    static member Published =
        { ImnnSettings.Default with
            Features = Features.inception 55
            Loss = Regularised(10.0, 0.1)
            LearningRate = 1e-3
            MaxIterations = 1000
            HeldOut = 500
            Fit = 2000
            Quote = 2000
            MeasureDerivatives = 2000 }

/// Checks of settings.
module ImnnSettings =
    /// a of the regulariser.
    let steepness lambda epsilon =
        -log(epsilon * (lambda - 1.0) + epsilon * epsilon / (1.0 + epsilon)) / epsilon

    /// The settings, or a typed error that names the impossible one: of a network with so many features, of which some are trained, or
    /// else all fitted at once.
    let validate trained features settings =
        let refuse what expected (received: obj) =
            raise (SettingException(what, expected, string received))

        let atLeast what least value =
            Guard.AtLeast(what, int64 least, int64 value) |> ignore

        match settings.Loss with
        | Regularised(lambda, epsilon) ->
            Guard.Positive("λ", lambda) |> ignore
            Guard.Positive("ε", epsilon) |> ignore
            let a = steepness lambda epsilon

            if not (a > 0.0) then
                refuse
                    "λ and ε of the regulariser"
                    "a pair for which a = −ln[ε(λ − 1) + ε²/(1 + ε)]/ε > 0"
                    $"λ = {string lambda}, ε = {string epsilon}, a = %.4g{a}: the penalty would switch itself off"
        | ClosedForm -> ()

        let batch = if trained then features + 3 else 1
        atLeast "n_s, simulations a step (more than the network's summaries + 2)" batch settings.Simulations

        if
            settings.DerivativeSimulations < 1
            || settings.DerivativeSimulations > settings.Simulations
        then
            refuse "n_d, derivatives a step" $"1 to n_s = {settings.Simulations}" settings.DerivativeSimulations

        Guard.Positive("learning rate", settings.LearningRate) |> ignore
        atLeast "maximum of iterations" 1 settings.MaxIterations

        if settings.MinIterations > settings.MaxIterations then
            refuse "minimum of iterations" $"at most the maximum, {settings.MaxIterations}" settings.MinIterations

        atLeast "patience" 1 settings.Patience
        atLeast "iterations between evaluations" 1 settings.EvaluateEvery
        atLeast "held-out simulations" (2 * batch) settings.HeldOut
        atLeast "simulations to fit the statistics to" (features + 3) settings.Fit
        atLeast "simulations to quote F on" (features + 3) settings.Quote
        atLeast "simulations with derivatives to fit and to quote" 2 settings.MeasureDerivatives
        atLeast "chunk" 1 settings.Chunk
        settings
