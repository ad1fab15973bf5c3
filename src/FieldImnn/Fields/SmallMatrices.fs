namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

/// Many small symmetric matrices at once, (b, c, c, m): one for each of b parameter vectors and m classes of modes. An element is a
/// plane (b, m), and a step of a factorisation an operation on planes: c³/3 of them, whatever the number of matrices, each of which is
/// rounded by itself.
module internal SmallMatrices =
    /// The lower Cholesky factor: L[i][j] (b, m), j ≤ i. Only the lower triangle is read. The subject names the matrices in the error of
    /// one that is not positive definite.
    let cholesky (subject: string) (matrices: Tensor) : Tensor[][] =
        let c = int matrices.shape[1]

        // taken apart at once: the derivative of every single element would be zeros of the size of all
        let elements = matrices.unbind 1L |> Array.map _.unbind(1L)
        let element i j = elements[i][j]

        let factor: Tensor[][] = Array.init c (fun i -> Array.zeroCreate (i + 1))

        for i in 0 .. c - 1 do
            let row = factor[i]

            for j in 0..i do
                let left =
                    [ 0 .. j - 1 ]
                    |> List.fold (fun sum k -> sum - row[k] * factor[j][k]) (element i j)

                if i = j then
                    // of the diagonal's own size, what is left must be more than rounding
                    let least = (left / element i i).detach().min().ToDouble()

                    if not (least > 1e-13) then
                        raise (
                            SingularMatrixException(
                                subject,
                                "positive definite at every mode: maps that are no combination of each other, or noise in them",
                                $"one in which map {i + 1} leaves %.2g{least} of its power to itself"
                            )
                        )

                    row[i] <- left.sqrt ()
                else
                    row[j] <- left / factor[j][j]

        factor

    /// ln|C| (b, m) of a factor.
    let logDeterminant (factor: Tensor[][]) =
        factor
        |> Array.mapi (fun i row -> row[i].log() * 2.0)
        |> Array.reduce (fun a b -> a + b)

    /// The inverse of a factor, lower as well: M[i][j] (b, m), j ≤ i.
    let invert (factor: Tensor[][]) : Tensor[][] =
        let inverse: Tensor[][] =
            factor |> Array.map (fun row -> Array.zeroCreate row.Length)

        for i in 0 .. factor.Length - 1 do
            let row, own = inverse[i], factor[i]
            row[i] <- own[i].reciprocal()

            for j in 0 .. i - 1 do
                let sum =
                    [ j .. i - 1 ]
                    |> List.map (fun k -> own[k] * inverse[k][j])
                    |> List.reduce (fun a b -> a + b)

                row[j] <- (sum * row[i]).neg()

        inverse

    /// tr(C⁻¹S) (b, m) from the inverse factor M and symmetric S (c, c, m): Σ_i Σ_jk M_ij S_jk M_ik.
    let traceAgainst (inverse: Tensor[][]) (s: Tensor) =
        let elements = s.unbind 0L |> Array.map _.unbind(0L)

        [| for row in inverse do
               for j in 0 .. row.Length - 1 do
                   for k in 0..j do
                       let twice = if j = k then 1.0 else 2.0
                       row[j] * row[k] * (elements[j][k] * twice) |]
        |> Array.reduce (fun a b -> a + b)

    /// A factor as matrices (b, c, c, m), zero above the diagonal.
    let lower (factor: Tensor[][]) =
        let c = factor.Length
        let zero = torch.zeros_like (factor[0][0])

        let row i =
            torch.stack (Array.init c (fun j -> if j <= i then factor[i][j] else zero), 1L)

        torch.stack (Array.init c row, 1L)

/// Maps that are mixed mode by mode, by a factor S of their covariance C = S Sᵀ at every mode.
module internal Mixing =
    /// The shape of a field of so many maps: (maps, N, …), or (N, …) of one.
    let shape maps (grid: FourierGrid) : int64[] =
        if maps = 1 then
            grid.Shape
        else
            Array.append [| int64 maps |] grid.Shape

    /// Fields (n, shape…) as maps (n, maps, N, …), whatever their number.
    let asMaps maps (grid: FourierGrid) what (fields: Tensor) : Tensor =
        let all = Array.append [| -1L; int64 maps |] grid.Shape
        Guard.Batched(what, fields, shape maps grid).reshape all

    /// A factor (b, c, c, classes) as `MixedFields` takes it, with one factor for each row, (b, 1, c, c, m): scaled so that the inverse transform
    /// of S · modes is the maps; of the noise's type and place.
    let prepare (grid: FourierGrid) (classes: ModeClasses) (noise: Tensor) (factor: Tensor) =
        Tensors.scoped (fun () ->
            let scale = sqrt ((float grid.N / grid.BoxLength) ** float grid.Dimensions)

            let onGrid =
                (factor.flatten (0L, 2L) * scale).``to``(noise.dtype, noise.device)
                |> classes.Spread

            let shape =
                Array.concat [ [| factor.shape[0]; 1L |]; factor.shape[1..2]; grid.HalfShape ]

            MixedFields.Prepare(grid, onGrid.reshape shape))

    /// A simulator of as many channels as there are maps, by functions of θ alone, which are remembered, and of what these made with white noise of
    /// the fields' shape: of rows of θ for fields, and of one θ and the noise's type and place for fields and their derivatives.
    let simulator
        name
        parameters
        maps
        shape
        (factor: Tensor -> Tensor[])
        (fields: Tensor[] -> Tensor -> Tensor)
        (expand: Tensor -> Tensor -> Tensor[])
        (tangents: Tensor[] -> Tensor -> struct (Tensor * Tensor))
        : Simulator =
        let expanded = Remembered.lastBeside expand

        { Name = name
          Parameters = parameters
          FieldShape = shape
          Channels = maps
          DrawNoise = fun keys -> Noise.Normal(keys, shape)
          Field = ByRow.fields (Array.fold (*) 1L shape) factor fields
          Tangents = Some(fun theta noise -> tangents (expanded theta noise) noise)
          Failures = StopAtFailure
          Reason = fun _ _ -> None }
