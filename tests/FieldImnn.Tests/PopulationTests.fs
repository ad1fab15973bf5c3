/// Population Monte Carlo, and the rejection sampler's count of accepted samples, on a posterior that is known.
module PopulationTests

open Expecto
open FieldImnn
open FieldImnn.Core
open KnownPosterior
open TestSupport

let private pmcSettings =
    { PmcSettings.Default with
        Population = 1000
        Budget = 100000
        Schedule = Listed [ 6.0; 3.0; 1.5; 0.5 ]
        LeastAcceptance = 0.0
        Regression = false
        Simulations = chunks 1000
        Seed = 4UL }

let private pmc settings =
    PopulationMonteCarlo.run settings narrow.Simulator Tensors.toRows narrow.Fisher narrow.Prior observed

let tests =
    testList
        "population Monte Carlo"
        [ testCase
              "finds a known posterior, and so does its regression from a larger ε, which by itself is too wide"
              (fun () ->
                  let result = pmc pmcSettings
                  Expect.equal (result.Generations |> Array.map _.Epsilon) [| 6.0; 3.0; 1.5; 0.5 |] "ε as listed"
                  expectExact "ε = 0.5" 0.15 (against narrow observed 1 result.Posterior)

                  let coarse =
                      { pmcSettings with
                          Schedule = Listed [ 6.0; 3.0; 2.0 ] }

                  let _, wide = against narrow observed 1 (pmc coarse).Posterior
                  Expect.isGreaterThan wide 1.4 "planted: ε = 2 widens"

                  expectExact
                      "regression"
                      0.15
                      (against narrow observed 1 (pmc { coarse with Regression = true }).Posterior))

          testCase
              "begins with the nearest of simulations from the prior, and by default ends near the posterior"
              (fun () ->
                  let settings = { PmcSettings.Default with Seed = 5UL }
                  let result = pmc settings
                  let first = result.Generations[0]
                  Expect.equal first.Simulations 750 "three times the population"
                  Expect.floatClose Accuracy.high first.Acceptance (1.0 / 3.0) "the nearest third"

                  let epsilons = result.Generations |> Array.map _.Epsilon
                  Expect.equal epsilons (Array.sortDescending epsilons) "ε falls"
                  let plain = (pmc { settings with Regression = false }).Generations[0].Posterior

                  Expect.isGreaterThan
                      (snd (against narrow observed 1 plain))
                      3.0
                      "planted: the first without regression is too wide"
                  // 250 particles: the area of a posterior of so few scatters by 7 %
                  expectExact "default" 0.25 (against narrow observed 1 result.Posterior))

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
                          Simulations = chunks 37 }

              Expect.equal a.Posterior.Samples b.Posterior.Samples "samples"
              Expect.equal a.Posterior.Weights b.Posterior.Weights "weights"
              Expect.equal a.Simulations 3000 "all of its budget"

              for before, after in a.Generations |> Array.pairwise do
                  Expect.isLessThan after.Epsilon before.Epsilon "ε falls, in the population that the budget ends, too"

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
                          Budget = 100000
                          Proposal = FromPrior
                          Acceptance = Until(150, 1.0)
                          Regression = false
                          Simulations = chunks chunk }
                      narrow.Simulator
                      Tensors.toRows
                      narrow.Fisher
                      narrow.Prior
                      observed

              let a, b = run 5000, run 333
              Expect.equal a.Accepted 150 "accepted"
              Expect.equal a.Posterior.Samples b.Posterior.Samples "whatever the chunk"
              Expect.equal a.Simulations b.Simulations "counted to the last accepted"
              Expect.isLessThan a.Simulations 100000 "within its limit") ]
