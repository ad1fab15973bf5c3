/// What made a result: commit, machine, command, and a digest of the code, settings and inputs, which tells whether they have changed since.
/// No packages: build.fsx loads this file, too.
module Origin

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Security.Cryptography
open System.Text
open System.Text.Json.Nodes
open System.Text.RegularExpressions

type Origin =
    {
        Commit: string
        Machine: string
        System: string
        Command: string
        /// Of code, settings and inputs; none where the result was not made by `build.fsx paper`, and so may hold parts of older code.
        Digest: string option
    }

/// The key of a results file under which its origin stands.
let key = "provenance"

/// The key of the rows of a benchmark, beside its origin.
let rows = "cells"

// --------------------------------------------------------------------------------------------------------------- digest

let private isSource (path: string) =
    let extension = Path.GetExtension path

    List.contains extension [ ".fs"; ".fsx"; ".cs"; ".npy"; ".csv" ]
    && not (Regex.IsMatch(path, @"[\\/](bin|obj)[\\/]"))

/// The sources and tables of files and folders below the root, in an order that is the same everywhere. A place that is not there has none.
let private files root (places: string list) =
    [ for place in places do
          let full = Path.Combine(root, place)

          if Directory.Exists full then
              yield!
                  Directory.GetFiles(full, "*", SearchOption.AllDirectories)
                  |> Array.filter isSource
          elif File.Exists full then
              full ]
    |> List.map (fun path -> Path.GetRelativePath(root, path).Replace('\\', '/'))
    |> List.distinct
    |> List.sortWith (fun a b -> String.CompareOrdinal(a, b))

/// A digest of files (their names and contents) and of settings.
let digest root places (settings: string list) =
    use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256

    let text (t: string) =
        hash.AppendData(Encoding.UTF8.GetBytes(t + "\n"))

    for file in files root places do
        text file
        hash.AppendData(SHA256.HashData(File.ReadAllBytes(Path.Combine(root, file))))

    settings |> List.iter text
    Convert.ToHexStringLower(hash.GetHashAndReset())[..15]

// ------------------------------------------------------------------------------------------------------------------ here

let private said folder program (arguments: string list) =
    try
        let info =
            ProcessStartInfo(program, arguments, WorkingDirectory = folder, RedirectStandardOutput = true)

        info.RedirectStandardError <- true
        use child = Process.Start info
        let output = child.StandardOutput.ReadToEnd().Trim()
        child.WaitForExit()
        if child.ExitCode = 0 then Some output else None
    with :? ComponentModel.Win32Exception ->
        None

/// The commit that is checked out, and whether code has been changed since.
let private commit root =
    match said root "git" [ "rev-parse"; "--short=7"; "HEAD" ] with
    | None -> "unknown"
    | Some id ->
        match said root "git" [ "status"; "--porcelain"; "--"; "src"; "scripts"; "benchmarks" ] with
        | Some "" -> id
        | _ -> $"{id} with changes"

let private processor () =
    let listed = "/proc/cpuinfo"

    let named =
        if File.Exists listed then
            File.ReadLines listed
            |> Seq.tryFind _.StartsWith("model name", StringComparison.Ordinal)
        else
            None

    match named with
    | Some line -> line.Substring(line.IndexOf ':' + 1).Trim()
    | None -> $"{RuntimeInformation.OSArchitecture} processor"

/// A command without the folders of this machine: of a path that is not relative only the last name is left.
let private withoutPlaces (command: string list) =
    command
    |> List.map (fun word ->
        if Path.IsPathRooted word then
            Path.GetFileName(word.TrimEnd('/', '\\'))
        elif word.Contains ' ' then
            $"\"{word}\""
        else
            word)
    |> String.concat " "

/// The origin of what commands, each a list of words, make here and now.
let here root (commands: string list list) digest =
    let cores = Environment.ProcessorCount

    { Commit = commit root
      Machine = $"""{processor ()}, {cores} {if cores = 1 then "core" else "cores"}"""
      System = $"{RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}"
      Command = commands |> List.map withoutPlaces |> String.concat "; "
      Digest = digest }

// ------------------------------------------------------------------------------------------------------------------ JSON

let private json (origin: Origin) =
    let fields = JsonObject()
    let add (name: string) (value: string) = fields[name] <- JsonValue.Create value
    add "commit" origin.Commit
    add "machine" origin.Machine
    add "system" origin.System
    add "command" origin.Command
    origin.Digest |> Option.iter (add "digest")
    fields

/// Results with their origin. Rows of a benchmark become `cells` beside it.
let stamped origin (results: JsonNode) : JsonObject =
    let result =
        match results with
        | :? JsonArray as cells ->
            let fields = JsonObject()
            fields[rows] <- cells.DeepClone()
            fields
        | other -> other.DeepClone().AsObject()

    result[key] <- json origin
    result

/// The origin of results that name it.
let tryRead (results: JsonNode) : Origin option =
    match results with
    | :? JsonObject as fields when fields.ContainsKey key ->
        let text (name: string) =
            match fields[key][name] with
            | null -> None
            | value -> Some(value.GetValue<string>())

        let told name =
            text name |> Option.defaultValue "not recorded"

        Some
            { Commit = told "commit"
              Machine = told "machine"
              System = told "system"
              Command = told "command"
              Digest = text "digest" }
    | _ -> None
