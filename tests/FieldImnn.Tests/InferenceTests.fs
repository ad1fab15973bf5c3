module InferenceTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open KnownPosterior
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private abc settings =
    Abc.run { settings with Seed = 3UL } wide.Simulator Tensors.toRows wide.Fisher wide.Prior observed

let tests =
    testList
        "inference"
        [ testCase "Gaussian approximation: moments, area, credible regions and densities of the normal" (fun () ->
              let posterior = GaussianApproximation.posterior wide.Prior observed wide.Fisher
              let shift, area = against wide observed 1 posterior
              Expect.isLessThan shift 1e-3 "mean"
              Expect.isLessThan (abs (area - 1.0)) 1e-3 "area"

              close
                  2e-3
                  ((Posterior.covariance posterior).ToRowArrays() |> Array.concat)
                  (wide.Fisher.Inverse().ToRowArrays() |> Array.concat)
                  "covariance"
              // the region of probability p of a 2-D normal has area −2 ln(1 − p) π √det C
              let expected = -2.0 * log 0.32 * Math.PI / sqrt (wide.Fisher.Determinant())
              Expect.isLessThan (abs (DensityGrid.hpdArea 0.68 posterior.Grid.Value / expected - 1.0)) 0.02 "68 % area"
              let sd = sqrt (wide.Fisher.Inverse()[0, 0])
              let at = [| -0.5; 0.3; 1.0 |]

              close
                  5e-3
                  (Posterior.marginal 0 at posterior)
                  (at |> Array.map (fun v -> Normal.PDF(0.3, sd, v)))
                  "marginal"

              let draws =
                  Posterior.resample 1 20000 posterior
                  |> fun s -> Posterior.ofSamples wide.Prior.Names (Prior.bounds wide.Prior) s (Array.create 20000 1.0)

              Expect.isLessThan (abs (snd (against wide observed 1 draws) - 1.0)) 0.03 "resampled"

              close
                  0.06
                  (Posterior.marginal 0 at draws)
                  (at |> Array.map (fun v -> Normal.PDF(0.3, sd, v)))
                  "kernel estimate")

          testCase "Gaussian approximation truncated by the prior is the truncated normal" (fun () ->
              let half = Prior.uniform [ "a", 0.0, 10.0; "b", -5.0, 5.0 ]
              let independent = Matrix<float>.Build.DenseDiagonal(2, 2, 1.0)
              let posterior = GaussianApproximation.posterior half [| 0.0; 0.0 |] independent

              Expect.isLessThan
                  (abs ((Posterior.mean posterior)[0] - sqrt (2.0 / Math.PI)))
                  0.01
                  "mean of the half-normal"

              Expect.isTrue (posterior.Samples |> Array.forall (fun s -> s[0] >= 0.0)) "nothing outside the prior")

          tensorTest
              "ABC finds a known Gaussian posterior, from the prior and about the estimate; a coarse ε without regression does not"
              (fun () ->
                  let check what settings =
                      let result = abc settings
                      let shift, area = against wide observed 1 result.Posterior
                      Expect.isLessThan shift 0.12 $"{what}: mean"
                      Expect.isLessThan (abs (area - 1.0)) 0.12 $"{what}: area ratio {area:F3}"

                  check
                      "about the estimate"
                      { AbcSettings.Default with
                          Budget = 20000 }

                  check
                      "from the prior"
                      { AbcSettings.Default with
                          Budget = 100000
                          Proposal = FromPrior
                          Acceptance = Nearest 0.03
                          Simulations = chunks 5000 }

                  let plain =
                      { AbcSettings.Default with
                          Budget = 400000
                          Proposal = FromPrior
                          Acceptance = Within 0.5
                          Regression = false
                          Simulations = chunks 5000 }

                  check "plain rejection, small ε" plain

                  let _, coarse =
                      against wide observed 1 (abc { plain with Acceptance = Within 3.0 }).Posterior

                  Expect.isGreaterThan coarse 1.5 "planted: a large ε widens the posterior")

          tensorTest "ABC does not depend on its chunks, and refuses impossible settings" (fun () ->
              let small =
                  { AbcSettings.Default with
                      Budget = 400 }

              let a, b =
                  abc { small with Simulations = chunks 400 }, abc { small with Simulations = chunks 37 }

              Expect.equal a.Posterior.Samples b.Posterior.Samples "same samples"
              refuses<SettingException> [ "ε" ] (fun () -> abc { small with Acceptance = Within -1.0 } |> ignore)

              refuses<SettingException> [ "quantile"; "1.5" ] (fun () ->
                  abc { small with Acceptance = Nearest 1.5 } |> ignore)

              refuses<SettingException> [ "at least 6" ] (fun () ->
                  abc { small with Acceptance = Within 1e-9 } |> ignore))

          tensorTest "of what the data do not tell, nothing is simulated that the prior all but excludes" (fun () ->
              let mutable farthest = 0.0

              // the second parameter does nothing; proposals about it have wide tails
              let simulator =
                  Simulator.create "half blind" [ "a"; "b" ] [ 2 ] [ 2 ] (fun theta noise ->
                      let told = torch.tensor([| 1.0f; 0.0f |]).``to`` theta.dtype
                      farthest <- max farthest (theta.select(1L, 1L).abs().max().ToDouble())
                      theta * told + noise)

              let prior =
                  Prior.create [ "a", Marginal.Normal(0.0, 1.0); "b", Marginal.Normal(0.0, 1.0) ]

              let fisher = Matrix<float>.Build.DenseIdentity 2
              let seeds = [ 1UL .. 3UL ]

              for name, run in
                  [ "ABC",
                    fun seed ->
                        (Abc.run
                            { AbcSettings.Default with
                                Budget = 8000
                                Seed = seed }
                            simulator
                            Tensors.toRows
                            fisher
                            prior
                            [| 0.5; 0.0 |])
                            .Posterior
                    "population Monte Carlo",
                    fun seed ->
                        (PopulationMonteCarlo.run
                            { PmcSettings.Default with
                                Budget = 8000
                                Seed = seed }
                            simulator
                            Tensors.toRows
                            fisher
                            prior
                            [| 0.5; 0.0 |])
                            .Posterior ] do
                  farthest <- 0.0

                  for seed in seeds do
                      let posterior = run seed
                      Expect.isLessThan (abs ((Posterior.sd posterior)[1] - 1.0)) 0.1 $"{name}: b as the prior has it"

                  Expect.isGreaterThan farthest 4.5 $"{name}: far into the tails"
                  Expect.isLessThanOrEqual farthest 7.5 $"{name}: but not beyond"

              // of dependent parameters the density counts, and not the frame, which is narrower here
              let wide =
                  Prior.dependent
                      [ "a", Marginal.Normal(0.0, 1.0); "b", Marginal.Normal(0.0, 1.0) ]
                      (fun t -> Normal.PDFLn(0.0, 1.0, t[0]) + Normal.PDFLn(0.0, 3.0, t[1]))
                      (fun seed index ->
                          let z = Prior.sample seed index 1 prior |> Array.head
                          [| z[0]; 3.0 * z[1] |])

              let found =
                  Abc.run
                      { AbcSettings.Default with
                          Budget = 8000 }
                      simulator
                      Tensors.toRows
                      fisher
                      wide
                      [| 0.5; 0.0 |]

              Expect.isLessThan (abs ((Posterior.sd found.Posterior)[1] / 3.0 - 1.0)) 0.1 "b as its density has it")

          tensorTest
              "a user's own simulator: derivatives by automatic differentiation, Fisher and estimate as for a built-in one"
              (fun () ->
                  // amplitude and mean of white noise on 8 × 8 pixels: F = diag(2n/σ², n/σ²) at (σ, μ)
                  let simulator =
                      Simulator.create "white" [ "sigma"; "mu" ] [ 8; 8 ] [ 8; 8 ] (fun theta noise ->
                          let column i = theta.narrow(1L, i, 1L).unsqueeze -1L
                          (noise * column 0L + column 1L).``to`` torch.ScalarType.Float32)

                  let theta = Tensors.ofVector [| 2.0; 0.5 |]
                  let keys = Random.NoiseKey.Range(1UL, 0UL, 4)
                  let struct (d, t) = Simulator.withDerivatives simulator Autodiff theta keys
                  close 1e-6 (Tensors.toArray t[0, 0]) (Tensors.toArray ((d[0] - 0.5) / 2.0)) "∂d/∂σ is the noise"
                  close 1e-6 (Tensors.toArray t[0, 1]) (Array.create 64 1.0) "∂d/∂μ is one")

          tensorTest "ABC follows a bent estimate far from where it is unbiased" (fun () ->
              // the compression returns θ − θ²/20, far below zero nowhere but biased everywhere: the posterior must not care
              let bend = Array.map (Array.map (fun v -> v - 0.05 * v * v))
              let seen = (bend [| observed |])[0]

              let settings =
                  { AbcSettings.Default with
                      Budget = 20000 }

              let result =
                  Abc.run settings wide.Simulator (Tensors.toRows >> bend) wide.Fisher wide.Prior seen

              let shift, area = against wide observed 1 result.Posterior
              Expect.isLessThan shift 0.15 "mean"
              Expect.isLessThan (abs (area - 1.0)) 0.15 $"area ratio {area:F3}")

          testCase "posteriors refuse what is no posterior" (fun () ->
              refuses<ShapeException> [ "2 weights" ] (fun () ->
                  Posterior.ofSamples wide.Prior.Names (Prior.bounds wide.Prior) [| observed; observed |] [| 1.0 |]
                  |> ignore)

              refuses<NonFiniteException> [ "weights" ] (fun () ->
                  Posterior.ofSamples wide.Prior.Names (Prior.bounds wide.Prior) [| observed |] [| nan |]
                  |> ignore)) ]
