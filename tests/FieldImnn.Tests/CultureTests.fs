/// Text is the same in every culture: messages, captions, tables, JSON, headers, keys of caches, and numbers on the command line.
module CultureTests

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Text
open System.Text.RegularExpressions
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Cosmology
open FieldImnn.Core.Fields
open FieldImnn.Plots
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// German separators and Swedish signs: a culture made by hand, since programs of this house know none by name.
let private foreign =
    let culture = CultureInfo.InvariantCulture.Clone() :?> CultureInfo
    let format = culture.NumberFormat
    format.NumberDecimalSeparator <- ","
    format.NumberGroupSeparator <- "."
    format.PercentDecimalSeparator <- ","
    format.PercentGroupSeparator <- "."
    format.NegativeSign <- "\u2212"
    format.NaNSymbol <- "keine Zahl"
    format.PositiveInfinitySymbol <- "unendlich"
    culture

let private under (culture: CultureInfo) (action: unit -> 'a) =
    let before = CultureInfo.CurrentCulture
    CultureInfo.CurrentCulture <- culture

    try
        action ()
    finally
        CultureInfo.CurrentCulture <- before

let private message (action: unit -> unit) () =
    try
        action ()
        failtest "nothing was refused"
    with :? FieldImnnException as error ->
        error.Message

let private tensor (values: float list) = torch.tensor (Array.ofList values)

let private simulator = lazy (PowerLaw.create 8 ModeConvention.Ideal).Simulator

let private posterior =
    let samples =
        [| for i in 0..299 -> [| 0.5 + 0.1 * sin (float i); -1.25 + 0.2 * cos (1.7 * float i) |] |]

    Posterior.ofSamples [| "a"; "b" |] [| (-10.0, 10.0); (-10.0, 10.0) |] samples (Array.create 300 0.25)

let private messages: (string * (unit -> unit)) list =
    [ "box length", (fun () -> FourierGrid(2, 8, 0.0 - 1.5) |> ignore)
      "pixel noise", (fun () -> CorrelatedLogNormalField(4, LogNormalForm.Standardised, -0.5) |> ignore)
      "β", (fun () -> CorrelatedLogNormalField(4).Factor(tensor [ 0.5; -0.25 ]) |> ignore)
      "β too large", (fun () -> CorrelatedLogNormalField(20).Factor(tensor [ 7.5 ]) |> ignore)
      "contrast",
      (fun () ->
          LogNormalField(FourierGrid(1, 4, 4.0)).Logarithm(tensor [ -1.5; 0.0; 1.0; 2.0 ] |> _.unsqueeze(0L))
          |> ignore)
      "spectrum",
      (fun () ->
          LogNormalField(FourierGrid(1, 4, 4.0)).LogGaussianPower(tensor [ 0.1; 0.1; 9.5 ] |> _.unsqueeze(0L))
          |> ignore)
      "cosmology", (fun () -> CosmologyParameters.Planck15(tensor [ 0.3 ], tensor [ -0.75 ]) |> ignore)
      "wavenumbers of a slab", (fun () -> SlabPower(tensor [ -0.5; 1.5 ], 50.0) |> ignore)
      "wavenumbers",
      (fun () ->
          LinearPower.LogPower(CosmologyParameters.Planck15(tensor [ 0.3 ], tensor [ 0.8 ]), tensor [ -0.5 ])
          |> ignore)
      "noise", (fun () -> Observation.noisy (White -0.5) simulator.Value |> ignore)
      "prior's deviation", (fun () -> Prior.create [ "a", Normal(0.5, -1.5) ] |> ignore)
      "prior's bounds", (fun () -> Prior.uniform [ "a", 1.5, 0.5 ] |> ignore)
      "support", (fun () -> Prior.require "θ" (Prior.uniform [ "a", 0.1, 1.25 ]) [| 2.5 |] |> ignore)
      "singular",
      (fun () ->
          Matrices.inverse "C" (Matrix<float>.Build.DenseOfRowArrays([| 1.5; 1.5 |], [| 1.5; 1.5 |]))
          |> ignore)
      "diagonal",
      (fun () ->
          Matrices.inverse "C" (Matrix<float>.Build.DenseOfRowArrays([| 0.0; 0.0 |], [| 0.0; 1.5 |]))
          |> ignore)
      "finite differences",
      (fun () ->
          Simulator.withDerivatives
              simulator.Value
              (FiniteDifference [| -0.5; nan |])
              (tensor [ 1.0; 0.5 ])
              [| Random.NoiseKey(1UL, 0UL) |]
          |> ignore)
      "float32",
      (fun () ->
          Npy.toBytes
              { Shape = [| 1 |]
                Data = [| 1.5e300 |]
                SinglePrecision = true }
          |> ignore)
      "JSON", (fun () -> Report.writeJson "a.json" (Report.numbers [ 0.5; nan ])) ]

let private grid =
    let axis = Array.init 11 (fun i -> -1.25 + 0.5 * float i)

    Posterior.ofGrid
        [| "a"; "b" |]
        [| (-10.0, 10.0); (-10.0, 10.0) |]
        axis
        axis
        (Array2D.init 11 11 (fun i j -> exp (-0.1 * float ((i - 5) * (i - 5) + (j - 5) * (j - 5)))))

/// Without the identifiers that Plotly.NET makes anew for every page.
let private page chart =
    let page = Export.page chart
    let data = page.Substring(page.LastIndexOf "var data")
    Regex.Replace(data, "[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", "id")

let private written ending write () =
    let mutable text = ""

    inFolder (fun folder ->
        let path = Path.Combine(folder, "file" + ending)
        write path
        text <- Encoding.Latin1.GetString(File.ReadAllBytes path))

    text

let private texts: (string * (unit -> string)) list =
    [ for name, action in messages do
          $"message: {name}", message action

      "posterior.csv", written ".csv" (fun path -> PosteriorFile.write path posterior)
      "a chain", written ".txt" (fun path -> PosteriorFile.write path posterior)
      "JSON", written ".json" (fun path -> Report.writeJson path (Report.rows posterior.Samples))
      ".npy", written ".npy" (fun path -> Npy.write path (Npy.double [| 2; 1 |] [| -1.5; nan |]))
      "corner", (fun () -> page (Plot.corner [ "grid", grid ] (Some [| 0.5; -1.25 |])))
      "training",
      (fun () ->
          let record i =
              { Iteration = 10 * i
                DetF = 1500.5 * float (i + 1)
                Lambda = nan
                Strength = nan
                HeldOutDetF = 0.25
                Seconds = 0.5 }

          page (Plot.training [ "net", Array.init 9 record ] [ "exact", 12345.5 ])) ]

let tests =
    testList
        "culture"
        [ for name, text in texts do
              tensorTest name (fun () ->
                  let usual = under CultureInfo.InvariantCulture text
                  Expect.equal (under foreign text) usual "the text in another culture")

          testCase "a number written by the thread's culture is caught" (fun () ->
              let planted () = $"{-1.5:F1}"
              Expect.notEqual (under foreign planted) (under CultureInfo.InvariantCulture planted) "planted")

          testCase "infer.fsx on a German machine reads 0.1,5.5 as two numbers" (fun () ->
              inFolder (fun folder ->
                  let script = Path.Combine(root, "scripts", "infer.fsx")

                  let info =
                      ProcessStartInfo(
                          "dotnet",
                          [ "fsi"; script; "--theta"; "0.1,5.5"; "--out"; Path.Combine(folder, "out") ],
                          RedirectStandardError = true,
                          RedirectStandardOutput = true
                      )

                  for name in [ "LC_ALL"; "LANG" ] do
                      info.Environment[name] <- "de_DE.UTF-8"

                  use child = Process.Start info
                  let errors = child.StandardError.ReadToEnd()
                  child.WaitForExit()
                  Expect.equal child.ExitCode 2 errors
                  Expect.stringContains errors "B in the prior's support 0.1 … 1.25; received B = 5.5" "message")) ]
