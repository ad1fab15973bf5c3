/// What benchmarks of many cells share: each cell is a file, so that a run that was stopped goes on, and all cells make a table.
module Cells

open System
open System.Globalization
open System.IO
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core.Runtime

/// The folder of the cells in a benchmark's own.
let folder out = Path.Combine(out, "cells")

let read (path: string) = JsonNode.Parse(File.ReadAllText path)

/// A cell as whoever reads its file has it: a node that was just made knows a number by the type that it was made of, and gives it as no other.
let asRead (cell: JsonNode) = JsonNode.Parse(cell.ToJsonString())

/// Writes a cell, and prints its line of the table, which is of what was written.
let write table path (cell: JsonNode) =
    Report.writeJson path cell
    ConsoleProgress.finish ()
    printfn $"{table [ read path ] |> List.last}"

/// Writes all cells to NAME.json, and their table to NAME.md and the console; the exit code is 1 where one is not as wanted.
let summarise out name table reached (cells: JsonNode list) =
    let lines: string list = table cells
    File.WriteAllLines(Path.Combine(out, $"{name}.md"), lines)
    lines |> List.iter Console.WriteLine

    Report.writeJson
        (Path.Combine(out, $"{name}.json"))
        (JsonArray(cells |> List.map (fun c -> c.DeepClone()) |> Array.ofList))

    if List.forall reached cells then 0 else 1

/// The program: work in the folder OUT by the rest of the arguments, or how it is used; the exit code.
let main usage (work: string -> string list -> int) arguments =
    TorchRuntime.Configure()
    CultureInfo.DefaultThreadCurrentCulture <- CultureInfo.InvariantCulture

    match List.ofArray arguments with
    | [] ->
        eprintfn $"expected: {usage}"
        2
    | out :: rest ->
        let reached = ref 0

        let ended =
            CommandLine.guarded (fun () ->
                Files.ensureWritableFolder (folder out)
                reached.Value <- work out rest)

        if ended = 0 then reached.Value else ended
