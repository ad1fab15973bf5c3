/// A task of the benchmark of Lueckmann et al. 2021 (arXiv:2101.04653): a prior, a simulator of vectors, and observations whose posterior
/// is known from long reference runs.
module Task

open System
open System.IO
open FieldImnn
open FieldImnn.Core

/// A published C2ST (mean over ten observations) by number of simulations, and whose it is.
type Published =
    { Estimator: string
      Values: Map<int, float> }

type Task =
    {
        /// Its folder's name in the reference data.
        Name: string
        Prior: Prior
        /// Vectors for fields.
        Simulator: Simulator
        /// The values to beat, of neural likelihood in one round and in ten.
        Single: Published list
        Sequential: Published list
    }

/// An observation and the reference draws of its posterior.
type Observation =
    { Number: int
      X: float[]
      Reference: float[][] }

let private rows path =
    File.ReadAllLines path
    |> Array.skip 1
    |> Array.map (fun line ->
        line.Split ','
        |> Array.map (fun (v: string) -> Double.Parse(v, Globalization.CultureInfo.InvariantCulture)))

/// The stored observations of a task, in the folder of the reference data.
let observations (folder: string) task =
    let own = Path.Combine(folder, task.Name)

    if not (Directory.Exists own) then
        raise (
            StoreException(
                own,
                "the benchmark's reference data: number/observation.csv and reference_posterior_samples.csv",
                "no such folder"
            )
        )

    Directory.GetDirectories own
    |> Array.sort
    |> Array.map (fun path ->
        { Number = int (Path.GetFileName path)
          X = (rows (Path.Combine(path, "observation.csv")))[0]
          Reference = rows (Path.Combine(path, "reference_posterior_samples.csv")) })
