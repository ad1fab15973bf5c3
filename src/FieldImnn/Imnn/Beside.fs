namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Networks

/// Summaries that inference by simulation compares beside the score estimates: for what a score at one fiducial cannot know.
type Beside =
    {
        /// Features without weights.
        Features: Features
        /// Hard edges of these summaries, counted from the first of them.
        Edges: SummaryEdge list
    }

module internal Beside =
    /// Fields (n, shape…) → (n, k) of fields of a shape and so many channels.
    let summaries (fieldShape: int64[]) channels beside : Tensor -> Tensor =
        let network =
            SummaryNetwork.Create(Features.describe fieldShape channels 1 beside.Features, 0UL)

        if network.Parameters.Count > 0 then
            network.Dispose()

            raise (
                SettingException(
                    "features compared beside the estimates",
                    "features without weights",
                    beside.Features.Kind
                )
            )

        fun fields -> Tensors.scoped (fun () -> (network.Forward(Dual(fields, null))).Primal)
