namespace FieldImnn

open System
open System.Globalization
open FieldImnn.Core
open TorchSharp

/// Stored simulations: what they must be, and how those that are held out are divided.
module internal Stored =
    /// Fields of a set.
    let count (set: StoredSimulations) = set.Fields.Count

    /// Derivatives of a set: those of its first fields.
    let derivatives (set: StoredSimulations) = set.FieldDerivatives.Count

    /// Whether field i has its derivative.
    let hasDerivative set i = i < derivatives set

    /// The indices of a set in two halves, each with half of the derivatives, and those first.
    let halves set =
        let n, m = count set, derivatives set
        let first, second = m - m / 2, (n - m) / 2

        Array.append [| 0 .. first - 1 |] [| m .. m + second - 1 |],
        Array.append [| first .. m - 1 |] [| m + second .. n - 1 |]

    let private text (v: float) =
        v.ToString("g3", CultureInfo.InvariantCulture)

    let private shaped name (shape: int64[]) (slices: Slices) =
        if slices.Shape <> shape then
            let axes (shape: int64[]) = String.Join(", ", shape)

            let came: int64[] = Array.append [| int64 slices.Count |] slices.Shape
            raise (ShapeException(name, $"shape (batch, {axes shape})", Guard.Describe came))

    /// Derivatives of a set whose matches are looked for.
    let private probed = 48

    let private shapes (simulator: Simulator) name leastDerivatives (set: StoredSimulations) =
        shaped name simulator.FieldShape set.Fields
        let p = int64 simulator.Parameters.Length
        let its = $"derivatives of {name}"
        shaped its (Array.append [| p |] simulator.FieldShape) set.FieldDerivatives

        if derivatives set < leastDerivatives || derivatives set > count set then
            raise (
                SettingException(
                    its,
                    $"{leastDerivatives} to {count set}: derivative i is that of field i",
                    $"{derivatives set} derivatives of {count set} fields"
                )
            )

        use _ = torch.NewDisposeScope()

        let looked =
            Slices.rows (Slices.spread probed set.FieldDerivatives) set.FieldDerivatives

        for a in 0 .. simulator.Parameters.Length - 1 do
            if looked.select(1L, int64 a).count_nonzero().ToInt64() = 0L then
                raise (
                    SimulatorException(
                        its,
                        "a field that depends on every parameter",
                        $"{Simulator.parameter simulator a} has no effect on the field"
                    )
                )

    /// Rows (n, pixels) without their mean over the rows, each of unit length, float32.
    let private directions (t: Tensor) : Tensor =
        let rows = t.reshape(t.shape[0], -1L).``to`` torch.ScalarType.Float32
        let centred = rows - rows.mean ([| 0L |], keepdim = true)

        centred
        / centred.square().sum(1L, keepdim = true).sqrt().clamp_min(1e-30.ToScalar())

    /// |cosine| of some derivatives by parameter a of a set, evenly spread, with all fields of another (probes, fields).
    let private cosines (derivative: Tensor) (fields: Tensor) = derivative.matmul(fields.t ()).abs()

    let private probes set =
        Slices.spread probed set.FieldDerivatives

    /// Numbers of fields that are looked through: of sets that are larger, some fields, those of the probes among them.
    let private mostNumbers = 1L <<< 23

    /// A set with the fields that are looked through: their places, rising, and directions; and the probes' derivatives (probes, p, shape…).
    type private Looked =
        { Name: string
          Probes: int[]
          Derivatives: Tensor
          Places: int[]
          Directions: Tensor }

    let private look (name, set: StoredSimulations) : Looked =
        let most =
            int (max 256L (mostNumbers / max 1L (Array.fold (*) 1L set.Fields.Shape)))

        let probes = probes set

        let places =
            if count set <= most then
                [| 0 .. count set - 1 |]
            else
                Array.append probes (Slices.spread most set.Fields)
                |> Array.distinct
                |> Array.sort

        // a piece at a time: what has been read is single precision at once
        let fields =
            places
            |> Array.chunkBySize 256
            |> Array.map (fun part ->
                Tensors.scoped (fun () ->
                    (Slices.rows part set.Fields).``to``(torch.ScalarType.Float32).reshape(int64 part.Length, -1L)))

        { Name = name
          Probes = probes
          Derivatives = Slices.rows probes set.FieldDerivatives
          Places = places
          Directions = directions (torch.cat (fields, 0L)) }

    /// What is known of the pairing of a set's derivatives by one parameter with fields.
    type private Match =
        {
            /// Derivative that was looked at.
            Index: int
            /// |cosine| with its own field.
            Own: float
            /// The highest with any other, where that is, and the second highest.
            Best: float
            Set: string
            Field: int
            Second: float
        }

    let private matches (sets: Looked list) (looked: Looked) a : Match[] =
        let indices = looked.Probes
        let derivative = directions (looked.Derivatives.select (1L, int64 a))

        let found =
            sets
            |> List.map (fun other -> other, cosines derivative other.Directions |> Tensors.toRows)

        indices
        |> Array.mapi (fun row i ->
            let name = looked.Name
            let own' = Array.BinarySearch(looked.Places, i)
            let _, ofOwn = found |> List.find (fun (other, _) -> other.Name = name)
            let own = ofOwn[row][own']

            let mutable first = struct (-1.0, name, 0)
            let mutable second = -1.0

            for other, c in found do
                for j in 0 .. c[row].Length - 1 do
                    if other.Name <> name || j <> own' then
                        let struct (best, _, _) = first
                        let value = c[row][j]

                        if value > best then
                            first <- struct (value, other.Name, other.Places[j])
                            second <- best
                        elif value > second then
                            second <- value

            let struct (best, where, field) = first

            { Index = i
              Own = own
              Best = best
              Set = where
              Field = field
              Second = second })

    /// How the |cosine| of a derivative with its own field stands out from that with others: the mean difference and its standard error.
    let private standing (found: Match[]) (others: float) =
        let excess = found |> Array.map (fun m -> m.Own - others)
        let mean = Array.average excess

        let spread = sqrt (excess |> Array.averageBy (fun e -> (e - mean) ** 2.0))

        mean, max 1e-3 (spread / sqrt (float excess.Length))

    /// Derivative i belongs to field i. A derivative that is like another field much more than like its own and any third, and this for
    /// most of them, belongs there; and where those of one set are like their own fields, those of the other set must be. What is not like
    /// any field (noise that is added, a mean that moves) can be paired in any way, and shows nothing.
    let private pairing (simulator: Simulator) (training: StoredSimulations) (heldOut: StoredSimulations) =
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()

        let sets =
            [ "stored simulations", training; "stored simulations held out", heldOut ]
            |> List.map look

        for a in 0 .. simulator.Parameters.Length - 1 do
            let parameter = Simulator.parameter simulator a

            let found = sets |> List.map (fun set -> set.Name, matches sets set a)

            for name, found in found do
                let elsewhere =
                    found |> Array.filter (fun m -> m.Best > 1.5 * m.Own && m.Best > 1.5 * m.Second)

                if found.Length >= 4 && 2 * elsewhere.Length > found.Length then
                    let m = elsewhere[0]

                    raise (
                        SimulatorException(
                            $"derivatives of {name}",
                            "derivative i of the same seed as field i",
                            $"derivative {m.Index} by {parameter} is that of field {m.Field} of {m.Set}: correlation {text m.Best}, with its own {text m.Own}"
                        )
                    )

            match found with
            | [ (first, here); (second, there) ] when min here.Length there.Length >= 8 ->
                let others (found: Match[]) =
                    found |> Array.averageBy _.Second |> min (found |> Array.averageBy _.Best)

                let compare (right, a: Match[]) (wrong, b: Match[]) =
                    let good, goodError = standing a (others a)
                    let bad, badError = standing b (others b)

                    if good > 8.0 * goodError && bad < 0.0 && good - bad > 8.0 * (goodError + badError) then
                        let mean (found: Match[]) = found |> Array.averageBy _.Own |> text

                        raise (
                            SimulatorException(
                                $"derivatives of {wrong}",
                                $"derivative i of the same seed as field i, as in {right}",
                                $"mean correlation {mean b} of derivatives by {parameter} with their fields, against {mean a}"
                            )
                        )

                compare (first, here) (second, there)
                compare (second, there) (first, here)
            | _ -> ()

    /// A set whose errors say what it is for, and which file.
    let private called name (set: StoredSimulations) =
        let own what (slices: Slices) =
            slices
            |> Slices.named (
                if slices.Name = Slices.inMemory then
                    what
                else
                    $"{what} ({slices.Name})"
            )

        { Fields = own name set.Fields
          FieldDerivatives = own $"derivatives of {name}" set.FieldDerivatives }

    /// Values of pixels that vary, at the most, and the part of these that are different ones where fields do not jump.
    let private looked, private different = 1 <<< 16, 0.01

    /// Refuses derivatives of fields of few different values, as counts are: a pixel jumps where θ changes, and its derivative, pushed through a
    /// histogram or any other function, is not that of the statistic.
    let private smooth name (some: Tensor) =
        let varying = (some.amax [| 0L |]).ne(some.amin [| 0L |])
        let values = some.masked_select varying |> Tensors.toArray |> Array.truncate looked
        let distinct = (Array.distinct values).Length

        if values.Length >= 1000 && float distinct < different * float values.Length then
            raise (
                SimulatorException(
                    $"derivatives of {name}",
                    "fields that change smoothly with θ; of counts, features have derivatives and pixels have none: a simulator with FiniteDifference, or simulations of the prior without derivatives",
                    $"{distinct} different values in {values.Length} pixels, as of whole numbers"
                )
            )

    /// The sets, if they can be trained on: shapes, finite numbers, derivatives (in the set held out, four: two for each half) that belong
    /// to their fields.
    let check simulator training heldOut =
        let training = called "stored simulations" training
        let heldOut = called "stored simulations held out" heldOut
        shapes simulator "stored simulations" 1 training
        shapes simulator "stored simulations held out" 4 heldOut

        Tensors.using (fun () ->
            let some = Slices.rows (Slices.spread probed training.Fields) training.Fields
            smooth "stored simulations" some
            Door.resolved "stored simulations" simulator.Channels some)

        pairing simulator training heldOut
        training, heldOut
