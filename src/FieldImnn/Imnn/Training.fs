namespace FieldImnn

open System
open System.Diagnostics
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Runtime
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// Training of information maximising neural networks.
module Imnn =
    /// The network of features for a simulator's fields, with weights from the seed, on the CPU.
    let network features simulator seed =
        TrainingIdentity.network Device.cpu features simulator seed

    /// Gives a network the weights that another one of the same kind and shape was trained to; constants that belong to the fiducial point
    /// (where fields end, say) may differ.
    let private startFrom (earlier: Compressor) (network: SummaryNetwork) =
        let rec kinds (description: NetworkDescription) =
            description.Kind :: (description.Parts |> Seq.collect kinds |> List.ofSeq)

        let shape (network: SummaryNetwork) =
            kinds network.Description,
            network.Features,
            [ for struct (name, weight) in network.Parameters -> name, List.ofArray weight.shape ]

        if shape network <> shape earlier.Network then
            let wanted, found = string network.Description, string earlier.Network.Description
            raise (SettingException("network to start from", wanted, found))

        let weights = TrainingState.copy earlier.Network
        TrainingState.restore network weights
        weights |> Array.iter _.Dispose()

    /// Refuses derivatives of summaries dx (m, p, s), of stored simulations, whose mean by a parameter is zero within its error:
    /// Hotelling's T² below what one mean of zero in 10,000 exceeds. Derivatives that belong to other fields come to that.
    let private requireInformation simulator (dx: Tensor) =
        let m, p, s = int dx.shape[0], int dx.shape[1], int dx.shape[2]

        if m >= s + 5 then
            for a in 0 .. p - 1 do
                let rows = Tensors.toMatrix (dx.select (1L, int64 a))
                let mean = rows.ColumnSums() / float m
                let centred = rows.MapIndexed(fun _ j v -> v - mean[j])
                let covariance = centred.TransposeThisAndMultiply centred / float (m - 1)

                // derivatives that do not vary have no error
                if covariance.Diagonal().Minimum() > 1e-10 * mean.DotProduct mean then
                    let t2 = float m * mean.DotProduct(covariance.PseudoInverse() * mean)

                    let f = t2 * float (m - s) / (float s * float (m - 1))
                    let chance = 1.0 - FisherSnedecor.CDF(float s, float (m - s), f)

                    if chance > 1e-4 then
                        raise (
                            SimulatorException(
                                "derivatives of the stored simulations",
                                $"a mean derivative of the summaries by {Simulator.parameter simulator a} that differs from zero, derivative i being of the same seed as field i",
                                $"one that is zero within its error (chance %.2g{chance}): they belong to other fields, or the network sees nothing of the parameter"
                            )
                        )

    /// Refuses a stored set with too few simulations for a network.
    let private requireEnough (settings: ImnnSettings) (network: SummaryNetwork) (source: Source) =
        match settings.Derivatives with
        | Precomputed _ ->
            Guard.AtLeast("stored simulations for training", int64 settings.Simulations, int64 (source.Count Training))
            |> ignore

            let choosing = if network.Parameters.Count = 0 then Fitting else Validation

            Guard.AtLeast(
                "half of the stored simulations held out",
                2L * (network.Features + 3L),
                int64 (min (source.Count choosing) (source.Count Quoting))
            )
            |> ignore
        | _ -> ()

    /// The closed-form layer of features, if the loss has one; refuses features that see nothing of a parameter.
    let private closedForm settings simulator (network: SummaryNetwork) x dx =
        match settings.Loss with
        | Regularised _ -> None
        | ClosedForm ->
            let linear = LinearLayer.fit x dx

            match Seq.tryFindIndex (fun v -> v = 0.0) (linear.ColumnNorms 2.0) with
            | Some a ->
                raise (
                    SimulatorException(
                        $"features of network {network.Description}",
                        "some that change with every parameter",
                        $"none that changes with {Simulator.parameter simulator a}: the network cannot see it"
                    )
                )
            | None -> Some linear

    /// Runs of the simulator in so many steps, and in so many on which F was measured.
    let private spent (settings: ImnnSettings) (source: Source) (network: SummaryNetwork) steps measuring =
        match settings.Derivatives with
        | Precomputed _ -> source.Count Training + source.Count Fitting + source.Count Quoting
        | _ ->
            let chosen =
                if network.Parameters.Count = 0 then
                    0
                else
                    source.Runs (source.Count Validation) (source.Count Validation)

            steps * source.Runs settings.Simulations settings.DerivativeSimulations
            + chosen
            + measuring

    /// The network of the settings for a simulator, with the weights of an earlier one if there is one, and the settings if they hold for it.
    let private prepare (earlier: Compressor option) (settings: ImnnSettings) (simulator: Simulator) fiducial =
        let p = simulator.Parameters.Length

        if Array.length fiducial <> p then
            raise (ShapeException("fiducial parameters", $"{p} numbers", $"{fiducial.Length}"))

        let network =
            TrainingIdentity.network settings.Device settings.Features simulator settings.Seed

        let settings =
            ImnnSettings.validate (network.Parameters.Count > 0) (int network.Features) settings

        earlier |> Option.iter (fun c -> startFrom c network)

        match settings.Derivatives with
        | Precomputed _ -> () // nothing is simulated
        | _ -> Progress.report settings.Progress "trying the simulator at the fiducial" 0 1 [] ""

        Door.training simulator settings.Derivatives fiducial settings.Seed
        network, settings

    /// The checkpoint of a name of a training, for all names.
    let private checkpoints (settings: ImnnSettings) simulator earlier fiducial (network: SummaryNetwork) =
        let identity =
            match settings.Checkpoint with
            | None -> []
            | Some _ ->
                ("device", string settings.Device.``type``)
                :: TrainingIdentity.ofTraining settings simulator earlier fiducial

        let all =
            CheckpointFile.create "training" identity settings.Progress settings.Checkpoint

        let file name =
            all |> Option.map (CheckpointFile.called name)

        // later rounds of a refit lie beside those before
        if earlier.IsNone then
            file (
                if network.Parameters.Count > 0 then
                    "training"
                else
                    "statistics-0"
            )
            |> Option.iter CheckpointFile.explainOthers

        file

    /// The compressor of a trained network: its statistics and its F are measured.
    let private compressorOf settings simulator fiducial (network: SummaryNetwork) (source: Source) draw file =
        let measure part name =
            let n = source.Count part
            let derivatives = min n settings.MeasureDerivatives
            Measurement.run settings (Array.length fiducial) network draw part name n derivatives (file name)

        let struct (fitX, fitDx) = measure Fitting "statistics"
        let struct (quoteX, quoteDx) = measure Quoting "quote"
        let measured = int (fitX.shape[0] + quoteX.shape[0])
        let differentiated = int (fitDx.shape[0] + quoteDx.shape[0])
        // sums in one order, whatever the number of threads
        TorchRuntime.OnOneThread(fun () ->
            let linear = closedForm settings simulator network fitX fitDx
            let quoted = Compressor.statistics linear quoteX quoteDx

            match settings.Derivatives with
            | Precomputed _ -> requireInformation simulator (Compressor.project linear quoteDx)
            | _ -> ()

            { Network = network
              Device = settings.Device
              Parameters = simulator.Parameters
              FieldShape = simulator.FieldShape
              Fiducial = fiducial
              Beside = None
              Typical = Some(TypicalFeatures.fit fitX)
              Plain = None
              Linear = linear
              Statistics = Compressor.statistics linear fitX fitDx
              Fisher = quoted.Fisher
              Steps =
                match settings.Derivatives with
                | FiniteDifference step -> step
                | _ -> [||]
              QuotedOn = quoted.Simulations
              History = [||]
              Simulations = source.Runs measured differentiated
              Interrupted = measured < source.Count Fitting + source.Count Quoting
              Seconds = 0.0
              Notes = Map.empty })

    /// The compressor that knows what fields look like, and the runs of the simulator for that; as it is where it was interrupted.
    let private looking (settings: ImnnSettings) simulator fiducial (made: Compressor) =
        if made.Interrupted then
            0, made
        else
            (match settings.Derivatives with
             | Precomputed _ -> 0
             | _ -> Batch.countOf settings Looking),
            Compressor.looking (Batch.looked settings simulator fiducial) made

    /// Trains a network at the fiducial parameters and fits the score estimate, from the weights of an earlier compressor of the same
    /// network where there is one (at another fiducial point nearby, say). The best weights are those of the highest held-out det F;
    /// the F that the compressor quotes is measured on simulations that nothing else has seen.
    /// Cancelling stops training early and still returns a compressor, of the best weights so far, that says it was interrupted. With
    /// settings.Checkpoint it saves what there is and ends with OperationCanceledException, and the same training goes on from it.
    /// Before a simulation is spent, Door.training looks at the simulator.
    let trainFrom (earlier: Compressor option) (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) =
        let clock = Stopwatch.StartNew()
        let simulator = Simulator.on settings.Device simulator
        let network, settings = prepare earlier settings simulator fiducial
        use _ = torch.NewDisposeScope()
        let file = checkpoints settings simulator earlier fiducial network
        let fitted = Batch.fit network settings simulator fiducial
        let source = Batch.source network settings simulator fiducial
        requireEnough settings network source

        let draw part first n derivatives =
            source.Draw part first n derivatives |> Batch.joined network

        let history, interrupted =
            if network.Parameters.Count = 0 then
                [||], false // nothing to train but the closed-form layer
            else
                Optimisation.run settings fiducial.Length network draw (source.Count Validation) (file "training")

        if settings.Checkpoint.IsSome then
            settings.Progress.Cancellation.ThrowIfCancellationRequested()

        let made = compressorOf settings simulator fiducial network source draw file
        let seen, made = looking settings simulator fiducial made

        { made with
            History = history
            Simulations = fitted + seen + spent settings source network history.Length made.Simulations
            Interrupted = interrupted || made.Interrupted
            Seconds = clock.Elapsed.TotalSeconds }

    /// F of a trained compressor on as many simulations as choose between several, which none of them has seen (of stored ones, those that
    /// chose the weights).
    let internal fisherForChoice (settings: ImnnSettings) (simulator: Simulator) (compressor: Compressor) =
        use _ = torch.NewDisposeScope()
        let simulator = Simulator.on settings.Device simulator
        let source = Batch.source compressor.Network settings simulator compressor.Fiducial
        let n = source.Count Choosing
        let p = compressor.Parameters.Length

        let struct (x, dx) =
            Measurement.run settings p compressor.Network source.Draw Choosing "choice" n n None

        (Compressor.statistics compressor.Linear x dx).Fisher

    /// Trains a network from weights of its own: trainFrom without an earlier compressor.
    let train (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) : Compressor =
        trainFrom None settings simulator fiducial
