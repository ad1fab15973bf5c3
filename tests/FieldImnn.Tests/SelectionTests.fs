/// Choosing among features by measurement. Truth: the exact Fisher matrix of Gaussian fields, which band powers keep and the mean does not see.
module SelectionTests

open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open TestSupport

let private settings features =
    { ImnnSettings.Default with
        Features = features
        HeldOut = 1000
        Fit = 1000
        Quote = 1000 }

let private simulator, private exact =
    let field =
        SpectrumField.create PowerLaw.spectrum (FourierGrid(2, 16, 16.0)) ModeConvention.Ideal

    SpectrumField.simulator "power law" field, SpectrumLikelihood.exact field

let private fiducial = [| 1.0; 0.5 |]

let private blind =
    Features.own "nothing" 1 (fun fields -> fields.mean([| 1L; 2L |]).unsqueeze 1L * 0.0)

let tests =
    testSequenced
    <| testList
        "selection"
        [ tensorTest "the candidate that keeps most is chosen, whatever the order, and the others' shares are those of the exact information" (fun () ->
              let candidates =
                  [ "two bands", settings (Features.bandPower 2)
                    "twelve bands", settings (Features.bandPower 12)
                    "variance", settings (Features.bandPower 1) ]

              // of one band, A and B are one number: not invertible, and refused
              let chosen = Selection.among candidates simulator fiducial
              let reversed = Selection.among (List.rev candidates) simulator fiducial
              Expect.equal chosen.Label "twelve bands" "chosen"
              Expect.equal reversed.Label "twelve bands" "in another order"
              let shares = Map.ofList (Selection.shares chosen)
              Expect.equal shares["twelve bands"] 1.0 "of itself"
              let kept = Fisher.retained chosen.Compressor.Fisher (exact.Fisher fiducial)
              Expect.isGreaterThan kept 0.85 $"keeps {kept:F3} of what there is"

              // the truth of two bands: F of two hat-weighted powers, from the quoted F of its own compressor against the exact one
              let two = Imnn.train { settings (Features.bandPower 2) with Seed = 9UL; Quote = 4000; Fit = 4000 } simulator fiducial
              let expected = sqrt (Fisher.retained two.Fisher (exact.Fisher fiducial) / kept)
              Expect.isLessThan (abs (shares["two bands"] - expected)) 0.08 $"two bands keep {shares["two bands"]}, {expected}"
              Expect.equal (Selection.describe chosen).Length 3 "a line each")

          tensorTest "a candidate that cannot be trained is left out with its reason; none, or none left, is an error" (fun () ->
              let chosen =
                  Selection.among [ "blind", settings blind; "bands", settings (Features.bandPower 8) ] simulator fiducial

              Expect.equal chosen.Label "bands" "chosen"
              Expect.stringContains (List.head (Selection.describe chosen)) "left out" "said"
              refuses<FieldImnnException> [] (fun () -> Selection.among [ "blind", settings blind ] simulator fiducial |> ignore)
              refuses<SettingException> [ "at least one" ] (fun () -> Selection.among [] simulator fiducial |> ignore)) ]
