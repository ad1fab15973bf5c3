namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// A log-normal field: contrasts δ = exp(G − σ²/2) − 1 of a Gaussian (or Published) field G.
type LogNormalModel =
    {
        /// G and its spectrum P_G.
        Gaussian: SpectrumField
        /// From P to P_G, and from G to δ and back.
        Map: LogNormalField
    }

/// Log-normal fields of a parametrised power spectrum.
module LogNormalModel =
    /// Ideal: δ has the spectrum P(k) exactly, at every mode of the grid; the mean over the box is random, too, and has the power of
    /// the largest waves, P(0) = P(2π/L). Published: the original construction, which takes k in units of the pixel, whatever the box.
    let create (spectrum: Spectrum) (grid: FourierGrid) convention =
        let map = LogNormalField(grid, convention)
        let published = (convention = ModeConvention.Published)
        let unit = if published then grid.BoxLength / float grid.N else 1.0

        let logPower =
            spectrum.LogPower(
                Tensors.scoped (fun () -> SpectrumField.radii grid map.Classes * unit)
                |> Tensors.keep
            )

        { Map = map
          Gaussian =
            { Parameters = spectrum.Parameters
              Field = GaussianField(grid, convention, not published)
              Classes = map.Classes
              LogPower =
                fun theta ->
                    Tensors.scoped (fun () ->
                        let power = (Guard.Finite("ln P(k; θ)", logPower theta)).exp()
                        map.LogGaussianPower(power.index_select (1L, map.Classes.RadiusIndex))) } }

    /// ln P_G (b, classes) and σ² of G (b) at θ (b, p).
    let spectrum model (theta: Tensor) =
        let lnP = SpectrumField.logPower model.Gaussian theta
        struct (lnP, model.Map.Variance lnP)

    /// ln P_G (classes) and σ² (1) at θ (p), with their derivatives (classes, p) and (p).
    let spectrumWithSlopes model (theta: Tensor) =
        let joined (t: Tensor) =
            let struct (lnP, sigma2) = spectrum model (t.unsqueeze 0L)
            torch.cat ([| lnP.squeeze 0L; sigma2 |], 0L)

        let value, slopes = Autodiff.fjacobian joined theta
        let value, slopes = value.detach (), slopes.detach ()
        let classes = model.Map.Classes.Count

        let split (t: Tensor) =
            t.narrow (0L, 0L, classes), t.narrow (0L, classes, 1L)

        let lnP, sigma2 = split value
        let lnPSlopes, sigma2Slopes = split slopes
        struct (lnP, sigma2, lnPSlopes, sigma2Slopes.squeeze 0L)

    /// The simulator. The spectrum is evaluated on the CPU, in double precision, wherever the fields are.
    let simulator name model =
        let remembered =
            Remembered.last (fun theta ->
                let struct (lnP, sigma2, slopes, sigma2Slopes) = spectrumWithSlopes model theta
                [| lnP; sigma2; slopes; sigma2Slopes |])

        let own theta =
            let struct (lnP, sigma2) = spectrum model theta
            [| lnP; sigma2 |]

        let field (made: Tensor[]) noise =
            let g = SpectrumField.synthesise model.Gaussian made[0] noise
            let struct (contrast, _) = model.Map.Contrast(g, made[1])
            contrast

        { SpectrumField.simulator name model.Gaussian with
            Field = ByRow.fields model.Gaussian.Field.Grid.Pixels own field
            Tangents =
                Some(fun theta noise ->
                    let made = remembered (theta.cpu ())

                    let struct (g, dg) =
                        SpectrumField.synthesiseWithTangents model.Gaussian made[0] made[2] noise

                    let struct (contrast, tangent) = model.Map.Contrast(g, made[1], dg, made[3])
                    struct (contrast, tangent)) }
