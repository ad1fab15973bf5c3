/// A table of malformed inputs: what is done, the error that it must give, and words that its message must hold.
module MalformedEntryTests

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open DoorTests
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private fiducial = [| 1.0; 0.5 |]

let private prior = Prior.uniform [ "s", 0.5, 1.5; "m", -1.0, 1.0 ]

let private keys = NoiseKey.Range(1UL, 0UL, 3)

let private train change () =
    Imnn.train (change short) good fiducial |> ignore

let private bytesOf (text: string) = Text.Encoding.UTF8.GetBytes text

let private header (text: string) =
    let text = text + "\n"

    Array.concat
        [ [| 0x93uy; 0x4Euy; 0x55uy; 0x4Duy; 0x50uy; 0x59uy; 1uy; 0uy |]
          BitConverter.GetBytes(uint16 text.Length)
          bytesOf text ]

let private npy bytes () = Npy.ofBytes "f.npy" bytes |> ignore

let private field values shape () =
    Npy.double shape values |> ObservedField.ofArray "field" shape |> ignore

let private pixels change =
    let values = Array.init 16 (fun i -> sin (float i))
    values[5] <- change
    values

let private row<'error when 'error :> FieldImnnException> name words (action: unit -> unit) =
    testCase name (fun () ->
        use _ = torch.NewDisposeScope()
        refuses<'error> words action)

let private simulators =
    [ row<ShapeException> "fields at θ of three" [ "2 (s, m)"; "(3)" ] (fun () ->
          Simulator.fields good (Tensors.ofVector [| 1.0; 2.0; 3.0 |]) keys |> ignore)
      row<ShapeException> "fields at a θ that is a number" [ "parameters θ" ] (fun () ->
          Simulator.fields good (torch.tensor 1.0) keys |> ignore)
      row<ShapeException> "fields at two θ with three keys" [ "1 or 3 rows"; "2" ] (fun () ->
          Simulator.fields good (Tensors.ofRows [| fiducial; fiducial |]) keys |> ignore)
      row<NonFiniteException> "fields at a θ of NaN" [ "parameters θ"; "1 NaN" ] (fun () ->
          Simulator.fields good (Tensors.ofVector [| nan; 0.5 |]) keys |> ignore)
      row<ShapeException> "no simulator's field at θ of one" [ "2 (s, m)" ] (fun () ->
          Simulator.field good [| 1.0 |] 1UL |> ignore)
      row<SettingException> "derivatives of stored simulations, simulated" [ "Precomputed" ] (fun () ->
          let set =
              StoredSimulations.ofTensors (torch.zeros (4L, 8L, 8L)) (torch.zeros (4L, 2L, 8L, 8L))

          Simulator.withDerivatives good (Precomputed(set, set)) (Tensors.ofVector fiducial) keys
          |> ignore)
      row<SettingException> "a step of zero" [ "steps"; "0.1, 0" ] (fun () ->
          Simulator.withDerivatives good (FiniteDifference [| 0.1; 0.0 |]) (Tensors.ofVector fiducial) keys
          |> ignore)
      row<SettingException> "one step for two parameters" [ "2 numbers" ] (fun () ->
          Simulator.withDerivatives good (FiniteDifference [| 0.1 |]) (Tensors.ofVector fiducial) keys
          |> ignore)
      row<ShapeException>
          "a rule that forgets a parameter"
          [ "derivatives of white"; "(3, 2, 8, 8)"; "(3, 1, 8, 8)" ]
          (fun () ->
              let rule =
                  { good with
                      Tangents = Some(fun t z -> struct (good.Field (t.unsqueeze 0L) z, z.unsqueeze 1L)) }

              Simulator.withDerivatives rule Autodiff (Tensors.ofVector fiducial) keys
              |> ignore)
      row<SettingException> "noise of −1" [ "standard deviation of the noise"; "-1" ] (fun () ->
          Observation.noisy (White -1.0) good |> ignore)
      row<SettingException> "noise of NaN" [ "standard deviation of the noise" ] (fun () ->
          Observation.noisy (White nan) good |> ignore)
      row<ShapeException> "a mask of another shape" [ "mask"; "(8, 8)"; "(4, 4)" ] (fun () ->
          Observation.masked (torch.ones (4L, 4L)) good |> ignore)
      row<RangeException> "a mask of NaN" [ "mask"; "NaN" ] (fun () ->
          Observation.masked (torch.full (8L, 8L, nan)) good |> ignore)
      row<RangeException> "a mask that hides all" [ "some pixels" ] (fun () ->
          Observation.masked (torch.zeros (8L, 8L)) good |> ignore) ]

let private trainings =
    [ row<ShapeException> "a fiducial of three" [ "2 numbers"; "3" ] (fun () ->
          Imnn.train short good [| 1.0; 0.5; 0.1 |] |> ignore)
      row<NonFiniteException> "a fiducial of NaN" [ "parameters θ" ] (fun () ->
          Imnn.train short good [| nan; 0.5 |] |> ignore)
      row<SettingException>
          "no derivatives a step"
          [ "n_d"; "0" ]
          (train (fun s -> { s with DerivativeSimulations = 0 }))
      row<SettingException> "no iterations" [ "iterations"; "0" ] (train (fun s -> { s with MaxIterations = 0 }))
      row<SettingException> "a rate of NaN" [ "learning rate"; "NaN" ] (train (fun s -> { s with LearningRate = nan }))
      row<SettingException> "chunks of nothing" [ "chunk" ] (train (fun s -> { s with Chunk = 0 }))
      row<SettingException> "few held out" [ "held-out simulations"; "3" ] (train (fun s -> { s with HeldOut = 3 }))
      row<SettingException> "few to quote on" [ "quote"; "3" ] (train (fun s -> { s with Quote = 3 }))
      row<SettingException>
          "a bank of no filters"
          [ "filters"; "0" ]
          (train (fun s ->
              { s with
                  Features = Features.filterBank 0 3 1 }))
      row<SimulatorException>
          "band powers for a parameter that moves the mean"
          [ "bandPower"; "parameter 2 (m)"; "cannot see it" ]
          (train (fun s ->
              { s with
                  Features = Features.bandPower 3 }))
      row<SettingException> "a λ of NaN" [ "λ" ] (train (fun s -> { s with Loss = Regularised(nan, 0.1) }))
      row<ShapeException>
          "stored fields of another shape"
          [ "stored simulations"; "(batch, 8, 8)"; "(4, 4, 4)" ]
          (fun () ->
              let set =
                  StoredSimulations.ofTensors (torch.zeros (4L, 4L, 4L)) (torch.zeros (4L, 2L, 4L, 4L))

              train
                  (fun s ->
                      { s with
                          Derivatives = Precomputed(set, set) })
                  ())
      row<NonFiniteException> "stored derivatives of NaN" [ "derivatives of stored simulations" ] (fun () ->
          let set =
              StoredSimulations.ofTensors (torch.randn (100L, 8L, 8L)) (torch.ones (100L, 2L, 8L, 8L) * nan)

          train
              (fun s ->
                  { s with
                      Derivatives = Precomputed(set, set) })
              ())
      row<NonFiniteException> "summaries of NaN" [ "summaries" ] (fun () ->
          Fisher.ofSummaries (torch.full (20L, 2L, nan)) (torch.ones (20L, 2L, 2L))
          |> ignore)
      row<SettingException> "no derivatives of summaries" [ "at least one" ] (fun () ->
          Fisher.statistics (torch.randn (20L, 2L)) (torch.ones (0L, 2L, 2L)) |> ignore)
      row<SingularMatrixException> "a summary that is constant" [ "summary 2 of 2 the same in all 20" ] (fun () ->
          let x = torch.cat ([| torch.randn (20L, 1L); torch.ones (20L, 1L) |], 1L)
          Fisher.ofSummaries x (torch.ones (20L, 2L, 2L)) |> ignore) ]

let private matrices =
    [ row<ShapeException> "rows of two lengths" [ "rows of a matrix"; "2 numbers"; "1" ] (fun () ->
          Tensors.ofRows [| [| 1.0; 2.0 |]; [| 3.0 |] |] |> ignore)
      row<ShapeException> "the rows of a vector" [ "two axes"; "(3)" ] (fun () ->
          Tensors.toRows (torch.ones (3L)) |> ignore)
      row<ShapeException> "the number in two" [ "one element"; "(2)" ] (fun () ->
          Tensors.toNumber (torch.ones (2L)) |> ignore)
      row<ShapeException> "the inverse of a matrix that is not square" [ "C"; "square"; "2 × 3" ] (fun () ->
          Matrices.inverse "C" (Matrix<float>.Build.Dense(2, 3, 1.0)) |> ignore)
      row<SingularMatrixException> "the inverse of NaN" [ "C"; "NaN" ] (fun () ->
          Matrices.inverse "C" (Matrix<float>.Build.Dense(2, 2, nan)) |> ignore)
      row<SingularMatrixException> "the inverse of a zero" [ "C"; "diagonal" ] (fun () ->
          Matrices.inverse "C" (Matrix<float>.Build.Dense(2, 2)) |> ignore) ]

let private stores =
    [ row<StoreException> "an empty .npy" [ "f.npy"; "an empty file" ] (npy [||])
      row<StoreException> "a pickle" [ "pickle" ] (npy [| 0x80uy; 4uy; 0x95uy; 0uy; 0uy; 0uy |])
      row<StoreException> "a .npz as a .npy" [ "zip archive" ] (npy (bytesOf "PK\003\004\020\000\000\000"))
      row<StoreException> "a header of no dictionary" [ "a header" ] (npy (header "hello"))
      row<StoreException>
          "a structured dtype"
          [ "structured" ]
          (npy (header "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }"))
      row<StoreException>
          "complex numbers"
          [ "dtype '<c8' (complex)" ]
          (npy (header "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"))
      row<StoreException>
          "a negative length"
          [ "shape" ]
          (npy (header "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"))
      row<StoreException>
          "a shape beyond memory"
          [ "at most" ]
          (npy (header "{'descr': '<f8', 'fortran_order': False, 'shape': (2000000000, 2000000000), }"))
      row<StoreException>
          "data that are not there"
          [ "8 bytes"; "truncated" ]
          (npy (header "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }"))
      row<StoreException> "an .npz of text" [ "zip archive" ] (fun () ->
          Npz.ofBytes "f.npz" (bytesOf "hello") |> ignore)
      row<StoreException> "an array that an .npz has not" [ "an array 'x'"; "none" ] (fun () ->
          Npz.array "f.npz" "x" Npz.empty |> ignore)
      row<StoreException> "a compressor that is no zip" [ "c.imnn" ] (fun () ->
          inFolder (fun folder ->
              let path = Path.Combine(folder, "c.imnn")
              File.WriteAllText(path, "hello")
              CompressorFile.load path |> ignore))
      row<StoreException> "a compressor that is not there" [ "nothing of that name" ] (fun () ->
          inFolder (fun folder -> CompressorFile.load (Path.Combine(folder, "c.imnn")) |> ignore))
      row<StoreException> "a folder as a compressor" [ "a folder" ] (fun () ->
          inFolder (fun folder -> CompressorFile.load folder |> ignore)) ]

let private observed =
    [ row<ShapeException> "a field of another shape" [ "field"; "(8, 8)"; "(4, 4)" ] (fun () ->
          Npy.double [| 4; 4 |] (pixels 0.1)
          |> ObservedField.ofArray "field" [| 8; 8 |]
          |> ignore)
      row<NonFiniteException> "a pixel of NaN" [ "1 NaN"; "(1, 1)" ] (field (pixels nan) [| 4; 4 |])
      row<RangeException>
          "a pixel that HEALPix did not see"
          [ "-1.6375E+30"; "sentinel"; "1 of 16"; "(1, 1)" ]
          (field (pixels -1.6375e30) [| 4; 4 |])
      row<RangeException> "a pixel of netCDF's fill" [ "sentinel" ] (field (pixels 9.96921e36) [| 4; 4 |])
      row<RangeException> "a pixel of −9999" [ "-9999"; "sentinel" ] (field (pixels -9999.0) [| 4; 4 |])
      row<RangeException> "most pixels of −999" [ "-999"; "12 of 16" ] (fun () ->
          let values = Array.init 16 (fun i -> if i < 12 then -999.0 else sin (float i))
          field values [| 4; 4 |] ())
      row<RangeException> "a field that was never filled in" [ "varies"; "0 in all of 16" ] (fun () ->
          Npy.double [| 4; 4 |] (Array.zeroCreate 16)
          |> ObservedField.requireVariation "field"
          |> ignore)
      testCase "fields of large numbers, with zeros or of −99 among hundreds, are fields" (fun () ->
          for values in
              [ pixels 0.0
                pixels 0.0 |> Array.map (fun v -> v * 1e25)
                Array.init 16 (fun i -> if i = 3 then -99.0 else 100.0 * sin (float i))
                Array.init 16 (fun i -> if i % 2 = 0 then -9999.0 else 9000.0 + float i) ] do
              field values [| 4; 4 |] ()) ]

let private priors =
    [ row<SettingException> "a prior of nothing" [ "at least one parameter" ] (fun () -> Prior.create [] |> ignore)
      row<SettingException> "a parameter without a name" [ "each with a name" ] (fun () ->
          Prior.uniform [ " ", 0.0, 1.0 ] |> ignore)
      row<SettingException> "a name twice" [ "different names" ] (fun () ->
          Prior.uniform [ "a", 0.0, 1.0; "a", 0.0, 1.0 ] |> ignore)
      row<SettingException> "bounds the other way round" [ "prior of a"; "lo < hi" ] (fun () ->
          Prior.uniform [ "a", 1.0, 0.0 ] |> ignore)
      row<SettingException> "bounds of NaN" [ "prior of a" ] (fun () -> Prior.uniform [ "a", nan, 1.0 ] |> ignore)
      row<SettingException> "an sd of zero" [ "standard deviation" ] (fun () ->
          Prior.create [ "a", Normal(0.0, 0.0) ] |> ignore)
      row<SettingException> "a cut that leaves nothing" [ "leave some" ] (fun () ->
          Prior.create [ "a", TruncatedNormal(0.0, 1.0, 50.0, 60.0) ] |> ignore)
      row<ShapeException> "a density of three parameters" [ "2 (s, m)"; "3" ] (fun () ->
          Prior.logDensity prior [| 1.0; 2.0; 3.0 |] |> ignore)
      row<RangeException> "θ outside" [ "s"; "7" ] (fun () -> Prior.require "θ" prior [| 7.0; 0.0 |] |> ignore)
      row<RangeException> "refitting at a fiducial of NaN" [ "fiducial"; "NaN" ] (fun () ->
          Refit.run
              Progress.silent
              true
              1.0
              (fun _ _ _ -> failwith "not reached")
              Compressor.estimates
              prior
              [| nan; 0.0 |]
              1
              (torch.zeros (1L, 8L, 8L))
          |> ignore)
      row<SettingException> "draws of −1" [ "number of draws"; "-1" ] (fun () -> Prior.sample 1 0L -1 prior |> ignore)
      row<SettingException> "chunks of no simulations" [ "chunk"; "0" ] (fun () ->
          Simulations.run (chunks 0) good Tensors.toRows 1UL "test" [| fiducial |]
          |> ignore)
      row<SettingException> "a prior of other names" [ "in its order: s, m"; "x, y" ] (fun () ->
          Door.inference good (Prior.uniform [ "x", 0.0, 1.0; "y", 0.0, 1.0 ]) 1UL) ]

let tests =
    testList "malformed entries" (simulators @ trainings @ matrices @ stores @ observed @ priors)
