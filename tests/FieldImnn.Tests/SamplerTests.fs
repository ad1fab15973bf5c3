/// Samplers where they used to fail in silence: walkers that cannot leave a plane, chains that stand still, scales far apart.
module SamplerTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open MathNet.Numerics.Distributions
open TestSupport
open TorchSharp

let private normals seed n d (f: float[] -> float[]) =
    let random = Random(seed: int)
    Array.init n (fun _ -> f (Array.init d (fun _ -> Normal.Sample(random, 0.0, 1.0))))

let private gaussian (rows: float[][]) =
    rows |> Array.map (fun t -> -0.5 * Array.sumBy (fun v -> v * v) t)

let private deviation (values: float[]) =
    MathNet.Numerics.Statistics.Statistics.StandardDeviation values

let private walkers =
    testList
        "walkers"
        [ for name, start, word in
              [ "all at one value of a parameter", normals 3 20 2 (fun z -> [| z[0]; 0.3 |]), "parameter 1"
                "on a line", normals 3 20 2 (fun z -> [| z[0]; 2.0 * z[0] |]), "plane"
                "in a plane of three dimensions", normals 3 20 3 (fun z -> [| z[0]; z[1]; z[0] - 1e3 * z[1] |]), "plane"
                "all in one point", Array.init 20 (fun _ -> [| 0.1; 0.3 |]), "parameter 0" ] do
              testCase $"walkers {name} are refused" (fun () ->
                  refuses<RangeException> [ "span all"; word ] (fun () ->
                      EnsembleSampler.run 1 10 10 gaussian start |> ignore))

          testCase "too few walkers, an odd number, NaN, and log densities that are none are refused" (fun () ->
              let run n d () =
                  EnsembleSampler.run 1 10 10 gaussian (normals 3 n d id) |> ignore

              refuses<SettingException> [ "at least 12" ] (run 10 6)
              refuses<SettingException> [ "even" ] (run 11 2)

              refuses<NonFiniteException> [ "starting points" ] (fun () ->
                  EnsembleSampler.run 1 10 10 gaussian (normals 3 10 2 (fun z -> [| z[0]; nan |])) |> ignore)

              refuses<NonFiniteException> [ "log density" ] (fun () ->
                  EnsembleSampler.run 1 10 10 (Array.map (fun t -> log (1.0 - t[0] * t[0]))) (normals 3 10 2 (Array.map (fun z -> 0.1 * z)))
                  |> ignore)

              refuses<NonFiniteException> [ "log weights" ] (fun () ->
                  EnsembleSampler.start 1 10 [| nan |] [| [| 0.0 |] |] |> ignore)

              refuses<ShapeException> [ "candidates" ] (fun () -> EnsembleSampler.start 1 10 [||] [||] |> ignore))

          testCase "scales of 1e-9 and 1e9 span the plane as well, and have their sds" (fun () ->
              let scales = [| 1e-9; 1e9 |]
              let log' (rows: float[][]) = rows |> Array.map (Array.map2 (fun s v -> v / s) scales) |> gaussian
              let result = EnsembleSampler.run 1 200 3000 log' (normals 3 20 2 (Array.map2 (*) scales))

              for k in 0..1 do
                  let sd = deviation (result.Samples |> Array.map (fun s -> s[k] / scales[k]))
                  Expect.isLessThan (abs (sd - 1.0)) 0.05 $"sd {sd:F3}"

              Expect.isEmpty result.Warnings "long enough")

          testCase "a chain that is short against its own autocorrelation says so; a long one does not" (fun () ->
              let run steps =
                  (EnsembleSampler.run 1 100 steps gaussian (normals 3 20 2 id)).Warnings

              Expect.exists (run 100) (fun w -> w.Contains "autocorrelation") "short"
              Expect.isEmpty (run 4000) "long") ]

let private chains =
    testList
        "chains"
        [ testCase "chains that stand still, for one half at least, are worth nothing, wherever they stand" (fun () ->
              let random = Random 1
              let white () = Array.init 1000 (fun _ -> Normal.Sample(random, 0.0, 1.0))
              let constant = Array.init 4 (fun _ -> Array.create 100 1.0)
              let stuck = [| Array.create 1000 0.0; white (); white (); white () |]
              let late = [| white () |> Array.mapi (fun i v -> if i < 500 then v else 0.1); white (); white () |]

              for chains in [ constant; stuck; late ] do
                  Expect.equal (ChainDiagnostics.rHat chains) infinity "R̂"
                  Expect.equal (ChainDiagnostics.effectiveSizeOfMoments chains) 0.0 "worth"

              let whole = Array.init 4 (fun _ -> white ())
              Expect.isLessThan (ChainDiagnostics.rHat whole) 1.01 "R̂ of white noise"
              Expect.isGreaterThan (ChainDiagnostics.effectiveSizeOfMoments whole) 2500.0 "its worth"
              let holed = whole |> Array.map Array.copy
              holed[2][5] <- nan
              refuses<NonFiniteException> [ "finite draws" ] (fun () -> ChainDiagnostics.rHat holed |> ignore)

              refuses<NonFiniteException> [ "finite" ] (fun () ->
                  EnsembleSampler.autocorrelationTime holed |> ignore)) ]

let private hmc settings (sds: float[]) =
    let scale = Tensors.ofVector sds

    let logDensity (t: Tensor) =
        ((t / scale).square().sum 1L) * (-0.5).ToScalar()

    let start = normals 9 8 sds.Length (Array.map2 (*) sds) |> Tensors.ofRows
    HamiltonianMonteCarlo.run settings logDensity id start

let private hamiltonian =
    testList
        "Hamiltonian"
        [ for sds in [ [| 1.0; 1e-3 |]; [| 1.0; 1e-5 |]; [| 1e-9; 1e-9 |]; [| 1e-5; 1e4 |] ] do
              tensorTest $"scales %A{sds} mix" (fun () ->
                  let result = hmc { HmcSettings.Default with Warmup = 300; Draws = 400 } sds

                  for k in 0 .. sds.Length - 1 do
                      let sd = result.Draws |> Array.collect (Array.map (fun v -> v[k])) |> deviation
                      Expect.isLessThan (abs (sd / sds[k] - 1.0)) 0.1 $"sd {k}: {sd / sds[k]:F3}"

                  Expect.isEmpty result.Warnings "nothing against it")

          tensorTest "chains that do not mix say so" (fun () ->
              // two peaks 40 sds apart, chains on both
              let logDensity (t: Tensor) =
                  ((t.abs () - 20.0.ToScalar()).square().sum 1L) * (-0.5).ToScalar()

              let start = Array.init 8 (fun c -> [| (if c % 2 = 0 then 20.0 else -20.0) |]) |> Tensors.ofRows
              let settings = { HmcSettings.Default with Warmup = 100; Draws = 100 }
              let result = HamiltonianMonteCarlo.run settings logDensity id start
              Expect.exists result.Warnings (fun w -> w.Contains "R̂") "R̂"
              Expect.exists result.Warnings (fun w -> w.Contains "worth") "worth") ]

let tests = testList "samplers" [ walkers; chains; hamiltonian ]
