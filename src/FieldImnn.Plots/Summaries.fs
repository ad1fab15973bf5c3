namespace FieldImnn.Plots

open FieldImnn.Core
open Plotly.NET

/// What a network makes of simulations whose parameters are known.
module internal Summaries =
    // More points than this say no more to the eye; they are then taken at even steps.
    let private most = 4000

    let private column a (rows: float[][]) =
        let step = max 1 ((rows.Length + most - 1) / most)
        [| for i in 0..step .. rows.Length - 1 -> rows[i][a] |]

    let private padded (values: float[]) =
        let low, high = Array.min values, Array.max values
        let pad = if high > low then 0.05 * (high - low) else 1.0
        low - pad, high + pad

    let private cloud panel colour n (x: float[]) (y: float[]) =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = x,
                Y = y,
                Mode = StyleParam.Mode.Markers,
                ShowLegend = false,
                Marker =
                    TraceObjects.Marker.init (
                        Color = Palette.line colour,
                        Size = (if n > 500 then 4 else 6),
                        Opacity = (if n > 500 then 0.45 else 0.65)
                    ),
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    let private identity panel (low: float, high: float) =
        Trace2D.initScatter (
            Trace2DStyle.Scatter(
                X = [| low; high |],
                Y = [| low; high |],
                Mode = StyleParam.Mode.Lines,
                ShowLegend = false,
                HoverInfo = StyleParam.HoverInfo.Skip,
                Line = Line.init (Color = Palette.ink, Width = 1.5, Dash = StyleParam.DrawingStyle.Dash),
                XAxis = Style.axisX panel,
                YAxis = Style.axisY panel
            )
        )
        :> Trace

    let private check name rows p (values: float[][]) =
        if values.Length <> rows || values |> Array.exists (fun v -> v.Length < p) then
            raise (ShapeException(name, $"{rows} rows of at least {p} values", $"{values.Length} rows"))

    let chart (names: string[]) (theta: float[][]) (raw: float[][]) (estimates: float[][]) =
        let p = names.Length
        let names = names |> Array.map Style.symbol

        if p = 0 || theta.Length = 0 then
            raise (SettingException("summaries", "at least one parameter and one simulation", "none"))

        check "theta" theta.Length p theta
        check "raw" theta.Length p raw
        check "estimates" theta.Length p estimates

        let width, height, gapX, gapY = 300.0, 240.0, 100.0, 34.0

        let frame, place = Style.grid p (2 * p) (width, height) (gapX, gapY) 20
        let panel row a = place (row * p + a)

        let content =
            [ for a in 0 .. p - 1 do
                  let x, outputs, found = column a theta, column a raw, column a estimates
                  a, x, outputs, found, padded x ]

        let traces =
            [ for a, x, outputs, found, xRange in content do
                  cloud (panel 0 a) 0 x.Length x outputs
                  cloud (panel 1 a) 1 x.Length x found
                  identity (panel 1 a) xRange ]

        let axes =
            [ for a, x, outputs, found, xRange in content do
                  let across = Style.range xRange >> Style.ticks 6

                  Style.withPanel
                      frame
                      (panel 0 a)
                      ("", across >> Style.noTickLabels)
                      ($"network output x<sub>{a + 1}</sub>", Style.range (padded outputs) >> Style.ticks 6)

                  Style.withPanel
                      frame
                      (panel 1 a)
                      (names[a], across)
                      ($"score estimate of {names[a]}", Style.range (padded (Array.append x found)) >> Style.ticks 6) ]

        Style.figure frame traces axes
