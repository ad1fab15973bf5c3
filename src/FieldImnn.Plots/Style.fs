namespace FieldImnn.Plots

open System
open System.Globalization
open System.Text.RegularExpressions
open Plotly.NET
open Plotly.NET.LayoutObjects

/// Colours that stay apart for every kind of colour vision.
module Palette =
    let private hex (code: string) = Color.fromHex code

    /// Okabe and Ito (2008), strongest contrast on white first; yellow is left out, as it is lost on white.
    let lines =
        [| "#0072B2"
           "#D55E00"
           "#009E73"
           "#CC79A7"
           "#E69F00"
           "#56B4E9"
           "#000000" |]

    /// The colour of line i; the palette repeats after seven.
    let line i = hex lines[i % lines.Length]

    /// The colour of line i, mixed with white: 0 is white, 1 the colour itself. (Contour fills of plotly.js know no transparency.)
    let tint i (strength: float) =
        let code = lines[i % lines.Length]

        let channel at =
            let v = float (Convert.ToInt32(code.Substring(at, 2), 16))
            int (round (255.0 - strength * (255.0 - v)))

        Color.fromRGB (channel 1) (channel 3) (channel 5)

    let ink = hex "#222222"

    /// For fields: dark to light, uniform to the eye.
    let sequential = StyleParam.Colorscale.Viridis

    /// For signed quantities: blue through white to red (ColorBrewer RdBu, reversed), white at zero.
    let diverging =
        [ "#053061"
          "#2166AC"
          "#4393C3"
          "#92C5DE"
          "#D1E5F0"
          "#F7F7F7"
          "#FDDBC7"
          "#F4A582"
          "#D6604D"
          "#B2182B"
          "#67001F" ]
        |> Seq.mapi (fun i code -> float i / 10.0, hex code)
        |> StyleParam.Colorscale.Custom

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

/// Fonts, axes, frames and captions: what all figures share.
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

    /// A legend of two columns above the plot area, which no curve can run through; the frame leaves room for it.
    let legendAbove frame =
        legend
            0.0
            ((frame.AreaHeight + 12.0) / frame.AreaHeight)
            StyleParam.XAnchorPosition.Left
            StyleParam.YAnchorPosition.Bottom
        |> Legend.style (
            Orientation = StyleParam.Orientation.Horizontal,
            EntryWidthMode = StyleParam.EntryWidthMode.Fraction,
            EntryWidth = 0.5
        )

    /// A row of equal panels with a gap between them: the frame, and panel i from 0.
    let row count (width: float, height: float) gap marginTop =
        { AreaWidth = float count * width + float (count - 1) * gap
          AreaHeight = height
          MarginLeft = 92
          MarginRight = 24
          MarginTop = marginTop
          MarginBottom = 68
          Rigid = false },
        fun i ->
            { Id = i + 1
              Left = float i * (width + gap)
              Bottom = 0.0
              Width = width
              Height = height }

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

    let private tryFrame (layout: Layout) =
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

    let private captionSize = 15.0
    let private captionLine = 21
    let private captionName = "caption"
    let private side = 20

    let private copy (layout: Layout) =
        let fresh = Layout()
        layout.ShallowCopyDynamicPropertiesTo fresh
        fresh

    let private annotations (layout: Layout) =
        layout.TryGetTypedPropertyValue<seq<Annotation>> "annotations"
        |> Option.defaultValue Seq.empty
        |> Seq.toList

    let private isCaption (a: Annotation) =
        a.TryGetTypedPropertyValue<string> "name" = Some captionName

    let private captionText (layout: Layout) =
        annotations layout
        |> List.tryFind isCaption
        |> Option.bind (fun a -> a.TryGetTypedPropertyValue<string> "text")

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

    let private captionHeight (wrapped: string) =
        captionLine * (Regex.Count(wrapped, "<br>") + 1) + side

    /// Width and height of the figure without its caption.
    let size chart =
        let layout = GenericChart.getLayout chart
        let width, height = GenericChart.tryGetLayoutSize chart

        let caption =
            captionText layout |> Option.map captionHeight |> Option.defaultValue 0

        defaultArg width 700, (defaultArg height 450) - caption

    // Lays a figure out again, from nothing but its frame: of this size without the caption, and with this caption below.
    let private arrange (across: int, height: int) (caption: string option) chart =
        let old = GenericChart.getLayout chart
        let layout = copy old
        let others = annotations old |> List.filter (isCaption >> not)

        let frame =
            tryFrame old
            |> Option.defaultValue
                { AreaWidth = float (across - 160)
                  AreaHeight = float (height - 180)
                  MarginLeft = 80
                  MarginRight = 80
                  MarginTop = 100
                  MarginBottom = 80
                  Rigid = false }

        let roomX, roomY =
            across - frame.MarginLeft - frame.MarginRight, height - frame.MarginTop - frame.MarginBottom

        let padX, padY =
            if frame.Rigid then
                let scale = min (float roomX / frame.AreaWidth) (float roomY / frame.AreaHeight)

                max 0 (roomX - int (round (scale * frame.AreaWidth))),
                max 0 (roomY - int (round (scale * frame.AreaHeight)))
            else
                0, 0

        let left, right = frame.MarginLeft + padX / 2, frame.MarginRight + padX - padX / 2
        let top, bottom = frame.MarginTop + padY / 2, frame.MarginBottom + padY - padY / 2

        let note =
            caption
            |> Option.map (fun content ->
                content
                |> wrap (float (across - 2 * side) / captionSize)
                |> String.concat "<br>")

        let extra = note |> Option.map captionHeight |> Option.defaultValue 0

        let below =
            note
            |> Option.map (fun content ->
                Annotation.init (
                    Name = captionName,
                    Text = content,
                    Align = StyleParam.AnnotationAlignment.Left,
                    Font = font captionSize,
                    ShowArrow = false,
                    X = 0.0,
                    XRef = "paper",
                    XAnchor = StyleParam.XAnchorPosition.Left,
                    XShift = side - left,
                    Y = 0.0,
                    YRef = "paper",
                    YAnchor = StyleParam.YAnchorPosition.Top,
                    YShift = -bottom
                ))
            |> Option.toList

        layout.SetProperty("width", across)
        layout.SetProperty("height", height + extra)
        layout.SetProperty("autosize", false)
        layout.SetProperty("annotations", others @ below |> Seq.ofList)

        layout.SetProperty(
            "margin",
            Margin.init (Left = left, Right = right, Top = top, Bottom = bottom + extra, Autoexpand = false)
        )

        GenericChart.setLayout layout chart

    let private plainCaption chart =
        captionText (GenericChart.getLayout chart)
        |> Option.map (fun t -> t.Replace("<br>", " "))

    let withSize dimensions chart =
        arrange dimensions (plainCaption chart) chart

    let withCaption caption chart =
        arrange (size chart) (Some caption) chart
