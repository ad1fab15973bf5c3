namespace FieldImnn.Plots

open System
open System.Globalization
open FieldImnn.Core
open Plotly.NET
open Plotly.NET.LayoutObjects

/// A curve with the range in which it lies.
type BandCurve =
    { Name: string
      X: float[]
      Low: float[]
      Middle: float[]
      High: float[] }

/// One panel of curves over the same abscissa.
type BandPanel =
    {
        /// The title of its ordinate.
        Title: string
        Logarithmic: bool
        /// Where an ideal curve would lie.
        Ideal: float option
        Curves: BandCurve list
    }

/// Curves with bands, in panels side by side.
module internal Bands =
    /// A curve of points in a panel.
    let line panel colour name shown width dash (x: float[]) (y: float[]) markers =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = x,
                Y = y,
                Name = name,
                LegendGroup = name,
                ShowLegend = shown,
                Mode =
                    (if markers then
                         StyleParam.Mode.Lines_Markers
                     else
                         StyleParam.Mode.Lines),
                Line = Line.init (Color = colour, Width = width, Dash = dash),
                Marker = TraceObjects.Marker.init (Color = colour, Size = 7),
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    /// The area between two curves.
    let area panel colour name (x: float[]) (low: float[]) (high: float[]) =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = Array.append x (Array.rev x),
                Y = Array.append high (Array.rev low),
                Name = name,
                LegendGroup = name,
                ShowLegend = false,
                Mode = StyleParam.Mode.Lines,
                Line = Line.init (Color = colour, Width = 0.0),
                Fill = StyleParam.Fill.ToSelf,
                FillColor = colour,
                Opacity = 0.25,
                HoverInfo = StyleParam.HoverInfo.Skip,
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    let private range logarithmic ideal (values: float seq) =
        let all = values |> Seq.filter Double.IsFinite |> Seq.append (Option.toList ideal)
        let low, high = Seq.min all, Seq.max all
        let low, high = if logarithmic then log10 low, log10 high else low, high
        let pad = max 1e-6 (0.06 * (high - low))
        low - pad, high + pad

    /// Labelled ticks of a logarithmic axis: every decade of a long one, several numbers of each of a short one.
    let private logTicks (low: float, high: float) =
        let steps =
            if high - low > 2.5 then [ 1.0 ]
            elif high - low > 1.6 then [ 1.0; 3.0 ]
            elif high - low > 0.9 then [ 1.0; 2.0; 5.0 ]
            else [ 1.0; 2.0; 3.0; 4.0; 6.0; 8.0 ]

        let values =
            if high - low > 0.5 then
                [| for decade in floor low .. ceil high do
                       for step in steps do
                           let value = step * 10.0 ** decade

                           if log10 value >= low && log10 value <= high then
                               value |]
            else
                Ticks.multiples 6 (10.0 ** low, 10.0 ** high)

        values,
        values
        |> Array.map _.ToString("#,0.#####", CultureInfo.InvariantCulture).Replace(",", " ")

    let private scale logarithmic limits (axis: LinearAxis) =
        let axis = axis |> Style.range limits

        if logarithmic then
            let values, texts = logTicks limits

            axis
            |> LinearAxis.style (
                AxisType = StyleParam.AxisType.Log,
                TickMode = StyleParam.TickMode.Array,
                TickVals = values,
                TickText = texts
            )
        else
            axis |> Style.ticks 6

    let chart abscissa (panels: BandPanel list) =
        if panels.IsEmpty || panels |> List.exists (fun p -> p.Curves.IsEmpty) then
            raise (SettingException("panels of curves", "at least one, each with at least one curve", "none"))

        for p in panels do
            for c in p.Curves do
                if
                    [ c.Low; c.Middle; c.High ]
                    |> List.exists (fun y -> y.Length <> c.X.Length || y.Length = 0)
                then
                    raise (ShapeException($"curve '{c.Name}'", $"{c.X.Length} values each", "others, or none"))

        let frame, place = Style.row panels.Length (300.0, 300.0) 96.0 52

        let x =
            panels |> Seq.collect (fun p -> p.Curves |> Seq.collect _.X) |> range true None

        let ends = [| 10.0 ** fst x; 10.0 ** snd x |]

        let traces =
            [ for i, p in List.indexed panels do
                  let panel = place i

                  for k, c in List.indexed p.Curves do
                      area panel (Palette.line k) c.Name c.X c.Low c.High

                  match p.Ideal with
                  | Some v ->
                      line panel Palette.ink "ideal" false 1.5 StyleParam.DrawingStyle.Dash ends [| v; v |] false
                  | None -> ()

                  for k, c in List.indexed p.Curves do
                      line panel (Palette.line k) c.Name (i = 0) 2.5 StyleParam.DrawingStyle.Solid c.X c.Middle true ]

        let axes =
            [ for i, p in List.indexed panels do
                  let y =
                      p.Curves
                      |> Seq.collect (fun c -> Seq.concat [ c.Low; c.High ])
                      |> range p.Logarithmic p.Ideal

                  Style.withPanel frame (place i) (abscissa, scale true x) (p.Title, scale p.Logarithmic y) ]

        Style.figure frame traces (axes @ [ Style.legendLine 0.02 ])
