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

    /// The mean of ln(1 + z²) over the features (n, k) that vary: (n).
    let private far (mean: float[]) (sd: float[]) (x: Tensor) : Tensor =
        let onDevice (values: float[]) =
            (Tensors.ofVector values).``to`` x.device

        let scale = sd |> Array.map (fun s -> if s > 0.0 then s else infinity)
        let varying = sd |> Array.filter (fun s -> s > 0.0)
        let z = (x.``to`` torch.ScalarType.Float64 - onDevice mean) / onDevice scale
        z.square().log1p().sum(1L) / (float (max 1 varying.Length)).ToScalar()

    /// Of features (n, k) of fields at the fiducial.
    let fit (x: Tensor) : TypicalFeatures =
        Tensors.using (fun () ->
            let x = x.``to`` torch.ScalarType.Float64
            let mean = x.mean [| 0L |]
            let sd = (x - mean).square().mean([| 0L |]).sqrt()
            let mean, sd = Tensors.toArray mean, Tensors.toArray sd
            let sd = Array.map2 (fun m s -> if s > least * abs m then s else 0.0) mean sd
            let found = far mean sd x |> Tensors.toArray |> Array.sort

            { Mean = mean
              Sd = sd
              Rare = found[min (found.Length - 1) (int (rare * float found.Length))] })

    /// How far features (n, k) lie beyond what is rare, (n): > 0 for those of a field that is nothing like those at the fiducial.
    let beyond typical (x: Tensor) : Tensor =
        far typical.Mean typical.Sd x - typical.Rare.ToScalar()
