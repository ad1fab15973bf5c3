/// Properties of readers and settings, over random ones.
module ReaderPropertyTests

open System
open System.Text
open Expecto
open FieldImnn
open FieldImnn.Core

let private cases =
    { FsCheckConfig.defaultConfig with
        maxTest = 200 }

/// A random array of up to three axes, with numbers of every kind.
let private arrayOf (seed: int) =
    let random = Random seed
    let shape = Array.init (random.Next 4) (fun _ -> random.Next 5)
    let single = random.Next 2 = 0

    let value _ =
        match random.Next 8 with
        | 0 -> nan
        | 1 -> -infinity
        | 2 -> -0.0
        | 3 -> if single then 1e-45 else 5e-324
        | _ -> (random.NextDouble() - 0.5) * 10.0 ** float (random.Next(-30, 30))

    let data = Array.init (Array.fold (*) 1 shape) value

    if single then
        Npy.single shape (Array.map float32 data)
    else
        Npy.double shape data

/// The bits of an array, which tell −0 and NaN.
let private bits (a: NpyArray) =
    a.Shape, a.SinglePrecision, a.Data |> Array.map BitConverter.DoubleToInt64Bits

/// A .npy file as NumPy would write it: any byte order, C or Fortran.
let private written (bigEndian: bool) (fortran: bool) (array: NpyArray) =
    let size = if array.SinglePrecision then 4 else 8
    let order = if bigEndian then ">" else "<"
    let axes = array.Shape |> Array.map (fun n -> $"{n},") |> String.concat " "

    let header =
        $"{{'descr': '{order}f{size}', 'fortran_order': {fortran}, 'shape': ({axes}), }}\n"

    let rank = array.Shape.Length

    // the index of the element at a place of the file, by division with remainder along the axes in the file's order
    let element place =
        let axesInFile =
            if fortran then
                [| 0 .. rank - 1 |]
            else
                [| rank - 1 .. -1 .. 0 |]

        let index = Array.zeroCreate rank
        let mutable rest = place

        for axis in axesInFile do
            index[axis] <- rest % array.Shape[axis]
            rest <- rest / array.Shape[axis]

        let mutable at = 0

        for axis in 0 .. rank - 1 do
            at <- at * array.Shape[axis] + index[axis]

        array.Data[at]

    let bytes v =
        let little =
            if array.SinglePrecision then
                BitConverter.GetBytes(float32 v: float32)
            else
                BitConverter.GetBytes(v: float)

        if bigEndian then Array.rev little else little

    Array.concat
        [ [| 0x93uy; byte 'N'; byte 'U'; byte 'M'; byte 'P'; byte 'Y'; 1uy; 0uy |]
          BitConverter.GetBytes(uint16 header.Length)
          Encoding.Latin1.GetBytes header
          Array.init array.Data.Length element |> Array.collect bytes ]

/// Damage: cut, or one bit changed.
let private damaged (seed: int) (bytes: byte[]) =
    let random = Random seed

    if random.Next 3 = 0 then
        bytes[.. random.Next bytes.Length - 1]
    else
        let changed = Array.copy bytes

        for _ in 0 .. random.Next 3 do
            let at = random.Next bytes.Length
            changed[at] <- changed[at] ^^^ byte (1 <<< random.Next 8)

        changed

let private npzOf seed =
    { Arrays = Map [ for k in 0 .. abs seed % 3 -> $"a{k}", arrayOf (seed + k) ]
      Texts = Map [ "notes.txt", $"θ {seed}" ] }

/// Numbers that settings do not expect, and some that they do.
let private number (random: Random) =
    [| -1; 0; 1; 2; 5; 12; 100; 1000; Int32.MinValue; Int32.MaxValue |][random.Next 10]

let private real (random: Random) =
    [| nan; infinity; -1.0; 0.0; 1e-3; 0.1; 10.0; 1e300 |][random.Next 8]

let private readers =
    [ testPropertyWithConfig cases ".npy: written and read again, the same bits" (fun (seed: int) ->
          let array = arrayOf seed
          bits (Npy.ofBytes "a" (Npy.toBytes array)) = bits array)

      testPropertyWithConfig cases ".npy in either byte order, C or Fortran, is the same array" (fun seed big fortran ->
          let array = arrayOf seed
          bits (Npy.ofBytes "a" (written big fortran array)) = bits array)

      testPropertyWithConfig cases ".npz: written and read again, the same bits" (fun (seed: int) ->
          let npz = npzOf seed
          let again = Npz.ofBytes "a" (Npz.toBytes npz)

          again.Texts = npz.Texts
          && Map.map (fun _ -> bits) again.Arrays = Map.map (fun _ -> bits) npz.Arrays)

      testPropertyWithConfig
          { cases with maxTest = 2000 }
          ".npy, damaged, is read or refused, and never crashes"
          (fun seed damage ->
              try
                  Npy.ofBytes "a" (Npy.toBytes (arrayOf seed) |> damaged damage) |> ignore
                  true
              with :? StoreException ->
                  true)

      testPropertyWithConfig
          { cases with maxTest = 2000 }
          ".npz, damaged, is refused or holds the right arrays"
          (fun seed damage ->
              let npz = npzOf seed

              try
                  let again = Npz.ofBytes "a" (Npz.toBytes npz |> damaged damage)
                  // a name may have changed, numbers may not
                  again.Arrays.Values
                  |> Seq.map bits
                  |> Seq.forall (fun found -> npz.Arrays.Values |> Seq.exists (fun a -> bits a = found))
              with :? StoreException ->
                  true)

      testPropertyWithConfig cases "any bytes are an array or refused" (fun (bytes: byte[]) ->
          let refuses read =
              try
                  read bytes |> ignore
                  true
              with :? StoreException ->
                  true

          refuses (Npy.ofBytes "a" >> ignore) && refuses (Npz.ofBytes "a" >> ignore)) ]

let private settings =
    [ testPropertyWithConfig
          { cases with maxTest = 1000 }
          "settings of a training are kept or refused typed"
          (fun (seed: int) ->
              let random = Random seed

              let settings =
                  { ImnnSettings.Default with
                      Loss =
                          (if random.Next 2 = 0 then
                               ClosedForm
                           else
                               Regularised(real random, real random))
                      Simulations = number random
                      DerivativeSimulations = number random
                      LearningRate = real random
                      MinIterations = number random
                      MaxIterations = number random
                      Patience = number random
                      EvaluateEvery = number random
                      HeldOut = number random
                      Fit = number random
                      Quote = number random
                      Chunk = number random }

              try
                  let kept = ImnnSettings.validate true 5 settings

                  kept.Simulations >= 8
                  && kept.DerivativeSimulations >= 1
                  && kept.DerivativeSimulations <= kept.Simulations
                  && kept.LearningRate > 0.0
                  && Double.IsFinite kept.LearningRate
                  && kept.MinIterations <= kept.MaxIterations
                  && kept.MaxIterations >= 1
                  && kept.Patience >= 1
                  && kept.EvaluateEvery >= 1
                  && kept.HeldOut >= 16
                  && kept.Quote >= 8
                  && kept.Chunk >= 1
              with :? SettingException ->
                  true)

      testPropertyWithConfig { cases with maxTest = 1000 } "marginals are kept or refused typed" (fun (seed: int) ->
          let random = Random seed

          let marginal =
              match random.Next 3 with
              | 0 -> Uniform(real random, real random)
              | 1 -> Normal(real random, real random)
              | _ -> TruncatedNormal(real random, real random, real random, real random)

          try
              let prior = Prior.create [ "a", marginal ]
              let draws = Prior.sample seed 0L 20 prior |> Array.map Array.head
              draws |> Array.forall (Marginal.contains marginal)
          with :? SettingException ->
              true) ]

let tests = testList "properties of readers and settings" (readers @ settings)
