namespace FieldImnn

open System.ComponentModel
open System.Diagnostics
open System.IO
open System.Text
open FieldImnn.Core

/// An array of tasks for Slurm, and what follows it.
type SlurmJob =
    {
        /// Where the scripts and the tasks' output are.
        Folder: string
        /// Where the commands run.
        Directory: string
        /// The command of a task, for a shell, without its shard.
        Command: string
        Tasks: int
        /// Further options of sbatch: "--time=2:00:00 --mem=4G".
        Options: string
        /// The command that runs when all tasks have ended, if there is one.
        Then: string option
    }

/// Slurm's scripts, and handing them over.
module Slurm =
    /// How often a task that was killed, or ran out of time, is queued again.
    let private requeues = 5

    let private head (job: SlurmJob) (lines: string list) =
        [ "#!/usr/bin/env bash"
          "#SBATCH --job-name=fieldimnn"
          yield! lines
          if job.Options <> "" then
              $"#SBATCH {job.Options}"
          $"cd {Provenance.quoted job.Directory} || exit 2" ]

    let private output (job: SlurmJob) name =
        $"#SBATCH --output={Provenance.quoted (Path.Combine(job.Folder, name))}"

    /// The script of the array. A minute before its time is up the task is told to stop (SIGTERM), and is queued again, as it is when its program was killed;
    /// not when somebody cancels it, or what it was asked for cannot be (exit code 2). What it made before is in the campaign.
    let arrayScript (job: SlurmJob) : string =
        head
            job
            [ $"#SBATCH --array=1-{job.Tasks}"
              output job "%A_%a.out"
              "#SBATCH --open-mode=append"
              "#SBATCH --requeue"
              "#SBATCH --signal=B:USR1@60" ]
        @ [ "stopped= cancelled="
            "trap 'stopped=1; kill -TERM $child' USR1"
            "trap 'stopped=1; cancelled=1; kill -TERM $child' TERM"
            $"{job.Command} --shard \"$SLURM_ARRAY_TASK_ID/{job.Tasks}\" &"
            "child=$!"
            "wait $child; code=$?"
            "if [ -n \"$stopped\" ]; then wait $child; code=$?; fi"
            $"if [ -z \"$cancelled\" ] && [ $code != 0 ] && [ $code != 2 ] && [ \"${{SLURM_RESTART_COUNT:-0}}\" -lt {requeues} ]; then"
            "    echo \"exit code $code: queued again\""
            "    scontrol requeue \"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\""
            "fi"
            "exit $code" ]
        |> List.map (fun line -> line + "\n")
        |> String.concat ""

    /// The script of what follows.
    let followingScript (job: SlurmJob) (command: string) : string =
        head job [ output job "%j.out" ] @ [ command ]
        |> List.map (fun line -> line + "\n")
        |> String.concat ""

    let private write (job: SlurmJob) name (script: string) =
        let path = Path.Combine(job.Folder, name)
        Files.writeAtomically path (fun stream -> stream.Write(Encoding.UTF8.GetBytes script))
        path

    /// Hands a script to sbatch; the id of the job.
    let private sbatch (options: string list) (script: string) : string =
        let refuse received =
            raise (
                SettingException(
                    "--slurm",
                    $"sbatch to take {script} (on other schedulers, --shard i/n is all that is needed)",
                    received
                )
            )

        let info =
            ProcessStartInfo(
                "sbatch",
                "--parsable" :: options @ [ script ],
                RedirectStandardOutput = true,
                RedirectStandardError = true
            )

        try
            use child = Process.Start info
            let errors = child.StandardError.ReadToEndAsync()
            let said = child.StandardOutput.ReadToEnd()
            child.WaitForExit()

            if child.ExitCode <> 0 then
                refuse $"\"{errors.Result.Trim()}\""

            said.Trim().Split(';')[0] // behind it may be the name of a cluster
        with :? Win32Exception as fault ->
            refuse $"\"{fault.Message}\""

    /// Writes the scripts and submits them: the ids of the array and of what follows. That starts when every task has ended, whichever way (afterany): a
    /// campaign need not be whole, and a task that failed once, and was queued again, would keep afterok from ever being satisfied.
    let submit (job: SlurmJob) : string * string option =
        Guard.AtLeast("tasks of the array", 1L, int64 job.Tasks) |> ignore
        let array = arrayScript job |> write job "array.sh" |> sbatch []

        array,
        job.Then
        |> Option.map (fun command ->
            followingScript job command
            |> write job "then.sh"
            |> sbatch [ $"--dependency=afterany:{array}" ])
