/// Posteriors in CSV come back as they were written; those of others are read; damage is named.
module PosteriorFileTests

open System
open System.IO
open System.Text
open Expecto
open FieldImnn
open FieldImnn.Core
open TestSupport

let private cases =
    { FsCheckConfig.defaultConfig with
        maxTest = 200 }

/// A posterior of one to four parameters with awkward names, samples of every size and weights some of which are 0.
let private posteriorOf (seed: int) =
    let random = Random seed
    let names = [| "Ω_c"; "a, \"b\""; "c\r\nd"; "weight"; "\""; "#h" |]
    let parameters = 1 + random.Next 4

    let number _ =
        match random.Next 6 with
        | 0 -> -0.0
        | 1 -> 5e-324
        | _ -> (random.NextDouble() - 0.5) * 10.0 ** float (random.Next(-300, 300))

    let samples =
        Array.init (1 + random.Next 20) (fun _ -> Array.init parameters number)

    let weights =
        samples
        |> Array.mapi (fun i _ ->
            if i > 0 && random.Next 4 = 0 then
                0.0
            else
                random.NextDouble() + 1e-3)

    Posterior.ofSamples
        (random.GetItems(names, names.Length)
         |> Array.append names
         |> Array.distinct
         |> Array.truncate parameters)
        (Array.create parameters (-infinity, infinity))
        samples
        weights

let private bits (posterior: Posterior) =
    let ofRow = Array.map (fun (v: float) -> BitConverter.DoubleToInt64Bits v)
    posterior.Names, posterior.Bounds, Array.map ofRow posterior.Samples, ofRow posterior.Weights

let private reading (text: string) (check: (unit -> Posterior) -> unit) =
    inFolder (fun folder ->
        let path = Path.Combine(folder, "posterior.csv")
        File.WriteAllText(path, text)
        check (fun () -> PosteriorFile.read path))

let private foreign =
    testList
        "of others"
        [ for what, text in
              [ "without weights", "a,b\n1,2\n3,4\n"
                "from Windows, with a byte order mark", "\uFEFFa,b\r\n1,2\r\n\r\n3,4\r\n"
                "with weights that sum to 4", "a,b,weight\n1,2,2\n3,4,2"
                "with quotes and exponents", "\"a\",\"b\",\"weight\"\n\"1\",2.0e0,0.5\n3.00,+4,5e-1\n" ] do
              testCase what (fun () ->
                  reading text (fun read ->
                      let posterior = read ()
                      Expect.equal posterior.Names [| "a"; "b" |] "names"
                      Expect.equal posterior.Samples [| [| 1.0; 2.0 |]; [| 3.0; 4.0 |] |] "samples"
                      Expect.equal posterior.Weights [| 0.5; 0.5 |] "weights"))

          for what, text, words in
              [ "no line", "", [ "line of names"; "empty file" ]
                "no samples", "a,b\n", [ "at least one sample" ]
                "a short line", "a,b\n1,2\n3\n", [ "2 fields in line 3"; "1" ]
                "a word", "a,b\n1,2\n\n3,four\n", [ "b in line 4"; "'four'" ]
                "a comma for a point", "a;weight\n0,5;1\n", [ "1 fields in line 2"; "2" ]
                "NaN", "a\nNaN\n", [ "a in line 2"; "'NaN'" ]
                "open quotes", "a,\"b\n1,2\n", [ "quotes"; "line 1" ]
                "weights below zero", "a,weight\n1,-1\n2,2\n", [ "weights ≥ 0" ]
                "names that are not told apart", "a,a\n1,2\n", [ "different names" ]
                "weights alone", "weight\n1\n", [ "at least one parameter" ] ] do
              testCase $"refused: {what}" (fun () ->
                  reading text (fun read ->
                      refuses<StoreException> ("posterior.csv" :: words) (fun () -> read () |> ignore))) ]

let tests =
    testList
        "posterior files"
        [ testPropertyWithConfig cases "what is written comes back to the bit" (fun (seed: int) ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "posterior.csv")
                  let posterior = posteriorOf seed
                  PosteriorFile.write path posterior
                  Expect.equal (bits (PosteriorFile.read path)) (bits posterior) "the posterior"))

          testPropertyWithConfig cases "damage is a StoreException, or still a posterior" (fun (seed: int) ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "posterior.csv")
                  PosteriorFile.write path (posteriorOf seed)
                  let bytes = File.ReadAllBytes path
                  let random = Random seed

                  for _ in 0 .. random.Next 4 do
                      bytes[random.Next bytes.Length] <- byte (random.Next 256)

                  File.WriteAllBytes(path, bytes[.. random.Next bytes.Length])

                  try
                      PosteriorFile.read path |> ignore
                  with :? StoreException ->
                      ()))

          testCase "a posterior on a grid comes back as its points, with the same means" (fun () ->
              inFolder (fun folder ->
                  let axis = [| -2.0 .. 0.25..2.0 |]

                  let density =
                      Array2D.init 17 17 (fun i j -> exp (-axis[i] ** 2.0 - (axis[j] - 0.5) ** 2.0))

                  let grid =
                      Posterior.ofGrid [| "a"; "b" |] [| (-2.0, 2.0); (-2.0, 2.0) |] axis axis density

                  let path = Path.Combine(folder, "posterior.csv")
                  PosteriorFile.write path grid
                  let back = PosteriorFile.readWithin grid.Bounds path
                  Expect.equal (bits back) (bits grid) "names, bounds, points and weights"
                  Expect.equal (Posterior.mean back) (Posterior.mean grid) "means"))

          testCase "samples outside the bounds that are asked for are refused" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "posterior.csv")
                  File.WriteAllText(path, "a\n0.5\n1.5\n")

                  refuses<StoreException> [ "posterior.csv"; "a in 0 … 1"; "1.5" ] (fun () ->
                      PosteriorFile.readWithin [| (0.0, 1.0) |] path |> ignore)))

          testCase "no file is a StoreException" (fun () ->
              refuses<StoreException> [ "absent.csv" ] (fun () -> PosteriorFile.read "absent.csv" |> ignore))

          testCase "bytes that are no text are refused" (fun () ->
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "posterior.csv")
                  File.WriteAllBytes(path, [| 0x61uy; 0xFFuy; 0xFEuy; 0x0Auy |])
                  refuses<StoreException> [ "posterior.csv"; "UTF-8" ] (fun () -> PosteriorFile.read path |> ignore)))

          foreign ]
