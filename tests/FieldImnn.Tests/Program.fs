module Program
open TorchSharp
[<EntryPoint>]
let main _ =
    FieldImnn.Core.Runtime.TorchRuntime.Initialise()
    printfn "%s" (torch.randn(3L).ToString(TorchSharp.TensorStringStyle.Numpy))
    0
