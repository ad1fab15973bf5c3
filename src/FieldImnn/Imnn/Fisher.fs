namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// What a set of summaries and their derivatives says about θ: μ (s), C (s, s), μ, (p, s) and F (p, p).
type SummaryStatistics =
    { Mean: Vector<float>
      Covariance: Matrix<float>
      MeanDerivative: Matrix<float>
      Fisher: Matrix<float>
      Simulations: int }

/// Fisher information of summaries.
module Fisher =
    /// C of summaries (n, s), with n − 1 in the denominator; float64, differentiable.
    let covariance (x: Tensor) : Tensor =
        let centred = x - x.mean ([| 0L |], keepdim = true)
        (centred.t ()).matmul(centred) / float (x.shape[0] - 1L)

    let private singular (c: Tensor) simulations =
        let still = (Tensors.toMatrix (c.detach ())).Diagonal().ToArray()

        SingularMatrixException(
            "covariance of the summaries",
            "a positive definite matrix",
            match still |> Array.tryFindIndex (fun v -> v <= 0.0) with
            | Some constant -> $"summary {constant + 1} of {still.Length} the same in all {simulations} simulations"
            | None -> $"a singular one from {simulations} simulations of {still.Length} summaries"
        )

    /// The Cholesky factor of a symmetric matrix; none where it is not positive definite.
    let private tryFactor (c: Tensor) =
        let struct (factor, info) = torch.linalg.cholesky_ex c
        if info.ToInt64() = 0L then Some factor else None

    let private byFactor (factor: Tensor -> Tensor option) (x: Tensor) (dx: Tensor) : struct (Tensor * Tensor) =
        Guard.Finite("summaries", x) |> ignore
        Guard.Finite("derivatives of the summaries", dx) |> ignore

        if dx.shape[0] = 0L then
            raise (SettingException("derivatives of the summaries", "at least one", "none"))

        let mu = dx.``to``(torch.ScalarType.Float64).mean([| 0L |])
        let c = covariance (x.``to`` torch.ScalarType.Float64)

        match factor c with
        | Some factor -> struct (mu.matmul (torch.cholesky_solve (mu.t (), factor)), c)
        | None -> raise (singular c x.shape[0])

    /// F = μ, C⁻¹ μ,ᵀ and C of summaries x (n, s) and derivatives dx (m, p, s); float64, differentiable.
    let ofSummaries x dx = byFactor tryFactor x dx

    /// What is added to the variances of features that follow from each other, as a part of them.
    let private ridge = 1e-6

    /// The features, of x (n, s) and derivatives dx (m, p, s), that differ between simulations: one that does not, as the part of counts between
    /// two whole numbers, says nothing. One that in most simulations changes with θ nevertheless says everything, and is refused.
    let private varying (x: Tensor) (dx: Tensor) : int[] =
        let still, changing =
            Tensors.using (fun () ->
                let x, dx = x.detach (), dx.detach ()
                let still = (x.amax [| 0L |]).eq(x.amin [| 0L |])
                let moved = (dx.ne (0.0.ToScalar())).any(1L).``to`` torch.ScalarType.Float64
                let most = (moved.mean [| 0L |]).gt(0.5.ToScalar())
                still.cpu().data<bool>().ToArray(), most.cpu().data<bool>().ToArray())

        let refuse came =
            raise (SingularMatrixException("covariance of the features", "a positive definite matrix", came))

        match Array.map2 (&&) still changing |> Array.tryFindIndex id with
        | Some i ->
            refuse
                $"feature {i + 1} of {still.Length} the same in all {x.shape[0]} simulations, though it changes with θ"
        | None when Array.forall id still ->
            refuse $"all {still.Length} features the same in all {x.shape[0]} simulations"
        | None ->
            [| for i in 0 .. still.Length - 1 do
                   if not still[i] then
                       i |]

    /// Features and derivatives of those of some numbers; all of them as they are.
    let private columns (numbers: int[]) (x: Tensor) (dx: Tensor) =
        if numbers.Length = int x.shape[1] then
            x, dx
        else
            use places = torch.tensor(numbers |> Array.map int64).``to`` x.device
            x.index_select (1L, places), dx.index_select (2L, places)

    /// The same of features, some of which may be combinations of others, or never differ, and then add nothing.
    let internal ofFeatures x dx =
        columns (varying x dx) x dx
        ||> byFactor (fun c ->
            tryFactor c
            |> Option.orElseWith (fun () -> tryFactor (c + torch.diag (c.diagonal () * ridge))))

    /// What fits a layer to features and derivatives, fitted to those that vary: the others have no weight in it.
    let internal layerOfVarying fit (x: Tensor) (dx: Tensor) : Matrix<float> =
        let numbers = varying x dx
        let layer: Matrix<float> = Tensors.using (fun () -> columns numbers x dx ||> fit)

        if numbers.Length = int x.shape[1] then
            layer
        else
            let all = Matrix<float>.Build.Dense(int x.shape[1], layer.ColumnCount)
            numbers |> Array.iteri (fun row i -> all.SetRow(i, layer.Row row))
            all

    let private statisticsBy (invert: string -> Matrix<float> -> Matrix<float>) (x: Tensor) (dx: Tensor) =
        let n, s = int x.shape[0], int x.shape[1]

        if dx.shape[0] = 0L then
            raise (SettingException("derivatives of the summaries", "at least one", "none"))

        if n < s + 3 then
            raise (
                SettingException(
                    "simulations for a covariance",
                    $"more than the number of summaries + 2 = {s + 2}",
                    $"{n}"
                )
            )

        Tensors.using (fun () ->
            let x = x.``to`` torch.ScalarType.Float64
            let covariance = Tensors.toMatrix (covariance x)

            let derivative =
                Tensors.toMatrix (dx.``to``(torch.ScalarType.Float64).mean([| 0L |]))

            let hartlap = float (n - s - 2) / float (n - 1)
            let inverse = hartlap * invert "covariance of the summaries" covariance

            { Mean = Vector<float>.Build.DenseOfArray(Tensors.toArray (x.mean ([| 0L |])))
              Covariance = covariance
              MeanDerivative = derivative
              Fisher = derivative * inverse * derivative.Transpose()
              Simulations = n })

    /// All statistics of summaries x (n, s) and derivatives dx (m, p, s). With Hartlap's factor (n − s − 2)/(n − 1), which makes
    /// the inverse of an estimated covariance unbiased (Hartlap et al. 2007, eq. 17).
    let statistics x dx = statisticsBy Matrices.inverse x dx

    /// The same of features, some of which may be combinations of others and then add nothing.
    let featureStatistics x dx =
        statisticsBy Matrices.generalisedInverse x dx

    /// The linear layer (s, p) that keeps all of F: C⁻¹ μ,ᵀ.
    let bestLinear statistics =
        Matrices.generalisedInverse "covariance of the features" statistics.Covariance
        * statistics.MeanDerivative.Transpose()

    /// det F over the exact det: the part of the information that was kept, 1 for lossless.
    let retained (fisher: Matrix<float>) (exact: Matrix<float>) =
        fisher.Determinant() / exact.Determinant()
