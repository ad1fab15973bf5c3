namespace FieldImnn

open System
open System.Buffers.Binary
open System.IO
open System.Text
open FieldImnn.Core

/// Numbers with a shape, in C order (the last axis runs fastest).
type NpyArray =
    {
        Shape: int[]
        /// As many as the product of Shape; one for the empty shape.
        Data: float[]
        /// Stored as float32, to which Data is rounded on writing, and not as float64.
        SinglePrecision: bool
    }

/// Reading and writing .npy files of float32 and float64, formats 1.0 to 3.0; nothing is ever unpickled.
/// Source: NumPy Enhancement Proposal 1.
module Npy =
    let private magic = [| 0x93uy; byte 'N'; byte 'U'; byte 'M'; byte 'P'; byte 'Y' |]

    let private create shape (data: float[]) single =
        let holds =
            shape |> Array.forall (fun n -> n >= 0)
            && (shape |> Array.fold (fun product n -> product * float n) 1.0) = float data.Length

        if not holds then
            let described = NpyHeader.shapeText shape
            raise (ShapeException("array", $"as many elements as shape {described} holds", $"{data.Length}"))

        { Shape = shape
          Data = data
          SinglePrecision = single }

    /// An array to be stored in double precision.
    let double (shape: int[]) (data: float[]) = create shape data false

    /// An array to be stored in single precision.
    let single (shape: int[]) (data: float32[]) =
        create shape (Array.map float data) true

    /// Numbers in a row, to be stored in double precision.
    let vector (data: float[]) = double [| data.Length |] data

    let private refuseMagic name (bytes: byte[]) =
        let received =
            match List.ofArray (Array.truncate 4 bytes) with
            | [] -> "an empty file"
            | 0x80uy :: _ -> "a Python pickle, which is never loaded"
            | 0x50uy :: 0x4Buy :: _ -> "a zip archive (.npz)"
            | _ -> $"bytes {Convert.ToHexString(Array.truncate 6 bytes)}"

        NpyHeader.refuse name "a .npy file, which starts with the bytes 934E554D5059" received

    let private truncated name received =
        NpyHeader.refuse name "a complete .npy header" $"a file that ends {received}"

    /// The header's text and where the data starts.
    let private headerText name (bytes: byte[]) =
        if bytes.Length < 6 || Array.truncate 6 bytes <> magic then
            refuseMagic name bytes

        if bytes.Length < 8 then
            truncated name "before the format version"

        let major = int bytes[6]

        if major < 1 || major > 3 || bytes[7] <> 0uy then
            NpyHeader.refuse name ".npy format 1.0, 2.0 or 3.0" $"format {bytes[6]}.{bytes[7]}"

        let start = if major = 1 then 10 else 12

        if bytes.Length < start then
            truncated name "before the header's length"

        let length =
            if major = 1 then
                int64 (BinaryPrimitives.ReadUInt16LittleEndian(ReadOnlySpan(bytes, 8, 2)))
            else
                int64 (BinaryPrimitives.ReadUInt32LittleEndian(ReadOnlySpan(bytes, 8, 4)))

        if length > NpyHeader.longest then
            NpyHeader.refuse name $"a header of at most {NpyHeader.longest} bytes" $"{length} bytes"

        if int64 bytes.Length < int64 start + length then
            truncated name $"after {bytes.Length - start} of the header's {length} bytes"

        let encoding = if major = 3 then Encoding.UTF8 else Encoding.Latin1
        encoding.GetString(bytes, start, int length), start + int length

    /// The header of a .npy file from its first bytes, and where the data starts, for those who read it in parts.
    let internal header (name: string) (bytes: byte[]) : NpyHeader.Header * int =
        let text, start = headerText name bytes
        NpyHeader.parse name NpyHeader.mostInParts text, start

    /// For each element in C order, its place in a file in Fortran order (the first axis runs fastest).
    let private fortranPlaces (shape: int[]) count =
        let strides = shape |> Array.scan (*) 1
        let index = Array.zeroCreate shape.Length
        let mutable place = 0

        Array.init count (fun _ ->
            let here = place
            let mutable axis = shape.Length - 1
            let mutable carry = true

            while carry && axis >= 0 do
                index[axis] <- index[axis] + 1
                place <- place + strides[axis]
                carry <- index[axis] = shape[axis]

                if carry then
                    place <- place - shape[axis] * strides[axis]
                    index[axis] <- 0
                    axis <- axis - 1

            here)

    /// An array from the bytes of a .npy file; errors go by the name.
    let ofBytes (name: string) (bytes: byte[]) =
        let text, start = headerText name bytes
        let header = NpyHeader.parse name (int64 Array.MaxLength) text
        let elements = int header.Count

        let element =
            match Elements.tryOfDescr header.Descr with
            | Some element -> element
            | None ->
                NpyHeader.refuse
                    name
                    "numbers: float16, float32, float64, integers or bool (<f4, >f8, <i2, |u1 …)"
                    (NpyHeader.describe header.Descr)

        let needed = int64 element.Size * header.Count
        let came = int64 (bytes.Length - start)

        if came <> needed then
            let shape = NpyHeader.shapeText header.Shape
            let fault = if came < needed then "truncated" else "trailing bytes"
            NpyHeader.refuse name $"{needed} bytes of data for '{header.Descr}' of shape {shape}" $"{came} ({fault})"

        let stored = bytes[start..] |> Elements.toDouble element

        let data =
            if header.FortranOrder && header.Shape.Length > 1 then
                fortranPlaces header.Shape elements |> Array.map (fun place -> stored[place])
            else
                stored

        create header.Shape data (Elements.isSingle element)

    /// An array from a .npy file.
    let read (path: string) = ofBytes path (Files.readAllBytes path)

    /// The header of a .npy file, format 1.0, with which the data is aligned to 64 bytes.
    let private headerBytes (array: NpyArray) =
        let tuple = array.Shape |> Array.map (fun n -> $"{n},") |> String.concat " "
        let shape = if array.Shape.Length = 1 then tuple else tuple.TrimEnd ','
        let descr = if array.SinglePrecision then "<f4" else "<f8"
        let header = $"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}"
        let start = (10 + header.Length + 1 + 63) / 64 * 64
        let bytes = Array.zeroCreate<byte> start
        magic.CopyTo(bytes, 0)
        bytes[6] <- 1uy
        BinaryPrimitives.WriteUInt16LittleEndian(Span(bytes, 8, 2), uint16 (start - 10))
        Encoding.Latin1.GetBytes(header.PadRight(start - 11) + "\n").CopyTo(bytes, 10)
        bytes

    let private put single (place: Span<byte>) (value: float) =
        if not single then
            BinaryPrimitives.WriteDoubleLittleEndian(place, value)
        else
            if Double.IsFinite value && not (Single.IsFinite(float32 value)) then
                raise (RangeException("array to store as float32", "numbers up to 3.4e38 in size", string value))

            BinaryPrimitives.WriteSingleLittleEndian(place, float32 value)

    /// Writes what a .npy file holds (format 1.0, little endian, C order) to a stream, in pieces: an array may be longer than 2 GB.
    let writeTo (stream: Stream) (array: NpyArray) =
        let array = create array.Shape array.Data array.SinglePrecision
        stream.Write(ReadOnlySpan(headerBytes array))
        let size = if array.SinglePrecision then 4 else 8
        let piece = 1 <<< 16
        let buffer = Array.zeroCreate<byte>(size * min piece array.Data.Length)
        let mutable start = 0

        while start < array.Data.Length do
            let length = min piece (array.Data.Length - start)

            for i in 0 .. length - 1 do
                put array.SinglePrecision (Span(buffer, size * i, size)) array.Data[start + i]

            stream.Write(ReadOnlySpan(buffer, 0, size * length))
            start <- start + length

    /// The bytes of a .npy file; see writeTo.
    let toBytes (array: NpyArray) =
        let size = if array.SinglePrecision then 4L else 8L

        if size * int64 array.Data.Length > int64 Array.MaxLength - 65536L then
            let shape = NpyHeader.shapeText array.Shape

            raise (
                ShapeException(
                    "array to hold as bytes",
                    "at most 2 GB; write it to a file",
                    $"{size * int64 array.Data.Length} bytes, shape {shape}"
                )
            )

        use memory = new MemoryStream()
        writeTo memory array
        memory.ToArray()

    /// Writes a .npy file, complete or not at all.
    let write (path: string) (array: NpyArray) =
        Files.writeAtomically path (fun stream -> writeTo stream array)
