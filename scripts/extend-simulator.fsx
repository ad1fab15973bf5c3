// A simulator of your own: white noise of unknown amplitude σ and mean μ on 16 × 16 pixels, whose Fisher matrix is known
// (diag(2n, n)/σ²), trained like the built-in ones. Its derivatives come from automatic differentiation.
// dotnet fsi scripts/extend-simulator.fsx
#load "load.fsx"

open FieldImnn

let n = 16

let simulator =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ n; n ] [ n; n ] (fun theta noise ->
        let sigma = theta.narrow(1L, 0L, 1L).unsqueeze -1L
        let mu = theta.narrow(1L, 1L, 1L).unsqueeze -1L
        sigma * noise + mu)

let fiducial = [| 1.0; 0.5 |]

let settings =
    { ImnnSettings.Default with
        Features = Features.filterBank 4 3 2
        MinIterations = 100
        MaxIterations = 150 }

let progress = ConsoleProgress.create ()
let compressor = Imnn.train { settings with Progress = progress } simulator fiducial
ConsoleProgress.finish ()

let pixels = float (n * n)
printfn "F of the summaries (exact: %g, 0, %g):" (2.0 * pixels) pixels
printfn "%s" (compressor.Fisher.ToString "G6")

let field = Simulator.field simulator [| 1.05; 0.45 |] 3UL
printfn "estimate of a field at (1.05, 0.45): %A" (Compressor.estimate compressor field)
