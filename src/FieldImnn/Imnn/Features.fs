namespace FieldImnn

open System
open System.Runtime.InteropServices
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TorchSharp

/// What of a field is looked at, as a value: a kind, its settings, and the features that it is made of. Equal where all of it is.
type Features =
    {
        /// A kind that SummaryNetwork knows: one of the house or of one's own.
        Kind: string
        /// Numbers by name.
        Settings: Map<string, float>
        Parts: Features list
    }

/// Making features. They compose: `Features.beside [ Features.bandPower 16; Features.ofLogarithm (Features.filterBank 8 7 3) ]`.
module Features =
    let private kind name (settings: (string * float) list) =
        { Kind = name
          Settings = Map.ofList settings
          Parts = [] }

    /// Statistics for fields that nobody described, of any one-point distribution, masked or not, periodic or not: nothing to train, since they
    /// are fitted to simulations at the fiducial. See LocalStatisticsNetwork.
    let localStatistics =
        kind
            LocalStatisticsNetwork.KindName
            [ "means", 4.0
              "bins", 41.0
              "bands", 50.0
              "orders", 5.0
              "crossBands", 1.0
              "scales", 2.0
              "filtered", 2.0 ]

    /// Log band energies of learned filters, of `size` pixels a side, at each level of a pyramid of 2-point averages: at `levels` of them,
    /// or as many as the sides of the field can be halved for.
    let filterBank (filters: int) (size: int) (levels: int) =
        kind FilterBankNetwork.KindName [ "filters", float filters; "size", float size; "levels", float levels ]

    /// The measured power, of several channels also the cross power, in bands of |k|: nothing to train.
    let bandPower (bands: int) =
        kind BandPowerNetwork.KindName [ "bands", float bands ]

    /// The published network: inception blocks with the given number of filters a branch, straight to as many summaries as parameters.
    let inception (filters: int) =
        kind InceptionNetwork.KindName [ "filters", float filters ]

    /// Products of transforms of the logarithm of (field + offset), soft below `floor`, filtered along each axis by matrices of a reach in
    /// pixels: for square fields that are not periodic and end at −offset.
    let axisFilters offset floor (transforms: int) (hidden: int) (matrices: int) (reach: int) =
        kind
            AxisFilterNetwork.KindName
            [ "offset", offset
              "floor", floor
              "transforms", float transforms
              "hidden", float hidden
              "matrices", float matrices
              "reach", float reach ]

    /// The two-point correlation function in bins of one pixel up to a lag, of fields that are not periodic: nothing to train.
    let correlation (lags: int) =
        kind CorrelationFunctionNetwork.KindName [ "lags", float lags ]

    /// All of these side by side.
    let beside (parts: Features list) =
        if parts.IsEmpty then
            raise (SettingException("features beside each other", "at least one", "none"))

        { kind BesideNetwork.KindName [] with
            Parts = parts }

    /// Features of a pointwise function of the field: "logarithm" is ln(1 + δ), "asinh", "square", or one registered by ofOwn. They see the
    /// function less its mean over the pixels, and the mean stands beside them.
    let ofTransform name features =
        { kind (TransformNetwork.KindOf name) [] with
            Parts = [ features ] }

    /// Features of ln(1 + δ): for fields that are log-normal, or nearly so.
    let ofLogarithm features =
        ofTransform TransformNetwork.Logarithm features

    /// Features of a pointwise function of one's own, tensor to tensor of the same shape, registered under this name.
    let ofOwn name (f: Tensor -> Tensor) features =
        TransformNetwork.Register(name, Func<_, _> f)
        ofTransform name features

    /// Features of one's own: `count` numbers of each field, f: fields (n, sides…), or (n, channels, sides…), → (n, count), of operations
    /// that torch can differentiate twice. Registers f under the name; under the same name again, it replaces what was there, for networks
    /// made from then on (compressors that exist keep theirs, and files and caches know one function from another).
    let own name (count: int) (f: Tensor -> Tensor) =
        OwnFeatures.Register(name, int64 count, Func<_, _> f)
        kind name [ OwnFeatures.CountSetting, float count ]

    /// Features of a class of one's own with weights, a subclass of OwnNetwork (or SummaryNetwork) made from a description and the generator
    /// of its weights. Registers it under the name, as `own` does.
    let ownNetwork name (factory: NetworkDescription -> torch.Generator -> SummaryNetwork) =
        SummaryNetwork.Register(name, Func<_, _, _> factory)
        kind name []

    let rec private kinds features =
        features.Kind :: (features.Parts |> List.collect kinds)

    /// Kinds in it that did not come with the library.
    let internal owned features =
        kinds features |> List.distinct |> List.filter (SummaryNetwork.IsBuiltIn >> not)

    /// Kinds in it that nobody has registered, with the line that would.
    let internal missing features =
        let rec all f = f :: List.collect all f.Parts

        all features
        |> List.filter (fun f -> not (SummaryNetwork.IsRegistered f.Kind))
        |> List.distinctBy _.Kind
        |> List.map (fun f ->
            let transform = TransformNetwork.KindOf ""

            match f.Settings.TryFind OwnFeatures.CountSetting with
            | Some count -> f.Kind, $"Features.own \"{f.Kind}\" {int count} f"
            | None when f.Kind.StartsWith(transform, StringComparison.Ordinal) ->
                f.Kind, $"Features.ofOwn \"{f.Kind.Substring transform.Length}\" f …"
            | None -> f.Kind, $"Features.ownNetwork \"{f.Kind}\" factory")

    /// The description of a network for fields of a shape, with this many channels, and for p parameters.
    let rec describe (fieldShape: int64[]) (channels: int) (p: int) features : NetworkDescription =
        let sides = if channels > 1 then fieldShape[1..] else fieldShape

        let settings =
            match features.Kind with
            | InceptionNetwork.KindName when not (features.Settings.ContainsKey "summaries") ->
                features.Settings |> Map.add "summaries" (float p)
            | FilterBankNetwork.KindName ->
                features.Settings
                |> Map.change
                    "levels"
                    (Option.map (fun levels ->
                        if levels > 1.0 && levels < 1e6 then
                            float (FilterBankNetwork.LevelsFor(sides, int64 levels))
                        else
                            levels))
            | _ -> features.Settings

        NetworkDescription(
            features.Kind,
            fieldShape,
            settings,
            int64 channels,
            features.Parts |> List.map (describe fieldShape channels p) |> Array.ofList
        )

    /// The features of a description.
    let rec ofDescription (description: NetworkDescription) =
        { Kind = description.Kind
          Settings = Map.ofSeq (description.Settings |> Seq.map (fun pair -> pair.Key, pair.Value))
          Parts = description.Parts |> Seq.map ofDescription |> List.ofSeq }

    /// What they cannot see of a field, in a line.
    let cannotSee features =
        SummaryNetwork.CannotSee(describe [||] 1 1 features)

    /// What a network makes of fixed random fields of several sizes, to know one function from another; NaN where it refuses them.
    let internal probe (device: torch.Device) (network: SummaryNetwork) : float[] =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let shape = Seq.toArray network.Description.FieldShape

        let fields =
            Noise.Normal(NoiseKey.Range(NoiseKey.SeedFor(1UL, "probe"), 0UL, 2), shape, 0u, device)

        [| for size in [ 0.1; 1.0; 10.0 ] do
               try
                   yield! Tensors.toArray (network.Forward(Dual(fields * size.ToScalar()))).Primal
               with
               | :? FieldImnnException
               | :? ExternalException -> yield! Array.create (2 * int network.Features) nan |]
