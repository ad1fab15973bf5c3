// A universe of your own, from an idea to a posterior: docs/your-universe.md reads it part by part.
// dotnet fsi scripts/your-universe.fsx --out artifacts/your-universe [--quick] [--field FILE.npy] …
#load "load.fsx"

// 1. The idea: bubbles of ionised gas. Where a smooth Gaussian field is high, the gas is ionised and dark; the rest shines. R is the size of
//    the bubbles in pixels, Q the part of the sky that they cover, σ the telescope's noise.
open System
open FieldImnn
open TorchSharp

let n = 32

let wavenumber =
    let k = torch.fft.fftfreq (int64 n, 1.0 / (2.0 * Math.PI))
    (k.square().unsqueeze 1L + k.square ()).sqrt() |> Tensors.keep

// 2. The simulator: θ (n or 1, 3) → noise (n, 2, 32, 32) of N(0, 1) → fields (n, 32, 32).
let bubbles (theta: Tensor) (noise: Tensor) =
    let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
    let radius, covered, sigma = parameter 0L, parameter 1L, parameter 2L
    let filter = (-0.5 * (wavenumber * radius).square()).exp()
    let white, telescope = noise.select (1L, 0L), noise.select (1L, 1L)
    let smooth = torch.fft.ifft2(torch.fft.fft2 white * filter).real
    let unit = smooth / filter.square().mean([| 1L; 2L |], keepdim = true).sqrt()
    let threshold = sqrt 2.0 * (1.0 - 2.0 * covered).erfinv()
    ((threshold - unit) / 0.2).sigmoid() + sigma * telescope

let simulator =
    Simulator.create "bubbles" [ "R"; "Q"; "σ" ] [ n; n ] [ 2; n; n ] bubbles

// 3. What is known beforehand: Q and σ by themselves, and R by Q, since the bubbles of a sky that is hardly ionised are small.
let largest covered = 1.0 + 4.0 * covered

let prior =
    let frame =
        [ "R", Uniform(0.7, largest 0.8)
          "Q", Uniform(0.2, 0.8)
          "σ", Uniform(0.05, 0.5) ]

    let logDensity (theta: float[]) =
        if theta[0] > largest theta[1] then
            -infinity
        else
            -log(largest theta[1] - 0.7)

    let draw seed index =
        let theta = (Prior.sample seed index 1 (Prior.create frame))[0]
        let part = (theta[0] - 0.7) / (largest 0.8 - 0.7)
        [| 0.7 + part * (largest theta[1] - 0.7); theta[1]; theta[2] |]

    Prior.dependent frame logDensity draw

let model = Model.create simulator prior

// 4. What is looked at: statistics that serve fields that nobody described; what you know of yours stands beside them.
let edges =
    Features.own "mean and gradient" 2 (fun fields ->
        let along axis =
            let all = int64 (n - 1)
            (fields.narrow (axis, 1L, all) - fields.narrow (axis, 0L, all)).square().mean [| 1L; 2L |]

        torch.stack ([| fields.mean [| 1L; 2L |]; (along 1L + along 2L).log() |], 1L))

let recipe =
    Recipe.ofSettings
        { ImnnSettings.Default with
            Features = Features.beside [ Features.localStatistics; edges ] }

// 5. The command: --field for what was observed, -- --help for the rest. The exit code is 0, 2 after a message, 130 where it was stopped, 75 by SIGTERM.
exit (CommandLine.infer model recipe fsi.CommandLineArgs)
