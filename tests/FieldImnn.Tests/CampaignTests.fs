/// Campaigns: the same bits from a campaign as without one, by any number of processes, whatever is damaged or killed.
module CampaignTests

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
let private slow = "FIELDIMNN_TEST_MILLISECONDS"

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
let private white amplitude =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ side; side ] [ side; side ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L

        Thread.Sleep(milliseconds.Value * int noise.shape[0])
        parameter 0L * noise * (amplitude: float).ToScalar() + parameter 1L)

let private universe = white 1.0

let private prior =
    Prior.create [ "σ", Uniform(0.5, 2.0); "μ", Marginal.Normal(0.0, 1.0) ]

let private settings =
    { ImnnSettings.Default with
        Features =
            Features.own "spread and mean of a campaign" 2 (fun fields ->
                torch.stack ([| fields.std [| 1L; 2L |]; fields.mean [| 1L; 2L |] |], 1L))
        Fit = 400
        Quote = 300 }

/// The inference of the processes, in one round at the prior's median: its training and what ABC begins with are known beforehand.
let private inference =
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
    let printed, said = new StringWriter(), new StringWriter()
    let before = Console.Out, Console.Error
    Console.SetOut printed
    Console.SetError said

    try
        Expect.equal (command words) 0 (said.ToString())
        printed.ToString()
    finally
        Console.SetOut(fst before)
        Console.SetError(snd before)

let private adding folder =
    { CampaignSettings.In folder with
        Adds = true }

let private joined settings = Campaign.join settings prior universe
let private keys n = NoiseKey.Range(5UL, 0UL, n)
let private theta n = Prior.sample 1 0L n prior

let private fields simulator n =
    Simulator.fields simulator (Tensors.ofRows (theta n)) (keys n)

let private recordFiles folder =
    Directory.GetFiles(folder, "*.records", SearchOption.AllDirectories)
    |> Array.sort

/// A campaign with n simulations in blocks of five, and what they are.
let private filled folder n =
    let campaign = joined (adding folder)
    let rows = theta n

    for struct (start, length) in Tensors.chunks 5 n do
        Simulator.fields
            (Campaign.simulator campaign)
            (Tensors.ofRows rows[start .. start + length - 1])
            (NoiseKey.Range(5UL, uint64 start, length))
        |> ignore

    fields universe n

let private sameBits =
    [ tensorTest
          "fields and derivatives of a campaign are those of the simulator, to the bit, however they were made"
          (fun () ->
              inFolder (fun folder ->
                  let known = filled folder 12
                  let reader = joined (CampaignSettings.In folder)
                  let simulator = Campaign.simulator reader
                  let found = fields simulator 12
                  Expect.equal found.dtype known.dtype "type"
                  Expect.isTrue (found.Equals known) "fields"
                  Expect.equal (Campaign.used reader).Found 12 "all were there"
                  Expect.isTrue ((fields simulator 20).Equals(fields universe 20)) "some there, some made now"
                  Expect.equal (Campaign.used reader).Made 8 "eight more"
                  let at = Tensors.ofVector [| 1.0; 0.2 |]

                  for derivatives, counts in [ Autodiff, (3, 2); FiniteDifference [| 0.01; 0.02 |], (15, 10) ] do
                      let ask simulator n =
                          let struct (d, t) = Simulator.withDerivatives simulator derivatives at (keys n)
                          Tensors.toArray d, Tensors.toArray t

                      let writer = joined (adding folder)
                      ask (Campaign.simulator writer) 3 |> ignore
                      let reader = joined (CampaignSettings.In folder)
                      Expect.equal (ask (Campaign.simulator reader) 5) (ask universe 5) $"%A{derivatives}"
                      let used = Campaign.used reader
                      Expect.equal (used.Found, used.Made) counts "found, made"))

      tensorTest "noise and masks go on a campaign's simulator" (fun () ->
          inFolder (fun folder ->
              filled folder 6 |> ignore
              let simulator = joined (CampaignSettings.In folder) |> Campaign.simulator
              let seen = Observation.noisy (White 0.3)
              Expect.isTrue ((fields (seen simulator) 6).Equals(fields (seen universe) 6)) "noise"))

      testCase "training and the methods take what was planned from a campaign, and come to the same bits" (fun () ->
          inFolder (fun folder ->
              let known = narrow
              let delfi = { delfi with Rounds = [ 200; 200 ] }

              let npe =
                  { NpeSettings.Default with
                      Budget = 200
                      Draws = 500
                      Estimator = delfi.Estimator }

              let pmc =
                  { PmcSettings.Default with
                      Population = 50
                      Budget = 400 }

              let abc =
                  { AbcSettings.Default with
                      Proposal = FromPrior
                      Budget = 400 }

              let compression =
                  { Parameters = known.Prior.Names
                    Fiducial = [| 0.0; 0.0 |]
                    Information = known.Fisher
                    Estimates = Tensors.toRows
                    Further = None
                    Edges = [] }

              let plan =
                  [ Abc.planned abc known.Prior
                    PopulationMonteCarlo.planned pmc known.Prior
                    NeuralPosterior.planned npe known.Prior
                    Method.plannedDelfi delfi known.Prior ]

              for i in 1..3 do
                  Campaign.join (adding folder) known.Prior known.Simulator
                  |> Shard.fill Progress.silent 30 { Number = i; Of = 3 } plan

              let results simulator =
                  let compress = Tensors.toRows
                  let learned = NeuralPosterior.learn npe simulator compress known.Prior

                  [ "abc", (Abc.run abc simulator compress known.Fisher known.Prior observed).Posterior
                    "npe", NeuralPosterior.posterior learned observed
                    "pmc",
                    (PopulationMonteCarlo.run pmc simulator compress known.Fisher known.Prior observed).Posterior
                    "delfi",
                    (Method.delfi delfi (Model.create simulator known.Prior) compression [ Tensors.ofVector observed ])
                        .Head.Posterior ]

              let campaign =
                  Campaign.join (CampaignSettings.In folder) known.Prior known.Simulator

              for (name, plain), (_, taken) in
                  List.zip (results known.Simulator) (results (Campaign.simulator campaign)) do
                  Expect.equal taken.Samples plain.Samples $"samples of {name}"
                  Expect.equal taken.Weights plain.Weights $"weights of {name}"

              let planned = plan |> List.sumBy _.Count
              Expect.isGreaterThanOrEqual (Campaign.used campaign).Found planned "all that was planned was asked for"))

      tensorTest "training takes all but its door's simulations from a campaign, and is the same" (fun () ->
          inFolder (fun folder ->
              let fiducial = Prior.median prior
              let plan = TrainingPlan.create settings universe fiducial
              joined (adding folder) |> Shard.fill Progress.silent 50 Shard.whole plan
              let reader = joined (CampaignSettings.In folder)
              let taken = Imnn.train settings (Campaign.simulator reader) fiducial
              let plain = Imnn.train settings universe fiducial
              Expect.equal taken.Fisher plain.Fisher "F"
              Expect.equal taken.Linear plain.Linear "layer"
              let used = Campaign.used reader
              Expect.equal used.Found 700 "all that the plan has"
              Expect.isLessThan used.Made 60 $"{used.Made} of the door"))

      tensorTest "a network with weights, too, its steps among it" (fun () ->
          let trained =
              { settings with
                  Features = Features.bandPower 3
                  MinIterations = 2
                  MaxIterations = 2
                  Simulations = 40
                  DerivativeSimulations = 30
                  HeldOut = 60 }

          let filter =
              { trained with
                  Features = Features.filterBank 2 3 1 }

          let count s =
              TrainingPlan.create s universe (Prior.median prior) |> List.sumBy _.Count

          Expect.equal (count filter) (2 * 40 + 60 + 700) "steps, those that choose, F"
          Expect.equal (count trained) 700 "nothing to train") ]

let private studies =
    [ tensorTest "a study takes its problem's simulations from a campaign, and adds to it" (fun () ->
          inFolder (fun folder ->
              let own = Path.Combine(folder, "campaign")

              let problem words =
                  Study.problem
                      (StudyOptions.read folder ([| "--campaign"; own |] |> Array.append words))
                      "correlated-log-normal"

              refuses<StoreException> [ own; "nothing of that name" ] (fun () -> problem [||] |> ignore)

              let made (problem: Problem) =
                  Simulator.fields problem.Simulator (Tensors.ofVector problem.Fiducial) (keys 4)

              let added = made (problem [| "--add-to-campaign" |])
              Expect.hasLength (recordFiles own) 1 "kept"
              Expect.isTrue ((made (problem [||])).Equals added) "found"
              let plain = CorrelatedLogNormal.create 20
              Expect.isTrue ((made plain).Equals added) "and the same as ever")) ]

let private summaries =
    [ tensorTest
          "summaries that are kept in place of fields come to the same bits, from any number of shards"
          (fun () ->
              inFolder (fun folder ->
                  let compressor = Imnn.train settings universe (Prior.median prior)
                  let compression = Infer.compression compressor

                  let abc =
                      { AbcSettings.Default with
                          Budget = 600 }

                  let model = Model.create universe prior
                  let field = Simulator.field universe [| 1.1; 0.3 |] 3UL

                  let run method =
                      (Infer.by "abc" method model compressor field).Posterior

                  for i in 1..2 do
                      Campaign.join (adding folder) prior (Summarised.simulator compression universe)
                      |> Shard.fill Progress.silent 40 { Number = i; Of = 2 } [ Abc.planned abc prior ]

                  let mutable joined = []

                  let stored =
                      run (
                          Summarised.method
                              (fun summaries ->
                                  let campaign = Campaign.join (CampaignSettings.In folder) prior summaries
                                  joined <- campaign :: joined
                                  Campaign.simulator campaign)
                              (Method.abc abc)
                      )

                  let made = run (Summarised.method id (Method.abc abc))
                  Expect.equal stored.Samples made.Samples "samples"
                  Expect.equal stored.Weights made.Weights "weights"
                  Expect.isGreaterThanOrEqual (Campaign.used joined.Head).Found 75 "the first pilot was there"
                  let plain = run (Method.abc abc)
                  close 1e-4 (Posterior.mean stored) (Posterior.mean plain) "and are those of fields, up to rounding"

                  Expect.isLessThan
                      (recordFiles folder |> Array.sumBy (fun path -> FileInfo(path).Length))
                      12_000L
                      "they are small")) ]

/// Changes a byte of a file.
let private spoil (path: string) (at: int64) =
    use stream = new FileStream(path, FileMode.Open, FileAccess.ReadWrite)
    stream.Position <- at
    let before = stream.ReadByte()
    stream.Position <- at
    stream.WriteByte(byte ((before + 1) % 256))

let private damage =
    [ tensorTest "a damaged file is named, costs what it held, and nothing else" (fun () ->
          for what, at, lost in [ "numbers", -10L, 1; "table", 60L, 5; "head", 20L, 15 ] do
              inFolder (fun folder ->
                  let known = filled folder 15
                  let path = (recordFiles folder)[0]
                  let length = FileInfo(path).Length
                  spoil path (if at < 0L then length + at else at)
                  let told = ResizeArray<string>()

                  let reader =
                      joined
                          { CampaignSettings.In folder with
                              Tell = told.Add }

                  let found = fields (Campaign.simulator reader) 15
                  Expect.isTrue (found.Equals known) $"{what}: what is lost is made again, the same"
                  let used = Campaign.used reader
                  Expect.equal used.Made lost $"{what}: simulations lost"
                  Expect.hasLength used.Damaged 1 $"{what}: one is told of"
                  Expect.stringContains used.Damaged[0] path "its name"
                  Expect.hasLength told 1 "at once"))

      tensorTest "who reads while others write finds what is whole, and later the rest" (fun () ->
          inFolder (fun folder ->
              let known = filled folder 10
              let path = (recordFiles folder)[0]
              let whole = File.ReadAllBytes path

              // as another process would see it that reads meanwhile, or as one that was killed leaves it
              for kept in [ whole.Length - 1; whole.Length - 2000; whole.Length / 2 + 30; 39; 0 ] do
                  File.WriteAllBytes(path, whole[.. kept - 1])
                  let reader = joined (CampaignSettings.In folder)
                  let simulator = Campaign.simulator reader
                  Expect.isTrue ((fields simulator 10).Equals known) $"{kept} bytes"
                  let used = Campaign.used reader
                  Expect.equal used.Made (if kept > whole.Length / 2 then 5 else 10) $"{kept} bytes: made"
                  Expect.isEmpty used.Damaged "it is not damaged"
                  File.WriteAllBytes(path, whole)
                  fields simulator 10 |> ignore
                  Expect.equal (Campaign.used reader).Found (used.Found + 10) "the rest has come"))

      tensorTest "simulations that fail are not kept" (fun () ->
          inFolder (fun folder ->
              let failing =
                  { universe with
                      Field =
                          fun theta noise ->
                              let d = universe.Field theta noise
                              // 0/0 where the first pixel is below zero
                              d
                              + (d.narrow(1L, 0L, 1L).narrow(2L, 0L, 1L).clamp_min(0.0.ToScalar())).log()
                                * 0.0.ToScalar() }
                  |> Simulator.skippingFailures 0.9

              let join () =
                  Campaign.join (adding folder) prior failing

              let made campaign =
                  (Simulator.attempt (Campaign.simulator campaign) (Tensors.ofRows (theta 30)) (keys 30))

              let struct (_, finite) = made (join ())
              let good = finite |> Array.filter id |> Array.length
              Expect.isTrue (good > 3 && good < 27) "some fail"
              let again = join ()
              let struct (_, same) = made again
              Expect.equal same finite "the same ones"
              Expect.equal (Campaign.used again).Found good "the others were kept"))

      tensorTest "another simulator under the same name finds nothing; one that rounds otherwise is said to" (fun () ->
          inFolder (fun folder ->
              filled folder 5 |> ignore

              let used simulator =
                  let campaign = Campaign.join (CampaignSettings.In folder) prior simulator
                  fields (Campaign.simulator campaign) 5 |> ignore
                  Campaign.used campaign

              Expect.equal (used (white 1.0001)).Found 0 "planted: a noise level off by 10⁻⁴"
              let rounded = used (white (1.0 + 2e-7))
              Expect.equal rounded.Found 5 "another processor's"
              Expect.hasLength rounded.Rounded 1 "which is told"
              Expect.isEmpty (used universe).Rounded "one's own are not"
              Expect.equal (Campaign.contents folder) [ "white-noise" ] "what is there"))

      testCase "settings that cannot be are refused" (fun () ->
          refuses<SettingException> [ "i/n"; "9/8" ] (fun () -> Shard.parse "9/8" |> ignore)
          refuses<SettingException> [ "i/n"; "two" ] (fun () -> Shard.parse "two" |> ignore)

          for n in [ 0; 1; 7; 1000 ] do
              let shares = [ for i in 1..8 -> Shard.share { Number = i; Of = 8 } n ]

              let all =
                  [ for struct (start, length) in shares do
                        yield! [ start .. start + length - 1 ] ]

              Expect.equal all [ 0 .. n - 1 ] "every simulation once"

          inFolder (fun folder ->
              let campaign = CampaignFolder.create "x" Kept.nothing folder

              refuses<StoreException> [ folder; "white-noise"; "none" ] (fun () ->
                  CampaignFolder.model campaign inference.Model |> ignore)

              let refused expected words =
                  refuses<SettingException> expected (fun () ->
                      SimulateCommand.run inference (Array.append [| "--campaign"; folder |] words))

              refused [ "--compressor" ] [| "--keep"; "summaries" |]
              refused [ "rounds"; "0" ] [| "--rounds"; "0" |]
              refused [ "--sbatch"; "--slurm" ] [| "--sbatch"; "--mem=1G" |]
              refused [ "--then"; "--slurm" ] [| "--then"; "true" |]
              // before anything is handed over
              refused [ "--shard" ] [| "--slurm"; "2"; "--shard"; "1/2" |]
              refused [ "hmm" ] [| "--slurm"; "2"; "--method"; "hmm" |]
              refused [ "maps" ] [| "--slurm"; "2"; "--keep"; "maps" |]
              Expect.isEmpty (Directory.GetFileSystemEntries folder) "nothing was begun"

              refuses<SettingException> [ "--campaign"; "empty" ] (fun () ->
                  CampaignFolder.create "x" Kept.nothing "" |> ignore)

              refuses<SettingException> [ "empty" ] (fun () ->
                  Campaign.join (CampaignSettings.In " ") prior universe |> ignore)))

      tensorTest
          "a folder that cannot be read is named, and the rest serves; a share that is there is counted"
          (fun () ->
              inFolder (fun folder ->
                  filled folder 12 |> ignore

                  for name, bytes in [ "empty", [||]; "other", [| 1uy; 2uy; 3uy |] ] do
                      let own = Path.Combine(folder, name)
                      Directory.CreateDirectory own |> ignore
                      File.WriteAllBytes(Path.Combine(own, "simulator.npz"), bytes)

                  let campaign = CampaignFolder.create "x" Kept.nothing folder
                  let model = CampaignFolder.model campaign inference.Model
                  Expect.equal (Campaign.contents folder) [ "white-noise" ] "what can be read"
                  Expect.isTrue ((fields model.Simulator 12).Equals(fields universe 12)) "the same fields"
                  let used = Campaign.used campaign.Joined[0]
                  Expect.hasLength used.Damaged 2 "both are named"

                  let wanted =
                      { Purpose = "twelve"
                        Seed = 5UL
                        First = 0UL
                        Count = 12
                        Theta = theta 12
                        Derivatives = None }

                  let again = Campaign.join (adding folder) prior universe
                  Shard.fill Progress.silent 5 { Number = 1; Of = 1 } [ wanted ] again
                  let used = Campaign.used again
                  Expect.equal (used.Found, used.Made) (12, 0) "found, none made")) ]

let private processes =
    [ testCase
          "processes fill a campaign at the same time, one is killed, and all comes to the bits of one process"
          (fun () ->
              inFolder (fun folder ->
                  let own = Path.Combine(folder, "campaign")

                  let start milliseconds i =
                      let info =
                          ProcessStartInfo(
                              "dotnet",
                              program [ "simulate"; "--campaign"; own; "--shard"; $"{i}/3" ],
                              RedirectStandardError = true,
                              RedirectStandardOutput = true
                          )

                      info.Environment[slow] <- string (milliseconds: int)
                      Process.Start info

                  let ended (child: Process) =
                      let said = child.StandardError.ReadToEndAsync()
                      child.StandardOutput.ReadToEnd() |> ignore
                      child.WaitForExit()
                      Expect.equal child.ExitCode 0 said.Result

                  use victim = start 20 1
                  use second = start 0 2
                  use third = start 0 3
                  let clock = Stopwatch.StartNew()

                  let begun () =
                      Directory.Exists own
                      && recordFiles own
                         |> Array.exists (fun path -> (Path.GetFileName path).StartsWith "shard-1")

                  while not (begun ()) && clock.Elapsed.TotalSeconds < 60.0 do
                      Thread.Sleep 10

                  victim.Kill()
                  victim.WaitForExit()
                  Expect.isTrue (begun ()) "it had begun"
                  ended second
                  ended third
                  use again = start 0 1
                  ended again

                  let infer name options =
                      let out = Path.Combine(folder, name)
                      here ([ "infer"; "--theta"; "1.2,0.4"; "--out"; out ] @ options) |> ignore
                      File.ReadAllBytes(Path.Combine(out, "posterior.csv"))

                  let taken = infer "taken" [ "--campaign"; own ]
                  Expect.equal taken (infer "alone" []) "the same posterior"

                  let summary =
                      Text.Json.JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "taken", "summary.json")))

                  let found =
                      summary.RootElement.GetProperty("campaign").GetProperty("found").GetInt32()

                  Expect.isGreaterThanOrEqual found planned "all that was planned was there")) ]

let tests =
    testSequenced
    <| testList "campaigns" (sameBits @ studies @ summaries @ damage @ processes)
