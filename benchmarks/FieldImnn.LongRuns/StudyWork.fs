/// A figure of a study as work: training, simulations, ABC, the exact posterior, and what is written of them.
module StudyWork

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open FieldImnn.Core

let name = "study"

let private script = Path.Combine("scripts", "fig03-power-law-posterior.fsx")

/// The folder of the repository, above this program's.
let private root () =
    let rec up (folder: DirectoryInfo) =
        match folder with
        | null -> raise (StoreException(script, "a script in a folder above this program", "none"))
        | folder when File.Exists(Path.Combine(folder.FullName, script)) -> folder.FullName
        | folder -> up folder.Parent

    up (DirectoryInfo AppContext.BaseDirectory)

/// Takes out what tells of the clock, which is another in every run.
let rec private timeless (node: JsonNode) =
    match node with
    | :? JsonObject as fields ->
        for key in fields |> Seq.map _.Key |> List.ofSeq do
            if key = "seconds" then
                fields.Remove key |> ignore
            else
                timeless fields[key]
    | :? JsonArray as items -> items |> Seq.iter timeless
    | _ -> ()

/// The numbers behind the figure.
let private numbers folder =
    Directory.GetFiles(Path.Combine(folder, "results"))
    |> Array.sort
    |> Array.map (fun path ->
        let json = JsonNode.Parse(File.ReadAllText path)
        timeless json
        json.ToJsonString())
    |> String.concat "\n"

let ofScript () : Kills.Killable =
    let path = Path.Combine(root (), script)

    { Name = name
      Start = fun folder -> ProcessStartInfo("dotnet", [ "fsi"; path; "--quick"; "--out"; folder ])
      Digest = numbers }
