namespace FieldImnn

open System
open System.Globalization
open System.IO
open FieldImnn.Core
open TorchSharp

/// Simulations that somebody has made: pairs of parameters and fields, simulations at a fiducial point with derivatives, or both.
type SimulationSet =
    {
        /// Parameters (rows) and their fields, (n, shape…): draws of the prior.
        Pairs: (float[][] * Slices) option
        /// The fiducial parameters, and the simulations there.
        AtFiducial: (float[] * StoredSimulations) option
    }

/// Sets of simulations in a folder, an HDF5 file or a .npz file. Their arrays, by name (shape… is that of a field):
///   theta (n, p), fields (n, shape…)                pairs; theta may be text, a line for each simulation (theta.txt, theta.csv)
///   fiducial (p), fiducial_fields (n, shape…)       the fiducial point, with
///   derivatives (m, p, shape…)                      its derivatives, derivative i being that of field i, or
///   step (p), plus and minus (m, p, shape…)         simulations at θ ± δ, i of the seed of field i, a step of δ for each parameter to either
///                                                   side; or of every parameter by itself, plus_NAME and minus_NAME (m, shape…)
/// In a folder, an array is a file NAME.npy, .npz or .h5 of one array, or a folder NAME of such files behind one another.
module SimulationSet =
    let private refuse name expected received : 'a =
        raise (StoreException(name, expected, received))

    let private endings = [ ".npy"; ".npz"; ".h5"; ".hdf5"; ".hdf" ]

    /// Where the array of a name is, as SliceFiles.read has it, if it is there.
    let private tryPlace (path: string) (name: string) : (string * string option) option =
        if Directory.Exists path then
            let folder = Path.Combine(path, name)

            if Directory.Exists folder then
                Some(folder, None)
            else
                endings
                |> List.map (fun ending -> Path.Combine(path, name + ending))
                |> List.tryFind File.Exists
                |> Option.map (fun file -> file, None)
        else if SliceFiles.names path |> List.contains name then
            Some(path, Some name)
        else
            None

    let private checkPath (path: string) =
        if not (Directory.Exists path) then
            if not (File.Exists path) then
                refuse path "a folder, an HDF5 file or a .npz file of simulations" "nothing of that name"

            match (Path.GetExtension path).ToLowerInvariant() with
            | ".npz"
            | ".h5"
            | ".hdf5" -> ()
            | other -> refuse path "a folder, an HDF5 file or a .npz file of simulations" $"a file '{other}'"

    /// Letters of axes with that of the parameters behind the simulations', where axes are named.
    let private withParameters (axes: string option) =
        axes |> Option.map (fun text -> text.Replace("n", "np"))

    let private trySlices path rank axes name =
        tryPlace path name
        |> Option.map (fun (file, array) -> SliceFiles.read rank axes array file)

    /// Numbers of a text, a line for each simulation; a first line of words, and what follows a #, is left out.
    let private ofText (path: string) : float[][] =
        let number (word: string) =
            match Double.TryParse(word, NumberStyles.Float, CultureInfo.InvariantCulture) with
            | true, v -> Some v
            | _ -> None

        Files.opening path File.ReadAllLines
        |> Array.mapi (fun i line ->
            let told = Array.head (line.Split '#')

            let words =
                told.Split([| ' '; '\t'; ','; ';' |], StringSplitOptions.RemoveEmptyEntries)

            let numbers = words |> Array.choose number

            if numbers.Length = words.Length then
                numbers
            elif i = 0 && numbers.Length = 0 then
                [||]
            else
                refuse path $"numbers in line {i + 1}" $"'{line.Trim()}'")
        |> Array.filter (fun row -> row.Length > 0)

    let private whole (slices: Slices) : float[][] =
        Tensors.using (fun () -> Slices.range 0 slices.Count slices |> Tensors.toRows)

    let private theta path (names: string[]) : float[][] option =
        let text =
            if Directory.Exists path then
                [ "theta.txt"; "theta.csv"; "theta.dat" ]
                |> List.map (fun name -> Path.Combine(path, name))
                |> List.tryFind File.Exists
            else
                None

        let rows =
            match text with
            | Some file -> Some(ofText file)
            | None -> trySlices path 1 None "theta" |> Option.map whole

        let listed = String.concat ", " names

        match rows |> Option.bind (Array.tryFind (fun row -> row.Length <> names.Length)) with
        | Some row ->
            raise (
                ShapeException(
                    $"parameters 'theta' of {path}",
                    $"{names.Length} in a row, {listed}, as in the prior",
                    $"{row.Length}"
                )
            )
        | None -> rows

    let private pairs path names rank axes =
        match theta path names, trySlices path rank axes "fields" with
        | Some rows, Some fields ->
            if rows.Length <> fields.Count then
                raise (
                    ShapeException(
                        $"pairs of {path}",
                        "as many rows of 'theta' as of 'fields'",
                        $"{rows.Length} and {fields.Count}"
                    )
                )

            Some(rows, fields)
        | None, None -> None
        | Some _, None -> refuse path "an array 'fields' to 'theta'" "none"
        | None, Some _ -> refuse path "an array 'theta' to 'fields'" "none"

    /// p numbers by name.
    let private vector path (names: string[]) name : float[] option =
        trySlices path 0 None name
        |> Option.map (fun slices ->
            let values =
                Tensors.using (fun () -> Slices.range 0 slices.Count slices |> Tensors.toArray)

            if values.Length <> names.Length then
                let listed = String.concat ", " names

                raise (
                    ShapeException($"'{name}' of {path}", $"{names.Length} numbers, of {listed}", $"{values.Length}")
                )

            values)

    /// Simulations to one side of the fiducial: stacked, or of every parameter by itself.
    let private side path (names: string[]) rank axes side : Slices[] option =
        match trySlices path (rank + 1) (withParameters axes) side with
        | Some both -> Some(names |> Array.mapi (fun k _ -> Slices.entry k both))
        | None ->
            match names |> Array.map (fun name -> trySlices path rank axes $"{side}_{name}") with
            | found when Array.forall Option.isSome found -> Some(Array.map Option.get found)
            | found when Array.forall Option.isNone found -> None
            | found ->
                let missing = names[Array.findIndex Option.isNone found]
                refuse path $"an array '{side}_{missing}', as of the other parameters" "none"

    /// Pairs of ± that are looked at.
    let private probed = 24

    /// Refuses simulations at θ + δ and θ − δ that are not of the same seeds: then their difference is as large as the fields themselves.
    let private matched (name: string) (above: Slices) (below: Slices) =
        Tensors.using (fun () ->
            let places = Slices.spread probed above

            let centred (slices: Slices) =
                let read = (Slices.rows places slices).``to`` torch.ScalarType.Float64
                read - read.mean ([| 0L |], keepdim = true)

            let a, b = centred above, centred below
            let size (t: Tensor) = Tensors.toNumber (t.square().mean())
            let apart = size (a - b) / (size a + size b + 1e-300)
            let part = (sqrt apart).ToString("g2", CultureInfo.InvariantCulture)

            if places.Length >= 4 && apart > 0.8 then
                raise (
                    SimulatorException(
                        $"simulations at θ ± δ of {name}",
                        "simulation i of the same seed on both sides, whose difference is small against their scatter",
                        $"a difference of {part} of it ({above.Name}, {below.Name}): other seeds, or another order"
                    )
                ))

    let private derivatives path (names: string[]) rank axes : Slices option =
        match trySlices path (rank + 1) (withParameters axes) "derivatives" with
        | Some found -> Some found
        | None ->
            match side path names rank axes "plus", side path names rank axes "minus" with
            | Some plus, Some minus ->
                let step =
                    match vector path names "step" with
                    | Some step -> step
                    | None -> refuse path "an array 'step': δ of every parameter, to either side" "none"

                match step |> Array.tryFindIndex (fun h -> not (Double.IsFinite h) || h = 0.0) with
                | Some k ->
                    raise (RangeException($"step of {names[k]} in {path}", "a number other than 0", string step[k]))
                | None -> ()

                let one k =
                    let difference = Slices.difference step[k] plus[k] minus[k]
                    matched names[k] plus[k] minus[k]
                    difference

                names |> Array.mapi (fun k _ -> one k) |> List.ofArray |> Slices.stack |> Some
            | None, None -> None
            | Some _, None -> refuse path "arrays 'minus' to 'plus'" "none"
            | None, Some _ -> refuse path "arrays 'plus' to 'minus'" "none"

    let private fiducial path names rank axes =
        match
            vector path names "fiducial", trySlices path rank axes "fiducial_fields", derivatives path names rank axes
        with
        | Some theta, Some fields, Some derivatives ->
            Some(
                theta,
                { Fields = fields
                  FieldDerivatives = derivatives }
            )
        | None, None, None -> None
        | theta, fields, derivatives ->
            let missing =
                [ if theta.IsNone then
                      "'fiducial'"
                  if fields.IsNone then
                      "'fiducial_fields'"
                  if derivatives.IsNone then
                      "'derivatives', or 'plus' and 'minus'" ]
                |> String.concat " and "

            refuse path $"the fiducial point whole: with {missing}" "the rest of it alone"

    /// Reads where a set is, for parameters of these names and fields of so many axes; the numbers stay in the files until they are asked for.
    /// Axes of the fields' files in the order of letters, where it is another than simulations, channels, sides: see SliceFiles.read.
    let read (names: string[]) (rank: int) (axes: string option) (path: string) : SimulationSet =
        checkPath path

        let set =
            { Pairs = pairs path names rank axes
              AtFiducial = fiducial path names rank axes }

        if set.Pairs.IsNone && set.AtFiducial.IsNone then
            refuse path "arrays 'theta' and 'fields', or 'fiducial', 'fiducial_fields' and 'derivatives'" "none of them"

        set

    /// Stored simulations in two: for training, and held out, each with its part of the derivatives, those first. The part held out chooses,
    /// fits and quotes.
    let split (heldOut: float) (set: StoredSimulations) : StoredSimulations * StoredSimulations =
        let n, m = set.Fields.Count, set.FieldDerivatives.Count

        if m > n then
            raise (
                ShapeException(
                    $"derivatives {set.FieldDerivatives.Name}",
                    $"at most {n}: derivative i is that of field i",
                    $"{m}"
                )
            )

        let out k = int (heldOut * float k)

        let part first last firstBare lastBare =
            let able = [| first .. last - 1 |]

            { Fields = set.Fields |> Slices.pick (Array.append able [| firstBare .. lastBare - 1 |])
              FieldDerivatives = set.FieldDerivatives |> Slices.pick able }

        let able, bare = m - out m, n - out (n - m)
        part 0 able m bare, part able m bare n
