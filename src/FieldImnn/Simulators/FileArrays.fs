namespace FieldImnn

open System
open System.IO
open System.Runtime.InteropServices
open FieldImnn.Core

/// An array of a file that is open: read in runs.
[<AbstractClass>]
type internal FileArray(name: string, lengths: int64[], element: ElementType) =
    /// What errors call it.
    member _.Name = name
    /// Lengths of the axes as they lie in the file, the last running fastest.
    member _.Lengths = lengths
    /// What the elements are.
    member _.Element = element
    /// Whether a run of elements may go on beyond the last axis.
    abstract Lines: bool
    /// Reads runs of elements, (place of the first, length), one behind the other.
    abstract Read: runs: seq<struct (int64[] * int64)> * into: Span<byte> -> unit
    abstract Close: unit -> unit

/// An array that lies in a line, of which pieces can be copied.
[<AbstractClass>]
type internal LineArray(name, lengths: int64[], element: ElementType) =
    inherit FileArray(name, lengths, element)
    let strides = Array.scanBack (*) lengths 1L |> Array.tail
    override _.Lines = true

    /// Copies the bytes from a place on.
    abstract Copy: start: int64 * into: Span<byte> -> unit

    override this.Read(runs, into) =
        let size = int64 element.Size
        let mutable at = 0

        for struct (place, length) in runs do
            let wanted = int (length * size)
            let mutable first = 0L

            for axis in 0 .. place.Length - 1 do
                first <- first + place[axis] * strides[axis]

            this.Copy(first * size, into.Slice(at, wanted))
            at <- at + wanted

/// An array that lies in a file in a line, from a place on: .npy, or a dataset of HDF5 that is not in chunks.
[<Sealed>]
type internal LineFile(name: string, path: string, start: int64, lengths, element) =
    inherit LineArray(name, lengths, element)
    let handle = Files.opening path (fun file -> File.OpenHandle file)

    override _.Copy(first, into) =
        let mutable got = 0

        while got < into.Length do
            let n = RandomAccess.Read(handle, into.Slice got, start + first + int64 got)

            if n = 0 then
                raise (StoreException(path, "a complete file", "an end too early"))

            got <- got + n

    override _.Close() = handle.Dispose()

/// An array of an archive, which is in memory as long as it is open.
[<Sealed>]
type internal NpzArray(name, lengths, element, data: byte[]) =
    inherit LineArray(name, lengths, element)

    override _.Copy(first, into) =
        Span(data, int first, into.Length).CopyTo into

    override _.Close() = ()

/// A dataset of an HDF5 file.
[<Sealed>]
type internal Hdf5Array(name, dataset: Hdf5Dataset) =
    inherit FileArray(name, dataset.Shape, dataset.Element)
    override _.Lines = false
    override _.Read(runs, into) = dataset.Read(runs, into)
    override _.Close() = (dataset :> IDisposable).Dispose()

/// Opening arrays of files.
module internal FileArrays =
    let private refuse name expected received : 'a =
        raise (StoreException(name, expected, received))

    /// The header of a .npy file, and where its data starts.
    let header (path: string) (stream: FileStream) =
        let bytes = Array.zeroCreate<byte>(int (min stream.Length NpyHeader.longest))
        stream.ReadExactly bytes
        Npy.header path bytes

    /// An array of a .npy file.
    let npy (path: string) : FileArray =
        if not (File.Exists path) then
            refuse path "a file" "nothing of that name"

        use stream = Files.opening path File.OpenRead
        let header, start = header path stream

        let element =
            match Elements.tryOfDescr header.Descr with
            | Some element -> element
            | None -> refuse path "floating point numbers or integers" (NpyHeader.describe header.Descr)

        // Fortran's order is C's of the axes turned round
        let lengths =
            let shape = header.Shape |> Array.map int64
            if header.FortranOrder then Array.rev shape else shape

        let needed = int64 start + int64 element.Size * Array.fold (*) 1L lengths

        if stream.Length <> needed then
            refuse path $"{needed} bytes" $"{stream.Length}"

        LineFile(path, path, int64 start, lengths, element)

    /// An array of an archive, which is read whole.
    let npz (path: string) (name: string) : FileArray =
        let array = Npz.read path |> Npz.array path name

        let data, size =
            if array.SinglePrecision then
                MemoryMarshal.AsBytes(Span(array.Data |> Array.map float32)).ToArray(), 4
            else
                MemoryMarshal.AsBytes(Span array.Data).ToArray(), 8

        let element =
            { Kind = Real
              Size = size
              BigEndian = not BitConverter.IsLittleEndian }

        NpzArray($"{path}, array '{name}'", array.Shape |> Array.map int64, element, data)

    /// A dataset of an HDF5 file.
    let hdf5 (path: string) (dataset: string) : FileArray =
        let name = $"{path}, dataset '{dataset}'"
        let opened = new Hdf5Dataset(path, dataset)

        match opened.Start with
        | Some start ->
            let lengths, element = opened.Shape, opened.Element
            (opened :> IDisposable).Dispose()
            LineFile(name, path, start, lengths, element)
        | None -> Hdf5Array(name, opened)
