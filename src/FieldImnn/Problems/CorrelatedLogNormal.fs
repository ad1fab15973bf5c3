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
          Channels = 1
          DrawNoise = fun keys -> model.DrawNoise keys
          Field = fun theta noise -> model.Simulate(theta, noise)
          Tangents = Some(fun theta noise -> model.SimulateWithDerivatives(theta, noise))
          Failures = StopAtFailure
          Reason = fun _ _ -> None }

    /// Where the network is trained first.
    let fiducial = [| 0.95; 0.55 |]

    /// A network that is trained at a fiducial, and told that fields end at −1/α there. The problem's recipe has the default features, which
    /// are not.
    let training (fiducial: float[]) =
        { ImnnSettings.Default with
            Features = Features.axisFilters (1.0 / fiducial[0]) 0.01 1 12 2 5
            Simulations = 500
            DerivativeSimulations = 500
            LearningRate = 1e-2
            MinIterations = 300
            MaxIterations = 350
            EvaluateEvery = 25
            HeldOut = 4000
            Fit = 20000
            Quote = 20000
            Chunk = 250 }

    /// −1/min f of fields (n, N, N), (n, 1): the edge that each of them sets to α. A score estimate cannot know it: it is linear in α
    /// about the fiducial, and above it grows ever less, so that far larger α, which the edge rules out, have the same estimate.
    let edge (fields: Tensor) : Tensor =
        Tensors.scoped (fun () ->
            -(fields.flatten(1L).amin([| 1L |], keepdim = true).clamp_max(-1e-3.ToScalar()).reciprocal()))

    let private edgeFeatures = Features.own "lowest pixel's edge" 1 edge

    /// The problem on N × N pixels compressed at a given fiducial first. The quoted Fisher matrix is that of f = e^{αg}, which
    /// the authors' notebooks hold against this field.
    let createAt n fiducial =
        let model = CorrelatedLogNormalField n

        { Model =
            Model.create (simulator model) prior
            |> Model.withExact (
                ExactAnswer.create
                    (CorrelatedLogNormalLikelihood.fisher model)
                    (CorrelatedLogNormalLikelihood.logLikelihood model)
            )
          Recipe =
            { Recipe.Default with
                Fiducial = Some fiducial
                Beside =
                    Some
                        { Features = edgeFeatures
                          Edges = [ { Summary = 0; Parameter = 0 } ] } }
          Example = [| 1.0; 0.5 |]
          QuotedFisher =
            Some(CorrelatedLogNormalLikelihood.fisher (CorrelatedLogNormalField(n, LogNormalForm.Exponential))) }

    /// The problem on N × N pixels at its first fiducial: the paper's is 20.
    let create n = createAt n fiducial
