/// Training on stored simulations: which of them choose, fit and are quoted, and that derivatives belong to their fields.
module StoredTests

open System
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open DoorTests
open TestSupport
open TorchSharp

let private problem = lazy (PowerLaw.create 16 ModeConvention.Ideal)

let private settings =
    { ImnnSettings.Default with
        Features = Features.filterBank 3 3 2
        Simulations = 60
        DerivativeSimulations = 30
        MinIterations = 20
        MaxIterations = 20
        EvaluateEvery = 5 }

/// A simulator of that name and shape that nobody may run.
let private elsewhere (simulator: Simulator) =
    { simulator with
        DrawNoise = fun _ -> failwith "stored simulations are not simulated"
        Field = fun _ _ -> failwith "stored simulations are not simulated"
        Tangents = None }

/// Stored simulations as tensors.
type private Made =
    { Fields: Tensor
      FieldDerivatives: Tensor }

let private stored made =
    StoredSimulations.ofTensors made.Fields made.FieldDerivatives

/// Fields of a seed from `first` on, with the derivatives of `derivatives` from `from` on.
let private set (simulator: Simulator) fiducial seed first fields from derivatives : Made =
    let theta = Tensors.ofVector fiducial

    let struct (_, tangents) =
        Simulator.withDerivatives simulator Autodiff theta (NoiseKey.Range(seed, from, derivatives))

    { Fields = Simulator.fields simulator theta (NoiseKey.Range(seed, first, fields))
      FieldDerivatives = tangents }

let private powerLaw seed first fields from derivatives =
    set problem.Value.Simulator problem.Value.Fiducial seed first fields from derivatives

let private train (training, heldOut) =
    Imnn.train
        { settings with
            Derivatives = Precomputed(stored training, stored heldOut) }
        (elsewhere problem.Value.Simulator)
        problem.Value.Fiducial

let private numbers =
    [ tensorTest "fewer derivatives than fields train; none, or more than fields, are refused" (fun () ->
          let kept m =
              let c = train (powerLaw 1UL 0UL 400 0UL m, powerLaw 2UL 0UL 600 0UL m)
              Expect.equal c.Simulations 1000 "counted"
              Expect.equal c.QuotedOn 300 "half of those held out"
              Fisher.retained c.Fisher (problem.Value.Exact.Fisher problem.Value.Fiducial)

          // 16² pixels and 20 steps; the scatter of F from few derivatives is large
          for m in [ 400; 150; 40 ] do
              let part = kept m
              Expect.isTrue (part > 0.4 && part < 1.5) $"{m} derivatives kept {part:P1}"

          let right = powerLaw 1UL 0UL 400 0UL 40

          let none =
              { right with
                  FieldDerivatives = right.FieldDerivatives.narrow (0L, 0L, 0L) }

          let more =
              { right with
                  Fields = right.Fields.narrow (0L, 0L, 30L) }

          refuses<SettingException> [ "derivatives of stored simulations"; "0 derivatives of 400" ] (fun () ->
              train (none, right) |> ignore)

          refuses<SettingException> [ "held out"; "0 derivatives" ] (fun () -> train (right, none) |> ignore)
          refuses<SettingException> [ "40 derivatives of 30 fields" ] (fun () -> train (more, right) |> ignore)

          let flat =
              { right with
                  FieldDerivatives =
                      right.FieldDerivatives
                      * (Tensors.ofVector [| 1.0; 0.0 |]).reshape(1L, 2L, 1L, 1L) }

          refuses<SimulatorException> [ "parameter 2 (B) has no effect" ] (fun () -> train (flat, right) |> ignore))

      tensorTest "the parts are disjoint, each with its share of the derivatives, whatever their number" (fun () ->
          for n, m in [ 20, 20; 21, 7; 100, 4; 9, 5 ] do
              let set =
                  StoredSimulations.ofTensors (torch.zeros (int64 n, 1L)) (torch.zeros (int64 m, 1L, 1L))

              let choosing, quoting = Stored.halves set
              Expect.equal (Array.append choosing quoting |> Array.sort) [| 0 .. n - 1 |] "all of them, once"
              let able = Array.filter (Stored.hasDerivative set) >> Array.length
              Expect.isLessThanOrEqual (abs (able choosing - able quoting)) 1 "derivatives"
              Expect.isLessThanOrEqual (abs (choosing.Length - quoting.Length)) 2 "fields")

      tensorTest
          "what chooses the weights is not quoted: F of the quoted half alone changes with that half alone"
          (fun () ->
              let training, held = powerLaw 1UL 0UL 300 0UL 100, powerLaw 2UL 0UL 400 0UL 100
              let _, quoting = Stored.halves (stored held)

              // other universes in the quoted half
              let other = powerLaw 3UL 0UL 400 0UL 100
              let rows = torch.tensor (quoting |> Array.map int64)

              let able =
                  torch.tensor (quoting |> Array.filter (fun i -> i < 100) |> Array.map int64)

              let mixed =
                  { Fields = held.Fields.index_copy (0L, rows, other.Fields.index_select (0L, rows))
                    FieldDerivatives =
                      held.FieldDerivatives.index_copy (0L, able, other.FieldDerivatives.index_select (0L, able)) }

              let first, second = train (training, held), train (training, mixed)

              let weights (c: Compressor) =
                  c.Network.Parameters
                  |> Seq.map (fun struct (_, w) -> Tensors.toArray w)
                  |> Seq.toArray

              Expect.equal (weights second) (weights first) "the weights do not see it"
              Expect.equal second.Linear first.Linear "nor does the layer"
              Expect.equal second.Statistics first.Statistics "nor the estimate"
              Expect.notEqual second.Fisher first.Fisher "planted: the quoted F does"

              Expect.equal (train (training, held)).Fisher first.Fisher "the same sets give the same bits") ]

/// Universes of whose derivatives some are like their fields, some not at all: noise of a variance and a mean; noise about a straight line.
let private universes =
    let white =
        Simulator.create "white" [ "s"; "m" ] [ 8; 8 ] [ 8; 8 ] (fun t z -> column 0L t * z + column 1L t)

    let line =
        Simulator.create "line" [ "a"; "b" ] [ 12 ] [ 12 ] (fun t z ->
            t.narrow (1L, 0L, 1L)
            + t.narrow (1L, 1L, 1L) * torch.linspace (-1.0, 1.0, 12L)
            + z)

    // the derivative is at right angles to the field, pixel by pixel: noise of its own turned in
    let turned =
        Simulator.create "turned" [ "a"; "b" ] [ 8; 8 ] [ 2; 8; 8 ] (fun t z ->
            (column 0L t).cos() * z.select (1L, 0L)
            + (column 0L t).sin() * z.select (1L, 1L)
            + column 1L t)

    lazy
        [ white, [| 1.0; 0.5 |]
          line, [| 0.2; 0.4 |]
          turned, [| 0.0; 0.3 |]
          problem.Value.Simulator, problem.Value.Fiducial
          (DarkMatter.create 16 ModeConvention.Ideal).Simulator, (DarkMatter.create 16 ModeConvention.Ideal).Fiducial
          (problem.Value.Simulator |> Observation.noisy (White 1.0)), problem.Value.Fiducial ]

let private pairings =
    [ tensorTest "right pairs never fire: six universes, many and few derivatives, ten seeds" (fun () ->
          for simulator, fiducial in universes.Value do
              for seed in 1UL .. 10UL do
                  for m in [ 4; 12; 60 ] do
                      Stored.check
                          simulator
                          (stored (set simulator fiducial (2UL * seed) 0UL 120 0UL m))
                          (stored (set simulator fiducial (2UL * seed + 1UL) 0UL 120 0UL m))
                      |> ignore)

      tensorTest "derivatives of other fields are caught where fields show it, at every seed" (fun () ->
          // the natural mistake: fields 0 … 199 and 200 … 399, but derivatives 0 … 49 and 50 … 99
          for seed in 1UL .. 20UL do
              refuses<SimulatorException>
                  [ "derivative 0 by parameter 1 (A) is that of field 50 of stored simulations" ]
                  (fun () ->
                      Stored.check
                          problem.Value.Simulator
                          (stored (powerLaw seed 0UL 200 0UL 50))
                          (stored (powerLaw seed 200UL 200 50UL 50))
                      |> ignore)

              // fields that are in neither set: one set follows its fields, the other does not
              refuses<SimulatorException> [ "mean correlation" ] (fun () ->
                  Stored.check
                      problem.Value.Simulator
                      (stored (powerLaw seed 0UL 200 0UL 50))
                      (stored (powerLaw (seed + 100UL) 0UL 200 900UL 50))
                  |> ignore)

              // shuffled
              let right = powerLaw seed 0UL 60 0UL 30

              refuses<SimulatorException> [ "is that of field 29" ] (fun () ->
                  Stored.check
                      problem.Value.Simulator
                      (stored
                          { right with
                              FieldDerivatives = right.FieldDerivatives.flip 0L })
                      (stored (powerLaw (seed + 100UL) 0UL 60 0UL 30))
                  |> ignore))

      tensorTest "both sets with derivatives of fields that nobody has: no information, and it says why" (fun () ->
          for seed in 1UL .. 3UL do
              refuses<SimulatorException> [ "zero within its error"; "other fields" ] (fun () ->
                  train (powerLaw seed 0UL 300 5000UL 100, powerLaw (seed + 50UL) 0UL 300 5000UL 100)
                  |> ignore)) ]

let tests = testSequenced <| testList "stored simulations" (numbers @ pairings)
