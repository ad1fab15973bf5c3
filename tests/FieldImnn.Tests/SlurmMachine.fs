/// A Slurm of this one machine, for a test: started in a folder of its own, and stopped.
module SlurmMachine

open System
open System.Diagnostics
open System.IO
open System.Net
open System.Net.Sockets
open System.Threading

let private programs = [ "munged"; "slurmctld"; "slurmd"; "sbatch"; "scontrol" ]

/// Where a program is: daemons are in sbin, which is not on everybody's path.
let private find (program: string) =
    (Environment.GetEnvironmentVariable "PATH").Split ':'
    |> List.ofArray
    |> List.append [ "/usr/sbin"; "/usr/local/sbin" ]
    |> List.map (fun folder -> Path.Combine(folder, program))
    |> List.tryFind File.Exists

/// Why there is none here, if there is none.
let missing () =
    if not (OperatingSystem.IsLinux()) then
        Some "Slurm is for Linux"
    else
        match programs |> List.filter (find >> Option.isNone) with
        | [] when not Environment.IsPrivilegedProcess -> Some "slurmd has to be root"
        | [] -> None
        | absent ->
            let names = String.concat ", " absent
            Some $"no {names} (slurm-wlm and munge are not installed)"

/// A port that nobody listens on.
let private freePort () =
    use listener = new TcpListener(IPAddress.Loopback, 0)
    listener.Start()
    (listener.LocalEndpoint :?> IPEndPoint).Port

let private host = Dns.GetHostName().Split('.')[0]

let private configuration (folder: string) =
    let at name = Path.Combine(folder, name)

    [ "ClusterName=test"
      $"SlurmctldHost={host}(127.0.0.1)"
      "SlurmUser=root"
      "SlurmdUser=root"
      "AuthType=auth/munge"
      $"""AuthInfo=socket={at "munge.socket"}"""
      "ProctrackType=proctrack/linuxproc"
      "TaskPlugin=task/none"
      "SelectType=select/cons_tres"
      "SelectTypeParameters=CR_Core"
      "ReturnToService=2"
      "AccountingStorageType=accounting_storage/none"
      "JobAcctGatherType=jobacct_gather/none"
      "SlurmdParameters=config_overrides" // two tasks at a time, whatever the machine
      "SchedulerParameters=sched_interval=1,batch_sched_delay=0"
      "KillWait=2"
      $"""StateSaveLocation={at "state"}"""
      $"""SlurmdSpoolDir={at "spool"}"""
      $"""SlurmctldPidFile={at "slurmctld.pid"}"""
      $"""SlurmdPidFile={at "slurmd.pid"}"""
      $"""SlurmctldLogFile={at "slurmctld.log"}"""
      $"""SlurmdLogFile={at "slurmd.log"}"""
      $"SlurmctldPort={freePort ()}"
      $"SlurmdPort={freePort ()}"
      $"NodeName={host} NodeAddr=127.0.0.1 CPUs=2"
      "PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP" ]

let private configured = "SLURM_CONF"

/// What a program of Slurm's says; whether it ended well.
let run (program: string) (arguments: string list) : bool * string =
    let info =
        ProcessStartInfo(
            Option.get (find program),
            arguments,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    use child = Process.Start info
    let errors = child.StandardError.ReadToEndAsync()
    let said = child.StandardOutput.ReadToEnd()
    child.WaitForExit()
    child.ExitCode = 0, said + errors.Result

/// Waits until something is so, so many seconds at the most.
let until seconds (what: string) (is: unit -> bool) =
    let clock = Stopwatch.StartNew()

    while not (is ()) do
        if clock.Elapsed.TotalSeconds > seconds then
            failwith $"{what}: not within {seconds} s"

        Thread.Sleep 100

let private daemon folder (program: string) (arguments: string list) =
    let info =
        ProcessStartInfo(
            Option.get (find program),
            arguments,
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    let child = Process.Start info
    child.OutputDataReceived.Add ignore // the pipes must not fill
    child.ErrorDataReceived.Add ignore
    child.BeginOutputReadLine()
    child.BeginErrorReadLine()
    child

let private stop (daemons: Process list) =
    for child in daemons do
        if not child.HasExited then
            (use kill = Process.Start("kill", [ "-TERM"; string child.Id ])
             kill.WaitForExit())

            if not (child.WaitForExit 10_000) then
                child.Kill()
                child.WaitForExit()

        child.Dispose()

/// Runs work while a Slurm of one node with two processors has this machine; its commands, here and in child processes, mean that one.
let running (folder: string) (work: unit -> unit) =
    for name in [ "state"; "spool" ] do
        Directory.CreateDirectory(Path.Combine(folder, name)) |> ignore

    let at name = Path.Combine(folder, name)
    File.WriteAllBytes(at "munge.key", Security.Cryptography.RandomNumberGenerator.GetBytes 128)
    File.SetUnixFileMode(at "munge.key", UnixFileMode.UserRead)
    File.WriteAllLines(at "slurm.conf", configuration folder)
    let before = Environment.GetEnvironmentVariable configured
    Environment.SetEnvironmentVariable(configured, at "slurm.conf")

    let munged =
        daemon
            folder
            "munged"
            [ "--foreground"
              "--force"
              $"""--key-file={at "munge.key"}"""
              $"""--socket={at "munge.socket"}"""
              $"""--pid-file={at "munged.pid"}"""
              $"""--seed-file={at "munged.seed"}"""
              $"""--log-file={at "munged.log"}""" ]

    let mutable daemons = [ munged ]

    try
        until 10.0 "munged" (fun () -> File.Exists(at "munge.socket"))
        daemons <- daemon folder "slurmctld" [ "-D" ] :: daemons
        daemons <- daemon folder "slurmd" [ "-D" ] :: daemons

        until 30.0 "an idle node" (fun () ->
            match run "sinfo" [ "--noheader"; "--format=%T" ] with
            | true, said -> said.Trim() = "idle"
            | _ -> false)

        work ()
    finally
        run "scancel" [ "--user=root" ] |> ignore
        stop daemons
        Environment.SetEnvironmentVariable(configured, before)
