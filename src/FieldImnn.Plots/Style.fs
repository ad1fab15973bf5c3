namespace FieldImnn.Plots

open System
open System.Globalization
open System.Text.RegularExpressions
open Plotly.NET
open Plotly.NET.LayoutObjects

/// A rectangle of the figure, in pixels from the lower left corner of the plot area; Id numbers its axes.
type internal Panel =
    { Id: int
      Left: float
      Bottom: float
      Width: float
      Height: float }

/// The plot area and the space around it, in pixels. A rigid frame keeps its shape when the figure is resized (square pixels).
type internal Canvas =
    { AreaWidth: float
      AreaHeight: float
      MarginLeft: int
      MarginRight: int
      MarginTop: int
      MarginBottom: int
      Rigid: bool }

/// Fonts, axes and frames: what all figures share.
module internal Style =
    let family =
        StyleParam.FontFamily.Custom "Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"

    let font size =
        Font.init (Family = family, Size = size, Color = Palette.ink)

    let title text =
        Title.init (Text = text, Font = font 17.0, Standoff = 10)

    let axisX (panel: Panel) = StyleParam.LinearAxisId.X panel.Id
    let axisY (panel: Panel) = StyleParam.LinearAxisId.Y panel.Id

    /// A boxed axis with outward ticks and no grid.
    let axis text (low: float, high: float) anchor (change: LinearAxis -> LinearAxis) =
        LinearAxis.init (
            Title = title text,
            AxisType = StyleParam.AxisType.Linear, // told, not guessed from the first trace
            ShowLine = true,
            LineColor = Palette.ink,
            LineWidth = 1.0,
            Mirror = StyleParam.Mirror.True,
            Ticks = StyleParam.TickOptions.Outside,
            TickLen = 5,
            TickColor = Palette.ink,
            TickFont = font 14.0,
            TickAngle = 0,
            ExponentFormat = StyleParam.ExponentFormat.Power,
            ShowGrid = false,
            ZeroLine = false,
            Domain = StyleParam.Range.ofMinMax (low, high),
            Anchor = anchor
        )
        |> change

    let range (low: float, high: float) (axis: LinearAxis) =
        axis
        |> LinearAxis.style (AutoRange = StyleParam.AutoRange.False, Range = StyleParam.Range.ofMinMax (low, high))

    let ticks n (axis: LinearAxis) = axis |> LinearAxis.style (NTicks = n)

    let noTickLabels (axis: LinearAxis) =
        axis |> LinearAxis.style (ShowTickLabels = false)

    /// Gives a panel its two axes.
    let withPanel
        (frame: Canvas)
        (panel: Panel)
        (x: string * (LinearAxis -> LinearAxis))
        (y: string * (LinearAxis -> LinearAxis))
        layout
        =
        let across =
            panel.Left / frame.AreaWidth, (panel.Left + panel.Width) / frame.AreaWidth

        let up =
            panel.Bottom / frame.AreaHeight, (panel.Bottom + panel.Height) / frame.AreaHeight

        layout
        |> Layout.setLinearAxis (StyleParam.SubPlotId.XAxis panel.Id, axis (fst x) across (axisY panel) (snd x))
        |> Layout.setLinearAxis (StyleParam.SubPlotId.YAxis panel.Id, axis (fst y) up (axisX panel) (snd y))

    /// The name of a parameter as a symbol: what follows an underscore becomes a subscript.
    let symbol (name: string) =
        match name.IndexOf '_' with
        | -1 -> name
        | at -> $"{name[.. at - 1]}<sub>{name[at + 1 ..]}</sub>"

    /// Text that hangs on a point of the plot area, in pixels from its lower left corner.
    let text frame (x: float, y: float) (anchorX, anchorY) size colour content =
        Annotation.init (
            X = x / frame.AreaWidth,
            Y = y / frame.AreaHeight,
            XRef = "paper",
            YRef = "paper",
            XAnchor = anchorX,
            YAnchor = anchorY,
            ShowArrow = false,
            Font = Font.init (Family = family, Size = size, Color = colour),
            Text = content
        )

    /// The heading of a panel, centred above it.
    let heading frame (panel: Panel) content =
        text
            frame
            (panel.Left + panel.Width / 2.0, panel.Bottom + panel.Height + 8.0)
            (StyleParam.XAnchorPosition.Center, StyleParam.YAnchorPosition.Bottom)
            17.0
            Palette.ink
            content

    let legend (x: float) (y: float) anchorX anchorY =
        Legend.init (
            X = x,
            Y = y,
            XAnchor = anchorX,
            YAnchor = anchorY,
            Font = font 15.0,
            BGColor = Color.fromString "rgba(255,255,255,0.85)",
            BorderWidth = 0.0,
            TraceGroupGap = 0.0
        )

    /// Equal panels in rows of so many columns, with gaps between them: the frame, and panel i from 0, row by row from the top.
    let grid columns count (width: float, height: float) (gapX: float, gapY: float) marginTop =
        let rows = (count + columns - 1) / columns

        { AreaWidth = float columns * width + float (columns - 1) * gapX
          AreaHeight = float rows * height + float (rows - 1) * gapY
          MarginLeft = 92
          MarginRight = 24
          MarginTop = marginTop
          MarginBottom = 68
          Rigid = false },
        fun i ->
            { Id = i + 1
              Left = float (i % columns) * (width + gapX)
              Bottom = float (rows - 1 - i / columns) * (height + gapY)
              Width = width
              Height = height }

    /// A row of equal panels.
    let row count size gap marginTop =
        grid count count size (gap, 0.0) marginTop

    /// One panel, with room for long tick labels.
    let single size marginTop marginRight =
        let frame, place = grid 1 1 size (0.0, 0.0) marginTop

        { frame with
            MarginLeft = 106
            MarginRight = marginRight },
        place 0

    /// A legend in one line above the panels, so many of their heights above them.
    let legendLine above layout =
        layout
        |> Layout.style (ShowLegend = true)
        |> Layout.setLegend (
            StyleParam.SubPlotId.Legend 1,
            legend 0.5 (1.0 + above) StyleParam.XAnchorPosition.Center StyleParam.YAnchorPosition.Bottom
            |> Legend.style (Orientation = StyleParam.Orientation.Horizontal)
        )

    // The frame travels in the layout's meta field, so that a finished chart can still be resized.
    let private encode frame =
        String.Format(
            CultureInfo.InvariantCulture,
            "frame {0} {1} {2} {3} {4} {5} {6}",
            frame.AreaWidth,
            frame.AreaHeight,
            frame.MarginLeft,
            frame.MarginRight,
            frame.MarginTop,
            frame.MarginBottom,
            (if frame.Rigid then 1 else 0)
        )

    /// The frame of a figure made here.
    let tryFrame (layout: Layout) =
        match layout.TryGetTypedPropertyValue<string> "meta" with
        | Some meta when meta.StartsWith "frame " ->
            let v =
                meta.Split(' ')[1..]
                |> Array.map (fun s -> Double.Parse(s, CultureInfo.InvariantCulture))

            Some
                { AreaWidth = v[0]
                  AreaHeight = v[1]
                  MarginLeft = int v[2]
                  MarginRight = int v[3]
                  MarginTop = int v[4]
                  MarginBottom = int v[5]
                  Rigid = v[6] > 0.0 }
        | _ -> None

    /// A figure from its frame, its traces and the changes to its empty layout.
    let figure frame (traces: Trace list) (changes: (Layout -> Layout) list) =
        let layout =
            Layout.init (
                Width = int frame.AreaWidth + frame.MarginLeft + frame.MarginRight,
                Height = int frame.AreaHeight + frame.MarginTop + frame.MarginBottom,
                AutoSize = false,
                Margin =
                    Margin.init (
                        Left = frame.MarginLeft,
                        Right = frame.MarginRight,
                        Top = frame.MarginTop,
                        Bottom = frame.MarginBottom,
                        Autoexpand = false
                    ),
                Font = font 15.0,
                PaperBGColor = Color.fromString "white",
                PlotBGColor = Color.fromString "white",
                ShowLegend = false,
                HoverMode = StyleParam.HoverMode.Closest,
                Meta = encode frame
            )

        GenericChart.ofTraceObjects false traces
        |> GenericChart.setLayout (List.fold (fun l change -> change l) layout changes)
        |> GenericChart.setConfig (Config.init (Responsive = false, Displaylogo = false))

    // Widths of Arial and its metric twins, in em, rounded up.
    let private letterWidth c =
        if "iljI.,:;'|!‘’".Contains(c: char) then 0.28
        elif " tfr()[]/-".Contains c then 0.34
        elif "mwMW%@—∂".Contains c then 0.86
        elif Char.IsUpper c then 0.72
        else 0.56

    /// Width of a text in em; tags take no room.
    let width (text: string) =
        Regex.Replace(text, "<[^>]*>", "") |> Seq.sumBy letterWidth

    /// Words of a text on lines of at most `limit` em; tags are not split.
    let wrap limit (text: string) =
        let words =
            text.Split([| ' '; '\n'; '\r'; '\t' |], StringSplitOptions.RemoveEmptyEntries)

        words
        |> Array.fold
            (fun lines word ->
                match lines with
                | line :: rest when width (line + " " + word) <= limit -> (line + " " + word) :: rest
                | _ -> word :: lines)
            []
        |> List.rev

    /// Pixels of a legend's entry: its name and a stroke.
    let entryWidth name = 60.0 + 15.0 * width name

    /// A legend above a plot area of this width, which no curve can run through: its columns, two or, for long names, one; and the
    /// height that it takes.
    let legendAbove areaWidth (names: string list) =
        let longest = names |> List.map entryWidth |> List.fold max 0.0
        let columns = if longest <= areaWidth / 2.0 then 2 else 1
        columns, 24 * ((names.Length + columns - 1) / columns)

    /// That legend, above the frame, which leaves room for it.
    let withLegendAbove frame columns layout =
        layout
        |> Layout.style (ShowLegend = true)
        |> Layout.setLegend (
            StyleParam.SubPlotId.Legend 1,
            legend
                0.0
                ((frame.AreaHeight + 12.0) / frame.AreaHeight)
                StyleParam.XAnchorPosition.Left
                StyleParam.YAnchorPosition.Bottom
            |> Legend.style (
                Orientation = StyleParam.Orientation.Horizontal,
                EntryWidthMode = StyleParam.EntryWidthMode.Fraction,
                EntryWidth = 1.0 / float columns
            )
        )
