namespace FieldImnn.Plots

open System
open FieldImnn
open FieldImnn.Core
open Plotly.NET

/// Losses of an ensemble, round by round.
module internal EnsembleLosses =
    /// The losses of the networks of a round in its panel; the first panel has the legend.
    let private networks panel first (records: EnsembleRecord[]) =
        let epochs = records |> Array.map (fun r -> float r.Epoch)

        [ for m in 0 .. records[0].Training.Length - 1 do
              // a network that has ended has no more losses
              let member' pick =
                  records
                  |> Array.map (fun r -> (pick r: float[])[m])
                  |> Array.takeWhile Double.IsFinite

              let draw name inLegend width dash losses =
                  Bands.line panel (Palette.line m) name inLegend width dash epochs losses false

              let name = $"network {m + 1}"
              draw $"{name}, training" false 1.0 StyleParam.DrawingStyle.Dot (member' _.Training)
              draw name first 2.0 StyleParam.DrawingStyle.Solid (member' _.HeldOut) ]

    /// From the lowest loss to what all but the first epochs reach.
    let private limits (rounds: (string * EnsembleRecord[]) list) =
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
        low - pad, high + pad

    let chart (rounds: (string * EnsembleRecord[]) list) =
        if rounds.IsEmpty || rounds |> List.exists (fun (_, r) -> r.Length = 0) then
            raise (SettingException("losses of an ensemble", "at least one round of at least one epoch", "none"))

        let frame, place = Style.row rounds.Length (250.0, 300.0) 20.0 80
        let limits = limits rounds

        let traces =
            rounds
            |> List.indexed
            |> List.collect (fun (i, (_, records)) -> networks (place i) (i = 0) records)

        let axes =
            [ for i, (_, records) in List.indexed rounds do
                  let y = if i = 0 then "−ln q(x | θ), whitened" else ""

                  Style.withPanel
                      frame
                      (place i)
                      ("epoch", Style.range (0.0, 1.02 * float records.Length) >> Style.ticks 4)
                      (y, Style.range limits >> (if i = 0 then Style.ticks 6 else Style.noTickLabels)) ]

        let headings =
            [ for i, (name, _) in List.indexed rounds -> Style.heading frame (place i) name ]

        Style.figure frame traces (axes @ [ Layout.style (Annotations = headings); Style.legendLine 0.12 ])
