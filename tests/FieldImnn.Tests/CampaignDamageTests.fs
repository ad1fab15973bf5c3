/// Campaigns that are damaged, asked for what cannot be, or filled by several processes, of which some are killed.
module CampaignDamageTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open CampaignSupport
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open KnownPosterior
open TestSupport
open TorchSharp

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
    testSequenced <| testList "shared and damaged campaigns" (damage @ processes)
