namespace FieldImnn

open System
open System.Diagnostics
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// Training of information maximising neural networks.
module Imnn =
    let internal networkOn device features (simulator: Simulator) seed =
        let description =
            Features.describe simulator.FieldShape simulator.Channels simulator.Parameters.Length features

        SummaryNetwork.Create(description, NoiseKey.SeedFor(seed, "weights"), device)

    /// The network of features for a simulator's fields, with weights from the seed, on the CPU.
    let network features simulator seed =
        networkOn Device.cpu features simulator seed

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

        let weights = Optimisation.copy earlier.Network
        Optimisation.restore network weights
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

    /// Features x (n, s) and derivatives dx (n, p, s) of n simulations of a part; of fewer where somebody stops the work, who does not want to
    /// wait for all, but of no fewer than there have to be.
    let private measure (settings: ImnnSettings) parameters (network: SummaryNetwork) draw part name n =
        let least = max 1000 (int network.Features + 3)

        let parts =
            Tensors.chunks 1000 n
            |> Seq.takeWhile (fun struct (start, _) ->
                start < least || not settings.Progress.Cancellation.IsCancellationRequested)
            |> Seq.map (fun struct (start, length) ->
                Progress.report settings.Progress $"measuring F ({name})" start n ""
                Tensors.scoped2 (fun () -> Batch.evaluate network parameters (draw part (uint64 start) length length)))
            |> Seq.toArray

        torch.cat (parts |> Array.map (fun struct (x, _) -> x), 0L),
        torch.cat (parts |> Array.map (fun struct (_, dx) -> dx), 0L)

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

    /// Runs of the simulator in so many steps, and for so many simulations on which F was measured.
    let private spent (settings: ImnnSettings) (source: Source) (network: SummaryNetwork) steps measured =
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
            + source.Runs measured measured

    /// The network of the settings for a simulator, with the weights of an earlier one if there is one, and the settings if they hold for it.
    let private prepare (earlier: Compressor option) (settings: ImnnSettings) (simulator: Simulator) fiducial =
        let p = simulator.Parameters.Length

        if Array.length fiducial <> p then
            raise (ShapeException("fiducial parameters", $"{p} numbers", $"{fiducial.Length}"))

        let network = networkOn settings.Device settings.Features simulator settings.Seed

        let settings =
            ImnnSettings.validate (network.Parameters.Count > 0) (int network.Features) settings

        earlier |> Option.iter (fun c -> startFrom c network)
        Door.training simulator settings.Derivatives fiducial settings.Seed
        network, settings

    /// Trains a network at the fiducial parameters and fits the score estimate, from the weights of an earlier compressor of the same
    /// network where there is one (at another fiducial point nearby, say). The best weights are those of the highest held-out det F;
    /// the F that the compressor quotes is measured on simulations that nothing else has seen.
    /// Cancelling stops training early and still returns a compressor, of the best weights so far, that says it was interrupted.
    /// Before a simulation is spent, Door.training looks at the simulator.
    let trainFrom (earlier: Compressor option) (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) =
        let simulator = Simulator.on settings.Device simulator
        let network, settings = prepare earlier settings simulator fiducial
        use _ = torch.NewDisposeScope()
        let fitted = Batch.fit network settings simulator fiducial
        let source = Batch.source network settings simulator fiducial
        requireEnough settings network source
        let clock = Stopwatch.StartNew()

        let draw part first n derivatives =
            source.Draw part first n derivatives |> Batch.joined network

        let history, interrupted =
            if network.Parameters.Count = 0 then
                [||], false // nothing to train but the closed-form layer
            else
                Optimisation.run settings fiducial.Length network draw (source.Count Validation)

        let measure part name =
            measure settings fiducial.Length network draw part name (source.Count part)

        let fitX, fitDx = measure Fitting "statistics"
        let quoteX, quoteDx = measure Quoting "quote"
        let measured = int (fitX.shape[0] + quoteX.shape[0])
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
          Linear = linear
          Statistics = Compressor.statistics linear fitX fitDx
          Fisher = quoted.Fisher
          QuotedOn = quoted.Simulations
          History = history
          Simulations = fitted + spent settings source network history.Length measured
          Interrupted = interrupted || measured < source.Count Fitting + source.Count Quoting
          Seconds = clock.Elapsed.TotalSeconds
          Notes = Map.empty }

    /// F of a trained compressor on as many simulations as choose between several, which none of them has seen (of stored ones, those that
    /// chose the weights).
    let internal fisherForChoice (settings: ImnnSettings) (simulator: Simulator) (compressor: Compressor) =
        use _ = torch.NewDisposeScope()
        let simulator = Simulator.on settings.Device simulator
        let source = Batch.source compressor.Network settings simulator compressor.Fiducial
        let n = source.Count Choosing
        let p = compressor.Parameters.Length
        let x, dx = measure settings p compressor.Network source.Draw Choosing "choice" n
        (Compressor.statistics compressor.Linear x dx).Fisher

    /// Trains a network from weights of its own: trainFrom without an earlier compressor.
    let train (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) : Compressor =
        trainFrom None settings simulator fiducial
