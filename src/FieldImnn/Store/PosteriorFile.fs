namespace FieldImnn

open System.Globalization
open System.IO

/// Posteriors as CSV.
module PosteriorFile =
    /// A field of CSV, in quotes where it needs them (RFC 4180).
    let private quoted (field: string) =
        if field.IndexOfAny [| ','; '"'; '\r'; '\n' |] < 0 then
            field
        else
            "\"" + field.Replace("\"", "\"\"") + "\""

    /// Writes a posterior: a column for each parameter, named, and `weight`.
    let write path (posterior: Posterior) =
        let number (v: float) =
            v.ToString("R", CultureInfo.InvariantCulture)

        Files.writeAtomically path (fun stream ->
            use writer = new StreamWriter(stream, leaveOpen = true)

            writer.WriteLine(
                Array.append posterior.Names [| "weight" |]
                |> Array.map quoted
                |> String.concat ","
            )

            Array.iter2
                (fun (s: float[]) w ->
                    writer.WriteLine(Array.append s [| w |] |> Array.map number |> String.concat ","))
                posterior.Samples
                posterior.Weights)
