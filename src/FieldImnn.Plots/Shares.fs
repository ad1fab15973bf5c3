namespace FieldImnn.Plots

open System
open FieldImnn.Core
open Plotly.NET
open Plotly.NET.LayoutObjects

/// One line of a figure of shares: what it is of, the share that is wanted, if any, and by name the shares that were measured, one for each seed.
type ShareRow =
    { Label: string
      Goal: float option
      Measured: (string * float[]) list }

/// Shares of a whole, in rows.
module internal Shares =
    /// Shares below this are written at the left edge, where an arrow stands for them.
    let least = 0.8

    let private most = 1.05
    let private rowHeight = 30.0

    let private median (values: float[]) =
        let sorted = Array.sort values
        let n = sorted.Length
        (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0

    let private check rows =
        if List.isEmpty rows then
            raise (SettingException("rows of shares", "at least one", "none"))

        for row in rows do
            for name, values in row.Measured do
                if Array.isEmpty values || Array.exists (Double.IsFinite >> not) values then
                    raise (
                        NonFiniteException($"shares of {name} in '{row.Label}'", "finite numbers", "none, or others")
                    )

    let private names rows =
        rows |> List.collect (fun r -> List.map fst r.Measured) |> List.distinct

    /// Where row i of n is drawn: the first at the top.
    let private height n i = float (n - i)

    let private markers name colour symbol size opacity shown (points: (float * float) list) =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = List.map fst points,
                Y = List.map snd points,
                Name = name,
                Mode = StyleParam.Mode.Markers,
                ShowLegend = shown,
                Marker =
                    TraceObjects.Marker.init (
                        Color = colour,
                        Size = size,
                        Symbol = symbol,
                        Opacity = opacity,
                        Outline = Line.init (Color = colour, Width = 2.0)
                    ),
                XAxis = StyleParam.LinearAxisId.X 1,
                YAxis = StyleParam.LinearAxisId.Y 1
            )
        )
        :> Trace

    /// Medians, the seeds beside them, and an arrow at the edge for what lies beyond it.
    let private candidate rows i name =
        let n = List.length rows

        let found =
            rows
            |> List.mapi (fun at row -> at, row.Measured |> List.tryFind (fst >> (=) name))
            |> List.choose (fun (at, m) -> m |> Option.map (fun (_, values) -> height n at, values))

        let inside, beyond =
            found |> List.partition (fun (_, values) -> median values >= least)

        let seeds =
            [ for y, values in inside do
                  for v in values do
                      if v >= least then
                          min v most, y ]

        [ markers
              name
              (Palette.line i)
              StyleParam.MarkerSymbol.Circle
              11
              1.0
              true
              (inside |> List.map (fun (y, values) -> min (median values) most, y))
          markers name (Palette.line i) StyleParam.MarkerSymbol.Circle 5 0.45 false seeds
          markers
              name
              (Palette.line i)
              StyleParam.MarkerSymbol.TriangleLeft
              11
              1.0
              false
              (beyond |> List.map (fun (y, _) -> least + 0.002, y)) ]

    let private goals rows =
        let n = List.length rows

        rows
        |> List.mapi (fun at row -> row.Goal |> Option.map (fun goal -> goal, height n at))
        |> List.choose id
        |> markers
            "wanted"
            Palette.ink
            (StyleParam.MarkerSymbol.Modified(StyleParam.MarkerSymbol.LineNS, StyleParam.SymbolStyle.Open))
            16
            1.0
            true

    let private whole n =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = [ 1.0; 1.0 ],
                Y = [ 0.3; float n + 0.7 ],
                Mode = StyleParam.Mode.Lines,
                ShowLegend = false,
                Line = Line.init (Color = Palette.ink, Width = 1.5, Dash = StyleParam.DrawingStyle.Dash),
                XAxis = StyleParam.LinearAxisId.X 1,
                YAxis = StyleParam.LinearAxisId.Y 1
            )
        )
        :> Trace

    let private rowNames rows (axis: LinearAxis) =
        let n = List.length rows

        axis
        |> Style.range (0.3, float n + 0.7)
        |> LinearAxis.style (
            TickMode = StyleParam.TickMode.Array,
            TickVals = [ for i in 0 .. n - 1 -> height n i ],
            TickText = (rows |> List.map _.Label),
            ShowGrid = true,
            GridColor = Color.fromHex "#E8E8E8"
        )

    let chart title (rows: ShareRow list) =
        check rows
        let n, names = rows.Length, names rows
        let columns, above = Style.legendAbove 620.0 ("wanted" :: names)
        let frame, panel = Style.single (620.0, rowHeight * float n) (40 + above) 26
        let longest = rows |> List.map (fun r -> r.Label.Length) |> List.max

        let frame =
            { frame with
                MarginLeft = 30 + 8 * longest }

        Style.figure
            frame
            (whole n :: goals rows :: (names |> List.mapi (candidate rows) |> List.concat))
            [ Style.withPanel frame panel (title, Style.range (least, most) >> Style.ticks 6) ("", rowNames rows)
              Style.withLegendAbove frame columns ]
