/// The studies: their scripts, and one file for the numbers of all of them.
module Studies

#load "Building.fsx"

open System
open System.Diagnostics
open System.IO
open System.Runtime.InteropServices
open System.Text.Json
open System.Text.Json.Nodes
open Building
open Steps

/// What `reproduce` knows: a study, and its scripts in the order in which they build on each other.
let studies =
    Map
        [ ("power-law",
           [ "fig01-power-law-field"
             "fig02-power-law-training"
             "fig03-power-law-posterior"
             "fig04-power-law-summaries" ])
          ("dark-matter",
           [ "fig05-dark-matter-power"
             "fig06-dark-matter-field"
             "fig07-dark-matter-training"
             "fig08-dark-matter-posteriors"
             "fig09-dark-matter-information" ])
          ("correlated-log-normal",
           [ "fig10-correlated-log-normal-posteriors"
             "fig11-correlated-log-normal-summaries" ])
          ("simulation-budget", [ "fig12-simulation-budget"; "fig13-fig14-delfi-rounds"; "fig15-calibration" ])
          ("lensing",
           [ "fig16-lensing-maps"
             "fig19-lensing-posterior"
             "fig20-lensing-calibration"
             "fig21-lensing-budget" ]) ]

/// One results.json for a study: what each figure wrote, and where and how long it ran.
let merge (folder: string) (quick: bool) (seconds: (string * float) list) =
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

    let text = merged.ToJsonString(JsonSerializerOptions(WriteIndented = true))
    File.WriteAllText(Path.Combine(folder, "results.json"), text + "\n")

/// Options beyond --quick go to every script of the study. Figures of other modes than the default get a folder of their own.
let reproduce study (options: string list) =
    let quick = List.contains "--quick" options

    let suffix =
        match options |> List.tryFindIndex ((=) "--modes") with
        | Some at when at + 1 < options.Length && options[at + 1] <> "ideal" -> $"-{options[at + 1]}"
        | _ -> ""

    let scripts =
        match Map.tryFind study studies with
        | Some scripts -> scripts
        | None ->
            let known = String.Join(", ", studies.Keys)
            misuse $"Unknown study '{study}'; the studies are: {known}."

    let clock = Stopwatch.StartNew()
    let folder = artifacts (study + suffix)
    let results = Path.Combine(folder, "results")

    if Directory.Exists results then
        Directory.Delete(results, true) // numbers of an earlier run must not pass for this one's

    Directory.CreateDirectory results |> ignore
    let seconds = ResizeArray<string * float>()

    let running script =
        streaming script (fun () ->
            let own = Stopwatch.StartNew()
            let path = at $"scripts/{script}.fsx"

            let arguments = [ "fsi"; path; "--out"; folder ] @ options

            let code = stream "dotnet" arguments

            if code = continues then
                raise (
                    Stop($"{shown path} was stopped; the same command goes on from what is in {shown folder}.", code)
                )

            if code <> 0 then
                fail $"{shown path} failed (exit code {code}); the figures before it are in {shown folder}."

            seconds.Add(script, own.Elapsed.TotalSeconds))

    perform ([ restoring; building ] @ List.map running scripts)
    merge folder quick (List.ofSeq seconds)
    printfn $"Written to {shown folder}:"

    for file in Directory.GetFiles folder |> Array.sort do
        printfn $"    {Path.GetFileName file}  {float (FileInfo(file).Length) / 1024.0:F0} KiB"

    printfn $"Study {study} reproduced in {clock.Elapsed.TotalSeconds:F0} s."
    0
