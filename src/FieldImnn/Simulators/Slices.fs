namespace FieldImnn

open FieldImnn.Core
open TorchSharp

/// An array with a row for each simulation, wherever it is: in memory, or in files of which a part is read at a time. Those who work on it ask
/// for rows, and know nothing else. See Slices.
type Slices =
    {
        /// What errors call it: a file, where it is one.
        Name: string
        /// Rows.
        Count: int
        /// Shape of a row.
        Shape: int64[]
        /// Rows of these places, in this order: (n, shape…), float32 or float64.
        Read: int[] -> Tensor
        /// What errors call a row: its place in what Name says.
        Place: int -> int
    }

/// Simulations and derivatives made elsewhere, at the fiducial parameters: in memory (StoredSimulations.ofTensors) or in files.
type StoredSimulations =
    {
        /// (n, shape…).
        Fields: Slices
        /// (m, parameters, shape…), 1 ≤ m ≤ n: derivative i is that of field i, with the same noise. Where they are made from matched
        /// runs, [d(θ + δ) − d(θ − δ)] / 2δ of the seed of field i.
        FieldDerivatives: Slices
    }

/// Making and reading slices.
module Slices =
    /// The name of slices in memory.
    let internal inMemory = "simulations in memory"

    /// The rows of a tensor (n, shape…) in memory.
    let ofTensor (tensor: Tensor) : Slices =
        if tensor.dim () = 0L then
            raise (ShapeException("slices of a tensor", "a row for each simulation", "a scalar"))

        { Name = inMemory
          Count = int tensor.shape[0]
          Shape = tensor.shape[1..]
          Read = fun places -> Tensors.rows places tensor
          Place = id }

    /// The same under another name.
    let named name (slices: Slices) = { slices with Name = name }

    /// Rows of these places, all finite: an error names the first that is not.
    let rows (places: int[]) (slices: Slices) : Tensor =
        let read = slices.Read places

        match Tensors.finiteRows read |> Array.tryFindIndex not with
        | None -> read
        | Some i ->
            raise (
                NonFiniteException(
                    slices.Name,
                    "finite numbers",
                    $"NaN or infinity in simulation {slices.Place places[i]}"
                )
            )

    /// Rows from a first one on.
    let range first length slices =
        rows [| first .. first + length - 1 |] slices

    /// Pieces (start, length) of n rows that are read at a time: 2²² numbers, and 200 rows, at the most.
    let internal pieces n (slices: Slices) =
        let numbers = max 1L (Array.fold (*) 1L slices.Shape)
        Tensors.chunks (int (max 1L (min 200L ((1L <<< 22) / numbers)))) n

    /// The places that a number of rows have which are spread evenly over all.
    let spread count (slices: Slices) : int[] =
        let m = min count slices.Count
        Array.init m (fun i -> int (int64 i * int64 slices.Count / int64 m))

    /// Some of the rows, by their places.
    let pick (places: int[]) (slices: Slices) : Slices =
        { slices with
            Count = places.Length
            Read = fun wanted -> slices.Read(wanted |> Array.map (fun i -> places[i]))
            Place = fun i -> slices.Place places[i] }

    let private same what (a: Slices) (b: Slices) =
        if a.Shape <> b.Shape || a.Count <> b.Count then
            raise (
                ShapeException(
                    $"{what}, {b.Name}",
                    $"{a.Count} rows of shape {Guard.Describe a.Shape}, as in {a.Name}",
                    $"{b.Count} of {Guard.Describe b.Shape}"
                )
            )

    /// Central differences (above − below)/2h of rows.
    let difference (h: float) (above: Slices) (below: Slices) : Slices =
        same "simulations at θ − δ" above below

        { above with
            Name = $"({above.Name} − {below.Name})/2δ"
            Read =
                fun places -> Tensors.scoped (fun () -> (above.Read places - below.Read places) / (2.0 * h).ToScalar()) }

    /// Arrays of one shape side by side: rows (parts, shape…).
    let stack (parts: Slices list) : Slices =
        let first = List.head parts
        parts |> List.iter (same "arrays side by side" first)

        { Name = parts |> List.map _.Name |> List.distinct |> String.concat ", "
          Count = first.Count
          Shape = Array.append [| int64 parts.Length |] first.Shape
          Read =
            fun places -> Tensors.scoped (fun () -> torch.stack (parts |> List.map (fun part -> part.Read places), 1L))
          Place = first.Place }

    /// One entry of the first axis of every row.
    let entry (k: int) (slices: Slices) : Slices =
        { slices with
            Shape = slices.Shape[1..]
            Read = fun places -> Tensors.scoped (fun () -> (slices.Read places).select(1L, int64 k).clone()) }

    /// Arrays behind one another.
    let concat (name: string) (parts: Slices[]) : Slices =
        let starts = parts |> Array.scan (fun total part -> total + part.Count) 0
        let shape = parts[0].Shape

        for part in parts do
            if part.Shape <> shape then
                raise (
                    ShapeException(
                        part.Name,
                        $"simulations of shape {Guard.Describe shape}, as in {parts[0].Name}",
                        Guard.Describe part.Shape
                    )
                )

        let partOf place =
            let at = System.Array.BinarySearch(starts, place)
            let i = if at >= 0 then at else -at - 2
            // an empty part begins where the next does
            let rec last i =
                if starts[i + 1] <= place then last (i + 1) else i

            last i

        { Name = name
          Count = Array.last starts
          Shape = shape
          Read =
            fun places ->
                Tensors.scoped (fun () ->
                    let order = Array.init places.Length id
                    System.Array.Sort(Array.copy places, order)

                    order
                    |> Array.groupBy (fun i -> partOf places[i])
                    |> Array.map (fun (part, own) ->
                        own, parts[part].Read(own |> Array.map (fun i -> places[i] - starts[part])))
                    |> Tensors.placed)
          Place = id }

/// Making stored simulations.
module StoredSimulations =
    /// Of tensors in memory: fields (n, shape…) and derivatives (m, parameters, shape…).
    let ofTensors (fields: Tensor) (derivatives: Tensor) : StoredSimulations =
        { Fields = Slices.ofTensor fields
          FieldDerivatives = Slices.ofTensor derivatives }
