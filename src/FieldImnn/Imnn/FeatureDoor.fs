namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TorchSharp

/// Features must be numbers: what is not is called by the features' name and by the field that has it.
module internal FeatureDoor =
    /// What features that fail are to be replaced by, for errors.
    let private finite =
        "finite numbers of every field: the logarithm of max(x, tiny), say, where x may be zero"

    /// Features side by side, each by itself.
    let rec private parts (description: NetworkDescription) : NetworkDescription list =
        if description.Kind = BesideNetwork.KindName then
            description.Parts |> Seq.collect parts |> List.ofSeq
        else
            [ description ]

    /// "peaks", "filterBank of logarithm".
    let rec private name (description: NetworkDescription) =
        Seq.map name description.Parts
        |> Seq.append [ description.Kind ]
        |> Seq.rev
        |> String.concat " "

    let private forward (network: SummaryNetwork) (device: torch.Device) (field: Tensor) : Tensor =
        use _ = torch.no_grad ()

        (network.Forward(Dual((field.unsqueeze 0L).``to``(torch.ScalarType.Float32, device), null)))
            .Primal.select(0L, 0L)

    /// Which of a trained network's features of one field (shape…) are not numbers, in words, if any.
    let private notNumbers (compressor: Compressor) (field: Tensor) : (string * string) option =
        use _ = torch.NewDisposeScope()

        let made = forward compressor.Network compressor.Device field |> Tensors.toArray

        let counted =
            [| for part in parts compressor.Network.Description do
                   use network = SummaryNetwork.Create(part, 0UL)

                   for i in 1 .. int network.Features do
                       name part, i, int network.Features |]

        Array.zip counted made
        |> Array.tryFind (snd >> Double.IsFinite >> not)
        |> Option.map (fun ((name, i, count), value) -> name, $"{value} in number {i} of {count}")

    /// Estimates (rows) of fields (n, shape…) by a compressor, or what else is made of them with the estimates; one that is NaN or infinite is an
    /// error that names the features.
    let checkedBy (make: Compressor -> Tensor -> float[][]) (compressor: Compressor) (fields: Tensor) : float[][] =
        let made = make compressor fields

        match made |> Array.tryFindIndex (Array.forall Double.IsFinite >> not) with
        | None -> made
        | Some i ->
            let name, came =
                notNumbers compressor (fields.select (0L, int64 i))
                |> Option.defaultValue (
                    name compressor.Network.Description,
                    "finite numbers, of which the estimate is not: the field is nothing like those of the training"
                )

            raise (NonFiniteException($"features {name}", finite, came))

    /// What is wrong with features of one field (shape…) before they are fitted to anything: what they refuse, and NaN or infinity of those
    /// that did not come with the library, which may need the fit to be numbers.
    let private fault (device: torch.Device) (part: NetworkDescription) (field: Tensor) : exn option =
        try
            use _ = torch.NewDisposeScope()
            use network = SummaryNetwork.Create(part, 0UL, device)
            let made = forward network device field |> Tensors.toArray

            match made |> Array.tryFindIndex (Double.IsFinite >> not) with
            | Some i when not (Features.owned (Features.ofDescription part)).IsEmpty ->
                Some(
                    NonFiniteException($"features {name part}", finite, $"{made[i]} in number {i + 1} of {made.Length}")
                )
            | _ -> None
        with
        | :? NonFiniteException
        | :? RangeException as fault -> Some fault

    /// An error of features with the field that they fail on.
    let private of' (subject: string) (fault: exn) : exn =
        SimulatorException(
            subject,
            "features of every field; other features, a field in which these can be read, or a narrower prior",
            $"\"{fault.Message}\"",
            fault
        )

    /// Features before they are trained: read from fields that a simulator made (at rows of θ, with keys), and from observed fields
    /// (n, shape…). Where failed simulations are left out, some may fail.
    let training
        (simulator: Simulator)
        device
        features
        (theta: float[][])
        (keys: NoiseKey[])
        (made: Tensor)
        (observed: Tensor)
        =
        let fault part (fields: Tensor) i =
            fault device part (fields.select (0L, int64 i))
            |> Option.map (fun said -> i, said)

        let faults part (fields: Tensor) =
            List.init (int fields.shape[0]) (fault part fields) |> List.choose id

        for part in
            parts (Features.describe simulator.FieldShape simulator.Channels simulator.Parameters.Length features) do
            for i, said in faults part observed do
                raise (of' $"features {name part} of observed field {i + 1}" said)

            match faults part made with
            | (i, said) :: _ as found when simulator.Failures = StopAtFailure || found.Length = theta.Length ->
                raise (
                    of'
                        $"features {name part} of the field of {simulator.Name} of {Simulator.simulation simulator theta keys i}"
                        said
                )
            | _ -> ()

    /// Estimates (rows) of fields (n, shape…).
    let estimates compressor fields =
        checkedBy Compressor.estimates compressor fields

    /// Estimates of observed fields (shape…), which are numbers.
    let observed (compressor: Compressor) (fields: Tensor list) =
        for i, field in List.indexed fields do
            try
                Tensors.using (fun () -> estimates compressor (field.unsqueeze 0L)) |> ignore
            with
            | :? NonFiniteException
            | :? RangeException as said -> raise (of' $"summaries of observed field {i + 1}" said)
