namespace FieldImnn.Plots

open FieldImnn
open FieldImnn.Core
open Plotly.NET
open Plotly.NET.LayoutObjects

/// Credible regions of two parameters in several panels; a name has the same colour in all of them.
module internal Contours =
    let private side = 300.0
    let private gapX, private gapY = 92.0, 104.0
    let private reach = 3.6

    /// Mean ± 3.6 sd of every layer, inside the bounds, with the truth in view.
    let private range (layers: Posterior list) (truth: float[] option) i =
        let ends sign =
            layers
            |> List.map (fun l -> (Posterior.mean l)[i] + sign * reach * (Posterior.sd l)[i])

        let lowest, highest = layers.Head.Bounds[i]
        let low, high = max lowest (List.min (ends -1.0)), min highest (List.max (ends 1.0))

        match truth with
        | Some t -> min low t[i], max high t[i]
        | None -> low, high

    let private check (axes: string[]) (panels: (string * (string * Posterior) list * float[] option) list) =
        if panels.IsEmpty || panels |> List.exists (fun (_, layers, _) -> layers.IsEmpty) then
            raise (SettingException("panels", "at least one, each with at least one posterior", "fewer"))

        for _, layers, _ in panels do
            for _, l in layers do
                if l.Names.Length <> 2 then
                    raise (ShapeException("layers", "posteriors of 2 parameters", $"{l.Names.Length}"))

        if axes.Length <> 2 then
            raise (ShapeException("names of the axes", "2", $"{axes.Length}"))

    /// The entry of a name in the legend, which regions do not have: a line of no length outside a panel of these ranges.
    let private entry panel (ranges: (float * float)[]) colour name =
        let x, y = fst ranges[0] - 1.0, fst ranges[1] - 1.0
        Corner.curve panel (Palette.line colour) name true StyleParam.DrawingStyle.Solid 2.5 [| x; x |] [| y; y |]

    /// The truth of a panel, as dashed lines through it.
    let private cross panel (ranges: (float * float)[]) (t: float[]) =
        let (xLow, xHigh), (yLow, yHigh) = ranges[0], ranges[1]

        let dashed inLegend =
            Corner.curve panel Palette.ink "truth" inLegend StyleParam.DrawingStyle.Dash 1.5

        [ dashed (panel.Id = 1) [| t[0]; t[0] |] [| yLow; yHigh |]
          dashed false [| xLow; xHigh |] [| t[1]; t[1] |] ]

    /// The frame of panels under a legend of these names, and panel i.
    let private grid columns count (names: string list) =
        let frame, place = Style.grid columns count (side, side) (gapX, gapY) 58

        let lines =
            ceil ((names |> List.sumBy Style.entryWidth) / (frame.AreaWidth - 120.0))

        { frame with
            MarginTop = frame.MarginTop + int (26.0 * lines)
            Rigid = true },
        place

    let chart columns (axes: string[]) (panels: (string * (string * Posterior) list * float[] option) list) =
        check axes panels

        let names =
            panels
            |> List.collect (fun (_, layers, _) -> List.map fst layers)
            |> List.distinct

        let frame, place = grid (min columns panels.Length) panels.Length names

        let placed =
            panels
            |> List.mapi (fun k (title, layers, truth) ->
                place k, title, layers, truth, Array.init 2 (range (List.map snd layers) truth))

        let colour name = List.findIndex ((=) name) names

        let traces =
            [ let first, _, _, _, ranges = placed.Head

              for name in names do
                  entry first ranges (colour name) name

              for panel, _, layers, truth, ranges in placed do
                  for k, (name, l) in List.indexed layers do
                      yield! Corner.regions panel (k = 0) (colour name) name (Posterior.density 0 1 Corner.resolution l)

                  yield! truth |> Option.map (cross panel ranges) |> Option.defaultValue [] ]

        let changes =
            [ for panel, _, _, _, ranges in placed do
                  let axis i =
                      let ticks =
                          Ticks.choose (i = 1) (if i = 0 then panel.Width else panel.Height) 6 ranges[i]

                      Ticks.title axes[i] ticks, Style.range ranges[i] >> Ticks.on ticks

                  Style.withPanel frame panel (axis 0) (axis 1) ]

        let headings =
            placed
            |> List.map (fun (panel, title, _, _, _) -> Style.heading frame panel title)

        let top = (frame.AreaHeight + 38.0) / frame.AreaHeight

        let legend =
            Style.legend 0.0 top StyleParam.XAnchorPosition.Left StyleParam.YAnchorPosition.Bottom
            |> Legend.style (Orientation = StyleParam.Orientation.Horizontal)

        Style.figure
            frame
            traces
            (changes
             @ [ Layout.style (ShowLegend = true, Annotations = headings)
                 Layout.setLegend (StyleParam.SubPlotId.Legend 1, legend) ])
