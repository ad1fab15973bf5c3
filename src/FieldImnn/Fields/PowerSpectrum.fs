namespace FieldImnn

open FieldImnn.Core.Networks
open TorchSharp

/// Power in bands of |k|: wavenumbers k and, over a set of fields, mean and standard error of P at each (NaN for a single field).
type MeasuredPower =
    { K: float[]
      Mean: float[]
      Error: float[] }

/// Power spectra as numbers.
module PowerSpectrum =
    /// P of a spectrum at θ and wavenumbers k > 0.
    let evaluate (spectrum: Spectrum) (theta: float[]) (k: float[]) =
        Tensors.using (fun () ->
            (spectrum.LogPower (Tensors.ofVector k) (Tensors.ofRows [| theta |])).exp()
            |> Tensors.toArray)

    /// The measured power of fields (n, N, …) in a box of side L, in bands of |k| of one width: k in inverse units of L, P in units of
    /// the box (L^D/N^2D |δ_k|²).
    let measure bands (boxLength: float) (fields: Tensor) : MeasuredPower =
        let shape = fields.shape[1..]
        let pixel = boxLength / float shape[0]

        use network =
            SummaryNetwork.Create(NetworkDescription.BandPower(shape, int64 bands), 0UL) :?> BandPowerNetwork

        Tensors.using (fun () ->
            let power = (network.Forward(Dual fields)).Primal.to_type torch.ScalarType.Float64
            let inBox = power * (pixel ** float shape.Length)
            let n = float fields.shape[0]

            { K = network.Wavenumbers |> Array.map (fun k -> k / pixel)
              Mean = inBox.mean [| 0L |] |> Tensors.toArray
              Error =
                if n > 1.0 then
                    inBox.std (0L) / sqrt n |> Tensors.toArray
                else
                    Array.create bands nan })

    /// P of the Gaussian field behind a log-normal one at θ, averaged over modes of equal |k|: (k, P_G), without k = 0.
    let gaussian (model: LogNormalModel) (theta: float[]) =
        Tensors.using (fun () ->
            let lnP = SpectrumField.logPower model.Gaussian (Tensors.ofRows [| theta |])
            let classes = model.Map.Classes

            let zeros () =
                torch.zeros (classes.Radii.shape[0], dtype = torch.ScalarType.Float64)

            let sum (values: Tensor) =
                (zeros ()).index_add(0L, classes.RadiusIndex, values, 1.0.ToScalar())

            let mean = sum (lnP.exp().squeeze 0L) / sum (torch.ones_like (lnP.squeeze 0L))
            let skip (values: float[]) = Array.skip 1 values
            skip (Tensors.toArray classes.Radii), skip (Tensors.toArray mean))

    /// A spectrum at many wavenumbers, averaged over so many cells of equal width in ln k: for drawing.
    let smooth cells (k: float[], power: float[]) =
        let low, high = log (Array.min k), log (Array.max k)

        let cell q =
            int (float cells * (log q - low) / (high - low))

        let groups = Array.zip k power |> Array.groupBy (fst >> cell) |> Array.map snd
        groups |> Array.map (Array.averageBy fst), groups |> Array.map (Array.averageBy snd)
