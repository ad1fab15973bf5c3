namespace FieldImnn.Plots

open FieldImnn
open FieldImnn.Core
open Plotly.NET

/// What calibration tests show, with the bands into which chance would put it.
module internal CalibrationPlot =
    let private probability = 0.95

    let private check (named: (string * float[]) list) =
        if named.IsEmpty || named |> List.exists (fun (_, v) -> v.Length = 0) then
            raise (SettingException("calibration values", "at least one set of numbers in [0, 1]", "none"))

    /// Histograms of ranks, one panel for each parameter.
    let ranks bins (named: (string * float[]) list) =
        check named
        let frame, place = Style.row named.Length (300.0, 300.0) 90.0 46

        let counts (values: float[]) =
            let found =
                values
                |> Array.countBy (fun v -> min (bins - 1) (int (v * float bins)))
                |> Map.ofArray

            Array.init bins (fun b -> float (defaultArg (found.TryFind b) 0))

        let centres = Array.init bins (fun b -> (float b + 0.5) / float bins)

        let traces, axes =
            named
            |> List.mapi (fun i (name, values) ->
                let panel = place i
                let low, high = Calibration.band probability values.Length (1.0 / float bins)
                let expected = float values.Length / float bins
                let count = counts values
                let top = 1.15 * max (float high) (Array.max count)

                [ Trace2D.initBar (
                      Trace2DStyle.Bar(
                          X = centres,
                          Y = count,
                          MultiWidth = Array.create bins (0.92 / float bins),
                          Marker = TraceObjects.Marker.init (Color = Palette.line 0),
                          Opacity = 0.75,
                          ShowLegend = false,
                          XAxis = Style.axisX panel,
                          YAxis = Style.axisY panel
                      )
                  )
                  :> Trace
                  Bands.area
                      panel
                      Palette.ink
                      "chance"
                      [| 0.0; 1.0 |]
                      (Array.create 2 (float low))
                      (Array.create 2 (float high))
                  Bands.line
                      panel
                      Palette.ink
                      "expected"
                      false
                      1.5
                      StyleParam.DrawingStyle.Dash
                      [| 0.0; 1.0 |]
                      (Array.create 2 expected)
                      false ],
                Style.withPanel
                    frame
                    panel
                    ($"rank of the true {name}", Style.range (0.0, 1.0) >> Style.ticks 5)
                    ("trials", Style.range (0.0, top) >> Style.ticks 6))
            |> List.unzip

        Style.figure frame (List.concat traces) axes

    /// Coverage against credibility, all in one panel.
    let coverage (named: (string * float[]) list) =
        check named

        let frame, place = Style.row 1 (460.0, 400.0) 0.0 46
        let panel = place 0
        let levels = Array.init 51 (fun i -> float i / 50.0)
        let n = named |> List.map (fun (_, v) -> v.Length) |> List.min

        let low, high =
            levels
            |> Array.map (fun p ->
                let low, high = Calibration.band probability n p
                float low / float n, float high / float n)
            |> Array.unzip

        let traces =
            [ Bands.area panel Palette.ink "chance" levels low high
              Bands.line
                  panel
                  Palette.ink
                  "calibrated"
                  false
                  1.5
                  StyleParam.DrawingStyle.Dash
                  [| 0.0; 1.0 |]
                  [| 0.0; 1.0 |]
                  false
              for k, (name, values) in List.indexed named do
                  Bands.line
                      panel
                      (Palette.line k)
                      name
                      true
                      2.5
                      StyleParam.DrawingStyle.Solid
                      levels
                      (Calibration.curve levels values)
                      false ]

        Style.figure
            frame
            traces
            [ Style.withPanel
                  frame
                  panel
                  ("credibility of the region", Style.range (0.0, 1.0) >> Style.ticks 6)
                  ("part of the trials whose truth it holds", Style.range (0.0, 1.0) >> Style.ticks 6)
              Layout.style (ShowLegend = true)
              Layout.setLegend (
                  StyleParam.SubPlotId.Legend 1,
                  Style.legend 0.02 0.98 StyleParam.XAnchorPosition.Left StyleParam.YAnchorPosition.Top
              ) ]
