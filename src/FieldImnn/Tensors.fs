namespace FieldImnn

open System
open System.Runtime.InteropServices
open FieldImnn.Core
open FieldImnn.Core.Runtime
open MathNet.Numerics.LinearAlgebra
open TorchSharp

type Tensor = torch.Tensor

/// Where tensors are. Fields, noise, networks and their training follow ImnnSettings.Device; parameters, spectra, exact answers, density
/// estimators and samplers are small, in double precision, and stay on the CPU.
module Device =
    /// The CPU.
    let cpu = torch.Device DeviceType.CPU

    let internal same (a: torch.Device) (b: torch.Device) =
        a.``type`` = b.``type`` && a.index = b.index

    /// The device of a name: cpu, cuda, cuda:1, mps. One that this machine does not have is a SettingException.
    let named (name: string) : torch.Device =
        TorchRuntime.Load()

        let refuse (came: string) =
            raise (SettingException("device", "cpu, cuda, cuda:1 or mps, where this machine has it", came))

        let missing () =
            refuse $"{name}, which this machine, or the TorchSharp that is installed, has not"

        try
            let device = torch.device name
            use there = torch.ones ([| 1L |], device = device)
            use back = there.cpu ()
            if back.item<float32>() = 1.0f then device else missing ()
        with
        | :? ArgumentException -> refuse name
        | :? InvalidOperationException
        | :? NotSupportedException
        | :? ExternalException -> missing ()

/// Lifetimes of tensors, and the way between tensors and arrays.
module Tensors =
    /// A dispose scope; before it begins, memory of freed tensors goes back to the system if there is much.
    let internal scope () =
        TorchRuntime.GiveBackMemory()
        torch.NewDisposeScope()

    /// Runs a computation, frees every tensor it made but its result, and hands that to the caller's scope.
    let scoped (compute: unit -> Tensor) : Tensor =
        use _ = scope ()
        (compute ()).MoveToOuterDisposeScope()

    /// As scoped, for a pair of results.
    let scoped2 (compute: unit -> struct (Tensor * Tensor)) : struct (Tensor * Tensor) =
        use _ = scope ()
        let struct (a, b) = compute ()
        struct (a.MoveToOuterDisposeScope(), b.MoveToOuterDisposeScope())

    /// Runs a computation whose result holds no tensor, and frees every tensor it made.
    let using (compute: unit -> 'result) : 'result =
        use _ = scope ()
        compute ()

    /// A tensor that no dispose scope frees: for constants that live as long as what holds them.
    let keep (tensor: Tensor) : Tensor = tensor.DetachFromDisposeScope()

    /// float64 vector.
    let ofVector (values: float[]) : Tensor = Arrays.ToTensor values

    /// float64 matrix (rows, columns).
    let ofRows (rows: float[][]) : Tensor =
        let columns = if rows.Length = 0 then 0 else rows[0].Length

        match rows |> Array.tryFind (fun row -> row.Length <> columns) with
        | Some other -> raise (ShapeException("rows of a matrix", $"{columns} numbers each", $"{other.Length}"))
        | None -> ()

        (ofVector (Array.concat rows)).reshape(int64 rows.Length, int64 columns)

    /// Tensors of one shape as the rows of one.
    let stack (tensors: Tensor list) : Tensor = torch.stack (Array.ofList tensors, 0L)

    /// Some rows of a tensor (n, …), in the order given.
    let rows (indices: int[]) (tensor: Tensor) : Tensor =
        tensor.index_select (0L, torch.tensor (indices |> Array.map int64, device = tensor.device))

    /// The rows of several tensors (n, …), each tensor with the places that its rows take among all: float32 if all of them are.
    let internal placed (parts: (int[] * Tensor)[]) : Tensor =
        let places = parts |> Array.collect fst
        let back = Array.zeroCreate places.Length
        places |> Array.iteri (fun at place -> back[place] <- at)
        let single (t: Tensor) = (t.dtype = torch.ScalarType.Float32)

        let all =
            if parts |> Array.forall (snd >> single) then
                parts |> Array.map snd
            else
                parts |> Array.map (fun (_, t) -> t.``to`` torch.ScalarType.Float64)

        match all with
        | [| whole |] when back = Array.init back.Length id -> whole
        | _ -> torch.cat (all, 0L) |> rows back

    /// All elements as float64, in row-major order. More than an array holds (2,147,483,591) is a ShapeException: take it in parts.
    let toArray (tensor: Tensor) : float[] =
        use _ = torch.NewDisposeScope()

        if tensor.numel () > int64 Array.MaxLength then
            let shape = Guard.Describe tensor.shape

            raise (
                ShapeException(
                    "tensor to array",
                    $"at most {Array.MaxLength} elements",
                    $"{tensor.numel ()}, of shape {shape}"
                )
            )

        tensor.detach().cpu().``to``(torch.ScalarType.Float64).contiguous().data<float>().ToArray()

    /// As an array for files: in single precision if it is so, else in double.
    let toNpy (tensor: Tensor) : NpyArray =
        let shape, values = Array.map int tensor.shape, toArray tensor

        if tensor.dtype = torch.ScalarType.Float32 then
            Npy.single shape (Array.map float32 values)
        else
            Npy.double shape values

    /// The number in a tensor of one element.
    let toNumber (tensor: Tensor) : float =
        if tensor.numel () <> 1L then
            raise (ShapeException("tensor of a number", "one element", $"shape {Guard.Describe tensor.shape}"))

        (toArray tensor)[0]

    let private requireMatrix (tensor: Tensor) =
        if tensor.dim () <> 2L then
            raise (ShapeException("matrix", "two axes (rows, columns)", $"shape {Guard.Describe tensor.shape}"))

    /// The rows of a matrix.
    let toRows (tensor: Tensor) : float[][] =
        requireMatrix tensor

        if tensor.shape[1] = 0L then
            Array.create (int tensor.shape[0]) [||]
        else
            toArray tensor |> Array.chunkBySize (int tensor.shape[1])

    /// A two-dimensional tensor as an array.
    let toArray2D (tensor: Tensor) : float[,] =
        requireMatrix tensor
        let values = toArray tensor
        let columns = int tensor.shape[1]
        Array2D.init (int tensor.shape[0]) columns (fun i j -> values[i * columns + j])

    /// A two-dimensional tensor as a MathNet matrix.
    let toMatrix (tensor: Tensor) : Matrix<float> =
        Matrix<float>.Build.DenseOfArray(toArray2D tensor)

    /// float64 tensor of a MathNet matrix.
    let ofMatrix (matrix: Matrix<float>) : Tensor = ofRows (matrix.ToRowArrays())

    /// For each row of a tensor (n, …), whether all of it is finite.
    let internal finiteRows (made: Tensor) : bool[] =
        use _ = torch.NewDisposeScope()
        let made = made.detach ()
        let n = made.shape[0]

        // a sum is read once, and finite only if all of it is; one that has overflowed is looked at again
        let sums = made.sum [| for axis in 1L .. made.dim () - 1L -> axis |]

        if made.dim () > 1L && sums.isfinite().all().ToBoolean() then
            Array.create (int n) true
        else
            made.isfinite().reshape(n, -1L).all(1L).cpu().contiguous().data<bool>().ToArray()

    /// Index ranges (start, length) that cut n into chunks of at most the given size.
    let chunks (size: int) (n: int) =
        [| for start in 0..size .. n - 1 -> struct (start, min size (n - start)) |]

    /// Pixels in memory at a time, of all fields that are worked on together. More are no faster, since they do not fit into caches.
    let internal pixelsAtOnce = 409_600L

    /// Fields of a shape that are worked on together: 25 of 128², of large ones as many as there are threads that look at one each.
    let internal fieldsAtOnce (shape: int64[]) =
        int (max (int64 TorchRuntime.Threads) (pixelsAtOnce / Array.fold (*) 1L shape))

    /// A tensor (n, …) of a function of its rows from a start and of a length, which takes each alone: so many rows at a time, on the CPU without a
    /// graph, side by side on as many threads as tensors have.
    let internal sideBySide (atOnce: int) (n: int) (make: int64 -> int64 -> Tensor) : Tensor =
        let share = (n + TorchRuntime.Threads - 1) / TorchRuntime.Threads
        let pieces = chunks (min atOnce share) n
        let made: Tensor[] = Array.zeroCreate pieces.Length

        try
            TorchRuntime.SideBySide(
                Device.cpu,
                pieces.Length,
                fun i ->
                    use _ = torch.NewDisposeScope()
                    let struct (start, length) = pieces[i]
                    made[i] <- (make (int64 start) (int64 length)).DetachFromDisposeScope()
            )

            scoped (fun () -> torch.cat (made, 0L))
        finally
            // there are fewer where one failed
            for part in made do
                if not (isNull part) then
                    part.Dispose()

/// Linear algebra with typed errors.
module Matrices =
    /// (a − b)ᵀ M (a − b).
    let internal squaredDistance (metric: Matrix<float>) (a: float[]) (b: float[]) =
        let away = Vector<float>.Build.DenseOfArray(Array.map2 (-) a b)
        away.DotProduct(metric * away)

    let private failed name what =
        raise (SingularMatrixException(name, "a positive definite matrix", what))

    /// The square roots of a covariance's diagonal, and its correlation matrix.
    let private correlated name (matrix: Matrix<float>) =
        if matrix.RowCount <> matrix.ColumnCount then
            raise (ShapeException(name, "a square matrix", $"{matrix.RowCount} × {matrix.ColumnCount}"))

        if matrix.Exists(fun v -> not (Double.IsFinite v)) then
            failed name "NaN or infinite elements"

        let scale = matrix.Diagonal().PointwiseAbs().PointwiseSqrt()

        if scale.Minimum() <= 0.0 then
            failed name $"a diagonal with {string (scale.Minimum() ** 2.0)}"

        scale, matrix.MapIndexed(fun i j v -> v / (scale[i] * scale[j]))

    /// W (s, r) with Wᵀ C W = 1 of a covariance C (s, s), on the r directions that it has: those whose part of the correlation is lost in the
    /// rounding of single precision (10⁻¹⁰ of the largest) count for nothing, since such a direction is a combination of the others.
    let whitening (name: string) (matrix: Matrix<float>) : Matrix<float> =
        let scale, correlation = correlated name matrix
        let evd = correlation.Evd Symmetricity.Symmetric
        let values = evd.EigenValues.Real()
        let least = 1e-10 * values.Maximum()
        let kept = [ 0 .. values.Count - 1 ] |> List.filter (fun i -> values[i] > least)

        Matrix<float>
            .Build.Dense(
                scale.Count,
                kept.Length,
                fun i j -> evd.EigenVectors[i, kept[j]] / (scale[i] * sqrt values[kept[j]])
            )

    /// The inverse of a covariance on the directions that it has.
    let generalisedInverse (name: string) (matrix: Matrix<float>) =
        let w = whitening name matrix
        w * w.Transpose()

    /// The errors that a Fisher matrix (p, p) leaves to the parameters, √(F⁻¹)ₖₖ, in whatever units they are: ∞ of those that it says nothing
    /// of, or does not tell from others (a direction of less than 10⁻¹³ of the information, in units of the parameters' own).
    let errors (fisher: Matrix<float>) : float[] =
        let scale = fisher.Diagonal().PointwiseAbs().PointwiseSqrt()

        let told =
            [| for k in 0 .. scale.Count - 1 do
                   if scale[k] > 0.0 then
                       k |]

        let errors = Array.create scale.Count infinity

        if told.Length > 0 then
            let evd =
                Matrix<float>
                    .Build.Dense(
                        told.Length,
                        told.Length,
                        fun i j -> fisher[told[i], told[j]] / (scale[told[i]] * scale[told[j]])
                    )
                    .Evd(Symmetricity.Symmetric)

            let values = evd.EigenValues.Real()

            let variance i =
                Seq.init told.Length (fun m ->
                    let part = evd.EigenVectors[i, m] ** 2.0

                    if values[m] > 1e-13 * values.Maximum() then
                        part / values[m]
                    elif part > 1e-12 then
                        infinity
                    else
                        0.0)
                |> Seq.sum

            told |> Array.iteri (fun i k -> errors[k] <- sqrt (variance i) / scale[k])

        errors

    /// The inverse of a symmetric positive definite matrix.
    let inverse (name: string) (matrix: Matrix<float>) =
        let scale, correlation = correlated name matrix
        let eigenvalues = correlation.Evd(Symmetricity.Symmetric).EigenValues.Real()

        if eigenvalues.Minimum() < 1e-13 * eigenvalues.Maximum() then
            failed
                name
                $"eigenvalues (of the correlation) from %.3g{eigenvalues.Minimum()} to %.3g{eigenvalues.Maximum()}"

        correlation.Inverse().MapIndexed(fun i j v -> v / (scale[i] * scale[j]))
