namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

/// A power spectrum with parameters: θ (b, p) → k (m) → ln P (b, m), float64, differentiable in θ.
type Spectrum =
    { Parameters: string[]
      LogPower: Tensor -> Tensor -> Tensor }

/// A grid, a spectrum on it and a mode convention: all that defines a Gaussian (or Published) field.
type SpectrumField =
    { Spectrum: Spectrum
      Field: GaussianField }

/// Random fields of a parametrised power spectrum.
module SpectrumField =
    /// The field model on a grid.
    let create spectrum (grid: FourierGrid) convention =
        { Spectrum = spectrum
          Field = GaussianField(grid, convention) }

    /// |k| of the half grid as a vector, with the origin (where P is zero by convention) moved to the smallest wavenumber so that ln P
    /// and its derivatives are finite there.
    let wavenumbers model =
        Tensors.scoped (fun () ->
            let grid = model.Field.Grid
            grid.HalfWavenumber.flatten().clamp_min((2.0 * System.Math.PI / grid.BoxLength).ToScalar()))

    /// ln P (b, m) at θ (b, p), checked to be finite.
    let logPower model (theta: Tensor) (k: Tensor) =
        Guard.Finite("ln P(k; θ)", model.Spectrum.LogPower theta k)

    /// The simulator on a device: one forward transform of the noise, one inverse for the field and one for each parameter's
    /// derivative. The noise is the same on every device.
    let simulatorOn (device: torch.Device) name model =
        let field = model.Field
        let half = field.Grid.HalfShape
        let k = (wavenumbers model).``to`` device |> Tensors.keep

        let amplitude (theta: Tensor) =
            let lnP = logPower model (theta.``to`` device) k
            field.Amplitude(lnP.reshape (Array.append [| -1L |] half))

        let simulate (theta: Tensor) (noise: Tensor) =
            field.Synthesise(field.Modes noise, (amplitude theta).``to`` noise.dtype)

        let tangents (theta: Tensor) (noise: Tensor) =
            let value, jacobian =
                Autodiff.fjacobian (fun (t: Tensor) -> (amplitude (t.unsqueeze 0L)).squeeze 0L) theta

            let all =
                torch.cat ([| value.unsqueeze 0L; jacobian.movedim ([| -1L |], [| 0L |]) |], 0L)

            let modes = (field.Modes noise).unsqueeze 1L
            let made = field.Synthesise(modes, all.detach().``to``(noise.dtype))
            struct (made.select (1L, 0L), made.narrow (1L, 1L, theta.shape[0]))

        { Name = name
          Parameters = model.Spectrum.Parameters
          FieldShape = field.Grid.Shape
          DrawNoise = fun keys -> field.DrawNoise(keys, device)
          Field = simulate
          Tangents = Some tangents }

    /// The simulator on the CPU.
    let simulator name model = simulatorOn torch.CPU name model
