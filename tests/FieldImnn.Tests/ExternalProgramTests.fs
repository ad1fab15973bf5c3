/// Programs as simulators. Truths: the fields that the program is known to write, which seeds it fails at, and which processes are alive.
module ExternalProgramTests

open System
open System.Diagnostics
open System.Globalization
open System.IO
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open TestSupport
open TorchSharp

/// The argument with which the test program simulates a field instead of running tests, and the one with which it waits for a simulator
/// that hangs.
let argument, hanging = "--simulate", "--simulate-and-hang"

let private side = 3

/// Pixel i of the program's field at a, b and a seed: a z_i + b, where z is a sine that any language has.
let private pixel (a: float) (b: float) (seed: int) i =
    a * sin (float (seed % 1000) + 10.0 * float i) + b

/// What the test program does with the argument, a mode, θ, a seed, a path and whatever else: it exits with what the mode says.
let simulate (words: string list) : int =
    let mode, theta, seed, out =
        match words with
        | mode :: theta :: seed :: out :: _ ->
            mode,
            theta.Split ','
            |> Array.map (fun v -> Double.Parse(v, CultureInfo.InvariantCulture)),
            int seed,
            out
        | _ -> failwith "mode θ seed out"

    let write shape =
        Array.init (Array.fold (*) 1 shape) (pixel theta[0] theta[1] seed)

    let square = [| side; side |]

    match mode with
    | "odd-fails" when seed % 2 = 1 ->
        eprintfn $"no convergence at seed {seed}"
        7
    | "second-try" when not (File.Exists words[4]) ->
        File.WriteAllText(words[4], "")
        7
    | "hangs" ->
        File.WriteAllText(Path.Combine(words[4], $"{Environment.ProcessId}.pid"), "")
        eprintfn "still at it"
        Thread.Sleep 60_000
        0
    | "says" ->
        eprintfn $"<{words[4]}>"
        1
    | "nan" ->
        Npy.write out (Npy.double square (write square |> Array.mapi (fun i v -> if i = 4 then nan else v)))
        0
    | "shape" ->
        Npy.write out (Npy.double [| side; side + 1 |] (write [| side; side + 1 |]))
        0
    | "npz" ->
        Npz.write
            out
            { Npz.empty with
                Arrays =
                    Map
                        [ "field", Npy.single square (write square |> Array.map float32)
                          "other", Npy.single [| 1 |] [| 0.0f |] ] }

        0
    | "own-noise" ->
        Npy.write out (Npy.double square (Array.init 9 (fun _ -> Random.Shared.NextDouble())))
        0
    | "nothing" -> 0
    | _ ->
        Npy.write out (Npy.double [| 1; side; side |] (write square))
        0

let private settings =
    { ProgramSettings.Default with
        Processes = 2
        TimeLimit = TimeSpan.FromSeconds 30.0 }

/// The test program as a simulator, in a mode, with further arguments.
let private program settings mode (further: string list) =
    ExternalProgram.simulator
        settings
        "own"
        [ "a"; "b" ]
        [ side; side ]
        ([ "dotnet"
           Reflection.Assembly.GetExecutingAssembly().Location
           argument
           mode
           "{theta}"
           "{seed}"
           "{out}" ]
         @ further)

let private keys n = NoiseKey.Range(3UL, 5UL, n)
let private theta = [| 1.5; -0.25 |]

let private expected (keys: NoiseKey[]) a b =
    keys
    |> Array.collect (fun key -> Array.init 9 (pixel a b (ExternalProgram.seedOf key)))

/// The programs that have begun in a folder and still run; those that ended and wait to be collected do not.
let private alive folder =
    Directory.GetFiles(folder, "*.pid")
    |> Array.filter (fun path ->
        let status = $"/proc/{Path.GetFileNameWithoutExtension path}/status"

        try
            not (File.ReadAllText(status).Contains "State:\tZ")
        with :? IOException ->
            false)

let private right =
    [ tensorTest "fields are those of the program, by θ and seed, and differences have the same noise" (fun () ->
          let simulator = program settings "right" []
          let keys = keys 3
          let theta' = Tensors.ofVector theta
          let fields = Simulator.fields simulator theta' keys
          Expect.equal (Tensors.toArray fields) (expected keys theta[0] theta[1]) "to the bit"

          let struct (_, tangents) =
              Simulator.withDerivatives simulator (FiniteDifference [| 0.1; 0.1 |]) theta' keys

          // the field is linear in θ: ∂/∂a = z, ∂/∂b = 1
          close 1e-12 (Tensors.toArray (tangents.select (1L, 0L))) (expected keys 1.0 0.0) "∂/∂a"
          close 1e-12 (Tensors.toArray (tangents.select (1L, 1L))) (Array.create 27 1.0) "∂/∂b"

          refuses<SettingException> [ "own"; "FiniteDifference"; "no gradient" ] (fun () ->
              Simulator.withDerivatives simulator Autodiff theta' keys |> ignore)

          let wide =
              program
                  { settings with
                      Array = Some "field"
                      Processes = 1 }
                  "npz"
                  []

          let again = Simulator.fields wide theta' keys
          Expect.equal again.dtype torch.ScalarType.Float32 "single precision stays so"
          close 1e-6 (Tensors.toArray again) (expected keys theta[0] theta[1]) ".npz, and one process at a time"
          Door.batch simulator [| theta; [| 1.6; 0.1 |] |] 1UL)

      tensorTest "planted: a program that draws randomness of its own is called that" (fun () ->
          refuses<SimulatorException> [ "another field each time" ] (fun () ->
              Door.batch (program settings "own-noise" []) [| theta; [| 1.6; 0.1 |] |] 1UL))

      testCase "seeds of one key's seed all differ, and are taken by every language" (fun () ->
          let seeds = NoiseKey.Range(11UL, 0UL, 200_000) |> Array.map ExternalProgram.seedOf

          Expect.hasLength (Array.distinct seeds) seeds.Length "all different"
          Expect.isTrue (seeds |> Array.forall (fun s -> s >= 0)) "from 0 to 2³¹ − 1"
          let mean = seeds |> Array.averageBy float
          Expect.isLessThan (abs (mean / 2.0 ** 30.0 - 1.0)) 0.01 "spread evenly"
          let other = NoiseKey.Range(12UL, 0UL, 1000) |> Array.map ExternalProgram.seedOf
          Expect.isLessThan (Set.intersect (Set seeds[..999]) (Set other)).Count 3 "other seeds, other numbers")

      testCase "arguments reach the program as they are: there is no shell" (fun () ->
          let strange = "a  b; $HOME `id` \"*\" | > '"

          refuses<SimulatorException> [ $"said \"<{strange}>\"" ] (fun () ->
              Tensors.using (fun () ->
                  Simulator.fields (program settings "says" [ strange ]) (Tensors.ofVector theta) (keys 1)
                  |> ignore))

          Expect.equal
              (ExternalProgram.split """python3 "my file.py"  --x='{theta} ' "" {out}""")
              [ "python3"; "my file.py"; "--x={theta} "; ""; "{out}" ]
              "words of a command line"

          refuses<SettingException> [ "closing quotes" ] (fun () -> ExternalProgram.split "a 'b" |> ignore))

      testCase "a command that leaves something out, or cannot be started, is refused" (fun () ->
          let make command =
              ExternalProgram.simulator settings "own" [ "Ω_c"; "σ8" ] [ 2 ] (ExternalProgram.split command)

          refuses<SettingException> [ "none of {σ8}, {seed}" ] (fun () -> make "sim {Ω_c} {out}" |> ignore)
          refuses<SettingException> [ "{tetha}" ] (fun () -> make "sim {tetha} {seed} {out}" |> ignore)
          make """sim {"json": 1} {Ω_c} {σ8} {seed} {out}""" |> ignore

          refuses<SimulatorException> [ "no-such-program"; "can be started" ] (fun () ->
              Simulator.field (make "no-such-program {theta} {seed} {out}") [| 0.3; 0.8 |] 1UL
              |> ignore)

          refuses<SettingException> [ "time limit" ] (fun () ->
              program
                  { settings with
                      TimeLimit = TimeSpan.Zero }
                  "right"
                  []
              |> ignore)) ]

let private failing =
    [ tensorTest "a program that hangs is ended, with an error of its θ, seed and what it said" (fun () ->
          inFolder (fun folder ->
              let simulator =
                  program
                      { settings with
                          TimeLimit = TimeSpan.FromSeconds 1.5 }
                      "hangs"
                      [ folder ]

              refuses<SimulatorException>
                  [ "longer than 1.5 s"
                    "still at it"
                    "a = 1.5, b = -0.25"
                    string (ExternalProgram.seedOf (Array.head (keys 1))) ]
                  (fun () -> Simulator.fields simulator (Tensors.ofVector theta) (keys 1) |> ignore)

              Expect.isNonEmpty (Directory.GetFiles folder) "it ran"
              Expect.isEmpty (alive folder) "it does no more"))

      tensorTest "failures stop an inference, or are left out and counted: exactly the seeds that fail" (fun () ->
          let simulator = program settings "odd-fails" []
          let n = 12
          let rows = Array.init n (fun i -> [| 1.0 + 0.1 * float i; 0.0 |])

          let run simulator =
              Simulations.run (chunks n) simulator (fun d -> Tensors.toRows (d.flatten 1L)) 1UL "a test" rows

          let odd =
              NoiseKey.Range(NoiseKey.SeedFor(1UL, "fields of a test"), 0UL, n)
              |> Array.map (fun key -> ExternalProgram.seedOf key % 2 = 1)

          let first = Array.findIndex id odd

          refuses<SimulatorException>
              [ $"no field from {odd |> Array.filter id |> Array.length} of {n}"
                "exit code 7"
                "no convergence at seed"
                Simulator.exactly [| "a"; "b" |] rows[first] ]
              (fun () -> run simulator |> ignore)

          let made = run (Simulator.skippingFailures 0.9 simulator)
          Expect.equal made.Made n "all were run"
          Expect.equal made.Rows (Array.init n id |> Array.filter (fun i -> not odd[i])) "those that worked"
          Expect.equal made.Failed (odd |> Array.filter id |> Array.length) "the others are counted"

          refuses<SimulatorException> [ "at most a part of 0.01" ] (fun () ->
              run (Simulator.skippingFailures 0.01 simulator) |> ignore)

          // noise on the field leaves the reason what it is
          refuses<SimulatorException> [ "no convergence" ] (fun () ->
              run (simulator |> Observation.noisy (White 0.1)) |> ignore))

      tensorTest "a second try helps where the first one fails" (fun () ->
          inFolder (fun folder ->
              let run retries =
                  let marker = Path.Combine(folder, $"{Guid.NewGuid()}")

                  Simulator.fields
                      (program { settings with Retries = retries } "second-try" [ marker ])
                      (Tensors.ofVector theta)
                      (keys 1)

              Expect.equal (Tensors.toArray (run 1)) (expected (keys 1) theta[0] theta[1]) "the field"
              refuses<SimulatorException> [ "exit code 7, and said nothing" ] (fun () -> run 0 |> ignore)))

      tensorTest "NaN, another shape, and no output are called by their names" (fun () ->
          let fields mode =
              Simulator.fields (program settings mode []) (Tensors.ofVector theta) (keys 1)
              |> ignore

          refuses<NonFiniteException> [ "NaN or infinity in 1 of 1"; "a = 1.5" ] (fun () -> fields "nan")
          refuses<ShapeException> [ "(3, 3)"; "(3, 4)"; "a = 1.5"; "seed" ] (fun () -> fields "shape")
          refuses<SimulatorException> [ "wrote nothing to {out}" ] (fun () -> fields "nothing")
          refuses<SimulatorException> [ "one array, or its name" ] (fun () -> fields "npz"))

      tensorTest "a program that never works is not run for every simulation" (fun () ->
          refuses<SimulatorException> [ "none from 1" ] (fun () ->
              Simulator.attempt (program settings "nothing" []) (Tensors.ofVector theta) (keys 60)
              |> ignore)) ]

/// What the test program does with the other argument: simulations that hang, which it says of itself when it is stopped.
let hang folder =
    try
        Simulator.fields (program settings "hangs" [ folder ]) (Tensors.ofVector theta) (keys 4)
        |> ignore

        0
    with :? OperationCanceledException ->
        eprintfn "stopped"
        130

let private stopping =
    [ testCase "Ctrl-C ends the processes" (fun () ->
          if not (OperatingSystem.IsLinux()) then
              skiptest "processes are looked up in /proc"

          inFolder (fun folder ->
              let own = Reflection.Assembly.GetExecutingAssembly().Location

              use child = Process.Start(interruptible [ own; hanging; folder ])

              let clock = Stopwatch.StartNew()

              while Directory.GetFiles(folder).Length < 2 && clock.Elapsed.TotalSeconds < 20.0 do
                  Thread.Sleep 50

              Expect.hasLength (alive folder) 2 "two at a time"
              interrupt child.Id
              Expect.isTrue (child.WaitForExit 20_000) "it ends"
              let clock = Stopwatch.StartNew()

              while (alive folder).Length > 0 && clock.Elapsed.TotalSeconds < 10.0 do
                  Thread.Sleep 50

              Expect.isEmpty (alive folder) "and so do the programs"))

      tensorTest "the caller's own token does, too" (fun () ->
          inFolder (fun folder ->
              use stop = new CancellationTokenSource(TimeSpan.FromSeconds 0.5)

              let simulator =
                  program
                      { settings with
                          Cancellation = stop.Token }
                      "hangs"
                      [ folder ]

              Expect.throwsT<OperationCanceledException>
                  (fun () -> Simulator.fields simulator (Tensors.ofVector theta) (keys 3) |> ignore)
                  "stopped"

              Expect.isEmpty (alive folder) "and the programs with it")) ]

let tests = testSequenced <| testList "programs" (right @ failing @ stopping)
