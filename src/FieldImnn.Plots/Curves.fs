namespace FieldImnn.Plots

open System
open FieldImnn.Core
open Plotly.NET
open Plotly.NET.LayoutObjects

/// How a curve is drawn.
type CurveStyle =
    | Solid
    | Dashed
    /// Markers alone, with error bars where there are errors.
    | Points
    /// A line with a marker at every point.
    | Marked

/// Numbers against numbers: y(x), with standard errors of y or none ([||]).
type Curve =
    { Name: string
      X: float[]
      Y: float[]
      Errors: float[]
      Style: CurveStyle }

/// An axis: its title with symbol and unit, and whether it is logarithmic.
type CurveAxis = { Title: string; Logarithmic: bool }

/// Curves on shared axes.
module internal Curves =
    let private check (curve: Curve) =
        let n = curve.X.Length

        if
            n = 0
            || curve.Y.Length <> n
            || (curve.Errors.Length <> 0 && curve.Errors.Length <> n)
        then
            raise (
                ShapeException(
                    $"curve '{curve.Name}'",
                    "as many x as y, at least one, and as many errors or none",
                    $"{n}, {curve.Y.Length} and {curve.Errors.Length}"
                )
            )

    let private trace i (curve: Curve) =
        let colour = Palette.line i

        let mode, dash =
            match curve.Style with
            | Solid -> StyleParam.Mode.Lines, StyleParam.DrawingStyle.Solid
            | Dashed -> StyleParam.Mode.Lines, StyleParam.DrawingStyle.Dash
            | Points -> StyleParam.Mode.Markers, StyleParam.DrawingStyle.Solid
            | Marked -> StyleParam.Mode.Lines_Markers, StyleParam.DrawingStyle.Solid

        let errors =
            if curve.Errors.Length = 0 then
                None
            else
                Some(TraceObjects.Error.init (Array = curve.Errors, Color = colour, Thickness = 1.5, Width = 3.0))

        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = curve.X,
                Y = curve.Y,
                Name = curve.Name,
                Mode = mode,
                ShowLegend = true,
                Line = Line.init (Color = colour, Width = 2.5, Dash = dash),
                Marker = TraceObjects.Marker.init (Color = colour, Size = 8),
                ?YError = errors,
                XAxis = StyleParam.LinearAxisId.X 1,
                YAxis = StyleParam.LinearAxisId.Y 1
            )
        )
        :> Trace

    /// The range of an axis in its own units (decades where it is logarithmic), with a margin at both ends.
    let private span axis (values: float seq) =
        let places =
            values
            |> Seq.filter (fun v -> Double.IsFinite v && (not axis.Logarithmic || v > 0.0))
            |> Seq.map (fun v -> if axis.Logarithmic then log10 v else v)
            |> Seq.toArray

        if places.Length = 0 then
            raise (
                NonFiniteException(axis.Title, "at least one finite value (above zero on a logarithmic axis)", "none")
            )

        let low, high = Array.min places, Array.max places
        let margin = max (0.05 * (high - low)) 1e-3
        low - margin, high + margin

    /// Ticks at a few values and nowhere else.
    let private ticksAt (values: float[]) (axis: LinearAxis) =
        axis
        |> LinearAxis.style (
            TickMode = StyleParam.TickMode.Array,
            TickVals = values,
            TickText = (values |> Array.map (sprintf "%g"))
        )

    let private scale axis ends =
        if axis.Logarithmic then
            Training.logarithmic ends
        else
            Style.range ends >> Style.ticks 6

    let chart (x: CurveAxis) (y: CurveAxis) (curves: Curve list) =
        if curves.IsEmpty then
            raise (SettingException("curves", "at least one", "none"))

        List.iter check curves

        let columns, above = Style.legendAbove 640.0 (curves |> List.map _.Name)
        let frame, panel = Style.single (640.0, 420.0) (40 + above) 26

        let across = span x (curves |> Seq.collect _.X)

        // where something was measured at a few places, these are what the axis has to name
        let places =
            curves
            |> List.filter (fun c -> c.Style = Marked)
            |> Seq.collect _.X
            |> Seq.distinct
            |> Seq.toArray

        let name =
            if x.Logarithmic && places.Length > 1 && places.Length <= 8 then
                ticksAt places
            else
                id

        let up =
            curves
            |> Seq.collect (fun c ->
                if c.Errors.Length = 0 then
                    c.Y
                else
                    Array.append (Array.map2 (+) c.Y c.Errors) (Array.map2 (-) c.Y c.Errors))
            |> span y

        Style.figure
            frame
            (List.mapi trace curves)
            [ Style.withPanel frame panel (x.Title, scale x across >> name) (y.Title, scale y up)
              Style.withLegendAbove frame columns ]
