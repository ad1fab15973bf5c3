/// Ticks of axes: labels that have room, and numbers that are those of their places. Truths: the labels' widths, and the numbers read back.
module TicksTests

open System
open Expecto
open FieldImnn.Plots
open PlotTests

/// The number that a label stands for, with what stands in the title.
let private labelled (ticks: Ticks) (label: string) =
    let number (text: string) =
        Double.Parse(text.Replace('−', '-'), Globalization.CultureInfo.InvariantCulture)

    (if ticks.Offset = "" then 0.0 else number ticks.Offset)
    + number label * 10.0 ** float ticks.Exponent

/// Axes of any place and width: of 1 ± 10⁻⁸, of 10⁻⁹, of −12345 ± 3.
let private anyAxes =
    [ let random = Random 3

      for _ in 1..300 do
          let middle =
              (2.0 * random.NextDouble() - 1.0) * 10.0 ** (24.0 * random.NextDouble() - 12.0)

          let width = (abs middle) * 10.0 ** (10.0 * random.NextDouble() - 9.0)
          middle - width * random.NextDouble(), middle + width

      0.9998, 1.0002
      0.5e-9, 1.5e-9
      -12360.0, -12330.0
      0.0, 1.0 ]

let tests =
    testList
        "ticks"
        [ test "labels touch neither each other nor the panel beside, are two or more, and mean where they stand" {
              for low, high in anyAxes do
                  for side in [ 170.0; 210.0; 270.0 ] do
                      for vertical in [ false; true ] do
                          let ticks = Ticks.choose vertical side 5 (low, high)
                          let what = $"{low} … {high}, {side} pixels"
                          Expect.isGreaterThanOrEqual ticks.Values.Length 2 what
                          Expect.equal ticks.Labels.Length ticks.Values.Length what

                          let room =
                              ticks.Labels
                              |> Array.map (fun label -> if vertical then 14.0 else 14.0 * Style.width label)

                          let places = ticks.Values |> Array.map (fun v -> (v - low) / (high - low) * side)

                          for i in 0 .. places.Length - 1 do
                              Expect.isTrue
                                  (places[i] - 0.5 * room[i] > -6.0 && places[i] + 0.5 * room[i] < side + 6.0)
                                  $"{what}: {ticks.Labels[i]} beyond the panel"

                              if i > 0 then
                                  Expect.isGreaterThan
                                      (places[i] - places[i - 1])
                                      (0.5 * (room[i] + room[i - 1]) + 4.0)
                                      $"{what}: {ticks.Labels[i - 1]} and {ticks.Labels[i]}"

                              Expect.isLessThan
                                  (abs (labelled ticks ticks.Labels[i] - ticks.Values[i]) / (high - low))
                                  0.005
                                  $"{what}: {ticks.Labels[i]} for {ticks.Values[i]}"
          }

          test "numbers are written as people do, and what is taken out of them stands in the title" {
              for (low, high), labels, title in
                  [ (0.0, 1.0), [ "0.2"; "0.4"; "0.6"; "0.8" ], "A"
                    (0.9998, 1.0002), [ "0.9999"; "1.0000"; "1.0001" ], "A"
                    (0.5e-9, 1.5e-9), [ "0.6"; "0.8"; "1.0"; "1.2"; "1.4" ], "A [10<sup>−9</sup>]"
                    (0.999999996, 1.000000004), [ "−2"; "0"; "2" ], "A − 1 [10<sup>−9</sup>]"
                    (-5e7, 5e7), [ "−4"; "−2"; "0"; "2"; "4" ], "A [10<sup>7</sup>]" ] do
                  let ticks = Ticks.choose false 270.0 6 (low, high)
                  Expect.equal (List.ofArray ticks.Labels) labels $"{low} … {high}"
                  Expect.equal (Ticks.title "A" ticks) title $"{low} … {high}"
          }

          test "a corner has these ticks along its left and bottom" {
              let chart = Plot.corner [ ("exact", gaussian 0.6) ] None
              let page = Export.page chart
              Expect.stringContains page "tickvals" "values"
              Expect.stringContains page "ticktext" "labels"
          } ]
