namespace FieldImnn

open System
open System.IO
open System.IO.Hashing
open System.Runtime.InteropServices
open FieldImnn.Core.Random
open Microsoft.Win32.SafeHandles
open TorchSharp

/// What a campaign's records hold.
type internal RecordKind =
    /// Fields.
    | Fields = 0
    /// Fields of the same noise in double precision, of which finite differences are made.
    | PreciseFields = 1
    /// Fields as the rule of their derivatives gives them.
    | FieldsOfRule = 2
    /// ∂d/∂θ, (parameters, shape…).
    | Derivatives = 3

/// What a record is known by: what it holds, the key of its noise, and the bits of θ, mixed.
[<Struct>]
type internal RecordKey =
    { Seed: uint64
      Index: uint64
      Theta: uint64 }

/// Where a record is in its file, the precision of its numbers, and their checksum.
[<Struct>]
type internal RecordPlace =
    { Offset: int64
      Single: bool
      Checksum: uint32 }

/// What stands at a place of a file of records.
type internal RecordBlock =
    /// A block, and where the next one begins.
    | Block of records: struct (RecordKey * RecordPlace)[] * next: int64
    /// The end, or a block that is not all there: another process is writing it, or was killed as it did.
    | Unfinished
    /// Not what was written, and where the next block begins, if that is known.
    | Damaged of what: string * next: int64 option

/// Files of records that only grow, a block at a time. A block is a head of 40 bytes: the mark, version, kind, bytes of a number, parameters,
/// records (int32), numbers of a record (int64), checksum (uint32); a table with a row for each record: seed, index (uint64), θ (float64),
/// checksum of its numbers (uint32); the checksum of the table; and the numbers, record by record. All little-endian; checksums are CRC-32C.
module internal RecordFile =
    let private mark = "FImnnRec"B
    let private version = 1
    let private headBytes = 40

    /// CRC-32C (Castagnoli) of bytes.
    let checksum (bytes: ReadOnlySpan<byte>) : uint32 =
        Crc32.HashToUInt32(Crc32ParameterSet.Crc32C, bytes)

    /// What a record of a kind is known by.
    let key (kind: RecordKind) (key: NoiseKey) (theta: float[]) : RecordKey =
        let mutable mixed = SplitMix.Mix(uint64 kind + SplitMix.Golden)

        for value in theta do
            mixed <- SplitMix.Mix(mixed ^^^ BitConverter.DoubleToUInt64Bits value) + SplitMix.Golden

        { Seed = key.Seed
          Index = key.Index
          Theta = mixed }

    let private tableRow parameters = 16 + 8 * parameters + 4

    let private sumOf (bytes: byte[]) = checksum (ReadOnlySpan bytes)

    /// Bytes that are written, and their checksum behind them.
    let private checkedBytes (write: BinaryWriter -> unit) : byte[] =
        use stream = new MemoryStream()
        use writer = new BinaryWriter(stream) // little-endian on every machine
        write writer
        writer.Flush()
        writer.Write(sumOf (stream.ToArray()))
        writer.Flush()
        stream.ToArray()

    /// The bytes without the checksum behind them, if it is theirs.
    let private tryChecked (bytes: byte[]) : byte[] option =
        let inner = bytes[.. bytes.Length - 5]

        if BitConverter.ToUInt32(bytes, bytes.Length - 4) = sumOf inner then
            Some inner
        else
            None

    let private head (kind: RecordKind) (size: int) (parameters: int) (count: int) (numbers: int64) : byte[] =
        checkedBytes (fun writer ->
            writer.Write mark

            for value in [ version; int kind; size; parameters; count ] do
                writer.Write value

            writer.Write numbers)

    let private table (keys: NoiseKey[]) (theta: float[][]) (checksums: uint32[]) : byte[] =
        checkedBytes (fun writer ->
            for i in 0 .. keys.Length - 1 do
                writer.Write keys[i].Seed
                writer.Write keys[i].Index

                for value in theta[i] do
                    writer.Write value

                writer.Write checksums[i])

    /// Adds a block of records to a file: rows (n, …) of float32 or float64 by their keys and θ (n rows).
    let append (path: string) kind (keys: NoiseKey[]) (theta: float[][]) (rows: Tensor) =
        use _ = torch.NewDisposeScope()
        let rows = rows.detach().cpu().contiguous()
        let count = keys.Length
        let numbers = rows.numel () / int64 count
        let checksums = Array.zeroCreate count

        for i in 0 .. count - 1 do
            checksums[i] <- checksum (Span.op_Implicit (rows.narrow(0L, int64 i, 1L).bytes))

        Files.append path (fun stream ->
            stream.Write(head kind (int (rows.element_size ())) theta[0].Length count numbers, 0, headBytes)
            let table = table keys theta checksums
            stream.Write(table, 0, table.Length)

            for i in 0 .. count - 1 do
                stream.Write(Span.op_Implicit (rows.narrow(0L, int64 i, 1L).bytes): ReadOnlySpan<byte>))

    /// Fills bytes from an offset of a file on, and returns how many there were.
    let private fill (file: SafeFileHandle) (offset: int64) (bytes: Span<byte>) : int =
        let mutable have = 0
        let mutable more = true

        while more && have < bytes.Length do
            let n = RandomAccess.Read(file, bytes.Slice have, offset + int64 have)
            have <- have + n
            more <- n > 0

        have

    /// Bytes from an offset on: so many, or as many as there are.
    let private readAt (file: SafeFileHandle) (offset: int64) (length: int) : byte[] =
        let bytes = Array.zeroCreate (max 0 length)
        Array.truncate (fill file offset (Span bytes)) bytes

    /// The records of a block whose table this is, its numbers from an offset on.
    let private records kind size parameters count (numbers: int64) (table: byte[]) (offset: int64) =
        use reader = new BinaryReader(new MemoryStream(table))

        Array.init count (fun i ->
            let seed = reader.ReadUInt64()
            let index = reader.ReadUInt64()
            let theta = Array.init parameters (fun _ -> reader.ReadDouble())

            struct (key kind (NoiseKey(seed, index)) theta,
                    { Offset = offset + int64 i * numbers * int64 size
                      Single = (size = 4)
                      Checksum = reader.ReadUInt32() }))

    /// The block at an offset of a file of so many bytes, behind its head.
    let private behindHead (file: SafeFileHandle) (length: int64) (offset: int64) (reader: BinaryReader) : RecordBlock =
        let kind = enum<RecordKind>(reader.ReadInt32())

        let size, parameters, count =
            reader.ReadInt32(), reader.ReadInt32(), reader.ReadInt32()

        let numbers = reader.ReadInt64()
        let tableBytes = count * tableRow parameters + 4
        let first = offset + int64 (headBytes + tableBytes)
        let next = first + int64 count * numbers * int64 size

        if next > length then
            Unfinished
        else
            match readAt file (offset + int64 headBytes) tableBytes |> tryChecked with
            | Some table -> Block(records kind size parameters count numbers table first, next)
            | None -> Damaged($"a table of {count} records at byte {offset} that is not as it was written", Some next)

    /// What stands at an offset of a file of so many bytes.
    let block (file: SafeFileHandle) (length: int64) (offset: int64) : RecordBlock =
        let bytes = readAt file offset (int (min (int64 headBytes) (length - offset)))

        if bytes.Length < headBytes then
            Unfinished
        else
            match tryChecked bytes with
            | Some head when head.AsSpan(0, mark.Length).SequenceEqual(ReadOnlySpan mark) ->
                use reader =
                    new BinaryReader(new MemoryStream(head, mark.Length, head.Length - mark.Length))

                match reader.ReadInt32() with
                | found when found <> version ->
                    Damaged($"records of version {found} at byte {offset}, where this library has {version}", None)
                | _ -> behindHead file length offset reader
            | _ -> Damaged($"no head of a block at byte {offset}: what is behind it cannot be found", None)

    /// Reads the numbers of a record into row i of a tensor on the CPU, contiguous: whether they are as they were written.
    let read (file: SafeFileHandle) (place: RecordPlace) (target: Tensor) (i: int) : bool =
        use row = target.narrow (0L, int64 i, 1L)
        let bytes = row.bytes

        fill file place.Offset bytes = bytes.Length
        && checksum (Span.op_Implicit bytes) = place.Checksum
