/// Latent maps: against the exact answer of Gaussian maps, which is a sum over modes, and, where the noise is so small that the field is known, that
/// of log-normal fields, which is a Jacobian.
module LatentMapsTests

open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open TestSupport
open TorchSharp

/// Maps of one power law of amplitude A and slope B, with a correlation of 0.6 between neighbours.
let private spectra count : MapSpectra =
    let free = CorrelatedMapsTests.spectra count

    { free with
        Parameters = [| "A"; "B" |]
        Power =
            fun k ->
                let power = free.Power k
                fun theta -> power (torch.nn.functional.pad (theta, [| 0L; 1L |], value = 0.6)) }

let private settings =
    { HmcSettings.Default with
        Chains = 4
        Warmup = 80
        Draws = 150
        LeapfrogSteps = 6
        Seed = 4UL }

/// A uniform, a normal or a cut normal: the three kinds of marginals.
let private prior =
    Prior.create [ "A", Uniform(0.2, 3.0); "B", TruncatedNormal(0.9, 0.4, 0.0, 2.5) ]

/// A posterior known roughly: an ellipse that nothing was learned for.
let private rough =
    Array.init 40 (fun i ->
        [| 1.2 + 0.3 * sin (2.0 * float i)
           0.9 + 0.2 * cos (3.0 * float i) + 0.1 * sin (2.0 * float i) |])

let private noise = 0.5

let private grid n = FourierGrid(2, n, float n)

/// The largest distance of the means from the reference's, in standard errors, and of an sd, as a part.
let private distance (reference: Posterior) (found: LatentResult) =
    let p = reference.Names.Length
    let mean, sd = Posterior.mean reference, Posterior.sd reference

    let shift =
        Array.init p (fun k ->
            abs ((Posterior.mean found.Posterior)[k] - mean[k])
            / (sd[k] / sqrt found.Chains.EffectiveSize[k]))

    let spread =
        Array.map2 (fun a b -> abs (a / b - 1.0)) (Posterior.sd found.Posterior) sd

    Array.max shift, Array.max spread

let private agrees reference found =
    let shift, spread = distance reference found
    shift < 4.5 && spread < 0.2

let private told (found: LatentResult) =
    $"R̂ %A{found.Chains.RHat}, effective %A{found.Chains.EffectiveSize}, mean %A{Posterior.mean found.Posterior}, sd %A{Posterior.sd found.Posterior}"

let tests =
    testList
        "latent maps"
        [ for count in [ 1; 2 ] do
              tensorTest $"{count} Gaussian maps with noise: the exact posterior, to the error of the chains" (fun () ->
                  let bare = CorrelatedMaps.create (spectra count) (grid 10)
                  let noisy = CorrelatedMaps.withNoise (Array.create count noise) bare

                  let field =
                      Simulator.field (CorrelatedMaps.simulator "noisy" noisy) [| 1.2; 0.9 |] 5UL

                  let exact = ExactAnswer.posterior (CorrelatedMapsLikelihood.exact noisy) prior field

                  let found =
                      LatentMaps.posterior settings (LatentMaps.ofGaussian bare noise) prior rough field

                  Expect.isTrue (agrees exact found) (told found)
                  Expect.isLessThan (Array.max found.Chains.RHat) 1.1 "R̂"

                  let planted =
                      LatentMaps.posterior settings (LatentMaps.ofGaussian bare (2.0 * noise)) prior rough field

                  Expect.isFalse (agrees exact planted) $"planted: more noise than there is; {told planted}")

          tensorTest "a log-normal map with next to no noise: the exact posterior of the map" (fun () ->
              let spectrum =
                  { PowerLaw.spectrum with
                      LogPower =
                          fun k ->
                              let law = PowerLaw.spectrum.LogPower k in fun theta -> law theta - log(20.0).ToScalar() }

              let small: MapSpectra =
                  { spectra 1 with
                      Power =
                          fun k ->
                              let law = spectrum.LogPower k in
                              fun theta -> (law theta).exp().unsqueeze(1L).unsqueeze 1L }

              let grid = grid 10

              let maps =
                  LogNormalMaps.create
                      small
                      (fun theta -> torch.ones_like (theta.narrow (1L, 0L, 1L)))
                      grid
                      ModeConvention.Ideal

              let alone = LogNormalModel.create spectrum grid ModeConvention.Ideal
              let field = Simulator.field (LogNormalMaps.simulator "map" maps) [| 1.2; 0.9 |] 7UL

              let exact =
                  ExactAnswer.posterior
                      (ExactAnswer.create (LogNormalLikelihood.fisher alone) (LogNormalLikelihood.logLikelihood alone))
                      prior
                      field

              // θ and the noise of a field that is known are bound to each other: longer trajectories than elsewhere
              let settings =
                  { settings with
                      Draws = 200
                      LeapfrogSteps = 12 }

              let found =
                  LatentMaps.posterior settings (LatentMaps.ofLogNormal maps 0.03) prior rough field

              Expect.isLessThan (Array.max found.Chains.RHat) 1.1 "R̂"
              Expect.isTrue (agrees exact found) $"{told found} for %A{Posterior.mean exact}, %A{Posterior.sd exact}"

              let planted =
                  LatentMaps.posterior settings (LatentMaps.ofLogNormal maps 0.3) prior rough field

              Expect.isFalse (agrees exact planted) $"planted: a noise that is not there; {told planted}")

          tensorTest "the same seed gives the same chains, another one others" (fun () ->
              let model = LatentMaps.ofGaussian (CorrelatedMaps.create (spectra 1) (grid 6)) noise
              let field = torch.linspace(-1.0, 1.0, 36L).reshape(6L, 6L)

              let run seed =
                  let few =
                      { settings with
                          Warmup = 10
                          Draws = 5
                          Seed = seed }

                  (LatentMaps.posterior few model prior rough field).Posterior.Samples

              Expect.equal (run 1UL) (run 1UL) "the same"
              Expect.notEqual (run 1UL) (run 2UL) "another")

          tensorTest "what cannot be sampled is refused" (fun () ->
              let maps = CorrelatedMaps.create (spectra 2) (grid 6)
              let model = LatentMaps.ofGaussian maps noise
              let field = torch.ones (2L, 6L, 6L)

              let run prior rough field () =
                  LatentMaps.posterior settings model prior rough field |> ignore

              for level in [ 0.0; -1.0; nan; infinity ] do
                  refuses<SettingException> [ "noise of latent maps" ] (fun () ->
                      LatentMaps.ofGaussian maps level |> ignore)

              refuses<ShapeException> [ "observed maps"; "2, 6, 6" ] (run prior rough (torch.ones (3L, 6L, 6L)))
              refuses<NonFiniteException> [ "observed maps" ] (run prior rough (field * nan.ToScalar()))
              refuses<SettingException> [ "draws of a rough posterior" ] (run prior (Array.truncate 3 rough) field)

              refuses<RangeException>
                  [ "rough posterior"; "A = 9" ]
                  (run prior (Array.append rough [| [| 9.0; 1.0 |] |]) field)

              refuses<SingularMatrixException>
                  [ "rough posterior"; "40 draws of 1 different" ]
                  (run prior (Array.create 40 [| 1.0; 1.0 |]) field)

              let dependent =
                  Prior.dependent [ "A", Uniform(0.2, 3.0); "B", Uniform(0.0, 2.5) ] (fun _ -> 0.0) (fun _ _ ->
                      [| 1.0; 1.0 |])

              refuses<SettingException> [ "independent" ] (run dependent rough field)) ]
