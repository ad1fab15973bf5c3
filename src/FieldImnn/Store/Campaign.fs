namespace FieldImnn

open System
open System.Collections.Generic
open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// Simulations by which a campaign knows its simulator: at four θ, with a key each.
type internal CampaignProbes =
    {
        /// Name, parameters, shape and channels.
        Described: string list
        Theta: float[][]
        /// Their fields, one behind the other.
        Fields: float[]
    }

/// A file of records, and how far it has been read.
type internal CampaignFile =
    {
        Path: string
        mutable Read: int64
        /// Whether what is behind that is lost.
        mutable Lost: bool
    }

/// Where a record is.
[<Struct>]
type internal CampaignEntry = { File: string; Place: RecordPlace }

/// What came of a campaign in this process.
type CampaignUse =
    {
        /// Simulations that were there, and those that had to be made.
        Found: int
        Made: int
        /// Damaged files, and what of each cannot be used.
        Damaged: string list
        /// Folders of simulations that were made where fields round otherwise (another processor, say): the same to 30 roundings, and
        /// not to the bit.
        Rounded: string list
    }

/// How a process takes part in a campaign.
type CampaignSettings =
    {
        Folder: string
        /// Whether what this process makes is added; to a file of its own.
        Adds: bool
        /// What the names of its files begin with.
        Label: string
        /// Is told of files that are damaged, as they are found.
        Tell: string -> unit
    }

    /// Reads a campaign in a folder, and adds nothing.
    static member In folder =
        { Folder = folder
          Adds = false
          Label = "process"
          Tell = ignore }

/// A folder of simulations that any number of processes fill and read at the same time. See Campaign.
type Campaign =
    internal
        {
            Settings: CampaignSettings
            /// Who makes what is not there.
            Source: Simulator
            /// Where this process adds its simulations, if it does.
            Own: string option
            /// The folders that have been looked at: whether they are of this simulator, and to the bit.
            Seen: Dictionary<string, bool option>
            Files: Dictionary<string, CampaignFile>
            Records: Dictionary<RecordKey, CampaignEntry>
            Damaged: List<string>
            mutable Found: int
            mutable Made: int
        }

/// Campaigns: `Campaign.join { CampaignSettings.In folder with Adds = true } prior simulator |> Campaign.simulator`. A record is known by what the simulator produces, by the seed and index of its noise,
/// and by θ. Files only grow, a block of simulations at a time, each process having its own, and every record has a checksum: there is nothing to lock,
/// and who reads while others write, or after they were killed, finds what is whole.
module Campaign =
    let private probesName = "simulator.npz"
    let private aboutName = "about.txt"
    let private probes = 4

    let private keys =
        // far apart, and none that anybody else asks for
        Array.init probes (fun i ->
            NoiseKey(NoiseKey.SeedFor(1UL, "campaign"), (if i < 2 then uint64 i else 1UL <<< (16 * i))))

    let private described (simulator: Simulator) =
        [ simulator.Name
          String.concat ", " simulator.Parameters
          Guard.Describe simulator.FieldShape
          $"{simulator.Channels} channels" ]

    let private probe (simulator: Simulator) (theta: float[][]) : CampaignProbes =
        Tensors.using (fun () ->
            let struct (fields, _) = Simulator.attempt simulator (Tensors.ofRows theta) keys

            { Described = described simulator
              Theta = theta
              Fields = Tensors.toArray fields })

    // ------------------------------------------------------------------------------------------------------ folders of one simulator

    let private write (folder: string) (found: CampaignProbes) =
        Npz.write
            (Path.Combine(folder, probesName))
            { Arrays =
                Map
                    [ "theta", Npy.double [| probes; found.Theta[0].Length |] (Array.concat found.Theta)
                      "fields", Npy.double [| probes; found.Fields.Length / probes |] found.Fields ]
              Texts = Map [ aboutName, String.concat "\n" found.Described ] }

    /// What a folder says of its simulator; nothing where it is none of a campaign.
    let private tryRead (folder: string) : CampaignProbes option =
        let path = Path.Combine(folder, probesName)

        if not (File.Exists path) then
            None
        else
            let npz = Npz.read path
            let theta = Npz.array path "theta" npz

            Some
                { Described = (Npz.text path aboutName npz).Split '\n' |> List.ofArray
                  Theta = theta.Data |> Array.chunkBySize (max 1 (theta.Data.Length / probes))
                  Fields = (Npz.array path "fields" npz).Data }

    /// How far the fields of two processors may differ, as a part of their size: 30 roundings of single precision.
    let private roundings = 30.0 * float (Single.BitIncrement 1.0f - 1.0f)

    let private near (a: float[]) (b: float[]) =
        let size (v: float[]) = sqrt (Array.sumBy (fun x -> x * x) v)
        size (Array.map2 (-) a b) <= roundings * max (size a) (size b)

    /// Whether stored probes are those of the simulator: Some true to the bit, Some false up to rounding. The name may be another.
    let private compare (simulator: Simulator) (stored: CampaignProbes) : bool option =
        if List.tail stored.Described <> List.tail (described simulator) then
            None
        else
            try
                let own = probe simulator stored.Theta

                let rows (fields: float[]) =
                    fields |> Array.chunkBySize (max 1 (fields.Length / probes))

                if own.Fields.Length <> stored.Fields.Length then
                    None
                elif own.Fields.AsSpan().SequenceEqual(ReadOnlySpan stored.Fields) then // NaN is NaN
                    Some true
                elif Array.forall2 near (rows own.Fields) (rows stored.Fields) then
                    Some false
                else
                    None
            with :? FieldImnnException ->
                None // another simulator's θ

    let private foldersOf (folder: string) =
        if Directory.Exists folder then
            Directory.GetDirectories folder |> Array.sort
        else
            [||]

    /// What a folder holds simulations of: names of simulators. Nothing where there is no campaign.
    let contents (folder: string) : string list =
        [ for own in foldersOf folder do
              match tryRead own with
              | Some found -> found.Described.Head
              | None -> () ]

    // ---------------------------------------------------------------------------------------------------------------------- reading

    let private damaged campaign (path: string) what =
        let told = $"{path}: {what}"

        if not (campaign.Damaged.Contains told) then
            campaign.Damaged.Add told
            campaign.Settings.Tell $"damaged: {told}"

    let private readOn campaign (file: CampaignFile) =
        try
            use handle =
                File.OpenHandle(file.Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite)

            let length = RandomAccess.GetLength handle
            let mutable more = true

            while more && not file.Lost do
                match RecordFile.block handle length file.Read with
                | Unfinished -> more <- false
                | Block(records, next) ->
                    for struct (key, place) in records do
                        campaign.Records.TryAdd(key, { File = file.Path; Place = place }) |> ignore

                    file.Read <- next
                | Damaged(what, next) ->
                    damaged campaign file.Path what

                    match next with
                    | Some next -> file.Read <- next
                    | None -> file.Lost <- true
        with
        | :? IOException
        | :? UnauthorizedAccessException as fault ->
            damaged campaign file.Path $"it cannot be read ({fault.Message.TrimEnd '.'})"

    /// Looks for folders and records that have come since, those to the bit first.
    let private refresh campaign =
        for folder in foldersOf campaign.Settings.Folder do
            if not (campaign.Seen.ContainsKey folder) then
                match
                    (try
                        tryRead folder
                     with :? StoreException as fault ->
                         damaged campaign folder fault.Message
                         None)
                with
                | Some stored -> campaign.Seen[folder] <- compare campaign.Source stored
                | None -> ()

        let own =
            [ for seen in campaign.Seen do
                  match seen.Value with
                  | Some exact -> seen.Key, exact
                  | None -> () ]
            |> List.sortBy (fun (folder, exact) -> not exact, folder)

        for folder, _ in own do
            for path in Directory.GetFiles(folder, "*.records") |> Array.sort do
                match campaign.Files.TryGetValue path with
                | true, file -> readOn campaign file
                | _ ->
                    let file = { Path = path; Read = 0L; Lost = false }
                    campaign.Files[path] <- file
                    readOn campaign file

    let private lookUp campaign (kinds: RecordKind[]) (keys: NoiseKey[]) (theta: float[][]) =
        Array.init keys.Length (fun i ->
            let found =
                kinds
                |> Array.choose (fun kind ->
                    match campaign.Records.TryGetValue(RecordFile.key kind keys[i] theta[i]) with
                    | true, entry -> Some entry
                    | _ -> None)

            if found.Length = kinds.Length then Some found else None)

    /// The entries of records of some kinds by their keys and θ (n rows), where there are all of them.
    let private entries campaign kinds keys theta : CampaignEntry[] option[] =
        lock campaign.Records (fun () ->
            let found = lookUp campaign kinds keys theta

            if Array.contains None found then
                refresh campaign
                lookUp campaign kinds keys theta
            else
                found)

    /// Records of one precision (n, shape…), and which of them are as they were written.
    let private read campaign (shape: int64[]) single (entries: CampaignEntry[]) : Tensor * bool[] =
        let dtype =
            if single then
                torch.ScalarType.Float32
            else
                torch.ScalarType.Float64

        let target =
            torch.empty (Array.append [| int64 entries.Length |] shape, dtype = dtype)

        let good = Array.create entries.Length false

        for path, own in entries |> Array.indexed |> Array.groupBy (fun (_, entry) -> entry.File) do
            try
                use file =
                    File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite)

                for i, entry in own do
                    good[i] <- RecordFile.read file entry.Place target i
            with
            | :? IOException
            | :? UnauthorizedAccessException -> ()

            match own |> Array.filter (fun (i, _) -> not good[i]) |> Array.length with
            | 0 -> ()
            | lost -> damaged campaign path $"{lost} simulations that are not as they were written"

        target, good

    /// The records of a kind of some rows, in parts of one precision: rows and tensor. Those that are damaged are left out, and forgotten.
    let private readRows
        campaign
        kind
        shape
        (keys: NoiseKey[])
        (theta: float[][])
        (entryOf: int -> CampaignEntry)
        rows
        =
        rows
        |> Array.groupBy (fun i -> (entryOf i).Place.Single)
        |> Array.map (fun (single, own) ->
            let made, good = read campaign shape single (own |> Array.map entryOf)

            if Array.contains false good then
                own
                |> Array.iteri (fun at i ->
                    if not good[at] then
                        campaign.Records.Remove(RecordFile.key kind keys[i] theta[i]) |> ignore)

                let whole = [| 0 .. own.Length - 1 |] |> Array.filter (fun at -> good[at])
                whole |> Array.map (fun at -> own[at]), Tensors.rows whole made
            else
                own, made)

    // ---------------------------------------------------------------------------------------------------------------------- the seam

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
        let found = entries campaign kindsOf keys theta
        let there = all |> Array.filter (fun i -> found[i].IsSome)

        let parts =
            kinds
            |> Array.mapi (fun k (kind, shape) ->
                readRows campaign kind shape keys theta (fun i -> found[i].Value[k]) there)

        let whole = // of every kind
            parts
            |> Array.map (Array.collect fst >> Set.ofArray)
            |> Array.reduce Set.intersect

        let missing = all |> Array.filter (whole.Contains >> not)
        let made = if missing.Length = 0 then [||] else make missing
        campaign.Found <- campaign.Found + whole.Count
        campaign.Made <- campaign.Made + missing.Length

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

    let private rowsOf (theta: Tensor) n : float[][] =
        match Tensors.toRows theta with
        | [| one |] -> Array.create n one
        | rows -> rows

    let private field campaign (theta: Tensor) (asked: Tensor) : Tensor =
        let keys = ofNoise asked
        let source = campaign.Source

        if theta.requires_grad then
            source.Field theta (noiseOf campaign keys asked) // somebody's own derivative
        else
            let rows = rowsOf theta keys.Length

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

        let taken =
            take campaign kinds keys (rowsOf (theta.reshape (1L, -1L)) keys.Length) asked.device make

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
            let theta = Prior.sample (NoiseKey.IntSeedFor(1UL, "campaign")) 0L probes prior
            Door.batch simulator theta[..1] 1UL
            let found = probe simulator theta

            let fingerprint =
                Tensors.using (fun () -> Fingerprint.ofTensors found.Described [ Tensors.ofVector found.Fields ])

            let own =
                Path.Combine(folder, $"{Text.fileName simulator.Name}-{fingerprint[..11]}")

            write own found
            own

    /// Joins the campaign in a folder with a simulator: what is there of it is taken, and what this process makes is added where the settings say so. Looks
    /// at a handful of simulations, draws of the prior. A folder that cannot be written to is a StoreException.
    let join (settings: CampaignSettings) (prior: Prior) (simulator: Simulator) : Campaign =
        Door.names simulator prior
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
              Found = 0
              Made = 0 }

        refresh reader

        if not settings.Adds then
            reader
        else
            let own = ownFolder folder reader.Seen prior simulator
            let unique = Guid.NewGuid().ToString "N"
            reader.Seen[own] <- Some true

            { reader with
                Own = Some(Path.Combine(own, $"{Text.fileName settings.Label}-{unique[..7]}.records")) }

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
        let theta =
            if theta.Length = 1 then
                Array.create keys.Length theta[0]
            else
                theta

        let kinds =
            if derivatives then
                [| RecordKind.FieldsOfRule; RecordKind.Derivatives |]
            else
                [| RecordKind.Fields |]

        let found = entries campaign kinds keys theta
        [| 0 .. keys.Length - 1 |] |> Array.filter (fun i -> found[i].IsNone)
