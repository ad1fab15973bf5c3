/// The universes of the information table: each with its exact Fisher matrix, which is what makes it a yardstick.
module Universe

open FieldImnn
open FieldImnn.Core.Fields
open TorchSharp

/// A universe, where its information is measured, and what is wanted of the features that are told nothing, and of those that are told.
type Universe =
    {
        Name: string
        Model: Model
        Exact: ExactAnswer
        Fiducial: float[]
        /// What inference compares beside the estimates.
        Beside: Beside option
        /// Share of the exact det F (or, per parameter, its p-th root) that the default keeps.
        Goal: float
        /// The same of features that were chosen by who knows the field.
        GoalTold: float option
        PerParameter: bool
        /// Largest area of its posteriors, over the exact ones', that is wanted; none where a likelihood takes too long for exact ones.
        Area: float option
        /// Those features: a name, and the settings of their training.
        Told: (string * ImnnSettings) list
    }

let private ofModel name model exact fiducial goal told =
    { Name = name
      Model = model
      Exact = exact
      Fiducial = fiducial
      Beside = None
      Goal = goal
      GoalTold = None
      PerParameter = false
      Area = Some 1.15
      Told = told }

/// Eight exact errors to each side, which no posterior fills, of parameters that are all positive.
let private about simulator (exact: ExactAnswer) (fiducial: float[]) =
    Array.map3
        (fun name t error -> name, max (0.1 * t) (t - 8.0 * error), t + 8.0 * error)
        simulator.Parameters
        fiducial
        (Matrices.errors (exact.Fisher fiducial))
    |> List.ofArray
    |> Prior.uniform

let private universe name simulator exact fiducial goal told =
    let model =
        Model.create simulator (about simulator exact fiducial) |> Model.withExact exact

    ofModel name model exact fiducial goal told

let private settings features =
    { ImnnSettings.Default with
        Features = features }

/// What the default keeps when its linear layer is fitted to three times as many simulations: what is then lost is the features' own.
let private many =
    { ImnnSettings.Default with
        Fit = 3 * ImnnSettings.Default.Fit }

let private ofProblem name (problem: Problem) fiducial area goal goalTold told =
    { ofModel name problem.Model problem.Exact fiducial goal told with
        Beside = problem.Recipe.Beside
        GoalTold = Some goalTold
        Area = Some area }

let private powerLaw n (convention, goal, goalTold) =
    ofProblem
        $"power law {n}², {(string convention).ToLowerInvariant()}"
        (PowerLaw.create n convention)
        [| 1.0; 0.5 |]
        1.05
        goal
        goalTold
        [ "band powers", settings (Features.bandPower 40)
          "filter bank", PowerLaw.training ]

/// At the problem's example: where the last round of an inference of the paper's field is trained.
let private darkMatter n (convention, goal, goalTold) =
    let problem = DarkMatter.create n convention

    ofProblem
        $"dark matter {n}², {(string convention).ToLowerInvariant()}"
        problem
        problem.Example
        1.08
        goal
        goalTold
        [ "default, more simulations", many
          "band powers of ln(1 + δ)", settings (Features.ofLogarithm (Features.bandPower 60))
          "filter bank of ln(1 + δ)", DarkMatter.training n ]

let private correlatedLogNormal =
    let problem = CorrelatedLogNormal.create 20

    ofProblem
        "correlated log-normal 20²"
        problem
        CorrelatedLogNormal.fiducial
        1.15
        0.93
        0.97
        [ "default, more simulations", many
          "axis filters", CorrelatedLogNormal.training CorrelatedLogNormal.fiducial ]

let private transformed n name transform fiducial =
    let sky = TransformedField.create transform (PowerLaw.model n ModeConvention.Ideal)

    universe
        $"{name} of a power law {n}²"
        (TransformedField.simulator name sky)
        (TransformedFieldLikelihood.exact sky)
        fiducial
        0.93
        []

/// d = g + h tanh(g/w): nearly two levels where h is large and w small.
let private softSteps =
    LocalTransform.ofForward [ "h"; "w" ] (fun t g -> g + t[0] * (g / t[1]).tanh())

/// Holes and a border: 0 where nothing is seen. (n, n).
let private footprint n =
    let size = float n / 32.0
    let holes = [ 6.0, 7.0, 4.2; 25.0, 26.0, 5.0; 14.0, 18.0, 4.0 ]

    let seen (y, x) =
        let y, x = y / size, x / size

        let inside (cx, cy, r) =
            (x - cx) ** 2.0 + (y - cy) ** 2.0 < r * r

        if x < 2.0 || List.exists inside holes then 0.0 else 1.0

    let side = Array.init n float
    (Tensors.ofVector (Array.map seen (Array.allPairs side side))).reshape(int64 n, int64 n)

let private masked n =
    let field =
        SpectrumField.create PowerLaw.spectrum (FourierGrid(2, n, float n)) ModeConvention.Ideal

    let mask = footprint n

    { universe
          $"masked power law with noise {n}²"
          (SpectrumField.simulator "power law" field
           |> Observation.noisy (White 0.7)
           |> Observation.masked mask)
          (DenseField.ofSpectrum field
           |> DenseField.noisy 0.7
           |> DenseField.masked mask
           |> DenseField.exact)
          [| 1.0; 1.0 |]
          0.95
          [ "band powers", settings (Features.bandPower 24) ] with
        Area = None } // a matrix of all seen pixels at every θ

/// C_ij(k) = A r^|i − j|/k, and noise of another level in each map.
let private maps n count =
    let sky =
        Maps.create n count
        |> CorrelatedMaps.withNoise (Array.init count (fun i -> 0.4 + 0.2 * float i))

    universe
        $"{count} correlated maps {n}²"
        (CorrelatedMaps.simulator $"{count} maps" sky)
        (CorrelatedMapsLikelihood.exact sky)
        [| 1.0; 0.6 |]
        0.95
        [ "band powers", settings (Features.bandPower 12) ]

let private gaussian name spectrum dimensions n fiducial bands =
    let field =
        SpectrumField.create spectrum (FourierGrid(dimensions, n, float n)) ModeConvention.Ideal

    universe
        name
        (SpectrumField.simulator name field)
        (SpectrumLikelihood.exact field)
        fiducial
        0.95
        [ "band powers", settings (Features.bandPower bands) ]

let private sixBands n =
    let spectrum = Spectrum.bands [| 0.5; 0.9; 1.4; 2.0; 2.7 |] _.reciprocal()

    { gaussian $"six band amplitudes {n}²" spectrum 2 n (Array.create 6 1.0) 60 with
        PerParameter = true }

/// All of them, at the sizes of the table or with sides halved (twice: 2), for a first look.
let all halved =
    let side n = max 16 (n >>> halved)

    [ powerLaw (side 128) (ModeConvention.Ideal, 0.98, 0.99)
      powerLaw (side 128) (ModeConvention.Published, 0.97, 0.98)
      darkMatter (side 128) (ModeConvention.Ideal, 0.95, 0.97)
      darkMatter (side 128) (ModeConvention.Published, 0.94, 0.97)
      correlatedLogNormal
      transformed (side 64) "sinh-arcsinh" LocalTransform.sinhArcsinh [| 2.0; 1.0; 0.3; 0.8 |]
      transformed (side 64) "two slopes" LocalTransform.twoSlopes [| 1.0; 1.0; 0.4; 0.7 |]
      transformed (side 64) "sharp slopes" LocalTransform.twoSlopes [| 1.0; 1.0; 0.4; 0.2 |]
      transformed (side 64) "soft steps" softSteps [| 1.0; 1.0; 0.8; 0.4 |]
      masked (side 64)
      maps (side 64) 2
      maps (side 64) 3
      gaussian $"power law {side 32}³" PowerLaw.spectrum 3 (side 32) [| 1.0; 1.0 |] 24
      gaussian "power law 1,001 points" PowerLaw.spectrum 1 1001 [| 1.0; 1.0 |] 40
      sixBands (side 64) ]
