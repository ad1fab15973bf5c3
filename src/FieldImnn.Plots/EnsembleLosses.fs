namespace FieldImnn.Plots

open System
open FieldImnn
open FieldImnn.Core
open Plotly.NET

/// Losses of an ensemble, round by round.
module internal EnsembleLosses =
    let chart (rounds: (string * EnsembleRecord[]) list) =
        if rounds.IsEmpty || rounds |> List.exists (fun (_, r) -> r.Length = 0) then
            raise (SettingException("losses of an ensemble", "at least one round of at least one epoch", "none"))

        let frame, place = Style.row rounds.Length (250.0, 300.0) 20.0 80

        let values =
            rounds
            |> List.collect (fun (_, r) ->
                r
                |> Array.toList
                |> List.collect (fun e -> [ yield! e.Training; yield! e.HeldOut ]))
            |> List.filter Double.IsFinite
            |> List.sort

        // the first epochs may start far above what is of interest
        let low, high = List.head values, values[int (0.98 * float (values.Length - 1))]
        let pad = 0.06 * (high - low)

        let traces =
            [ for i, (_, records) in List.indexed rounds do
                  let epochs = records |> Array.map (fun r -> float r.Epoch)

                  for m in 0 .. records[0].Training.Length - 1 do
                      // a network that has ended has no more losses
                      let member' pick =
                          records
                          |> Array.map (fun r -> (pick r: float[])[m])
                          |> Array.takeWhile Double.IsFinite

                      let colour = Palette.line m
                      let panel = place i
                      let name = $"network {m + 1}"

                      Bands.line
                          panel
                          colour
                          $"{name}, training"
                          false
                          1.0
                          StyleParam.DrawingStyle.Dot
                          epochs
                          (member' _.Training)
                          false

                      Bands.line
                          panel
                          colour
                          name
                          (i = 0)
                          2.0
                          StyleParam.DrawingStyle.Solid
                          epochs
                          (member' _.HeldOut)
                          false ]

        let axes =
            [ for i, (_, records) in List.indexed rounds do
                  let y = if i = 0 then "−ln q(x | θ), whitened" else ""

                  Style.withPanel
                      frame
                      (place i)
                      ("epoch", Style.range (0.0, 1.02 * float records.Length) >> Style.ticks 4)
                      (y,
                       Style.range (low - pad, high + pad)
                       >> (if i = 0 then Style.ticks 6 else Style.noTickLabels)) ]

        let headings =
            [ for i, (name, _) in List.indexed rounds -> Style.heading frame (place i) name ]

        Style.figure frame traces (axes @ [ Layout.style (Annotations = headings); Style.legendLine 0.12 ])
