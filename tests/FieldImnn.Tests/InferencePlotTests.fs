/// Figures of inference: curves with bands, ranks, coverage, losses of ensembles.
module InferencePlotTests

open System
open System.Text.RegularExpressions
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots
open Plotly.NET
open TestSupport

let private scatters chart =
    GenericChart.getTraces chart |> List.filter (fun t -> t.``type`` = "scatter")

let private values name (trace: Trace) =
    trace.TryGetTypedPropertyValue<float[]> name |> Option.defaultValue [||]

let private curve name =
    { Name = name
      X = [| 100.0; 1000.0; 10000.0 |]
      Low = [| 2.0; 1.5; 1.0 |]
      Middle = [| 3.0; 2.0; 1.2 |]
      High = [| 5.0; 2.5; 1.4 |] }

let private panel =
    { Title = "area"
      Logarithmic = true
      Ideal = Some 1.0
      Curves = [ curve "ABC"; curve "DELFI" ] }

let tests =
    testList
        "figures of inference"
        [ testCase "curves with bands: a band, a line and the ideal for each panel, one legend" (fun () ->
              let chart = Plot.bands "simulations" [ panel; { panel with Logarithmic = false } ]
              Expect.equal (scatters chart).Length 10 "2 panels of 2 bands, 2 lines and an ideal"

              let legend =
                  scatters chart
                  |> List.filter (fun t -> t.TryGetTypedPropertyValue<bool> "showlegend" = Some true)

              Expect.equal legend.Length 2 "each name once"
              let band = scatters chart |> List.head

              Expect.equal
                  (values "y" band)
                  [| 5.0; 2.5; 1.4; 1.0; 1.5; 2.0 |]
                  "there along the top, back along the bottom"

              refuses<ShapeException> [ "ABC" ] (fun () ->
                  Plot.bands
                      "n"
                      [ { panel with
                            Curves = [ { curve "ABC" with Low = [||] } ] } ]
                  |> ignore)

              refuses<SettingException> [ "panels" ] (fun () -> Plot.bands "n" [] |> ignore))

          testCase "a logarithmic axis has three labels at least, however short it is" (fun () ->
              for low, high in [ 0.95, 1.15; 0.65, 0.95; 1.0, 4.0; 50.0, 800.0; 1.0, 1e5 ] do
                  let short =
                      { curve "C2ST" with
                          Low = [| low; low; low |]
                          Middle = [| low; sqrt (low * high); high |]
                          High = [| high; high; high |] }

                  let page =
                      Plot.bands
                          "n"
                          [ { panel with
                                Ideal = None
                                Curves = [ short ] } ]
                      |> Export.page

                  // the abscissa's labels come first, those of the panel after them
                  let labels =
                      Regex.Matches(page, "\"ticktext\":\\[([^\\]]*)\\]")
                      |> Seq.map (fun m -> m.Groups[1].Value.Split(',').Length)
                      |> Seq.toArray

                  Expect.isGreaterThanOrEqual labels.Length 2 "both axes"
                  Expect.all labels (fun n -> n >= 3) $"{low} to {high}: {labels}")

          testCase "ranks are counted into bins, and the band is the binomial's" (fun () ->
              let ranks = Array.init 100 (fun i -> (float i + 0.5) / 100.0)

              let chart =
                  Plot.ranks 10 2 [ "exact", "A", ranks; "planted", "A", Array.create 100 0.05 ]

              let bars =
                  GenericChart.getTraces chart
                  |> List.filter (fun t -> t.``type`` = "bar")
                  |> List.map (values "y")

              Expect.equal bars[0] (Array.create 10 10.0) "uniform"
              Expect.equal (Array.head bars[1]) 100.0 "all in the first bin"
              let band = values "y" (scatters chart).Head
              Expect.equal (Array.min band, Array.max band) (5.0, 16.0) "Binomial(0.1, 100)")

          testCase "coverage of uniform levels runs along the diagonal" (fun () ->
              let chart =
                  Plot.coverage [ "regions", [ "exact", Array.init 200 (fun i -> (float i + 0.5) / 200.0) ] ]

              let line = List.last (scatters chart)
              close 0.01 (values "y" line) (values "x" line) "diagonal"
              refuses<SettingException> [ "calibration" ] (fun () -> Plot.coverage [] |> ignore))

          testCase "losses of an ensemble: two lines for each network and round, which end with it" (fun () ->
              let record epoch second =
                  { Epoch = epoch
                    Training = [| 1.0; second |]
                    HeldOut = [| 1.1; second |] }

              let round = [| record 1 2.0; record 2 1.5; record 3 nan |]
              let chart = Plot.ensemble [ "round 1", round; "round 2", round ]
              Expect.equal (scatters chart).Length 8 "2 rounds of 2 networks, training and held out"
              let second = List.item 3 (scatters chart)
              Expect.equal (values "y" second) [| 2.0; 1.5 |] "the second network ended after two epochs") ]
