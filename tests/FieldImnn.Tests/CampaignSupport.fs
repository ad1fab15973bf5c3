/// What tests of campaigns share: a small universe, its campaign, and the commands of the processes that fill one and infer from it.
module CampaignSupport

open System
open System.Diagnostics
open System.IO
open System.Threading
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open KnownPosterior
open TestSupport
open TorchSharp

/// The argument with which the test program fills a campaign, or infers with one, instead of running tests.
let argument = "--campaign-command"

/// Milliseconds that each simulation takes, where this variable of the environment says so.
let slow = "FIELDIMNN_TEST_MILLISECONDS"

/// Those of this process. On Slurm the first two tasks take their time, until they are queued again.
let private milliseconds =
    lazy
        (let variable name =
            Environment.GetEnvironmentVariable name |> Option.ofObj

         match variable slow, variable "SLURM_ARRAY_TASK_ID", variable "SLURM_RESTART_COUNT" with
         | Some text, _, _ -> int text
         | None, Some("1" | "2"), None -> 40
         | _ -> 0)

let private side = 8

/// White noise of amplitude σ about a mean μ.
let white amplitude =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ side; side ] [ side; side ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L

        Thread.Sleep(milliseconds.Value * int noise.shape[0])
        parameter 0L * noise * (amplitude: float).ToScalar() + parameter 1L)

let universe = white 1.0

let prior = Prior.create [ "σ", Uniform(0.5, 2.0); "μ", Marginal.Normal(0.0, 1.0) ]

let settings =
    { ImnnSettings.Default with
        Features =
            Features.own "spread and mean of a campaign" 2 (fun fields ->
                torch.stack ([| fields.std [| 1L; 2L |]; fields.mean [| 1L; 2L |] |], 1L))
        Fit = 400
        Quote = 300 }

/// The inference of the processes, in one round at the prior's median: its training and what ABC begins with are known beforehand.
let inference =
    { CommandLine.command
          (Model.create universe prior)
          { Recipe.ofSettings settings with
              Rounds = 1 } with
        Program =
            let own = Reflection.Assembly.GetExecutingAssembly().Location
            $"dotnet {own} {argument} simulate" }

/// Simulations that are known beforehand: training, and ABC's first pilot.
let planned = 400 + 300 + 1250

/// What the test program does with the argument: a command and its own arguments.
let command (words: string list) : int =
    CommandLine.guarded (fun () ->
        match words with
        | "simulate" :: rest -> SimulateCommand.run inference (Array.ofList rest)
        | "infer" :: rest -> CommandLine.runCommand inference (Array.ofList rest)
        | other -> failwith $"no command %A{other}")

/// The test program with a command, as words of a command line.
let program (words: string list) =
    Reflection.Assembly.GetExecutingAssembly().Location :: argument :: words

/// The command in this process, which has to end well; where its `simulate` hands over to Slurm, too.
let here (words: string list) =
    let code, printed, said = listening (fun () -> command words)
    Expect.equal code 0 said
    printed

let adding folder =
    { CampaignSettings.In folder with
        Adds = true }

let joined settings = Campaign.join settings prior universe
let keys n = NoiseKey.Range(5UL, 0UL, n)
let theta n = Prior.sample 1 0L n prior

let fields simulator n =
    Simulator.fields simulator (Tensors.ofRows (theta n)) (keys n)

let recordFiles folder =
    Directory.GetFiles(folder, "*.records", SearchOption.AllDirectories)
    |> Array.sort

/// A campaign with n simulations in blocks of five, and what they are.
let filled folder n =
    let campaign = joined (adding folder)
    let rows = theta n

    for struct (start, length) in Tensors.chunks 5 n do
        Simulator.fields
            (Campaign.simulator campaign)
            (Tensors.ofRows rows[start .. start + length - 1])
            (NoiseKey.Range(5UL, uint64 start, length))
        |> ignore

    fields universe n
