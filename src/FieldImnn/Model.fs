namespace FieldImnn

/// Summaries that inference by simulation compares beside the score estimates: for what a score at one fiducial cannot know.
type Beside =
    {
        /// Fields (n, shape…) → (n, k).
        Summaries: TorchSharp.torch.Tensor -> TorchSharp.torch.Tensor
        /// Hard edges of these summaries, counted from the first of them.
        Edges: SummaryEdge list
    }

/// A simulator with its prior, its fiducial point and its exact answer: everything a study needs.
type Problem =
    {
        Simulator: Simulator
        Prior: Prior
        /// Where the network is trained.
        Fiducial: float[]
        /// Where an example observation is simulated.
        Target: float[]
        Exact: ExactAnswer
        /// The network and the training that suit its fields, at a fiducial point.
        Training: float[] -> ImnnSettings
        /// Rounds of training, each at the estimate of the one before, after which inference goes on in any case.
        Rounds: int
        /// Further summaries, where the estimates alone do not hold enough: a hard edge for one.
        Beside: Beside option
        /// The Fisher matrix that the paper quotes as theory, where it quotes one that is not the exact one.
        QuotedFisher: (float[] -> MathNet.Numerics.LinearAlgebra.Matrix<float>) option
    }
