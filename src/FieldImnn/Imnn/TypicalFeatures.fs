namespace FieldImnn

open TorchSharp

/// What features φ look like at the fiducial, by which fields that are nothing like those there are told: by the mean over the features
/// of ln(1 + z²), z = (φ − mean)/sd, in which no single feature outweighs the others.
type TypicalFeatures =
    {
        /// Of every feature.
        Mean: float[]
        /// Of every feature; 0 where it does not vary.
        Sd: float[]
        /// What one in a thousand fields at the fiducial exceeds.
        Rare: float
    }

module internal TypicalFeatures =
    /// A feature whose sd is a smaller part of its mean varies by rounding.
    let private least = 1e-6

    let private rare = 0.999

    /// The mean of ln(1 + z²) of features (n, k).
    let private far (mean: float[]) (sd: float[]) (x: Tensor) : float[] =
        Tensors.using (fun () ->
            let vary = [| 0 .. sd.Length - 1 |] |> Array.filter (fun j -> sd[j] > 0.0)

            if vary.Length = 0 then
                Array.zeroCreate (int x.shape[0])
            else
                let pick (values: float[]) =
                    (vary |> Array.map (fun j -> values[j]) |> Tensors.ofVector).``to`` x.device

                let own =
                    x
                        .``to``(torch.ScalarType.Float64)
                        .index_select(1L, torch.tensor(Array.map int64 vary).``to`` x.device)

                ((own - pick mean) / pick sd).square().log1p().mean [| 1L |] |> Tensors.toArray)

    /// Of features (n, k) of fields at the fiducial.
    let fit (x: Tensor) : TypicalFeatures =
        let mean, sd =
            Tensors.using (fun () ->
                let x = x.``to`` torch.ScalarType.Float64
                let mean = x.mean [| 0L |]
                let sd = (x - mean).square().mean([| 0L |]).sqrt()
                Tensors.toArray mean, Tensors.toArray sd)

        let sd = Array.map2 (fun m s -> if s > least * abs m then s else 0.0) mean sd

        let found = far mean sd x |> Array.sort

        { Mean = mean
          Sd = sd
          Rare = found[min (found.Length - 1) (int (rare * float found.Length))] }

    /// How far features (n, k) lie beyond what is rare: > 0 for those of a field that is nothing like those at the fiducial.
    let beyond typical (x: Tensor) : float[] =
        far typical.Mean typical.Sd x |> Array.map (fun value -> value - typical.Rare)
