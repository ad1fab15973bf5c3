namespace FieldImnn

open System
open System.Diagnostics
open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// How the many simulations of an inference are run.
type SimulationSettings =
    {
        /// Simulations that are made, compressed and stored at a time.
        Chunk: int
        /// Where finished chunks are kept, and how far networks that learn from them have come, so that a run that was stopped or killed goes
        /// on from there.
        Folder: string option
        Progress: Progress
    }

    /// 200 at a time, kept nowhere.
    static member Default =
        { Chunk = 200
          Folder = None
          Progress = Progress.silent }

/// What else the folder of simulations is for.
module internal SimulationSettings =
    /// The training of networks that learn from the simulations: who is told of it, and where it keeps how far it has come, unless its own settings say so.
    let training (settings: SimulationSettings) (training: EnsembleSettings) =
        { training with
            Progress = settings.Progress
            Checkpoint =
                training.Checkpoint
                |> Option.orElse (settings.Folder |> Option.map Checkpoint.inFolder) }

/// Simulations that were made for rows of θ, without those that failed.
type Simulated =
    {
        /// The rows of θ that were simulated, in order.
        Theta: float[][]
        /// Where they stood among the rows that were asked for.
        Rows: int[]
        /// Their summaries: rows.
        Summaries: float[][]
        /// Simulations that were run, those that failed included.
        Made: int
        /// Those that failed and were left out.
        Failed: int
    }

/// Simulations as an inference sees them: θ in, summaries out. Simulation i of a purpose is a function of the seed, i and its θ
/// alone; finished chunks are files, so a run that ends before its time loses the chunk it was at, and the next one gets the same result.
module Simulations =
    let private fileName (purpose: string) start length =
        $"{purpose.Replace(' ', '-')}-{start:d7}-{length}.npz"

    let private fingerprintName = "fingerprint.txt"

    /// The rows of a chunk that are made anew when it is read: those of the lowest and highest value of (up to four) parameters, where
    /// a change of the simulator would show, and the last.
    let private probes (theta: float[][]) =
        let all = [| 0 .. theta.Length - 1 |]

        [| for k in 0 .. min 4 theta[0].Length - 1 do
               all |> Array.minBy (fun i -> theta[i][k])
               all |> Array.maxBy (fun i -> theta[i][k])
           theta.Length - 1 |]
        |> Array.distinct
        |> Array.sort

    /// A chunk: summaries of its rows, empty where the simulation failed, and the fingerprint of the probes' fields.
    type private Chunk = { X: float[][]; Fingerprint: string }

    let private store path (theta: float[][]) chunk =
        let matrix (rows: float[][]) =
            Npy.double [| rows.Length; rows[0].Length |] (Array.concat rows)

        let width = chunk.X |> Array.map Array.length |> Array.max |> max 1

        let filled =
            chunk.X
            |> Array.map (fun row -> if row.Length = 0 then Array.create width nan else row)

        Npz.write
            path
            { Arrays = Map [ "theta", matrix theta; "x", matrix filled ]
              Texts = Map [ fingerprintName, chunk.Fingerprint ] }

    /// The stored summaries of these very parameters, if the file is whole, and the fields of the probes, made anew, are those
    /// that were stored, to the bit, and their summaries, to 10⁻⁴: another seed, simulator or compressor must not pass for this one.
    let private load path (theta: float[][]) (again: int[] -> Chunk) =
        let stored = Npz.read path

        let rows key =
            match Npz.array path key stored with
            | { Shape = [| _; columns |] } as array -> array.Data |> Array.chunkBySize (max 1 columns)
            | _ -> [||]

        let x =
            rows "x"
            |> Array.map (fun row -> if Array.exists Double.IsNaN row then [||] else row)

        let same (a: float[]) (b: float[]) =
            a.Length = b.Length
            && Array.forall2 (fun u v -> abs (u - v) <= 1e-4 * (abs u + abs v) + 1e-12) a b

        if rows "theta" <> theta || x.Length <> theta.Length then
            Error $"{path} is of other parameters"
        else
            let probes = probes theta
            let anew = again probes

            if anew.Fingerprint <> Npz.text path fingerprintName stored then
                Error $"{path} is of another simulator or seed"
            elif not (Array.forall2 (fun i row -> same x[i] row) probes anew.X) then
                Error $"{path} is of another compressor"
            else
                Ok x

    /// The same where the file is there; who watches is told of one that does not serve.
    let private tryLoad tell path theta again =
        if File.Exists path then
            let found =
                try
                    load path theta again
                with :? StoreException as error ->
                    Error $"damaged: {error.Message}"

            match found with
            | Ok x -> Some x
            | Error why ->
                tell $"{why}; its simulations are made again"
                None
        else
            None

    /// Refuses another number of summaries than of fields, and summaries of several lengths.
    let private requireRows count (made: float[][]) =
        if
            made.Length <> count
            || Array.exists (fun (x: float[]) -> x.Length <> made[0].Length) made
        then
            let lengths = made |> Array.map Array.length |> Array.distinct |> Array.map string
            let came = String.concat ", " lengths
            raise (ShapeException("summaries", $"{count} rows of one length", $"{made.Length}, of lengths {came}"))

        made

    /// Summaries of one field after the other: rows, or what refused them.
    let private each (compress: Tensor -> float[][]) (fields: Tensor) : Result<float[], exn>[] =
        [| for i in 0 .. int fields.shape[0] - 1 ->
               try
                   Tensors.rows [| i |] fields |> compress |> Array.head |> Ok
               with
               | :? NonFiniteException
               | :? RangeException as fault -> Error fault |]

    /// Summaries of fields (n, shape…). Who refuses one of them (features with a logarithm of what is not positive) names itself; here the
    /// simulation is added to that, or left out.
    let private compressed simulator (compress: Tensor -> float[][]) rows keys (fields: Tensor) =
        try
            compress fields
        with
        | :? NonFiniteException
        | :? RangeException ->
            let found = each compress fields

            match simulator.Failures, found |> Array.tryFindIndex _.IsError with
            | _, None -> reraise ()
            | StopAtFailure, Some i ->
                let fault =
                    match found[i] with
                    | Error fault -> fault
                    | Ok _ -> null

                raise (
                    SimulatorException(
                        $"summaries of fields of {simulator.Name}",
                        $"features of every field (others that are finite there; {Simulator.skipping})",
                        $"\"{fault.Message}\" of the field of {Simulator.simulation simulator rows keys i}",
                        fault
                    )
                )
            | SkipFailures _, Some _ ->
                let width = found |> Array.tryPick Result.toOption |> Option.map _.Length
                let none = Array.create (defaultArg width 1) nan
                found |> Array.map (Result.defaultValue none)

    /// Fields of rows of θ with their keys, and the summaries of each, empty where it failed.
    let private simulateAtOnce
        (simulator: Simulator)
        compress
        (keys: NoiseKey[])
        (rows: float[][])
        : Tensor * float[][] =
        let struct (fields, finite) = Simulator.attempt simulator (Tensors.ofRows rows) keys
        let stops = (simulator.Failures = StopAtFailure)

        let refuse what where =
            if stops then
                Simulator.refuseNonFinite
                    simulator
                    what
                    $"finite numbers in every simulation ({Simulator.skipping})"
                    rows
                    keys
                    where

        refuse "fields" finite
        let good = [| 0 .. rows.Length - 1 |] |> Array.filter (fun i -> finite[i])
        let pick (all: 'v[]) = good |> Array.map (fun i -> all[i])

        let made: float[][] =
            if good.Length = 0 then
                [||]
            else
                (if good.Length = rows.Length then
                     fields
                 else
                     Tensors.rows good fields)
                |> compressed simulator compress (pick rows) (pick keys)
                |> requireRows good.Length

        let x = Array.create rows.Length [||]

        Array.iter2
            (fun i row ->
                if Array.forall Double.IsFinite row then
                    x[i] <- row)
            good
            made

        x |> Array.map (fun row -> row.Length > 0) |> refuse "summaries of fields"
        fields, x

    /// Simulates and compresses rows of θ with their keys, as many at a time as fit into memory; fingerprints the fields of some of them.
    let private simulate settings (simulator: Simulator) compress (keys: NoiseKey[]) (rows: float[][]) (probes: int[]) =
        Tensors.using (fun () ->
            let probed = if settings.Folder.IsSome then probes else [||]

            let made =
                Tensors.chunks (Tensors.fieldsAtOnce simulator.FieldShape) rows.Length
                |> Array.map (fun struct (start, length) ->
                    use _ = Tensors.scope ()
                    let last = start + length - 1

                    let fields, x =
                        simulateAtOnce simulator compress keys[start..last] rows[start..last]

                    let own =
                        probed
                        |> Array.filter (fun i -> i >= start && i <= last)
                        |> Array.map (fun i -> i - start)

                    struct (x, (Tensors.rows own fields).MoveToOuterDisposeScope()))

            { X = made |> Array.collect (fun struct (x, _) -> x)
              Fingerprint =
                if probed.Length > 0 then
                    let fields = torch.cat (made |> Array.map (fun struct (_, own) -> own), 0L)
                    Fingerprint.ofRows fields [| 0 .. probed.Length - 1 |]
                else
                    "" })

    /// Refuses a part of failures that is more than the policy allows.
    let private checkFailures simulator purpose made failed =
        match simulator.Failures with
        | SkipFailures most when float failed > most * float made ->
            raise (
                SimulatorException(
                    $"simulations of {simulator.Name}, {purpose}",
                    $"at most a part of {most} that fail ({Simulator.skipping})",
                    $"{failed} of {made} NaN or infinite"
                )
            )
        | _ -> ()

    /// The summaries of a chunk, from the folder or simulated now, and how many simulations that took.
    let private chunk settings tell simulator compress seed purpose (theta: float[][]) start length =
        let part = theta[start .. start + length - 1]
        let keys = NoiseKey.Range(seed, uint64 (start: int), length)

        let pick (rows: int[]) =
            simulate
                settings
                simulator
                compress
                (rows |> Array.map (fun i -> keys[i]))
                (rows |> Array.map (fun i -> part[i]))

        let path =
            settings.Folder
            |> Option.map (fun folder -> Path.Combine(folder, fileName purpose start length))

        match
            path
            |> Option.bind (fun p -> tryLoad tell p part (fun probes -> pick probes [| 0 .. probes.Length - 1 |]))
        with
        | Some x -> x, 0
        | None ->
            let made = pick [| 0 .. length - 1 |] (probes part)
            path |> Option.iter (fun p -> store p part made)
            made.X, length

    /// What is told of simulations: how fast, how many are accepted, how many failed.
    let private told progress purpose (completed, all) (run: int) (seconds: float) accepted start failed =
        let rate, part = float run / seconds, float accepted / float (start: int)

        Progress.report
            progress
            purpose
            completed
            all
            [ "simulations", float start
              if run > 0 then
                  "simulationsPerSecond", rate
              if accepted > 0 then
                  "acceptance", part
              if failed > 0 then
                  "failed", float failed ]
            ([ if run > 0 then
                   $"%.0f{rate} simulations/s"
               if accepted > 0 then
                   $"%.1f{100.0 * part} %% accepted"
               if failed > 0 then
                   $"{failed} failed" ]
             |> String.concat ", ")

    /// The seed of the fields of a purpose.
    let private seedOf seed (purpose: string) =
        NoiseKey.SeedFor(seed, $"fields of {purpose}")

    /// The simulations of a purpose at rows of θ, to be made beforehand.
    let internal planned seed purpose (theta: float[][]) : PlannedSimulations =
        { Purpose = purpose
          Seed = seedOf seed purpose
          First = 0UL
          Count = theta.Length
          Theta = theta
          Derivatives = None }

    /// Tells of the first chunk that cannot be used: the others are most likely of the same kind.
    let private tellOnce progress =
        let told = ref false

        fun note ->
            if not told.Value then
                Progress.news progress "checkpoint" [] note
                told.Value <- true

    /// Summaries of the simulations 0, 1, … of a purpose at the rows of θ, each compressed by `compress` (fields (n, shape…) → rows),
    /// up to the one that is the last wanted of those that `accepts` its summaries; all, if there are not so many. The chunk decides
    /// what is lost when the work is stopped and what is simulated beyond the last, and nothing else.
    let until
        settings
        simulator
        (compress: Tensor -> float[][])
        seed
        (purpose: string)
        accepts
        wanted
        (theta: float[][])
        : Simulated =
        Guard.AtLeast("chunk", 1L, int64 settings.Chunk) |> ignore
        Simulator.checkPolicy simulator.Failures |> ignore
        let seed = seedOf seed purpose
        let clock = Stopwatch.StartNew()
        let tell = tellOnce settings.Progress
        let rows, summaries = ResizeArray<int>(), ResizeArray<float[]>()
        let mutable run = 0
        let mutable accepted = 0
        let mutable start = 0
        let mutable made = 0

        while start < theta.Length && accepted < wanted do
            settings.Progress.Cancellation.ThrowIfCancellationRequested()

            let far =
                if wanted < Int32.MaxValue then
                    accepted, wanted
                else
                    start, theta.Length

            told settings.Progress purpose far run clock.Elapsed.TotalSeconds accepted start (made - summaries.Count)

            let length = min settings.Chunk (theta.Length - start)

            let found, anew =
                chunk settings tell simulator compress seed purpose theta start length

            run <- run + anew

            for x in found do
                if accepted < wanted then
                    if x.Length > 0 then
                        rows.Add made
                        summaries.Add x

                        if accepts x then
                            accepted <- accepted + 1

                    made <- made + 1

            start <- start + length

        checkFailures simulator purpose made (made - summaries.Count)
        let rows = rows.ToArray()

        { Theta = rows |> Array.map (fun i -> theta[i])
          Rows = rows
          Summaries = summaries.ToArray()
          Made = made
          Failed = made - rows.Length }

    /// Summaries of all rows of θ.
    let run settings simulator compress seed purpose theta =
        until settings simulator compress seed purpose (fun _ -> false) Int32.MaxValue theta
