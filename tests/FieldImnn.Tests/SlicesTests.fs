/// Simulations in files, of which a part is read at a time. Truths: the same simulations in memory; files by h5py; arrays whose elements say
/// where they stand.
module SlicesTests

open System
open System.IO
open System.Text
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TestSupport
open TorchSharp

let private reference = Path.Combine(root, "tests", "reference", "hdf5.h5")

/// Element [i, j, k] of the reference's arrays is 100 i + 10 j + k − 3.
let private expected (places: int[]) =
    [| for i in places do
           for j in 0..2 do
               for k in 0..3 -> float (100 * i + 10 * j + k - 3) |]

let private array (t: Tensor) = Tensors.toArray t

/// A .npy file of any type and order, from its header's words and its bytes.
let private npy path descr fortran (shape: string) (data: byte[]) =
    let text =
        $"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"

    let head = [| 0x93uy; yield! "NUMPY"B; 1uy; 0uy; byte text.Length; 0uy |]
    File.WriteAllBytes(path, Array.concat [ head; Encoding.Latin1.GetBytes text; data ])

let private sources =
    [ tensorTest "rows of HDF5 in any order, whatever its layout and the order of its axes" (fun () ->
          let read name axes =
              SliceFiles.read 2 axes (Some name) reference

          for name in [ "little/f4"; "big/f8"; "little/i2"; "big/i8"; "chunked"; "zipped" ] do
              let slices = read name None
              Expect.equal (slices.Count, slices.Shape) (5, [| 3L; 4L |]) name

              for places in [ [| 0..4 |]; [| 3 |]; [| 4; 0; 2 |]; [| 1; 1; 3; 1 |] ] do
                  let found = Slices.rows places slices
                  Expect.equal found.shape [| int64 places.Length; 3L; 4L |] "shape"
                  Expect.equal (array found) (expected places) $"{name} %A{places}"

          let last = read "last" (Some "xyn")
          Expect.equal (array (Slices.rows [| 4; 0; 1 |] last)) (expected [| 4; 0; 1 |]) "simulations last"
          let turned = Slices.rows [| 2; 1 |] (read "little/f4" (Some "nyx"))
          Expect.equal (array (turned.transpose (1L, 2L))) (expected [| 2; 1 |]) "sides turned"
          let one = SliceFiles.read 3 None (Some "little/f4") reference
          Expect.equal (one.Count, one.Shape) (1, [| 5L; 3L; 4L |]) "without an axis of simulations: one"
          Expect.equal (array (Slices.range 0 1 one)) (expected [| 0..4 |]) "it"
          refuses<SettingException> [ "axes"; "'nxn'" ] (fun () -> read "last" (Some "nxn") |> ignore)

          refuses<ShapeException> [ "5 axes"; "(5, 3, 4)" ] (fun () ->
              SliceFiles.read 4 None (Some "little/f4") reference |> ignore))

      tensorTest "rows of .npy of any type, in C's order and in Fortran's" (fun () ->
          inFolder (fun folder ->
              let path = Path.Combine(folder, "a.npy")
              let numbers = expected [| 0..4 |]
              let bytes f = numbers |> Array.collect f

              for descr, data in
                  [ "<f4", bytes (float32 >> BitConverter.GetBytes)
                    ">f4", bytes (float32 >> BitConverter.GetBytes >> Array.rev)
                    "<f8", bytes BitConverter.GetBytes
                    "<i2", bytes (int16 >> BitConverter.GetBytes)
                    ">i4", bytes (int >> BitConverter.GetBytes >> Array.rev)
                    "<f2", bytes (fun v -> BitConverter.GetBytes(Half.op_Explicit v: Half)) ] do
                  npy path descr "False" "(5, 3, 4)" data
                  let slices = SliceFiles.read 2 None None path

                  for places in [ [| 0..4 |]; [| 3; 0 |]; [| 1; 2; 3 |] ] do
                      Expect.equal (array (Slices.rows places slices)) (expected places) descr

                  // the same bytes are Fortran's of the axes turned round
                  npy path descr "True" "(4, 3, 5)" data
                  let turned = SliceFiles.read 2 (Some "yxn") None path
                  Expect.equal (array (Slices.rows [| 4; 1 |] turned)) (expected [| 4; 1 |]) $"{descr}, Fortran's"
                  npy path descr "False" "(3, 4, 5)" data
                  let last = Slices.rows [| 1; 2; 4 |] (SliceFiles.read 2 (Some "xyn") None path)
                  let all = torch.tensor(numbers).reshape(3L, 4L, 5L).permute(2L, 0L, 1L)
                  Expect.equal (array last) (array (Tensors.rows [| 1; 2; 4 |] all)) $"{descr}, simulations last"

              npy path "<f4" "False" "(5, 3, 4)" [| 0uy |]
              refuses<StoreException> [ "a.npy"; "bytes" ] (fun () -> SliceFiles.read 2 None None path |> ignore)
              npy path "<c8" "False" "(5, 3, 4)" [| 0uy |]
              refuses<StoreException> [ "complex" ] (fun () -> SliceFiles.read 2 None None path |> ignore)))

      tensorTest
          "a folder of files is one array, in the order of their names; NaN is named by its simulation"
          (fun () ->
              inFolder (fun folder ->
                  let field i = expected [| i |] |> Array.map float32

                  Npy.write
                      (Path.Combine(folder, "a-000.npy"))
                      (Npy.single [| 2; 3; 4 |] (Array.append (field 0) (field 1)))

                  Npy.write (Path.Combine(folder, "a-001.npy")) (Npy.single [| 3; 4 |] (field 2))

                  Npz.write
                      (Path.Combine(folder, "a-002.npz"))
                      { Npz.empty with
                          Arrays = Map [ "any", Npy.single [| 1; 3; 4 |] (field 3) ] }

                  Hdf5.write (Path.Combine(folder, "a-003.h5")) [ "d", Npy.single [| 1; 3; 4 |] (field 4) ] []
                  let slices = SliceFiles.read 2 None None folder
                  Expect.equal slices.Count 5 "all of them"

                  for places in [ [| 0..4 |]; [| 4; 2; 0; 3 |]; [| 1 |] ] do
                      Expect.equal (array (Slices.rows places slices)) (expected places) $"%A{places}"

                  Npy.write (Path.Combine(folder, "a-001.npy")) (Npy.double [| 3; 4 |] (Array.create 12 nan))

                  refuses<NonFiniteException> [ "simulation 2" ] (fun () ->
                      Slices.rows [| 0; 2 |] (SliceFiles.read 2 None None folder) |> ignore)

                  Npy.write (Path.Combine(folder, "a-004.npy")) (Npy.double [| 4; 3 |] (Array.zeroCreate 12))

                  refuses<ShapeException> [ "a-004.npy"; "(3, 4)"; "(4, 3)" ] (fun () ->
                      SliceFiles.read 2 None None folder |> ignore))) ]

let private problem = lazy (PowerLaw.create 16 ModeConvention.Ideal)

/// Fields and derivatives of a seed, with ± by differences.
let private made n =
    let simulator = problem.Value.Simulator
    let theta = Tensors.ofVector problem.Value.Fiducial
    let keys = NoiseKey.Range(4UL, 0UL, n)
    let step = [| 0.02; 0.02 |]
    let noise = simulator.DrawNoise keys

    let sides =
        step |> Array.mapi (fun a h -> Simulator.bothSides simulator theta noise a h)

    let stack pick =
        torch.stack (sides |> Array.map pick, 1L)

    Simulator.fields simulator theta keys,
    stack (fun struct (above, _) -> above),
    stack (fun struct (_, below) -> below),
    step

let private npyOf (t: Tensor) =
    let shape = t.shape |> Array.map int

    if t.dtype = torch.ScalarType.Float32 then
        Npy.single shape (Tensors.toArray t |> Array.map float32)
    else
        Npy.double shape (Tensors.toArray t)

let private settings =
    { ImnnSettings.Default with
        Features = Features.filterBank 3 3 2
        Simulations = 60
        DerivativeSimulations = 30
        MinIterations = 10
        MaxIterations = 10
        EvaluateEvery = 5 }

let private train (set: StoredSimulations) =
    Imnn.train
        { settings with
            Derivatives = Precomputed(SimulationSet.split 0.5 set) }
        problem.Value.Simulator
        problem.Value.Fiducial

let private names = [| "A"; "B" |]

let private read path =
    (SimulationSet.read names 2 None path).AtFiducial.Value

let private sets =
    [ tensorTest "a set of ± simulations trains to the same bits from memory, .npy, HDF5 and .npz" (fun () ->
          inFolder (fun folder ->
              let fields, plus, minus, step = made 300

              let arrays =
                  [ "fiducial", Npy.double [| 2 |] problem.Value.Fiducial
                    "fiducial_fields", npyOf fields
                    "plus", npyOf plus
                    "minus", npyOf minus
                    "step", Npy.double [| 2 |] step ]

              let single = Path.Combine(folder, "set")

              for name, array in arrays do
                  Npy.write (Path.Combine(single, name + ".npy")) array

              Hdf5.write (Path.Combine(folder, "set.h5")) arrays []

              Npz.write
                  (Path.Combine(folder, "set.npz"))
                  { Npz.empty with
                      Arrays = Map.ofList arrays }

              let derivatives =
                  (plus - minus) / (2.0 * torch.tensor(step).reshape(1L, 2L, 1L, 1L))

              let memory = train (StoredSimulations.ofTensors fields derivatives)

              for path in [ single; Path.Combine(folder, "set.h5"); Path.Combine(folder, "set.npz") ] do
                  let theta, set = read path
                  Expect.equal theta problem.Value.Fiducial "fiducial"
                  let compressor = train set
                  Expect.equal compressor.Fisher memory.Fisher path
                  Expect.equal compressor.Linear memory.Linear path
                  Expect.equal compressor.Simulations 300 "all of them, once"

              // one array a parameter is the same
              for name, k in [ "A", 0L; "B", 1L ] do
                  for side, both in [ "plus", plus; "minus", minus ] do
                      Npy.write (Path.Combine(single, $"{side}_{name}.npy")) (npyOf (both.select (1L, k)))

              File.Delete(Path.Combine(single, "plus.npy"))
              File.Delete(Path.Combine(single, "minus.npy"))
              Expect.equal (train (snd (read single))).Fisher memory.Fisher "plus_A …"
              File.Delete(Path.Combine(single, "minus_B.npy"))
              refuses<StoreException> [ "'minus_B'" ] (fun () -> read single |> ignore)))

      tensorTest "planted: ± simulations of other seeds, and derivatives of other fields, are refused" (fun () ->
          inFolder (fun folder ->
              let fields, plus, minus, step = made 200

              let write name array =
                  Npy.write (Path.Combine(folder, name + ".npy")) array

              write "fiducial" (Npy.double [| 2 |] problem.Value.Fiducial)
              write "fiducial_fields" (npyOf fields)
              write "plus" (npyOf plus)
              write "step" (Npy.double [| 2 |] step)
              write "minus" (npyOf (minus.roll ([| 1L |], [| 0L |])))
              refuses<SimulatorException> [ "θ ± δ of A"; "same seed" ] (fun () -> read folder |> ignore)
              // both sides of one seed, but not of the fields'
              write "minus" (npyOf (minus.roll ([| 1L |], [| 0L |])))
              write "plus" (npyOf (plus.roll ([| 1L |], [| 0L |])))
              refuses<SimulatorException> [ "is that of field" ] (fun () -> train (snd (read folder)) |> ignore)
              write "step" (Npy.double [| 2 |] [| 0.01; 0.0 |])
              refuses<RangeException> [ "step of B" ] (fun () -> read folder |> ignore)
              File.Delete(Path.Combine(folder, "step.npy"))
              refuses<StoreException> [ "'step'" ] (fun () -> read folder |> ignore)
              File.Delete(Path.Combine(folder, "fiducial.npy"))
              write "step" (Npy.double [| 2 |] step)
              refuses<StoreException> [ "with 'fiducial'" ] (fun () -> read folder |> ignore))) ]

let tests = testSequenced <| testList "slices" (sources @ sets)
