namespace FieldImnn.Plots

open FieldImnn
open FieldImnn.Core
open Plotly.NET
open Plotly.NET.LayoutObjects

/// An observed field with the posteriors of its two parameters.
type Target =
    {
        Title: string
        Field: float[,]
        /// Posteriors by name; the first is filled.
        Layers: (string * Posterior) list
    }

/// Observed fields in a row, and under each its posteriors, on axes that all of them share.
module internal Targets =
    let private side = 250.0
    let private gapX = 44.0

    /// Between the rows: the titles of the upper one's axes, and a legend of these names in as many lines as n panels are wide.
    let private gapY n names =
        let across = float n * side + float (n - 1) * gapX
        let lines = ceil ((names |> List.sumBy Style.entryWidth) / across)
        69.0 + 23.0 * lines

    /// What all layers of all targets cover, with the marks in view.
    let private range (targets: Target list) (marks: float[] list) i =
        let layers = targets |> List.collect (fun t -> List.map snd t.Layers)
        let low, high = layers.Head.Bounds[i]

        let ends sign =
            layers
            |> List.map (fun l -> (Posterior.mean l)[i] + sign * 3.4 * (Posterior.sd l)[i])

        let places = marks |> List.map (fun m -> m[i])
        let least = List.min (ends -1.0 @ places) |> max low
        let most = List.max (ends 1.0 @ places) |> min high
        let margin = 0.04 * (most - least)
        max low (least - margin), min high (most + margin)

    let private mark panel first name (symbol: StyleParam.MarkerSymbol) (theta: float[]) =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = [| theta[0] |],
                Y = [| theta[1] |],
                Name = name,
                LegendGroup = name,
                ShowLegend = first,
                Mode = StyleParam.Mode.Markers,
                Marker =
                    TraceObjects.Marker.init (
                        Color = Color.fromString "white",
                        Size = 10,
                        Symbol = symbol,
                        Outline = Line.init (Color = Palette.ink, Width = 2.0)
                    ),
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    let private check (targets: Target list) =
        if targets.IsEmpty || targets |> List.exists _.Layers.IsEmpty then
            raise (SettingException("targets", "at least one, each with at least one posterior", "fewer"))

        for t in targets do
            for _, l in t.Layers do
                if l.Names.Length <> 2 then
                    raise (ShapeException("layers", "posteriors of 2 parameters", $"{l.Names.Length}"))

    let private truthName = "truth"

    let private symbols =
        [ StyleParam.MarkerSymbol.Diamond
          StyleParam.MarkerSymbol.Square
          StyleParam.MarkerSymbol.Circle ]

    /// The posteriors of target k in its panel, with the marks.
    let private posteriors panel colour truth (fiducials: (string * float[]) list) k (target: Target) =
        [ for q, (name, l) in List.indexed target.Layers do
              yield! Corner.regions panel (q = 0) (colour name) name (Posterior.density 0 1 Corner.resolution l)

          for theta in Option.toList truth do
              mark panel (k = 0) truthName StyleParam.MarkerSymbol.X theta

          for q, (name, theta) in List.indexed fiducials do
              mark panel (k = 0) name symbols[q % symbols.Length] theta ]

    /// The axes of the image and of the posteriors of target k.
    let private axes frame panel (ranges: (float * float)[]) k (target: Target) =
        let parameters = (snd target.Layers.Head).Names |> Array.map Style.symbol

        let edge n =
            Style.range (-0.5, float n - 0.5) >> Style.ticks 5

        let labels = if k = 0 then id else Style.noTickLabels
        let across = Ticks.choose false side 5 ranges[0]
        let up = Ticks.choose true side 5 ranges[1]

        [ Style.withPanel
              frame
              (panel 0 k)
              ("x [pixel]", edge (Array2D.length2 target.Field))
              ((if k = 0 then "y [pixel]" else ""), edge (Array2D.length1 target.Field) >> labels)

          Style.withPanel
              frame
              (panel 1 k)
              (Ticks.title parameters[0] across, Style.range ranges[0] >> Ticks.on across)
              ((if k = 0 then Ticks.title parameters[1] up else ""), Style.range ranges[1] >> Ticks.on up >> labels) ]

    let chart (targets: Target list) (truth: float[] option) (fiducials: (string * float[]) list) =
        check targets
        let n = targets.Length

        let names =
            targets |> List.collect (fun t -> List.map fst t.Layers) |> List.distinct

        let marked = List.replicate (Option.count truth) truthName @ List.map fst fiducials

        let frame, place =
            Style.grid n (2 * n) (side, side) (gapX, gapY n (names @ marked)) 46

        let frame =
            { frame with
                MarginRight = 90
                Rigid = true }

        let panel row k = place (row * n + k)
        let marks = Option.toList truth @ List.map snd fiducials
        let ranges = Array.init 2 (range targets marks)
        let colour name = List.findIndex ((=) name) names
        let limits = Field.shared Sequential (targets |> List.map _.Field)

        let images =
            targets
            |> List.mapi (fun k t -> Field.imageWithin limits (k = n - 1) frame (panel 0 k) Sequential t.Field)

        let entry name =
            let line = Palette.line (colour name)
            Corner.curve (panel 1 0) line name true StyleParam.DrawingStyle.Solid 2.5 [| nan |] [| nan |]

        let posteriors =
            targets
            |> List.indexed
            |> List.collect (fun (k, t) -> posteriors (panel 1 k) colour truth fiducials k t)

        let axes =
            targets
            |> List.indexed
            |> List.collect (fun (k, t) -> axes frame panel ranges k t)

        let headings =
            targets |> List.mapi (fun k t -> Style.heading frame (panel 0 k) t.Title)

        let height = (side + 6.0) / frame.AreaHeight

        let legend =
            Style.legend 0.0 height StyleParam.XAnchorPosition.Left StyleParam.YAnchorPosition.Bottom
            |> Legend.style (Orientation = StyleParam.Orientation.Horizontal)

        Style.figure
            frame
            (images @ List.map entry names @ posteriors)
            (axes
             @ [ Layout.style (ShowLegend = true, Annotations = headings)
                 Layout.setLegend (StyleParam.SubPlotId.Legend 1, legend) ])
