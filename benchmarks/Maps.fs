/// Correlated maps that several benchmarks look at.
module Maps

open FieldImnn
open FieldImnn.Core.Fields
open TorchSharp

/// So many maps of n² pixels with C_ij(k) = A r^|i − j|/k.
let create n count =
    let power (k: Tensor) (theta: Tensor) : Tensor =
        let a, r = theta.narrow (1L, 0L, 1L), theta.narrow (1L, 1L, 1L)

        let element (i: int) j =
            a / k * r.pow ((abs (i - j)).ToScalar())

        torch.stack (Array.init count (fun i -> torch.stack (Array.init count (element i), 1L)), 1L)

    let spectra: MapSpectra =
        { Parameters = [| "A"; "r" |]
          Maps = count
          Power = power }

    CorrelatedMaps.create spectra (FourierGrid(2, n, float n))
