namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Runtime
open TorchSharp

/// Several correlated log-normal maps on one periodic grid, fields of as many channels: κ_i = λ_i (exp(g_i − σ_i²/2) − 1) of Gaussian maps g
/// with ⟨g_i g_j⟩ = ln(1 + ξ_ij/(λ_i λ_j)), so that κ ≥ −λ, the shift.
type LogNormalMaps =
    {
        Parameters: string[]
        Maps: int
        /// From spectra to those of g, and from g to κ/λ.
        Transform: LogNormalField
        /// θ (b, p) → C (b, maps, maps, classes) of κ, at every mode.
        Power: Tensor -> Tensor
        /// θ (b, p) → λ (b, maps).
        Shifts: Tensor -> Tensor
    }

/// Correlated log-normal maps of parametrised spectra: tomographic bins of convergence or of galaxies.
module LogNormalMaps =
    /// Maps on a grid of 1 to 3 dimensions, of spectra and shifts λ > 0, θ (b, p) → (b, maps), differentiable in θ.
    /// Ideal: κ has the wanted auto- and cross-spectra at every mode; the mean over the box is random, too, and has the power of the largest
    /// waves; σ² is the ensemble's. Where no Gaussian maps have the spectra that this needs, `exist` is false, and the negative eigenvalues of
    /// their matrices count as zero: κ has other spectra at those modes. Published (Lanzieri et al. 2024, arXiv:2407.10877): no power at k = 0, the modulus of the transform of
    /// ln(1 + ξ/λλ) for a spectrum, the symmetric root of the matrices, negative eigenvalues cut at zero, and σ² of each map's own pixels.
    let create (spectra: MapSpectra) (shifts: Tensor -> Tensor) (grid: FourierGrid) convention : LogNormalMaps =
        Guard.AtLeast("maps", 1L, int64 spectra.Maps) |> ignore
        let transform = LogNormalField(grid, convention)
        let classes = transform.Classes

        let power = spectra.Power(SpectrumField.radii grid classes |> Tensors.keep)

        { Parameters = spectra.Parameters
          Maps = spectra.Maps
          Transform = transform
          Power = fun theta -> Tensors.scoped (fun () -> (power theta).index_select(3L, classes.RadiusIndex))
          Shifts = shifts }

    let private subject = "spectra of log-normal maps"

    /// The pairs i ≥ j of maps, row by row, and where the pair of (i, j) stands among them.
    let private pairs maps =
        let all =
            [| for i in 0 .. maps - 1 do
                   for j in 0..i -> i, j |]

        let place =
            [| for i in 0 .. maps - 1 do
                   for j in 0 .. maps - 1 -> Array.findIndex ((=) (max i j, min i j)) all |> int64 |]

        all, place

    /// The shape of a field, (maps, N, …), or (N, …) of one map.
    let shape (model: LogNormalMaps) =
        Mixing.shape model.Maps model.Transform.Grid

    /// λ (b, maps) at θ (b, p), checked.
    let shifts model (theta: Tensor) =
        let made = Guard.Finite("shifts of log-normal maps", model.Shifts theta)
        Guard.Batched("shifts of log-normal maps", made, int64 model.Maps) |> ignore

        if not (made.detach().gt(0.0.ToScalar()).all().ToBoolean()) then
            raise (RangeException("shifts of log-normal maps", "numbers > 0", string (made.min().ToDouble())))

        made

    /// Power (b, classes) with none at the origin, which is the first class.
    let private withoutOrigin (power: Tensor) =
        torch.nn.functional.pad (power.narrow (1L, 1L, power.shape[1] - 1L), [| 1L; 0L |])

    /// The spectra of g (b, maps, maps, classes) at θ (b, p), and λ (b, maps).
    let gaussianPower model (theta: Tensor) : struct (Tensor * Tensor) =
        Tensors.scoped2 (fun () ->
            let transform, c = model.Transform, int64 model.Maps
            let published = (transform.Convention = ModeConvention.Published)
            let lambda = shifts model theta
            let power = Guard.Finite(subject, model.Power theta)
            Guard.Batched(subject, power, c, c, transform.Classes.Count) |> ignore
            let all, place = pairs model.Maps
            let rows = all |> Array.map (fun (i, j) -> int64 i * c + int64 j) |> torch.tensor

            let relative =
                power / (lambda.unsqueeze(2L).unsqueeze 3L * lambda.unsqueeze(1L).unsqueeze 3L)

            let own = relative.flatten(1L, 2L).index_select(1L, rows).flatten(0L, 1L)

            let made =
                if published then
                    (own |> withoutOrigin |> transform.GaussianPower).abs() |> withoutOrigin
                else
                    transform.GaussianPower own

            let matrices =
                made.reshape(-1L, int64 all.Length, transform.Classes.Count).index_select(1L, torch.tensor place)

            struct (matrices.reshape (-1L, c, c, transform.Classes.Count), lambda))

    /// Whether there are Gaussian maps with the spectra that the wanted ones need, at every θ (b, p): matrices that are positive definite.
    let exist model (theta: Tensor) : bool =
        Tensors.using (fun () ->
            let struct (power, _) = gaussianPower model theta

            try
                SmallMatrices.cholesky subject power |> ignore
                true
            with :? SingularMatrixException ->
                false)

    let private symmetric (power: Tensor) =
        (SymmetricRoot.Of(power.permute (0L, 3L, 1L, 2L))).permute(0L, 2L, 3L, 1L)

    /// A factor S of matrices (b, maps, maps, classes), row by row: the triangular one, and the symmetric one where there is none or for Published.
    let rec private root published (power: Tensor) : Tensor =
        if published then
            symmetric power
        else
            try
                SmallMatrices.cholesky subject power |> SmallMatrices.lower
            with :? SingularMatrixException ->
                if power.shape[0] = 1L then
                    symmetric power
                else
                    torch.cat (power.split 1L |> Array.map (root published), 0L)

    /// The factor S of the spectra of g (b, maps, maps, classes), the ensemble's σ² (b, maps), which Published does not use, and λ (b, maps).
    let internal factor model (theta: Tensor) : Tensor[] =
        let struct (power, lambda) = gaussianPower model theta
        let grid = model.Transform.Grid
        let made = root (model.Transform.Convention = ModeConvention.Published) power

        let modes =
            model.Transform.Classes.Sum grid.HermitianWeight
            / grid.BoxLength ** float grid.Dimensions

        [| made; (made.square().sum(2L) * modes).sum 2L; lambda |]

    /// g (n, a, maps, N, …) of noise by prepared factors.
    let private mix model (noise: Tensor) (factors: Tensor) =
        let grid, c = model.Transform.Grid, int64 model.Maps
        let white = Mixing.asMaps model.Maps grid "noise" noise

        // of all that lies above the diagonal: that of blocks of maps has zeros in its corner and is not triangular
        let triangular =
            c > 1L
            && List.allPairs [ 0L .. c - 1L ] [ 0L .. c - 1L ]
               |> List.forall (fun (i, j) ->
                   i >= j || not (factors.detach().select(2L, i).select(2L, j).any().ToBoolean()))

        MixedFields.Of(grid, white, factors, triangular)

    let private prepare model noise factor =
        Mixing.prepare model.Transform.Grid model.Transform.Classes noise factor

    /// Numbers (n or 1) as (n or 1, 1, …), to be multiplied with fields (n, N, …).
    let private overPixels (like: Tensor) (values: Tensor) =
        values.``to``(like.dtype, like.device).reshape(Array.append [| -1L |] (Array.create (int (like.dim ()) - 1) 1L))

    /// Maps (n, shape…) from white noise of that shape and what `factor` made of θ.
    let internal ofFactor model (made: Tensor[]) (noise: Tensor) =
        Tensors.scoped (fun () ->
            let g = (mix model noise (prepare model noise made[0])).squeeze(1L).unbind 1L

            let map i =
                let struct (contrast, _) = model.Transform.Contrast(g[int i], made[1].select(1L, i))

                contrast * overPixels contrast (made[2].select(1L, i))

            (torch.stack (Array.init model.Maps (int64 >> map), 1L)).reshape(Array.append [| -1L |] (shape model)))

    /// All that depends on θ (p) and the noise's type alone: factors for the maps and each derivative, ready to be mixed, σ² and λ (maps), and
    /// the derivatives of these (maps, p).
    let private expand model (theta: Tensor) (noise: Tensor) : Tensor[] =
        use _ = torch.NewDisposeScope()
        let c = int64 model.Maps
        let shape = [| c; c; model.Transform.Classes.Count |]
        let lengths = [| Array.fold (*) 1L shape; c; c |]

        let value, slopes =
            Autodiff.fjacobian
                (fun t -> torch.cat (factor model (t.unsqueeze 0L) |> Array.map _.flatten(), 0L))
                (theta.cpu ())

        let value = (value.detach ()).split(lengths, 0L)
        let slopes = (slopes.detach ()).split(lengths, 0L)

        let all = torch.cat ([| value[0].unsqueeze 0L; slopes[0].t() |], 0L)

        let factors = prepare model noise (all.reshape (Array.append [| -1L |] shape))

        [| factors.transpose (0L, 1L); value[1]; value[2]; slopes[1]; slopes[2] |]
        |> Array.map _.MoveToOuterDisposeScope()

    /// Map i of one simulation, and its derivatives, written where they belong, from g (1, 1 + p, maps, N, …).
    let private finish model (made: Tensor[]) (g: Tensor) (map: Tensor) (tangent: Tensor) i =
        use _ = torch.NewDisposeScope()
        let own = g.select (2L, i)
        let p = own.shape[1] - 1L
        let value, along = own.select (1L, 0L), own.narrow (1L, 1L, p)

        let struct (contrast, change) =
            model.Transform.Contrast(value, made[1].narrow(0L, i, 1L), along, made[3].select(0L, i))

        let lambda = overPixels contrast (made[2].narrow(0L, i, 1L))
        let slopes = overPixels contrast (made[4].select(0L, i))
        map.select(1L, i).copy_(contrast * lambda) |> ignore

        tangent.select(2L, i).copy_(change.mul_(lambda).addcmul_(contrast.unsqueeze 1L, slopes, 1.0.ToScalar()))
        |> ignore

    /// Maps (n, shape…) and their derivatives (n, p, shape…) from noise and what `expand` made of θ; one simulation at a time on each thread,
    /// which stays in the processor's caches on the way.
    let private tangents model (made: Tensor[]) (noise: Tensor) =
        Tensors.scoped2 (fun () ->
            let grid, c = model.Transform.Grid, int64 model.Maps
            let n, p = noise.shape[0], made[0].shape[1] - 1L

            let place (first: int64[]) =
                torch.empty (Array.append first grid.Shape, noise.dtype, noise.device)

            let maps, slopes = place [| n; c |], place [| n; p; c |]

            let simulate (k: int64) =
                use _ = torch.NewDisposeScope()
                let g = mix model (noise.narrow (0L, k, 1L)) made[0]

                for i in 0L .. c - 1L do
                    finish model made g (maps.narrow (0L, k, 1L)) (slopes.narrow (0L, k, 1L)) i

            TorchRuntime.SideBySide(noise.device, int n, (fun k -> simulate (int64 k)))

            struct (maps.reshape (Array.append [| n |] (shape model)),
                    slopes.reshape (Array.append [| n; p |] (shape model))))

    /// The simulator: fields of as many channels as there are maps. What depends on θ alone is done on the CPU, in double precision,
    /// wherever the fields are.
    let simulator name (model: LogNormalMaps) : Simulator =
        Mixing.simulator
            name
            model.Parameters
            model.Maps
            (shape model)
            (factor model)
            (ofFactor model)
            (expand model)
            (tangents model)
