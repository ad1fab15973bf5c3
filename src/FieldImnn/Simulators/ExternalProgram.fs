namespace FieldImnn

open System
open System.Collections.Generic
open System.IO
open System.Threading
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// How a program that simulates is run.
type ProgramSettings =
    {
        /// Processes at a time.
        Processes: int
        /// The longest that one simulation may take; then its process ends, with everything that it has started.
        TimeLimit: TimeSpan
        /// How often a simulation is tried again, with the same θ and seed, when the program fails.
        Retries: int
        /// The name of the field's array, where the program writes several (.npz).
        Array: string option
        /// Where the program runs, and looks for its own files; the current folder if none is given.
        Folder: string option
        /// Where the program's output is kept until it is read; the system's folder for temporary files if none is given.
        Scratch: string option
        /// Stops everything, as Ctrl-C does.
        Cancellation: CancellationToken
    }

    /// As many processes as the machine has processors, an hour for each, no second try.
    static member Default =
        { Processes = Environment.ProcessorCount
          TimeLimit = TimeSpan.FromHours 1.0
          Retries = 0
          Array = None
          Folder = None
          Scratch = None
          Cancellation = CancellationToken.None }

/// Simulators that are programs in any language: `ExternalProgram.simulator ProgramSettings.Default "mine" [ "Ω_c"; "σ8" ] [ 64; 64 ]
/// (ExternalProgram.split "python3 simulate.py --theta {theta} --seed {seed} --out {out}")`.
module ExternalProgram =
    /// A command line as the list of its words: separated by spaces, which quotes (' or ") keep. There is no shell, and nothing else is special.
    let split (commandLine: string) : string list = ProgramCommand.split commandLine

    let private checkSettings (settings: ProgramSettings) =
        Guard.AtLeast("processes of the program at a time", 1L, int64 settings.Processes)
        |> ignore

        Guard.AtLeast("retries of the program", 0L, int64 settings.Retries) |> ignore

        if settings.TimeLimit <= TimeSpan.Zero then
            raise (SettingException("time limit of the program", "more than nothing", string settings.TimeLimit))

    /// The program's seed of a key: from 0 to 2³¹ − 1, which every language takes. The seeds of one NoiseKey.Seed differ for all indices
    /// below 2³¹: a Feistel network over 32 bits, walked until it comes below.
    let seedOf (key: NoiseKey) : int =
        let round i (half: uint32) =
            uint32 (SplitMix.Mix(key.Seed + (uint64 i <<< 32) + uint64 half)) &&& 0xFFFFu

        let permute (v: uint32) =
            let mutable left, right = v >>> 16, v &&& 0xFFFFu

            for i in 0..3 do
                let next = left ^^^ round i right
                left <- right
                right <- next

            (left <<< 16) ||| right

        // beyond 2³¹ indices the upper bits choose another start
        let folded = uint32 key.Index ^^^ uint32 (key.Index >>> 32)
        let mutable v = permute (folded &&& 0x7FFFFFFFu)

        while v > 0x7FFFFFFFu do
            v <- permute v

        int v

    /// The array that a program wrote, .npy or .npz.
    let private read (settings: ProgramSettings) (path: string) : NpyArray =
        let bytes = Files.readAllBytes path

        if bytes.Length > 1 && bytes[0] = byte 'P' && bytes[1] = byte 'K' then
            let npz = Npz.ofBytes path bytes

            match settings.Array, List.ofSeq npz.Arrays.Values with
            | Some name, _ -> Npz.array path name npz
            | None, [ single ] -> single
            | None, several ->
                raise (StoreException(path, "one array, or its name in ProgramSettings.Array", $"{several.Length}"))
        else
            Npy.ofBytes path bytes

    /// What a program is, and what it said.
    type private Running =
        {
            Settings: ProgramSettings
            Name: string
            Parameters: string[]
            Shape: int[]
            Command: string list
            /// Why simulations failed, by seed and θ: the latest.
            Said: Dictionary<struct (int * string), string>
        }

    let private at running (theta: float[]) (seed: int) =
        let theta = Simulator.exactly running.Parameters theta
        $"of {theta}, seed {seed}"

    /// The field, or why there is none. Another shape than the simulator's is nobody's bad luck, and stops everything.
    let private once running (theta: float[]) seed (folder: string) stop : Result<NpyArray, string> =
        let out = Path.Combine(folder, "field.npy")
        let place = defaultArg running.Settings.Folder (Directory.GetCurrentDirectory())
        let command = ProgramCommand.words running.Parameters running.Command theta seed out

        let quoting said =
            if said = "" then
                ", and said nothing"
            else
                $", and said \"{said}\""

        match ChildProcess.run command place running.Settings.TimeLimit stop with
        | TimedOut said ->
            let limit = running.Settings.TimeLimit.TotalSeconds
            Error $"the program ran longer than {Text.number limit} s{quoting said}"
        | Exited(0, said) when not (File.Exists out) -> Error $"the program wrote nothing to {{out}}{quoting said}"
        | Exited(0, _) ->
            try
                let made = read running.Settings out
                let surplus = made.Shape.Length - running.Shape.Length

                if
                    surplus < 0
                    || made.Shape |> Array.take surplus |> Array.exists ((<>) 1)
                    || Array.skip surplus made.Shape <> running.Shape
                then
                    raise (
                        ShapeException(
                            $"field of program {running.Name} {at running theta seed}",
                            $"shape {NpyHeader.shapeText running.Shape}",
                            NpyHeader.shapeText made.Shape
                        )
                    )

                Ok made
            with :? StoreException as fault ->
                Error
                    $"the program wrote to {{out}} what cannot be read: expected {fault.Expected}; received {fault.Received}"
        | Exited(code, said) -> Error $"the program ended with exit code {code}{quoting said}"

    let rec private tried running theta seed folder stop left =
        if Directory.Exists folder then
            Directory.Delete(folder, true)

        Directory.CreateDirectory folder |> ignore

        match once running theta seed folder stop with
        | Error _ when left > 0 -> tried running theta seed folder stop (left - 1)
        | ended -> ended

    /// Failures, before any success, that show a program which does not work at all.
    let private hopeless = 16

    let private remember running seed theta why =
        lock running.Said (fun () ->
            if running.Said.Count > 10_000 then
                running.Said.Clear()

            running.Said[struct (seed, at running theta seed)] <- why)

    /// Fields of rows of θ and seeds: those that failed are None, and why is remembered. Output is kept in the folder until it is read.
    let private simulate running (rows: float[][]) (seeds: int[]) (folder: string) : NpyArray option[] =
        let made = Array.create seeds.Length None
        let worked, failed = ref 0, ref 0

        let one stop i =
            let theta = rows[min i (rows.Length - 1)]
            let own = Path.Combine(folder, string i)

            match tried running theta seeds[i] own stop running.Settings.Retries with
            | Ok field ->
                made[i] <- Some field
                Interlocked.Increment worked |> ignore
            | Error why ->
                remember running seeds[i] theta why
                let failures = Interlocked.Increment failed

                if worked.Value = 0 && failures >= hopeless then
                    raise (
                        SimulatorException(
                            $"program {running.Name}",
                            "a field from some simulations",
                            $"none from {failures}, the last {at running theta seeds[i]}: {why}"
                        )
                    )

            Directory.Delete(own, true)

        ChildProcess.pool running.Settings.Processes seeds.Length running.Settings.Cancellation one
        made

    /// Fields (n, shape…), NaN where there is none; float32 if all that came is.
    let private assemble (shape: int[]) (made: NpyArray option[]) : Tensor =
        let pixels = Array.fold (*) 1 shape

        let single =
            made |> Array.forall (Option.forall _.SinglePrecision)
            && Array.exists Option.isSome made

        let all = Array.create (made.Length * pixels) nan

        made
        |> Array.iteri (fun i field -> field |> Option.iter (fun f -> f.Data.CopyTo(all, i * pixels)))

        let tensor =
            torch.tensor(all).reshape(Array.append [| made.Length |] shape |> Array.map int64)

        if single then
            tensor.``to`` torch.ScalarType.Float32
        else
            tensor

    let private field running (theta: Tensor) (noise: Tensor) : Tensor =
        let rows = Tensors.toRows theta
        let seeds = Tensors.toArray noise |> Array.map int

        let folder =
            Path.GetFullPath( // the program may run in another folder
                Path.Combine(defaultArg running.Settings.Scratch (Path.GetTempPath()), $"fieldimnn-{Guid.NewGuid():N}")
            )

        Files.ensureWritableFolder folder

        try
            (simulate running rows seeds folder |> assemble running.Shape).``to`` noise.device
        finally
            Directory.Delete(folder, true)

    let private reason running (theta: float[]) (noise: Tensor) =
        let seed = int (Tensors.toNumber noise)

        lock running.Said (fun () ->
            match running.Said.TryGetValue(struct (seed, at running theta seed)) with
            | true, why -> Some $"{why} (the program's seed {seed})"
            | _ -> None)

    /// A simulator that runs a program for every simulation: its words, in which {theta} stands for the parameters with commas between them
    /// ({NAME} for that of a name), {seed} for a whole number from 0 to 2³¹ − 1, and {out} for the .npy file to write one field to, float32 or
    /// float64, of the shape (a .npz of one array may be written there, too). No shell reads the words. The program must take all its randomness
    /// from the seed, and end with exit code 0: then differences (FiniteDifference) have the same noise on both sides; there is no other
    /// derivative. A simulation without a field is NaN to those who ask for it, as are pixels that the program made NaN: an inference stops
    /// with an error that has θ, seed and standard error, or leaves it out and counts it (Simulator.skippingFailures).
    let simulator
        (settings: ProgramSettings)
        (name: string)
        (parameters: string list)
        (fieldShape: int list)
        (command: string list)
        : Simulator =
        checkSettings settings
        ProgramCommand.check parameters command

        let running =
            { Settings = settings
              Name = name
              Parameters = Array.ofList parameters
              Shape = Array.ofList fieldShape
              Command = command
              Said = Dictionary() }

        { Simulator.create name parameters fieldShape [ 1 ] (field running) with
            // double precision holds a seed
            DrawNoise = fun keys -> torch.tensor(keys |> Array.map (seedOf >> float)).reshape(int64 keys.Length, 1L)
            Tangents =
                Some(fun _ _ ->
                    raise (
                        SettingException(
                            $"derivatives of program {name}",
                            "FiniteDifference, with a step for each parameter: a program has no gradient",
                            "Autodiff"
                        )
                    ))
            Reason = reason running }
