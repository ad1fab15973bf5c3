/// Runs that take long: dotnet run -c Release --project benchmarks/FieldImnn.LongRuns -- OUT COMMAND
module Program

open System.Diagnostics
open System.IO
open System.Reflection
open FieldImnn
open FieldImnn.Core

let private usage =
    "OUT resume [--work NAME,NAME] [--kills N] [--seed N] | OUT soak [--steps N] [--simulations N] | OUT checkpoints | FOLDER do NAME"

/// Work of a name, by this program in a process of its own.
let private own (name: string) : Kills.Killable =
    { Name = name
      Start = fun folder -> ProcessStartInfo("dotnet", [ Assembly.GetExecutingAssembly().Location; folder; "do"; name ])
      Digest = Work.digestFile >> File.ReadAllText }

/// Options by name, each with a value.
let rec private options (known: string list) (arguments: string list) =
    match arguments with
    | [] -> Map.empty
    | name :: value :: rest when List.contains name known -> options known rest |> Map.add name value
    | other -> raise (SettingException("options", usage, String.concat " " other))

let private number name (otherwise: int) (given: Map<string, string>) =
    given.TryFind name |> Option.map int |> Option.defaultValue otherwise

let private kills out arguments =
    let given = options [ "--work"; "--kills"; "--seed" ] arguments

    let names =
        match given.TryFind "--work" with
        | Some names -> names.Split ',' |> List.ofArray
        | None -> List.map fst Work.all @ [ StudyWork.name ]

    [ for name in names do
          let work =
              if name = StudyWork.name then
                  StudyWork.ofScript ()
              else
                  own name

          Kills.run
              System.Console.WriteLine
              work
              (Path.Combine(out, "runs"))
              (number "--seed" 1 given)
              (number "--kills" 24 given)
          |> Kills.cell ]
    |> Cells.summarise out "resume" Kills.table (fun c -> c["different"].GetValue<int>() = 0)

let private soak out arguments =
    let given = options [ "--steps"; "--simulations" ] arguments

    Soak.run (number "--steps" 20000 given) (number "--simulations" 1000000 given)
    |> List.map Soak.cell
    |> Cells.summarise out "soak" Soak.table (fun c -> c["flat"].GetValue<bool>())

let private command out arguments =
    match arguments with
    | "resume" :: rest -> kills out rest
    | "soak" :: rest -> soak out rest
    | [ "checkpoints" ] ->
        Checkpoints.run out
        |> Cells.summarise out "checkpoints" Checkpoints.table (fun c ->
            c["shareAtThirtySeconds"].GetValue<float>() < 0.02)
    | [ "do"; name ] ->
        Work.perform name out
        0
    | other -> raise (SettingException("command", usage, String.concat " " other))

[<EntryPoint>]
let main arguments = Cells.main usage command arguments
