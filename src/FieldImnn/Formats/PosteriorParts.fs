namespace FieldImnn

open System
open FieldImnn.Core

/// What the files of posteriors have in common.
module internal PosteriorParts =
    /// A posterior of what was read, without bounds where none are known; errors go by the file.
    let assemble file names bounds (samples: float[][]) (weights: float[]) =
        let bounds =
            bounds
            |> Option.defaultWith (fun () -> names |> Array.map (fun _ -> -infinity, infinity))

        try
            let posterior = Posterior.ofSamples names bounds samples weights
            // weights that sum to one but for rounding are not normalised again, so that they come back to the bit
            if abs (Array.sum weights - 1.0) < 1e-9 then
                { posterior with Weights = weights }
            else
                posterior
        with :? FieldImnnException as fault ->
            raise (StoreException(file, fault.Expected, fault.Received, fault))

    /// The arrays that a posterior is, by name: samples (n, p), weights (n), bounds (p, 2) and, where the density is known on a grid
    /// or line, that.
    let arrays (posterior: Posterior) : (string * NpyArray) list =
        let n, p = posterior.Samples.Length, posterior.Names.Length

        [ "samples", Npy.double [| n; p |] (Array.concat posterior.Samples)
          "weights", Npy.double [| n |] posterior.Weights
          "bounds", Npy.double [| p; 2 |] (posterior.Bounds |> Array.collect (fun (lo, hi) -> [| lo; hi |]))
          match posterior.Grid with
          | Some grid ->
              "grid_x", Npy.double [| grid.X.Length |] grid.X
              "grid_y", Npy.double [| grid.Y.Length |] grid.Y

              "grid_density",
              Npy.double [| grid.X.Length; grid.Y.Length |] (grid.Density |> Seq.cast<float> |> Seq.toArray)
          | None -> ()
          match posterior.Line with
          | Some line ->
              "line_places", Npy.double [| line.Places.Length |] line.Places
              "line_values", Npy.double [| line.Values.Length |] line.Values
          | None -> () ]

    /// And back, from names and a look-up of arrays; bounds that are given take the place of those stored.
    let ofArrays file bounds (names: string[]) (array: string -> NpyArray option) : Posterior =
        let require key =
            match array key with
            | Some found -> found
            | None -> raise (StoreException(file, $"an array '{key}'", "none"))

        let samples, weights = require "samples", (require "weights").Data

        if samples.Shape <> [| weights.Length; names.Length |] then
            let shape = NpyHeader.shapeText samples.Shape
            raise (StoreException(file, $"samples of shape ({weights.Length}, {names.Length})", shape))

        let stored =
            (require "bounds").Data
            |> Array.chunkBySize 2
            |> Array.map (fun pair -> pair[0], Array.last pair)

        let posterior =
            assemble
                file
                names
                (Some(defaultArg bounds stored))
                (samples.Data |> Array.chunkBySize (max 1 names.Length))
                weights

        { posterior with
            Grid =
                array "grid_density"
                |> Option.map (fun density ->
                    let x, y = (require "grid_x").Data, (require "grid_y").Data

                    if density.Shape <> [| x.Length; y.Length |] then
                        raise (StoreException(file, "a density at every point of the grid", "another number"))

                    { X = x
                      Y = y
                      Density = Array2D.init x.Length y.Length (fun i j -> density.Data[i * y.Length + j]) })
            Line =
                array "line_values"
                |> Option.map (fun values ->
                    { Places = (require "line_places").Data
                      Values = values.Data }) }
