/// The packages' icon, docs/site/icon.png: a corner of a log-normal dark-matter field, ln(1 + δ) from dark to light, and on it the two contours
/// of a posterior. 128 × 128 pixels, transparent beyond its round corners. Usage: dotnet fsi scripts/icon.fsx [FILE.png]
#load "load.fsx"

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open System.Text
open FieldImnn
open TorchSharp

let side = 128

/// Viridis at six places, between which lines run.
let colours =
    [| 68.0, 1.0, 84.0
       65.0, 68.0, 135.0
       42.0, 120.0, 142.0
       34.0, 168.0, 132.0
       122.0, 209.0, 81.0
       253.0, 231.0, 37.0 |]

let colour (value: float) =
    let at = 5.0 * Math.Clamp(value, 0.0, 1.0)
    let i = min 4 (int at)
    let (r, g, b), (r2, g2, b2) = colours[i], colours[i + 1]
    let between (u: float) v = u + (at - float i) * (v - u)
    between r r2, between g g2, between b b2

/// A part of a field, smoothly enlarged, as ranks from 0 to 1: every colour covers as much as any other.
let field =
    let problem = Catalogue.problem "dark-matter" (Catalogue.modes "ideal")
    let delta = Simulator.field problem.Simulator [| 0.3; 0.8 |] 3UL
    let part = delta.narrow(0L, 40L, 24L).narrow(1L, 40L, 24L)

    let large =
        torch.nn.functional.interpolate (
            part.log1p().unsqueeze(0L).unsqueeze(0L),
            [| int64 side; int64 side |],
            mode = torch.InterpolationMode.Bicubic,
            align_corners = true
        )

    let values = Tensors.toArray (large.flatten ())
    let sorted = Array.sort values

    values
    |> Array.map (fun v -> float (Array.BinarySearch(sorted, v) |> abs) / float sorted.Length)

/// How far a pixel is from an ellipse of this radius, in pixels, roughly.
let fromEllipse radius x y =
    let u, v = (x + y) / sqrt 2.0, (y - x) / sqrt 2.0
    abs (sqrt ((u / 1.9) ** 2.0 + v ** 2.0) - radius)

/// How much of a pixel lies within the square with round corners.
let inside x y =
    let half, corner = float side / 2.0, 24.0
    let beyond a = max 0.0 (abs a - (half - corner))
    Math.Clamp(corner - sqrt (beyond x ** 2.0 + beyond y ** 2.0), 0.0, 1.0)

/// Red, green, blue and opacity of a pixel.
let pixel row column =
    let x, y = float column - 63.5, 63.5 - float row

    let line =
        Math.Clamp(3.0 - min (fromEllipse 14.0 x y) (fromEllipse 27.0 x y), 0.0, 1.0)

    let r, g, b = colour (0.85 * field[row * side + column])
    let mixed (c: float) = byte (round (c + line * (255.0 - c)))
    [| mixed r; mixed g; mixed b; byte (round (255.0 * inside x y)) |]

let bigEndian (value: uint32) =
    let bytes = Array.zeroCreate<byte> 4
    BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(), value)
    bytes

/// The checksum of a PNG file's parts.
let crc32 (bytes: byte[]) =
    let step (crc: uint32) =
        if crc &&& 1u = 1u then
            0xEDB88320u ^^^ (crc >>> 1)
        else
            crc >>> 1

    bytes
    |> Array.fold (fun crc byte -> Seq.init 8 id |> Seq.fold (fun c _ -> step c) (crc ^^^ uint32 byte)) 0xFFFFFFFFu
    |> (~~~)

/// A part of a PNG file: its length, name, content and checksum.
let chunk (name: string) (content: byte[]) =
    let named = Array.append (Encoding.ASCII.GetBytes name) content
    Array.concat [ bigEndian (uint32 content.Length); named; bigEndian (crc32 named) ]

let compressed (bytes: byte[]) =
    use out = new MemoryStream()

    (use zip = new ZLibStream(out, CompressionLevel.SmallestSize, leaveOpen = true)
     zip.Write(bytes, 0, bytes.Length))

    out.ToArray()

let rows =
    [| for row in 0 .. side - 1 do
           0uy // no filter

           for column in 0 .. side - 1 do
               yield! pixel row column |]

let path =
    match fsi.CommandLineArgs with
    | [| _; path |] -> path
    | _ -> Path.Combine(__SOURCE_DIRECTORY__, "..", "docs", "site", "icon.png")

Files.writeAtomically path (fun stream ->
    [ [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]
      // eight bits, red, green, blue and opacity
      chunk
          "IHDR"
          (Array.concat
              [ bigEndian (uint32 side)
                bigEndian (uint32 side)
                [| 8uy; 6uy; 0uy; 0uy; 0uy |] ])
      chunk "IDAT" (compressed rows)
      chunk "IEND" [||] ]
    |> List.iter (fun bytes -> stream.Write(bytes, 0, bytes.Length)))

printfn $"wrote {Path.GetFullPath path}"
