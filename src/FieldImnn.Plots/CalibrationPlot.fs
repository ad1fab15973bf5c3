namespace FieldImnn.Plots

open FieldImnn
open FieldImnn.Core
open Plotly.NET

/// What calibration tests show, with the bands into which chance would put it.
module internal CalibrationPlot =
    let private probability = 0.95

    let private check (values: float[] list) =
        if values.IsEmpty || values |> List.exists Array.isEmpty then
            raise (SettingException("calibration values", "at least one set of numbers in [0, 1]", "none"))

    let private counts bins (values: float[]) =
        let found =
            values
            |> Array.countBy (fun v -> min (bins - 1) (int (v * float bins)))
            |> Map.ofArray

        Array.init bins (fun b -> float (defaultArg (found.TryFind b) 0))

    /// A band that is `chance`, and the dashed line of what is expected.
    let private expected panel (x: float[]) low high middle =
        [ Bands.area panel Palette.ink "chance" x low high
          Bands.line panel Palette.ink "calibrated" false 1.5 StyleParam.DrawingStyle.Dash x middle false ]

    /// Histograms of ranks, a panel (title, parameter, ranks) for each, in rows of so many.
    let ranks bins columns (panels: (string * string * float[]) list) =
        check (panels |> List.map (fun (_, _, values) -> values))
        let columns = min columns panels.Length

        let frame, place = Style.grid columns panels.Length (240.0, 200.0) (56.0, 104.0) 52

        let band (values: float[]) =
            Calibration.band probability values.Length (1.0 / float bins)

        let centres = Array.init bins (fun b -> (float b + 0.5) / float bins)
        let ends = [| 0.0; 1.0 |]

        let traces =
            [ for i, (_, _, values) in List.indexed panels do
                  let panel = place i
                  let low, high = band values

                  Trace2D.initBar (
                      Trace2DStyle.Bar(
                          X = centres,
                          Y = counts bins values,
                          MultiWidth = Array.create bins (0.92 / float bins),
                          Marker = TraceObjects.Marker.init (Color = Palette.line 0),
                          Opacity = 0.75,
                          ShowLegend = false,
                          XAxis = Style.axisX panel,
                          YAxis = Style.axisY panel
                      )
                  )
                  :> Trace

                  yield!
                      expected
                          panel
                          ends
                          (Array.create 2 (float low))
                          (Array.create 2 (float high))
                          (Array.create 2 (float values.Length / float bins)) ]

        let axes =
            [ for i, (_, parameter, values) in List.indexed panels do
                  let top = max (float (snd (band values))) (Array.max (counts bins values))

                  Style.withPanel
                      frame
                      (place i)
                      ($"rank of the true {Style.symbol parameter}", Style.range (0.0, 1.0) >> Style.ticks 5)
                      ((if i % columns = 0 then "trials" else ""), Style.range (0.0, 1.15 * top) >> Style.ticks 6) ]

        let headings =
            panels |> List.mapi (fun i (title, _, _) -> Style.heading frame (place i) title)

        Style.figure frame traces (axes @ [ Layout.style (Annotations = headings) ])

    /// Coverage against credibility, in panels (title, curves) side by side.
    let coverage (panels: (string * (string * float[]) list) list) =
        check (panels |> List.collect (snd >> List.map snd))
        let frame, place = Style.row panels.Length (380.0, 380.0) 96.0 84
        let levels = Array.init 51 (fun i -> float i / 50.0)

        let names = panels |> List.collect (snd >> List.map fst) |> List.distinct

        let traces =
            [ for i, (_, curves) in List.indexed panels do
                  let panel = place i
                  let n = curves |> List.map (fun (_, v) -> v.Length) |> List.min

                  let low, high =
                      levels
                      |> Array.map (fun p ->
                          let low, high = Calibration.band probability n p
                          float low / float n, float high / float n)
                      |> Array.unzip

                  yield! expected panel levels low high levels

                  for name, values in curves do
                      Bands.line
                          panel
                          (Palette.line (List.findIndex ((=) name) names))
                          name
                          (i = 0)
                          2.5
                          StyleParam.DrawingStyle.Solid
                          levels
                          (Calibration.curve levels values)
                          false ]

        let axes =
            [ for i in 0 .. panels.Length - 1 do
                  let axis text =
                      text, Style.range (0.0, 1.0) >> Style.ticks 6

                  Style.withPanel
                      frame
                      (place i)
                      (axis "credibility of the region")
                      (axis "part of the trials whose truth it holds") ]

        let headings =
            panels |> List.mapi (fun i (title, _) -> Style.heading frame (place i) title)

        Style.figure frame traces (axes @ [ Style.legendLine 0.1; Layout.style (Annotations = headings) ])
