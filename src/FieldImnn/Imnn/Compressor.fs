namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Runtime
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// A trained compression: field → features φ → summaries x = φ·Linear → score estimate θ̂ = θ_fid + F⁻¹ μ, C⁻¹ (x − μ).
type Compressor =
    {
        Network: SummaryNetwork
        /// Where the network is; fields are moved there.
        Device: torch.Device
        /// Names of the parameters.
        Parameters: string[]
        FieldShape: int64[]
        /// Where it was trained.
        Fiducial: float[]
        /// What inference compares beside the estimates, if anything.
        Beside: Beside option
        /// What features look like at the fiducial; a regression over a prior knows no such place.
        Typical: TypicalFeatures option
        /// What the fields themselves look like where it was trained.
        Plain: PlainStatistics option
        /// The closed-form last layer (features, summaries), if there is one.
        Linear: Matrix<float> option
        /// μ, C and μ, of the summaries, from simulations of their own (of stored ones, those that chose the weights): what the estimate
        /// uses.
        Statistics: SummaryStatistics
        /// F of the summaries on simulations that neither training, nor the choice of weights, nor Statistics have seen: fresh ones, or
        /// half of those stored that were held out.
        Fisher: Matrix<float>
        /// Half-widths of the finite differences that its derivatives are, one for each parameter; empty where they are no differences.
        Steps: float[]
        /// Simulations on which Fisher was measured.
        QuotedOn: int
        History: TrainingRecord[]
        /// Runs of the simulator in all, those to either side of a finite difference included; of stored simulations, the fields.
        Simulations: int
        /// Whether training was cancelled before it had ended: the weights are then the best so far, and not what the settings ask for.
        Interrupted: bool
        Seconds: float
        /// What the maker wants kept beside it: problem, modes, settings.
        Notes: Map<string, string>
    }

/// Using a trained compression.
module Compressor =
    /// The compressor with summaries that inference compares beside its estimates.
    let comparing beside (compressor: Compressor) = { compressor with Beside = beside }

    /// How far θ lies from where the compressor was trained, in standard errors of one field: √[(θ − θ_fid)ᵀ F (θ − θ_fid)/p].
    let away compressor (theta: float[]) =
        sqrt (
            Matrices.squaredDistance compressor.Fisher theta compressor.Fiducial
            / float compressor.Fiducial.Length
        )

    /// The compressor on a device: itself if it is there, else one of the same weights and constants, and the old one stays as it is.
    let on (device: torch.Device) (compressor: Compressor) =
        if Device.same device compressor.Device then
            compressor
        else
            use _ = torch.no_grad ()
            let network = SummaryNetwork.Create(compressor.Network.Description, 0UL, device)

            Seq.iter2
                (fun struct (_, target: Modules.Parameter) struct (_, source: Modules.Parameter) ->
                    target.copy_ source |> ignore)
                network.Parameters
                compressor.Network.Parameters

            network.Restore(readOnlyDict [ for struct (name, value) in compressor.Network.Constants -> name, value ])

            { compressor with
                Network = network
                Device = device }

    /// Summaries of features: (n, summaries) float64.
    let internal project (linear: Matrix<float> option) (features: Tensor) : Tensor =
        let x = features.``to`` torch.ScalarType.Float64

        match linear with
        | Some layer -> TorchRuntime.OnOneThread(fun () -> x.matmul ((Tensors.ofMatrix layer).``to`` x.device))
        | None -> x

    /// Statistics of the summaries of features x (n, s) and derivatives dx (m, p, s).
    let internal statistics linear x dx =
        Fisher.statistics (project linear x) (project linear dx)

    /// What is made of the features (n, k) of fields (n, shape…), in chunks.
    let private ofFeatures (make: Tensor -> Tensor) compressor (fields: Tensor) : Tensor =
        Guard.Finite("fields", Guard.Batched("fields", fields, compressor.FieldShape))
        |> ignore

        Tensors.scoped (fun () ->
            use _ = torch.no_grad ()

            let parts =
                Tensors.chunks (Tensors.fieldsAtOnce compressor.FieldShape) (int fields.shape[0])
                |> Array.map (fun struct (start, length) ->
                    Tensors.scoped (fun () ->
                        let chunk =
                            fields
                                .narrow(0L, int64 start, int64 length)
                                .``to``(torch.ScalarType.Float32, compressor.Device)

                        make (compressor.Network.Forward(Dual(chunk, null))).Primal))

            torch.cat (parts, 0L))

    /// Summaries x (n, summaries), float64, on the compressor's device, of fields (n, shape…), in chunks.
    let summaries compressor (fields: Tensor) : Tensor =
        ofFeatures (project compressor.Linear) compressor fields

    /// θ̂ of summaries (n, summaries): rows of parameters.
    let estimateOfSummaries compressor (x: Tensor) : float[][] =
        let s = compressor.Statistics
        let inverse = Matrices.inverse "covariance of the summaries" s.Covariance
        let score = s.MeanDerivative * inverse

        let gain =
            Matrices.inverse "Fisher matrix of the summaries" (score * s.MeanDerivative.Transpose())
            * score

        let fiducial = Vector<float>.Build.DenseOfArray compressor.Fiducial

        Tensors.toRows x
        |> Array.map (fun row -> (fiducial + gain * (Vector<float>.Build.DenseOfArray row - s.Mean)).ToArray())

    /// Score estimates θ̂ of fields (n, shape…): rows of parameters.
    let estimates compressor (fields: Tensor) : float[][] =
        Tensors.using (fun () -> estimateOfSummaries compressor (summaries compressor fields))

    /// Distances of estimates (rows) from the fiducial in standard errors, by direction: Lᵀ(θ̂ − θ_fid), F = L Lᵀ.
    let private byDirection compressor (estimates: float[][]) =
        let factor = (compressor.Fisher.Cholesky().Factor).Transpose()

        estimates
        |> Array.map (fun estimate ->
            (factor
             * Vector<float>.Build.DenseOfArray(Array.map2 (-) estimate compressor.Fiducial))
                .ToArray())

    let private plainOf compressor fields =
        PlainStatistics.ofFields (int compressor.Network.Description.Channels) fields

    /// How far fields with their estimates (rows) look beyond what is usual where the compressor was trained, if that is known: > 0 for those that
    /// are nothing like the fields there.
    let private looksBeyond compressor (estimates: float[][]) fields =
        match compressor.Plain with
        | None -> estimates |> Array.map (fun _ -> -infinity)
        | Some plain ->
            Array.map2
                (fun errors row ->
                    let struct (_, allowed, _) = PlainStatistics.unusual plain errors row
                    log allowed)
                (byDirection compressor estimates)
                (snd (plainOf compressor fields))

    /// Score estimates of fields (n, shape…), and behind each how far the field lies beyond what is like the fiducial's, by its features or by its
    /// looks: > 0 for one that is nothing like those.
    let internal measured compressor (typical: TypicalFeatures) (fields: Tensor) : float[][] =
        Tensors.using (fun () ->
            let both (x: Tensor) =
                torch.cat (
                    [| project compressor.Linear x
                       (TypicalFeatures.beyond typical x).unsqueeze 1L |],
                    1L
                )

            let made = ofFeatures both compressor fields
            let s = made.shape[1] - 1L
            let estimates = estimateOfSummaries compressor (made.narrow (1L, 0L, s))

            Array.map3
                (fun estimate features looks -> Array.append estimate [| max features looks |])
                estimates
                (made.select (1L, s) |> Tensors.toArray)
                (looksBeyond compressor estimates fields))

    /// The compressor that knows what fields look like where it was trained, of chunks (n, shape…) of them, each of which is made when it is looked
    /// at and freed before the next; as it is where they are too few.
    let internal looking (chunks: (unit -> Tensor)[]) compressor =
        let rows, errors =
            chunks
            |> Array.collect (fun make ->
                Tensors.using (fun () ->
                    let fields = make ()

                    Array.zip
                        (snd (plainOf compressor fields))
                        (estimates compressor fields |> byDirection compressor)))
            |> Array.unzip

        { compressor with
            Plain = PlainStatistics.tryFit rows errors }

    /// How many times as unusual as one in a thousand of those where the compressor was trained, and as is allowed, a field (shape…) looks, given its
    /// estimates; and what of it is the most so. None where that is not known.
    let internal looks compressor (field: Tensor) : struct (float * float * string) option =
        compressor.Plain
        |> Option.map (fun plain ->
            Tensors.using (fun () ->
                let fields = field.unsqueeze 0L
                let names, rows = plainOf compressor fields
                let errors = estimates compressor fields |> byDirection compressor
                let struct (times, allowed, most) = PlainStatistics.unusual plain errors[0] rows[0]
                struct (times, allowed, names[most])))

    /// The score estimate θ̂ of one field (shape…).
    let estimate compressor (field: Tensor) : float[] =
        let made = Tensors.using (fun () -> (estimates compressor (field.unsqueeze 0L))[0])

        match made |> Array.tryFindIndex (Double.IsFinite >> not) with
        | Some a ->
            raise (
                NonFiniteException(
                    "score estimate of the field",
                    "finite numbers",
                    $"{compressor.Parameters[a]} = {made[a]}: the field is nothing like those that the compressor was trained on"
                )
            )
        | None -> made
