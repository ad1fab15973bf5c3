namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// A power spectrum with parameters: wavenumbers k (m) > 0 → θ (b, p) → ln P (b, m), float64, differentiable in θ. What the
/// wavenumbers alone decide is done when they are given, once. Fields of many θ are made on several threads, which ask at the same time.
type Spectrum =
    { Parameters: string[]
      LogPower: Tensor -> Tensor -> Tensor }

/// A Gaussian (or Published) field: its grid and mode convention, the modes of equal power, and θ (b, p) → ln P (b, classes).
type SpectrumField =
    { Parameters: string[]
      Field: GaussianField
      Classes: ModeClasses
      LogPower: Tensor -> Tensor }

/// Making spectra.
module Spectrum =
    /// Powers in bands of |k|, the least described of all spectra: P(k) = a_i S(k) for k in band i, with a parameter a1, a2, … > 0 for each
    /// band. Bands end at the given wavenumbers, rising, and one more is beyond the last; S: wavenumbers (m) → (m), the powers' shape.
    let bands (edges: float[]) (shape: Tensor -> Tensor) : Spectrum =
        if
            edges |> Array.exists (fun k -> not (Double.IsFinite k && k > 0.0))
            || edges |> Array.pairwise |> Array.exists (fun (a, b) -> not (a < b))
        then
            let came = edges |> Array.map string |> String.concat ", "
            raise (SettingException("ends of bands of |k|", "rising finite numbers > 0", came))

        { Parameters = Array.init (edges.Length + 1) (fun i -> $"a{i + 1}")
          LogPower =
            fun k ->
                let band, logShape =
                    Tensors.scoped2 (fun () ->
                        let beyond = (k.unsqueeze 1L).gt((Tensors.ofVector edges).unsqueeze 0L)
                        struct (beyond.sum 1L, Guard.Finite("ln of the shape of bands", (shape k).log())))
                    |> fun struct (a, b) -> Tensors.keep a, Tensors.keep b

                fun theta -> theta.log().index_select(1L, band) + logShape }

/// What depends on θ alone, for simulations that come in chunks of the same θ.
module internal Remembered =
    /// The function θ (p) → float64 tensors, computed anew where θ is not that of the last time. Kept as arrays, so that threads and dispose
    /// scopes do not matter; the results are no part of a graph.
    let last (compute: Tensor -> Tensor[]) : Tensor -> Tensor[] =
        let held = ref (struct ([||], [||]))
        let gate = obj ()

        fun theta ->
            let at = Tensors.toArray theta
            let struct (known, values) = lock gate (fun () -> held.Value)

            if known.Length > 0 && known = at then
                values
                |> Array.map (fun (shape: int64[], v) -> (Tensors.ofVector v).reshape shape)
            else
                let made = compute theta |> Array.map _.detach()
                let values = made |> Array.map (fun t -> t.shape, Tensors.toArray t)
                lock gate (fun () -> held.Value <- struct (at, values))
                made

    /// As last, of a function of θ (b, p): of one row that no gradient is asked of; others are computed each time.
    let lastRow (compute: Tensor -> Tensor[]) : Tensor -> Tensor[] =
        let remembered = last (fun theta -> compute (theta.unsqueeze 0L))

        fun theta ->
            if theta.shape[0] = 1L && not theta.requires_grad then
                remembered (theta.squeeze 0L)
            else
                compute theta

    /// As last, for large results that depend on the noise's type and place, too: kept as tensors, which nobody may change or free.
    let lastBeside (compute: Tensor -> Tensor -> Tensor[]) : Tensor -> Tensor -> Tensor[] =
        let held = ref (struct (struct ([||], torch.ScalarType.Float32, ""), [||]))
        let gate = obj ()

        fun theta noise ->
            let at = struct (Tensors.toArray theta, noise.dtype, string noise.device)
            let struct (known, values) = lock gate (fun () -> held.Value)

            if values.Length > 0 && known = at then
                values
            else
                let made = compute theta noise |> Array.map (fun t -> Tensors.keep (t.detach ()))
                lock gate (fun () -> held.Value <- struct (at, made))
                made

/// Fields of several θ at a time, each by what hangs on its own.
module internal ByRow =
    /// Pixels that one thread makes at a time: with what is made on the way, a few megabytes, which stay in its caches.
    let private pixelsAtOnce = 1L <<< 18

    /// A simulator's function θ (1 or n, p) → noise (n, …) → fields (n, …) of so many pixels, of what `compute` makes of θ (b, p), on the CPU, and
    /// of what `fields` makes of that and noise. Of one θ it is remembered; of several, rows are made side by side, unless in a graph.
    let fields
        (pixels: int64)
        (compute: Tensor -> Tensor[])
        (fields: Tensor[] -> Tensor -> Tensor)
        : Tensor -> Tensor -> Tensor =
        let remembered = Remembered.lastRow compute
        let atOnce = int (max 1L (pixelsAtOnce / pixels))

        fun theta noise ->
            let theta = theta.cpu ()
            let rows = theta.shape[0]
            let inGraph = theta.requires_grad || noise.requires_grad

            if rows = 1L || inGraph || noise.device.``type`` <> DeviceType.CPU then
                Tensors.scoped (fun () -> fields (remembered theta) noise)
            else
                Tensors.sideBySide atOnce (int rows) (fun start length ->
                    fields (compute (theta.narrow (0L, start, length))) (noise.narrow (0L, start, length)))

/// Random fields of a parametrised power spectrum.
module SpectrumField =
    /// Wavenumbers at which a spectrum is evaluated: the origin, where P is zero by convention or the power of the box's mean, takes
    /// the smallest wavenumber above zero, so that ln P and its derivatives are finite there.
    let internal radii (grid: FourierGrid) (classes: ModeClasses) =
        classes.Radii.clamp_min (grid.FundamentalWavenumber.ToScalar())

    /// The field of an isotropic spectrum on a grid.
    let create (spectrum: Spectrum) (grid: FourierGrid) convention =
        let classes = ModeClasses.Shells grid

        { Parameters = spectrum.Parameters
          Field = GaussianField(grid, convention)
          Classes = classes
          LogPower = spectrum.LogPower(radii grid classes |> Tensors.keep) }

    /// The field with a random mean over the box, which has the power of the largest waves, P(0) = P(2π/L); without it that mean is zero.
    let withMean (model: SpectrumField) =
        { model with
            Field = GaussianField(model.Field.Grid, model.Field.Convention, true) }

    /// The field with independent homogeneous Gaussian noise of power P_N(k) added: wavenumbers (m) → P_N (m). White noise of
    /// standard deviation s a pixel has P_N = s² (L/N)^D.
    let withNoise (noisePower: Tensor -> Tensor) model =
        if model.Field.Convention <> ModeConvention.Ideal then
            raise (
                SettingException(
                    "noise in the exact answer",
                    "Ideal modes, whose sum with noise is Gaussian",
                    "Published"
                )
            )

        let noise =
            Tensors.scoped (fun () ->
                (radii model.Field.Grid model.Classes |> noisePower).index_select(0L, model.Classes.RadiusIndex))
            |> Tensors.keep

        Guard.Finite("P_N(k)", noise) |> ignore

        { model with
            LogPower = fun theta -> ((model.LogPower theta).exp() + noise).log() }

    /// ln P (b, classes) at θ (b, p), checked to be finite.
    let logPower model (theta: Tensor) =
        Guard.Finite("ln P(k; θ)", model.LogPower theta)

    /// ln P (classes) and its derivatives (classes, p) at θ (p).
    let logPowerWithSlopes model (theta: Tensor) =
        Autodiff.fjacobian (fun t -> (logPower model (t.unsqueeze 0L)).squeeze 0L) theta

    let private amplitude model (noise: Tensor) (lnP: Tensor) =
        let onGrid = model.Field.Amplitude(model.Classes.Spread lnP)
        onGrid.``to`` (noise.dtype, noise.device)

    /// Fields (n, N, …) from noise (n, …) and ln P (1 or n, classes).
    let synthesise model (lnP: Tensor) (noise: Tensor) =
        model.Field.Fields(noise, (amplitude model noise lnP).unsqueeze 1L).squeeze 1L

    /// Fields (n, N, …) and their derivatives (n, p, N, …) from noise, ln P (classes) and its slopes (classes, p): one forward
    /// transform, one inverse for the field and one for each parameter.
    let synthesiseWithTangents model (lnP: Tensor) (slopes: Tensor) (noise: Tensor) =
        let value = amplitude model noise (lnP.unsqueeze 0L)

        let factors =
            model.Classes.Spread(slopes.t () * 0.5).``to``(noise.dtype, noise.device)

        let all = torch.cat ([| value; value * factors |], 0L)
        let made = model.Field.Fields(noise, all.unsqueeze 0L)
        struct (made.select (1L, 0L), made.narrow (1L, 1L, slopes.shape[1]))

    /// Homogeneous Gaussian noise on a periodic grid, of power spectrum P_N(k): wavenumbers (m) > 0 → P_N (m), float64; P_N(0) = 0.
    let noise (grid: FourierGrid) (power: Tensor -> Tensor) : ObservationNoise =
        let model =
            create
                { Parameters = [||]
                  LogPower = fun k -> let logPower = (power k).log().unsqueeze 0L |> Tensors.keep in fun _ -> logPower }
                grid
                ModeConvention.Ideal

        let lnP = logPower model (torch.zeros (1L, 0L)) |> Tensors.keep
        Drawn(grid.Shape, (fun keys -> synthesise model lnP (model.Field.DrawNoise keys)))

    /// The simulator. The spectrum is evaluated on the CPU, in double precision, wherever the fields are.
    let simulator name model =
        let spectrum =
            Remembered.last (fun theta ->
                let lnP, slopes = logPowerWithSlopes model theta
                [| lnP; slopes |])

        { Name = name
          Parameters = model.Parameters
          FieldShape = model.Field.Grid.Shape
          Channels = 1
          DrawNoise = fun keys -> model.Field.DrawNoise keys
          Field =
            ByRow.fields model.Field.Grid.Pixels (fun theta -> [| logPower model theta |]) (fun made ->
                synthesise model made[0])
          Tangents =
            Some(fun theta noise ->
                let made = spectrum (theta.cpu ())
                synthesiseWithTangents model made[0] made[1] noise)
          Failures = StopAtFailure
          Reason = fun _ _ -> None }
