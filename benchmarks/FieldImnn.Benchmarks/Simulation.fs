/// Simulating fields with their derivatives by both parameters, against the bare Fourier transforms this needs: one forward
/// transform of the noise, one inverse for the field and one for each derivative.
module Simulation

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

let private count = 100

let run alternations =
    let problem = PowerLaw.create 128 ModeConvention.Ideal
    let theta = Tensors.ofVector problem.Fiducial
    let keys = NoiseKey.Range(1UL, 0UL, count)
    let noise = problem.Simulator.DrawNoise keys

    let bare () =
        use _ = torch.NewDisposeScope()
        let modes = torch.fft.rfft2 noise
        let all = modes.unsqueeze(1L).expand(int64 count, 3L, 128L, 65L)
        torch.fft.irfft2(all).sum() |> Tensors.toArray

    let simulated () =
        use _ = torch.NewDisposeScope()
        let struct (d, t) = Simulator.withDerivatives problem.Simulator Autodiff theta keys
        (d.sum () + t.sum ()) |> Tensors.toArray

    [ Ratio.cost "simulating with derivatives, against its bare transforms" 2.0 alternations simulated bare ]
