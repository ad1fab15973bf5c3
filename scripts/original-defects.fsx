// What is wrong in the original code of arXiv:2107.07405, each defect as a number: of its simulators as they are written, of what it quotes
// as theory, and, with --targets FOLDER, of the results that its authors stored (published/ and targets/ in that folder).
// dotnet fsi scripts/original-defects.fsx [--out FOLDER] [--seed N] [--targets FOLDER] [--quick]
#load "load.fsx"

open System.IO
open FieldImnn
open FieldImnn.Core.Cosmology
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open MathNet.Numerics.Statistics
open TorchSharp

let options = StudyOptions.ofScript "artifacts/original" fsi.CommandLineArgs

let published name =
    Catalogue.problem name ModeConvention.Published

let powerLaw, darkMatter = published "power-law", published "dark-matter"
let correlated = Catalogue.problem "correlated-log-normal" ModeConvention.Ideal

// 1. The information that is quoted as theory, and what is there: of the simulator as it is, and of a Gaussian field.
let information (problem: Problem) =
    let exact = problem.Exact.Fisher problem.Fiducial
    let quoted = problem.QuotedFisher.Value problem.Fiducial

    Report.fields
        [ "fiducial", Report.numbers problem.Fiducial
          "exactFisher", Report.matrix exact
          "quotedFisher", Report.matrix quoted
          "exactDetF", Report.value (exact.Determinant())
          "quotedDetF", Report.value (quoted.Determinant())
          "quotedOverExact", Report.value (quoted.Determinant() / exact.Determinant()) ]

let quotedDarkMatter =
    [ for theta, quoted in DarkMatter.quotedDeterminants ->
          let exact = (darkMatter.Exact.Fisher theta).Determinant()

          Report.fields
              [ "fiducial", Report.numbers theta
                "quotedDetF", Report.value quoted
                "exactDetF", Report.value exact
                "quotedOverExact", Report.value (quoted / exact) ] ]

let correlatedInformation =
    let exact = (correlated.Exact.Fisher correlated.Example).Determinant()
    let quoted = (correlated.QuotedFisher.Value correlated.Example).Determinant()
    Report.fields [ "exactDetF", Report.value exact; "quotedDetF", Report.value quoted ]

// 2. The modes of its power-law fields, in units of what is asked for: of a Gaussian field 1 everywhere, and ⟨|d|⁴⟩/⟨|d|²⟩² = 2.
let units (fields: Tensor) theta =
    let n = int fields.shape[1]

    let k =
        Array.init n (fun i -> 2.0 * System.Math.PI * float (min i (n - i)) / float n)

    let modes = torch.fft.fft2 (fields.``to`` torch.float64)
    let power = (modes.real * modes.real + modes.imag * modes.imag) / float (n * n)

    let wanted =
        Tensors.ofRows
            [| for a in k ->
                   [| for b in k ->
                          if a = 0.0 && b = 0.0 then
                              1.0
                          else
                              theta 0 * sqrt (a * a + b * b) ** -theta 1 |] |]

    power / wanted

let modes =
    let fields =
        Simulator.fields
            powerLaw.Simulator
            (Tensors.ofVector powerLaw.Fiducial)
            (NoiseKey.Range(options.Seed, 0UL, (if options.Quick then 100 else 1000)))

    let unit = units fields (fun i -> powerLaw.Fiducial[i])
    let bulk = unit.narrow(1L, 1L, 62L).narrow(2L, 1L, 62L)
    let column = unit.narrow(1L, 1L, 62L).select(2L, 0L)
    let mean (t: Tensor) = t.mean().ToDouble()

    Report.fields
        [ "fields", Report.value fields.shape[0]
          "firstRow", Report.value (mean (unit.select(1L, 0L).narrow(1L, 1L, 127L)))
          "firstColumn", Report.value (mean column)
          "others", Report.value (mean bulk)
          "fourthMoment", Report.value (mean (bulk * bulk) / (mean bulk ** 2.0)) ]

// 3. The spectrum's normalisation: σ8 by the truncated integral over the converged one.
let normalisation =
    [ for theta in [ darkMatter.Example; [| 0.1; 1.2 |] ] ->
          let log rule =
              LinearPower.LogPower(CosmologyParameters.Planck15(theta[0], theta[1]), Tensors.ofVector [| 0.1 |], rule)

          let difference: Tensor = log Sigma8Rule.Truncated - log Sigma8Rule.Converged
          let excess = exp (difference.mean().ToDouble()) - 1.0
          Report.fields [ "theta", Report.numbers theta; "excess", Report.value excess ] ]

// 4. The regulariser's steepness a: negative, it switches itself off.
let regulariser =
    [ for lambda, epsilon in [ 10.0, 0.1; 100.0, 0.1 ] ->
          Report.fields
              [ "lambda", Report.value lambda
                "epsilon", Report.value epsilon
                "a", Report.value (ImnnSettings.steepness lambda epsilon) ] ]

// 5. Of what the authors stored.
let stored folder name =
    Npy.read (Path.Combine(folder, "published", $"{name}.npy"))

/// The networks' histories of det F on training batches: the best value, which chose the weights, and the median of the last half.
let histories folder =
    [ for name, (rows: int) in [ "imnn_train1_detF_history", 1; "imnn_train2_history_detF_detC_L2_r", 4 ] ->
          let history = stored folder name
          let steps = history.Data.Length / rows
          let detF = history.Data[.. steps - 1]

          Report.fields
              [ "history", Report.value name
                "steps", Report.value steps
                "best", Report.value (Array.max detF)
                "medianOfLastHalf", Report.value (Statistics.Median detF[steps / 2 ..]) ] ]

/// What the stored first network, trained at (0.6, 0.6), says that it holds.
let network folder =
    let fisher =
        Matrix<float>.Build.DenseOfRowMajor(2, 2, (stored folder "imnn_train1_F").Data)

    let exact = (darkMatter.Exact.Fisher [| 0.6; 0.6 |]).Determinant()

    Report.fields
        [ "detF", Report.value (fisher.Determinant())
          "overExact", Report.value (fisher.Determinant() / exact) ]

/// The power of the first row of modes of ln(1 + δ) over that of the second.
let emptyRow (field: Tensor) =
    let modes = torch.fft.fft2 (field.``to``(torch.float64).log1p())

    let power (row: int64) =
        let d = modes[row].narrow(0L, 1L, 127L).abs()
        (d * d).mean().ToDouble()

    power 0L / power 1L

let target folder i =
    let field =
        ObservedField.read (Path.Combine(folder, "targets", $"target_field_planck_{i}.npy")) [| 128; 128 |]
        |> ObservedField.toTensor

    let samples =
        (stored folder $"delfi_posterior_field_{i}").Data |> Array.chunkBySize 2

    let inside = samples |> Array.filter (Prior.contains darkMatter.Prior)

    let theirs =
        Posterior.ofSamples
            darkMatter.Prior.Names
            (Prior.bounds darkMatter.Prior)
            inside
            (Array.create inside.Length 1.0)

    let exact = ExactAnswer.posterior darkMatter.Exact darkMatter.Prior field

    Report.fields
        [ "emptyRow", Report.value (emptyRow field)
          "samples", Report.value samples.Length
          "outsidePrior", Report.value (1.0 - float inside.Length / float samples.Length)
          "publishedMean", Report.numbers (Posterior.mean theirs)
          "publishedSd", Report.numbers (Posterior.sd theirs)
          "exactMean", Report.numbers (Posterior.mean exact)
          "exactSd", Report.numbers (Posterior.sd exact)
          "publishedAreaOverExact", Report.value (Posterior.area theirs / Posterior.area exact) ]

let list (items: System.Text.Json.Nodes.JsonNode list) =
    System.Text.Json.Nodes.JsonArray(Array.ofList items) :> System.Text.Json.Nodes.JsonNode

Report.fields
    [ "powerLaw", information powerLaw
      "idealPowerLaw", information (Catalogue.problem "power-law" ModeConvention.Ideal)
      "darkMatter", list quotedDarkMatter
      "correlatedLogNormal", correlatedInformation
      "modes", modes
      "normalisation", list normalisation
      "regulariser", list regulariser
      match options.Targets with
      | None -> ()
      | Some folder ->
          "histories", list (histories folder)
          "network", network folder
          "targets", list [ target folder 1; target folder 2 ] ]
|> Study.results options "original"
