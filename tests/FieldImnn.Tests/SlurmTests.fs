/// A campaign on a real Slurm: an array of tasks, of which one is cancelled and one is killed, and the inference that follows.
module SlurmTests

open System
open System.IO
open System.Text.Json
open Expecto
open FieldImnn
open TestSupport

let private job folder tasks =
    { Folder = Path.Combine(folder, "my campaign", "slurm")
      Directory = folder
      Command = "simulate"
      Tasks = tasks
      Options = "--mem=1G"
      Then = None }

let private state id =
    let _, said = SlurmMachine.run "scontrol" [ "show"; "job"; id ]

    said.Split([| ' '; '\n' |])
    |> Array.tryFind (fun word -> word.StartsWith "JobState=")
    |> Option.map (fun word -> word.Substring 9)
    |> Option.defaultValue "GONE"

/// The processes of the test program that fill a shard.
let private processesOf (shard: string) =
    Directory.GetDirectories "/proc"
    |> Array.choose (fun folder ->
        match Int32.TryParse(Path.GetFileName folder) with
        | true, id ->
            try
                let words = File.ReadAllText(Path.Combine(folder, "cmdline")).Split '\000'

                if
                    words[0] = "dotnet"
                    && Array.contains CampaignSupport.argument words
                    && Array.contains shard words
                then
                    Some id
                else
                    None
            with _ ->
                None // it has ended
        | _ -> None)

/// Queues an ended task again; Slurm lets two minutes pass before one that was queued again starts, which is not waited for here.
let private again task queue =
    if queue then
        SlurmMachine.until 20.0 $"task {task} can be queued again" (fun () ->
            fst (SlurmMachine.run "scontrol" [ "requeue"; task ]))

    SlurmMachine.until 20.0 $"task {task} is queued again" (fun () -> state task = "PENDING")

    SlurmMachine.until 20.0 $"task {task} may start" (fun () ->
        fst (SlurmMachine.run "scontrol" [ "update"; $"JobId={task}"; "StartTime=now" ]))

/// What becomes of a task of an array's script, without Slurm: its exit code, and what scontrol is asked. The command is a shell's; a signal is sent
/// once it has begun.
let private ended folder restarts (command: string) (signal: string option) =
    let at name = Path.Combine(folder, name)
    let asked, begun = at "asked", at "begun"
    File.Delete asked
    File.Delete begun

    let executable name (lines: string list) =
        File.WriteAllLines(at name, "#!/usr/bin/env bash" :: lines)
        File.SetUnixFileMode(at name, UnixFileMode.UserRead ||| UnixFileMode.UserWrite ||| UnixFileMode.UserExecute)

    executable "scontrol" [ $"echo \"$@\" > '{asked}'" ]
    executable "task" [ $"touch '{begun}'"; command ]

    executable
        "script"
        [ Slurm.arrayScript
              { job folder 8 with
                  Command = Provenance.quoted (at "task") } ]

    let info =
        Diagnostics.ProcessStartInfo(at "script", RedirectStandardOutput = true, RedirectStandardError = true)

    info.Environment["PATH"] <- $"""{folder}:{Environment.GetEnvironmentVariable "PATH"}"""
    info.Environment["SLURM_ARRAY_JOB_ID"] <- "17"
    info.Environment["SLURM_ARRAY_TASK_ID"] <- "3"
    info.Environment["SLURM_RESTART_COUNT"] <- string (restarts: int)
    use child = Diagnostics.Process.Start info

    signal
    |> Option.iter (fun signal ->
        SlurmMachine.until 10.0 "the task begins" (fun () -> File.Exists begun)
        use kill = Diagnostics.Process.Start("kill", [ $"-{signal}"; string child.Id ])
        kill.WaitForExit())

    child.StandardOutput.ReadToEnd() |> ignore
    child.StandardError.ReadToEnd() |> ignore
    child.WaitForExit()

    child.ExitCode,
    (if File.Exists asked then
         (File.ReadAllText asked).Trim()
     else
         "")

/// An array of eight, of which tasks 1 and 2 take their time: one is killed, the other cancelled.
let private fill folder =
    let campaign, out = Path.Combine(folder, "campaign"), Path.Combine(folder, "out")
    let options = [ "--campaign"; campaign ]

    let following =
        "dotnet"
        :: CampaignSupport.program ([ "infer"; "--theta"; "1.2,0.4"; "--out"; out ] @ options)
        |> List.map Provenance.quoted
        |> String.concat " "

    let said =
        CampaignSupport.here ([ "simulate" ] @ options @ [ "--slurm"; "8"; "--then"; following ])

    let ids =
        said.Split('\n', StringSplitOptions.RemoveEmptyEntries)
        |> Array.map (fun line -> (line.Split ' ')[1])

    let task i = $"{ids[0]}_{i}"

    for i in 1..2 do
        SlurmMachine.until 60.0 $"task {i} simulates" (fun () ->
            (processesOf $"{i}/8").Length = 1
            && Directory.Exists campaign
            && Directory.GetFiles(campaign, $"shard-{i}-*", SearchOption.AllDirectories).Length > 0)

    for id in processesOf "1/8" do
        use kill = Diagnostics.Process.Start("kill", [ "-KILL"; string id ])
        kill.WaitForExit()

    SlurmMachine.run "scancel" [ task 2 ] |> ignore
    SlurmMachine.until 20.0 "task 2 is cancelled" (fun () -> state (task 2) = "CANCELLED")
    again (task 2) true
    again (task 1) false
    SlurmMachine.until 120.0 "the inference ends" (fun () -> List.contains (state ids[1]) [ "COMPLETED"; "FAILED" ])
    let log = File.ReadAllText(Path.Combine(campaign, "slurm", $"{ids[1]}.out"))
    Expect.equal (state ids[1]) "COMPLETED" log

    let told i =
        File.ReadAllText(Path.Combine(campaign, "slurm", $"{task i}.out"))

    Expect.stringContains (told 1) "exit code 137: queued again" "the one that was killed"
    Expect.isFalse ((told 2).Contains "queued again") "a cancelled one does not come back by itself"
    out

let tests =
    testSequenced
    <| testList
        "Slurm"
        [ testCase "an array's script has its tasks, its options and its shards, and is one for a shell" (fun () ->
              inFolder (fun folder ->
                  let script = Slurm.arrayScript (job folder 8)

                  for line in
                      [ "#SBATCH --array=1-8"
                        "#SBATCH --mem=1G"
                        "--shard \"$SLURM_ARRAY_TASK_ID/8\"" ] do
                      Expect.stringContains script line "script"

                  let path = Path.Combine(folder, "array.sh")
                  File.WriteAllText(path, script)
                  use shell = Diagnostics.Process.Start("bash", [ "-n"; path ])
                  shell.WaitForExit()
                  Expect.equal shell.ExitCode 0 "its syntax"
                  refuses<Core.SettingException> [ "tasks" ] (fun () -> Slurm.submit (job folder 0) |> ignore)))

          testCase
              "a task is queued again where it was killed or its time was up, and not where it was cancelled or cannot work"
              (fun () ->
                  if OperatingSystem.IsWindows() then
                      skiptest "there is no shell"

                  inFolder (fun folder ->
                      let stopping = "trap 'kill $!; exit 75' TERM; sleep 20 > /dev/null & wait"
                      let queued = "requeue 17_3"

                      for what, restarts, command, signal, wanted in
                          [ "done", 0, "[ \"$*\" = '--shard 3/8' ]", None, (0, "")
                            "wrong settings", 0, "exit 2", None, (2, "")
                            "killed", 0, "kill -9 $$", None, (137, queued)
                            "killed for the sixth time", 5, "kill -9 $$", None, (137, "")
                            "its time is up", 0, stopping, Some "USR1", (75, queued)
                            "cancelled", 0, stopping, Some "TERM", (75, "") ] do
                          Expect.equal (ended folder restarts command signal) wanted what))

          testCase
              "an array of eight, one cancelled, one killed, both queued again, then the inference: the bits of one process"
              (fun () ->
                  match SlurmMachine.missing () with
                  | Some why -> skiptest why
                  | None ->
                      inFolder (fun folder ->
                          let alone = Path.Combine(folder, "alone")
                          CampaignSupport.here [ "infer"; "--theta"; "1.2,0.4"; "--out"; alone ] |> ignore

                          SlurmMachine.running (Path.Combine(folder, "slurm")) (fun () ->
                              let out = fill folder

                              let posterior name =
                                  File.ReadAllBytes(Path.Combine(name, "posterior.csv"))

                              Expect.equal (posterior out) (posterior alone) "the same posterior"

                              let summary =
                                  JsonDocument.Parse(File.ReadAllText(Path.Combine(out, "summary.json")))

                              let campaign = summary.RootElement.GetProperty "campaign"

                              Expect.isGreaterThanOrEqual
                                  (campaign.GetProperty("found").GetInt32())
                                  CampaignSupport.planned
                                  "all that was planned was there"))) ]
