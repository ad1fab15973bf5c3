/// Runs of neural likelihood on a task, each judged by C2ST against the reference posterior.
module Runs

open System.Diagnostics
open FieldImnn
open Task

type Run =
    {
        Task: string
        Method: string
        Simulations: int
        /// C2ST of each observation.
        C2st: float list
        Published: Published list
        /// Of simulating, training and sampling, for one observation.
        Seconds: float
        /// The worst over the observations, in steps.
        AutocorrelationTime: float
        Stuck: int
        /// Kinds of density that were learned in the end, as the rule chose them.
        Kinds: string list
        Warnings: string list
    }

/// The library's defaults, the same for every task.
let private settings rounds seed =
    { DelfiSettings.Default with
        Rounds = rounds
        Settled = 0.0
        Simulations =
            { SimulationSettings.Default with
                Chunk = 1000 }
        Seed = seed }

let private judge seed (observation: Observation) posterior =
    (C2st.compare seed observation.Reference (Posterior.resample (int seed) observation.Reference.Length posterior))
        .Accuracy

let private summarise task name simulations published observations seed (results: (DelfiResult * float) list) perRun =
    let posteriors = results |> List.collect (fun (r, _) -> List.ofArray r.Posteriors)

    let sampling =
        results
        |> List.collect (fun (r, _) -> r.Rounds |> Array.last |> _.Sampling |> Array.choose id |> List.ofArray)

    { Task = task.Name
      Method = name
      Simulations = simulations
      C2st = List.map2 (judge seed) observations posteriors
      Published = published
      Seconds = (results |> List.sumBy snd) / float perRun
      AutocorrelationTime =
        sampling
        |> List.map (fun s -> Array.max s.AutocorrelationTime)
        |> List.fold max 0.0
      Stuck = sampling |> List.sumBy _.Stuck
      Kinds =
        results
        |> List.map (fun (r, _) -> string r.Likelihood.Kind |> _.ReplaceLineEndings(" "))
        |> List.distinct
      Warnings =
        [ for r, _ in results do
              for warnings in r.Warnings do
                  for warning in warnings -> warning.Message ]
        |> List.distinct }

let private timed task rounds seed (targets: Observation list) =
    let clock = Stopwatch.StartNew()

    let result =
        Delfi.run (settings rounds seed) task.Simulator Tensors.toRows task.Prior [| for o in targets -> [| o.X |] |]

    result, clock.Elapsed.TotalSeconds

/// One round from the prior: the likelihood learned once serves all observations.
let single seed task simulations observations =
    [ timed task [ simulations ] seed observations ]
    |> fun results -> summarise task "NLE" simulations task.Single observations seed results 1

/// The library's rounds of this budget, for each observation its own.
let sequential seed task simulations observations =
    observations
    |> List.map (fun o -> timed task (DelfiSettings.RoundsOf simulations) seed [ o ])
    |> fun results -> summarise task "SNLE" simulations task.Sequential observations seed results observations.Length
