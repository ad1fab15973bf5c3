// For NativeTests: reads the posterior named on the command line, its moments and its corner, then, where a second word is there,
// makes a tensor; says which native libraries of TorchSharp's the process has mapped (Linux).
#load "../../scripts/load.fsx"

open System.IO
open FieldImnn
open FieldImnn.Plots

let posterior = PosteriorFile.read fsi.CommandLineArgs[1]
printfn $"means {(Posterior.mean posterior)[0]:R} sds {(Posterior.sd posterior)[0]:R}"

Plot.corner [ ("samples", posterior) ] None
|> Export.html (fsi.CommandLineArgs[1] + ".html")

if fsi.CommandLineArgs.Length > 2 then
    printfn $"sum {TorchSharp.torch.ones(3L).sum().item<float32>()}"

for library in [ "libtorch_cpu.so"; "libLibTorchSharp.so"; "libgomp" ] do
    if File.ReadLines "/proc/self/maps" |> Seq.exists _.Contains(library) then
        printfn $"mapped {library}"
