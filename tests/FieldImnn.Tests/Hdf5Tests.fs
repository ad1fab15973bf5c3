/// HDF5, and posteriors for others' tools. Truths: a file that h5py has made (tests/reference/hdf5.py); what h5py and netCDF4 read of ours, where
/// they are installed; what was written.
module Hdf5Tests

open System
open System.Diagnostics
open System.Globalization
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open TestSupport

let private reference = Path.Combine(root, "tests", "reference", "hdf5.h5")

let private numbers less =
    [| for i in 0..4 do
           for j in 0..2 do
               for k in 0..3 -> float (100 * i + 10 * j + k - less) |]

let private reading =
    [ testCase "every element type, byte order, chunking and filter of a file by h5py" (fun () ->
          for order in [ "little"; "big" ] do
              for name, less in
                  [ "f2", 3
                    "f4", 3
                    "f8", 3
                    "i2", 3
                    "i4", 3
                    "i8", 3
                    "u2", 0
                    "u4", 0
                    "u8", 0 ] do
                  let found = Hdf5.read reference $"{order}/{name}"
                  Expect.equal found.Shape [| 5; 3; 4 |] $"shape of {order} {name}"
                  Expect.equal found.Data (numbers less) $"{order} {name}"

                  Expect.equal
                      found.SinglePrecision
                      (List.contains name [ "f2"; "f4"; "i2"; "u2" ])
                      $"precision of {order} {name}"

          for name in [ "chunked"; "zipped" ] do
              Expect.equal (Hdf5.read reference name).Data (numbers 3) name

          let small = (Hdf5.read reference "small/i1").Data
          Expect.equal small[..3] [| -3.0; -2.0; -1.0; 0.0 |] "signed bytes"
          Expect.equal (Hdf5.read reference "small/u1").Data[59] 123.0 "bytes"
          Expect.containsAll (Hdf5.names reference) [ "little/f2"; "zipped"; "last" ] "names")

      testCase "what is not there, or no numbers, is named" (fun () ->
          refuses<StoreException> [ "hdf5.h5"; "a dataset 'absent'" ] (fun () ->
              Hdf5.read reference "absent" |> ignore)

          refuses<StoreException> [ "'text'"; "numbers" ] (fun () -> Hdf5.read reference "text" |> ignore)
          refuses<StoreException> [ "nothing of that name" ] (fun () -> Hdf5.read "absent.h5" "a" |> ignore)

          inFolder (fun folder ->
              let path = Path.Combine(folder, "no.h5")
              File.WriteAllText(path, "no HDF5")
              refuses<StoreException> [ "no.h5"; "an HDF5 file" ] (fun () -> Hdf5.read path "a" |> ignore)
              refuses<StoreException> [ "no.h5"; "an HDF5 file" ] (fun () -> Hdf5.names path |> ignore)))

      testCase "what is written is read, by its groups" (fun () ->
          inFolder (fun folder ->
              let path = Path.Combine(folder, "own.h5")
              let fields = Npy.single [| 2; 3 |] [| 1.5f; -2.0f; 3.25f; 0.0f; 1e-30f; 7.0f |]
              let theta = Npy.double [| 2; 1 |] [| 0.1; 0.2 |]
              Hdf5.write path [ "set/fields", fields; "set/theta", theta ] [ "parameters", [| "Ω_c"; "b" |] ]
              Expect.equal (Hdf5.read path "set/fields") fields "fields"
              Expect.equal (Hdf5.read path "set/theta") theta "theta"
              Expect.equal (Hdf5.texts path "" "parameters") (Some [| "Ω_c"; "b" |]) "texts"
              Expect.hasLength (Directory.GetFiles folder) 1 "no draft is left")) ]

let private endings = [ ".csv"; ".npz"; ".h5"; ".txt"; ".nc" ]

/// A posterior whose weights differ, within bounds of which one is missing.
let private posterior seed =
    let random = Random(seed: int)

    Posterior.ofSamples
        [| "Ω_c"; "a b/c"; "a b_c" |]
        [| 0.0, 1.0; -infinity, infinity; -1e300, infinity |]
        (Array.init 40 (fun _ ->
            [| random.NextDouble()
               1e10 * random.NextDouble() - 5e9
               random.NextDouble() * 1e-300 |]))
        (Array.init 40 (fun i -> if i % 7 = 3 then 0.0 else random.NextDouble()))

let private files =
    [ testCase "a posterior is the same in every kind of file, to the bit, with its bounds and provenance" (fun () ->
          inFolder (fun folder ->
              for seed in 1..5 do
                  for ending in endings do
                      let path = Path.Combine(folder, "p" + ending)
                      let made = posterior seed
                      let from = "{\"version\":\"Ω\"}"
                      PosteriorFile.writeFrom (Some from) path made
                      let bounds = if ending = ".csv" then Some made.Bounds else None

                      let back =
                          match bounds with
                          | Some bounds -> PosteriorFile.readWithin bounds path
                          | None -> PosteriorFile.read path

                      Expect.equal back made ending
                      let told = if ending = ".csv" then None else Some from
                      Expect.equal (PosteriorFile.provenance path) told $"provenance, {ending}"

              refuses<StoreException> [ ".csv, .npz"; "'.dat'" ] (fun () ->
                  PosteriorFile.write (Path.Combine(folder, "p.dat")) (posterior 1))))

      testCase "the density on a grid or line stays in .npz and .h5" (fun () ->
          inFolder (fun folder ->
              let axis = [| 0.0..0.125..1.0 |]

              let grid =
                  Array2D.init 9 9 (fun i j -> exp (-axis[i] - 2.0 * axis[j] * axis[i]))
                  |> Posterior.ofGrid [| "a"; "b" |] [| 0.0, 1.0; 0.0, 1.0 |] axis axis

              let line = Posterior.ofLine [| "a" |] [| 0.0, 1.0 |] axis (Array.map exp axis)

              for ending in [ ".npz"; ".h5" ] do
                  for made in [ grid; line ] do
                      let path = Path.Combine(folder, "p" + ending)
                      PosteriorFile.write path made
                      Expect.equal (PosteriorFile.read path) made ending))

      testCase "damage is a StoreException, or still a posterior" (fun () ->
          inFolder (fun folder ->
              let random = Random 3

              for ending in [ ".npz"; ".h5"; ".txt"; ".nc" ] do
                  let path = Path.Combine(folder, "p" + ending)
                  PosteriorFile.write path (posterior 1)
                  let whole = File.ReadAllBytes path

                  for _ in 1..40 do
                      let bytes = Array.copy whole

                      for _ in 0 .. random.Next 4 do
                          bytes[random.Next bytes.Length] <- byte (random.Next 256)

                      File.WriteAllBytes(
                          path,
                          (if random.Next 4 = 0 then
                               bytes[.. random.Next bytes.Length]
                           else
                               bytes)
                      )

                      try
                          PosteriorFile.read path |> ignore
                      with :? StoreException ->
                          ()))

      testCase "a chain of others: labels in LaTeX, derived parameters, comments, no ranges" (fun () ->
          inFolder (fun folder ->
              let path = Path.Combine(folder, "chain.txt")
              File.WriteAllText(path, "# a comment\n 2.0e+00  3.5 0.3\t0.8\n1 4.5 0.25 0.75\n")
              File.WriteAllText(Path.ChangeExtension(path, ".paramnames"), "omegac \\Omega_c\nS8* S_8\n")
              let read = PosteriorFile.read path
              Expect.equal read.Names [| "omegac"; "S8" |] "names"
              Expect.equal read.Samples [| [| 0.3; 0.8 |]; [| 0.25; 0.75 |] |] "samples"
              close 1e-15 read.Weights [| 2.0 / 3.0; 1.0 / 3.0 |] "weights"
              File.WriteAllText(path, "1 2 0.3\n")
              refuses<StoreException> [ "4 columns in line 1"; "3" ] (fun () -> PosteriorFile.read path |> ignore)

              // a name that begins as a comment does
              let bounds = Array.create 2 (0.0, 1.0)

              let own =
                  Posterior.ofSamples [| "#h"; "b" |] bounds [| [| 0.5; 0.25 |]; [| 0.75; 0.5 |] |] [| 1.0; 3.0 |]

              PosteriorFile.write path own
              Expect.equal (PosteriorFile.read path).Names own.Names "names of ours"
              Expect.equal (PosteriorFile.read path).Samples own.Samples "samples of ours")) ]

/// What a line of Python prints; the test is skipped where Python or its modules are not there.
let private python (modules: string) (code: string) =
    try
        let run (code: string) =
            use child =
                Process.Start(
                    ProcessStartInfo(
                        "/usr/bin/python3",
                        [ "-c"; code ],
                        RedirectStandardOutput = true,
                        RedirectStandardError = true
                    )
                )

            let output = child.StandardOutput.ReadToEnd()
            let errors = child.StandardError.ReadToEnd()
            child.WaitForExit()
            child.ExitCode, output.Trim(), errors

        match run $"import {modules}" with
        | 0, _, _ ->
            let code, output, errors = run $"import {modules}\n{code}"
            Expect.equal code 0 errors
            output
        | _ -> skiptest $"no {modules} for Python"
    with :? ComponentModel.Win32Exception ->
        skiptest "no Python"

let private others =
    [ testCase "h5py reads our HDF5, netCDF4 our netCDF with its dimensions" (fun () ->
          inFolder (fun folder ->
              let made = posterior 7
              let hdf5, netCdf = Path.Combine(folder, "p.h5"), Path.Combine(folder, "p.nc")
              PosteriorFile.write hdf5 made
              PosteriorFile.write netCdf made

              let numbers (text: string) =
                  text.Split ' '
                  |> Array.map (fun v -> Double.Parse(v, CultureInfo.InvariantCulture))

              let mean = Posterior.mean made

              let weighted =
                  python
                      "h5py"
                      $"f = h5py.File('{hdf5}')\nw = f['weights'][:]\ns = f['samples'][:]\nprint(s.shape[0], f.attrs['parameters'][0] == 'Ω_c', *(w @ s))"

              Expect.stringStarts weighted "40 True " "shape and names"
              close 1e-12 (numbers weighted[8..]) mean "means"

              let layout =
                  python
                      "netCDF4"
                      $"g = netCDF4.Dataset('{netCdf}')['posterior']\nv = g['Ω_c']\nprint(*v.dimensions, v.shape[0], v.shape[1] == len(g['draw'][:]), v[:].mean())"

              Expect.stringStarts layout "chain draw 1 True " "dimensions"
              let error = (Posterior.sd made)[0] / sqrt (Posterior.effectiveSize made)

              Expect.isLessThan
                  (abs ((numbers layout[18..])[0] - mean[0]))
                  (0.1 * error)
                  "mean of draws of equal weight")) ]

let tests = testSequenced <| testList "HDF5" (reading @ files @ others)
