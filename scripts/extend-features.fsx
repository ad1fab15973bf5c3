// Features of your own beside those of the house: what the power spectrum, a learned filter bank, the edge of the pixels and all together
// keep of a field's information, and a compressor that is saved and read again. The universe is a skewed Gaussian field on 32 × 32 pixels,
// d = sinh(g + ε), g of power A/k: a quadratic form of the field sees little of ε.
// dotnet fsi scripts/extend-features.fsx [--quick]
#load "load.fsx"

open System
open FieldImnn
open TorchSharp

let quick = fsi.CommandLineArgs |> Array.contains "--quick"
let n = 32

let root =
    let k =
        [| for i in 0 .. n - 1 -> 2.0 * Math.PI * float (if i <= n / 2 then i else i - n) / float n |]

    [| for a in k do
           for b in k -> (max (a * a + b * b) (k[1] * k[1])) ** -0.25 |]
    |> fun amplitude -> (Tensors.ofVector amplitude).reshape(int64 n, int64 n) |> Tensors.keep

let simulator =
    Simulator.create "skewed" [ "A"; "ε" ] [ n; n ] [ n; n ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
        let g = torch.fft.ifft2(torch.fft.fft2 noise * root).real
        ((parameter 0L).sqrt() * g + parameter 1L).sinh())

// any function of fields (n, N, N) to (n, k) that torch can differentiate; no rule for derivatives is asked for
let ranks =
    Features.own "smooth histogram" 7 (fun fields ->
        let u = fields.asinh().flatten 1L

        let above (t: float) =
            ((u - t.ToScalar()) * (4.0).ToScalar()).sigmoid().mean([| 1L |])

        torch.stack ([| for t in [ -1.5; -1.0; -0.5; 0.0; 0.5; 1.0; 1.5 ] -> above t |], 1L))

let candidates =
    [ "power spectrum", Features.bandPower 12
      "filter bank", Features.filterBank 8 5 2
      "histogram", ranks
      "all beside each other", Features.beside [ Features.bandPower 12; Features.filterBank 8 5 2; ranks ]
      "filter bank of asinh d", Features.ofTransform "asinh" (Features.filterBank 8 5 2) ]

let train features =
    let settings =
        { ImnnSettings.Default with
            Features = features
            MinIterations = 100
            MaxIterations = (if quick then 100 else 300)
            Fit = (if quick then 4000 else 20000)
            Quote = (if quick then 4000 else 20000) }

    Imnn.train settings simulator [| 1.0; 0.3 |]

printfn "errors of A and ε:"

for name, features in candidates do
    let compressor = train features

    let errors = compressor.Fisher.Inverse().Diagonal().PointwiseSqrt()
    printfn $"  {errors[0]:F4}, {errors[1]:F4}  {name}: cannot see {Features.cannotSee features}"

    if name.StartsWith "all" then
        let field = Simulator.field simulator [| 1.1; 0.25 |] 3UL
        let path = IO.Path.Combine(IO.Path.GetTempPath(), "features.imnn")
        CompressorFile.save path compressor
        // where "smooth histogram" is not registered, this is an error that says so
        let loaded = CompressorFile.load path

        printfn
            $"  estimate %A{Compressor.estimate compressor field}, from the file %A{Compressor.estimate loaded field}"

        IO.File.Delete path
