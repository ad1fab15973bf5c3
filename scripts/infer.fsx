// From an observed field of one of the house's problems to its posterior, with the exact one beside it where it is known; or, with --simulations, from a set of
// simulations made elsewhere (docs/simulations.md).
// dotnet fsi scripts/infer.fsx -- --help
// dotnet fsi scripts/infer.fsx --simulations PATH -- --help
#load "load.fsx"

open FieldImnn

let infer () =
    if StoredInference.isAsked fsi.CommandLineArgs then
        let arguments = fsi.CommandLineArgs[1..] |> Array.filter ((<>) "--")
        StoredInference.runCommand "dotnet fsi scripts/infer.fsx" arguments
    else
        ProblemCommand.run CommandLine.runCommand fsi.CommandLineArgs

exit (CommandLine.guarded infer)
