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
            /// Looks for news in a row that found none, and simulations that are not there for which none will be made.
            mutable Idle: int
            mutable Waits: int
            mutable Found: int
            mutable Made: int
        }

/// Reading a campaign's folder: what of it is of a simulator, and where its records are.
module internal CampaignRecords =
    let private probesName = "simulator.npz"
    let private aboutName = "about.txt"
    let probes = 4

    let private keys =
        // far apart, and none that anybody else asks for
        Array.init probes (fun i ->
            NoiseKey(NoiseKey.SeedFor(1UL, "campaign"), (if i < 2 then uint64 i else 1UL <<< (16 * i))))

    let private described (simulator: Simulator) =
        [ simulator.Name
          String.concat ", " simulator.Parameters
          Guard.Describe simulator.FieldShape
          $"{simulator.Channels} channels" ]

    let probe (simulator: Simulator) (theta: float[][]) : CampaignProbes =
        Tensors.using (fun () ->
            let struct (fields, _) = Simulator.attempt simulator (Tensors.ofRows theta) keys

            { Described = described simulator
              Theta = theta
              Fields = Tensors.toArray fields })

    // ------------------------------------------------------------------------------------------------------ folders of one simulator

    let write (folder: string) (found: CampaignProbes) =
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

    /// What a folder holds simulations of: names of simulators. Nothing where there is no campaign; what cannot be read is not among them.
    let contents (folder: string) : string list =
        [ for own in foldersOf folder do
              let found =
                  try
                      tryRead own
                  with :? StoreException ->
                      None // newFolders tells of it

              match found with
              | Some found -> found.Described.Head
              | None -> () ]

    // ---------------------------------------------------------------------------------------------------------------------- reading

    let damaged campaign (path: string) what =
        let told = $"{path}: {what}"

        if not (campaign.Damaged.Contains told) then
            campaign.Damaged.Add told
            campaign.Settings.Tell $"damaged: {told}"

    let private unreadable campaign path (fault: exn) =
        damaged campaign path $"it cannot be read ({fault.Message.TrimEnd '.'})"

    /// Reads on in a file, where it has grown.
    let private readOn campaign (path: string) =
        let file =
            match campaign.Files.TryGetValue path with
            | true, file -> file
            | _ ->
                let file = { Path = path; Read = 0L; Lost = false }
                campaign.Files[path] <- file
                file

        if not file.Lost && FileInfo(path).Length > file.Read then
            use handle =
                File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite)

            let length = RandomAccess.GetLength handle
            let mutable more = true

            while more && not file.Lost do
                match RecordFile.block handle length file.Read with
                | Unfinished -> more <- false
                | Block(records, next) ->
                    for struct (key, place) in records do
                        campaign.Records.TryAdd(key, { File = path; Place = place }) |> ignore

                    file.Read <- next
                | Damaged(what, next) ->
                    damaged campaign path what

                    match next with
                    | Some next -> file.Read <- next
                    | None -> file.Lost <- true

    /// Looks at folders that have come since.
    let private newFolders campaign =
        for folder in foldersOf campaign.Settings.Folder do
            if not (campaign.Seen.ContainsKey folder) then
                try
                    tryRead folder
                    |> Option.iter (fun stored -> campaign.Seen[folder] <- compare campaign.Source stored)
                with :? StoreException as fault ->
                    damaged campaign folder fault.Message

    /// Looks for folders and records that have come since, those to the bit first.
    let refresh campaign =
        newFolders campaign

        let own =
            [ for seen in campaign.Seen do
                  match seen.Value with
                  | Some exact -> seen.Key, exact
                  | None -> () ]
            |> List.sortBy (fun (folder, exact) -> not exact, folder)

        for folder, _ in own do
            try
                for path in Directory.GetFiles(folder, "*.records") |> Array.sort do
                    readOn campaign path
            with
            | :? IOException
            | :? UnauthorizedAccessException as fault -> unreadable campaign folder fault

    /// Looks that may find nothing before they become rarer, and how rare they become: listing the folder takes time where its disk is far away.
    let private patience, private rarest = 8, 63

    /// As refresh, but more and more rarely where nothing comes; what this process has written is read each time.
    let private refreshNowAndThen campaign =
        campaign.Own |> Option.filter File.Exists |> Option.iter (readOn campaign)

        if campaign.Waits > 0 then
            campaign.Waits <- campaign.Waits - 1
        else
            let before = campaign.Records.Count
            refresh campaign

            campaign.Idle <-
                if campaign.Records.Count > before then
                    0
                else
                    campaign.Idle + 1

            campaign.Waits <- min rarest (max 0 (campaign.Idle - patience))

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
    let entries campaign kinds keys theta : CampaignEntry[] option[] =
        lock campaign.Records (fun () ->
            let found = lookUp campaign kinds keys theta

            if Array.contains None found then
                refreshNowAndThen campaign
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
    let readRows campaign kind shape (keys: NoiseKey[]) (theta: float[][]) (entryOf: int -> CampaignEntry) rows =
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
