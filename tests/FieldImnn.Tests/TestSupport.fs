module TestSupport

open System
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open FieldImnn.Core.Runtime
open TorchSharp

// before the first tensor, which may be a value of a module
TorchRuntime.Configure()

/// Standard normal numbers of a private generator, float64.
let normal (seed: uint64) (shape: int64[]) : Tensor =
    use generator = new torch.Generator(seed)
    torch.randn (shape, dtype = Nullable torch.float64, generator = generator)

/// What this program writes in a process of its own, called with these arguments, which has to end well.
let ownProcess (arguments: string list) =
    let program = Reflection.Assembly.GetExecutingAssembly().Location

    let info =
        Diagnostics.ProcessStartInfo("dotnet", program :: arguments, RedirectStandardOutput = true)

    use child = Diagnostics.Process.Start info
    let output = child.StandardOutput.ReadToEnd()
    child.WaitForExit()
    Expect.equal child.ExitCode 0 output
    output

/// A start of dotnet that ends on SIGINT: a shell's background job has SIGINT ignored, and so would its children.
let interruptible (arguments: string list) =
    Diagnostics.ProcessStartInfo("env", "--default-signal=INT" :: "dotnet" :: arguments, RedirectStandardError = true)

/// Sends a signal of a name to a process.
let signal name (id: int) =
    use kill = Diagnostics.Process.Start("kill", [ $"-%s{name}"; string id ])
    kill.WaitForExit()

/// Sends SIGINT, as a terminal's Ctrl-C does.
let interrupt = signal "INT"

/// Largest |a − b| over the largest |b|.
let relative (a: float[]) (b: float[]) =
    let scale = b |> Array.map abs |> Array.max
    (Array.map2 (fun x y -> abs (x - y)) a b |> Array.max) / scale

/// Expects two arrays to agree to a relative tolerance.
let close tolerance (actual: float[]) (expected: float[]) what =
    let error = relative actual expected
    Expect.isLessThan error tolerance $"{what}: %A{actual} and %A{expected} differ by {error:g3}"

/// A test whose tensors are all freed at its end.
let tensorTest name (body: unit -> unit) =
    testCase name (fun () ->
        use _ = torch.NewDisposeScope()
        body ())

/// The p-value of a Kolmogorov–Smirnov test of values against U(0, 1) (asymptotic series).
let uniformity (values: float[]) =
    let n = float values.Length
    let sorted = Array.sort values

    let d =
        sorted
        |> Array.mapi (fun i v -> max (float (i + 1) / n - v) (v - float i / n))
        |> Array.max

    let t = (sqrt n + 0.12 + 0.11 / sqrt n) * d

    2.0
    * Seq.sum (seq { for j in 1..100 -> (if j % 2 = 1 then 1.0 else -1.0) * exp (-2.0 * float (j * j) * t * t) })
    |> max 0.0
    |> min 1.0

/// How far the means of the columns of samples (n, k) are from what is expected of them, in their standard errors.
let meanDeviations (samples: float[][]) (expected: float[]) =
    expected
    |> Array.mapi (fun k e ->
        let values = samples |> Array.map (fun s -> s[k])
        let mean = Array.average values

        let error =
            sqrt ((values |> Array.averageBy (fun v -> (v - mean) ** 2.0)) / float values.Length)

        (mean - e) / error)

/// Expects a simulator's own rule, automatic differentiation and seed-matched differences of the given step to give the same fields
/// and derivatives at θ; noise in float64.
let derivativesAgree what simulator (step: float[]) (theta: float[]) =
    let theta, keys = Tensors.ofVector theta, NoiseKey.Range(2UL, 0UL, 3)

    let run simulator derivatives =
        let struct (d, t) = Simulator.withDerivatives simulator derivatives theta keys
        Tensors.toArray d, Tensors.toArray t

    let fields, rule = run simulator Autodiff
    let again, automatic = run { simulator with Tangents = None } Autodiff
    close 1e-12 fields again $"{what}: fields"
    close 1e-11 rule automatic $"{what}: automatic"
    close 1e-7 rule (snd (run simulator (FiniteDifference step))) $"{what}: differences"

/// Expects exactly this typed error of FieldImnn's, with a message that holds the given words.
let refuses<'error when 'error :> FieldImnnException> (words: string list) (action: unit -> unit) =
    try
        action ()
        failtest $"expected a {typeof<'error>.Name}, but nothing was refused"
    with
    | :? 'error as error ->
        for word in words do
            Expect.stringContains error.Message word "message"
    | :? FieldImnnException as other ->
        failtest $"expected a {typeof<'error>.Name}, but came {other.GetType().Name}: {other.Message}"

/// The result of work while tensor operations have this many threads, however many there are otherwise.
let onThreads count (work: unit -> 'result) =
    let before = TorchRuntime.Threads
    TorchRuntime.Threads <- count

    try
        work ()
    finally
        TorchRuntime.Threads <- before

/// Simulations in chunks of n, kept nowhere.
let chunks n =
    { SimulationSettings.Default with
        Chunk = n }

/// A folder of its own for a test, removed afterwards.
let inFolder (test: string -> unit) =
    let folder = Directory.CreateTempSubdirectory("fieldimnn-").FullName

    try
        test folder
    finally
        Directory.Delete(folder, true)

/// What work comes to, what it prints, and what it says on standard error.
let listening (work: unit -> 'a) : 'a * string * string =
    let printed, said = new StringWriter(), new StringWriter()
    let output, errors = Console.Out, Console.Error
    Console.SetOut printed
    Console.SetError said

    try
        let result = work ()
        result, printed.ToString(), said.ToString()
    finally
        Console.SetOut output
        Console.SetError errors

/// The folder of FieldImnn.sln.
let root =
    Seq.unfold
        (fun (folder: DirectoryInfo) -> if isNull folder then None else Some(folder, folder.Parent))
        (DirectoryInfo AppContext.BaseDirectory)
    |> Seq.find (fun folder -> File.Exists(Path.Combine(folder.FullName, "FieldImnn.sln")))
    |> fun folder -> folder.FullName

/// A test of the public reference data in ../shared/reference, beside the folder of FieldImnn.sln: skipped where there are none.
let withShared (test: string -> unit) =
    let folder = Path.GetFullPath(Path.Combine(root, "..", "shared", "reference"))

    if Directory.Exists folder then
        test folder
    else
        skiptest "no shared/reference beside the repository"

/// Rows of an oracle table in tests/reference, by column.
let table name =
    let lines = File.ReadAllLines(Path.Combine(root, "tests", "reference", name))
    let columns = lines[0].Split ','

    lines[1..]
    |> Array.map (fun line ->
        let values = line.Split ','
        fun (column: string) -> values[Array.IndexOf(columns, column)])
