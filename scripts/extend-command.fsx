// All of infer.fsx for a universe of your own, in one line: white noise of unknown amplitude σ and mean μ on 32 × 32 pixels; and a command
// of the script's own beside it, with the same exit codes and messages.
// dotnet fsi scripts/extend-command.fsx -- --help
// dotnet fsi scripts/extend-command.fsx show 1.2 0.3
#load "load.fsx"

open FieldImnn
open FieldImnn.Plots

let simulator =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ 32; 32 ] [ 32; 32 ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
        parameter 0L * noise + parameter 1L)

let model = Model.create simulator (Prior.uniform [ "σ", 0.5, 2.0; "μ", -1.0, 1.0 ])

/// A field of these parameters, as a figure.
let show theta =
    let theta = Prior.require "show" model.Prior theta

    Plot.field "d" (Simulator.values simulator (Simulator.field simulator theta 1UL))
    |> Export.figure "artifacts/own-command" "field"

// Both give the exit code: 0; 2 after a message for what was asked wrongly; 130 where it was stopped, 75 by SIGTERM.
exit (
    match fsi.CommandLineArgs with
    | [| _; "show"; sigma; mu |] -> CommandLine.guarded (fun () -> show [| float sigma; float mu |])
    | arguments -> CommandLine.infer model Recipe.Default arguments
)
