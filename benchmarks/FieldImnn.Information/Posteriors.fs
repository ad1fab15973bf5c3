/// One universe by one method: posteriors of its fields from the default features, beside the exact ones.
module Posteriors

open FieldImnn
open FieldImnn.Core.Random
open MathNet.Numerics.Statistics
open Universe

/// A posterior beside the exact one of its field.
type private Found =
    {
        /// Volume over the exact volume, of a pair of parameters: its (2/p)-th power, the area of two.
        Area: float
        /// Of each parameter: the mean less the exact mean, in exact sds.
        Shifts: float[]
        Simulations: int
        Warnings: Warning list
        OfExact: Warning list
    }

/// The default, told nothing, trained where the fields are.
let compressor (universe: Universe) progress =
    let settings =
        { Candidate.byDefault.Settings with
            Progress = progress }

    Imnn.train settings universe.Model.Simulator universe.Fiducial
    |> Compressor.comparing universe.Beside

let private beside (universe: Universe) method compressor i =
    let seed = NoiseKey.SeedFor(1UL, $"field {i + 1}")
    let field = Simulator.field universe.Model.Simulator universe.Fiducial seed

    let found =
        Infer.by method (NamedMethod.create method false seed Progress.silent None) universe.Model compressor field

    let exact = Option.get found.Exact
    let struct (_, root) = Posterior.areaRatio exact.Posterior found.Posterior

    { Area = root * root
      Shifts =
        Array.map3
            (fun a b s -> (a - b) / s)
            (Posterior.mean found.Posterior)
            (Posterior.mean exact.Posterior)
            (Posterior.sd exact.Posterior)
      Simulations = found.Simulations - compressor.Simulations
      Warnings = found.Warnings
      OfExact = exact.Warnings }

/// The cell of so many fields.
let run (universe: Universe) goal method (compressor: Compressor) fields progress =
    let found =
        [| for i in 0 .. fields - 1 do
               Progress.report progress universe.Name i fields [] method
               progress.Cancellation.ThrowIfCancellationRequested()
               beside universe method compressor i |]

    let areas = found |> Array.map _.Area
    let mean = Statistics.GeometricMean areas

    Report.fields
        [ "universe", Report.value universe.Name
          "method", Report.value method
          "parameters", Report.value universe.Fiducial.Length
          "fields", Report.value fields
          "kept", Report.value (Fisher.retained compressor.Fisher (universe.Exact.Fisher universe.Fiducial))
          "area", Report.value mean
          "areaSpread", Report.value (areas |> Array.map log |> Statistics.StandardDeviation)
          "rmsShift", Report.value (found |> Array.collect _.Shifts |> Statistics.RootMeanSquare)
          "areas", Report.numbers areas
          "goal", Report.value goal
          "reached", Report.value (mean <= goal)
          "simulations", Report.value (found |> Array.averageBy (_.Simulations >> float))
          "warnings", Report.value (found |> Array.sumBy _.Warnings.Length)
          "exactWarnings", Report.value (found |> Array.sumBy _.OfExact.Length) ]
