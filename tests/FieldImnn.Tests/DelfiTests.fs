/// Sequential neural likelihood, neural posteriors and population Monte Carlo on posteriors that are known, and runs that are stopped and go on.
module DelfiTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private prior = Prior.uniform [ "a", -2.0, 2.0; "b", -2.0, 2.0 ]

let private fisher =
    Matrix<float>.Build.DenseOfRowArrays([| [| 40.0; 12.0 |]; [| 12.0; 20.0 |] |])

let private observed = [| 0.3; -0.7 |]

/// x = θ + L z of covariance F⁻¹: with a flat prior, wide against it, the posterior is N(x_obs, F⁻¹), exactly.
let private simulator =
    let factor = fisher.Inverse().Cholesky().Factor

    Simulator.create "gaussian" [ "a"; "b" ] [ 2 ] [ 2 ] (fun theta noise ->
        theta + (noise.``to`` torch.float64).matmul(Tensors.ofMatrix(factor).t()))

/// Shift of the mean in sds, and area ratio, against N(centre, F⁻¹ / n).
let private against (centre: float[]) n (posterior: Posterior) =
    let exact = fisher.Inverse() / float (n: int)

    let shift =
        Array.mapi (fun i m -> abs (m - centre[i]) / sqrt exact[i, i]) (Posterior.mean posterior)
        |> Array.max

    shift, Posterior.area posterior / sqrt (exact.Determinant())

let private expectExact what tolerance (shift, area) =
    Expect.isLessThan shift tolerance $"{what}: shift in sds"
    Expect.isLessThan (abs (area - 1.0)) tolerance $"{what}: area ratio {area:F3}"

let private small =
    { DelfiSettings.Default with
        Rounds = [ 400; 400 ]
        Settled = 0.0
        Sampler = OnGrid 101
        Estimator =
            { EstimatorSettings.Default with
                Kind = Maf(2, [ 16 ])
                Members = 2
                Training =
                    { EstimatorSettings.Default.Training with
                        Patience = 5
                        Reductions = 1 } } }

let private delfi settings targets =
    Delfi.run settings simulator Tensors.toRows prior targets

let private neural =
    testList
        "neural"
        [ testCase "DELFI finds a known posterior, for several observations at once, apart and together" (fun () ->
              let other = [| -1.0; 1.1 |]

              let result =
                  delfi small [| [| observed |]; [| other |]; [| observed; [| 0.5; -0.5 |] |] |]

              Expect.equal result.Simulations 800 "budget"
              expectExact "first" 0.2 (against observed 1 result.Posteriors[0])
              expectExact "second" 0.2 (against other 1 result.Posteriors[1])
              expectExact "two observations of one θ" 0.2 (against [| 0.4; -0.6 |] 2 result.Posteriors[2])
              // planted: the posterior of another observation
              Expect.isGreaterThan (fst (against observed 1 result.Posteriors[1])) 2.0 "planted")

          testCase "DELFI ends when the posterior no longer changes, and its walkers agree with its grid" (fun () ->
              let patient =
                  { small with
                      Rounds = List.replicate 6 400
                      Settled = 0.15 }

              let onGrid = delfi patient [| [| observed |] |]
              Expect.isTrue onGrid.Settled "settled"
              Expect.isLessThan onGrid.Rounds.Length 6 "before its budget"

              let walking =
                  delfi
                      { small with
                          Sampler = Walkers(200, 40, 160, 20000) }
                      [| [| observed |] |]

              let sampling = (Array.last walking.Rounds).Sampling[0].Value
              expectExact "walkers" 0.2 (against observed 1 walking.Posteriors[0])
              Expect.equal sampling.Stuck 0 "no stuck walker"
              Expect.isTrue (walking.Posteriors[0].Samples |> Array.forall (Prior.contains prior)) "within the prior")

          testCase "DELFI at the prior's edge stays inside it" (fun () ->
              let result =
                  delfi
                      { small with
                          Sampler = Walkers(100, 20, 80, 20000) }
                      [| [| [| 1.95; -1.99 |] |] |]

              Expect.isTrue (result.Posteriors[0].Samples |> Array.forall (Prior.contains prior)) "inside"
              // half-normals: a mean at the edge would be outside
              let mean = Posterior.mean result.Posteriors[0]
              Expect.isLessThan mean[0] 1.95 "pushed inwards")

          testCase "a neural posterior serves every observation, with draws and a density that agree" (fun () ->
              let amortised =
                  NeuralPosterior.learn
                      { NpeSettings.Default with
                          Count = 2000
                          Estimator = small.Estimator }
                      simulator
                      Tensors.toRows
                      prior

              for x in [ observed; [| -0.9; 0.4 |] ] do
                  let drawn = NeuralPosterior.posterior amortised x

                  let grid =
                      GridPosterior.compute
                          101
                          prior.Names
                          (Prior.bounds prior)
                          (NeuralPosterior.logDensity amortised x)

                  expectExact "draws" 0.25 (against x 1 drawn)

                  Expect.isLessThan
                      (abs (Posterior.area drawn / Posterior.area grid - 1.0))
                      0.05
                      "area of draws and density"

              let edge = NeuralPosterior.posterior amortised [| 2.1; -1.99 |]
              Expect.isTrue (edge.Samples |> Array.forall (Prior.contains prior)) "nothing outside the prior")

          testCase "the autocorrelation time is that of an autoregressive process, (1 + φ) / (1 − φ)" (fun () ->
              let random = Random 1
              let phi = 0.8
              let state = Array.zeroCreate 20

              let chain =
                  Array.init 4000 (fun _ ->
                      for w in 0..19 do
                          state[w] <- phi * state[w] + MathNet.Numerics.Distributions.Normal.Sample(random, 0.0, 1.0)

                      Array.copy state)

              let tau = EnsembleSampler.autocorrelationTime chain
              Expect.isLessThan (abs (tau / 9.0 - 1.0)) 0.1 $"τ = {tau}")

          testCase
              "the ensemble sampler: ten correlated Gaussian dimensions; stuck walkers are reported, bad starts refused"
              (fun () ->
                  let p = 10
                  let scale = Array.init p (fun i -> 10.0 ** float (i % 3))

                  let logDensity =
                      Array.map (fun (t: float[]) ->
                          -0.5 * (Array.map2 (fun v s -> (v / s) ** 2.0) t scale |> Array.sum))

                  let random = Random 3

                  let start =
                      Array.init 200 (fun _ -> scale |> Array.map (fun s -> s * (random.NextDouble() - 0.5)))

                  let run = EnsembleSampler.run 1 300 500 logDensity start

                  let sd =
                      Array.init p (fun k ->
                          run.Samples |> Array.averageBy (fun s -> (s[k] / scale[k]) ** 2.0) |> sqrt)

                  Expect.isLessThan (sd |> Array.map (fun s -> abs (s - 1.0)) |> Array.max) 0.08 $"%A{sd}"

                  Expect.isTrue
                      (run.AutocorrelationTime |> Array.forall (fun t -> t > 5.0 && t < 200.0))
                      $"%A{run.AutocorrelationTime}"
                  // planted: a spike that no stretch move from anywhere else ever reaches, and that none leaves
                  let spike =
                      Array.init 4 (fun i -> [| (if i = 0 then 1e-9 else float i); float (i * i) |])

                  let peaked =
                      Array.map (fun (t: float[]) -> if abs t[0] < 1e-8 then 1e6 else -(t[0] ** 2.0))

                  Expect.equal (EnsembleSampler.run 1 20 20 peaked spike).Stuck 1 "stuck"

                  refuses<RangeException> [ "positive density" ] (fun () ->
                      EnsembleSampler.run 1 1 1 (Array.map (fun _ -> -infinity)) start |> ignore))

          testCase "refuses settings that cannot work" (fun () ->
              refuses<SettingException> [ "rounds" ] (fun () ->
                  delfi { small with Rounds = [] } [| [| observed |] |] |> ignore)

              refuses<SettingException> [ "targets" ] (fun () -> delfi small [||] |> ignore)
              let three = Prior.uniform [ for name in [ "a"; "b"; "c" ] -> name, 0.0, 1.0 ]

              refuses<SettingException> [ "Walkers" ] (fun () ->
                  Delfi.run small simulator Tensors.toRows three [| [| observed |] |] |> ignore)) ]

let private pmcSettings =
    { PmcSettings.Default with
        Population = 1000
        Budget = 100000
        Schedule = Listed [ 6.0; 3.0; 1.5; 0.5 ]
        LeastAcceptance = 0.0
        Simulations =
            { SimulationSettings.Default with
                Chunk = 1000 }
        Seed = 4UL }

let private pmc settings =
    PopulationMonteCarlo.run settings simulator Tensors.toRows fisher prior observed

let private populations =
    testList
        "population Monte Carlo"
        [ testCase
              "finds a known posterior, and so does its regression from a larger ε, which by itself is too wide"
              (fun () ->
                  let result = pmc pmcSettings
                  Expect.equal (result.Generations |> Array.map _.Epsilon) [| 6.0; 3.0; 1.5; 0.5 |] "ε as listed"
                  expectExact "ε = 0.5" 0.15 (against observed 1 result.Posterior)

                  let coarse =
                      { pmcSettings with
                          Schedule = Listed [ 6.0; 3.0; 2.0 ] }

                  let _, wide = against observed 1 (pmc coarse).Posterior
                  Expect.isGreaterThan wide 1.4 "planted: ε = 2 widens"
                  expectExact "regression" 0.15 (against observed 1 (pmc { coarse with Regression = true }).Posterior))

          testCase
              "weights are prior over proposal density: a population keeps its mean; constant weights do not"
              (fun () ->
                  // importance sampling of N(1, 1) from a kernel mixture about draws of it: weighted moments return those of the target π
                  let target = Prior.create [ "a", Marginal.Normal(1.0, 1.0) ]
                  let from = Prior.sample 1 0L 2000 target

                  let population =
                      Posterior.ofSamples [| "a" |] [| -infinity, infinity |] from (Array.create 2000 1.0)

                  let kernel = 2.0 * Posterior.covariance population

                  let jitter =
                      Prior.sample 2 0L 2000 (Prior.create [ "z", Marginal.Normal(0.0, sqrt kernel[0, 0]) ])

                  let moved =
                      Array.map2 (fun (t: float[]) (z: float[]) -> [| t[0] + z[0] |]) from jitter

                  let weights = PopulationMonteCarlo.weights target population kernel moved

                  let variance w =
                      (Posterior.covariance (Posterior.ofSamples [| "a" |] [| -infinity, infinity |] moved w))[0, 0]

                  Expect.isLessThan (abs (variance weights - 1.0)) 0.15 $"variance {variance weights:F3}"
                  Expect.isGreaterThan (variance (Array.create 2000 1.0)) 2.5 "planted: constant weights")

          testCase "keeps its budget, and does not depend on its chunks" (fun () ->
              let settings =
                  { pmcSettings with
                      Schedule = Shrinking 0.5
                      Population = 200
                      Budget = 3000 }

              let a, b =
                  pmc settings,
                  pmc
                      { settings with
                          Simulations = { settings.Simulations with Chunk = 37 } }

              Expect.equal a.Posterior.Samples b.Posterior.Samples "samples"
              Expect.equal a.Posterior.Weights b.Posterior.Weights "weights"
              Expect.isLessThanOrEqual a.Simulations 3000 "budget"
              Expect.isGreaterThan a.Generations.Length 3 "several populations"

              refuses<SettingException> [ "ε"; "falling" ] (fun () ->
                  pmc
                      { settings with
                          Schedule = Listed [ 1.0; 2.0 ] }
                  |> ignore)

              refuses<SettingException> [ "enough for 200" ] (fun () ->
                  pmc
                      { settings with
                          Schedule = Listed [ 1e-9 ] }
                  |> ignore))

          testCase "ABC ends with the accepted samples that were asked for" (fun () ->
              let run chunk =
                  Abc.run
                      { AbcSettings.Default with
                          Simulations = 100000
                          Proposal = FromPrior
                          Acceptance = Until(150, 1.0)
                          Regression = false
                          Chunk = chunk }
                      simulator
                      Tensors.toRows
                      fisher
                      prior
                      observed

              let a, b = run 5000, run 333
              Expect.equal a.Accepted 150 "accepted"
              Expect.equal a.Posterior.Samples b.Posterior.Samples "whatever the chunk"
              Expect.equal a.Simulations b.Simulations "counted to the last accepted"
              Expect.isLessThan a.Simulations 100000 "within its limit") ]

/// ABC, PMC and DELFI on power-law fields of 32² pixels, compressed by the exact score at the fiducial: the posterior of the whole field
/// is exact, and what the compression loses is small there.
let private fields =
    testCase "ABC, population Monte Carlo and DELFI of a power-law field come near its exact posterior" (fun () ->
        let problem = PowerLaw.create 32 ModeConvention.Ideal
        let theta = [| 0.9; 0.55 |]
        let field = Simulator.field problem.Simulator theta 5UL
        let exact = ExactAnswer.posterior problem.Exact problem.Prior field
        let fisher = problem.Exact.Fisher problem.Fiducial
        let inverse = Tensors.ofMatrix (fisher.Inverse()) |> Tensors.keep

        // θ_fid + F⁻¹ ∂ ln p(d | θ_fid), by automatic differentiation of the exact likelihood of each field
        let compress (fields: Tensor) =
            let point = Tensors.ofVector problem.Fiducial

            Array.init (int fields.shape[0]) (fun i ->
                Tensors.using (fun () ->
                    let logLikelihood (t: Tensor) =
                        (problem.Exact.LogLikelihood fields[int64 i] (t.unsqueeze 0L)).squeeze()

                    (point + inverse.matmul (Autodiff.grad logLikelihood point)) |> Tensors.toArray))

        let seen = Tensors.using (fun () -> (compress (field.unsqueeze 0L))[0])

        let judge what tolerance posterior =
            let shift = Posterior.shift exact posterior
            let area = Posterior.area posterior / Posterior.area exact
            Expect.isLessThan shift tolerance $"{what}: shift {shift:F2} sds"
            Expect.isLessThan (abs (area - 1.0)) tolerance $"{what}: area ratio {area:F3}"

        let abc =
            Abc.run
                { AbcSettings.Default with
                    Simulations = 2000 }
                problem.Simulator
                compress
                fisher
                problem.Prior
                seen

        let pmc =
            PopulationMonteCarlo.run
                { PmcSettings.Default with
                    Population = 300
                    Budget = 4000
                    Regression = true }
                problem.Simulator
                compress
                fisher
                problem.Prior
                seen

        let delfi =
            Delfi.run
                { small with
                    Rounds = [ 400; 300; 300 ] }
                problem.Simulator
                compress
                problem.Prior
                [| [| seen |] |]

        judge "ABC" 0.3 abc.Posterior
        judge "PMC" 0.35 pmc.Posterior
        judge "DELFI" 0.3 delfi.Posteriors[0])

let private resuming =
    testList
        "long runs"
        [ testCase
              "a run that is cancelled between chunks and started again gives what an uninterrupted one gives"
              (fun () ->
                  inFolder (fun folder ->
                      let mutable made = 0
                      use source = new CancellationTokenSource()

                      let counting cancelAfter =
                          { simulator with
                              Field =
                                  fun theta noise ->
                                      made <- made + int noise.shape[0]

                                      if made > cancelAfter then
                                          source.Cancel()

                                      simulator.Field theta noise }

                      let settings folder token =
                          { small with
                              Simulations =
                                  { Chunk = 100
                                    Folder = folder
                                    Progress =
                                      { Progress.silent with
                                          Cancellation = token } } }

                      let run simulator settings =
                          Delfi.run settings simulator Tensors.toRows prior [| [| observed |] |]

                      Expect.throwsT<OperationCanceledException>
                          (fun () -> run (counting 250) (settings (Some folder) source.Token) |> ignore)
                          "cancelled"

                      Expect.equal (Directory.GetFiles folder).Length 3 "three whole chunks are kept"
                      made <- 0

                      let resumed =
                          run (counting Int32.MaxValue) (settings (Some folder) CancellationToken.None)

                      Expect.isLessThan made 520 $"{made} simulations were made after all" // 500, and one a chunk to see that it is the same
                      let whole = run simulator (settings None CancellationToken.None)
                      Expect.equal resumed.Posteriors[0].Weights whole.Posteriors[0].Weights "same posterior"))

          testCase "stored simulations of another seed, or a torn file, do not pass for this run's" (fun () ->
              inFolder (fun folder ->
                  let settings =
                      { SimulationSettings.Default with
                          Chunk = 50
                          Folder = Some folder }

                  let theta = Prior.sample 1 0L 100 prior

                  let run seed =
                      Simulations.run settings simulator Tensors.toRows seed "test" theta

                  let first = run 1UL
                  Expect.equal (run 1UL) first "read again"
                  let other = run 2UL
                  Expect.notEqual other first "another seed is simulated anew"
                  let file = Directory.GetFiles folder |> Array.sort |> Array.head
                  File.WriteAllBytes(file, (File.ReadAllBytes file)[..200])
                  Expect.equal (run 2UL) other "a torn file is made again"))

          testCase "a run that is killed goes on to the same result" (fun () ->
              inFolder (fun folder ->
                  // a child process runs population Monte Carlo slowly; it is killed once some of its chunks are there
                  let script = Path.Combine(root, "tests", "FieldImnn.Tests", "killed-run.fsx")

                  let start out =
                      Process.Start(ProcessStartInfo("dotnet", [ "fsi"; script; out ], RedirectStandardOutput = true))

                  let chunks () =
                      if Directory.Exists folder then
                          (Directory.GetFiles(folder, "*.npz")).Length
                      else
                          0

                  use victim = start folder
                  let clock = Stopwatch.StartNew()

                  while chunks () < 3 && clock.Elapsed.TotalSeconds < 60.0 && not victim.HasExited do
                      Thread.Sleep 20

                  victim.Kill true
                  victim.WaitForExit()
                  Expect.isGreaterThanOrEqual (chunks ()) 3 "chunks were kept"

                  let finish out =
                      use child = start out
                      let text = child.StandardOutput.ReadToEnd()
                      child.WaitForExit()
                      Expect.equal child.ExitCode 0 "exit code"
                      text

                  let resumed = finish folder
                  let whole = finish (Path.Combine(folder, "whole"))
                  Expect.stringContains whole "mean" "it printed its result"
                  Expect.equal resumed whole "same result")) ]

let tests =
    testSequenced <| testList "delfi" [ neural; populations; fields; resuming ]
