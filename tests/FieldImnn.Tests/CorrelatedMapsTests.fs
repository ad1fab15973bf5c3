/// Correlated maps: against a dense Gaussian over all pixels of all maps, sums mode by mode, and the covariance of the score.
module CorrelatedMapsTests

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

/// Maps of one power law of amplitude A and slope B whose correlation r falls with their distance: C_ij = A k^−B r^|i − j|.
let spectra count : MapSpectra =
    { Parameters = [| "A"; "B"; "r" |]
      Maps = count
      Power =
        fun k ->
            let lnK = k.log().unsqueeze 0L |> Tensors.keep

            fun theta ->
                let p i = theta.narrow (1L, int64 i, 1L)
                let power = p 0 * (-(p 1) * lnK).exp()

                let row i =
                    torch.stack (
                        Array.init count (fun j -> power * (p 2).pow(abs (i - j) |> float |> _.ToScalar())),
                        1L
                    )

                torch.stack (Array.init count row, 1L) }

let private theta = [| 1.2; 0.9; 0.6 |]

/// Noise of the maps, each its own.
let private levels count =
    Array.init count (fun i -> 0.4 + 0.2 * float i)

let private model count dimensions n =
    CorrelatedMaps.create (spectra count) (FourierGrid(dimensions, n, float n))
    |> CorrelatedMaps.withNoise (levels count)

/// C at one k, and the power law's derivatives by hand.
let private matrix count (t: float[]) k =
    Matrix<float>
        .Build.Dense(
            count,
            count,
            (fun i j ->
                t[0] * k ** -t[1] * t[2] ** float (abs (i - j))
                + (if i = j then (levels count)[i] ** 2.0 else 0.0))
        )

let private derivatives count (t: float[]) k =
    let law f =
        Matrix<float>.Build.Dense(count, count, (fun i j -> f (float (abs (i - j)))))

    [| law (fun q -> k ** -t[1] * t[2] ** q)
       law (fun q -> -log k * t[0] * k ** -t[1] * t[2] ** q)
       law (fun q ->
           if q = 0.0 then
               0.0
           else
               t[0] * k ** -t[1] * q * t[2] ** (q - 1.0)) |]

let private waves dimensions n =
    let one = Array.init n (fun q -> wave n (float n) q ** 2.0)

    let rec squares d =
        if d = 1 then
            one
        else
            [| for a in squares (d - 1) do
                   for b in one -> a + b |]

    squares dimensions |> Array.filter (fun s -> s > 0.0) |> Array.map sqrt

/// ½ Σ tr C⁻¹∂C C⁻¹∂C over the modes of the full grid, one by one.
let private counted count dimensions n =
    let add (sum: Matrix<float>) k =
        let inverse = (matrix count theta k).Inverse()
        let w = derivatives count theta k |> Array.map (fun d -> inverse * d)
        sum + Matrix<float>.Build.Dense(3, 3, (fun a b -> 0.5 * (w[a] * w[b]).Trace()))

    waves dimensions n |> Array.fold add (Matrix<float>.Build.Dense(3, 3))

let private elements (m: Matrix<float>) = m.ToColumnMajorArray()

let private information =
    [ for count, dimensions, n in [ 1, 2, 12; 2, 2, 32; 3, 2, 15; 5, 1, 101; 3, 3, 6 ] do
          tensorTest $"{count} maps, {dimensions}-D of {n}: the Fisher matrix by a plain sum over modes" (fun () ->
              let found = CorrelatedMapsLikelihood.fisher (model count dimensions n) theta
              close 1e-9 (elements found) (elements (counted count dimensions n)) "F"

              let planted =
                  CorrelatedMapsLikelihood.fisher
                      (CorrelatedMaps.create (spectra count) (FourierGrid(dimensions, n, float n))
                       |> CorrelatedMaps.withNoise (Array.create count 0.4))
                      theta

              if count > 1 then
                  Expect.isGreaterThan
                      (relative (elements planted) (elements found))
                      1e-3
                      "planted: the first map's noise in all")

      tensorTest "one map is a field of one spectrum; the number that a user of two maps found" (fun () ->
          let alone =
              SpectrumField.create PowerLaw.spectrum (FourierGrid(2, 16, 16.0)) ModeConvention.Ideal

          let spectra: MapSpectra =
              { Parameters = [| "A"; "B" |]
                Maps = 1
                Power =
                  fun k -> let law = PowerLaw.spectrum.LogPower k in fun t -> (law t).exp().unsqueeze(1L).unsqueeze 1L }

          let one = CorrelatedMaps.create spectra (FourierGrid(2, 16, 16.0))
          let at = [| 0.9; 0.6 |]

          close
              1e-12
              (elements (CorrelatedMapsLikelihood.fisher one at))
              (elements (SpectrumLikelihood.fisher alone at))
              "F"

          let keys = NoiseKey.Range(4UL, 0UL, 3)

          let fields simulator =
              Simulator.fields (doubled simulator) (Tensors.ofVector at) keys
              |> Tensors.toArray

          close
              1e-12
              (fields (CorrelatedMaps.simulator "one" one))
              (fields (SpectrumField.simulator "one" alone))
              "the same fields"
          // shared/universes/03-channels: A/k [[1, r], [r, 1]] + 0.3 on 32², θ = (1, 0.6)
          let two: MapSpectra =
              { Parameters = [| "A"; "r" |]
                Maps = 2
                Power =
                  fun k ->
                      let shape = k.reciprocal () |> Tensors.keep

                      fun t ->
                          let a = t.narrow (1L, 0L, 1L) * shape
                          let x = t.narrow (1L, 1L, 1L) * a
                          torch.stack ([| torch.stack ([| a; x |], 1L); torch.stack ([| x; a |], 1L) |], 1L) }

          let found =
              CorrelatedMaps.create two (FourierGrid(2, 32, 32.0))
              |> CorrelatedMaps.withNoise (Array.create 2 (sqrt 0.3))
              |> CorrelatedMapsLikelihood.fisher

          close 1e-5 (lower (found [| 1.0; 0.6 |])) [| 335.094; -45.3599; 608.634 |] "F of the universe 03") ]

/// ln p of maps (c, n, n) by a dense Gaussian over all their pixels, in the space orthogonal to the means.
let private dense count n (t: float[]) (d: float[]) =
    let pixels = n * n

    let block i j =
        correlationBySums n (float n) (fun k -> if k > 0.0 then (matrix count t k)[i, j] else 0.0)
        |> pixelCovariance n

    let blocks = Array2D.init count count block

    let covariance =
        Matrix<float>
            .Build.Dense(
                count * pixels,
                count * pixels,
                (fun a b -> blocks[a / pixels, b / pixels][a % pixels, b % pixels])
            )

    let evd = covariance.Evd Symmetricity.Symmetric

    let modes =
        evd.EigenVectors.TransposeThisAndMultiply(Vector<float>.Build.DenseOfArray d)

    Seq.zip (evd.EigenValues.Real()) modes
    |> Seq.filter (fun (v, _) -> v > 1e-9)
    |> Seq.sumBy (fun (v, m) -> -0.5 * (log v + m * m / v))

let private likelihood =
    [ tensorTest
          "the likelihood of three maps is that of a dense Gaussian over their pixels; maps exchanged are caught"
          (fun () ->
              let n, count = 5, 3
              let model = model count 2 n
              let d = Simulator.field (CorrelatedMaps.simulator "maps" model |> doubled) theta 3UL
              let points = [| [| 1.0; 0.9; 0.6 |]; [| 1.2; 1.3; 0.6 |]; [| 1.2; 0.9; 0.2 |] |]

              let less f =
                  points |> Array.map (fun t -> f t - f theta)

              let of' (d: Tensor) t =
                  (CorrelatedMapsLikelihood.logLikelihood model d (Tensors.ofRows [| t |])).ToDouble()

              let truth = less (fun t -> dense count n t (Tensors.toArray d))
              close 1e-9 (less (of' d)) truth "ln p differences"
              let exchanged = d.index_select (0L, torch.tensor [| 1L; 0L; 2L |])
              Expect.isGreaterThan (relative (less (of' exchanged)) truth) 1e-3 "planted"

              // rows of θ at once, and its gradient by differences
              let rows =
                  CorrelatedMapsLikelihood.logLikelihood model d (Tensors.ofRows points)
                  |> Tensors.toArray

              close 1e-12 rows (points |> Array.map (of' d)) "a batch"
              let exact = CorrelatedMapsLikelihood.exact model
              let slope = ExactAnswer.score exact d theta

              let by a =
                  let h = 1e-5 in

                  let at s =
                      of' d (theta |> Array.mapi (fun i v -> if i = a then v + s * h else v)) in

                  (at 1.0 - at -1.0) / (2.0 * h)

              close 1e-7 slope (Array.init 3 by) "score")

      for count, dimensions, n in [ 2, 2, 12; 3, 1, 48 ] do
          tensorTest
              $"{count} maps, {dimensions}-D of {n}: the score's covariance is the Fisher matrix; too much noise is caught"
              (fun () ->
                  let model = model count dimensions n
                  let exact = CorrelatedMapsLikelihood.exact model

                  let measured =
                      ExactAnswer.scoreCovariance
                          (CorrelatedMaps.simulator "maps" model)
                          500
                          6UL
                          exact.LogLikelihood
                          theta

                  Expect.isLessThan (fisherDeviation measured (exact.Fisher theta)) 4.5 "deviations in standard errors"
                  let noisier = model |> CorrelatedMaps.withNoise (Array.create count 0.6)

                  Expect.isGreaterThan
                      (fisherDeviation measured (CorrelatedMapsLikelihood.fisher noisier theta))
                      4.5
                      "planted") ]

let private simulator =
    [ tensorTest
          "derivatives of maps agree by rule, automatically and by differences; bits do not depend on the batch"
          (fun () ->
              for count, dimensions, n in [ 3, 2, 8; 2, 1, 33; 2, 3, 4 ] do
                  let simulator = CorrelatedMaps.simulator "maps" (model count dimensions n)
                  derivativesAgree $"{count} maps, {dimensions}-D" (doubled simulator) [| 1e-4; 1e-4; 1e-4 |] theta
                  let keys = NoiseKey.Range(8UL, 0UL, 4)
                  let at = Tensors.ofVector theta
                  let together = Simulator.fields simulator at keys
                  let alone = Simulator.fields simulator at keys[2..2]
                  Expect.equal (Tensors.toArray alone[0]) (Tensors.toArray together[2]) "bits"
                  let rows = Tensors.ofRows [| theta; [| 1.0; 1.1; 0.3 |]; theta; theta |]
                  let each = Simulator.fields simulator rows keys

                  Expect.equal
                      (Tensors.toArray each[2])
                      (Tensors.toArray together[2])
                      "bits, each with its own parameters")

      tensorTest
          "maps that are one another, noise of another number and spectra of another shape are refused"
          (fun () ->
              let grid = FourierGrid(2, 8, 8.0)

              let same =
                  { spectra 2 with
                      Power =
                          fun k ->
                              let s = k.reciprocal().expand(1L, 2L, 2L, -1L).clone() in
                              fun theta -> s * theta.select(1L, 0L).reshape(-1L, 1L, 1L, 1L) }

              let simulator = CorrelatedMaps.simulator "same" (CorrelatedMaps.create same grid)

              refuses<SingularMatrixException> [ "map 2"; "noise" ] (fun () ->
                  Simulator.field simulator theta 1UL |> ignore)

              refuses<SettingException> [ "noise of the maps"; "2" ] (fun () ->
                  CorrelatedMaps.create same grid |> CorrelatedMaps.withNoise [| 0.1 |] |> ignore)

              let flat =
                  { spectra 2 with
                      Power = fun k -> fun _ -> k.unsqueeze 0L }

              refuses<ShapeException> [ "power of correlated maps" ] (fun () ->
                  CorrelatedMapsLikelihood.fisher (CorrelatedMaps.create flat grid) theta
                  |> ignore)

              refuses<ShapeException> [ "observed maps" ] (fun () ->
                  CorrelatedMapsLikelihood.logLikelihood (model 2 2 8) (torch.zeros (8L, 8L))
                  |> ignore)

              let skew =
                  { spectra 2 with
                      Power =
                          fun k ->
                              let law = (spectra 2).Power k in
                              fun t -> let c = law t in c + torch.ones_like(c).triu(1L) * 0.1 }

              refuses<SettingException> [ "symmetric" ] (fun () ->
                  CorrelatedMapsLikelihood.fisher (CorrelatedMaps.create skew grid) theta
                  |> ignore)) ]

let tests = testList "correlated maps" (information @ likelihood @ simulator)
