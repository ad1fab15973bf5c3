/// Exact answers of spectra with one, three and six parameters, on grids of one to three dimensions, odd and even.
module SpectraTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open ExactSupport
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

/// A spectrum and its derivatives by each parameter at θ as plain functions of k, beside the same in tensors.
type private Known =
    { Spectrum: Spectrum
      Theta: float[]
      Power: float[] -> float -> float
      Step: float }

let private one =
    { Spectrum =
        { Parameters = [| "A" |]
          LogPower =
            fun k ->
                let lnk = k.log().unsqueeze 0L |> Tensors.keep
                fun theta -> theta.log () - lnk }
      Theta = [| 1.1 |]
      Power = fun t k -> t[0] / k
      Step = 1e-5 }

let private three =
    { Spectrum =
        { Parameters = [| "A"; "B"; "N" |]
          LogPower =
            fun k ->
                let lnk = k.log().unsqueeze 0L |> Tensors.keep

                fun theta ->
                    let p i = theta.narrow (1L, int64 i, 1L)
                    (p 0 * (-(p 1) * lnk).exp() + p 2).log() }
      Theta = [| 1.2; 0.9; 0.45 |]
      Power = fun t k -> t[0] * k ** -t[1] + t[2]
      Step = 1e-5 }

let private edges = [| 0.9; 1.4; 2.0; 2.6; 3.1 |]

let private six =
    { Spectrum = Spectrum.bands edges _.reciprocal()
      Theta = [| 1.1; 0.9; 1.05; 1.0; 0.95; 1.1 |]
      Power = fun t k -> t[edges |> Array.filter (fun e -> k > e) |> Array.length] / k
      Step = 1e-5 }

/// All wavenumbers of the full grid but 0.
let private waves dimensions n length =
    let one = Array.init n (fun q -> wave n length q ** 2.0)

    let rec squares d =
        if d = 1 then
            one
        else
            [| for a in squares (d - 1) do
                   for b in one -> a + b |]

    squares dimensions |> Array.filter (fun s -> s > 0.0) |> Array.map sqrt

/// ½ Σ ∂ln P ∂ln P over the modes of the full grid, by differences.
let private counted known dimensions n length =
    let p = known.Theta.Length

    let slope a k =
        let moved h =
            log (known.Power (known.Theta |> Array.mapi (fun i t -> if i = a then t + h else t)) k)

        (moved known.Step - moved -known.Step) / (2.0 * known.Step)

    let rows =
        waves dimensions n length
        |> Array.map (fun k -> Array.init p (fun a -> slope a k))

    Matrix<float>.Build.Dense(p, p, (fun a b -> 0.5 * (rows |> Array.sumBy (fun r -> r[a] * r[b]))))

let private model known dimensions n length =
    SpectrumField.create known.Spectrum (FourierGrid(dimensions, n, length)) ModeConvention.Ideal

let private elements (m: Matrix<float>) = m.ToColumnMajorArray()

let private information =
    [ for name, known, dimensions, n, length in
          [ "one parameter, 1-D of 1,001 points", one, 1, 1001, 1001.0
            "three, 1-D of 1,001 points in a box of 300", three, 1, 1001, 300.0
            "three, 2-D of 15²", three, 2, 15, 15.0
            "six bands, 2-D of 16²", six, 2, 16, 16.0
            "three, 3-D of 32³", three, 3, 32, 32.0
            "three, 3-D of 9³", three, 3, 9, 20.0 ] do
          tensorTest $"Fisher matrix by a plain sum over the full grid: {name}; a mode too many is caught" (fun () ->
              let found = SpectrumLikelihood.fisher (model known dimensions n length) known.Theta
              let truth = counted known dimensions n length
              close 1e-7 (elements found) (elements truth) "F"
              let planted = counted known dimensions (n + 1) (length * float (n + 1) / float n)
              Expect.isGreaterThan (relative (elements found) (elements planted)) 5e-4 "planted") ]

/// The score's covariance over simulations on a small grid; with another Fisher matrix as the fault.
let private scores name known dimensions n count =
    tensorTest
        $"{name}: the covariance of the score is the Fisher matrix within its error; a fault is caught"
        (fun () ->
            let model = model known dimensions n (float n)
            let exact = SpectrumLikelihood.exact model
            let simulator = SpectrumField.simulator name model

            let measured =
                ExactAnswer.scoreCovariance simulator count 4UL exact.LogLikelihood known.Theta

            Expect.isLessThan (fisherDeviation measured (exact.Fisher known.Theta)) 4.5 "deviations in standard errors"
            // the first parameter a quarter larger
            let moved = known.Theta |> Array.mapi (fun i t -> if i = 0 then 1.25 * t else t)
            Expect.isGreaterThan (fisherDeviation measured (exact.Fisher moved)) 4.5 "planted")

let private likelihoods =
    [ tensorTest "six bands: the likelihood of a dense Gaussian over pixels; a band elsewhere is caught" (fun () ->
          let n = 8
          let simulator = SpectrumField.simulator "six" (model six 2 n (float n))
          let d = (Simulator.field simulator six.Theta 3UL).``to`` torch.ScalarType.Float64
          let logL = SpectrumLikelihood.logLikelihood (model six 2 n (float n)) d

          let points =
              [| for a in 0..5 -> six.Theta |> Array.mapi (fun i t -> if i = a then 1.3 * t else t) |]

          let less f =
              points |> Array.map (fun t -> f t - f six.Theta)

          let ours = less (fun t -> (logL (Tensors.ofRows [| t |])).ToDouble())

          let dense power =
              less (fun t -> denseLogLikelihood n (power t) (Tensors.toArray d))

          close 1e-9 ours (dense six.Power) "ln p differences"

          let other t k =
              six.Power t (if k > 2.0 && k < 2.4 then 1.9 else k)

          Expect.isGreaterThan (relative ours (dense other)) 1e-3 "planted")

      tensorTest "ends of bands that do not rise are refused; bands know only of k" (fun () ->
          for wrong in [ [| 1.0; 0.5 |]; [| 0.0 |]; [| nan |] ] do
              refuses<SettingException> [ "bands" ] (fun () -> Spectrum.bands wrong id |> ignore)

          let k = [| 0.5; 0.9; 0.91; 5.0 |]
          let found = PowerSpectrum.evaluate six.Spectrum six.Theta k
          close 1e-12 found (k |> Array.map (six.Power six.Theta)) "P") ]

let private fields =
    [ for dimensions, n in [ 1, 1001; 3, 32; 3, 9 ] do
          tensorTest
              $"fields of {n} points in {dimensions}-D: their power, their derivatives, and the same bits alone"
              (fun () ->
                  let model = model three dimensions n (float n)
                  let simulator = SpectrumField.simulator "three" model
                  let keys = NoiseKey.Range(3UL, 0UL, 3)
                  let theta = Tensors.ofVector three.Theta
                  let together = Simulator.fields simulator theta keys

                  for i in 0..2 do
                      let alone = Simulator.fields simulator theta [| keys[i] |]
                      Expect.equal (Tensors.toArray alone[0]) (Tensors.toArray together[int64 i]) $"field {i}"

                  let simulator = doubled simulator
                  derivativesAgree $"{n}, {dimensions}-D" simulator [| 1e-4; 1e-4; 1e-4 |] three.Theta
                  // |δ_k|²/⟨|δ_k|²⟩ over all modes: a mean of one, and the sum of squares of unit normals
                  let fields = Simulator.fields simulator theta (NoiseKey.Range(5UL, 0UL, 20))
                  let lnP = SpectrumField.logPower model (Tensors.ofRows [| three.Theta |])
                  let weight = model.Field.Grid.HermitianWeight * model.Field.Support

                  let expected =
                      model.Classes.Spread(lnP.exp ()) * model.Field.Grid.ModeVariancePerPower

                  let share = (model.Field.Grid.ModePower fields / expected * weight).sum().ToDouble()
                  let modes = 20.0 * weight.sum().ToDouble()
                  Expect.isLessThan (abs (share - modes) / sqrt (2.0 * modes)) 4.5 "power in standard errors"
                  Expect.isGreaterThan (abs (1.2 * share - modes) / sqrt (2.0 * modes)) 4.5 "planted 20 %") ]

let tests =
    testList
        "spectra"
        (information
         @ likelihoods
         @ [ scores "one parameter, 1-D of 101" one 1 101 600
             scores "three, 2-D of 15²" three 2 15 600
             scores "three, 3-D of 6³" three 3 6 600
             scores "six, 2-D of 16²" six 2 16 800 ]
         @ fields)
