/// How many times faster one way of doing a thing is than another, in one process and alternating, so that a busy or slow machine
/// slows both.
module Ratio

open System
open System.Diagnostics

/// One comparison; times in seconds, medians over the alternations. Ratio = reference / candidate, its median over the pairs.
type Measured =
    {
        Name: string
        Reference: float
        Candidate: float
        Ratio: float
        Goal: float
        /// Whether the goal is an upper bound (a cost) rather than a lower one (a speed-up).
        AtMost: bool
        /// Largest relative difference between the two results.
        Disagreement: float
    }

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
      AtMost = false
      Disagreement = largest (Array.map2 (-) expected received) / largest expected }

/// How many times longer a piece of work takes than its unavoidable part; the two compute different things.
let cost name goal alternations (work: unit -> float[]) (part: unit -> float[]) =
    { compare name goal alternations work part with
        AtMost = true
        Disagreement = nan }

/// A ratio of two measured quantities other than times.
let quotient name goal reference candidate =
    { Name = name
      Reference = reference
      Candidate = candidate
      Ratio = reference / candidate
      Goal = goal
      AtMost = true
      Disagreement = nan }

/// Whether the goal was reached.
let reached m =
    if m.AtMost then m.Ratio <= m.Goal else m.Ratio >= m.Goal

let print m =
    let bound = if m.AtMost then "at most" else "at least"

    let agreement =
        if System.Double.IsNaN m.Disagreement then
            ""
        else
            $"; largest relative difference {m.Disagreement:E1}"

    let verdict = if reached m then "reached" else "MISSED"

    Console.WriteLine(
        $"{m.Name}: {m.Ratio:F2} times (goal {bound} {m.Goal:F1}: {verdict}); {m.Reference:G4} against {m.Candidate:G4}{agreement}"
    )
