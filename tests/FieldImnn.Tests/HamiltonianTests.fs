module HamiltonianTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private settings =
    { HmcSettings.Default with
        Chains = 4
        Warmup = 300
        Draws = 1000
        LeapfrogSteps = 12
        Seed = 3UL }

let private mean = [| 1.0; -200.0; 0.03 |]

/// Standard deviations 1, 100 and 0.01, correlations up to 0.8: what the masses have to find.
let private covariance =
    let sd = [| 1.0; 100.0; 0.01 |]

    let correlation =
        [| [| 1.0; 0.8; -0.3 |]; [| 0.8; 1.0; 0.0 |]; [| -0.3; 0.0; 1.0 |] |]

    Matrix<float>.Build.Dense(3, 3, (fun i j -> sd[i] * sd[j] * correlation[i][j]))

let private gaussian (q: Tensor) =
    let away = q - Tensors.ofVector mean

    (away.matmul (Tensors.ofMatrix (covariance.Inverse())) * away).sum 1L
    * (-0.5).ToScalar()

let private sample settings =
    HamiltonianMonteCarlo.run settings gaussian id (torch.zeros (4L, 3L))

/// The largest error of a mean in its standard errors, and of a variance relative to the truth.
let private against (result: HmcResult) (truth: float[]) =
    let draws = result.Draws |> Array.concat
    let sd k = sqrt covariance[k, k]

    let shift =
        [| 0..2 |]
        |> Array.map (fun k ->
            abs ((draws |> Array.averageBy (fun d -> d[k])) - truth[k])
            / (sd k / sqrt result.EffectiveSize[k]))

    let spread =
        [| 0..2 |]
        |> Array.map (fun k ->
            abs (
                (draws |> Array.averageBy (fun d -> (d[k] - mean[k]) ** 2.0)) / covariance[k, k]
                - 1.0
            ))

    Array.max shift, Array.max spread

/// Chains of an autoregressive process of known autocorrelation time (1 + ρ)/(1 − ρ), with a mean of their own.
let private autoregressive rho (means: float[]) length =
    let random = Random 8

    means
    |> Array.map (fun m ->
        let mutable x = 0.0

        Array.init length (fun _ ->
            x <-
                rho * x
                + MathNet.Numerics.Distributions.Normal.Sample(random, 0.0, sqrt (1.0 - rho * rho))

            m + x))

/// ln p of a noisy field in the Gaussian limit, N(0, Ξ + σ²I), dense.
let private gaussianLimit n sigma (field: float[]) beta =
    let xi =
        Matrix<float>
            .Build.Dense(
                n * n,
                n * n,
                fun a b ->
                    let r2 = float (a / n - b / n) ** 2.0 + float (a % n - b % n) ** 2.0
                    exp (-r2 / (4.0 * beta * beta)) + (if a = b then sigma * sigma else 0.0)
            )

    let d = Vector<float>.Build.DenseOfArray field
    -0.5 * (d.DotProduct(xi.Solve d) + xi.Cholesky().DeterminantLn)

let tests =
    testList
        "hamiltonian"
        [ tensorTest
              "a Gaussian with scales from 0.01 to 100: means, variances, R̂; planted moments are caught"
              (fun () ->
                  let result = sample settings
                  let shift, spread = against result mean
                  Expect.isLessThan shift 4.5 "means, in standard errors"
                  Expect.isLessThan spread 0.1 "variances"
                  Expect.isLessThan (Array.max result.RHat) 1.02 "R̂"
                  Expect.isGreaterThan (Array.min result.EffectiveSize) 300.0 "effective size of 4,000 draws"
                  Expect.isLessThan (abs (result.Acceptance - 0.8)) 0.15 "acceptance"
                  Expect.equal result.Divergent 0 "divergent"
                  let wrong = mean |> Array.mapi (fun k m -> m + 0.2 * sqrt covariance[k, k])
                  Expect.isGreaterThan (fst (against result wrong)) 4.5 "planted: means off by 0.2 sd"
                  Expect.equal (sample settings).Draws result.Draws "the same seed, the same chains")

          testCase "R̂ and effective size: those of chains with known ones" (fun () ->
              let rho = 0.7
              let chains = autoregressive rho (Array.zeroCreate 4) 5000
              let expected = 20000.0 * (1.0 - rho) / (1.0 + rho)
              Expect.isLessThan (abs (ChainDiagnostics.effectiveSize chains / expected - 1.0)) 0.2 "effective size"
              // ρ² is the correlation of the squares
              let squares = 20000.0 * (1.0 - rho * rho) / (1.0 + rho * rho)
              let swinging = autoregressive -rho (Array.zeroCreate 4) 5000
              Expect.isGreaterThan (ChainDiagnostics.effectiveSize swinging) 20000.0 "antithetic mean"

              Expect.isLessThan
                  (abs (ChainDiagnostics.effectiveSizeOfMoments swinging / squares - 1.0))
                  0.2
                  "antithetic variance"

              Expect.isLessThan (ChainDiagnostics.rHat chains) 1.01 "R̂"
              let apart = autoregressive rho [| 0.0; 0.0; 0.0; 1.0 |] 5000
              Expect.isGreaterThan (ChainDiagnostics.rHat apart) 1.05 "planted: a chain elsewhere"
              Expect.isLessThan (ChainDiagnostics.effectiveSize apart) 200.0 "planted: few draws' worth"
              let drift = chains |> Array.map (Array.mapi (fun i v -> v + float i / 2500.0))
              Expect.isGreaterThan (ChainDiagnostics.rHat drift) 1.05 "planted: all chains drift")

          tensorTest "noisy pixels in the Gaussian limit: the marginal posterior of β is the dense one" (fun () ->
              let n, sigma = 8, 0.2
              let model = CorrelatedLogNormalField(n, LogNormalForm.Standardised, sigma)
              let prior = Prior.uniform [ "α", 1e-3, 2e-3; "β", 0.25, 0.75 ]

              let d = Simulator.field (CorrelatedLogNormal.simulator model) [| 1.5e-3; 0.5 |] 2UL

              /// Mean and sd of β on a grid over its prior, for an assumed noise.
              let dense assumed =
                  let beta = Array.init 201 (fun i -> 0.25 + 0.0025 * float i)
                  let logL = beta |> Array.map (gaussianLimit n assumed (Tensors.toArray d))
                  let weight = logL |> Array.map (fun l -> exp (l - Array.max logL))

                  let moment k =
                      Array.map2 (fun b w -> w * b ** k) beta weight |> Array.sum

                  let mean = moment 1.0 / moment 0.0
                  mean, sqrt (moment 2.0 / moment 0.0 - mean * mean)

              let expected, expectedSd = dense sigma
              let start = Array.init 4 (fun c -> [| 1.5e-3; 0.4 + 0.06 * float c |])

              let result =
                  LatentLogNormal.posterior { settings with Warmup = 200 } model prior start d

              let error = expectedSd / sqrt result.Chains.EffectiveSize[1]
              let found = (Posterior.mean result.Posterior)[1]

              Expect.isLessThan
                  (abs (found - expected) / error)
                  4.5
                  $"β = {found:F4}, dense {expected:F4} ± {error:F4}"

              Expect.isLessThan (abs ((Posterior.sd result.Posterior)[1] / expectedSd - 1.0)) 0.1 "standard deviation"

              let planted = fst (dense (2.0 * sigma))
              Expect.isGreaterThan (abs (found - planted) / error) 4.5 $"planted: twice the noise, β = {planted:F4}")

          tensorTest
              "stored field 0 with its pixel noise: standard deviations within 10 % of the published chain"
              (fun () ->
                  let problem = CorrelatedLogNormal.create 20
                  let d = CorrelatedLogNormalTests.stored 0

                  let published =
                      Npy.read (
                          CorrelatedLogNormalTests.reference "published/lognormal20_data_assimilation_field_0.npy"
                      )

                  let column k =
                      published.Data |> Array.chunkBySize 2 |> Array.map (fun r -> r[k])

                  let hmc =
                      { HmcSettings.Default with
                          Warmup = 300
                          Draws = 500
                          LeapfrogSteps = 10 }

                  let start =
                      ExactAnswer.posterior problem.Exact problem.Prior d
                      |> Posterior.resample 1 hmc.Chains

                  let model = CorrelatedLogNormalField(20, LogNormalForm.Standardised, 0.01)
                  let result = LatentLogNormal.posterior hmc model problem.Prior start d

                  for k in 0..1 do
                      let values = column k
                      let mean = Array.average values
                      let sd = sqrt (values |> Array.averageBy (fun v -> (v - mean) ** 2.0))
                      let ratio = (Posterior.sd result.Posterior)[k] / sd
                      Expect.isLessThan (abs (ratio - 1.0)) 0.1 $"sd of parameter {k}: {ratio:F3} of the published"

                      Expect.isLessThan
                          (abs ((Posterior.mean result.Posterior)[k] - mean) / sd)
                          0.15
                          $"mean of parameter {k}"

                  Expect.isLessThan (Array.max result.Chains.RHat) 1.02 "R̂"
                  Expect.isGreaterThan (Array.min result.Chains.EffectiveSize) 400.0 "effective size")

          tensorTest "chains that are stopped, or whose checkpoint is damaged, end with the same bits" (fun () ->
              inFolder (fun folder ->

                  let few =
                      { settings with
                          Warmup = 60
                          Draws = 40 }

                  let undisturbed = (sample few).Draws

                  let run stopAt (told: ResizeArray<string>) =
                      use source = new System.Threading.CancellationTokenSource()
                      let mutable reports = 0

                      let report (r: ProgressReport) =
                          if r.Stage = "checkpoint" then
                              told.Add r.Note
                          else
                              reports <- reports + 1

                          if reports = stopAt then
                              source.Cancel()

                      let found =
                          try
                              let result =
                                  sample
                                      { few with
                                          Checkpoint = Some(Checkpoint.inFolder folder)
                                          Progress =
                                              { Report = report
                                                Cancellation = source.Token } }

                              Some result.Draws
                          with :? OperationCanceledException ->
                              None

                      found, reports

                  let told = ResizeArray()
                  Expect.equal (run 37 told) (None, 37) "stopped while the step adapts"
                  Expect.equal (run 40 told) (None, 40) "stopped while it samples, 77 done"
                  let found, reports = run -1 told
                  Expect.equal reports 23 "what was left"
                  Expect.equal found (Some undisturbed) "the same bits"
                  Expect.isEmpty told "nothing to say"

                  let file = Directory.GetFiles folder |> Array.exactlyOne
                  let bytes = File.ReadAllBytes file
                  File.WriteAllBytes(file, bytes[.. bytes.Length / 2])
                  let found, reports = run -1 told
                  Expect.equal (found, reports) (Some undisturbed, 100) "planted: damage costs the time, not the bits"
                  Expect.stringContains (String.concat " " told) "damaged" "and says so"

                  let narrower (q: Tensor) = gaussian q * 2.0.ToScalar()

                  let other =
                      HamiltonianMonteCarlo.run
                          { few with
                              Checkpoint = Some(Checkpoint.inFolder folder) }
                          narrower
                          id
                          (torch.zeros (4L, 3L))

                  Expect.notEqual other.Draws undisturbed "of another density nothing is taken"))

          tensorTest "a guide that is near moves the chains, and they find the density itself" (fun () ->
              // shifted by a third of an sd and a fifth too wide
              let away = torch.tensor [| 0.3; 30.0; -0.003 |]
              let guide (q: Tensor) = gaussian (q - away) * 0.7.ToScalar()

              let found =
                  HamiltonianMonteCarlo.runGuided settings gaussian guide id (torch.zeros (4L, 3L))

              let shift, spread = against found mean
              Expect.isLessThan shift 4.0 "means"
              Expect.isLessThan spread 0.2 "variances"

              let planted, _ =
                  against (HamiltonianMonteCarlo.run settings guide id (torch.zeros (4L, 3L))) mean

              Expect.isGreaterThan planted 4.0 "planted: the guide for the density")

          tensorTest "impossible settings, starts and models are refused" (fun () ->
              let run settings start () =
                  HamiltonianMonteCarlo.run settings gaussian id start |> ignore

              refuses<ShapeException> [ "(4, dimensions)"; "(3, 3)" ] (run settings (torch.zeros (3L, 3L)))

              refuses<SettingException>
                  [ "acceptance"; "1.5" ]
                  (run { settings with Acceptance = 1.5 } (torch.zeros (4L, 3L)))

              refuses<SettingException> [ "draws" ] (run { settings with Draws = 1 } (torch.zeros (4L, 3L)))

              refuses<RangeException> [ "positive density" ] (fun () ->
                  let nowhere (q: Tensor) = (gaussian q).log()
                  HamiltonianMonteCarlo.run settings nowhere id (torch.zeros (4L, 3L)) |> ignore)

              refuses<SettingException> [ "pixel noise" ] (fun () ->
                  LatentLogNormal.posterior
                      settings
                      (CorrelatedLogNormalField 6)
                      CorrelatedLogNormal.prior
                      [| [| 1.0; 0.5 |] |]
                      (torch.zeros (6L, 6L))
                  |> ignore)

              refuses<ShapeException> [ "chains" ] (fun () -> ChainDiagnostics.rHat [| [| 1.0; 2.0 |] |] |> ignore)) ]
