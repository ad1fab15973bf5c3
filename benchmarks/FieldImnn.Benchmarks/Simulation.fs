/// Simulating fields with their derivatives by both parameters, against the bare Fourier transforms this needs: one forward
/// transform of the noise, one inverse for the field and one for each derivative.
module Simulation

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open TorchSharp

let private count = 100

/// Five lensing maps of 256 × 256 with six derivatives, against their own transforms: five forward, 35 inverse, a simulation at a time.
let private lensing alternations =
    let model =
        WeakLensing.model (WeakLensing.survey 256) ModeConvention.Ideal EmptyBeam

    let simulator, grid = LogNormalMaps.simulator "lensing" model, model.Transform.Grid
    let theta = Tensors.ofVector WeakLensing.fiducial
    let noise = simulator.DrawNoise(NoiseKey.Range(1UL, 0UL, 8))

    let modes =
        grid.Forward(torch.randn ([| 1L; 35L; 256L; 256L |], dtype = torch.float32))

    let bare () =
        [| for k in 0L .. noise.shape[0] - 1L do
               use _ = torch.NewDisposeScope()
               let made = (grid.Forward noise[k]).sum().real + (grid.Inverse modes).sum()
               Tensors.toNumber made |]

    let simulated () =
        use _ = torch.NewDisposeScope()
        let struct (d, t) = simulator.Tangents.Value theta noise
        (d.sum () + t.sum ()) |> Tensors.toArray

    Ratio.cost "five lensing maps with six derivatives, against their own transforms" 1.5 alternations simulated bare

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

    [ Ratio.cost "simulating with derivatives, against its bare transforms" 2.0 alternations simulated bare
      lensing alternations ]
