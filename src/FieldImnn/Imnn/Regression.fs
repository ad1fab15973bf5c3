namespace FieldImnn

open System
open System.Diagnostics
open FieldImnn.Core
open FieldImnn.Core.Networks
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// Compressors without derivatives: the parameters are regressed on features of fields that were simulated all over the prior. What is
/// estimated is the mean of θ given the features, as far as it is linear in them.
module Regression =
    /// What a compressor's notes say under "training" where it was trained so.
    let note = "training", "regression"

    /// Whether a compressor was trained by regression: it then has no fiducial from which to be far.
    let isOne (compressor: Compressor) =
        compressor.Notes.TryFind(fst note) = Some(snd note)

    let private folds = 5

    /// Ridge strengths that are tried, in units of a standardised feature's sum of squares.
    let private strengths = [| for e in -8.0 .. 0.5..1.0 -> 10.0 ** e |]

    let private single (device: torch.Device) (t: Tensor) =
        t.``to`` (torch.ScalarType.Float32, device)

    /// Features (n, s), float64, of all fields, by a network whose constants are fitted to some of them.
    let private features (settings: ImnnSettings) (network: SummaryNetwork) (fields: Slices) : Tensor =
        use _ = torch.no_grad ()

        if network.FitFields > 0L then
            Tensors.using (fun () ->
                let places = fields |> Slices.spread (int network.FitFields)
                network.Fit(fields |> Slices.rows places |> single Device.cpu))

        Tensors.scoped (fun () ->
            let parts =
                fields
                |> Slices.pieces fields.Count
                |> Array.map (fun struct (start, length) ->
                    settings.Progress.Cancellation.ThrowIfCancellationRequested()
                    Progress.report settings.Progress "features of the simulations" start fields.Count [] ""

                    Tensors.scoped (fun () ->
                        let chunk = fields |> Slices.range start length |> single settings.Device

                        (network.Forward(Dual(chunk, null))).Primal.``to``(torch.ScalarType.Float64, Device.cpu)))

            torch.cat (parts, 0L))

    /// Ridge regression of centred y (n, p) on centred, scaled x (n, s), for all strengths at once: coefficients (s, p) of a strength for each
    /// parameter.
    let private ridge (x: Tensor) (y: Tensor) : (float[] -> Tensor) =
        let n = x.shape[0]
        let struct (values, vectors) = torch.linalg.eigh ((x.t ()).matmul(x) / float n)
        let projected = (vectors.t ()).matmul((x.t ()).matmul(y)) / float n

        fun strengths ->
            let shrunk =
                values.clamp_min(0.0.ToScalar()).unsqueeze 1L
                + Tensors.ofVector(strengths).unsqueeze 0L

            vectors.matmul (projected / shrunk)

    /// Means of columns, and the reciprocal of their scatter: 0 of a column that does not vary.
    let private standard (x: Tensor) =
        let mean = x.mean ([| 0L |], keepdim = true)
        let sd = (x - mean).square().mean([| 0L |], keepdim = true).sqrt()
        let least = 1e-9 * (mean.abs () + 1e-300)
        mean, torch.where (sd.gt least, sd.reciprocal (), torch.zeros_like sd)

    /// Predictions of each fold by the others, for every strength: squared errors (strengths, p), and a function that gives the residuals (n, p) of
    /// chosen strengths.
    let private crossValidated (x: Tensor) (y: Tensor) =
        let n = int x.shape[0]

        let fold k =
            let place inside =
                [| for i in 0 .. n - 1 do
                       if (i % folds = k) = inside then
                           i |]

            let out, rest = place true, place false
            let xr, yr = Tensors.rows rest x, Tensors.rows rest y
            let my = yr.mean ([| 0L |], keepdim = true)
            let mx = xr.mean ([| 0L |], keepdim = true)
            let fit = ridge (xr - mx) (yr - my)
            let xo = Tensors.rows out x - mx
            let yo = Tensors.rows out y - my
            out, (fun strengths -> yo - xo.matmul (fit strengths))

        let made = Array.init folds fold
        let p = int y.shape[1]

        let errors =
            strengths
            |> Array.map (fun strength ->
                made
                |> Array.map (fun (_, residuals) ->
                    (residuals (Array.create p strength)).square().sum(0L) |> Tensors.toArray)
                |> Array.reduce (Array.map2 (+)))

        errors,
        (fun chosen ->
            made
            |> Array.collect (fun (out, residuals) -> Array.zip out (Tensors.toRows (residuals chosen)))
            |> Array.sortBy fst
            |> Array.map snd)

    let private covariance (rows: float[][]) =
        let m = Matrix<float>.Build.DenseOfRowArrays rows
        m.TransposeThisAndMultiply m / float m.RowCount

    /// Weights (s, p) and the residuals' covariance out of fold, of θ (n, p) on features (n, s), each strength chosen by cross-validation.
    let private fitted (x: Tensor) (y: Tensor) =
        let mean, scale = standard x
        let scaled = (x - mean) * scale
        let errors, residuals = crossValidated scaled y

        let chosen =
            Array.init (int y.shape[1]) (fun k ->
                let best = [| 0 .. strengths.Length - 1 |] |> Array.minBy (fun i -> errors[i][k])
                strengths[best])

        let centred = scaled - scaled.mean ([| 0L |], keepdim = true)
        let fit = ridge centred (y - y.mean ([| 0L |], keepdim = true))
        Tensors.toMatrix ((scale.t ()) * fit chosen), covariance (residuals chosen)

    /// Refuses parameters of which the features say nothing: out of fold, they are predicted no better than by their mean.
    let private requireInformation (simulator: Simulator) (theta: float[][]) (residuals: Matrix<float>) =
        for k in 0 .. simulator.Parameters.Length - 1 do
            let column = theta |> Array.map (Array.item k)
            let mean = Array.average column
            let variance = column |> Array.averageBy (fun v -> (v - mean) ** 2.0)
            let left = residuals[k, k] / variance

            // chance alone leaves 1 ± √(2/n)
            if not (left < 1.0 - 3.0 / sqrt (float theta.Length)) then
                raise (
                    SimulatorException(
                        "regression of the parameters on the features",
                        $"features that say something of {Simulator.parameter simulator k}",
                        $"a part of {left:G3} of its variance left unexplained: θ belongs to other fields, or the features do not see it"
                    )
                )

    /// The compressor of `train`, which does not know yet what fields look like.
    let private fitTo (settings: ImnnSettings) (simulator: Simulator) (theta: float[][]) (fields: Slices) : Compressor =
        Guard.AtLeast("simulations to regress on", 50L, int64 theta.Length) |> ignore

        Tensors.using (fun () ->
            fields
            |> Slices.rows (Slices.spread 50 fields)
            |> Door.resolved fields.Name simulator.Channels)

        let network =
            TrainingIdentity.network settings.Device settings.Features simulator settings.Seed

        if network.Parameters.Count > 0 then
            raise (
                SettingException(
                    "features of a regression",
                    "features with nothing to train",
                    string network.Description
                )
            )

        use _ = torch.NewDisposeScope()
        let clock = Stopwatch.StartNew()
        let x = features settings network fields
        let y = Tensors.ofRows theta
        let weights, residuals = fitted x y
        requireInformation simulator theta residuals
        let fisher = Matrices.inverse "covariance of the residuals" residuals
        let mean = Tensors.toMatrix (x.mean ([| 0L |], keepdim = true))
        let p = simulator.Parameters.Length

        { Network = network
          Device = settings.Device
          Parameters = simulator.Parameters
          FieldShape = simulator.FieldShape
          Fiducial = Array.init p (fun k -> theta |> Array.averageBy (Array.item k))
          Beside = None
          Typical = None
          Plain = None
          Linear = Some weights
          Statistics =
            { Mean = (mean * weights).Row 0
              Covariance = residuals
              MeanDerivative = Matrix<float>.Build.DenseIdentity p
              Fisher = fisher
              Simulations = theta.Length }
          Fisher = fisher
          Steps = [||]
          QuotedOn = theta.Length
          History = [||]
          Simulations = theta.Length
          Interrupted = false
          Seconds = clock.Elapsed.TotalSeconds
          Notes = Map [ note ] }

    /// The compressor that knows what its fields look like.
    let private looking (fields: Slices) compressor =
        let some = fields |> Slices.pick (Slices.spread PlainStatistics.fewest fields)

        compressor
        |> Compressor.looking (
            some
            |> Slices.pieces some.Count
            |> Array.map (fun struct (start, length) -> fun () -> some |> Slices.range start length)
        )

    /// A compressor whose estimates are the regression of θ (rows) on the features of their fields. Its fiducial is the mean of θ, its Fisher matrix the
    /// inverse of the residuals' covariance, out of fold.
    let train settings simulator theta fields : Compressor =
        fitTo settings simulator theta fields |> looking fields

    /// The part of the simulations that a second regression learns from, and the least number of them.
    let private nearest, private least = 0.3, 300

    /// A compressor by regression for an observed field (shape…): a first one all over the prior, then one on the part of the simulations that it
    /// places nearest to the field. The best features of a field are others elsewhere; what is selected by features leaves the regression on
    /// them what it is.
    let trainFor
        (settings: ImnnSettings)
        simulator
        (theta: float[][])
        (fields: Slices)
        (observed: Tensor)
        : Compressor =
        let first = fitTo settings simulator theta fields
        let count = int (nearest * float theta.Length)

        if count < least then
            first |> looking fields
        else
            let at = Compressor.estimate first observed

            let distances =
                fields
                |> Slices.pieces fields.Count
                |> Array.collect (fun struct (start, length) ->
                    Tensors.using (fun () -> fields |> Slices.range start length |> Compressor.estimates first))
                |> Array.map (fun estimate -> Matrices.squaredDistance first.Fisher estimate at)

            (first.Network :> IDisposable).Dispose()

            let near =
                [| 0 .. theta.Length - 1 |]
                |> Array.sortBy (fun i -> distances[i])
                |> Array.truncate count
                |> Array.sort

            { train settings simulator (near |> Array.map (fun i -> theta[i])) (Slices.pick near fields) with
                Simulations = theta.Length }
