/// Figures of fields of one to three dimensions and several channels, and corners of many parameters.
module FieldPlotTests

open System
open System.Diagnostics
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots
open Plotly.NET
open TestSupport

let private traces kind chart =
    GenericChart.getTraces chart |> List.filter (fun t -> t.``type`` = kind)

/// Values 0, 1, 2, … of a shape.
let private counting channels (shape: int64 list) =
    let shape = List.toArray shape
    FieldValues.create channels shape (Array.init (int (Array.fold (*) 1L shape)) float)

/// The first row and the last of an image's values.
let private rows (trace: Trace) =
    let z =
        trace.TryGetTypedPropertyValue<seq<float[]>> "z" |> Option.get |> Seq.toArray

    z[0], z[z.Length - 1]

let private fields =
    [ test "a field of one dimension is a curve, of several channels one for each" {
          let chart = Plot.fields [ "δ", counting 1 [ 1001L ]; "∂δ/∂A", counting 1 [ 1001L ] ]
          Expect.equal (traces "scatter" chart).Length 2 "curves"
          Expect.equal (traces "scatter" (Plot.field "maps" (counting 3 [ 3L; 50L ]))).Length 3 "channels"
          let page = Export.page (Plot.field "maps" (counting 3 [ 3L; 50L ]))
          Expect.stringContains page "maps, channel 3" "headings"
      }

      test "a volume is its three central planes, which share their colours" {
          let chart = Plot.field "δ" (counting 1 [ 4L; 6L; 8L ])
          let images = traces "heatmap" chart
          Expect.equal images.Length 3 "planes"
          // z = 2: elements 2·48 …; y = 3: 24 … of each plane; x = 4
          Expect.equal (fst (rows images[0])) [| for i in 96.0 .. 103.0 -> i |] "z = 2, the first row"
          Expect.equal (snd (rows images[1])) [| for i in 168.0 .. 175.0 -> i |] "y = 3, the last plane"
          Expect.equal (fst (rows images[2])) [| for j in 0.0 .. 5.0 -> 8.0 * j + 4.0 |] "x = 4, the first plane"

          let lows =
              images
              |> List.map (fun t -> t.TryGetTypedPropertyValue<float> "zmin")
              |> List.distinct

          Expect.hasLength lows 1 "one scale"

          let bars =
              images
              |> List.filter (fun t -> t.TryGetTypedPropertyValue<bool> "showscale" = Some true)

          Expect.hasLength bars 1 "one bar"
          let page = Export.page chart

          for text in [ "δ, z = 2"; "δ, y = 3"; "δ, x = 4"; "z [pixel]" ] do
              Expect.stringContains page text "labelled"
      }

      test "channels are panels, one row for each field" {
          let maps = counting 2 [ 2L; 8L; 8L ]
          let chart = Plot.fields [ "δ", maps; "∂δ/∂A", maps; "∂δ/∂r", maps ]
          let images = traces "heatmap" chart
          Expect.equal images.Length 6 "panels"
          Expect.equal (fst (rows images[1])) [| for i in 64.0 .. 71.0 -> i |] "the second channel"
          let width, height = Plot.size chart
          Expect.isGreaterThan height width "three rows of two"
          Expect.equal (traces "heatmap" (Plot.field "δ" (counting 2 [ 2L; 3L; 3L; 3L ]))).Length 6 "two volumes"
      }

      test "shapes that no figure shows are refused" {
          refuses<ShapeException> [ "1 to 3 sides" ] (fun () -> counting 1 [ 2L; 2L; 2L; 2L ] |> ignore)
          refuses<ShapeException> [ "2 channels" ] (fun () -> counting 2 [ 3L; 4L ] |> ignore)
          refuses<ShapeException> [ "as many" ] (fun () -> FieldValues.create 1 [| 4L |] [| 1.0 |] |> ignore)
          refuses<SettingException> [ "fields" ] (fun () -> Plot.fields [] |> ignore)

          refuses<ShapeException> [ "1 sides"; "2 of two" ] (fun () ->
              Plot.fields [ "one", counting 1 [ 4L ]; "two", counting 1 [ 4L; 4L ] ] |> ignore)
      } ]

let private corners =
    [ testCase "a corner of six parameters and three layers takes less than 3 s of the processors" (fun () ->
          let random = Random 3

          let normal () =
              MathNet.Numerics.Distributions.Normal.Sample(random, 0.0, 1.0)

          let layer shift =
              let samples =
                  Array.init 10000 (fun _ ->
                      let common = normal ()
                      Array.init 6 (fun i -> shift + 0.5 * common + normal () * (1.0 + 0.1 * float i)))

              Posterior.ofSamples
                  [| for i in 1..6 -> $"p{i}" |]
                  (Array.create 6 (-20.0, 20.0))
                  samples
                  (Array.create 10000 1.0)

          let layers = [ for k in 0..2 -> $"layer {k}", layer (0.3 * float k) ]
          let before = Process.GetCurrentProcess().TotalProcessorTime
          let chart = Plot.corner layers (Some(Array.create 6 0.0))
          let taken = (Process.GetCurrentProcess().TotalProcessorTime - before).TotalSeconds
          Expect.isLessThan taken 3.0 "seconds"
          // 15 pairs: two lines a layer, and the filling of the first
          Expect.equal (traces "contour" chart).Length (15 * 7) "regions"
          Expect.equal (traces "scatter" chart).Length (6 * 3 + 15 * 2 + 6) "marginals and the truth"
          Expect.isLessThan (Export.page chart).Length 12_000_000 "bytes of the page")

      testCase "the area of one parameter is its sd, of three a volume; ratios are those of the parameters" (fun () ->
          let random = Random 4

          let of' p scale =
              let draw _ =
                  Array.init p (fun _ -> scale * MathNet.Numerics.Distributions.Normal.Sample(random, 0.0, 1.0))

              Posterior.ofSamples
                  [| for i in 1..p -> $"p{i}" |]
                  (Array.create p (-50.0, 50.0))
                  (Array.init 20000 draw)
                  (Array.create 20000 1.0)

          for p in [ 1; 2; 3; 6 ] do
              let struct (ratio, each) = Posterior.areaRatio (of' p 1.0) (of' p 1.5)
              Expect.isLessThan (abs (ratio / 1.5 ** float p - 1.0)) 0.06 $"p = {p}"
              Expect.isLessThan (abs (each / 1.5 - 1.0)) 0.02 $"p = {p}, a parameter"

          refuses<ShapeException> [ "posterior to compare" ] (fun () ->
              let struct (_, _) = Posterior.areaRatio (of' 2 1.0) (of' 3 1.0)
              ())

          let three = of' 3 0.1
          Expect.isLessThan (abs (Posterior.figureOfMerit 0 2 three / 100.0 - 1.0)) 0.05 "1/√det of two of three"

          for pair in [ -1, 0; 0, 3 ] do
              refuses<RangeException> [ "figure of merit"; "3 parameters" ] (fun () ->
                  three |> Posterior.figureOfMerit (fst pair) (snd pair) |> ignore)

          refuses<SettingException> [ "figure of merit" ] (fun () -> Posterior.figureOfMerit 1 1 three |> ignore)) ]

let tests = testList "figures of fields" (fields @ corners)
