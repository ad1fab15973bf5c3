/// Memory of training: of one step of the published network against n_s, accumulated in chunks; and resident memory over a whole
/// training on dark matter, beside busy loops on every core.
module Memory

open System
open System.Diagnostics
open System.Threading
open FieldImnn
open FieldImnn.Core.Fields

let private megabytes (bytes: int64) = float bytes / 1e6

let private peakAfter simulations =
    let problem = PowerLaw.create 128 ModeConvention.Ideal

    let settings =
        { ImnnSettings.Published with
            Features = Features.inception 16
            Simulations = simulations
            DerivativeSimulations = simulations
            MaxIterations = 1
            MinIterations = 1
            EvaluateEvery = 1
            HeldOut = 12
            Fit = 12
            Quote = 12 }

    Imnn.train settings problem.Simulator problem.Fiducial |> ignore
    use me = Process.GetCurrentProcess()
    megabytes me.PeakWorkingSet64

/// The work beside a thread on each core that does nothing else, and makes no garbage.
let private besideBusyLoops (work: unit -> unit) =
    use stop = new CancellationTokenSource()

    let spin () =
        while not stop.IsCancellationRequested do
            Thread.SpinWait 1000

    let threads =
        [ for _ in 1 .. Environment.ProcessorCount -> Thread(spin, IsBackground = true) ]

    threads |> List.iter _.Start()

    try
        work ()
    finally
        stop.Cancel()
        threads |> List.iter _.Join()

/// Resident memory, MB, at every report of a training on dark matter: 100 steps, and 6,000 simulations measured.
let private curve () =
    let problem = DarkMatter.create 128 ModeConvention.Ideal
    let seen = ResizeArray<float>()

    let look _ =
        use me = Process.GetCurrentProcess()
        seen.Add(megabytes me.WorkingSet64)

    let settings =
        { problem.Recipe.Training problem.Fiducial with
            MaxIterations = 100
            MinIterations = 100
            HeldOut = 1000
            Quote = 3000
            Progress = { Progress.silent with Report = look } }

    besideBusyLoops (fun () -> Imnn.train settings problem.Simulator problem.Fiducial |> ignore)
    seen.ToArray()

/// Peak memory never falls, so the runs go from small to large: what a larger n_s adds is what it needs beyond the smaller.
let run (_: int) : Ratio.Measured list =
    let small = peakAfter 50
    let large = peakAfter 400
    let curve = curve ()

    let tenths =
        curve
        |> Array.splitInto 10
        |> Array.map (fun part -> $"{Array.max part:F0}")
        |> String.concat " "

    printfn $"peak memory: n_s = 50: {small:F0} MB; n_s = 400: {large:F0} MB"
    printfn $"resident memory of a training on dark matter, MB, its peak in each tenth: {tenths}"

    [ Ratio.quotient "peak memory of a step, n_s = 400 against n_s = 50" 1.5 large small
      Ratio.quotient "resident memory of a training beside busy loops, against 1,500 MB" 1.0 (Array.max curve) 1500.0
      Ratio.quotient
          "its peak in the last half against the first"
          1.2
          (Array.max curve[curve.Length / 2 ..])
          (Array.max curve[.. curve.Length / 2 - 1]) ]
