namespace FieldImnn

open System
open System.Collections.Concurrent
open System.Diagnostics
open System.IO
open System.Reflection
open FieldImnn.Core
open TorchSharp

/// Where work that takes long keeps how far it has come, so that the same work, started again after a stop or a kill, goes on from there
/// and ends with the same bits.
type Checkpoint =
    {
        /// The folder, made if need be. Works share it: what each keeps is known by what the work is.
        Folder: string
        /// Seconds between two savings, which is what a kill costs at the most.
        Every: float
    }

/// Places for checkpoints.
module Checkpoint =
    /// In a folder, every 30 seconds.
    let inFolder folder = { Folder = folder; Every = 30.0 }

/// The file of one piece of work.
[<RequireQualifiedAccess>]
type internal CheckpointFile =
    {
        Folder: string
        /// What the work is called.
        Name: string
        /// What it is known by, in order: names and values, a line each.
        Identity: (string * string) list
        Every: float
        Progress: Progress
        /// Since the last saving.
        Clock: Stopwatch
    }

/// Files of checkpoints: arrays by name, and what they belong to. Each is whole or not there. One that belongs to other work is left alone,
/// and one that is damaged costs what it held: those who watch the work are told of either.
module internal CheckpointFile =
    /// The format's version.
    let private version = 1

    let private identityName = "checkpoint.txt"

    /// What every checkpoint is known by: others compute otherwise.
    let private house =
        let said =
            typeof<Checkpoint>.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()

        let own =
            if isNull said then
                ""
            else
                said.InformationalVersion.Split('+')[0]

        [ "format", string version; "FieldImnn", own ]

    /// Of work of this name that is known by these values, in a folder that can be written to. One that nobody asks for (no place) is none.
    let create name identity progress (place: Checkpoint option) : CheckpointFile option =
        place
        |> Option.map (fun place ->
            Files.ensureWritableFolder place.Folder

            { Folder = place.Folder
              Name = name
              Identity = [ for key, value in house @ identity -> key, value.ReplaceLineEndings " " ]
              Every = Guard.Positive("seconds between checkpoints", place.Every)
              Progress = progress
              Clock = Stopwatch.StartNew() })

    /// That of another name of the same work.
    let called name (file: CheckpointFile) =
        { file with
            Name = name
            Clock = Stopwatch.StartNew() }

    let private textOf (identity: (string * string) list) =
        identity
        |> List.map (fun (key, value) -> $"{key}: {value}\n")
        |> String.concat ""

    /// The file's path: its name has a part of what the work is known by.
    let path (file: CheckpointFile) =
        Path.Combine(file.Folder, $"{file.Name}-{Text.digest (textOf file.Identity)}.npz")

    /// Says a word to those who watch.
    let private tell (file: CheckpointFile) note =
        Progress.news file.Progress "checkpoint" [] note

    /// Whether it is time for a saving.
    let due (file: CheckpointFile) =
        file.Clock.Elapsed.TotalSeconds >= file.Every

    /// Files that this process has written.
    let private own = ConcurrentDictionary<string, unit>()

    /// Saves arrays by name. Where that fails, on a full disk say, the work goes on, and those who watch are told.
    let write (file: CheckpointFile) (arrays: (string * NpyArray) seq) =
        let path = path file
        own[path] <- ()

        try
            Npz.write
                path
                { Arrays = Map.ofSeq arrays
                  Texts = Map [ identityName, textOf file.Identity ] }
        with :? StoreException as error ->
            tell file $"not saved: {error.Message}"

        file.Clock.Restart()

    /// The first thing in which the identity of another file differs.
    let private difference (file: CheckpointFile) other =
        let theirs =
            (Npz.read other |> Npz.text other identityName).Split('\n', StringSplitOptions.RemoveEmptyEntries)

        file.Identity
        |> List.tryFind (fun (key, value) -> not (Array.contains $"{key}: {value}" theirs))
        |> Option.map (fun (key, value) ->
            let came =
                theirs
                |> Array.tryFind _.StartsWith($"{key}: ", StringComparison.Ordinal)
                |> Option.map _.Substring(key.Length + 2)

            $"""its {key} is {defaultArg came "none"}, and here {value}""")

    /// The suffix of a folder that holds the checkpoints of one work alone, beside those of others.
    let ofOne = ".checkpoint"

    /// Says whose checkpoint lies where this work's would, or beside it, if there is none of its own. Those of this process are left out: what it
    /// has done before this work needs no word.
    let explainOthers (file: CheckpointFile) =
        let folders =
            [ file.Folder
              if file.Folder.EndsWith(ofOne, StringComparison.Ordinal) then
                  match Path.GetDirectoryName file.Folder with
                  | parent when Directory.Exists parent -> yield! Directory.GetDirectories(parent, $"*{ofOne}")
                  | _ -> () ]

        let others =
            [ for folder in folders do
                  if Directory.Exists folder then
                      yield! Directory.GetFiles(folder, $"{file.Name}-????????????.npz") ]

        if not (File.Exists(path file)) then
            for other in others |> List.filter (own.ContainsKey >> not) |> List.sort |> List.truncate 1 do
                try
                    difference file other
                    |> Option.iter (fun what -> tell file $"{other} is of other work, and stays as it is: {what}")
                with :? StoreException as error ->
                    tell file $"damaged, and of no use: {error.Message}"

    /// What `take` makes of the arrays that were saved (a function from their names), none if there are none. A StoreException, of the file or of
    /// `take`, is a damaged file: what it held has to be done again.
    let tryRead (file: CheckpointFile) (take: (string -> NpyArray) -> 'state) : 'state option =
        let path = path file

        if not (File.Exists path) then
            None
        else
            try
                let stored = Npz.read path
                let found = Npz.text path identityName stored

                if found <> textOf file.Identity then
                    raise (StoreException(path, "a checkpoint of this very work", "one of another"))

                Some(take (fun name -> Npz.array path name stored))
            with :? StoreException as error ->
                tell file $"damaged, so that what it held is done again: {error.Message}"
                None

    let private requireShape (file: CheckpointFile) (array: NpyArray) fits (wanted: string) =
        if not fits then
            raise (StoreException(path file, $"an array of shape {wanted}", NpyHeader.shapeText array.Shape))

    /// A saved array, a matrix of so many columns.
    let requireWidth (file: CheckpointFile) width (array: NpyArray) =
        requireShape file array (array.Shape.Length = 2 && array.Shape[1] = width) $"(n, {width})"
        array

    /// The numbers of a saved array of so many.
    let numbers (file: CheckpointFile) count (array: NpyArray) : float[] =
        requireShape file array (array.Data.Length = count) $"of {count} numbers"
        array.Data

    /// A tensor (n, shape…) of a saved array, on a device.
    let tensorOf (file: CheckpointFile) (device: torch.Device) (shape: int64 list) (array: NpyArray) : Tensor =
        let wanted = List.map string shape |> String.concat ", "
        let found = [ for n in array.Shape -> int64 n ]
        requireShape file array (not found.IsEmpty && found.Tail = shape) $"(n, {wanted})"

        let kind =
            if array.SinglePrecision then
                torch.float32
            else
                torch.float64

        Tensors.scoped (fun () ->
            (Tensors.ofVector array.Data).``to``(kind, device).reshape(Array.map int64 array.Shape))

    /// A tensor of a saved array, of the type, device and shape of another.
    let tensorLike (file: CheckpointFile) (like: Tensor) (array: NpyArray) : Tensor =
        requireShape file array (array.Shape = Array.map int like.shape) (Guard.Describe like.shape)

        Tensors.scoped (fun () -> (Tensors.ofVector array.Data).``to``(like.dtype, like.device).reshape like.shape)
