namespace FieldImnn

open System
open System.Collections.Generic
open System.IO
open FieldImnn.Core
open TorchSharp

/// Slices of files: .npy and HDF5, of which only the rows that are asked for are read, and .npz, which are read whole.
module SliceFiles =
    let private refuse name expected received : 'a =
        raise (StoreException(name, expected, received))

    /// Files that are open: so many at a time, the one that was used longest ago goes first.
    type private Pool(mostOpen: int) =
        let opened = Dictionary<string, FileArray>()
        let used = LinkedList<string>()

        member _.Get(key: string, make: unit -> FileArray) =
            lock opened (fun () ->
                match opened.TryGetValue key with
                | true, found ->
                    used.Remove key |> ignore
                    used.AddLast key |> ignore
                    found
                | _ ->
                    if opened.Count >= mostOpen then
                        let oldest = used.First.Value
                        opened[oldest].Close()
                        opened.Remove oldest |> ignore
                        used.RemoveFirst()

                    let made = make ()
                    opened[key] <- made
                    used.AddLast key |> ignore
                    made)

    /// Axes of simulations by their letters in canonical order: simulation, parameter, channel, sides.
    let private canonical = "npcxyz"

    /// Where the axes of a file go: for each canonical axis its place in the file. Without a text, the order is canonical, and the simulations'
    /// axis is missing if there is one axis less than rows of this rank and it have.
    let private order (name: string) (rank: int) (lengths: int64[]) (axes: string option) : int[] * bool =
        match axes with
        | None when lengths.Length = rank + 1 -> Array.init lengths.Length id, true
        | None when lengths.Length = rank -> Array.init lengths.Length id, false
        | None ->
            raise (
                ShapeException(
                    name,
                    $"{rank + 1} axes, simulations first, or {rank} of one simulation",
                    $"shape {Guard.Describe lengths}"
                )
            )
        | Some text ->
            let several = text.Contains 'n'
            let letters = text |> Seq.sortBy (fun c -> canonical.IndexOf c) |> Array.ofSeq

            if
                text |> Seq.exists (fun c -> not (canonical.Contains c))
                || (Array.distinct letters).Length <> text.Length
                || letters.Length <> (if several then rank + 1 else rank)
            then
                raise (
                    SettingException(
                        $"axes of {name}",
                        $"{rank + 1} different letters in the order of the file's axes: n (simulations), p (parameters), c (channels), x, y, z (sides)",
                        $"'{text}'"
                    )
                )

            if lengths.Length <> text.Length then
                raise (ShapeException(name, $"{text.Length} axes, {text}", $"shape {Guard.Describe lengths}"))

            letters |> Array.map (fun c -> text.IndexOf c), several

    /// Places that follow one another, as (first, length).
    let private groups (places: int[]) =
        places
        |> Array.fold
            (fun found place ->
                match found with
                | struct (first, length) :: rest when first + length = place -> struct (first, length + 1) :: rest
                | _ -> struct (place, 1) :: found)
            []
        |> List.rev
        |> Array.ofList

    /// Runs that hold these places (rising) of axis `along`, or all of them if it is −1, and all of the other axes: in lines, or along the
    /// last axis.
    let private runs (file: FileArray) along (places: int[]) : seq<struct (int64[] * int64)> =
        let lengths = file.Lengths
        let groups = groups places
        let place = Array.zeroCreate<int64> lengths.Length

        // the axis from which on runs are whole: that of the simulations, or the last
        let ending =
            if file.Lines then max 0 along
            elif along = lengths.Length - 1 then along
            else lengths.Length - 1

        let inner = Array.fold (*) 1L lengths[ending + 1 ..]

        let rec walk axis =
            seq {
                if axis = ending && axis = along then
                    for struct (first, length) in groups do
                        place[axis] <- int64 first
                        struct (Array.copy place, int64 length * inner)
                elif axis = ending then
                    place[axis] <- 0L
                    struct (Array.copy place, lengths[axis] * inner)
                elif axis = along then
                    for i in places do
                        place[axis] <- int64 i
                        yield! walk (axis + 1)
                else
                    for i in 0L .. lengths[axis] - 1L do
                        place[axis] <- i
                        yield! walk (axis + 1)
            }

        if lengths.Length = 0 then
            Seq.singleton (struct ([||], 1L))
        else
            walk 0

    /// The tensor library's type of elements, if it has it.
    let private tensorType element =
        match element.Kind, element.Size with
        | Real, 2 -> Some torch.ScalarType.Float16
        | Real, 4 -> Some torch.ScalarType.Float32
        | Real, _ -> Some torch.ScalarType.Float64
        | Signed, 1 -> Some torch.ScalarType.Int8
        | Signed, 2 -> Some torch.ScalarType.Int16
        | Signed, 4 -> Some torch.ScalarType.Int32
        | Signed, _ -> Some torch.ScalarType.Int64
        | Unsigned, 1 -> Some torch.ScalarType.Byte
        | Unsigned, _ -> None

    /// Runs as a tensor of a shape, float32 where that holds them exactly.
    let private readAs (file: FileArray) (shape: int64[]) runs : Tensor =
        let element = file.Element

        let wanted =
            if Elements.isSingle element then
                torch.ScalarType.Float32
            else
                torch.ScalarType.Float64

        match tensorType element with
        | Some own ->
            // straight into the tensor's memory: arrays between would be garbage of the size of the set
            let read = torch.empty (shape, dtype = own)
            let into = read.bytes
            file.Read(runs, into)
            Elements.order element into
            read.``to`` wanted
        | None ->
            let bytes = Array.zeroCreate<byte>(int (Array.fold (*) 1L shape) * element.Size)

            file.Read(runs, Span bytes)
            torch.tensor(Elements.toDouble element bytes).``to``(wanted).reshape shape

    /// Reads places (rising) of a file's array, as a tensor of canonical axes.
    let private readRising (file: FileArray) (order: int[]) (several: bool) (places: int[]) : Tensor =
        let along = if several then order[0] else -1

        let shape =
            file.Lengths
            |> Array.mapi (fun axis n -> if axis = along then int64 places.Length else n)

        let tensor = readAs file shape (runs file along places)
        let canonical = tensor.permute(order |> Array.map int64).contiguous()
        if several then canonical else canonical.unsqueeze 0L

    /// Bytes that are read at a time: a span ends at 2 GiB.
    let private mostBytes = 1L <<< 30

    /// Rows that rise, in as many pieces as it takes.
    let private inPieces (bytesOfRow: int64) (rising: int[] -> Tensor) (places: int[]) : Tensor =
        let at = int (max 1L (mostBytes / max 1L bytesOfRow))

        if places.Length <= at then
            rising places
        else
            Tensors.scoped (fun () -> torch.cat (places |> Array.chunkBySize at |> Array.map rising, 0L))

    /// Rows of any places, by rows that rise.
    let private readAny (rising: int[] -> Tensor) (places: int[]) : Tensor =
        let distinct = places |> Array.distinct |> Array.sort

        if distinct = places then
            rising places
        else
            let at = distinct |> Array.mapi (fun i place -> place, i) |> dict
            Tensors.scoped (fun () -> rising distinct |> Tensors.rows (places |> Array.map (fun p -> at[p])))

    /// Slices of an array that can be opened: rows of a rank. One that is turned (Fortran's order) has its axes the other way round.
    let private ofFile (pool: Pool) key turned (make: unit -> FileArray) rank axes : Slices =
        let first = pool.Get(key, make)
        let name, lengths = first.Name, first.Lengths

        let order, several =
            order name rank (if turned then Array.rev lengths else lengths) axes

        let order =
            if turned then
                order |> Array.map (fun axis -> lengths.Length - 1 - axis)
            else
                order

        let sides = if several then order[1..] else order

        { Name = name
          Count = if several then int lengths[order[0]] else 1
          Shape = sides |> Array.map (fun axis -> lengths[axis])
          Place = id
          Read =
            let bytes =
                (sides |> Array.fold (fun n axis -> n * lengths[axis]) 1L)
                * int64 first.Element.Size

            (fun places -> Tensors.scoped (fun () -> readRising (pool.Get(key, make)) order several places))
            |> inPieces bytes
            |> readAny }

    let private isHdf5 (path: string) =
        match (Path.GetExtension path).ToLowerInvariant() with
        | ".h5"
        | ".hdf5"
        | ".hdf" -> true
        | _ -> false

    let private endsWith (ending: string) (path: string) =
        path.EndsWith(ending, StringComparison.OrdinalIgnoreCase)

    /// The names of the arrays in a .npz or HDF5 file.
    let names (path: string) : string list =
        if endsWith ".npz" path then
            Npz.names path
        else
            Hdf5.names path

    let private isArray path =
        endsWith ".npy" path || endsWith ".npz" path || isHdf5 path

    /// The name of the only array of a file, or that of the name wanted.
    let private choose path (wanted: string option) (there: string list) =
        match wanted, there with
        | Some name, _ when List.contains name there -> name
        | _, [ only ] -> only
        | _ ->
            let listed = String.concat ", " there

            refuse
                path
                (match wanted with
                 | Some name -> $"an array '{name}', or a single one"
                 | None -> "a single array, or the name of one")
                (if listed = "" then "none" else listed)

    let private ofOne (files: Pool) (archives: Pool) rank axes (name: string option) (path: string) : Slices =
        let path = Path.GetFullPath path

        if isHdf5 path then
            let dataset = names path |> choose path name
            ofFile files path false (fun () -> FileArrays.hdf5 path dataset) rank axes
        elif endsWith ".npz" path then
            let array = names path |> choose path name
            ofFile archives path false (fun () -> FileArrays.npz path array) rank axes
        else
            let turned =
                use stream = Files.opening path File.OpenRead
                (FileArrays.header path stream |> fst).FortranOrder

            ofFile files path turned (fun () -> FileArrays.npy path) rank axes

    /// Slices of a .npy, .npz or HDF5 file, or of all such files of a folder behind one another, in the order of their names: an array of rows with
    /// `rank` axes each. The file's array is the only one there is, or that of the name. The axes of the files are in the order of the letters,
    /// n (simulations), p (parameters), c (channels), x, y, z (sides), each once; without letters, simulations come first, and a file without
    /// their axis is one simulation. Numbers: float16 to 64 and integers; up to 32 (16) bits they are read in single precision.
    let read (rank: int) (axes: string option) (name: string option) (path: string) : Slices =
        // an archive is in memory as long as it is open
        let one = ofOne (Pool 64) (Pool 2) rank axes name

        if Directory.Exists path then
            let files =
                Directory.GetFiles path
                |> Array.filter isArray
                |> Array.sortWith (fun a b -> String.CompareOrdinal(a, b))

            if files.Length = 0 then
                refuse path "a folder with .npy, .npz or .h5 files" "none of these in it"

            files |> Array.map one |> Slices.concat path
        elif not (File.Exists path) then
            refuse path "a file or folder" "nothing of that name"
        elif not (isArray path) then
            refuse path "a .npy, .npz or .h5 file, or a folder of these" $"'{Path.GetExtension path}'"
        else
            one path
