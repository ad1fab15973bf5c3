namespace FieldImnn

open FieldImnn.Core.Fields
open TorchSharp

/// Correlated log-normal fields (Leclercq & Heavens 2021, arXiv:2103.04158; Makinen et al. 2021, §4.2): f = (e^{αg − α²/2} − 1)/α with
/// g of correlation exp(−r²/4β²), not periodic; non-Gaussianity α, smoothing length β in pixels.
module CorrelatedLogNormal =
    /// α ~ U(0, 2), β ~ U(0.2, 0.8).
    let prior = Prior.uniform [ "α", 0.0, 2.0; "β", 0.2, 0.8 ]

    /// The simulator of a field model, with its forward rule for the derivatives.
    let simulator (model: CorrelatedLogNormalField) =
        { Name = "correlated-log-normal"
          Parameters = prior.Names
          FieldShape = model.Shape
          DrawNoise = fun keys -> model.DrawNoise keys
          Field = fun theta noise -> model.Simulate(theta, noise)
          Tangents = Some(fun theta noise -> model.SimulateWithDerivatives(theta, noise)) }

    /// Where the network is trained.
    let fiducial = [| 0.95; 0.55 |]

    /// The network and training for fields at the fiducial, which end at −1/α.
    let training =
        { ImnnSettings.Default with
            Network = AxisFilters(1.0 / fiducial[0], 0.01, 1, 12, 2)
            Simulations = 500
            DerivativeSimulations = 500
            LearningRate = 1e-2
            MinIterations = 500
            MaxIterations = 1000
            EvaluateEvery = 20
            HeldOut = 10000
            Quote = 40000
            Chunk = 250 }

    /// The problem on N × N pixels: the paper's is 20. The quoted Fisher matrix is that of f = e^{αg}, which the authors' notebooks
    /// hold against this field.
    let create n =
        let model = CorrelatedLogNormalField n

        { Simulator = simulator model
          Prior = prior
          Fiducial = fiducial
          Target = [| 1.0; 0.5 |]
          Exact =
            { Fisher = LogNormalLikelihood.fisher model
              LogLikelihood = LogNormalLikelihood.logLikelihood model }
          Training = training
          QuotedFisher = Some(LogNormalLikelihood.fisher (CorrelatedLogNormalField(n, LogNormalForm.Exponential))) }
