namespace FieldImnn

open System
open System.IO
open System.IO.Compression
open System.IO.Hashing
open System.Text
open FieldImnn.Core

/// Named arrays and texts in one file. Arrays go by their names without .npy; texts by the whole entry's name (manifest.json).
type Npz =
    { Arrays: Map<string, NpyArray>
      Texts: Map<string, string> }

/// Reading and writing .npz files: a zip archive of .npy entries, which NumPy reads too, with text entries beside them.
module Npz =
    /// Strict: damaged text is an error and not a question mark.
    let private utf8 =
        UTF8Encoding(encoderShouldEmitUTF8Identifier = false, throwOnInvalidBytes = true)

    /// The same for all entries, so that equal contents make equal files.
    let private timestamp = DateTimeOffset(1980, 1, 1, 0, 0, 0, TimeSpan.Zero)

    let private contents name (entry: ZipArchiveEntry) =
        use stream = entry.Open()
        use memory = new MemoryStream()
        stream.CopyTo memory
        let bytes = memory.ToArray()
        // the zip reader does not check it by itself
        let sum = Crc32.HashToUInt32 bytes

        if sum <> entry.Crc32 then
            raise (StoreException($"{name}, entry {entry.FullName}", $"checksum {entry.Crc32:X8}", $"{sum:X8}"))

        bytes

    let private add name key value (map: Map<string, 'v>) =
        if map.ContainsKey key then
            raise (StoreException(name, "entries with different names", $"two entries '{key}'"))

        map.Add(key, value)

    let private addEntry name npz (entry: ZipArchiveEntry) =
        let bytes = contents name entry
        let subject = $"{name}, entry {entry.FullName}"

        if entry.FullName.EndsWith(".npy", StringComparison.Ordinal) then
            let key = entry.FullName.Substring(0, entry.FullName.Length - 4)

            { npz with
                Arrays = npz.Arrays |> add name key (Npy.ofBytes subject bytes) }
        else
            try
                { npz with
                    Texts = npz.Texts |> add name entry.FullName (utf8.GetString bytes) }
            with :? DecoderFallbackException as fault ->
                raise (StoreException(subject, "an array (.npy) or text in UTF-8", "other bytes", fault))

    /// No arrays and no texts.
    let empty =
        { Arrays = Map.empty
          Texts = Map.empty }

    /// Arrays and texts from the bytes of a .npz file; errors go by the name.
    let ofBytes (name: string) (bytes: byte[]) =
        try
            use archive = new ZipArchive(new MemoryStream(bytes), ZipArchiveMode.Read)
            archive.Entries |> Seq.fold (addEntry name) empty
        with
        | :? FieldImnnException
        | :? OutOfMemoryException -> reraise ()
        | fault -> // a damaged archive makes its reader fail in many ways
            raise (StoreException(name, "a .npz file (a zip archive)", fault.Message.TrimEnd '.', fault))

    /// Arrays and texts from a .npz file.
    let read (path: string) = ofBytes path (Files.readAllBytes path)

    /// Names of the arrays of a .npz file, which is not read for them.
    let names (path: string) : string list =
        if not (File.Exists path) then
            raise (StoreException(path, "a file", "nothing of that name"))

        try
            use archive = ZipFile.OpenRead path

            [ for entry in archive.Entries do
                  if entry.FullName.EndsWith(".npy", StringComparison.Ordinal) then
                      entry.FullName.Substring(0, entry.FullName.Length - 4) ]
        with fault ->
            raise (StoreException(path, "a .npz file (a zip archive)", fault.Message.TrimEnd '.', fault))

    /// Writes what a .npz file holds to a stream; equal contents give equal bytes.
    let writeTo (stream: Stream) (npz: Npz) =
        use archive = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen = true)

        let put (entryName: string) (write: Stream -> unit) =
            let entry = archive.CreateEntry(entryName, CompressionLevel.Fastest)
            entry.LastWriteTime <- timestamp
            use contents = entry.Open()
            write contents

        for text in npz.Texts do
            if text.Key.EndsWith(".npy", StringComparison.Ordinal) then
                raise (StoreException("text entry", "a name that does not end in .npy", $"'{text.Key}'"))

            put text.Key (fun contents -> contents.Write(ReadOnlySpan(utf8.GetBytes text.Value)))

        for array in npz.Arrays do
            put (array.Key + ".npy") (fun contents -> Npy.writeTo contents array.Value)

    /// The bytes of a .npz file, of less than 2 GB; see writeTo.
    let toBytes (npz: Npz) =
        use memory = new MemoryStream()
        writeTo memory npz
        memory.ToArray()

    /// Writes a .npz file, complete or not at all.
    let write (path: string) (npz: Npz) =
        Files.writeAtomically path (fun stream -> writeTo stream npz)

    let private entry what name key (map: Map<string, 'v>) =
        match map.TryFind key with
        | Some value -> value
        | None ->
            let keys =
                if map.IsEmpty then
                    "none"
                else
                    map.Keys |> String.concat ", "

            raise (StoreException(name, $"{what} '{key}'", keys))

    /// The array of that key, of an archive that errors call by the name.
    let array (name: string) (key: string) (npz: Npz) = npz.Arrays |> entry "an array" name key

    /// The text of that key, of an archive that errors call by the name.
    let text (name: string) (key: string) (npz: Npz) = npz.Texts |> entry "a text" name key
