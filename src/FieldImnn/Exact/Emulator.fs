namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// Functions that cost much, of a few numbers of which each is about standard normal, by polynomials of the third degree.
module internal Emulator =
    /// All products of three of (1, u), rows (b, p) → (b, terms): 1, u, its squares and cubes and what is between.
    let private terms (u: Tensor) : Tensor =
        let p = u.shape[1]

        let all =
            [| for i in 0L .. p do
                   for j in i..p do
                       for k in j..p -> [| i; j; k |] |]

        let padded = torch.nn.functional.pad (u, [| 1L; 0L |], value = 1.0)

        let factor place =
            padded.index_select (1L, torch.tensor (all |> Array.map (Array.item place)))

        factor 0 * factor 1 * factor 2

    let private count p = (p + 1) * (p + 2) * (p + 3) / 6

    /// Farther than the function is asked for, since a polynomial is nothing beyond where it was fitted.
    let private reach = 1.2

    /// The largest part of an output's own variation, on points that were not fitted, that a polynomial may miss.
    let private tolerated = 0.25

    /// What f (u (b, p) → tensors (b, …)) is near the origin, as differentiable; none where a polynomial does not follow it, or f is not there.
    let create seed p (f: Tensor -> Tensor[]) : (Tensor -> Tensor[]) option =
        use _ = torch.no_grad ()
        use _ = torch.NewDisposeScope()
        let n = 5 * count p

        let u =
            (Noise.Normal(
                NoiseKey.Range(NoiseKey.SeedFor(seed, "emulator"), 0UL, n),
                [| int64 p |],
                0u,
                null,
                torch.ScalarType.Float64
            ))
            * reach.ToScalar()

        let batches = u.split 8L

        let asked =
            batches
            |> Array.choose (fun rows ->
                try
                    Some(Array.append [| rows |] (f rows))
                with :? FieldImnnException ->
                    None)

        if 2 * asked.Length < batches.Length then
            None
        else
            let joined i =
                torch.cat (asked |> Array.map (Array.item i), 0L)

            let u, made = joined 0, Array.init (asked[0].Length - 1) ((+) 1 >> joined)
            let held = u.shape[0] / 5L
            let shapes = made |> Array.map (fun t -> Array.append [| -1L |] t.shape[1..])
            let flat = torch.cat (made |> Array.map _.flatten(1L), 1L)
            let sizes = made |> Array.map (fun t -> t.[0L].numel())
            let design = terms u
            let fitted = u.shape[0] - held

            // in managed code: of LAPACK's, the last bits depend on where in memory the numbers lie
            let inverse = (Tensors.toMatrix (design.narrow (0L, 0L, fitted))).PseudoInverse()
            let solved = (Tensors.ofMatrix inverse).matmul(flat.narrow (0L, 0L, fitted))
            let rest = flat.narrow (0L, fitted, held)

            let missed =
                (rest - (design.narrow (0L, fitted, held)).matmul solved).square().mean([| 0L |]).sqrt()

            let own =
                (rest - rest.mean ([| 0L |], keepdim = true)).square().mean([| 0L |]).sqrt()

            let worst =
                (missed / (own + (1e-12).ToScalar() * rest.abs().max())).max().ToDouble()

            if not (worst < tolerated) then
                None
            else
                let coefficients = solved.MoveToOuterDisposeScope()

                Some(fun u ->
                    ((terms u).matmul coefficients).split(sizes, 1L)
                    |> Array.map2 (fun (shape: int64[]) (t: Tensor) -> t.reshape shape) shapes)
