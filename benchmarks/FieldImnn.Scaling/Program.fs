/// What a simulation of the default training costs against its sizes: dotnet run -c Release --project benchmarks/FieldImnn.Scaling -- OUT
/// [--repetitions N]. Everything is measured in turn within this run, on one thread.
module Program

open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Runtime
open FieldImnn.Plots
open Series

let private usage = "OUT [--repetitions N]"

let private cell (series: Series) (points: Point list) : JsonNode =
    Report.fields
        [ "series", Report.value series.Name
          "unit", Report.value series.Unit
          "sizes", Report.numbers (points |> List.map _.Size |> Array.ofList)
          "milliseconds", Report.numbers (points |> List.map (fun p -> 1e3 * p.Seconds) |> Array.ofList)
          "slope", Report.value (slope points)
          "goal", Report.value series.Goal
          "reached", Report.value (slope points <= series.Goal) ]

/// Cost against size, both relative to the smallest of a series, with the line of slope one.
let private figure (measured: (Series * Point list) list) =
    let curve (series: Series, points: Point list) =
        let first = points.Head

        { Name = $"%s{series.Name}: slope %.2f{slope points}"
          X = points |> List.map (fun p -> p.Size / first.Size) |> Array.ofList
          Y = points |> List.map (fun p -> p.Seconds / first.Seconds) |> Array.ofList
          Errors = [||]
          Style = Marked }

    let curves = measured |> List.map curve
    let most = curves |> List.map (fun c -> Array.max c.X) |> List.max

    let linear =
        { Name = "proportional"
          X = [| 1.0; most |]
          Y = [| 1.0; most |]
          Errors = [||]
          Style = Dashed }

    let axis title = { Title = title; Logarithmic = true }

    Plot.curves
        (axis "size / smallest of the series")
        (axis "seconds a simulation / those of the smallest")
        (curves @ [ linear ])
    |> Plot.withCaption
        "Time for one simulation with its derivatives and the default features of both, on one thread, against one size at a time: 2 parameters, 1 channel and 64² pixels where nothing else is said. Features come from more bands of power."

let private benchmark out arguments =
    let repetitions =
        match arguments with
        | [] -> 7
        | [ "--repetitions"; n ] -> int (Guard.AtLeast("repetitions", 1L, int64 n))
        | other -> raise (SettingException("options", usage, String.concat " " other))

    let measured =
        TorchRuntime.OnOneThread(fun () ->
            [ for series in all do
                  let points = series.Cases() |> List.map (measure repetitions)
                  printfn $"{Tables.scaling [ cell series points ] |> List.last}"
                  series, points ])

    figure measured |> Export.figure out "scaling"

    measured
    |> List.map (fun (series, points) -> cell series points)
    |> Cells.summarise out "scaling" Tables.scaling (fun c -> c["reached"].GetValue<bool>())

[<EntryPoint>]
let main arguments = Cells.main usage benchmark arguments
