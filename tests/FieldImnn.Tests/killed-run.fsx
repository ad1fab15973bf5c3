// For LongRunTests: population Monte Carlo with simulations that take their time, kept in the folder named on the command line.
#load "../../scripts/load.fsx"

open System.Threading
open FieldImnn
open MathNet.Numerics.LinearAlgebra

let simulator =
    Simulator.create "slow" [ "a" ] [ 1 ] [ 1 ] (fun theta noise ->
        Thread.Sleep 40
        theta + 0.1 * noise.``to`` TorchSharp.torch.float64)

let result =
    PopulationMonteCarlo.run
        { PmcSettings.Default with
            Population = 100
            Budget = 1500
            Simulations =
                { SimulationSettings.Default with
                    Chunk = 50
                    Folder = Some fsi.CommandLineArgs[1] } }
        simulator
        Tensors.toRows
        (Matrix<float>.Build.DenseDiagonal(1, 1, 100.0))
        (Prior.uniform [ ("a", -1.0, 1.0) ])
        [| 0.2 |]

printfn $"mean {(Posterior.mean result.Posterior)[0]:R} sd {(Posterior.sd result.Posterior)[0]:R}"
