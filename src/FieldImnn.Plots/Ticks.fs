namespace FieldImnn.Plots

open System
open System.Globalization
open Plotly.NET
open Plotly.NET.LayoutObjects

/// Where an axis has its ticks, their labels, and what of the numbers stands in its title: a tick is offset + label · 10^exponent.
type internal Ticks =
    { Values: float[]
      Labels: string[]
      Offset: string
      Exponent: int }

/// Ticks whose labels touch neither each other nor those of the panel beside: those of plotly.js do where panels are narrow, ranges small
/// (0.9998 … 1.0002) or numbers tiny (10⁻⁹).
module internal Ticks =
    /// Size of the labels in pixels.
    let private size = 14.0
    /// Digits of a label, at the most.
    let private digits = 5
    /// Pixels that a label may reach beyond its panel: less than half of the gap between panels.
    let private beyond = 3.0

    let private decade (v: float) = int (floor (log10 (abs v) + 1e-9))

    /// A number with so many decimals, with a true minus.
    let private text decimals (v: float) =
        let v = if v = 0.0 then 0.0 else v // no −0

        v.ToString($"F{min 99 (max 0 decimals)}", CultureInfo.InvariantCulture).Replace('-', '−')

    /// A number without zeros at its end.
    let private short (number: string) =
        if number.Contains '.' then
            number.TrimEnd('0').TrimEnd '.'
        else
            number

    /// Labels of numbers that are multiples of a step: as they are if they are short, else with a power of ten taken out; None if they are
    /// long even so.
    let private write (step: float) (values: float[]) =
        let largest = values |> Array.map abs |> Array.max
        let decimals = max 0 -(decade step)
        let whole = if largest >= 10.0 then decade largest + 1 else 1
        let small = largest < 0.01 && decimals > 3

        if largest = 0.0 || (whole + decimals <= digits && not small) then
            Some(values |> Array.map (text decimals), 0)
        else
            let exponent = decade largest
            let decimals = exponent - decade step

            if decimals + 1 <= digits then
                Some(values |> Array.map (fun v -> text decimals (v / 10.0 ** float exponent)), exponent)
            else
                None

    /// The ticks at the multiples of a step, if their labels are short.
    let private plain step (values: float[]) =
        write step values
        |> Option.map (fun (labels, exponent) ->
            { Values = values
              Labels = labels
              Offset = ""
              Exponent = exponent })

    /// The same, written as differences from one of them.
    let private differences step (values: float[]) =
        let offset = values[values.Length / 2]

        values
        |> Array.map (fun v -> round ((v - offset) / step) * step)
        |> write step
        |> Option.map (fun (labels, exponent) ->
            { Values = values
              Labels = labels
              Offset = short (text -(decade step) offset)
              Exponent = exponent })

    /// Pixels that a label takes along a horizontal axis; along a vertical one it takes its height.
    let private extent vertical (label: string) =
        if vertical then 1.3 * size else size * Style.width label

    let private pick (kept: int[]) ticks =
        { ticks with
            Values = kept |> Array.map (fun i -> ticks.Values[i])
            Labels = kept |> Array.map (fun i -> ticks.Labels[i]) }

    /// Every k-th of the ticks that lie within a panel's side with their labels, the first of them or a later one, whichever leaves more;
    /// None if labels touch.
    let private within vertical side (low: float, high: float) k (ticks: Ticks) =
        let middle i =
            (ticks.Values[i] - low) / (high - low) * side

        let half i = 0.5 * extent vertical ticks.Labels[i]

        let inside i =
            middle i - half i >= -beyond && middle i + half i <= side + beyond

        let kept =
            [| for first in 0 .. k - 1 -> [| first..k .. ticks.Values.Length - 1 |] |> Array.filter inside |]
            |> Array.maxBy Array.length

        if
            Array.pairwise kept
            |> Array.forall (fun (i, j) -> middle j - middle i >= half i + half j + 8.0)
        then
            Some(pick kept ticks)
        else
            None

    let private none =
        { Values = [||]
          Labels = [||]
          Offset = ""
          Exponent = 0 }

    /// Steps of 1, 2 and 5 times powers of ten, from the one next below the `most`-th part of an axis on, with their multiples between its ends.
    let private steps most (low: float, high: float) =
        let unit = 10.0 ** float (decade ((high - low) / float (most: int)))

        [ for step in [ 1.0; 2.0; 5.0; 10.0; 20.0 ] |> List.map ((*) unit) do
              let first, last = ceil (low / step - 1e-6), floor (high / step + 1e-6)

              if first <= last then
                  step, [| for k in first..last -> k * step |] ]

    /// The multiples of the finest of these steps of which no more than so many go into an axis.
    let multiples most (low: float, high: float) : float[] =
        steps most (low, high)
        |> List.tryFind (fun (step, _) -> step * float (most: int) >= high - low)
        |> Option.map snd
        |> Option.defaultValue [||]

    /// The ticks at 1, 2 and 5 times powers of ten between the ends of an axis, this many at the most, of a panel's side in pixels: the
    /// finest for which there is room; every second or third of them, where fewer than two would be left of coarser ones; differences from one
    /// of them, where these do not help.
    let choose vertical (side: float) most (low: float, high: float) : Ticks =
        let finest = (high - low) / float (most: int)
        let candidates = steps most (low, high)

        [ for write in [ plain; differences ] do
              for k in 1..3 do
                  for step, values in candidates do
                      if float k * step >= finest then
                          yield!
                              write step values
                              |> Option.bind (within vertical side (low, high) k)
                              |> Option.toList ]
        |> List.sortByDescending (fun ticks -> min 2 ticks.Values.Length) // stable: the first of those with two
        |> List.tryHead
        |> Option.defaultValue none

    /// A name with what was taken out of the labels: "A − 1 [10⁻⁶]".
    let title (name: string) ticks =
        let less =
            if ticks.Offset = "" then
                ""
            elif ticks.Offset.StartsWith '−' then
                $" + {ticks.Offset.Substring 1}"
            else
                $" − {ticks.Offset}"

        let power =
            if ticks.Exponent = 0 then
                ""
            else
                let exponent = (string ticks.Exponent).Replace('-', '−')
                $" [10<sup>{exponent}</sup>]"

        name + less + power

    /// An axis with these ticks.
    let on ticks (axis: LinearAxis) =
        axis
        |> LinearAxis.style (TickMode = StyleParam.TickMode.Array, TickVals = ticks.Values, TickText = ticks.Labels)
