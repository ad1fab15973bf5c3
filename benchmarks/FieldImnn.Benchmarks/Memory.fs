/// Memory of one training step of the published network against n_s, accumulated in chunks of 50: flat, where one batch grows.
module Memory

open System.Diagnostics
open FieldImnn
open FieldImnn.Core.Fields

let private peakAfter simulations chunk =
    let problem = PowerLaw.create 128 ModeConvention.Ideal

    let settings =
        { ImnnSettings.Published with
            Features = Features.inception 16
            Simulations = simulations
            DerivativeSimulations = simulations
            Chunk = chunk
            MaxIterations = 1
            MinIterations = 1
            EvaluateEvery = 1
            HeldOut = 12
            Fit = 12
            Quote = 12 }

    Imnn.train settings problem.Simulator problem.Fiducial |> ignore
    Process.GetCurrentProcess().Refresh()
    float (Process.GetCurrentProcess().PeakWorkingSet64) / 1e6

/// Peak memory never falls, so the runs go from small to large: what a larger n_s adds is what it needs beyond the smaller.
let run (_: int) : Ratio.Measured list =
    let small = peakAfter 50 50
    let chunked = peakAfter 400 50
    let whole = peakAfter 400 400

    printfn
        $"peak memory: n_s = 50: {small:F0} MB; n_s = 400 in chunks of 50: {chunked:F0} MB; n_s = 400 at once: {whole:F0} MB"

    [ Ratio.quotient "peak memory of a step, n_s = 400 in chunks against n_s = 50" 1.5 chunked small ]
