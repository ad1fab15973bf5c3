namespace FieldImnn

open System
open System.IO
open FieldImnn.Core

/// Whole files in and out, with the file or folder named in every error.
module Files =
    /// What the operating system says against a file, without its full stop.
    let (|Refusal|_|) (fault: exn) =
        match fault with
        | :? IOException
        | :? UnauthorizedAccessException -> Some(fault.Message.TrimEnd '.')
        // what .NET makes of EFBIG: a file larger than its file system, or the user's limit, holds
        | :? ArgumentOutOfRangeException as large when large.ParamName = "value" ->
            Some "a file too large for where it goes"
        | _ -> None

    let private fullPath (path: string) =
        try
            Path.GetFullPath path
        with :? ArgumentException as fault ->
            raise (StoreException($"path '{path}'", "the path of a file or folder", fault.Message.TrimEnd '.', fault))

    let private temporaryIn folder =
        Path.Combine(folder, $".{Guid.NewGuid():N}.tmp")

    let private createFolder (folder: string) =
        try
            Directory.CreateDirectory folder |> ignore
        with Refusal why as fault ->
            raise (StoreException(folder, "a folder that exists or can be created", why, fault))

    /// The folder exists, or is made now, and a file can be written into it.
    let ensureWritableFolder (path: string) =
        let folder = fullPath path
        createFolder folder

        try
            use probe =
                new FileStream(
                    temporaryIn folder,
                    FileMode.CreateNew,
                    FileAccess.Write,
                    FileShare.None,
                    1,
                    FileOptions.DeleteOnClose
                )

            probe.WriteByte 0uy
        with Refusal why as fault ->
            raise (StoreException(folder, "a folder that can be written to", why, fault))

    /// What of a folder that is held lies in it.
    let private holder = ".running"

    /// Whoever holds a folder is the only process that writes its results there, until what is returned is disposed of, or the process ends: files of
    /// two runs would be mixed. The folder is made if there is none.
    let hold (path: string) : IDisposable =
        let folder = fullPath path
        ensureWritableFolder folder

        try
            new FileStream(
                Path.Combine(folder, holder),
                FileMode.OpenOrCreate,
                FileAccess.ReadWrite,
                FileShare.None,
                1,
                FileOptions.DeleteOnClose
            )
        with Refusal why as fault ->
            raise (StoreException(folder, "a folder to which no other run is writing", why, fault))

    /// What opens a file, with the file named in its errors.
    let internal opening (path: string) (work: string -> 'a) : 'a =
        let file = fullPath path

        if Directory.Exists file then
            raise (StoreException(file, "a file", "a folder"))

        try
            work file
        with Refusal why as fault ->
            raise (StoreException(file, "a file that can be read", why, fault))

    /// All bytes of a file.
    let readAllBytes (path: string) =
        opening path (fun file ->
            if not (File.Exists file) then
                raise (StoreException(file, "a file", "nothing of that name"))

            let length = FileInfo(file).Length

            if length > int64 Array.MaxLength then
                raise (StoreException(file, $"a file of at most {Array.MaxLength} bytes", $"{length} bytes"))

            File.ReadAllBytes file)

    /// Makes a file that is either complete or not there: `make` is given the path of a temporary file in the same folder (made if need be),
    /// which takes the target's place at the end. If anything fails, the temporary file goes and an older target stays.
    let makeAtomically (path: string) (make: string -> unit) =
        let file = fullPath path

        if Directory.Exists file then
            raise (StoreException(file, "a file", "a folder"))

        let folder = Path.GetDirectoryName file
        createFolder folder
        let temporary = temporaryIn folder

        try
            try
                make temporary
                File.Move(temporary, file, overwrite = true)
            with Refusal why as fault ->
                raise (StoreException(file, "a file that can be written", why, fault))
        finally
            try
                File.Delete temporary
            with Refusal _ ->
                ()

    /// Writes a file that is either complete or not there, as makeAtomically. The stream must be left open.
    let writeAtomically (path: string) (write: Stream -> unit) =
        makeAtomically path (fun temporary ->
            use stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write)
            write stream
            stream.Flush(flushToDisk = true))

    /// Adds to the end of a file (made if need be): all of it, or nothing where writing fails. Whoever reads meanwhile, or where this process
    /// was killed, finds a part at the end. The stream must be left open.
    let append (path: string) (write: Stream -> unit) =
        let file = fullPath path
        createFolder (Path.GetDirectoryName file)

        try
            use stream =
                new FileStream(file, FileMode.OpenOrCreate, FileAccess.Write, FileShare.Read, 0) // no buffer to be written twice

            let before = stream.Seek(0L, SeekOrigin.End)

            try
                write stream
                stream.Flush(flushToDisk = true)
            with Refusal _ ->
                stream.SetLength before
                reraise ()
        with Refusal why as fault ->
            raise (StoreException(file, "a file that can be written", why, fault))
