namespace FieldImnn

open FieldImnn.Core
open TorchSharp

/// Pairs of parameters and fields that somebody has simulated.
type Pairs =
    {
        /// Rows of θ, draws of the prior.
        Theta: float[][]
        /// Their fields.
        Fields: Slices
        /// What is done about fields that are NaN or infinite.
        Failures: FailurePolicy
        Progress: Progress
    }

/// Inference from pairs alone: methods that need no simulation of their own.
module Pairs =
    /// The probability that draws may leave free at an end of a parameter's prior.
    let private free = 0.1

    /// The pairs that lie within the prior. One that they do not fill is refused: nothing would be known of the rest of it.
    let within (prior: Prior) (pairs: Pairs) : Pairs =
        let inside =
            [| 0 .. pairs.Theta.Length - 1 |]
            |> Array.filter (fun i -> Prior.contains prior pairs.Theta[i])

        let theta = inside |> Array.map (fun i -> pairs.Theta[i])

        if theta.Length < 20 then
            raise (
                SettingException(
                    $"simulations of {pairs.Fields.Name}",
                    "20 or more within the prior",
                    $"{theta.Length} of {pairs.Theta.Length}"
                )
            )

        // of dependent parameters the marginals are only about the prior
        if prior.Dependence.IsNone then
            Array.iteri2
                (fun k name marginal ->
                    let column = theta |> Array.map (Array.item k)
                    let low, high = Array.min column, Array.max column

                    let below, above =
                        Marginal.cumulative marginal low, 1.0 - Marginal.cumulative marginal high

                    if below > free || above > free then
                        let lo, hi = (Prior.bounds prior)[k]

                        raise (
                            SettingException(
                                $"prior of {name}",
                                $"one that the simulations of {pairs.Fields.Name} fill, which go from {low} to {high}",
                                $"{lo} to {hi}, of which the probability {max below above:G2} lies to one side of them"
                            )
                        ))
                prior.Names
                prior.Marginals

        { pairs with
            Theta = theta
            Fields = Slices.pick inside pairs.Fields }

    /// The places of the fields that are finite, refusing more failures than the policy allows.
    let private good (pairs: Pairs) first (finite: bool[]) =
        match Array.tryFindIndex not finite with
        | Some i when pairs.Failures = StopAtFailure ->
            raise (
                NonFiniteException(
                    pairs.Fields.Name,
                    $"finite numbers in every simulation ({Simulator.skipping})",
                    $"NaN or infinity in simulation {pairs.Fields.Place(first + i)}"
                )
            )
        | _ -> [| 0 .. finite.Length - 1 |] |> Array.filter (fun i -> finite[i])

    /// Refuses more failures than the policy allows.
    let private allowed (pairs: Pairs) failed =
        let n = pairs.Theta.Length

        match pairs.Failures with
        | SkipFailures most when float failed > most * float n ->
            raise (
                SimulatorException(
                    pairs.Fields.Name,
                    $"at most a part of {most} that fail ({Simulator.skipping})",
                    $"{failed} of {n} NaN or infinite"
                )
            )
        | _ -> ()

    let private readPiece (pairs: Pairs) start length =
        pairs.Fields.Read [| start .. start + length - 1 |]

    /// The pairs whose fields are finite; refuses those that are not, or more of them than the policy allows.
    let finite (pairs: Pairs) : Pairs =
        let places =
            pairs.Fields
            |> Slices.pieces pairs.Theta.Length
            |> Array.collect (fun struct (start, length) ->
                Tensors.using (fun () -> readPiece pairs start length |> Tensors.finiteRows |> good pairs start)
                |> Array.map ((+) start))

        allowed pairs (pairs.Theta.Length - places.Length)

        { pairs with
            Theta = places |> Array.map (fun i -> pairs.Theta[i])
            Fields = Slices.pick places pairs.Fields }

    /// The summaries of all pairs, read a piece at a time.
    let compress (compress: Tensor -> float[][]) (pairs: Pairs) : Simulated =
        let n = pairs.Theta.Length

        let made =
            pairs.Fields
            |> Slices.pieces pairs.Theta.Length
            |> Array.collect (fun struct (start, length) ->
                pairs.Progress.Cancellation.ThrowIfCancellationRequested()
                Progress.report pairs.Progress "compressing simulations" start n [] ""

                Tensors.using (fun () ->
                    let fields = readPiece pairs start length
                    let good = good pairs start (Tensors.finiteRows fields)

                    if good.Length = 0 then
                        [||]
                    else
                        Tensors.rows good fields
                        |> compress
                        |> Array.map2 (fun i x -> start + i, x) good
                        |> Array.filter (fun (_, x) -> Array.forall System.Double.IsFinite x)))

        let failed = n - made.Length
        allowed pairs failed
        let rows = made |> Array.map fst

        { Theta = rows |> Array.map (fun i -> pairs.Theta[i])
          Rows = rows
          Summaries = made |> Array.map snd
          Made = n
          Failed = failed }

    let private inferred (made: Simulated) posterior warnings =
        { Posterior = posterior
          Simulations = made.Made
          Failed = made.Failed
          Warnings = warnings }

    let private by pairs (infer: Model -> Compression -> Simulated -> float[] list -> Inferred list) : Method =
        fun model compression fields ->
            let pairs = within model.Prior pairs
            let made = compress (Compression.summaries compression) pairs
            infer model compression made (fields |> List.map (Compression.ofField compression))

    /// Rejection ABC among the pairs, with the settings' acceptance and regression.
    let abc (settings: AbcSettings) pairs : Method =
        by pairs (fun model compression made observed ->
            [ for x in observed do
                  let found = Abc.ofSimulated settings compression.Information model.Prior x made
                  inferred made found.Posterior found.Warnings ])

    /// The amortised neural posterior of the pairs.
    let npe (settings: NpeSettings) pairs : Method =
        by pairs (fun model _ made observed ->
            let amortised = NeuralPosterior.learnFrom settings model.Prior made

            [ for x in observed do
                  let posterior = NeuralPosterior.posterior amortised x
                  inferred made posterior (NeuralPosterior.warnings amortised x posterior) ])

    /// Neural likelihood in one round, that of the pairs.
    let delfi (settings: DelfiSettings) pairs : Method =
        by pairs (fun model compression made observed ->
            let settings =
                { settings with
                    Estimator =
                        { settings.Estimator with
                            Edges = compression.Edges } }

            let targets = observed |> List.map Array.singleton |> Array.ofList
            let found = Delfi.ofSimulated settings model.Prior targets made
            (found.Likelihood :> System.IDisposable).Dispose()

            [ for posterior, warnings in Array.zip found.Posteriors found.Warnings -> inferred made posterior warnings ])
