module PlotTests

open System
open System.Buffers.Binary
open System.IO
open System.Xml.Linq
open System.Text.RegularExpressions
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots
open Plotly.NET

let private inFolder action =
    let folder = Directory.CreateTempSubdirectory "fieldimnn-plot-tests-"

    try
        action folder.FullName
    finally
        folder.Delete true

/// A Gaussian of sd 0.1 and 0.2 and correlation ρ about (1, 2), on a grid of ± 6 sd.
let gaussian rho =
    let axis centre sd =
        Array.init 241 (fun i -> centre + sd * (-6.0 + 12.0 * float i / 240.0))

    let x, y = axis 1.0 0.1, axis 2.0 0.2

    let density =
        Array2D.init 241 241 (fun i j ->
            let u, v = (x[i] - 1.0) / 0.1, (y[j] - 2.0) / 0.2
            exp (-0.5 * (u * u - 2.0 * rho * u * v + v * v) / (1.0 - rho * rho)))

    Posterior.ofGrid [| "A"; "B" |] [| (-10.0, 10.0); (-10.0, 10.0) |] x y density

let private traces kind chart =
    GenericChart.getTraces chart |> List.filter (fun t -> t.``type`` = kind)

let private record iteration detF heldOut =
    { Iteration = iteration
      DetF = detF
      Lambda = nan
      Strength = nan
      HeldOutDetF = heldOut
      Seconds = 0.0 }

let private curve =
    [| for i in 0..20 -> record (10 * i) (100.0 * (1.0 - exp (-float i / 5.0))) (if i % 5 = 0 then 90.0 else nan) |]

let private pixels = Array2D.init 8 8 (fun i j -> sin (float i) * cos (float j))

let private image = FieldValues.image pixels

/// Width and height of a PNG file, from its header (PNG specification, 11.2.2).
let private pngSize (path: string) =
    let bytes = File.ReadAllBytes path
    Expect.sequenceEqual bytes[..7] [| 137uy; 80uy; 78uy; 71uy; 13uy; 10uy; 26uy; 10uy |] "signature"
    BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(16, 4)), BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(20, 4))

let private contours =
    test "contours: a panel for each observation, one colour and one entry of the legend for each name" {
        let exact, other = gaussian 0.5, gaussian -0.5

        let chart =
            Plot.contours
                2
                [| "A"; "B" |]
                [ "one", [ "exact", exact; "network", other ], Some [| 1.0; 2.0 |]
                  "two", [ "network", other ], None
                  "three", [ "exact", exact ], None ]

        let entries =
            traces "scatter" chart
            |> List.filter (fun t -> t.TryGetTypedPropertyValue<bool> "showlegend" = Some true)

        Expect.equal entries.Length 3 "exact, network and truth"
        // two lines a layer, and the filling of the first of each panel
        Expect.equal (traces "contour" chart).Length (2 * 4 + 3) "regions"
        let width, height = Plot.size chart
        Expect.isTrue (width > 2 * 300 && width < 3 * 300) $"two columns of 300 pixels, {width}"
        Expect.isTrue (height > 2 * 300 && height < 3 * 300) $"and two rows, {height}"

        Expect.throwsT<FieldImnn.Core.SettingException>
            (fun () -> Plot.contours 2 [| "A"; "B" |] [] |> ignore)
            "no panels"
    }

let private corner =
    testList
        "corner"
        [ test "contours of a Gaussian lie where χ² of two degrees of freedom puts them" {
              // HPD region of probability p: density over its peak = exp(−χ²/2) = 1 − p
              let chart = Plot.corner [ ("exact", gaussian 0.6) ] None

              let starts =
                  traces "contour" chart
                  |> List.choose (fun t -> t.TryGetTypedPropertyValue<TraceObjects.Contours> "contours")
                  |> List.filter (fun c ->
                      c.TryGetTypedPropertyValue<float> "start" = c.TryGetTypedPropertyValue<float> "end")
                  |> List.choose (fun c -> c.TryGetTypedPropertyValue<float> "start")

              Expect.equal starts.Length 2 "two levels"
              Expect.floatClose { absolute = 2e-3; relative = 0.0 } starts[0] 0.05 "95 %"
              Expect.floatClose { absolute = 2e-3; relative = 0.0 } starts[1] 0.32 "68 %"
          }

          test "one legend entry for each layer, and one for the truth" {
              let chart =
                  Plot.corner [ "exact", gaussian 0.6; "network", gaussian 0.3 ] (Some [| 1.0; 2.0 |])

              let entries =
                  GenericChart.getTraces chart
                  |> List.filter (fun t -> t.TryGetTypedPropertyValue<bool> "showlegend" = Some true)
                  |> List.choose (fun t -> t.TryGetTypedPropertyValue<string> "name")

              Expect.equal entries [ "exact"; "network"; "truth" ] "entries"
          }

          test "a truth of another length is refused" {
              Expect.throwsT<FieldImnn.Core.ShapeException>
                  (fun () -> Plot.corner [ ("exact", gaussian 0.0) ] (Some [| 1.0 |]) |> ignore)
                  "two parameters, one truth"
          }

          test "four parameters from samples make 4 marginals and 6 pairs" {
              let random = Random 1

              let draw () =
                  Seq.init 12 (fun _ -> random.NextDouble()) |> Seq.sum |> fun s -> s - 6.0

              let samples = Array.init 200 (fun _ -> Array.init 4 (fun _ -> draw ()))

              let posterior =
                  Posterior.ofSamples
                      [| "a"; "b"; "c"; "d" |]
                      (Array.create 4 (-9.0, 9.0))
                      samples
                      (Array.create 200 1.0)

              let chart = Plot.corner [ ("samples", posterior) ] None
              Expect.equal (traces "scatter" chart).Length 4 "marginals"
              Expect.equal (traces "contour" chart).Length 18 "a filling and two lines for each pair"
          } ]

let private shares =
    let row label goal measured =
        { Label = label
          Goal = goal
          Measured = measured }

    let data chart =
        let page = Export.page chart
        page.Substring(page.LastIndexOf "var data")

    testList
        "shares"
        [ test "the median stands where it is, an arrow where it is below the axis, and the first row is at the top" {
              let page =
                  Plot.shares
                      "share"
                      [ row "first" (Some 0.95) [ "default", [| 0.97; 0.91; 0.96 |]; "other", [| 0.3 |] ]
                        row "second" None [ "default", [| 0.99; 0.98 |] ] ]
                  |> data

              let has (text: string) =
                  Expect.isTrue (page.Replace(" ", "").Contains text) text

              has "\"x\":[0.96,0.985],\"y\":[2.0,1.0]"
              has "\"x\":[0.802],\"y\":[2.0]"
              has "\"x\":[0.95],\"y\":[2.0]"
          }

          test "no rows, no seeds and numbers that are none are refused" {
              TestSupport.refuses<SettingException> [ "at least one" ] (fun () -> Plot.shares "share" [] |> ignore)

              for values in [ [||]; [| nan |]; [| 0.9; infinity |] ] do
                  TestSupport.refuses<NonFiniteException> [ "default"; "first" ] (fun () ->
                      Plot.shares "share" [ row "first" None [ "default", values ] ] |> ignore)
          } ]

let private layout =
    testList
        "layout"
        [ test "a caption adds its height, and resizing wraps it again" {
              let words = String.replicate 60 "word "
              let plain = Plot.field "δ" image
              let width, height = Plot.size plain
              let captioned = Plot.withCaption words plain
              Expect.equal (Plot.size captioned) (width, height) "size without the caption"

              let total chart =
                  GenericChart.tryGetLayoutSize chart |> snd |> Option.get

              Expect.isGreaterThan (total captioned) height "room for the caption"

              Expect.isGreaterThan
                  (total (Plot.withSize (400, height) captioned))
                  (total captioned)
                  "narrower, so more lines"

              Expect.equal
                  (Plot.withSize (width, height) captioned |> total)
                  (total captioned)
                  "resizing to the same size"

              Expect.equal (total plain) height "the first chart is as it was"
          }

          test "training keeps what is positive and finite" {
              let chart = Plot.training [ "net", curve ] [ "exact", 100.0 ]

              let points =
                  traces "scatter" chart
                  |> List.map (fun t -> t.TryGetTypedPropertyValue<seq<float>> "y" |> Option.get |> Seq.length)

              Expect.equal points [ 20; 5 ] "training batch without its zero, held out without its NaN"
          }

          test "a derivative gets colours about zero" {
              let chart = Plot.fields [ "δ", image; "∂δ/∂A", image ]

              let limits =
                  traces "heatmap" chart
                  |> List.map (fun t ->
                      t.TryGetTypedPropertyValue<float> "zmin", t.TryGetTypedPropertyValue<float> "zmax")

              match limits with
              | [ _; Some low, Some high ] -> Expect.equal low -high "symmetric"
              | other -> failtestf "two heatmaps expected, received %A" other
          }

          test "two panels for each parameter" {
              let theta = Array.init 50 (fun i -> [| float i; float (i * i) |])
              let chart = Plot.summaries [| "A"; "B" |] theta theta theta
              Expect.equal (traces "scatter" chart).Length 6 "four clouds and two 1:1 lines"
          } ]

/// Draws a figure of 640 × 420 in a folder of its own, where there is a browser, and looks at the file.
let private drawing name (export: string -> int -> int -> GenericChart -> Picture) look =
    match Browser.installed () with
    | None -> Tests.skiptest "no Chromium or Chrome is installed"
    | Some _ ->
        inFolder (fun folder ->
            let path = Path.Combine(folder, name)

            match Plot.training [ "net", curve ] [ "exact", 100.0 ] |> export path 640 420 with
            | Written written ->
                Expect.equal written path "path"
                look path
                Expect.hasLength (Directory.GetFiles folder) 1 "no draft stays behind"
            | other -> failtestf "a picture expected, received %A" other)

let private export =
    testList
        "export"
        [ test "the page fetches nothing" {
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "field.html")
                  Export.html path (Plot.field "δ" image)
                  let page = File.ReadAllText path
                  Expect.isGreaterThan page.Length 1_000_000 "plotly.js is inside"

                  let outside =
                      Regex.Matches(page, @"<(script|link|img|iframe)\b[^<>]*\b(src|href)\s*=\s*[""']?(https?:)?//")

                  Expect.isEmpty outside "tags that refer to the network"
                  Expect.hasLength (Directory.GetFiles folder) 1 "no draft stays behind")
          }

          test "a picture has its signature and twice the figure's pixels" {
              drawing "training.png" Export.png (fun path -> Expect.equal (pngSize path) (1280, 840) "size")
          }

          test "a picture without pixels is XML of the figure's size with its labels" {
              drawing "training.svg" Export.svg (fun path ->
                  let drawn = XDocument.Load(path).Root
                  let size name = drawn.Attribute(XName.Get name).Value
                  Expect.equal (size "width", size "height") ("640", "420") "size"
                  Expect.stringContains drawn.Value "exact" "labels")
          }

          test "without a browser the answer is a message" {
              inFolder (fun folder ->
                  Expect.isNone (Browser.find None "") "an empty search path"
                  Expect.isNone (Browser.find None folder) "an empty folder"

                  Expect.isNone
                      (Browser.find (Some(Path.Combine(folder, "none"))) "")
                      "a named browser that is not there"

                  let path = Path.Combine(folder, "field.png")

                  match Export.pngWith None path 400 400 (Plot.field "δ" image) with
                  | NoBrowser message -> Expect.stringContains message Browser.variable "names the remedy"
                  | other -> failtestf "NoBrowser expected, received %A" other

                  Expect.isFalse (File.Exists path) "nothing written")
          }

          test "a browser that can't be started is a message too" {
              inFolder (fun folder ->
                  let fake = Path.Combine(folder, "chromium")
                  File.WriteAllText(fake, "not a program")
                  Expect.equal (Browser.find None folder) (Some fake) "found by its name"

                  match
                      Export.pngWith (Some fake) (Path.Combine(folder, "field.png")) 400 400 (Plot.field "δ" image)
                  with
                  | BrowserFailed _ -> ()
                  | other -> failtestf "BrowserFailed expected, received %A" other)
          } ]

let private curves =
    let curve name style y errors : Curve =
        { Name = name
          X = [| 1.0; 10.0; 100.0 |]
          Y = y
          Errors = errors
          Style = style }

    let axis title logarithmic =
        { Title = title
          Logarithmic = logarithmic }

    testList
        "curves"
        [ test "each curve is one trace in its style, with its errors" {
              let chart =
                  Plot.curves
                      (axis "k" true)
                      (axis "P" false)
                      [ curve "a" Solid [| 1.0; 2.0; 3.0 |] [||]
                        curve "b" Points [| 1.0; 2.0; 3.0 |] [| 0.1; 0.1; 0.1 |] ]

              Expect.equal (traces "scatter" chart).Length 2 "traces"
              let page = Export.page chart
              Expect.stringContains page "error_y" "error bars"
              Expect.stringContains page "\"type\":\"log\"" "logarithmic axis"
          }

          test "curves of unequal lengths, and nothing to show on a logarithmic axis, are refused" {
              TestSupport.refuses<ShapeException> [] (fun () ->
                  Plot.curves (axis "k" true) (axis "P" true) [ curve "a" Solid [| 1.0 |] [||] ]
                  |> ignore)

              TestSupport.refuses<NonFiniteException> [] (fun () ->
                  Plot.curves (axis "k" true) (axis "P" true) [ curve "a" Solid [| -1.0; -2.0; 0.0 |] [||] ]
                  |> ignore)

              TestSupport.refuses<SettingException> [] (fun () ->
                  Plot.curves (axis "k" true) (axis "P" true) [] |> ignore)
          }

          test "targets: an image and its contours for each, and the marks once in the legend" {
              let target title =
                  { Title = title
                    Field = pixels
                    Layers = [ "exact", gaussian 0.5; "ABC", gaussian 0.4 ] }

              let chart =
                  Plot.targets [ target "one"; target "two" ] (Some [| 1.0; 2.0 |]) [ "fiducial", [| 1.2; 2.1 |] ]

              Expect.equal (traces "heatmap" chart).Length 2 "images"
              // two lines a layer, and the filling of the first
              Expect.equal (traces "contour" chart).Length (2 * (2 * 2 + 1)) "contours"
              TestSupport.refuses<SettingException> [] (fun () -> Plot.targets [] None [] |> ignore)
          }

          test "targets: a legend of two lines has its room between the rows" {
              let layers =
                  [ for name in [ "exact"; "DELFI"; "Gaussian approximation" ] -> name, gaussian 0.5 ]

              let height n =
                  let targets =
                      [ for k in 1..n ->
                            { Title = string k
                              Field = pixels
                              Layers = layers } ]

                  Plot.targets targets (Some [| 1.0; 2.0 |]) [ "last fiducial", [| 1.2; 2.1 |] ]
                  |> Plot.size
                  |> snd

              Expect.isGreaterThan (height 2) (height 4 + 20) "two panels are narrower than five entries"
              Expect.equal (height 5) (height 4) "four are not"
          }

          test "what follows an underscore in a parameter's name is a subscript" {
              let named =
                  { gaussian 0.5 with
                      Names = [| "Ω_c"; "σ_8" |] }

              Expect.stringContains (Export.page (Plot.corner [ ("exact", named) ] None)) "Ω<sub>c</sub>" "axis title"
          } ]

let tests = testList "plots" [ corner; contours; curves; shares; layout; export ]
