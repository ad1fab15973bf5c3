namespace FieldImnn

open System
open System.Diagnostics
open System.IO
open FieldImnn.Core
open FieldImnn.Core.Random

/// How the many simulations of an inference are run.
type SimulationSettings =
    {
        /// Simulations that are made, compressed and stored at a time.
        Chunk: int
        /// Where finished chunks are kept, so that a run that was stopped or killed goes on from them.
        Folder: string option
        Progress: Progress
    }

    /// 200 at a time, kept nowhere.
    static member Default =
        { Chunk = 200
          Folder = None
          Progress = Progress.silent }

/// Simulations as an inference sees them: θ in, summaries out. Simulation i of a purpose is a function of the seed, i and its θ
/// alone; finished chunks are files, so a run that ends before its time loses the chunk it was at, and the next one gets the same result.
module Simulations =
    let private fileName (purpose: string) start length =
        $"{purpose.Replace(' ', '-')}-{start:d7}-{length}.npz"

    let private store path (theta: float[][]) (x: float[][]) =
        let matrix (rows: float[][]) =
            Npy.double [| rows.Length; rows[0].Length |] (Array.concat rows)

        Npz.write
            path
            { Npz.empty with
                Arrays = Map [ "theta", matrix theta; "x", matrix x ] }

    /// The stored summaries of these very parameters, if the file is there, whole, and its first simulation made anew is the stored one:
    /// another seed, simulator or compressor must not pass for this one.
    let private tryLoad path (theta: float[][]) (again: unit -> float[]) =
        if not (File.Exists path) then
            None
        else
            try
                let stored = Npz.read path

                let rows key =
                    let array = Npz.array path key stored
                    array.Data |> Array.chunkBySize array.Shape[1]

                let kept, x = rows "theta", rows "x"

                let same (a: float[]) (b: float[]) =
                    a.Length = b.Length
                    && Array.forall2 (fun u v -> abs (u - v) <= 1e-4 * (abs u + abs v) + 1e-12) a b

                if kept = theta && x.Length = theta.Length && same (again ()) x[0] then
                    Some x
                else
                    None
            with :? StoreException ->
                None

    /// Summaries (rows) of the simulations 0, 1, … of a purpose at the rows of θ, each compressed by `compress` (fields (n, shape…) → rows),
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
        =
        Guard.AtLeast("chunk", 1L, int64 settings.Chunk) |> ignore
        let seed = NoiseKey.SeedFor(seed, $"fields of {purpose}")
        let clock = Stopwatch.StartNew()
        let mutable made = 0

        let simulate start (rows: float[][]) =
            Tensors.using (fun () ->
                let keys = NoiseKey.Range(seed, uint64 (start: int), rows.Length)
                compress (Simulator.fields simulator (Tensors.ofRows rows) keys))

        let chunk start length =
            let part = theta[start .. start + length - 1]

            let path =
                settings.Folder
                |> Option.map (fun folder -> Path.Combine(folder, fileName purpose start length))

            match
                path
                |> Option.bind (fun p -> tryLoad p part (fun () -> (simulate start part[..0])[0]))
            with
            | Some x -> x
            | None ->
                let x = simulate start part
                made <- made + length
                path |> Option.iter (fun p -> store p part x)
                x

        let summaries = ResizeArray<float[]>()
        let mutable accepted = 0
        let mutable start = 0

        while start < theta.Length && accepted < wanted do
            settings.Progress.Cancellation.ThrowIfCancellationRequested()

            let note =
                [ if made > 0 then
                      $"%.0f{float made / clock.Elapsed.TotalSeconds} simulations/s"
                  if accepted > 0 then
                      $"%.1f{100.0 * float accepted / float start} %% accepted" ]
                |> String.concat ", "

            let done', all =
                if wanted < Int32.MaxValue then
                    accepted, wanted
                else
                    start, theta.Length

            Progress.report settings.Progress purpose done' all note
            let length = min settings.Chunk (theta.Length - start)

            for x in chunk start length do
                if accepted < wanted then
                    summaries.Add x

                    if accepts x then
                        accepted <- accepted + 1

            start <- start + length

        summaries.ToArray()

    /// Summaries (rows) of all rows of θ.
    let run settings simulator compress seed purpose theta =
        until settings simulator compress seed purpose (fun _ -> false) Int32.MaxValue theta
