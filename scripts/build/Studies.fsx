/// The studies: their scripts run, and one file for the numbers of all of them.
module Studies

#load "Building.fsx"
#load "../FieldImnn.Paper/Origin.fs"
#load "../FieldImnn.Paper/Works.fs"

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open System.Text.Json.Nodes
open Building
open Steps

/// Writes JSON as all results are.
let writeResults (path: string) (json: JsonNode) =
    File.WriteAllText(path, json.ToJsonString(JsonSerializerOptions(WriteIndented = true)) + "\n")

/// One results.json for a study: what each figure wrote, where and how long it ran, and what made it.
let private merge (folder: string) (quick: bool) (seconds: (string * float) list) origin =
    let merged = JsonObject()

    for part in Directory.GetFiles(Path.Combine(folder, "results"), "*.json") |> Array.sort do
        merged[Path.GetFileNameWithoutExtension part] <- JsonNode.Parse(File.ReadAllText part)

    merged["machine"] <-
        JsonSerializer.SerializeToNode
            {| os = RuntimeInformation.OSDescription
               architecture = string RuntimeInformation.OSArchitecture
               cores = Environment.ProcessorCount
               dotnet = RuntimeInformation.FrameworkDescription
               quick = quick
               seconds = dict [ for script, time in seconds -> script, Math.Round(time, 1) ]
               totalSeconds = Math.Round(List.sumBy snd seconds, 1) |}

    writeResults (Path.Combine(folder, "results.json")) (Origin.stamped origin merged)

/// The scripts of a study, run in order with its options, and their numbers merged, in a folder.
let studying folder study (options: string list) digest =
    let results = Path.Combine(folder, "results")
    let seconds = ResizeArray<string * float>()

    let clearing () =
        if Directory.Exists results then
            Directory.Delete(results, true) // numbers of an earlier run must not pass for this one's

        Directory.CreateDirectory results |> ignore

    let running script () =
        let own = Stopwatch.StartNew()
        let path = at $"scripts/{script}.fsx"
        let code = stream "dotnet" ([ "fsi"; path; "--out"; folder ] @ options)

        if code = continues then
            raise (Stop($"{shown path} was stopped; the same command goes on from what is in {shown folder}.", code))

        if code <> 0 then
            fail $"{shown path} failed (exit code {code}); the figures before it are in {shown folder}."

        seconds.Add(script, own.Elapsed.TotalSeconds)

    let merging () =
        let command = [ "dotnet"; "fsi"; "build.fsx"; "reproduce"; study ] @ options
        merge folder (List.contains "--quick" options) (List.ofSeq seconds) (Origin.here root [ command ] digest)

    [ yield quiet "Clearing earlier numbers" clearing
      for script in Works.studies[study] do
          yield streaming script (running script)
      yield quiet "Merging the numbers" merging ]

/// Options beyond --quick go to every script of the study. Figures of other modes than the default get a folder of their own.
let reproduce study (options: string list) =
    let suffix =
        match options |> List.tryFindIndex ((=) "--modes") with
        | Some at when at + 1 < options.Length && options[at + 1] <> "ideal" -> $"-{options[at + 1]}"
        | _ -> ""

    if not (Works.studies.ContainsKey study) then
        let known = String.Join(", ", Works.studies.Keys)
        misuse $"Unknown study '{study}'; the studies are: {known}."

    let clock = Stopwatch.StartNew()
    let folder = artifacts (study + suffix)
    // no digest: compressors that an earlier run has left in the folder may be of older code
    perform ([ restoring; building ] @ studying folder study options None)
    printfn $"Written to {shown folder}:"

    for file in Directory.GetFiles folder |> Array.sort do
        printfn $"    {Path.GetFileName file}  {float (FileInfo(file).Length) / 1024.0:F0} KiB"

    printfn $"Study {study} reproduced in {clock.Elapsed.TotalSeconds:F0} s."
    0
