namespace FieldImnn

open System
open System.Collections.Generic
open System.IO
open FieldImnn.Core
open PureHDF
open PureHDF.Selections
open PureHDF.VOL.Native

/// A file that is read, and tells where its last read was.
[<Sealed>]
type private Followed(path: string, buffer: int) =
    inherit Stream()

    let file =
        new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, buffer)

    let mutable last = -1L

    /// Where the last read began.
    member _.Last = last
    override _.CanRead = true
    override _.CanSeek = true
    override _.CanWrite = false
    override _.Length = file.Length

    override _.Position
        with get () = file.Position
        and set place = file.Position <- place

    override _.Seek(offset, origin) = file.Seek(offset, origin)

    override _.Read(into: Span<byte>) =
        last <- file.Position
        file.Read into

    override _.Read(into: byte[], offset: int, count: int) =
        last <- file.Position
        file.Read(into, offset, count)

    override _.Flush() = ()
    override _.SetLength _ = raise (NotSupportedException())
    override _.Write(_: byte[], _: int, _: int) = raise (NotSupportedException())

    override _.Dispose(disposing) =
        if disposing then
            file.Dispose()

/// A dataset of an HDF5 file that is open, read in parts.
[<Sealed>]
type internal Hdf5Dataset(path: string, name: string) =
    /// What the reader asks of the file at a time: it reads a row of the last axis after the other.
    static let buffer = 1 <<< 18

    /// Chunks that are kept once they are read (and inflated): the reader's own cache is of 1 MiB, and a chunk that does not fit is read
    /// again for every part of it.
    static let mostChunks, mostChunkBytes = 20_000, 128UL <<< 20

    let fail (fault: exn) : 'a =
        raise (
            StoreException($"{path}, dataset '{name}'", "a dataset that can be read", fault.Message.TrimEnd '.', fault)
        )

    let guarded (work: unit -> 'a) : 'a =
        try
            work ()
        with
        | :? FieldImnnException
        | :? OutOfMemoryException -> reraise ()
        | fault -> fail fault // a damaged file makes its reader fail in many ways

    let stream =
        if not (File.Exists path) then
            raise (StoreException(path, "a file", "nothing of that name"))

        new Followed(path, buffer)

    let file =
        try
            H5File.Open(stream, false)
        with fault ->
            raise (StoreException(path, "an HDF5 file", fault.Message.TrimEnd '.', fault))

    let dataset =
        if not (guarded (fun () -> file.LinkExists name)) then
            (file :> IDisposable).Dispose()
            raise (StoreException(path, $"a dataset '{name}'", "none"))

        guarded (fun () -> file.Dataset name :?> NativeDataset)

    let access =
        H5DatasetAccess(ChunkCache = SimpleReadingChunkCache(mostChunks, mostChunkBytes))

    let kind =
        guarded (fun () ->
            match dataset.Type.Class with
            | H5DataTypeClass.FloatingPoint -> Real
            | H5DataTypeClass.FixedPoint when dataset.Type.FixedPoint.IsSigned -> Signed
            | H5DataTypeClass.FixedPoint -> Unsigned
            | other ->
                raise (StoreException($"{path}, dataset '{name}'", "floating point numbers or integers", string other)))

    let shape = guarded (fun () -> dataset.Space.Dimensions |> Array.map int64)

    /// The reader does not turn bytes round, and says so when it is asked for numbers.
    let bigEndian =
        let read () =
            let first =
                HyperslabSelection(shape.Length, Array.create shape.Length 0UL, Array.create shape.Length 1UL)

            match kind, dataset.Type.Size with
            | Real, 4 -> dataset.Read<float32[]>(fileSelection = first) |> ignore
            | Real, 8 -> dataset.Read<float[]>(fileSelection = first) |> ignore
            | _, 2 -> dataset.Read<int16[]>(fileSelection = first) |> ignore
            | _, 4 -> dataset.Read<int[]>(fileSelection = first) |> ignore
            | _, 8 -> dataset.Read<int64[]>(fileSelection = first) |> ignore
            | _ -> ()

        guarded (fun () ->
            try
                if shape.Length > 0 && Array.forall ((<>) 0L) shape then
                    read ()

                false
            with fault when fault.ToString().Contains("byte order", StringComparison.OrdinalIgnoreCase) ->
                true)

    let element =
        { Kind = kind
          Size = dataset.Type.Size
          BigEndian = bigEndian }

    do
        if not (Elements.isServed element) then
            raise (
                StoreException(
                    $"{path}, dataset '{name}'",
                    "floating point numbers of 2 to 8 bytes or integers of 1 to 8",
                    $"{dataset.Type.Class} of {dataset.Type.Size} bytes"
                )
            )

    /// Where the reader reads the byte of an element of a dataset that lies in a line.
    let placeOf (element: uint64) =
        let mutable rest = element

        let place =
            Array.foldBack
                (fun n place ->
                    let i = rest % uint64 n
                    rest <- rest / uint64 n
                    i :: place)
                shape
                []
            |> Array.ofList

        let one = Array.zeroCreate<byte> dataset.Type.Size
        dataset.Read<byte>(Span one, HyperslabSelection(shape.Length, place, Array.create shape.Length 1UL))
        stream.Last

    /// Lengths of the axes.
    member _.Shape = shape

    /// Where the elements begin, if they lie in the file in a line: the reader takes them a row of the last axis at a time, and anyone else
    /// does so faster.
    member _.Start: int64 option =
        guarded (fun () ->
            let count = Array.fold (*) 1L shape

            if
                dataset.Layout.Class <> H5DataLayoutClass.Contiguous
                || count < 2L
                || shape.Length = 0
            then
                None
            else
                let first, last = placeOf 0UL, placeOf (uint64 (count - 1L))

                if first > 0L && last - first = (count - 1L) * int64 dataset.Type.Size then
                    Some first
                else
                    None)

    /// What the elements are.
    member _.Element = element

    /// Reads runs along the last axis, (place of the first, number of elements), one behind the other. All of them in one call: each costs a walk
    /// through the index of chunks.
    member _.Read(runs: seq<struct (int64[] * int64)>, into: Span<byte>) =
        let steps =
            runs
            |> Seq.map (fun struct (place, length) -> Step(Array.map uint64 place, uint64 length))

        if into.Length > 0 then
            let count = uint64 (into.Length / element.Size)

            try
                dataset.Read<byte>(access, into, DelegateSelection(count, (fun _ -> steps)))
            with
            | :? FieldImnnException
            | :? OutOfMemoryException -> reraise ()
            | fault -> fail fault

    interface IDisposable with
        member _.Dispose() = (file :> IDisposable).Dispose()

/// Whole HDF5 files in and out.
module Hdf5 =
    /// The index of every row of the last axis, in C order.
    let private rows (shape: int64[]) =
        let outer = Array.truncate (shape.Length - 1) shape
        let count = Array.fold (*) 1L outer

        seq {
            for i in 0L .. count - 1L do
                let place = Array.zeroCreate shape.Length
                let mutable rest = i

                for axis in outer.Length - 1 .. -1 .. 0 do
                    place[axis] <- rest % outer[axis]
                    rest <- rest / outer[axis]

                struct (place, Array.last shape)
        }

    /// A dataset, by its path in the file ("fields", "set/fields"): float16, 32 and 64, and integers.
    let read (path: string) (name: string) : NpyArray =
        use dataset = new Hdf5Dataset(path, name)
        let shape = dataset.Shape |> Array.map int
        let count = Array.fold (*) 1L dataset.Shape

        if count > int64 (Array.MaxLength / 8) then
            raise (StoreException($"{path}, dataset '{name}'", "less than 2 GB to read at once", $"{count} elements"))

        let bytes = Array.zeroCreate<byte>(int count * dataset.Element.Size)
        dataset.Read(rows dataset.Shape, Span bytes)

        { Shape = shape
          Data = Elements.toDouble dataset.Element bytes
          SinglePrecision = Elements.isSingle dataset.Element }

    let private opened (path: string) (work: NativeFile -> 'a) : 'a =
        if not (File.Exists path) then
            raise (StoreException(path, "a file", "nothing of that name"))

        try
            use file = H5File.OpenRead path
            work file
        with
        | :? FieldImnnException -> reraise ()
        | fault -> raise (StoreException(path, "an HDF5 file", fault.Message.TrimEnd '.', fault))

    /// The paths of all datasets of a file.
    let names (path: string) : string list =
        let rec within (prefix: string) (group: IH5Group) =
            [ for child in group.Children() do
                  match child with
                  | :? IH5Dataset -> prefix + child.Name
                  | :? IH5Group as inner -> yield! within $"{prefix}{child.Name}/" inner
                  | _ -> () ]

        opened path (within "")

    let private attribute<'a> (path: string) (place: string) (name: string) : 'a option =
        opened path (fun file ->
            let at: IH5Object = if place = "" then file else file.Get place

            if at.AttributeExists name then
                Some(at.Attribute(name).Read<'a>())
            else
                None)

    /// The texts of an attribute of the file, or of one of its groups or datasets ("" for the file), if it is there.
    let texts (path: string) (place: string) (name: string) : string[] option = attribute path place name

    /// The bytes of an attribute, if it is there.
    let internal bytes (path: string) (place: string) (name: string) : byte[] option = attribute path place name

    /// The numbers of an attribute, if it is there.
    let internal numbers (path: string) (place: string) (name: string) : float[] option = attribute path place name

    /// The whole number of an attribute, if it is there.
    let internal number (path: string) (place: string) (name: string) : int option = attribute path place name

    /// A dataset to write.
    let internal dataset (array: NpyArray) : H5Dataset =
        let shape = array.Shape |> Array.map uint64

        if array.SinglePrecision then
            H5Dataset(Array.map float32 array.Data, fileDims = shape)
        else
            H5Dataset(array.Data, fileDims = shape)

    /// Writes a file as its parts say, complete or not at all.
    let internal writeParts (path: string) (options: H5WriteOptions) (fill: H5File -> unit) =
        let file = H5File()
        fill file
        Files.makeAtomically path (fun temporary -> file.Write(temporary, options))

    let private group (file: H5Group) (names: string[]) =
        names
        |> Array.fold
            (fun (parent: H5Group) name ->
                match parent.TryGetValue name with
                | true, (:? H5Group as found) -> found
                | _ ->
                    let made = H5Group()
                    parent[name] <- made
                    made)
            file

    /// Writes arrays as datasets (a / in a name makes groups) and texts as attributes of the file, complete or not at all.
    let write (path: string) (arrays: (string * NpyArray) list) (texts: (string * string[]) list) =
        writeParts path (H5WriteOptions()) (fun file ->
            for name, array in arrays do
                let parts = name.Split '/'
                let place = group file (Array.truncate (parts.Length - 1) parts)
                place[Array.last parts] <- dataset array

            for name, values in texts do
                file.Attributes[name] <- values)
