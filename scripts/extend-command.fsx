// All of infer.fsx for a universe of your own, in one line: white noise of unknown amplitude σ and mean μ on 32 × 32 pixels.
// dotnet fsi scripts/extend-command.fsx -- --help
#load "load.fsx"

open FieldImnn

let simulator =
    Simulator.create "white-noise" [ "σ"; "μ" ] [ 32; 32 ] [ 32; 32 ] (fun theta noise ->
        let parameter i = theta.narrow(1L, i, 1L).unsqueeze -1L
        parameter 0L * noise + parameter 1L)

let model = Model.create simulator (Prior.uniform [ "σ", 0.5, 2.0; "μ", -1.0, 1.0 ])
exit (CommandLine.infer model Recipe.Default fsi.CommandLineArgs)
