/// Work that is killed at random moments, again and again, and always goes on: does it end with the bits of a run that nobody disturbed, and what
/// does a kill cost?
module Kills

open System
open System.Diagnostics
open System.IO
open System.Text.Json.Nodes
open FieldImnn
open FieldImnn.Core

/// Work in a folder: a process that does it, and what stands for the bits of all that came out.
type Killable =
    { Name: string
      Start: string -> ProcessStartInfo
      Digest: string -> string }

/// The work, once from beginning to end and then killed at random moments.
type Outcome =
    {
        Name: string
        Kills: int
        /// Runs from the beginning to the end, with all their kills.
        Runs: int
        /// Those that ended with other bits.
        Different: int
        /// Seconds of an undisturbed run.
        Whole: float
        /// Seconds that a kill costs: the start of a process, what is read and checked, and what was lost.
        Lost: float
    }

let private start (work: Killable) folder =
    let info = work.Start folder
    info.Environment["OMP_NUM_THREADS"] <- "1"
    Process.Start info

/// Runs to the end.
let private finish (work: Killable) (child: Process) =
    child.WaitForExit()

    if child.ExitCode <> 0 then
        raise (SimulatorException($"process of {work.Name}", "exit code 0", $"{child.ExitCode}"))

let private timed (work: unit -> unit) =
    let clock = Stopwatch.StartNew()
    work ()
    clock.Elapsed.TotalSeconds

/// Seconds at the most until a kill: some for the start of a process, and several kills in a run.
let private latest whole = 2.0 + whole / 3.0

/// Runs in a folder until the work has ended, killing it after a random time, up to `most` times; how often that was.
let private chain work (random: Random) whole most folder =
    let rec go kills =
        use child = start work folder
        let milliseconds = int (1000.0 * latest whole * random.NextDouble())

        if kills < most && not (child.WaitForExit milliseconds) then
            child.Kill(entireProcessTree = true)
            child.WaitForExit()
            go (kills + 1)
        else
            finish work child
            kills

    go 0

/// Runs the work undisturbed, and then with so many kills or a few more, each run in a folder of its own in `out`, which is emptied;
/// `tell` is told of each.
let run (tell: string -> unit) (work: Killable) out (seed: int) (kills: int) : Outcome =
    let name = work.Name

    let folder part =
        let path = Path.Combine(out, $"{name}-{part}")

        if Directory.Exists path then
            Directory.Delete(path, recursive = true)

        Directory.CreateDirectory path |> ignore
        path

    let undisturbed = folder "whole"

    let whole =
        timed (fun () ->
            use child = start work undisturbed
            finish work child)

    let wanted = work.Digest undisturbed
    let random = Random seed

    let rec go runs killed different seconds =
        // work that ends before it can be killed is not tried for ever
        if killed >= kills || runs > kills then
            runs, killed, different, seconds
        else
            let folder = folder $"killed-{runs + 1}"
            let mutable own = 0

            let took =
                timed (fun () -> own <- chain work random whole (min 12 (kills - killed)) folder)

            let same = work.Digest folder = wanted
            tell $"{name}, run {runs + 1}: {own} kills, the same bits: {same}"
            go (runs + 1) (killed + own) (different + (if same then 0 else 1)) (seconds + took)

    let runs, killed, different, seconds = go 0 0 0 0.0

    { Name = name
      Kills = killed
      Runs = runs
      Different = different
      Whole = whole
      Lost = (seconds - float runs * whole) / float (max 1 killed) }

/// As JSON.
let cell (o: Outcome) : JsonNode =
    Report.fields
        [ "work", Report.value o.Name
          "kills", Report.value o.Kills
          "runs", Report.value o.Runs
          "different", Report.value o.Different
          "secondsUndisturbed", Report.value o.Whole
          "secondsLostByAKill", Report.value o.Lost ]

/// As lines of a table.
let table (cells: JsonNode list) =
    [ "| work | kills | runs that went on to their end | with other bits | seconds undisturbed | seconds lost by a kill |"
      "|---|---|---|---|---|---|"
      for c in cells do
          let number (name: string) = c[name].GetValue<float>()
          $"""| {c["work"].GetValue<string>()} | {c["kills"]} | {c["runs"]} | {c["different"]} | %.1f{number "secondsUndisturbed"} | %.1f{number "secondsLostByAKill"} |""" ]
