namespace FieldImnn.Plots

open System
open System.Runtime.ExceptionServices
open FieldImnn
open FieldImnn.Core
open Plotly.NET

/// Posteriors over each other: marginal densities on the diagonal, credible regions below it.
module internal Corner =
    /// The probabilities inside the two contours.
    let probabilities = [| 0.68; 0.95 |]

    // A layer wider than this many times the narrowest (a prior, a failed run) does not set the range of the axes.
    let private sensible = 6.0
    let private reach = 4.5
    /// Points a side of a density on a grid, for panels of two parameters and for the smaller ones of more.
    let resolution, coarse = 101, 71

    /// The range of parameter i: mean ± 4.5 sd of each sensible layer, inside the bounds, with the truth in view. Moments are those of
    /// the layers.
    let private range (layers: Posterior list) (moments: (float[] * float[]) list) (truth: float[] option) i =
        let spread =
            moments |> List.map (fun (mean: float[], sd: float[]) -> mean[i], sd[i])

        let narrowest = spread |> List.map snd |> List.min
        let shown = spread |> List.filter (fun (_, s) -> s <= sensible * narrowest)
        let low = shown |> List.map (fun (m, s) -> m - reach * s) |> List.min
        let high = shown |> List.map (fun (m, s) -> m + reach * s) |> List.max
        let floor = layers |> List.map (fun l -> fst l.Bounds[i]) |> List.min
        let ceiling = layers |> List.map (fun l -> snd l.Bounds[i]) |> List.max
        let low, high = max low floor, min high ceiling

        match truth with
        | Some t when t[i] < low -> t[i] - 0.05 * (high - t[i]), high
        | Some t when t[i] > high -> low, t[i] + 0.05 * (t[i] - low)
        | _ -> low, high

    /// A line, in the legend if it says so.
    let curve panel colour name showLegend dash width (x: float[]) (y: float[]) =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = x,
                Y = y,
                Name = name,
                Mode = StyleParam.Mode.Lines,
                ShowLegend = showLegend,
                LegendGroup = name,
                Line = Line.init (Color = colour, Width = width, Dash = dash, Simplify = false),
                HoverInfo = StyleParam.HoverInfo.Name,
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    let private contour panel name (grid: DensityGrid) contours line scale =
        let rows =
            Array.init grid.Y.Length (fun b -> Array.init grid.X.Length (fun a -> grid.Density[a, b]))

        Trace2D.initContour (
            Trace2DStyle.Contour(
                X = grid.X,
                Y = grid.Y,
                Z = rows,
                Name = name,
                LegendGroup = name,
                ShowLegend = false,
                ShowScale = false,
                AutoContour = false,
                Contours = contours,
                Line = line,
                ?ColorScale = scale,
                HoverInfo = StyleParam.HoverInfo.Name,
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    // plotly.js fills between equally spaced levels with the colours of the scale: white outside, two tints inside.
    let private filling panel colour name grid (inner: float) (outer: float) =
        let scale =
            [ 0.0, Color.fromString "rgb(255,255,255)"
              0.5, Palette.tint colour 0.18
              1.0, Palette.tint colour 0.42 ]

        contour
            panel
            name
            grid
            (TraceObjects.Contours.init (
                Start = outer,
                End = inner,
                Size = inner - outer,
                Coloring = StyleParam.ContourColoring.Fill,
                ShowLines = false
            ))
            (Line.init (Width = 0.0))
            (Some(StyleParam.Colorscale.Custom scale))

    let private level panel colour name grid (density: float) width =
        contour
            panel
            name
            grid
            (TraceObjects.Contours.init (
                Start = density,
                End = density,
                Size = density,
                Coloring = StyleParam.ContourColoring.NoColoring,
                ShowLines = true
            ))
            (Line.init (Color = Palette.line colour, Width = width))
            None

    // Relative to its peak, in five decimals: pages with many contours stay small.
    let private shape (grid: DensityGrid) =
        let peak = grid.Density |> Seq.cast<float> |> Seq.max

        { grid with
            Density = grid.Density |> Array2D.map (fun d -> round (1e5 * d / peak) / 1e5) },
        peak

    /// The two credible regions of a density: lines, filled for the first layer.
    let regions panel first colour name density =
        let grid, peak = shape density

        match
            DensityGrid.contourLevels probabilities density
            |> Array.map (fun level -> level / peak)
        with
        | [| inner; outer |] ->
            [ if first && inner > outer then
                  filling panel colour name grid inner outer
              level panel colour name grid outer 1.5
              level panel colour name grid inner 2.5 ]
        | _ -> []

    /// As Array.Parallel.map, but an error comes as it was raised.
    let private inParallel work items =
        try
            Array.Parallel.map work items
        with :? AggregateException as errors ->
            ExceptionDispatchInfo.Throw(errors.GetBaseException())
            [||]

    /// Refuses layers that cannot lie over each other, and a truth of other parameters.
    let private check (layers: (string * Posterior) list) (truth: float[] option) =
        if layers.IsEmpty then
            raise (SettingException("layers", "at least one posterior", "none"))

        let first = (snd layers.Head).Names
        let p = first.Length

        for _, l in layers do
            if l.Names.Length <> p then
                raise (ShapeException("layers", $"posteriors of {p} parameters", $"{l.Names.Length}"))

            // the same names elsewhere: one of the layers would be drawn at another's parameters
            if l.Names <> first && Set l.Names = Set first then
                let text = String.concat ", "
                raise (SettingException("layers", $"parameters in one order, {text first}", text l.Names))

        let entries = List.map fst layers

        if (List.distinct entries).Length < entries.Length then
            raise (SettingException("layers", "each with a name of its own", String.concat ", " entries))

        truth
        |> Option.iter (fun t ->
            if t.Length <> p then
                raise (ShapeException("truth", $"{p} parameters", $"{t.Length}")))

    /// The triangle of panels of p parameters: its frame, the panel of a row and column, and the side and gap of panels.
    let private triangle p =
        let side =
            if p <= 2 then 270.0
            elif p = 3 then 210.0
            else 170.0

        let gap = 14.0
        let total = float p * side + float (p - 1) * gap

        { AreaWidth = total
          AreaHeight = total
          MarginLeft = 92
          MarginRight = 28
          MarginTop = 20
          MarginBottom = 72
          Rigid = true },
        (fun row column ->
            { Id = row * (row + 1) / 2 + column + 1
              Left = float column * (side + gap)
              Bottom = float (p - 1 - row) * (side + gap)
              Width = side
              Height = side }),
        struct (side, gap)

    /// The marginal densities of layers: the places, and by name the density at each, for every parameter.
    let private marginals (layers: (string * Posterior) list) (ranges: (float * float)[]) =
        ranges
        |> Array.mapi (fun i (low, high) ->
            let x = Array.init 301 (fun k -> low + (high - low) * float k / 300.0)
            x, layers |> List.map (fun (name, l) -> name, Posterior.marginal i x l))

    /// The credible regions of every pair of parameters.
    let private pairs (layers: (string * Posterior) list) panel p =
        [| for row in 0 .. p - 1 do
               for column in 0 .. row - 1 do
                   for k, (name, l) in List.indexed layers -> row, column, k, name, l |]
        |> inParallel (fun (row, column, k, name, l) ->
            regions
                (panel row column)
                (k = 0)
                k
                name
                (Posterior.density column row (if p <= 2 then resolution else coarse) l))

    /// The truth as dashed lines through all panels; `tops` are the highest marginal densities.
    let private cross panel (ranges: (float * float)[]) (tops: float[]) (t: float[]) =
        let dashed panel first x y =
            curve panel Palette.ink "truth" first StyleParam.DrawingStyle.Dash 1.5 x y

        [ for row in 0 .. t.Length - 1 do
              for column in 0 .. row - 1 do
                  let (xLow, xHigh), (yLow, yHigh) = ranges[column], ranges[row]
                  dashed (panel row column) false [| t[column]; t[column] |] [| yLow; yHigh |]
                  dashed (panel row column) false [| xLow; xHigh |] [| t[row]; t[row] |]

              dashed (panel row row) (row = 0) [| t[row]; t[row] |] [| 0.0; 2.0 * tops[row] |] ]

    /// The axes of all panels: names along the left and the bottom, densities without numbers.
    let private axes frame panel side (names: string[]) (ranges: (float * float)[]) (tops: float[]) =
        let p = names.Length
        let most = if p <= 2 then 6 else 5
        let across = ranges |> Array.map (Ticks.choose false side most)
        let up = ranges |> Array.map (Ticks.choose true side most)

        [ for row in 0 .. p - 1 do
              for column in 0..row do
                  let bottom, left, diagonal = (row = p - 1), (column = 0), (row = column)

                  let x =
                      (if bottom then
                           Ticks.title names[column] across[column]
                       else
                           ""),
                      Style.range ranges[column]
                      >> Ticks.on across[column]
                      >> (if bottom then id else Style.noTickLabels)

                  let y =
                      if diagonal then
                          "",
                          Style.range (0.0, 1.08 * tops[row])
                          >> Style.noTickLabels
                          >> LayoutObjects.LinearAxis.style (Ticks = StyleParam.TickOptions.Empty)
                      else
                          (if left then Ticks.title names[row] up[row] else ""),
                          Style.range ranges[row]
                          >> Ticks.on up[row]
                          >> (if left then id else Style.noTickLabels)

                  Style.withPanel frame (panel row column) x y ]

    let chart (layers: (string * Posterior) list) (truth: float[] option) =
        check layers truth
        let posteriors = List.map snd layers

        let layers =
            layers
            |> List.map (fun (name, l) -> name |> Style.wrap 14.5 |> String.concat "<br>", l)

        let names = posteriors.Head.Names |> Array.map Style.symbol
        let p = names.Length
        let frame, panel, struct (side, gap) = triangle p
        let moments = posteriors |> List.map (fun l -> Posterior.mean l, Posterior.sd l)
        let ranges = Array.init p (range posteriors moments truth)
        let marginals = marginals layers ranges

        let tops = marginals |> Array.map (snd >> List.map (snd >> Array.max) >> List.max)

        let traces =
            [ for region in pairs layers panel p do
                  yield! region

              for i, (x, ys) in Array.indexed marginals do
                  for k, (name, y) in List.indexed ys do
                      curve (panel i i) (Palette.line k) name (i = 0) StyleParam.DrawingStyle.Solid 2.5 x y

              yield! truth |> Option.map (cross panel ranges tops) |> Option.defaultValue [] ]

        let free =
            if p = 1 then
                0.98, StyleParam.XAnchorPosition.Right
            else
                (side + gap) / frame.AreaWidth, StyleParam.XAnchorPosition.Left

        Style.figure
            frame
            traces
            (axes frame panel side names ranges tops
             @ [ Layout.style (ShowLegend = true)
                 Layout.setLegend (
                     StyleParam.SubPlotId.Legend 1,
                     Style.legend (fst free) 1.0 (snd free) StyleParam.YAnchorPosition.Top
                 ) ])
