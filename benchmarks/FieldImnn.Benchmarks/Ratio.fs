/// How many times faster one way of doing a thing is than another, in one process and alternating, so that a busy or slow machine
/// slows both.
module Ratio

open System
open System.Diagnostics

/// One comparison; times in seconds, medians over the alternations. Ratio = reference / candidate, its median over the pairs.
type Measured =
    { Name: string
      Reference: float
      Candidate: float
      Ratio: float
      Goal: float
      /// Largest relative difference between the two results.
      Disagreement: float }

let median (values: float[]) =
    let sorted = Array.sort values
    let half = sorted.Length / 2

    if sorted.Length % 2 = 1 then
        sorted[half]
    else
        (sorted[half - 1] + sorted[half]) / 2.0

let private seconds (work: unit -> float[]) =
    let clock = Stopwatch.StartNew()
    work () |> ignore
    clock.Elapsed.TotalSeconds

let private largest: float[] -> float = Array.map abs >> Array.max

/// Runs both once to warm up and to compare their results, then times them in turn.
let compare name goal alternations (reference: unit -> float[]) (candidate: unit -> float[]) =
    let expected, received = reference (), candidate ()

    let pairs =
        [| for _ in 1..alternations do
               let r = seconds reference
               struct (r, seconds candidate) |]

    { Name = name
      Reference = pairs |> Array.map (fun struct (r, _) -> r) |> median
      Candidate = pairs |> Array.map (fun struct (_, c) -> c) |> median
      Ratio = pairs |> Array.map (fun struct (r, c) -> r / c) |> median
      Goal = goal
      Disagreement = largest (Array.map2 (-) expected received) / largest expected }

let print m =
    let verdict = if m.Ratio >= m.Goal then "reached" else "MISSED"

    Console.WriteLine(
        $"{m.Name}: {m.Ratio:F2} times (goal {m.Goal:F1}: {verdict}); {m.Reference:F4} s against {m.Candidate:F4} s; "
        + $"largest relative difference {m.Disagreement:E1}"
    )
