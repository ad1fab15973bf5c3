/// Prints every benchmark as a ratio within this run: dotnet run -c Release --project benchmarks/FieldImnn.Benchmarks [alternations]
module Program

open FieldImnn.Core.Runtime

/// Benchmarks in order; each gets the number of alternations. A further one is a module beside TrainingStep and a line here. Memory comes
/// first: a peak never falls, and the others' would stand for its own.
let private benchmarks: (int -> Ratio.Measured list) list =
    [ Memory.run; Simulation.run; Campaigns.run; TrainingStep.run ]

[<EntryPoint>]
let main arguments =
    TorchRuntime.Configure()
    System.Globalization.CultureInfo.CurrentCulture <- System.Globalization.CultureInfo.InvariantCulture
    let alternations = if arguments.Length > 0 then int arguments[0] else 5
    let measured = benchmarks |> List.collect (fun benchmark -> benchmark alternations)
    measured |> List.iter Ratio.print

    if measured |> List.forall Ratio.reached then 0 else 1
