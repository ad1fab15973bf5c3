/// Observed fields that no universe of the model looks like: a hole, pixels in another order, noise, other units, and those that are fine.
module LooksTests

open Expecto
open FieldImnn
open FieldImnn.Core.Random
open MathNet.Numerics.Distributions
open TestSupport
open TorchSharp

let private n = 32

let private filter, private unit =
    let k = torch.fft.fftfreq (int64 n, 1.0 / (2.0 * System.Math.PI))
    let squared = (k.square().unsqueeze 1L + k.square ()) |> Tensors.keep

    (fun (l: Tensor) -> (squared * l.square () * (-0.5).ToScalar()).exp()),
    (fun (f: Tensor) -> f.square().mean([| 1L; 2L |], true).sqrt())

/// The product of two smooth fields, and one of them, each through noise.
let private product =
    Simulator.create "product" [ "a"; "L"; "σ" ] [ 2; n; n ] [ 4; n; n ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
        let a, l, sigma = parameter 0L, parameter 1L, parameter 2L
        let f = filter l

        let smooth (w: Tensor) =
            torch.fft.ifft2(torch.fft.fft2 w * f).real / unit f

        let g1, g2 = smooth (noise.select (1L, 0L)), smooth (noise.select (1L, 1L))

        torch.stack (
            [| a * g1 * g2 + sigma * noise.select (1L, 2L)
               g1 + sigma * noise.select (1L, 3L) |],
            1L
        ))
    |> Simulator.withChannels

let private fiducial = [| 1.2; 1.8; 0.4 |]

let private trained =
    lazy
        Imnn.train
            { ImnnSettings.Default with
                Fit = 3000
                Quote = 5000
                MeasureDerivatives = 2000 }
            product
            fiducial

let private model =
    Model.create product (Prior.uniform [ "a", 0.2, 3.0; "L", 0.5, 4.0; "σ", 0.1, 1.0 ])

let private fields theta seed count =
    Simulator.fields product theta (NoiseKey.Range(seed, 0UL, count))

/// What a field looks unlike for, if it does.
let private told compressor field =
    match Compressor.looks compressor field with
    | Some(struct (_, allowed, what)) when allowed > 1.0 -> Some what
    | _ -> None

/// A field of the model with channel 2 changed.
let private changed (change: Tensor -> Tensor) : Tensor =
    let field: Tensor = Simulator.field product fiducial 12UL
    torch.stack ([| field.select (0L, 0L); change (field.select (0L, 1L)) |], 0L)

let private permuted (x: Tensor) : Tensor =
    let order = Array.init (n * n) int64
    PhiloxRandom(3UL, "permutation").Shuffle order
    x.flatten().index_select(0L, torch.tensor order).reshape x.shape

let private scatter =
    lazy (Simulator.field product fiducial 77UL).flatten().narrow(0L, 0L, int64 (n * n))

let private faults: (string * string * (Tensor -> Tensor)) list =
    [ "a hole of an eighth",
      "part of equal neighbours",
      fun x ->
          let x = x.clone ()
          x.narrow(0L, 0L, int64 (n / 8)).zero_() |> ignore
          x
      "pixels in another order", "correlation of neighbours", permuted
      "saturation above half an sd", "part of", (fun x -> x.clamp_max (0.5.ToScalar()))
      "a gradient along axis 1", "channel 2", fun x -> x + 8.0 * torch.linspace(-1.0, 1.0, int64 n).unsqueeze 1L
      "noise in one half",
      "channel 2",
      (fun x ->
          let noise = (permuted (scatter.Force())).reshape x.shape

          let half =
              torch.cat ([| torch.zeros (int64 (n / 2), int64 n); torch.ones (int64 (n / 2), int64 n) |], 0L)

          x + 3.0 * noise * half)
      "other units, by their exponential", "", (fun x -> x.exp ()) ]

let private caught =
    faults
    |> List.map (fun (name, what, change) ->
        tensorTest $"{name} is told of, by what is unlike" (fun () ->
            let compressor = trained.Force()

            match told compressor (changed change) with
            | Some found -> Expect.stringContains found what "what is unlike"
            | None -> failtest "not told of"

            Expect.isNone (told compressor (changed id)) "planted: no fault"))

/// The warnings of an inference of a field that a compressor is trained for.
let private warned change field =
    let settings =
        { ImnnSettings.Default with
            Fit = 2000
            Quote = 2000
            MeasureDerivatives = 1000 }

    let rounds =
        Infer.refit model (Recipe.ofSettings settings) ((field: Tensor).unsqueeze 0L)

    let found = Infer.gaussian model (change (List.last rounds).Compressor) field
    found.Warnings |> List.map _.Kind

let private inferred =
    tensorTest
        "an inference of pixels in another order, which training follows to where its estimates are, is warned of"
        (fun () ->
            let shuffled = changed permuted
            Expect.contains (warned id shuffled) "unlike-fiducial" "pixels in another order"

            let blind (c: Compressor) = { c with Plain = None; Typical = None }
            Expect.isEmpty (warned blind shuffled) "planted: nothing known of the looks"
            Expect.isEmpty (warned id (changed id)) "the model's own")

/// How many times as unusual as allowed fields at θ look, sorted.
let private alarms (theta: Tensor) count =
    let compressor = trained.Force()

    (fields theta 901UL count).unbind 0L
    |> Array.map (fun field ->
        match Compressor.looks compressor field with
        | Some(struct (_, allowed, _)) -> allowed
        | None -> failtest "nothing known of the looks")
    |> Array.sort

let private fine =
    [ 0.0; 1.0; 2.0 ]
    |> List.map (fun errors ->
        tensorTest $"of fields {errors} errors from the fiducial, at most one in 200 is called unlike it" (fun () ->
            let count = 600
            let lower = (trained.Force()).Fisher.Cholesky().Factor.Transpose().Inverse()
            let random = PhiloxRandom(5UL, "directions")

            let theta =
                Array.init count (fun _ ->
                    let v = Array.init 3 (fun _ -> Normal.InvCDF(0.0, 1.0, random.NextDouble()))
                    let norm = sqrt (Array.sumBy (fun x -> x * x) v / 3.0)

                    let step =
                        lower
                        * MathNet.Numerics.LinearAlgebra.Vector<float>.Build.DenseOfArray v
                        * (errors / norm)

                    Array.map2 (+) fiducial (step.ToArray()))

            let found = alarms (Tensors.ofRows theta) count
            Expect.isLessThan found[count - 4] 1.0 "the fourth of 600"
            Expect.isGreaterThan found[count / 2] 0.2 "planted: a measure that never rises"))

let private others =
    [ tensorTest "one axis, three axes and counts have their looks, too, and constants break them" (fun () ->
          for shape in [ [ 40 ]; [ 6; 6; 6 ]; [ 3; 8; 8 ] ] do
              let all = shape |> List.map int64 |> Array.ofList
              let channels = if shape = [ 3; 8; 8 ] then 3 else 1

              let made seed : Tensor =
                  use generator = new torch.Generator(seed)
                  torch.poisson (torch.full (Array.append [| 1000L |] all, 3.0.ToScalar()), generator)

              let _, rows = PlainStatistics.ofFields channels (made 1UL)
              let none = Array.create rows.Length [| 0.0 |]

              let known =
                  PlainStatistics.tryFit rows (rows |> Array.mapi (fun i _ -> [| sin (float i) |]))
                  |> Option.get

              let times row =
                  let struct (times, _, _) = PlainStatistics.unusual known [| 0.0 |] row in times

              let names, fresh = PlainStatistics.ofFields channels (made 2UL)
              Expect.equal names.Length (PlainStatistics.count all channels) "as many as named"
              let found = fresh |> Array.map times
              Expect.isLessThan (found |> Array.filter (fun t -> t > 1.1) |> Array.length) 6 "of 1000"

              let _, still =
                  PlainStatistics.ofFields channels (torch.full (Array.append [| 1L |] all, 3.0f.ToScalar()))

              Expect.isGreaterThan (times still[0]) 2.0 "all pixels equal"
              Expect.isNone (PlainStatistics.tryFit rows[..8] none[..8]) "too few to know") ]

let private freed =
    tensorTest "fields that were looked at are freed before the next are made" (fun () ->
        let mutable before: Tensor option = None

        let make () =
            before
            |> Option.iter (fun fields -> Expect.isTrue fields.IsInvalid "those before")

            let made = fields (Tensors.ofVector fiducial) 7UL 500
            before <- Some made
            made

        let found = trained.Force() |> Compressor.looking [| make; make |]
        Expect.isSome found.Plain "of 1,000"
        Expect.isNone (trained.Force() |> Compressor.looking [| make |]).Plain "planted: too few")

/// Simulations unlike the fiducial's are moved away from it, as long as no observed field is like them: for a neural posterior they are not, which
/// would learn the ring that they make.
let private beside =
    tensorTest "a neural posterior is the same with and without an unlike field beside" (fun () ->
        let settings =
            { NpeSettings.Default with
                Budget = 300
                Draws = 200 }

        let field = changed id
        let compressor = trained.Force()

        let first method fields =
            (method model (Infer.compression compressor |> Compression.about fields) fields
             |> List.head
            : Inferred)
                .Posterior.Samples

        let both = [ field; field * 20.0 ]
        Expect.equal (first (Method.npe settings) [ field ]) (first (Method.npe settings) both) "the same draws"

        let summaries fields =
            Compression.ofField (Infer.compression compressor |> Compression.about fields) (field * 20.0)

        Expect.notEqual (summaries [ field ]) (summaries both) "planted: what is compared does depend on it")

let private regressed =
    tensorTest "a regression over the prior knows what fields look like all over it" (fun () ->
        let theta = Prior.sample 11 0L 4000 model.Prior

        let slices =
            Simulator.fields product (Tensors.ofRows theta) (NoiseKey.Range(21UL, 0UL, 4000))
            |> Slices.ofTensor

        let toldOf field =
            let compressor = Regression.trainFor ImnnSettings.Default product theta slices field

            told compressor field

        let name, _, hole = List.head faults
        Expect.isSome (toldOf (changed hole)) name
        Expect.isNone (toldOf (changed id)) "planted: the model's own")

let tests =
    testList
        "looks"
        [ yield! caught
          inferred
          freed
          beside
          regressed
          yield! fine
          yield! others ]
