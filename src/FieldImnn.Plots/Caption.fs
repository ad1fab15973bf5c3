namespace FieldImnn.Plots

open System.Text.RegularExpressions
open Plotly.NET
open Plotly.NET.LayoutObjects

/// The size of a finished figure, and the text below it.
module internal Caption =
    let private fontSize = 15.0
    let private lineHeight = 21
    let private name = "caption"
    let private side = 20

    /// The widest of the fonts, DejaVu Sans, in widths of Arial: pages are read where that is all there is, too.
    let private widest = 1.15

    let private copy (layout: Layout) =
        let fresh = Layout()
        layout.ShallowCopyDynamicPropertiesTo fresh
        fresh

    let private annotations (layout: Layout) =
        layout.TryGetTypedPropertyValue<seq<Annotation>> "annotations"
        |> Option.defaultValue Seq.empty
        |> Seq.toList

    let private isOne (a: Annotation) =
        a.TryGetTypedPropertyValue<string> "name" = Some name

    let private text (layout: Layout) =
        annotations layout
        |> List.tryFind isOne
        |> Option.bind (fun a -> a.TryGetTypedPropertyValue<string> "text")

    let private room (wrapped: string) =
        lineHeight * (Regex.Count(wrapped, "<br>") + 1) + side

    /// Width and height of the figure without its caption.
    let size chart =
        let layout = GenericChart.getLayout chart
        let width, height = GenericChart.tryGetLayoutSize chart

        let caption = text layout |> Option.map room |> Option.defaultValue 0
        defaultArg width 700, (defaultArg height 450) - caption

    /// The frame of a figure of this size: its own, or one around a figure made elsewhere.
    let private frameOf (across, height) layout =
        Style.tryFrame layout
        |> Option.defaultValue
            { AreaWidth = float (across - 160)
              AreaHeight = float (height - 180)
              MarginLeft = 80
              MarginRight = 80
              MarginTop = 100
              MarginBottom = 80
              Rigid = false }

    /// Margins left, right, top and bottom; a rigid frame keeps its shape, and takes them wider.
    let private margins (across, height) frame =
        let roomX, roomY =
            across - frame.MarginLeft - frame.MarginRight, height - frame.MarginTop - frame.MarginBottom

        let padX, padY =
            if frame.Rigid then
                let scale = min (float roomX / frame.AreaWidth) (float roomY / frame.AreaHeight)

                max 0 (roomX - int (round (scale * frame.AreaWidth))),
                max 0 (roomY - int (round (scale * frame.AreaHeight)))
            else
                0, 0

        struct (frame.MarginLeft + padX / 2,
                frame.MarginRight + padX - padX / 2,
                frame.MarginTop + padY / 2,
                frame.MarginBottom + padY - padY / 2)

    /// The caption as an annotation below the area, these margins from its corner.
    let private note (left: int) (bottom: int) content =
        Annotation.init (
            Name = name,
            Text = content,
            Align = StyleParam.AnnotationAlignment.Left,
            Font = Style.font fontSize,
            ShowArrow = false,
            X = 0.0,
            XRef = "paper",
            XAnchor = StyleParam.XAnchorPosition.Left,
            XShift = side - left,
            Y = 0.0,
            YRef = "paper",
            YAnchor = StyleParam.YAnchorPosition.Top,
            YShift = -bottom
        )

    // Lays a figure out again, from nothing but its frame: of this size without the caption, and with this caption below.
    let private arrange (across: int, height: int) (caption: string option) chart =
        let old = GenericChart.getLayout chart
        let layout = copy old
        let others = annotations old |> List.filter (isOne >> not)

        let struct (left, right, top, bottom) =
            margins (across, height) (frameOf (across, height) old)

        let wrapped =
            caption
            |> Option.map (fun content ->
                content
                |> Style.wrap (float (across - 2 * side) / (widest * fontSize))
                |> String.concat "<br>")

        let extra = wrapped |> Option.map room |> Option.defaultValue 0
        let below = wrapped |> Option.map (note left bottom) |> Option.toList
        layout.SetProperty("width", across)
        layout.SetProperty("height", height + extra)
        layout.SetProperty("autosize", false)
        layout.SetProperty("annotations", others @ below |> Seq.ofList)

        layout.SetProperty(
            "margin",
            Margin.init (Left = left, Right = right, Top = top, Bottom = bottom + extra, Autoexpand = false)
        )

        GenericChart.setLayout layout chart

    let private plain chart =
        text (GenericChart.getLayout chart)
        |> Option.map (fun t -> t.Replace("<br>", " "))

    let withSize dimensions chart = arrange dimensions (plain chart) chart

    let withCaption caption chart =
        arrange (size chart) (Some caption) chart
