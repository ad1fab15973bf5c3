namespace FieldImnn

open System
open System.Collections.Generic
open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// Campaigns: `Campaign.join { CampaignSettings.In folder with Adds = true } prior simulator |> Campaign.simulator`. A record is known by what the
/// simulator produces, by the seed and index of its noise, and by θ. Files only grow, a block of simulations at a time, each process having its own,
/// and every record has a checksum: there is nothing to lock, and who reads while others write, or after they were killed, finds what is whole.
[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>] // the type stands in another file
module Campaign =
    /// Counts simulations that were there, and such as had to be made.
    let internal count campaign found made =
        lock campaign.Records (fun () ->
            campaign.Found <- campaign.Found + found
            campaign.Made <- campaign.Made + made)

    /// Rows of θ, one for all or one for each of n, as one for each.
    let private forEach n (rows: float[][]) =
        match rows with
        | [| one |] -> Array.create n one
        | rows -> rows

    /// Adds what was made, but for what is not finite: a failure may be the machine's, and is tried again by whoever asks.
    let private add campaign (kinds: RecordKind[]) (keys: NoiseKey[]) (theta: float[][]) (made: Tensor[]) =
        match campaign.Own with
        | None -> ()
        | Some path ->
            let finite = made |> Array.map Tensors.finiteRows |> Array.reduce (Array.map2 (&&))

            let good = [| 0 .. keys.Length - 1 |] |> Array.filter (fun i -> finite[i])
            let pick (all: 'v[]) = good |> Array.map (fun i -> all[i])

            if good.Length > 0 then
                Array.iter2
                    (fun kind rows -> RecordFile.append path kind (pick keys) (pick theta) (Tensors.rows good rows))
                    kinds
                    made

    /// Records of some kinds, each (n, shape…): from the campaign, or made by `make` for the rows that are not there.
    let private take
        campaign
        (kinds: (RecordKind * int64[])[])
        (keys: NoiseKey[])
        (theta: float[][])
        (device: torch.Device)
        (make: int[] -> Tensor[])
        : Tensor[] =
        let all = [| 0 .. keys.Length - 1 |]
        let pick (rows: int[]) (values: 'v[]) = rows |> Array.map (fun i -> values[i])
        let kindsOf = Array.map fst kinds
        let found = CampaignRecords.entries campaign kindsOf keys theta
        let there = all |> Array.filter (fun i -> found[i].IsSome)

        let parts =
            kinds
            |> Array.mapi (fun k (kind, shape) ->
                CampaignRecords.readRows campaign kind shape keys theta (fun i -> found[i].Value[k]) there)

        let whole = // of every kind
            parts
            |> Array.map (Array.collect fst >> Set.ofArray)
            |> Array.reduce Set.intersect

        let missing = all |> Array.filter (whole.Contains >> not)
        let made = if missing.Length = 0 then [||] else make missing
        count campaign whole.Count missing.Length

        if missing.Length > 0 then
            add campaign kindsOf (pick missing keys) (pick missing theta) made

        if whole.Count = 0 then
            made
        else
            parts
            |> Array.mapi (fun k found ->
                [| for rows, tensor in found do
                       let at =
                           [| 0 .. rows.Length - 1 |] |> Array.filter (fun i -> whole.Contains rows[i])

                       if at.Length = rows.Length then
                           rows, tensor.``to`` device
                       elif at.Length > 0 then
                           pick at rows, (Tensors.rows at tensor).``to`` device
                   if missing.Length > 0 then
                       missing, made[k] |]
                |> Tensors.placed)

    /// Keys as a tensor (n, 8), float32, of their parts of 16 bits: what passes for noise, since with a campaign it is drawn only where it is needed.
    let private toNoise (keys: NoiseKey[]) : Tensor =
        let parts (v: uint64) =
            Array.init 4 (fun k -> float32 ((v >>> (16 * k)) &&& 0xFFFFUL))

        torch
            .tensor(
                keys
                |> Array.collect (fun key -> Array.append (parts key.Seed) (parts key.Index))
            )
            .reshape(-1L, 8L)

    let private ofNoise (noise: Tensor) : NoiseKey[] =
        Tensors.toRows noise
        |> Array.map (fun row ->
            let whole first =
                Seq.init 4 (fun k -> uint64 row[first + k] <<< (16 * k)) |> Seq.sum

            NoiseKey(whole 0, whole 4))

    /// The noise of the source, in double precision where the keys are: this is how differences ask for it.
    let private noiseOf campaign (keys: NoiseKey[]) (asked: Tensor) : Tensor =
        let noise = (campaign.Source.DrawNoise keys).``to`` asked.device

        if asked.dtype = torch.ScalarType.Float64 && noise.dtype = torch.ScalarType.Float32 then
            noise.``to`` torch.ScalarType.Float64
        else
            noise

    let private field campaign (theta: Tensor) (asked: Tensor) : Tensor =
        let keys = ofNoise asked
        let source = campaign.Source

        if theta.requires_grad then
            source.Field theta (noiseOf campaign keys asked) // somebody's own derivative
        else
            let rows = Tensors.toRows theta |> forEach keys.Length

            let kind =
                if asked.dtype = torch.ScalarType.Float64 then
                    RecordKind.PreciseFields
                else
                    RecordKind.Fields

            let make (missing: int[]) =
                Tensors.scoped (fun () ->
                    let theta =
                        if theta.shape[0] = 1L then
                            theta
                        else
                            Tensors.rows missing theta

                    source.Field theta (noiseOf campaign (missing |> Array.map (fun i -> keys[i])) asked))
                |> Array.singleton

            (take campaign [| kind, source.FieldShape |] keys rows asked.device make)[0]

    let private tangents campaign (theta: Tensor) (asked: Tensor) : struct (Tensor * Tensor) =
        let keys = ofNoise asked
        let source = campaign.Source

        let kinds =
            [| RecordKind.FieldsOfRule, source.FieldShape
               RecordKind.Derivatives, Array.append [| int64 source.Parameters.Length |] source.FieldShape |]

        let make (missing: int[]) =
            let struct (d, tangent) =
                Tensors.scoped2 (fun () ->
                    noiseOf campaign (missing |> Array.map (fun i -> keys[i])) asked
                    |> Simulator.automatic source theta)

            [| d; tangent |]

        let rows = Tensors.toRows (theta.reshape (1L, -1L)) |> forEach keys.Length
        let taken = take campaign kinds keys rows asked.device make

        struct (taken[0], taken[1])

    /// The simulator that takes its simulations from the campaign where they are there: the same fields and derivatives, to the bit. Noise and masks
    /// (Observation) may be put on it.
    let simulator (campaign: Campaign) : Simulator =
        { campaign.Source with
            DrawNoise = toNoise
            Field = field campaign
            Tangents = Some(tangents campaign)
            Reason =
                fun theta asked ->
                    let noise = noiseOf campaign (ofNoise asked) (asked.``to`` torch.ScalarType.Float32)
                    campaign.Source.Reason theta noise }

    // ---------------------------------------------------------------------------------------------------------------------- joining

    /// A folder of the simulator to the bit, made now if there is none: after a look at whether it makes the same field twice.
    let private ownFolder (folder: string) seen (prior: Prior) (simulator: Simulator) : string =
        match
            seen
            |> Seq.tryPick (fun (own: KeyValuePair<string, bool option>) ->
                if own.Value = Some true then Some own.Key else None)
        with
        | Some own -> own
        | None ->
            let theta =
                Prior.sample (NoiseKey.IntSeedFor(1UL, "campaign")) 0L CampaignRecords.probes prior

            Door.batch simulator theta[..1] 1UL
            let found = CampaignRecords.probe simulator theta

            let fingerprint =
                Tensors.using (fun () -> Fingerprint.ofTensors found.Described [ Tensors.ofVector found.Fields ])

            let own =
                Path.Combine(folder, $"{Text.fileName simulator.Name}-{fingerprint[..11]}")

            CampaignRecords.write own found
            own

    /// Joins the campaign in a folder with a simulator: what is there of it is taken, and what this process makes is added where the settings say so. Looks
    /// at a handful of simulations, draws of the prior. A folder that cannot be written to is a StoreException.
    let join (settings: CampaignSettings) (prior: Prior) (simulator: Simulator) : Campaign =
        Door.names simulator prior

        if String.IsNullOrWhiteSpace settings.Folder then
            raise (SettingException("folder of a campaign", "the name of a folder", "an empty one"))

        let folder = Path.GetFullPath settings.Folder

        if settings.Adds then
            Files.ensureWritableFolder folder

        let reader =
            { Settings = { settings with Folder = folder }
              Source = simulator
              Own = None
              Seen = Dictionary()
              Files = Dictionary()
              Records = Dictionary()
              Damaged = List()
              Idle = 0
              Waits = 0
              Found = 0
              Made = 0 }

        CampaignRecords.refresh reader

        if not settings.Adds then
            reader
        else
            let own = ownFolder folder reader.Seen prior simulator
            let unique = Guid.NewGuid().ToString "N"
            reader.Seen[own] <- Some true

            { reader with
                Own = Some(Path.Combine(own, $"{Text.fileName settings.Label}-{unique[..7]}.records")) }

    /// What a folder holds simulations of: names of simulators. Nothing where there is no campaign.
    let contents (folder: string) : string list = CampaignRecords.contents folder

    /// Whether there is nothing of the simulator in the campaign.
    let isEmpty campaign = campaign.Records.Count = 0

    /// What came of it so far.
    let used (campaign: Campaign) : CampaignUse =
        lock campaign.Records (fun () ->
            { Found = campaign.Found
              Made = campaign.Made
              Damaged = List.ofSeq campaign.Damaged
              Rounded =
                [ for seen in campaign.Seen do
                      if seen.Value = Some false then
                          seen.Key ] })

    /// Which of the simulations at rows of θ (1 or n) are not there, their fields, or fields with derivatives by the simulator's own or automatic rule.
    let internal missing (campaign: Campaign) derivatives (keys: NoiseKey[]) (theta: float[][]) : int[] =
        let kinds =
            if derivatives then
                [| RecordKind.FieldsOfRule; RecordKind.Derivatives |]
            else
                [| RecordKind.Fields |]

        let found = CampaignRecords.entries campaign kinds keys (forEach keys.Length theta)
        [| 0 .. keys.Length - 1 |] |> Array.filter (fun i -> found[i].IsNone)
