/// Neural likelihood against the published table: dotnet run -c Release --project benchmarks/FieldImnn.Sbibm -- DATA OUT.json [--full]
/// [--only TASK] [--sizes 1000,10000] [--seed N]. Goals: at or below every published value of MAF; two_moons at 10,000 at most 0.60.
module Program

open System
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Runtime
open Task

type private Options =
    { Sizes: int list
      Only: string option
      Seed: uint64 }

let rec private read options =
    function
    | [] -> options
    | "--full" :: rest ->
        read
            { options with
                Sizes = [ 1000; 10000; 100000 ] }
            rest
    | "--only" :: task :: rest -> read { options with Only = Some task } rest
    | "--sizes" :: (list: string) :: rest ->
        read
            { options with
                Sizes = list.Split ',' |> Array.map int |> List.ofArray }
            rest
    | "--seed" :: (seed: string) :: rest -> read { options with Seed = uint64 seed } rest
    | other :: _ -> raise (SettingException("option", "--full, --only TASK, --sizes N,N or --seed N", other))

let private goal (run: Runs.Run) =
    let published =
        run.Published
        |> List.filter (fun p -> p.Estimator = "MAF")
        |> List.choose (fun p -> p.Values.TryFind run.Simulations)

    if run.Task = "two_moons" && run.Simulations = 10000 then
        List.min (0.60 :: published)
    else
        List.fold min 1.0 published

let private print (run: Runs.Run) =
    let each = run.C2st |> List.map (sprintf "%.3f") |> String.concat ", "

    let published =
        run.Published
        |> List.choose (fun p ->
            p.Values.TryFind run.Simulations
            |> Option.map (fun v -> $"{p.Estimator} {v:F3}"))
        |> String.concat ", "

    let kinds = String.concat "; " (run.Kinds @ run.Warnings)
    let mean = List.average run.C2st
    let verdict = if mean <= goal run then "reached" else "MISSED"

    Console.WriteLine(
        $"{run.Task, -24} {run.Method, -5} {run.Simulations, 7}  C2ST {mean:F3} ({each})  published {published}: {verdict}  {run.Seconds:F0} s  τ {run.AutocorrelationTime:F0}, {run.Stuck} stuck; {kinds}"
    )

let private texts (list: string list) : JsonNode =
    JsonArray(list |> List.map Report.value |> Array.ofList)

let private json (run: Runs.Run) =
    Report.fields
        [ "task", Report.value run.Task
          "method", Report.value run.Method
          "simulations", Report.value run.Simulations
          "c2st", Report.numbers run.C2st
          "mean", Report.value (List.average run.C2st)
          "goal", Report.value (goal run)
          "published",
          Report.fields
              [ for p in run.Published do
                    match p.Values.TryFind run.Simulations with
                    | Some v -> p.Estimator, Report.value v
                    | None -> () ]
          "seconds", Report.value run.Seconds
          "autocorrelationTime", Report.value run.AutocorrelationTime
          "stuckWalkers", Report.value run.Stuck
          "kinds", texts run.Kinds
          "warnings", texts run.Warnings ]

let private benchmark data out options =
    let tasks =
        Tasks.all |> List.filter (fun t -> options.Only |> Option.forall ((=) t.Name))

    let runs =
        [ for task in tasks do
              let observations = Task.observations data task |> List.ofArray

              for size in options.Sizes do
                  for run in [ Runs.single; Runs.sequential ] do
                      let result = run options.Seed task size observations
                      print result
                      result ]

    Report.writeJson out (JsonArray(runs |> List.map json |> Array.ofList))

    if runs |> List.forall (fun r -> List.average r.C2st <= goal r) then
        0
    else
        1

[<EntryPoint>]
let main arguments =
    TorchRuntime.Configure()
    System.Globalization.CultureInfo.CurrentCulture <- System.Globalization.CultureInfo.InvariantCulture

    try
        match List.ofArray arguments with
        | data :: out :: rest ->
            read
                { Sizes = [ 1000; 10000 ]
                  Only = None
                  Seed = 1UL }
                rest
            |> benchmark data out
        | _ ->
            eprintfn "expected: DATA OUT.json [--full] [--only TASK] [--sizes N,N] [--seed N]"
            2
    with :? FieldImnnException as error ->
        eprintfn $"error: {error.Message}"
        2
