/// What one simulation of the default training costs, against one size at a time: pixels, parameters, channels, features.
module Series

open System.Diagnostics
open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open TorchSharp

/// A universe of some size, and the features that are made of its fields.
type Case =
    { Size: float
      Simulator: Simulator
      Fiducial: float[]
      Features: Features }

/// Cases that differ in one size, the steepest slope of ln seconds against ln size that is wanted, and how it is called.
type Series =
    { Name: string
      Unit: string
      Goal: float
      Cases: unit -> Case list }

/// The cost of a case, in seconds a simulation.
type Point = { Size: float; Seconds: float }

let private powerLaw dimensions side =
    let field =
        SpectrumField.create PowerLaw.spectrum (FourierGrid(dimensions, side, float side)) ModeConvention.Ideal

    { Size = float side ** float dimensions
      Simulator = SpectrumField.simulator "power law" field
      Fiducial = [| 1.0; 1.0 |]
      Features = Features.localStatistics }

/// p amplitudes of bands on 64².
let private amplitudes p =
    let ends = Array.init (p - 1) (fun i -> 0.3 + 2.5 * float (i + 1) / float p)

    let field =
        SpectrumField.create (Spectrum.bands ends _.reciprocal()) (FourierGrid(2, 64, 64.0)) ModeConvention.Ideal

    { Size = float p
      Simulator = SpectrumField.simulator "bands" field
      Fiducial = Array.create p 1.0
      Features = Features.localStatistics }

/// Maps of 64² of which each is correlated with the others. All have as many bands, so that features grow with pairs of channels alone.
let private maps count =
    { Size = float count
      Simulator = CorrelatedMaps.simulator "maps" (Maps.create 64 count)
      Fiducial = [| 1.0; 0.6 |]
      Features = Features.localStatistics }

let private bands count =
    let features =
        { Features.localStatistics with
            Settings = Features.localStatistics.Settings.Add("bands", float count) }

    let case = powerLaw 2 64
    use network = Imnn.network features case.Simulator 1UL

    { case with
        Size = float network.Features
        Features = features }

let all =
    [ { Name = "pixels, two axes"
        Unit = "pixels"
        Goal = 1.15 // N log N from 64² to 512²
        Cases = fun () -> [ 64; 128; 256; 512 ] |> List.map (powerLaw 2) }
      { Name = "pixels, three axes"
        Unit = "pixels"
        Goal = 1.15
        Cases = fun () -> [ 16; 32; 64 ] |> List.map (powerLaw 3) }
      { Name = "parameters"
        Unit = "parameters"
        Goal = 1.0
        Cases = fun () -> [ 1; 2; 3; 4; 6 ] |> List.map amplitudes }
      { Name = "channels"
        Unit = "channels"
        Goal = 1.0
        Cases = fun () -> [ 1; 2; 3; 5 ] |> List.map maps }
      { Name = "features"
        Unit = "features"
        Goal = 1.0
        Cases = fun () -> [ 12; 50; 100; 200 ] |> List.map bands } ]

/// Numbers of pixels, of all fields with their derivatives, that are worked on at a time.
let private atATime = 1 <<< 20

/// Seconds that simulating a field with its derivatives and making features of both take, on one thread: the least of some repetitions, which
/// other work on the machine disturbs least.
let measure repetitions (case: Case) : Point =
    use _ = torch.NewDisposeScope()
    use _ = torch.no_grad ()
    let theta = Tensors.ofVector case.Fiducial
    let p = case.Fiducial.Length
    let pixels = case.Simulator.FieldShape |> Array.fold (fun n s -> n * int s) (p + 1)
    let n = max 1 (min 50 (atATime / pixels))
    use network = Imnn.network case.Features case.Simulator 1UL
    network.Fit(Simulator.fields case.Simulator theta (NoiseKey.Range(2UL, 0UL, max 20 n)))

    let run first =
        use _ = torch.NewDisposeScope()
        let keys = NoiseKey.Range(1UL, uint64 first, n)

        let struct (d, t) = Simulator.withDerivatives case.Simulator Autodiff theta keys

        let tangents = t.reshape (Array.append [| int64 (n * p) |] d.shape[1..])

        network.Prepare(Dual(d.``to`` torch.ScalarType.Float32, tangents.``to`` torch.ScalarType.Float32))
        |> ignore

    run 0

    let seconds =
        [| for i in 1..repetitions do
               let clock = Stopwatch.StartNew()
               run (i * n)
               clock.Elapsed.TotalSeconds / float n |]

    { Size = case.Size
      Seconds = Array.min seconds }

/// The slope of ln seconds against ln size, by least squares.
let slope (points: Point list) =
    let x = points |> List.map (fun p -> log p.Size)
    let y = points |> List.map (fun p -> log p.Seconds)
    let mx, my = List.average x, List.average y

    (List.map2 (fun a b -> (a - mx) * (b - my)) x y |> List.sum)
    / List.sumBy (fun a -> (a - mx) ** 2.0) x
