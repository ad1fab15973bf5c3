namespace FieldImnn

open System
open System.IO
open System.Text.Json
open FieldImnn.Core

/// Posteriors in files, whose kind is their name's ending:
///   .csv       CSV (RFC 4180, UTF-8): a line of names, a column for each parameter, the last column `weight`; without bounds
///   .npz       NumPy's arrays: samples (n, p), weights (n), bounds (p, 2), and the density where it is known on a grid or line
///   .h5 .hdf5  the same as datasets of HDF5
///   .txt       a chain for getdist, with .paramnames and .ranges beside it
///   .nc        ArviZ's layout: netCDF-4, groups `posterior` (draws of equal weight) and `weighted_posterior` (the samples themselves)
/// Numbers are written so that they come back as they were.
module PosteriorFile =
    /// The endings that are known.
    let endings = [ ".csv"; ".npz"; ".h5"; ".hdf5"; ".txt"; ".nc" ]

    let private ending (path: string) =
        let found = (Path.GetExtension path).ToLowerInvariant()

        if not (List.contains found endings) then
            let known = String.concat ", " endings
            raise (StoreException(path, $"a name of a posterior's file, which ends in {known}", $"'{found}'"))

        found

    let private namesText, private provenanceText = "parameters.json", "provenance.json"

    let private writeNpz path provenance (posterior: Posterior) =
        Npz.write
            path
            { Arrays = PosteriorParts.arrays posterior |> Map.ofList
              Texts =
                Map
                    [ namesText, JsonSerializer.Serialize posterior.Names
                      match provenance with
                      | Some json -> provenanceText, json
                      | None -> () ] }

    let private readNpz bounds (path: string) =
        let npz = Npz.read path

        let names =
            try
                JsonSerializer.Deserialize<string[]>(Npz.text path namesText npz)
            with :? JsonException as fault ->
                raise (StoreException(path, "names in JSON", fault.Message, fault))

        PosteriorParts.ofArrays path bounds names npz.Arrays.TryFind

    /// Writes a posterior with its provenance, in JSON: what made it and how to make it again. It is in the file; beside a chain in
    /// ROOT.provenance.json; CSV has no place for it.
    let writeFrom (provenance: string option) (path: string) (posterior: Posterior) =
        match ending path with
        | ".csv" -> PosteriorCsv.write path posterior
        | ".npz" -> writeNpz path provenance posterior
        | ".txt" -> PosteriorChain.write path provenance posterior
        | ".nc" -> PosteriorNetCdf.write path provenance posterior
        | _ -> PosteriorHdf5.write path provenance posterior

    /// Writes the samples and weights of a posterior, of one on a grid or line those of its points.
    let write (path: string) (posterior: Posterior) = writeFrom None path posterior

    let private readBetween bounds (path: string) : Posterior =
        match ending path with
        | ".csv" -> PosteriorCsv.read bounds path
        | ".npz" -> readNpz bounds path
        | ".txt" -> PosteriorChain.read bounds path
        | ".nc" -> PosteriorNetCdf.read bounds path
        | _ -> PosteriorHdf5.read bounds path

    /// Reads a posterior. CSV, one with a line of names and a line for each sample, in which all weigh alike without a last column `weight`,
    /// does not know the prior's bounds: none are assumed, and densities near one are blurred over it.
    let read (path: string) : Posterior = readBetween None path

    /// As read, for a prior with these bounds (lo, hi) of each parameter, which the samples must keep to.
    let readWithin (bounds: (float * float)[]) (path: string) : Posterior = readBetween (Some bounds) path

    /// The provenance of a posterior, in JSON, where its file has one.
    let provenance (path: string) : string option =
        match ending path with
        | ".npz" -> (Npz.read path).Texts.TryFind provenanceText
        | ".nc" -> PosteriorNetCdf.provenance path
        | ".csv" -> None
        | ".txt" ->
            let beside = Path.ChangeExtension(path, ".provenance.json")

            if File.Exists beside then
                Some((Files.opening beside File.ReadAllText).Trim())
            else
                None
        | _ -> PosteriorHdf5.provenance path
