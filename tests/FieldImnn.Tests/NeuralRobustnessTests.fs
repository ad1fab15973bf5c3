/// What neural methods make of bad simulations, bad summaries and bad observations; and what their results say of it.
module NeuralRobustnessTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Flows
open KnownPosterior
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp
open WhiteningTests

// ------------------------------------------------------------------------------------------------------ training

/// A mixture of one Gaussian per member, and the loss of data under it; member 0's is NaN in the batches that the count says.
let private trained isNaN =
    use density = DensityEstimator.create (Mixture(1, [ 8 ])) 2 1 1 3UL
    let random = Random 5

    let data =
        Tensors.ofRows (
            Array.init 400 (fun _ -> let c = random.NextDouble() in [| 3.0 * c + Normal.Sample(random, 2.0, 0.2); c |])
        )
        |> _.``to``(torch.float32)

    let rows = torch.arange(0L, 300L).unsqueeze(0L).expand(2L, -1L)
    let held = torch.arange(300L, 400L).unsqueeze(0L).expand(2L, -1L)
    let mutable batches = 0

    let loss (batch: Tensor) =
        let value =
            -density.LogDensity(batch.narrow (2L, 0L, 1L), batch.narrow (2L, 1L, 1L)).mean [| 1L |]

        if torch.is_grad_enabled () then
            batches <- batches + 1

            if isNaN batches then
                value * torch.tensor [| nanf; 1.0f |]
            else
                value
        else
            value

    let settings =
        { EstimatorSettings.Default.Training with
            LearningRate = 1e-2
            MaxEpochs = 40
            Patience = 15 }

    let history =
        EnsembleTraining.train settings density.Weights loss 0.0 data rows held

    history |> Array.map (fun r -> r.HeldOut[0]), Tensors.toArray density.Weights.Values

let private training =
    testList
        "training"
        [ tensorTest
              "a member whose loss was NaN once goes back to its best, with its optimiser's memory, and learns on"
              (fun () ->
                  // three batches an epoch: once in the tenth
                  let held, weights = trained (fun batch -> batch = 28)
                  Expect.all weights Double.IsFinite "weights"
                  Expect.isTrue (Double.IsNaN held[9]) "planted: the loss after that batch is NaN"
                  Expect.all held[10..] Double.IsFinite "from then on it is not"
                  let before, after = Array.min held[..8], Array.min held[10..]
                  Expect.isLessThan after (before - 0.1) "it learns on")

          tensorTest "a loss that is never finite is an error" (fun () ->
              use density = DensityEstimator.create (Mixture(1, [ 8 ])) 1 1 1 3UL
              let data = torch.zeros [| 20L; 2L |]
              let rows = torch.arange(20L).unsqueeze 0L

              refuses<NonFiniteException> [ "loss" ] (fun () ->
                  EnsembleTraining.train
                      { EstimatorSettings.Default.Training with
                          MaxEpochs = 3 }
                      density.Weights
                      (fun batch ->
                          density.LogDensity(batch.narrow (2L, 0L, 1L), batch.narrow (2L, 1L, 1L)).mean [| 1L |]
                          * nan.ToScalar())
                      0.0
                      data
                      rows
                      rows
                  |> ignore)) ]

// ------------------------------------------------------------------------------------------------------ posteriors

let private quick =
    { NpeSettings.Default with
        Budget = 1000
        Draws = 4000
        Estimator = delfi.Estimator }

/// `narrow` with summaries made of its own (n, 2) → rows.
let private learn (rows: float[] -> float[]) =
    NeuralPosterior.learn quick narrow.Simulator (Tensors.toRows >> Array.map rows) narrow.Prior

let private infer (rows: float[] -> float[]) x =
    Delfi.run delfi narrow.Simulator (Tensors.toRows >> Array.map rows) narrow.Prior [| [| x |] |]

let private wild size (x: float[]) =
    if x[0] > 1.9 then x |> Array.map ((+) size) else x

let private summaries =
    testList
        "summaries"
        [ testCase
              "DELFI and the neural posterior are as wide as without them where some simulations are wild, and say so"
              (fun () ->
                  let leftOut warnings =
                      warnings
                      |> List.exists (function
                          | SimulationsLeftOut _ -> true
                          | _ -> false)

                  for size in [ 0.0; 10.0; 1e6 ] do
                      let amortised = learn (wild size)

                      expectExact
                          $"neural posterior, off by {size}"
                          0.25
                          (against narrow observed 1 (NeuralPosterior.posterior amortised observed))

                      Expect.equal (leftOut amortised.Warnings) (size > 0.0) $"neural posterior says so of {size}"
                      let result = infer (wild size) observed
                      expectExact $"DELFI, off by {size}" 0.2 (against narrow observed 1 result.Posteriors[0])
                      Expect.equal (leftOut result.Warnings[0]) (size > 0.0) $"DELFI says so of {size}")

          testCase "summaries twice, constant or rounded give the posterior of the others, and are named" (fun () ->
              let more (x: float[]) =
                  [| x[0]; x[1]; x[0]; 7.0; float (float32 x[1]) |]

              let seen = more observed
              let amortised = learn more
              let posterior = NeuralPosterior.posterior amortised seen
              expectExact "neural posterior" 0.25 (against narrow observed 1 posterior)

              Expect.contains
                  (NeuralPosterior.warnings amortised seen posterior)
                  (SummariesDropped [ 3; 4; 5 ])
                  "named"

              let result = infer more seen
              expectExact "DELFI" 0.2 (against narrow observed 1 result.Posteriors[0])
              Expect.contains result.Warnings[0] (SummariesDropped [ 3; 4; 5 ]) "named"
              // planted: an observation that breaks the rule
              let broken = [| seen[0]; seen[1]; seen[2]; 7.5; seen[4] |]

              Expect.contains
                  (NeuralPosterior.warnings amortised broken posterior)
                  (Outsider infinity)
                  "the constant has another value")

          testCase "an observation of NaN or infinity is refused by every method" (fun () ->
              let amortised = learn id

              for bad in [ nan; infinity ] do
                  let x = [| bad; 0.1 |]
                  let refused = refuses<NonFiniteException> [ "number 1" ]
                  refused (fun () -> NeuralPosterior.posterior amortised x |> ignore)
                  refused (fun () -> NeuralPosterior.logDensity amortised x [| observed |] |> ignore)
                  refused (fun () -> infer id x |> ignore)

                  refused (fun () ->
                      Abc.run AbcSettings.Default narrow.Simulator Tensors.toRows narrow.Fisher narrow.Prior x
                      |> ignore)

                  refused (fun () ->
                      PopulationMonteCarlo.run
                          PmcSettings.Default
                          narrow.Simulator
                          Tensors.toRows
                          narrow.Fisher
                          narrow.Prior
                          x
                      |> ignore)

                  refuses<NonFiniteException> [ "estimate" ] (fun () ->
                      GaussianApproximation.posterior narrow.Prior x narrow.Fisher |> ignore)

              refuses<ShapeException> [ "2"; "3" ] (fun () ->
                  NeuralPosterior.posterior amortised [| 1.0; 2.0; 3.0 |] |> ignore)) ]

// ------------------------------------------------------------------------------------------------------ misfit

let private outside =
    List.tryPick (function
        | Outsider sds -> Some sds
        | _ -> None)

/// Three summaries of two parameters, so that one of them can contradict the others: x = (θ, θ₁ + θ₂) + N(0, 0.1²).
let private model theta (z: float[]) =
    Array.map2 (fun v z -> v + 0.1 * z) [| Array.item 0 theta; theta[1]; theta[0] + theta[1] |] z

let private prior = Prior.uniform [ "a", 0.0, 1.0; "b", 0.0, 1.0 ]

/// The exact posterior of an observation, as samples: weights over draws of the prior.
let private exactly (draws: float[][]) (x: float[]) =
    let logs =
        draws
        |> Array.map (fun t ->
            -0.5
            * (Array.map2 (fun m v -> ((v - m) / 0.1) ** 2.0) (model t [| 0.0; 0.0; 0.0 |]) x
               |> Array.sum))

    let highest = Array.max logs
    Posterior.ofSamples prior.Names (Prior.bounds prior) draws (logs |> Array.map (fun l -> exp (l - highest)))

let private misfit =
    testList
        "misfit"
        [ testCase "of observations of the model hardly one is warned of; of others nearly all" (fun () ->
              let theta = Prior.sample 1 0L 800 prior
              let x = Array.map2 model theta (normals 2 800 3)
              let draws = Prior.sample 9 0L 3000 prior
              let trials = 300

              let alarms shift =
                  Array.map2 model (Prior.sample 3 0L trials prior) (normals 4 trials 3)
                  |> Array.filter (fun seen ->
                      let seen = [| seen[0]; seen[1]; seen[2] + shift |]
                      Misfit.warnings theta x seen (exactly draws seen) |> outside |> Option.isSome)
                  |> Array.length

              // 1 in 1,000 at most: more than 3 of 300 have a probability of 3·10⁻⁴
              Expect.isLessThanOrEqual (alarms 0.0) 3 "well-specified"
              // planted: the sum is 1.2 off, which is 1.2/(0.1 √3) = 7 sds of its contradiction to the others
              Expect.isGreaterThan (alarms 1.2) (trials * 9 / 10) "misspecified")

          testCase
              "every method warns of an observation far outside, with the distance in sds, and of no other"
              (fun () ->
                  let amortised = learn id

                  let results x =
                      let npe = NeuralPosterior.posterior amortised x
                      let gauss = GaussianApproximation.posterior narrow.Prior x narrow.Fisher

                      let small =
                          { AbcSettings.Default with
                              Budget = 600 }

                      let few =
                          { PmcSettings.Default with
                              Budget = 1500
                              Population = 100 }

                      [ "neural posterior", NeuralPosterior.warnings amortised x npe
                        "DELFI", (infer id x).Warnings[0]
                        "ABC", (Abc.run small narrow.Simulator Tensors.toRows narrow.Fisher narrow.Prior x).Warnings
                        "PMC",
                        (PopulationMonteCarlo.run few narrow.Simulator Tensors.toRows narrow.Fisher narrow.Prior x)
                            .Warnings
                        "Gaussian approximation", Misfit.ofApproximation x narrow.Fisher gauss ]

                  for name, warnings in results observed do
                      Expect.equal (outside warnings) None $"{name}: inside"

                  // the nearest θ in the prior by F lies at the distance of the constrained minimum, found here by search
                  let x = [| 3.5; 3.0 |]

                  let truth =
                      [ for i in 0..400 do
                            for j in 0..400 do
                                let away =
                                    Vector<float>.Build.DenseOfArray
                                        [| -2.0 + 0.01 * float i - x[0]; -2.0 + 0.01 * float j - x[1] |]

                                sqrt (away.DotProduct(narrow.Fisher * away)) ]
                      |> List.min

                  for name, warnings in results x do
                      let sds = outside warnings |> Option.defaultValue 0.0
                      Expect.isGreaterThan sds (0.75 * truth) $"{name}: {sds:F1} for {truth:F1} sds"
                      Expect.isLessThan sds (1.5 * truth) $"{name}: {sds:F1} for {truth:F1} sds"

                  // so far that one proposal outweighs all others
                  for far in [ 30.0; 300.0; 3000.0 ] do
                      let x = [| far; -far |]
                      let posterior = NeuralPosterior.posterior amortised x
                      let warnings = NeuralPosterior.warnings amortised x posterior
                      Expect.isSome (outside warnings) $"neural posterior of {far}"
                      Expect.all (Posterior.sd posterior) Double.IsFinite "a width") ]

// ------------------------------------------------------------------------------------------------------ walkers

/// Three parameters with errors of 0.1 in a prior of one.
let private three =
    let prior = Prior.uniform [ for name in [ "a"; "b"; "c" ] -> name, 0.0, 1.0 ]

    prior,
    Simulator.create "three" [ "a"; "b"; "c" ] [ 3 ] [ 3 ] (fun theta noise -> theta + 0.1 * noise.``to`` torch.float64)

let private walkers =
    testList
        "walkers"
        [ testCase "DELFI that settles early returns the last round sampled in full" (fun () ->
              let prior, simulator = three

              let result =
                  Delfi.run
                      { delfi with
                          Rounds = List.replicate 4 300
                          Settled = 1.0
                          Sampler = Walkers(40, 60, 100, 20000) }
                      simulator
                      Tensors.toRows
                      prior
                      [| [| [| 0.4; 0.5; 0.6 |] |] |]

              Expect.isTrue result.Settled "settled"
              Expect.equal result.Rounds.Length 2 "early"
              Expect.equal result.Rounds[0].Posteriors[0].Samples.Length (40 * 25) "proposals: a quarter"
              Expect.equal result.Posteriors[0].Samples.Length (40 * 100) "the result: all")

          testCase "a pilot of few simulations serves six parameters" (fun () ->
              let names = [ for k in 1..6 -> $"t{k}" ]
              let prior = Prior.uniform [ for name in names -> name, 0.0, 1.0 ]

              let simulator =
                  Simulator.create "six" names [ 6 ] [ 6 ] (fun theta noise ->
                      theta + 0.1 * noise.``to`` torch.float64)

              let few =
                  { AbcSettings.Default with
                      Budget = 400 }

              let fisher = Matrix<float>.Build.DenseIdentity 6 * 100.0
              let observed = Array.create 6 0.5
              let posterior, _ = Abc.pilot 2 few simulator Tensors.toRows fisher prior observed
              // 2 (d + 1) of 50 simulations, where a part of 0.15 has seven
              Expect.isGreaterThanOrEqual posterior.Samples.Length 14 "accepted")

          testCase "the default sampler serves one and three parameters, where they are narrow too" (fun () ->
              for p in [ 1; 3 ] do
                  let names = [ for k in 1..p -> $"t{k}" ]
                  let prior = Prior.uniform [ for name in names -> name, -50.0, 50.0 ]
                  let at = Array.init p (fun k -> 10.0 * float k)

                  let logDensity rows =
                      rows
                      |> Array.map (fun (t: float[]) ->
                          Prior.logDensity prior t
                          - 0.5 * (Array.map2 (fun v m -> ((v - m) / 0.05) ** 2.0) t at |> Array.sum))

                  let candidates = Prior.sample 3 0L (PosteriorSampling.candidatesOf Suited) prior
                  let found = PosteriorSampling.sample Suited 1 true prior candidates logDensity
                  Expect.equal found.Warnings [] $"{p} parameters: converged"

                  let away =
                      Array.map2 (fun m a -> abs (m - a) / 0.05) (Posterior.mean found.Posterior) at
                      |> Array.max

                  Expect.isLessThan away 0.15 $"{p} parameters: mean off by {away:F2} sds"

                  for sd in Posterior.sd found.Posterior do
                      Expect.isLessThan (abs (sd / 0.05 - 1.0)) 0.1 $"{p} parameters: sd {sd}")

          testCase "where a grid cannot resolve the posterior of two parameters, the default sampler walks" (fun () ->
              let prior = Prior.uniform [ "a", -50.0, 50.0; "b", -50.0, 50.0 ]
              // sds 1 and 10⁻⁶ along the diagonals
              let logDensity =
                  Array.map (fun (t: float[]) ->
                      let along, across = (t[0] + t[1]) / sqrt 2.0, (t[0] - t[1]) / sqrt 2.0
                      Prior.logDensity prior t - 0.5 * (along ** 2.0 + (across / 1e-6) ** 2.0))

              let candidates = Prior.sample 3 0L (PosteriorSampling.candidatesOf Suited) prior

              refuses<RangeException> [ "grid" ] (fun () ->
                  PosteriorSampling.sample (OnGrid 161) 1 true prior candidates logDensity
                  |> ignore)

              let found = PosteriorSampling.sample Suited 1 true prior candidates logDensity
              Expect.isSome found.Ensemble "walkers"

              for sd in Posterior.sd found.Posterior do
                  Expect.isLessThan (abs (sd * sqrt 2.0 - 1.0)) 0.15 $"sd {sd}")

          testCase "walkers that had too few steps say so" (fun () ->
              let prior, _ = three

              let logDensity =
                  Array.map (fun t -> Prior.logDensity prior t - Array.sumBy (fun v -> 50.0 * (v - 0.5) ** 2.0) t)

              let candidates = Prior.sample 3 0L 5000 prior

              let sample steps =
                  PosteriorSampling.sample (Walkers(60, 2, steps, 5000)) 1 true prior candidates logDensity

              match (sample 30).Warnings with
              | [ NotConverged(steps, tau, _) as warning ] ->
                  Expect.equal steps 32 "steps"
                  Expect.isGreaterThan tau 3.2 "autocorrelation time"
                  Expect.stringContains warning.Message "32 steps" "in words"
              | other -> failtest $"%A{other}"

              Expect.equal (sample 1000).Warnings [] "enough") ]

// ------------------------------------------------------------------------------------------------------ widths

/// x = ln⁻¹ of (ln A, ln A − B ln 5) + 0.1 N(0, 1): curved in both parameters, of a width that changes tenfold over a wide prior; the
/// posterior is known in closed form.
let private curved =
    let prior = Prior.uniform [ "A", 0.1, 1.25; "B", 0.0, 1.0 ]
    let slope = log 5.0

    let simulator =
        Simulator.create "curved" [ "A"; "B" ] [ 2 ] [ 2 ] (fun theta noise ->
            let a, b = theta.select (1L, 0L), theta.select (1L, 1L)

            (torch.stack ([| a.log (); a.log () - slope * b |], 1L)
             + 0.1 * noise.``to`` torch.float64)
                .exp())

    let exact (x: float[]) =
        GridPosterior.compute 81 prior.Names (Prior.bounds prior) (fun rows ->
            rows
            |> Array.map (fun t ->
                Prior.logDensity prior t
                - 50.0 * ((log (x[0] / t[0])) ** 2.0 + (log (x[1] / t[0]) + slope * t[1]) ** 2.0)))

    prior, simulator, exact

let private widths =
    testCase
        "one DELFI for many fields and the neural posterior have the exact widths over a wide prior, curved and uneven"
        (fun () ->
            let prior, simulator, exact = curved
            let fields = 40

            let seen =
                Prior.sample 5 0L fields prior
                |> Array.mapi (fun i theta -> Simulator.field simulator theta (uint64 (900 + i)) |> Tensors.toArray)

            let truths = seen |> Array.map exact

            /// Geometric mean of area / exact area, and the rms of the largest shift.
            let judge found =
                let ratios =
                    Array.map2 (fun p e -> log (Posterior.area p / Posterior.area e)) found truths

                let shifts = Array.map2 (fun p e -> Posterior.shift e p) found truths
                exp (Array.average ratios), sqrt (shifts |> Array.averageBy (fun s -> s * s))

            let result =
                Delfi.run
                    { delfi with
                        Rounds = [ 1200; 800 ]
                        Estimator =
                            { delfi.Estimator with
                                Kind = Maf(2, [ 32 ]) } }
                    simulator
                    Tensors.toRows
                    prior
                    (seen |> Array.map Array.singleton)

            let area, shift = judge result.Posteriors
            Expect.isTrue (area > 0.97 && area < 1.05) $"DELFI: area {area:F3}"
            Expect.isLessThan shift 0.25 $"DELFI: shift {shift:F3}"

            let amortised =
                NeuralPosterior.learn
                    { quick with
                        Budget = 2000
                        Estimator =
                            { delfi.Estimator with
                                Kind = Maf(2, [ 32 ]) } }
                    simulator
                    Tensors.toRows
                    prior

            let area, shift = seen |> Array.map (NeuralPosterior.posterior amortised) |> judge
            Expect.isTrue (area > 0.95 && area < 1.06) $"neural posterior: area {area:F3}"
            Expect.isLessThan shift 0.25 $"neural posterior: shift {shift:F3}"
            // planted: other fields' posteriors
            let planted, _ = judge (Array.append result.Posteriors[1..] result.Posteriors[..0])
            let _, away = judge (Array.append result.Posteriors[1..] result.Posteriors[..0])
            Expect.isGreaterThan away 1.0 $"planted: {planted:F2}, {away:F2}")

let tests =
    testSequenced
    <| testList "robustness" [ training; summaries; misfit; walkers; widths ]
