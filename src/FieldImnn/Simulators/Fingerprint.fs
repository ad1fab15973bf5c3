namespace FieldImnn

open System
open System.Security.Cryptography
open System.Text
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// What a simulator produces, as a short text: two simulators that differ by a noise level, a mask or a line of code have different ones,
/// whatever their names. A SHA-256 of bits, so it holds for one machine and one build of the native library.
module Fingerprint =
    /// Rows hashed at a time, in bytes: a span cannot hold more than 2 GB.
    let private mostBytes = 1L <<< 28

    let private addText (hash: IncrementalHash) (text: string) =
        hash.AppendData(Encoding.UTF8.GetBytes(text + "\n"))

    let private addTensor (hash: IncrementalHash) (tensor: Tensor) =
        use _ = torch.NewDisposeScope()
        addText hash $"{tensor.dtype} {Guard.Describe tensor.shape}"

        if tensor.numel () > 0L then
            let rows = if tensor.dim () = 0L then tensor.reshape 1L else tensor
            let each = rows.numel () / rows.shape[0] * rows.element_size ()
            let at = int (max 1L (mostBytes / max 1L each))

            for struct (start, length) in Tensors.chunks at (int rows.shape[0]) do
                use _ = torch.NewDisposeScope()
                hash.AppendData(rows.narrow(0L, int64 start, int64 length).detach().cpu().contiguous().bytes)

    let private finish (hash: IncrementalHash) =
        Convert.ToHexString(hash.GetHashAndReset()).ToLowerInvariant()

    /// Of texts and tensors, in order: of every bit, shape and type.
    let ofTensors (texts: string seq) (tensors: Tensor seq) =
        use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256
        texts |> Seq.iter (addText hash)
        tensors |> Seq.iter (addTensor hash)
        finish hash

    /// Numbers of a stored array that are hashed at the most: what is larger is known by rows that are spread evenly over it.
    let private mostNumbers = 1L <<< 25

    /// Of stored simulations: all of their numbers, or of very many those of some rows; and how many there are.
    let ofStored (sets: StoredSimulations list) =
        use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256
        addText hash "stored"

        for slices in sets |> List.collect (fun s -> [ s.Fields; s.FieldDerivatives ]) do
            addText hash $"{slices.Count} {Guard.Describe slices.Shape}"
            let each = Array.fold (*) 1L slices.Shape
            let places = slices |> Slices.spread (int (max 64L (mostNumbers / max 1L each)))

            for part in places |> Array.chunkBySize (int (max 1L ((1L <<< 22) / max 1L each))) do
                Tensors.using (fun () -> slices.Read part |> addTensor hash)

        finish hash

    /// Of a simulator near θ (p) and of its derivatives there: eight fields at θ, with keys far apart, two with each parameter 1 % to either
    /// side (where the simulator works there), and the derivatives of two. Stored simulations are known by their numbers.
    let ofSimulator (simulator: Simulator) derivatives (theta: float[]) =
        use hash = IncrementalHash.CreateHash HashAlgorithmName.SHA256
        let names = String.concat ", " simulator.Parameters
        addText hash $"{names} {Guard.Describe simulator.FieldShape} {simulator.Channels}"

        match derivatives with
        | Precomputed(training, heldOut) -> addText hash (ofStored [ training; heldOut ])
        | _ ->
            use _ = torch.NewDisposeScope()
            let seed = NoiseKey.SeedFor(1UL, "fingerprint")

            let keys =
                Array.init 8 (fun i -> NoiseKey(seed, if i < 4 then uint64 i else 1UL <<< (8 * i - 20)))

            let at (theta: float[]) keys =
                Simulator.fields simulator (Tensors.ofVector theta) keys

            at theta keys |> addTensor hash

            for a in 0 .. theta.Length - 1 do
                for side in [ -0.01; 0.01 ] do
                    let moved = Array.copy theta
                    moved[a] <- theta[a] + side * (if theta[a] = 0.0 then 1.0 else abs theta[a])

                    try
                        at moved keys[..1] |> addTensor hash
                    with :? FieldImnnException ->
                        addText hash "outside"

            let struct (_, tangents) =
                Simulator.withDerivatives simulator derivatives (Tensors.ofVector theta) keys[..1]

            addTensor hash tangents

        finish hash

    /// Of some of the rows of fields (n, shape…).
    let internal ofRows (fields: Tensor) (rows: int[]) =
        Tensors.using (fun () -> ofTensors [] [ Tensors.rows rows fields ])
