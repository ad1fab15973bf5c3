// Fills a campaign with the simulations that an inference of one of the house's problems will want, or a shard of it; or hands that to Slurm
// (docs/campaigns.md).
// dotnet fsi scripts/simulate.fsx --problem dark-matter --campaign FOLDER --shard 3/8
// dotnet fsi scripts/simulate.fsx -- --help
#load "load.fsx"

open FieldImnn

exit (CommandLine.guarded (fun () -> ProblemCommand.run SimulateCommand.run fsi.CommandLineArgs))
