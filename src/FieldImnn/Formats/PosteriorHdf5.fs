namespace FieldImnn

open System
open System.Text
open FieldImnn.Core
open PureHDF

/// Posteriors as HDF5: samples (n, p), weights (n) and bounds (p, 2), names and provenance as attributes.
module internal PosteriorHdf5 =
    /// Writes a posterior, and its provenance in JSON.
    let write (path: string) (provenance: string option) (posterior: Posterior) =
        Hdf5.write
            path
            (PosteriorParts.arrays posterior)
            [ "parameters", posterior.Names
              match provenance with
              | Some json -> "provenance", [| json |]
              | None -> () ]

    /// The provenance that is in a file.
    let provenance (path: string) =
        Hdf5.texts path "" "provenance" |> Option.map Array.head

    /// Reads a posterior.
    let read bounds (path: string) =
        let names =
            match Hdf5.texts path "" "parameters" with
            | Some names -> names
            | None -> raise (StoreException(path, "names of the parameters in an attribute 'parameters'", "none"))

        let there = Hdf5.names path |> Set.ofList

        PosteriorParts.ofArrays path bounds names (fun key ->
            if there.Contains key then
                Some(Hdf5.read path key)
            else
                None)

/// Posteriors in the layout of ArviZ: netCDF-4, which is HDF5 with dimensions. The group `posterior` has a variable (chain, draw) for each
/// parameter, of equal weight, as ArviZ wants draws; `weighted_posterior` the samples and weights themselves, (sample).
module internal PosteriorNetCdf =
    /// NetCDF knows a dimension by a text of exactly this length; every text of the file has it, so longer ones are bytes.
    let private options = H5WriteOptions(DefaultStringLength = 16)

    let private dimension id (name: string) length =
        let made = H5Dataset(Array.init length int64)
        made.Attributes["CLASS"] <- "DIMENSION_SCALE"
        made.Attributes["NAME"] <- name
        made.Attributes["_Netcdf4Dimid"] <- (id: int)
        made

    let private variable (dimensions: H5Dataset list) (shape: int list) (data: float[]) =
        let made = H5Dataset(data, fileDims = (shape |> List.map uint64 |> Array.ofList))

        made.Attributes["DIMENSION_LIST"] <- [| for dimension in dimensions -> [| H5ObjectReference dimension |] |]

        made

    let private bytes (text: string) = Encoding.UTF8.GetBytes text

    /// Names of variables: without / and control characters, none of the file's own, all different.
    let private variables (names: string[]) =
        ((names, [ "chain"; "draw"; "sample"; "weight" ])
         ||> Array.foldBack (fun name taken ->
             let plain =
                 (name |> String.map (fun c -> if c = '/' || Char.IsControl c then '_' else c)).Trim()

             let rec free candidate =
                 if candidate = "" || List.contains candidate taken then
                     free (candidate + "_")
                 else
                     candidate

             free plain :: taken)
         |> Array.ofList)[.. names.Length - 1]

    /// Draws of equal weight: the samples themselves where they have it, else at even steps of their cumulative weight, as many as they
    /// are worth, at least 1,000.
    let private draws (posterior: Posterior) =
        let w = posterior.Weights

        if w |> Array.forall (fun v -> abs (v - w[0]) <= 1e-12 * w[0]) then
            posterior.Samples
        else
            let count = max 1000 (int (Posterior.effectiveSize posterior))
            let cumulative = Weighted.cumulative w

            Array.init count (fun i -> posterior.Samples[Weighted.choose cumulative ((float i + 0.5) / float count)])

    let private column k (rows: float[][]) = rows |> Array.map (fun row -> row[k])

    /// A group with dimensions and a variable of these rows for each parameter. The writer loses attributes of what refers to something that
    /// it has not written yet: dimensions come first.
    let private group (posterior: Posterior) (named: (string * H5Dataset) list) shape (rows: float[][]) =
        let made = H5Group()
        let dimensions = List.map snd named

        for name, dimension in named do
            made[name] <- dimension

        variables posterior.Names
        |> Array.iteri (fun k name ->
            let parameter = variable dimensions shape (column k rows)
            let lo, hi = posterior.Bounds[k]
            parameter.Attributes["parameter"] <- k
            parameter.Attributes["name"] <- bytes posterior.Names[k]
            parameter.Attributes["bounds"] <- [| lo; hi |]
            made[name] <- parameter)

        made

    /// Writes a posterior, and its provenance in JSON, as bytes.
    let write (path: string) (provenance: string option) (posterior: Posterior) =
        let even = draws posterior

        Hdf5.writeParts path options (fun file ->
            let chain, draw = dimension 0 "chain" 1, dimension 1 "draw" even.Length
            let own = group posterior [ "chain", chain; "draw", draw ] [ 1; even.Length ] even
            file["posterior"] <- own

            let n = posterior.Samples.Length
            let sample = dimension 2 "sample" n
            let weighted = group posterior [ "sample", sample ] [ n ] posterior.Samples
            weighted["weight"] <- variable [ sample ] [ n ] posterior.Weights
            file["weighted_posterior"] <- weighted

            provenance
            |> Option.iter (fun json -> own.Attributes["provenance"] <- bytes json))

    let private text = Option.map (fun (b: byte[]) -> Encoding.UTF8.GetString b)

    /// The provenance that is in a file.
    let provenance (path: string) =
        Hdf5.bytes path "posterior" "provenance" |> text

    /// Reads the samples and weights of a posterior that was written here.
    let read bounds (path: string) =
        let place = "weighted_posterior"

        let own =
            Hdf5.names path
            |> List.filter (fun name -> name.StartsWith(place + "/", StringComparison.Ordinal))
            |> List.choose (fun name ->
                match Hdf5.number path name "parameter" with
                | Some k -> Some(k, name)
                | None -> None)
            |> List.sort
            |> List.map snd

        if own.IsEmpty then
            raise (StoreException(path, $"a group '{place}' of weighted samples, as FieldImnn writes it", "none"))

        let names =
            [| for name in own -> Hdf5.bytes path name "name" |> text |> Option.defaultValue name |]

        let stored =
            [| for name in own ->
                   match Hdf5.numbers path name "bounds" with
                   | Some [| lo; hi |] -> lo, hi
                   | _ -> -infinity, infinity |]

        let columns = own |> List.map (fun name -> (Hdf5.read path name).Data)
        let weights = (Hdf5.read path (place + "/weight")).Data

        if columns |> List.exists (fun c -> c.Length <> weights.Length) then
            raise (StoreException(path, "as many samples of every parameter as weights", "another number"))

        PosteriorParts.assemble
            path
            names
            (Some(defaultArg bounds stored))
            (Array.init weights.Length (fun i -> columns |> List.map (Array.item i) |> Array.ofList))
            weights
