namespace FieldImnn.Plots

open System
open FieldImnn
open Plotly.NET
open Plotly.NET.LayoutObjects

/// The information that a network keeps, as it trains.
module internal Training =
    // A logarithmic axis shows no more decades than this below its top: the first iterations keep almost nothing.
    let private decades = 4.0

    let private line i (name: string) (points: (int * float)[]) bold =
        let colour = Palette.line i
        let few = points.Length <= 40

        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = Array.map fst points,
                Y = Array.map snd points,
                Name = name,
                Mode =
                    (if bold then
                         StyleParam.Mode.Lines_Markers
                     else
                         StyleParam.Mode.Lines),
                Opacity = (if bold then 1.0 else 0.35),
                ShowLegend = true,
                Line = Line.init (Color = colour, Width = (if bold then 2.5 else 1.2)),
                Marker = TraceObjects.Marker.init (Color = colour, Size = 7, MaxDisplayed = (if few then 0 else 25)),
                XAxis = StyleParam.LinearAxisId.X 1,
                YAxis = StyleParam.LinearAxisId.Y 1
            )
        )
        :> Trace

    /// Round numbers between two positive ones, four to eight of them, and how they are written.
    let internal roundTicks (low: float) (high: float) =
        let rough = (high - low) / 5.0
        let unit = 10.0 ** floor (log10 rough)

        let step =
            unit
            * ([ 1.0; 2.0; 5.0; 10.0 ] |> List.minBy (fun m -> abs (log (m * unit / rough))))

        let exponent = int (floor (log10 high))

        let write (v: float) =
            if exponent >= 5 || exponent <= -3 then
                $"{string (Math.Round(v / 10.0 ** float exponent, 6))} × 10<sup>{exponent}</sup>"
            else
                string (Math.Round(v, 6))

        [| for k in ceil (low / step) .. floor (high / step) -> k * step, write (k * step) |]

    /// A logarithmic axis over decades low … high, with two labelled ticks at least: every decade where there are several, 1, 2 and 5 of
    /// each, or round numbers.
    let internal logarithmic (low, high) (axis: LinearAxis) =
        let axis =
            axis
            |> LinearAxis.style (AxisType = StyleParam.AxisType.Log)
            |> Style.range (low, high)

        if high - low > 2.0 then
            axis |> LinearAxis.style (DTick = 1.0)
        elif high - low > 0.6 then
            axis |> LinearAxis.style (DTick = "D2")
        else
            let values, texts = roundTicks (10.0 ** low) (10.0 ** high) |> Array.unzip

            axis
            |> LinearAxis.style (TickMode = StyleParam.TickMode.Array, TickVals = values, TickText = texts)

    /// Moves labels apart, upwards from the lowest, until `gap` lies between neighbours and none lies above `top`.
    let internal spread gap top (heights: float list) =
        let order = heights |> List.indexed |> List.sortBy snd

        let upward =
            order
            |> List.fold
                (fun placed (i, h) ->
                    match placed with
                    | (_, below) :: _ -> (i, max h (below + gap)) :: placed
                    | [] -> [ i, h ])
                []

        // from the top down: what was pushed beyond the frame comes back
        upward
        |> List.fold
            (fun placed (i, h) ->
                match placed with
                | (_, above) :: _ -> (i, min h (above - gap)) :: placed
                | [] -> [ i, min h top ])
            []
        |> List.sortBy fst
        |> List.map snd

    let private visible v = Double.IsFinite v && v > 0.0

    /// The points of a curve that are seen: of the training batch, and held out.
    let private points (records: TrainingRecord[]) =
        let of' quantity =
            records
            |> Array.map (fun r -> r.Iteration, quantity r)
            |> Array.filter (fun (_, v) -> visible v)

        of' _.DetF, of' _.HeldOutDetF

    /// Decades from below the lowest of what is seen to above the highest.
    let private decadesOf (lines: (string * ((int * float)[] * (int * float)[])) list) (references: float list) =
        let heights =
            [ for _, (batch, held) in lines do
                  yield! Array.map snd batch
                  yield! Array.map snd held
              yield! references ]
            |> List.map log10

        let low, high =
            match heights with
            | [] -> 0.0, 1.0
            | _ -> max (List.min heights) (List.max heights - decades), List.max heights

        let margin = max 0.05 (0.06 * (high - low))
        low - margin, high + margin

    /// A reference as a dashed line across the panel.
    let private rule (value: float) =
        Shape.init (
            ShapeType = StyleParam.ShapeType.Line,
            Xref = "paper",
            X0 = 0.0,
            X1 = 1.0,
            Yref = "y",
            Y0 = value,
            Y1 = value,
            Layer = StyleParam.Layer.Below,
            Line = Line.init (Color = Palette.ink, Width = 1.5, Dash = StyleParam.DrawingStyle.Dash)
        )

    /// The names of references at the right of their lines, moved apart where they would touch.
    let private labels frame (bottom, top) (shown: (string * float) list) =
        let places =
            shown
            |> List.map (fun (_, value) -> frame.AreaHeight * (log10 value - bottom) / (top - bottom))
            |> spread 20.0 (frame.AreaHeight - 6.0)

        List.map2
            (fun (label, _) height ->
                Style.text
                    frame
                    (frame.AreaWidth + 8.0, height)
                    (StyleParam.XAnchorPosition.Left, StyleParam.YAnchorPosition.Middle)
                    15.0
                    Palette.ink
                    label)
            shown
            places

    let chart (curves: (string * TrainingRecord[]) list) (references: (string * float) list) =
        let lines = curves |> List.map (fun (name, records) -> name, points records)
        let shown = references |> List.filter (snd >> visible)
        let bottom, top = decadesOf lines (List.map snd shown)

        let last =
            [ for _, (batch, held) in lines do
                  yield! Array.map fst batch
                  yield! Array.map fst held ]
            |> List.fold max 1
            |> float

        let longest = references |> List.map (fst >> Style.width) |> List.fold max 0.0

        let entries =
            [ for i, (name, (batch, _)) in List.indexed lines do
                  if batch.Length > 0 then
                      $"{name}, training batch", i, batch, false
              for i, (name, (_, held)) in List.indexed lines do
                  if held.Length > 0 then
                      $"{name}, held out", i, held, true ]

        let columns, above =
            entries |> List.map (fun (name, _, _, _) -> name) |> Style.legendAbove 620.0

        let frame, panel =
            Style.single (620.0, 400.0) (30 + above) (26 + int (16.5 * longest))

        let traces =
            entries |> List.map (fun (name, i, points, bold) -> line i name points bold)

        Style.figure
            frame
            traces
            [ Style.withPanel
                  frame
                  panel
                  ("iteration", Style.range (0.0, 1.02 * last))
                  ("det <b>F</b>", logarithmic (bottom, top))
              Layout.style (Annotations = labels frame (bottom, top) shown, Shapes = (shown |> List.map (snd >> rule)))
              Style.withLegendAbove frame columns ]
