/// Store: the fixtures are built byte by byte from NumPy Enhancement Proposal 1, independently of our own writer.
module StoreTests

open System
open System.IO
open System.IO.Compression
open System.Text
open Expecto
open FieldImnn
open FieldImnn.Core
open TestSupport

let private magic = [| 0x93uy; 0x4Euy; 0x55uy; 0x4Duy; 0x50uy; 0x59uy |]

let private header descr fortran shape =
    $"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"

/// A .npy file: format major.0, this header text, these bytes of data.
let private npy major (text: string) (data: byte[]) =
    let text = (text + "\n") |> Encoding.UTF8.GetBytes

    let length =
        if major = 1uy then
            [| byte text.Length; byte (text.Length >>> 8) |]
        else
            [| byte text.Length; byte (text.Length >>> 8); 0uy; 0uy |]

    Array.concat [ magic; [| major; 0uy |]; length; text; data ]

let private doubles (values: float list) =
    values |> List.map BitConverter.GetBytes |> Array.concat

let private singles (values: float32 list) =
    values |> List.map BitConverter.GetBytes |> Array.concat

let private bigEndian (bytes: byte[]) size =
    bytes |> Array.chunkBySize size |> Array.collect Array.rev

let private refusesBytes parts bytes =
    refuses<StoreException> ("field.npy" :: parts) (fun () -> Npy.ofBytes "field.npy" bytes |> ignore)

let private six = [ 1.5; -2.0; 3.25; 4.0; 5.0; -6.5 ]

let private reading =
    testList
        "reading .npy"
        [ for major in [ 1uy; 2uy; 3uy ] do
              for descr, bytes in
                  [ "'<f8'", doubles six
                    "'>f8'", bigEndian (doubles six) 8
                    "'<f4'", singles (List.map float32 six)
                    "'>f4'", bigEndian (singles (List.map float32 six)) 4 ] do
                  test $"format {major}.0 of {descr}" {
                      let array = npy major (header descr "False" "(2, 3)") bytes |> Npy.ofBytes "a"
                      Expect.equal array.Shape [| 2; 3 |] "shape"
                      Expect.equal array.Data (Array.ofList six) "data"
                      Expect.equal array.SinglePrecision (descr.Contains '4') "precision"
                  }

          test "Fortran order comes out in C order" {
              // element (i, j, k) of shape (2, 3, 4) is 100 i + 10 j + k; the first axis runs fastest in the file
              let file =
                  [ for k in 0..3 do
                        for j in 0..2 do
                            for i in 0..1 do
                                float (100 * i + 10 * j + k) ]

              let expected =
                  [| for i in 0..1 do
                         for j in 0..2 do
                             for k in 0..3 do
                                 float (100 * i + 10 * j + k) |]

              let array =
                  npy 1uy (header "'<f8'" "True" "(2, 3, 4)") (doubles file) |> Npy.ofBytes "a"

              Expect.equal array.Data expected "C order"
          }

          test "scalars, empty arrays, other quotes, key orders and Python 2's long integers" {
              let scalar =
                  npy 1uy (header "'<f8'" "False" "()") (doubles [ 7.0 ]) |> Npy.ofBytes "a"

              Expect.equal (scalar.Shape, scalar.Data) ([||], [| 7.0 |]) "scalar"
              let none = npy 1uy (header "'<f8'" "True" "(0, 3)") [||] |> Npy.ofBytes "a"
              Expect.equal (none.Shape, none.Data) ([| 0; 3 |], [||]) "empty"
              let text = "{\"shape\": (2L,), \"descr\": \"<f8\", \"fortran_order\": False}"
              let other = npy 1uy text (doubles [ 1.0; 2.0 ]) |> Npy.ofBytes "a"
              Expect.equal (other.Shape, other.Data) ([| 2 |], [| 1.0; 2.0 |]) "other spelling"
          } ]

/// What NumPy writes of [[1, 0], [0, 1]] by dtype: bytes of the elements.
let private others =
    test "integers of every size, halves and truth values are read, in either order of bytes and axes" {
        for descr, one in
            [ "|b1", [| 1uy |]
              "|u1", [| 1uy |]
              "|i1", [| 1uy |]
              "<i2", [| 1uy; 0uy |]
              ">i4", [| 0uy; 0uy; 0uy; 1uy |]
              "<u8", [| 1uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy; 0uy |]
              "<f2", [| 0uy; 0x3Cuy |]
              ">f4", [| 0x3Fuy; 0x80uy; 0uy; 0uy |] ] do
            let none = Array.zeroCreate<byte> one.Length

            for order in [ "False"; "True" ] do
                let found =
                    Array.concat [ one; none; none; none; one; none ]
                    |> npy 1uy (header $"'{descr}'" order "(2, 3)")
                    |> Npy.ofBytes "array"

                let wanted =
                    if order = "False" then
                        [| 1.0; 0.0; 0.0; 0.0; 1.0; 0.0 |]
                    else
                        [| 1.0; 0.0; 1.0; 0.0; 0.0; 0.0 |]

                Expect.equal found.Data wanted $"{descr}, Fortran order {order}"

        let negative =
            Npy.ofBytes "array" (npy 1uy (header "'<i2'" "False" "(1,)") [| 0xFEuy; 0xFFuy |])

        Expect.equal negative.Data [| -2.0 |] "a sign"
    }

let private damaged =
    let good = npy 1uy (header "'<f8'" "False" "(2, 3)") (doubles six)

    testList
        "damaged .npy"
        [ for descr, words in
              [ "|O", "pickled"
                "<c8", "complex"
                "<c16", "complex"
                "<i3", "integer"
                "<U5", "string"
                "|S3", "string"
                "<M8[ns]", "date"
                "<f16", "floating point"
                "", "unknown" ] do
              test $"dtype '{descr}'" {
                  npy 1uy (header $"'{descr}'" "False" "(2, 3)") (doubles six)
                  |> refusesBytes [ "float32, float64, integers"; $"'{descr}'"; words ]
              }

          test "structured dtype" {
              npy 1uy (header "[('a', '<f8'), ('b', '<f8', (2,))]" "False" "(2,)") (doubles six)
              |> refusesBytes [ "structured" ]
          }

          test "not .npy at all" {
              refusesBytes [ "empty" ] [||]
              refusesBytes [ "pickle" ] [| 0x80uy; 4uy; 0x95uy; 0uy; 0uy; 0uy; 0uy |]
              refusesBytes [ "zip" ] [| 0x50uy; 0x4Buy; 3uy; 4uy; 0uy; 0uy; 0uy |]
              refusesBytes [ "0102030405" ] [| 1uy; 2uy; 3uy; 4uy; 5uy |]
          }

          test "another format version" {
              npy 4uy (header "'<f8'" "False" "(2, 3)") (doubles six)
              |> refusesBytes [ "1.0, 2.0 or 3.0"; "4.0" ]
          }

          test "cut anywhere, it is refused" {
              for length in 0 .. good.Length - 1 do
                  refusesBytes [] (Array.truncate length good)

              refusesBytes [ "48 bytes"; "47"; "truncated" ] (Array.truncate (good.Length - 1) good)
              refusesBytes [ "complete .npy header" ] (Array.truncate 40 good)
          }

          test "bytes after the data" { refusesBytes [ "48 bytes"; "49"; "trailing" ] (Array.append good [| 0uy |]) }

          test "absurd headers" {
              let bad text parts =
                  refusesBytes parts (npy 1uy text (doubles six))

              bad (header "'<f8'" "False" "(2, -3)") [ "(2, -3)" ]
              bad (header "'<f8'" "False" "(4294967296, 4294967296)") [ "4294967296" ]
              bad (header "'<f8'" "False" "(2147483647, 2147483647, 4)") [ "elements" ]
              bad (header "'<f8'" "False" "(99999999999999999999,)") [ "99999999999999999999" ]
              bad (header "'<f8'" "False" "6") [ "tuple" ]
              bad (header "'<f8'" "False" "(2.0, 3)") [ "header" ]
              bad (header "'<f8'" "1" "(6,)") [ "fortran_order" ]
              bad (header "3" "False" "(6,)") [ "structured" ]
              bad "{'descr': '<f8', 'shape': (6,)}" [ "keys"; "descr, shape" ]
              bad "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (6,)}" [ "keys" ]
              bad "{}" [ "none" ]
              bad "" [ "too early" ]
              bad "__import__('os')" [ "header" ]
              bad (header "'<f8'" "False" (String('(', 5000))) [ "header" ]
              bad (header "'<f8'" "False" ("(" + String.replicate 65 "1, " + ")")) [ "64 axes" ]
              let long = npy 2uy (header "'<f8'" "False" "(6,)") (doubles six)
              long[11] <- 0x7Fuy
              refusesBytes [ "header of at most" ] long
          } ]

let private writing =
    testList
        "writing .npy"
        [ test "the bytes are those of the format's description" {
              let bytes = Npy.double [| 2; 3 |] (Array.ofList six) |> Npy.toBytes
              let text = (header "'<f8'" "False" "(2, 3)").PadRight 117 + "\n"

              let expected =
                  Array.concat [ magic; [| 1uy; 0uy; 118uy; 0uy |]; Encoding.ASCII.GetBytes text; doubles six ]

              Expect.equal bytes expected "byte for byte"
          }

          for shape in [ [||]; [| 5 |]; [| 0; 2 |]; [| 2; 3; 4 |] ] do
              test $"round trip of %A{shape}" {
                  let n = Array.fold (*) 1 shape
                  let special = [| nan; infinity; -0.0; 1e-310; Math.PI |]

                  let data =
                      Array.init n (fun i -> if i < 5 && n > 5 then special[i] else Math.Sin(float i))

                  let once = Npy.double shape data |> Npy.toBytes
                  let array = Npy.ofBytes "a" once
                  let bits = Array.map BitConverter.DoubleToInt64Bits
                  Expect.equal array.Shape shape "shape"
                  Expect.equal (bits array.Data) (bits data) "double precision, bit by bit"
                  Expect.equal ((once.Length - 8 * n) % 64) 0 "aligned"
                  let single = data |> Array.map float32
                  let back = Npy.single shape single |> Npy.toBytes |> Npy.ofBytes "a"
                  let bits = Array.map BitConverter.SingleToInt32Bits
                  Expect.isTrue back.SinglePrecision "single"
                  Expect.equal (bits (Array.map float32 back.Data)) (bits single) "single precision, bit by bit"
              }

          test "what cannot be stored is refused" {
              refuses<ShapeException> [ "(2, 3)"; "5" ] (fun () -> Npy.double [| 2; 3 |] (Array.zeroCreate 5) |> ignore)

              refuses<RangeException> [ "1E+39" ] (fun () ->
                  { Shape = [| 1 |]
                    Data = [| 1e39 |]
                    SinglePrecision = true }
                  |> Npy.toBytes
                  |> ignore)
          } ]

let private archive (entries: (string * byte[]) list) =
    use memory = new MemoryStream()

    using (new ZipArchive(memory, ZipArchiveMode.Create, true)) (fun zip ->
        for name, bytes in entries do
            use stream = zip.CreateEntry(name, CompressionLevel.NoCompression).Open()
            stream.Write(bytes, 0, bytes.Length))

    memory.ToArray()

let private npz =
    let weights = npy 1uy (header "'<f8'" "False" "(2, 3)") (doubles six)

    let refusesArchive parts bytes =
        refuses<StoreException> ("x.npz" :: parts) (fun () -> Npz.ofBytes "x.npz" bytes |> ignore)

    testList
        ".npz"
        [ test "round trip, and equal contents give equal bytes" {
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "compressor.npz")

                  let saved =
                      { Arrays = Map [ "w", Npy.double [| 2 |] [| 1.0; 2.0 |]; "b/0", Npy.single [| 1 |] [| 3.0f |] ]
                        Texts = Map [ "manifest.json", "{\"Ω\": 1}" ] }

                  Npz.write path saved
                  Expect.equal (Npz.read path) saved "what was written"
                  Expect.equal (File.ReadAllBytes path) (Npz.toBytes saved) "the same bytes")
          }

          test "an archive made elsewhere" {
              let made =
                  archive [ "w.npy", weights; "note.txt", Encoding.UTF8.GetBytes "σ8" ]
                  |> Npz.ofBytes "x.npz"

              Expect.equal (Npz.array "x.npz" "w" made).Data (Array.ofList six) "array"
              Expect.equal (Npz.text "x.npz" "note.txt" made) "σ8" "text"
              refuses<StoreException> [ "'v'"; "w" ] (fun () -> Npz.array "x.npz" "v" made |> ignore)

              refuses<StoreException> [ "manifest.json"; "note.txt" ] (fun () ->
                  Npz.text "x.npz" "manifest.json" made |> ignore)
          }

          test "damage" {
              refusesArchive [ "zip" ] [||]
              refusesArchive [ "zip" ] weights
              let whole = archive [ "w.npy", weights ]
              refusesArchive [ "zip" ] (Array.truncate (whole.Length / 2) whole)
              refusesArchive [ "w.npy"; "complex" ] (archive [ "w.npy", npy 1uy (header "'<c8'" "False" "(6,)") [||] ])
              refusesArchive [ "two entries" ] (archive [ "w.npy", weights; "w.npy", weights ])
              refusesArchive [ "UTF-8" ] (archive [ "t.txt", [| 0xFFuy; 0xFEuy; 0xC0uy |] ])
              // one bit of the last number, which is stored uncompressed, before the archive's directory
              let at = 30 + "w.npy".Length + weights.Length - 3
              let flipped = Array.copy whole
              flipped[at] <- flipped[at] ^^^ 1uy
              Expect.isFalse (Array.forall2 (=) flipped whole) "one bit differs"
              refusesArchive [ "w.npy"; "checksum" ] flipped
          } ]

let private files =
    testList
        "files"
        [ test "missing files and folders in place of files" {
              inFolder (fun folder ->
                  let missing = Path.Combine(folder, "none.npy")
                  refuses<StoreException> [ missing; "nothing" ] (fun () -> Npy.read missing |> ignore)
                  refuses<StoreException> [ folder; "a folder" ] (fun () -> Npy.read folder |> ignore)
                  refuses<StoreException> [ "path" ] (fun () -> Npy.read "" |> ignore)
                  let array = Npy.double [||] [| 1.0 |]
                  refuses<StoreException> [ folder; "a folder" ] (fun () -> Npy.write folder array |> ignore))
          }

          test "a folder that cannot be made" {
              inFolder (fun folder ->
                  let file = Path.Combine(folder, "file")
                  File.WriteAllText(file, "in the way")
                  let below = Path.Combine(file, "results")
                  refuses<StoreException> [ below; "folder" ] (fun () -> Files.ensureWritableFolder below |> ignore)

                  refuses<StoreException> [ below; "folder" ] (fun () ->
                      Npy.write (Path.Combine(below, "a.npy")) (Npy.double [||] [| 1.0 |]) |> ignore))
          }

          test "a folder that is made, and left clean" {
              inFolder (fun folder ->
                  let deep = Path.Combine(folder, "a", "b")
                  Files.ensureWritableFolder deep
                  Files.ensureWritableFolder deep
                  Expect.isEmpty (Directory.GetFileSystemEntries deep) "no probe left"
                  let path = Path.Combine(deep, "c", "x.npy")
                  Npy.write path (Npy.double [| 1 |] [| 1.0 |])
                  Npy.write path (Npy.double [| 1 |] [| 2.0 |])
                  Expect.equal (Npy.read path).Data [| 2.0 |] "the newer one"
                  Expect.equal (Directory.GetFileSystemEntries(Path.GetDirectoryName path)) [| path |] "nothing else")
          }

          test "a failed write leaves the old file" {
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "x.bin")
                  Files.writeAtomically path (fun stream -> stream.WriteByte 1uy)

                  let fail (fault: exn) =
                      Files.writeAtomically path (fun stream ->
                          stream.Write(Array.zeroCreate 100000, 0, 100000)
                          raise fault)

                  refuses<StoreException> [ path; "no space left" ] (fun () ->
                      fail (IOException "no space left") |> ignore)

                  Expect.throwsT<InvalidOperationException> (fun () -> fail (InvalidOperationException())) "its own"
                  Expect.equal (File.ReadAllBytes path) [| 1uy |] "the old file"
                  Expect.equal (Directory.GetFileSystemEntries folder) [| path |] "nothing else")
          } ]

let private observed =
    testList
        "observed fields"
        [ test "leading axes of length one go" {
              let array = Npy.double [| 1; 1; 2; 3 |] (Array.ofList six)
              let field = ObservedField.ofArray "d" [| 2; 3 |] array
              Expect.equal (field.Shape, field.Data) ([| 2; 3 |], Array.ofList six) "squeezed"
              let kept = ObservedField.ofArray "d" [| 1; 2; 3 |] array
              Expect.equal kept.Shape [| 1; 2; 3 |] "an axis that was asked for stays"
          }

          test "another shape" {
              inFolder (fun folder ->
                  let path = Path.Combine(folder, "d.npy")

                  for shape in [ [| 6 |]; [| 3; 2 |]; [| 2; 3; 1 |]; [| 2; 1; 3 |] ] do
                      Npy.write path (Npy.double shape (Array.ofList six))
                      let came = shape |> Array.map string |> String.concat ", "

                      refuses<ShapeException> [ path; "(2, 3)"; $"({came})" ] (fun () ->
                          ObservedField.read path [| 2; 3 |] |> ignore))
          }

          test "pixels that are no numbers" {
              let bad = Npy.double [| 1; 2; 3 |] [| 1.0; 2.0; 3.0; 4.0; nan; infinity |]

              refuses<NonFiniteException> [ "2 NaN"; "of 6"; "(1, 1)" ] (fun () ->
                  ObservedField.ofArray "d" [| 2; 3 |] bad |> ignore)
          }

          test "the reference targets" {
              withShared (fun folder ->
                  for name, n, single in
                      [ "target_field_planck_1.npy", 128, true
                        "target_field_planck_2.npy", 128, true
                        "lognormal20_field_0.npy", 20, false
                        "lognormal20_field_1.npy", 20, false ] do
                      let field = ObservedField.read (Path.Combine(folder, "targets", name)) [| n; n |]
                      Expect.equal field.Shape [| n; n |] name
                      Expect.equal field.SinglePrecision single name
                      Expect.isGreaterThan (Array.max field.Data) (Array.min field.Data) "not constant"
                      let bytes = File.ReadAllBytes(Path.Combine(folder, "targets", name))
                      Expect.equal (Npy.toBytes field) bytes "NumPy's own bytes, written again")
          } ]

let tests =
    testList "store" [ reading; others; damaged; writing; npz; files; observed ]
