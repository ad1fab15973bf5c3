/// Sequential neural likelihood and neural posteriors on posteriors that are known.
module DelfiTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open KnownPosterior
open TestSupport
open TorchSharp

let private infer settings targets =
    Delfi.run settings narrow.Simulator Tensors.toRows narrow.Prior targets

let private neural =
    testList
        "neural"
        [ testCase "DELFI finds a known posterior, for several observations at once, apart and together" (fun () ->
              let other = [| -1.0; 1.1 |]

              let result =
                  infer delfi [| [| observed |]; [| other |]; [| observed; [| 0.5; -0.5 |] |] |]

              Expect.equal result.Simulations 800 "budget"
              expectExact "first" 0.2 (against narrow observed 1 result.Posteriors[0])
              expectExact "second" 0.2 (against narrow other 1 result.Posteriors[1])
              expectExact "two observations of one θ" 0.2 (against narrow [| 0.4; -0.6 |] 2 result.Posteriors[2])
              // planted: the posterior of another observation
              Expect.isGreaterThan (fst (against narrow observed 1 result.Posteriors[1])) 2.0 "planted")

          testCase "DELFI ends when the posterior no longer changes, and its walkers agree with its grid" (fun () ->
              let patient =
                  { delfi with
                      Rounds = List.replicate 6 400
                      Settled = 0.15 }

              let onGrid = infer patient [| [| observed |] |]
              Expect.isTrue onGrid.Settled "settled"
              Expect.isLessThan onGrid.Rounds.Length 6 "before its budget"

              let walking =
                  infer
                      { delfi with
                          Sampler = Walkers(200, 40, 160, 20000) }
                      [| [| observed |] |]

              let sampling = (Array.last walking.Rounds).Sampling[0].Value
              expectExact "walkers" 0.2 (against narrow observed 1 walking.Posteriors[0])
              Expect.equal sampling.Stuck 0 "no stuck walker"

              Expect.isTrue
                  (walking.Posteriors[0].Samples |> Array.forall (Prior.contains narrow.Prior))
                  "within the narrow.Prior")

          testCase "DELFI at the narrow.Prior's edge stays inside it" (fun () ->
              let result =
                  infer
                      { delfi with
                          Sampler = Walkers(100, 20, 80, 20000) }
                      [| [| [| 1.95; -1.99 |] |] |]

              Expect.isTrue (result.Posteriors[0].Samples |> Array.forall (Prior.contains narrow.Prior)) "inside"
              // half-normals: a mean at the edge would be outside
              let mean = Posterior.mean result.Posteriors[0]
              Expect.isLessThan mean[0] 1.95 "pushed inwards")

          testCase "a neural posterior serves every observation, with draws and a density that agree" (fun () ->
              let amortised =
                  NeuralPosterior.learn
                      { NpeSettings.Default with
                          Budget = 2000
                          Estimator = delfi.Estimator }
                      narrow.Simulator
                      Tensors.toRows
                      narrow.Prior

              for x in [ observed; [| -0.9; 0.4 |] ] do
                  let drawn = NeuralPosterior.posterior amortised x

                  let grid =
                      GridPosterior.compute
                          101
                          narrow.Prior.Names
                          (Prior.bounds narrow.Prior)
                          (NeuralPosterior.logDensity amortised x)

                  expectExact "draws" 0.25 (against narrow x 1 drawn)

                  Expect.isLessThan
                      (abs (Posterior.area drawn / Posterior.area grid - 1.0))
                      0.05
                      "area of draws and density"

              let edge = NeuralPosterior.posterior amortised [| 2.1; -1.99 |]

              Expect.isTrue
                  (edge.Samples |> Array.forall (Prior.contains narrow.Prior))
                  "nothing outside the narrow.Prior")

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
                  infer { delfi with Rounds = [] } [| [| observed |] |] |> ignore)

              refuses<SettingException> [ "targets" ] (fun () -> infer delfi [||] |> ignore)
              let three = Prior.uniform [ for name in [ "a"; "b"; "c" ] -> name, 0.0, 1.0 ]

              refuses<SettingException> [ "Walkers" ] (fun () ->
                  Delfi.run delfi narrow.Simulator Tensors.toRows three [| [| observed |] |]
                  |> ignore)) ]

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
                    Budget = 2000 }
                problem.Simulator
                compress
                fisher
                problem.Prior
                seen

        let pmc =
            PopulationMonteCarlo.run
                { PmcSettings.Default with
                    Budget = 4000 }
                problem.Simulator
                compress
                fisher
                problem.Prior
                seen

        let sequential =
            Delfi.run
                { delfi with
                    Rounds = [ 400; 300; 300 ] }
                problem.Simulator
                compress
                problem.Prior
                [| [| seen |] |]

        judge "ABC" 0.3 abc.Posterior
        judge "PMC" 0.35 pmc.Posterior
        judge "DELFI" 0.3 sequential.Posteriors[0])

/// Six parameters of normal priors of one sd, of which x = θ + noise says much, and of the last two next to nothing: what a survey leaves to its
/// nuisance parameters. The posterior is a product of normals.
let private nuisances =
    testCase "of six parameters, two known by the prior alone, few simulations find the posterior in one run" (fun () ->
        let names = [ "a"; "b"; "c"; "d"; "e"; "f" ]
        let errors = [| 0.1; 0.1; 0.2; 0.2; 6.0; 6.0 |]
        let prior = Prior.create [ for name in names -> name, Normal(0.0, 1.0) ]

        let simulator =
            let scale = Tensors.ofVector errors |> Tensors.keep

            Simulator.create "nuisances" names [ 6 ] [ 6 ] (fun theta noise ->
                theta + scale * noise.``to`` torch.float64)

        let observed = [| 0.9; -0.5; 0.3; 1.2; 2.0; -3.0 |]

        let settings =
            { delfi with
                Rounds = List.replicate 4 120
                Sampler = Suited }

        let found information =
            let compression =
                { Parameters = prior.Names
                  Fiducial = Array.zeroCreate 6
                  Information =
                    MathNet.Numerics.LinearAlgebra.Matrix<float>.Build.DenseOfDiagonalArray(
                        errors |> Array.map (fun e -> information / (e * e))
                    )
                  Estimates = Tensors.toRows
                  Unlike = None
                  Further = None
                  Edges = [] }

            (Method.delfi settings (Model.create simulator prior) compression [ Tensors.ofVector observed ]).Head

        let true' = found 1.0
        // four rounds, and a pilot of as many as one
        Expect.equal true'.Simulations 600 "one run"
        let variance = errors |> Array.map (fun e -> 1.0 / (1.0 + 1.0 / (e * e)))

        for k in 0..5 do
            let sd, mean = sqrt variance[k], observed[k] * variance[k] / (errors[k] * errors[k])
            let shift = abs ((Posterior.mean true'.Posterior)[k] - mean) / sd
            let width = (Posterior.sd true'.Posterior)[k] / sd
            Expect.isLessThan shift 0.3 $"{names[k]}: mean off by {shift:F2} sds"
            Expect.isTrue (width > 0.8 && width < 1.25) $"{names[k]}: {width:F2} times as wide"

        // planted: an information that leaves the pilot's few draws to say how far to look
        let claimed = found 1e8
        Expect.isGreaterThan claimed.Simulations 600 "planted: looked for once more in the whole prior")

let tests = testSequenced <| testList "delfi" [ neural; nuisances; fields ]
