namespace FieldImnn

/// Summaries that inference by simulation compares beside the score estimates: for what a score at one fiducial cannot know.
type Beside =
    {
        /// Fields (n, shape…) → (n, k).
        Summaries: Tensor -> Tensor
        /// Hard edges of these summaries, counted from the first of them.
        Edges: SummaryEdge list
    }
