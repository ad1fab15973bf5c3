/// Fields of whole numbers, as counts of galaxies are: they jump where θ changes, so that pixels have no derivatives, and statistics do.
module CountsTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Networks
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions
open TestSupport
open TorchSharp

let private n = 16

/// Independent Poisson counts of mean m: the smallest whole numbers whose distribution function exceeds Φ(noise).
let private poisson =
    let mostly = 30

    Simulator.create "poisson" [ "m" ] [ n; n ] [ n; n ] (fun theta noise ->
        let mean = theta.select(1L, 0L).reshape(-1L, 1L, 1L)
        let below = torch.special.ndtr (noise.``to`` torch.float64)
        let mutable term = (-mean).exp()
        let mutable total = term.clone ()
        let mutable count = torch.zeros_like below

        for k in 1..mostly do
            count <- count + (below.gt total).``to`` torch.float64
            term <- term * mean / float k
            total <- total + term

        count)

let private at, private step = 3.0, 0.1

/// F of independent counts: N/m.
let private exact = float (n * n) / at

let private settings =
    { ImnnSettings.Default with
        Derivatives = FiniteDifference [| step |]
        Fit = 4000
        Quote = 4000
        MeasureDerivatives = 4000 }

let private stored count seed =
    let struct (d, slopes) =
        Simulator.withDerivatives
            poisson
            (FiniteDifference [| step |])
            (Tensors.ofVector [| at |])
            (NoiseKey.Range(seed, 0UL, count))

    StoredSimulations.ofTensors (d.``to`` torch.float32) (slopes.``to`` torch.float32)

let private information =
    tensorTest "the default features keep the exact information of Poisson counts, N/m, and quote no more" (fun () ->
        use _ = torch.NewDisposeScope()
        let compressor = Imnn.train settings poisson [| at |]
        let quoted = compressor.Fisher[0, 0] / exact
        Expect.isTrue (quoted > 0.94 && quoted < 1.06) $"quoted {quoted:F3} of N/m"

        // what the estimates do: they move with m, and scatter by 1/√F
        let estimates m =
            Simulator.fields poisson (Tensors.ofVector [| m |]) (NoiseKey.Range(77UL, 0UL, 2000))
            |> Compressor.estimates compressor
            |> Array.map Array.head

        let above, below = estimates (at + step), estimates (at - step)
        let slope = (Array.average above - Array.average below) / (2.0 * step)
        Expect.isLessThan (abs (slope - 1.0)) 0.05 $"the estimate moves by {slope:F3} a unit of m"

        let scatter =
            MathNet.Numerics.Statistics.Statistics.Variance above * exact
            / (at / (at + step))

        Expect.isLessThan (abs (scatter - 1.0)) 0.15 $"and scatters by {scatter:F3} of the exact variance"

        // planted: derivatives of pixels, pushed through the features
        let struct (d, slopes) =
            Simulator.withDerivatives
                poisson
                (FiniteDifference [| step |])
                (Tensors.ofVector [| at |])
                (NoiseKey.Range(5UL, 0UL, 4000))

        let pushed =
            compressor.Network.Evaluate(
                compressor.Network.Prepare(Dual(d.``to`` torch.float32, (slopes.``to`` torch.float32).flatten(0L, 1L)))
            )

        let tangents = pushed.Tangent.reshape (4000L, 1L, -1L)
        let layer = LinearLayer.fit pushed.Primal tangents |> Tensors.ofMatrix
        let single (t: Tensor) = t.``to``(torch.float64).matmul layer

        let planted =
            (Fisher.statistics (single pushed.Primal) (single tangents)).Fisher[0, 0]
            / exact

        Expect.isGreaterThan planted 1.5 $"planted: {planted:F2} of what there is")

let private distributions =
    tensorTest "a count becomes the normal score of the middle of its ranks" (fun () ->
        let mean = 1.5
        let law = Poisson mean
        // as often as the law says, of 100,000
        let values =
            [| for k in 0..12 -> Array.create (int (Math.Round(1e5 * law.Probability k))) (float k) |]
            |> Array.concat

        let tables = Gaussianisation.Tables(Gaussianisation.Fit values)

        for k in 0..4 do
            let middle = law.CumulativeDistribution(float k) - 0.5 * law.Probability k
            let wanted = Normal.InvCDF(0.0, 1.0, middle)

            let u =
                Gaussianisation.Apply(Dual(torch.tensor([| float k |]).reshape(1L, 1L)), tables)

            let found = u.Primal.ToDouble()
            // between knots 0.2 apart
            Expect.isLessThan (abs (found - wanted)) 0.05 $"{k}: {found:F3} for {wanted:F3}")

let private layer =
    tensorTest "features that never change have no weight, and one that changes with θ alone is an error" (fun () ->
        let keys = NoiseKey.Range(3UL, 0UL, 400)
        let x = Noise.Normal(keys, [| 3L |]).``to`` torch.float64
        let dx = torch.ones (400L, 1L, 3L, dtype = torch.float64)

        let beside (columns: Tensor) (t: Tensor) =
            torch.cat ([| t; columns.expand (Array.append t.shape[.. t.shape.Length - 2] [| 1L |]) |], -1L)

        let constant = torch.full ([| 1L |], (2.0).ToScalar(), dtype = torch.float64)
        let still = torch.zeros (1L, dtype = torch.float64)
        let found = LinearLayer.fit (beside constant x) (beside still dx)
        let without = LinearLayer.fit x dx
        Expect.equal (found.SubMatrix(0, 3, 0, 1)) without "the others'"
        Expect.equal found[3, 0] 0.0 "none"

        // a bin that is empty in all simulations, and not in one at θ + h
        let seldom = torch.zeros (400L, 1L, 1L, dtype = torch.float64)
        seldom[7, 0, 0] <- (1.0).ToTensor()
        Expect.equal (LinearLayer.fit (beside constant x) (beside seldom dx)) found "nor for one that seldom does"

        refuses<SingularMatrixException> [ "feature 4 of 4"; "changes with θ" ] (fun () ->
            LinearLayer.fit (beside constant x) (beside constant dx) |> ignore)

        refuses<SingularMatrixException> [ "all 3 features the same" ] (fun () ->
            LinearLayer.fit (torch.ones_like x) (torch.zeros_like dx) |> ignore))

let private sets =
    tensorTest "stored derivatives of counts are refused" (fun () ->
        let training, heldOut = stored 600 1UL, stored 600 2UL

        refuses<SimulatorException> [ "whole numbers"; "FiniteDifference" ] (fun () ->
            Imnn.train
                { settings with
                    Derivatives = Precomputed(training, heldOut) }
                poisson
                [| at |]
            |> ignore))

let private trained =
    tensorTest "a network that is trained beside the default features serves counts, too" (fun () ->
        let compressor =
            Imnn.train
                { settings with
                    Features = Features.beside [ Features.localStatistics; Features.filterBank 4 3 2 ]
                    HeldOut = 400
                    MinIterations = 2
                    MaxIterations = 2
                    EvaluateEvery = 1
                    MeasureDerivatives = 400
                    Simulations = 250
                    DerivativeSimulations = 250 }
                poisson
                [| at |]

        let quoted = compressor.Fisher[0, 0] / exact
        Expect.isTrue (quoted > 0.9 && quoted < 1.1) $"quoted {quoted:F3} of N/m")

let private wide =
    tensorTest "steps far wider than the error are warned of" (fun () ->
        let model = Model.create poisson (Prior.uniform [ "m", 1.0, 6.0 ])

        let train step =
            Imnn.train
                { settings with
                    Derivatives = FiniteDifference [| step |]
                    MeasureDerivatives = 500 }
                poisson
                [| at |]

        let told compressor =
            (Infer.gaussian model compressor (Simulator.field poisson [| at |] 4UL)).Warnings

        let error = 1.0 / sqrt exact

        let coarse = train (3.0 * error)

        match told coarse with
        | [ WideSteps [ "m", errors ] ] ->
            // F of chords claims more than there is, so that its errors are smaller
            Expect.isGreaterThan errors 3.0 "steps in errors"
        | other -> failtest $"{other}"

        let fine = train step
        Expect.isEmpty (told fine) "a step of an error"

        let collapsed =
            { coarse with
                Fisher = 0.1 * fine.Fisher }

        Expect.contains
            (told collapsed |> List.map _.Kind)
            "wide-steps"
            "an F that is quoted and has collapsed hides nothing")

let tests =
    testSequenced
    <| testList "counts" [ information; distributions; layer; trained; wide; sets ]
