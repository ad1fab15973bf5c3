/// Choosing among features by measurement. Truths: the exact Fisher matrices of a Gaussian
/// field and of one row of it.
module SelectionTests

open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open TestSupport
open TorchSharp

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

/// The power of one row of the field in four bands: all that it sees of the other fifteen is through it.
let private oneRow =
    Features.own "one row" 4 (fun fields ->
        let power = (torch.fft.rfft (fields.select (1L, 0L))).abs().square()

        torch.stack (
            [| for a, b in [ 0, 1; 1, 3; 3, 6; 6, 9 ] -> power.narrow(1L, int64 a, int64 (b - a)).mean([| 1L |]) |],
            1L
        ))

/// F of one row by itself, ½ Σ_k ∂ln P₁ ∂ln P₁, P₁(k) = Σ_q P(k, q)/16: it is a periodic Gaussian field, too. P = A k^−B, none at k = 0.
let private rowFisher =
    lazy
        (let k i =
            2.0 * System.Math.PI * float (if i <= 8 then i else i - 16) / 16.0

         let all =
             [ for i in 0..15 ->
                   [ for j in 0..15 do
                         if i + j > 0 then
                             sqrt (k i * k i + k j * k j) ] ]

         let slopes =
             all
             |> List.map (fun ks ->
                 let power q = fiducial[0] * q ** -fiducial[1]
                 let total = List.sumBy power ks
                 [| 1.0 / fiducial[0]; List.sumBy (fun q -> -(log q) * power q) ks / total |])

         let f a b =
             0.5 * (slopes |> List.sumBy (fun (s: float[]) -> s[a] * s[b]))

         MathNet.Numerics.LinearAlgebra.Matrix<float>.Build.Dense(2, 2, f))

let tests =
    testSequenced
    <| testList
        "selection"
        [ tensorTest
              "the candidate that keeps most is chosen, whatever the order, and another's share is that of the exact information"
              (fun () ->
                  let candidates =
                      [ "one row", settings oneRow; "six bands", settings (Features.bandPower 6) ]

                  let chosen = Selection.among candidates simulator fiducial
                  let reversed = Selection.among (List.rev candidates) simulator fiducial
                  Expect.equal chosen.Label "six bands" "chosen"
                  Expect.equal reversed.Label "six bands" "in another order"
                  let shares = Map.ofList (Selection.shares chosen)
                  Expect.equal shares["six bands"] 1.0 "of itself"
                  let kept = sqrt (Fisher.retained chosen.Compressor.Fisher (exact.Fisher fiducial))
                  Expect.isGreaterThan kept 0.92 $"keeps {kept:F3} of what there is"
                  let bound = sqrt (Fisher.retained rowFisher.Value (exact.Fisher fiducial))
                  let row = shares["one row"] * kept
                  Expect.isLessThan row (1.1 * bound) $"a row keeps {row:F4} of the field, and holds {bound:F4}"
                  Expect.isGreaterThan row (0.4 * bound) $"a row keeps {row:F4} of the field, and holds {bound:F4}"
                  Expect.equal (Selection.describe chosen).Length 2 "a line each")

          tensorTest
              "a candidate that cannot be trained is left out with its reason; none, or none left, is an error"
              (fun () ->
                  let chosen =
                      Selection.among
                          [ "blind", settings blind; "bands", settings (Features.bandPower 5) ]
                          simulator
                          fiducial

                  Expect.equal chosen.Label "bands" "chosen"
                  Expect.stringContains (List.head (Selection.describe chosen)) "left out" "said"

                  refuses<FieldImnnException> [] (fun () ->
                      Selection.among [ "blind", settings blind ] simulator fiducial |> ignore)

                  refuses<SettingException> [ "at least one" ] (fun () ->
                      Selection.among [] simulator fiducial |> ignore)) ]
