namespace FieldImnn.Plots

open System
open FieldImnn.Core
open Plotly.NET

/// How the values of a field become colours.
type FieldColours =
    /// Viridis between the 0.2 % and 99.8 % quantiles: a few extreme pixels do not darken the rest.
    | Sequential
    /// Blue–white–red, symmetric about zero, to the 99.8 % quantile of |value|.
    | Diverging

/// Fields as images with square pixels: value.[row, column], the row counted upwards.
module internal Field =
    let private quantile q (sorted: float[]) =
        sorted[int (round (q * float (sorted.Length - 1)))]

    let private limits colours (field: float[,]) =
        let values = field |> Seq.cast<float> |> Seq.filter Double.IsFinite |> Seq.toArray

        if values.Length = 0 then
            raise (NonFiniteException("field", "at least one finite value", "none"))

        let low, high =
            match colours with
            | Sequential ->
                let sorted = Array.sort values
                quantile 0.002 sorted, quantile 0.998 sorted
            | Diverging ->
                let reach = values |> Array.map abs |> Array.sort |> quantile 0.998
                -reach, reach

        if high > low then low, high else low - 1.0, high + 1.0

    /// Limits that serve several fields.
    let shared colours (fields: float[,] list) =
        let lows, highs = fields |> List.map (limits colours) |> List.unzip
        List.min lows, List.max highs

    /// A field between the limits of a scale, which is shown beside it or not.
    let imageWithin (low: float, high: float) showScale (frame: Canvas) (panel: Panel) colours (field: float[,]) =
        let rows, columns = Array2D.length1 field, Array2D.length2 field

        let bar =
            ColorBar.init (
                X = (panel.Left + panel.Width + 10.0) / frame.AreaWidth,
                XAnchor = StyleParam.HorizontalAlign.Left,
                XPad = 0.0,
                Y = (panel.Bottom + panel.Height / 2.0) / frame.AreaHeight,
                YAnchor = StyleParam.VerticalAlign.Middle,
                YPad = 0.0,
                LenMode = StyleParam.UnitMode.Fraction,
                Len = panel.Height / frame.AreaHeight,
                ThicknessMode = StyleParam.UnitMode.Pixels,
                Thickness = 14.0,
                OutlineColor = Palette.ink,
                OutlineWidth = 1.0,
                Ticks = StyleParam.TickOptions.Outside,
                TickLen = 4.0,
                TickFont = Style.font 14.0,
                NTicks = 6,
                ExponentFormat = StyleParam.ExponentFormat.Power
            )

        Trace2D.initHeatmap (
            Trace2DStyle.Heatmap(
                X = Seq.init columns id,
                Y = Seq.init rows id,
                Z = Seq.init rows (fun r -> Array.init columns (fun c -> field[r, c])),
                ZMin = low,
                ZMax = high,
                ColorScale =
                    (match colours with
                     | Sequential -> Palette.sequential
                     | Diverging -> Palette.diverging),
                ShowScale = showScale,
                ColorBar = bar,
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel,
                HoverTemplate = "(%{x}, %{y})  %{z:.4g}<extra></extra>"
            )
        )
        :> Trace

    let private image frame panel colours field =
        imageWithin (limits colours field) true frame panel colours field

    /// Panels side by side, as tall as the first, each with its own colour bar.
    let panels (side: float) (content: (string * FieldColours * float[,]) list) =
        if content.IsEmpty then
            raise (SettingException("panels", "at least one field", "none"))

        let gap = 92.0
        let n = content.Length

        let frame =
            { AreaWidth = float n * side + float (n - 1) * gap
              AreaHeight = side
              MarginLeft = 72
              MarginRight = 90
              MarginTop = 46
              MarginBottom = 66
              Rigid = true }

        let placed =
            content
            |> List.mapi (fun k (title, colours, field) ->
                let panel =
                    { Id = k + 1
                      Left = float k * (side + gap)
                      Bottom = 0.0
                      Width = side
                      Height = side }

                panel, title, colours, field)

        let axes =
            placed
            |> List.map (fun (panel, _, _, field) ->
                let toEdge n axis =
                    axis |> Style.range (-0.5, float n - 0.5) |> Style.ticks 6

                let first = panel.Id = 1

                Style.withPanel
                    frame
                    panel
                    ("x [pixel]", toEdge (Array2D.length2 field))
                    ((if first then "y [pixel]" else ""),
                     toEdge (Array2D.length1 field) >> (if first then id else Style.noTickLabels)))

        let headings =
            placed |> List.map (fun (panel, title, _, _) -> Style.heading frame panel title)

        Style.figure
            frame
            (placed
             |> List.map (fun (panel, _, colours, field) -> image frame panel colours field))
            (axes @ [ Layout.style (Annotations = headings) ])

    /// Derivatives carry ∂ in their title; they are signed, and get the diverging colours.
    let coloursFor (title: string) =
        if title.Contains '∂' then Diverging else Sequential
