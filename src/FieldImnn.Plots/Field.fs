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

/// An image with its heading and the names of its axes.
type internal FieldPanel =
    {
        Title: string
        Colours: FieldColours
        /// Of the colours, where other panels share them.
        Limits: (float * float) option
        /// Whether the scale stands beside it.
        Bar: bool
        AxisX: string
        AxisY: string
        Values: float[,]
    }

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

    /// Panels in rows, as tall as the first; each has its own colour bar unless it shares another's limits.
    let rows (side: float) (content: FieldPanel list list) =
        if content.IsEmpty || content |> List.exists List.isEmpty then
            raise (SettingException("panels", "at least one field", "none"))

        let columns = content |> List.map List.length |> List.max
        let gapX, gapY = 92.0, 104.0

        let frame =
            { AreaWidth = float columns * side + float (columns - 1) * gapX
              AreaHeight = float content.Length * side + float (content.Length - 1) * gapY
              MarginLeft = 72
              MarginRight = 90
              MarginTop = 46
              MarginBottom = 66
              Rigid = true }

        let placed =
            content
            |> List.mapi (fun r row ->
                row
                |> List.mapi (fun c shown ->
                    { Id = r * columns + c + 1
                      Left = float c * (side + gapX)
                      Bottom = float (content.Length - 1 - r) * (side + gapY)
                      Width = side
                      Height = side },
                    shown,
                    // a row of fields of one kind names its axis once
                    c = 0 || shown.AxisY <> row[c - 1].AxisY || shown.Limits.IsSome))
            |> List.concat

        let toEdge n axis =
            axis |> Style.range (-0.5, float n - 0.5) |> Style.ticks 6

        let axes =
            placed
            |> List.map (fun (panel, shown, named) ->
                Style.withPanel
                    frame
                    panel
                    (shown.AxisX, toEdge (Array2D.length2 shown.Values))
                    ((if named then shown.AxisY else ""),
                     toEdge (Array2D.length1 shown.Values)
                     >> (if named then id else Style.noTickLabels)))

        let headings =
            placed
            |> List.map (fun (panel, shown, _) -> Style.heading frame panel shown.Title)

        let images =
            placed
            |> List.map (fun (panel, shown, _) ->
                let within =
                    shown.Limits |> Option.defaultWith (fun () -> limits shown.Colours shown.Values)

                imageWithin within shown.Bar frame panel shown.Colours shown.Values)

        Style.figure frame images (axes @ [ Layout.style (Annotations = headings) ])

    /// Panels side by side, each with its own colour bar.
    let panels (side: float) (content: (string * FieldColours * float[,]) list) =
        rows
            side
            [ content
              |> List.map (fun (title, colours, values) ->
                  { Title = title
                    Colours = colours
                    Limits = None
                    Bar = true
                    AxisX = "x [pixel]"
                    AxisY = "y [pixel]"
                    Values = values }) ]

    /// Derivatives carry ∂ in their title; they are signed, and get the diverging colours.
    let coloursFor (title: string) =
        if title.Contains '∂' then Diverging else Sequential
