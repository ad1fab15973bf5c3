/// Whitening before a density is learned: what it finds among outliers, and how curved it lets a regression be. Truth: the linear and curved
/// universes written down here.
module WhiteningTests

open System
open Expecto
open FieldImnn
open MathNet.Numerics.Distributions
open MathNet.Numerics.LinearAlgebra
open TestSupport

let normals (seed: int) n d =
    let random = Random seed
    Array.init n (fun _ -> Array.init d (fun _ -> Normal.Sample(random, 0.0, 1.0)))

/// x = B c + N(0, S) with correlated noise: the truth that a whitening must find.
let private linear n =
    let c = normals 1 n 2
    let e = normals 2 n 2

    let x =
        Array.map2
            (fun (c: float[]) (e: float[]) ->
                [| 5.0 + 2.0 * c[0] - c[1] + 0.1 * e[0]; c[1] + 0.08 * e[0] + 0.06 * e[1] |])
            c
            e

    x, c

/// ln det of a whitening's residual covariance: exactly 2 ln(0.1 · 0.06) for `linear`.
let private spread whitening =
    2.0 * Whitening.logDeterminant whitening

let private truth = 2.0 * log (0.1 * 0.06)

let tests =
    testSequenced
    <| testList
        "whitening"
        [ testCase "one simulation in a hundred that is wild, near or far, leaves the whitening as it was" (fun () ->
              let x, c = linear 2000
              let clean = spread (Whitening.fit x c)
              // exact to the error of 2,000 rows, 2 √(2/2000)
              Expect.isLessThan (abs (clean - truth)) 0.13 $"clean: {clean}"

              for size in [ 3.0; 1e3; 1e9 ] do
                  let wild =
                      x
                      |> Array.mapi (fun i row -> if i % 100 = 7 then row |> Array.map ((+) size) else row)

                  let found = spread (Whitening.fit wild c)
                  Expect.isLessThan (abs (found - clean)) 0.1 $"x off by {size}: {found} for {clean}"

                  let odd =
                      c
                      |> Array.mapi (fun i row -> if i % 100 = 7 then row |> Array.map ((+) size) else row)

                  let found = spread (Whitening.fit x odd)
                  Expect.isLessThan (abs (found - clean)) 0.1 $"conditions off by {size}: {found} for {clean}"

              // planted: a fifth is no outlier but the distribution
              let fifth =
                  x
                  |> Array.mapi (fun i row -> if i % 5 = 2 then row |> Array.map ((+) 3.0) else row)

              Expect.isGreaterThan (spread (Whitening.fit fifth c)) (clean + 1.0) "planted")

          testCase "the regression is as curved as the simulations say and no more" (fun () ->
              let x, c = linear 2000
              Expect.equal (Whitening.fit x c).Degree 1 "a line"

              let curved =
                  Array.map2 (fun (x: float[]) (c: float[]) -> [| x[0] + c[0] * c[1]; x[1] + 0.3 * c[0] ** 3.0 |]) x c

              let fitted = Whitening.fit curved c
              Expect.equal fitted.Degree 3 "a cubic"
              Expect.isLessThan (abs (spread fitted - truth)) 0.15 "its noise is what is left")

          tensorTest
              "residual and restore are each other's inverse, columns that follow from others included"
              (fun () ->
                  let x, c = linear 500

                  let more =
                      x
                      |> Array.map (fun row -> [| row[0]; 7.0; row[1]; row[0] - 2.0 * row[1]; row[0] |])

                  let whitening = Whitening.fit more c
                  Expect.equal whitening.Target.Kept [| 0; 2 |] "kept"
                  let whitened = Whitening.condition whitening (Tensors.ofRows c)
                  let residual = Whitening.residual whitening (Tensors.ofRows more) whitened
                  let back = Whitening.restore whitening residual whitened |> Tensors.toArray
                  close 1e-9 back (Array.concat more) "restored"
                  // the Jacobian, by differences along the residual's axes
                  let step k =
                      let moved = residual.clone ()
                      moved[0, k] <- moved[0, k] + 1.0
                      let x = Whitening.restore whitening moved whitened |> Tensors.toRows |> Array.head
                      [| x[0] - more[0][0]; x[2] - more[0][2] |]

                  let determinant =
                      Matrix<float>.Build.DenseOfColumnArrays([| step 0; step 1 |]).Determinant()

                  Expect.isLessThan
                      (abs (log (abs determinant) - Whitening.logDeterminant whitening))
                      1e-8
                      "ln |∂x/∂residual|") ]
