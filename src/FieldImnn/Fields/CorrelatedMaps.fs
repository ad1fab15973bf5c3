namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// The auto- and cross-spectra of several maps: wavenumbers k (m) > 0 → θ (b, p) → C (b, maps, maps, m), float64, differentiable in θ,
/// symmetric, and positive definite once noise is added. What the wavenumbers alone decide is done when they are given, once. Maps of
/// many θ are made on several threads, which ask at the same time.
type MapSpectra =
    { Parameters: string[]
      Maps: int
      Power: Tensor -> Tensor -> Tensor }

/// Several Gaussian maps on one periodic grid, fields of as many channels, (maps, N, …), or (N, …) of one: ⟨δ_i(k) δ_j(k)*⟩ = C_ij(k) N^2D/L^D at every mode k ≠ 0.
type CorrelatedMaps =
    {
        Parameters: string[]
        Maps: int
        Grid: FourierGrid
        /// 1 at every mode of the half grid but k = 0, which is 0.
        Support: Tensor
        Classes: ModeClasses
        /// 1 in every class but that of k = 0, which is 0.
        Present: Tensor
        /// θ (b, p) → C (b, maps, maps, classes), with the noise.
        Power: Tensor -> Tensor
    }

/// Correlated maps of parametrised spectra: tomographic bins, tracers of one field, frequencies.
module CorrelatedMaps =
    /// Maps without noise on a grid of 1 to 3 dimensions.
    let create (spectra: MapSpectra) (grid: FourierGrid) : CorrelatedMaps =
        Guard.AtLeast("maps", 1L, int64 spectra.Maps) |> ignore
        let classes = ModeClasses.Shells grid

        { Parameters = spectra.Parameters
          Maps = spectra.Maps
          Grid = grid
          Support = GaussianField(grid).Support
          Classes = classes
          Present =
            Tensors.scoped (fun () ->
                let radii = classes.Radii.index_select (0L, classes.RadiusIndex)
                radii.gt(0.0.ToScalar()).``to`` torch.float64)
            |> Tensors.keep
          Power = spectra.Power(SpectrumField.radii grid classes |> Tensors.keep) }

    /// The maps with white noise of these standard deviations a pixel, one for each map: P_N = s² (L/N)^D.
    let withNoise (deviations: float[]) (model: CorrelatedMaps) =
        if
            deviations.Length <> model.Maps
            || deviations |> Array.exists (fun s -> not (Double.IsFinite s && s >= 0.0))
        then
            let came = deviations |> Array.map string |> String.concat ", "
            raise (SettingException("noise of the maps", $"{model.Maps} finite standard deviations ≥ 0", came))

        let pixel = model.Grid.BoxLength / float model.Grid.N

        let noise =
            deviations
            |> Array.map (fun s -> s * s * pixel ** float model.Grid.Dimensions)
            |> Tensors.ofVector
            |> torch.diag
            |> fun t -> t.unsqueeze -1L |> Tensors.keep

        { model with
            Power = fun theta -> model.Power theta + noise }

    let internal subject = "power of correlated maps"

    /// Shape of a field: (maps, N, …), or (N, …) of one map.
    let shape (model: CorrelatedMaps) = Mixing.shape model.Maps model.Grid

    /// Fields (n, shape…) as maps (n, maps, N, …), whatever their number.
    let internal asMaps (model: CorrelatedMaps) what (fields: Tensor) =
        Mixing.asMaps model.Maps model.Grid what fields

    /// C (b, maps, maps, classes) at θ (b, p), checked to be finite and of that shape.
    let power (model: CorrelatedMaps) (theta: Tensor) =
        let c = int64 model.Maps
        let made = model.Power theta

        if made.dim () <> 4L || made.shape[1..] <> [| c; c; model.Classes.Count |] then
            let expected = [| theta.shape[0]; c; c; model.Classes.Count |]
            raise (ShapeException(subject, Guard.Describe expected, Guard.Describe made.shape))

        Guard.Finite(subject, made)

    /// The factor L of C = L Lᵀ, (b, maps, maps, classes), without power at k = 0.
    let internal factor model (theta: Tensor) =
        Tensors.scoped (fun () ->
            let made =
                power model theta |> SmallMatrices.cholesky subject |> SmallMatrices.lower

            made * model.Present)

    /// The maps of noise by prepared factors (n or 1, a, maps, maps, m): (n, a, shape…).
    let private mix model (noise: Tensor) (factors: Tensor) =
        let made = MixedFields.Of(model.Grid, asMaps model "noise" noise, factors, true)
        made.reshape (Array.append made.shape[0..1] (shape model))

    /// Fields (n, shape…) from white noise of that shape and what `factor` made of θ.
    let internal ofFactor model (made: Tensor) (noise: Tensor) =
        Tensors.scoped (fun () -> (mix model noise (Mixing.prepare model.Grid model.Classes noise made)).squeeze 1L)

    /// Factors for the maps at θ (p) and for each derivative, ready to be mixed with noise of this type.
    let private expand model (theta: Tensor) (noise: Tensor) : Tensor[] =
        let made =
            Tensors.scoped (fun () ->
                let value, slopes =
                    Autodiff.fjacobian (fun t -> (factor model (t.unsqueeze 0L)).squeeze 0L) (theta.cpu ())

                let all =
                    torch.cat ([| value.detach().unsqueeze 0L; slopes.detach().movedim([| -1L |], [| 0L |]) |], 0L)

                (Mixing.prepare model.Grid model.Classes noise all).transpose(0L, 1L))

        [| made |]

    /// Fields (n, shape…) and their derivatives (n, p, shape…) from noise and what `expand` made of θ: one forward transform of a map, one
    /// inverse for the map and one for each parameter.
    let private tangents model (made: Tensor[]) (noise: Tensor) =
        Tensors.scoped2 (fun () ->
            let maps = mix model noise made[0]
            struct (maps.select (1L, 0L), maps.narrow (1L, 1L, maps.shape[1] - 1L)))

    /// The simulator: fields of as many channels as there are maps. The spectra are evaluated on the CPU, in double precision, wherever
    /// the fields are.
    let simulator name (model: CorrelatedMaps) : Simulator =
        Mixing.simulator
            name
            model.Parameters
            model.Maps
            (shape model)
            (fun theta -> [| factor model theta |])
            (fun made -> ofFactor model made[0])
            (expand model)
            (tangents model)
