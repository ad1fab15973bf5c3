namespace FieldImnn

open System
open System.Globalization
open System.IO
open System.Text.RegularExpressions
open FieldImnn.Core

/// Posteriors as CSV (RFC 4180, UTF-8): a line of names, a column for each parameter, the last column `weight`. Numbers are written so
/// that they come back as they were.
module internal PosteriorCsv =
    let private weightColumn = "weight"

    /// A field, in quotes where it needs them.
    let private quoted (field: string) =
        if field.IndexOfAny [| ','; '"'; '\r'; '\n' |] < 0 then
            field
        else
            "\"" + field.Replace("\"", "\"\"") + "\""

    /// Writes the samples and weights of a posterior, of one on a grid or line those of its points. Bounds are not in the file.
    let write (path: string) (posterior: Posterior) =
        Files.writeAtomically path (fun stream ->
            use writer = new StreamWriter(stream, leaveOpen = true)

            writer.WriteLine(
                Array.append posterior.Names [| weightColumn |]
                |> Array.map quoted
                |> String.concat ","
            )

            Array.iter2
                (fun (s: float[]) w ->
                    writer.WriteLine(Array.append s [| w |] |> Array.map Text.number |> String.concat ","))
                posterior.Samples
                posterior.Weights)

    let private refuse file expected received =
        raise (StoreException(file, expected, received))

    /// The records of CSV and the numbers of the lines where they begin: a line whose quotes are open goes on in the next.
    let private records file (text: string) =
        let opens (line: string) =
            (line |> Seq.filter ((=) '"') |> Seq.length) % 2 = 1

        let found = ResizeArray<struct (int * string)>()

        let gather pending (number, line) =
            match pending, opens line with
            | None, false ->
                found.Add(struct (number, line))
                None
            | None, true -> Some(number, line)
            | Some(start, before), false -> Some(start, before + "\n" + line)
            | Some(start, before), true ->
                found.Add(struct (start, before + "\n" + line))
                None

        match text.Split '\n' |> Seq.mapi (fun i line -> i + 1, line) |> Seq.fold gather None with
        | Some(start, _) -> refuse file $"closing quotes of the field that begins in line {start}" "the file's end"
        | None -> ()

        found.ToArray()

    let private pattern =
        Regex("(?:^|,)(?:\"((?:[^\"]|\"\")*)\"|([^,\"]*))(?=,|$)", RegexOptions.CultureInvariant)

    let private fieldsOf (record: string) =
        if record.Contains '"' then
            [| for field in pattern.Matches record ->
                   if field.Groups[1].Success then
                       field.Groups[1].Value.Replace("\"\"", "\"")
                   else
                       field.Groups[2].Value |]
        else
            record.Split ','

    /// The records of CSV, each with the number of its line and its fields; empty lines are left out.
    let private lines file text =
        records file text
        |> Array.map (fun struct (number, record) -> struct (number, record.TrimEnd '\r'))
        |> Array.filter (fun struct (_, record) -> record <> "")
        |> Array.map (fun struct (number, record) -> struct (number, fieldsOf record))

    let private numbers file (names: string[]) (struct (line, fields): struct (int * string[])) =
        if fields.Length <> names.Length then
            refuse file $"{names.Length} fields in line {line}, as in the first" $"{fields.Length}"

        Array.map2
            (fun (name: string) (field: string) ->
                match Double.TryParse(field, NumberStyles.Float, CultureInfo.InvariantCulture) with
                | true, v when Double.IsFinite v -> v
                | _ -> refuse file $"a finite number for {name} in line {line}" $"'{field}'")
            names
            fields

    let private ofColumns file bounds (columns: string[]) (rows: float[][]) =
        let weighted = columns[columns.Length - 1] = weightColumn

        let names, samples, weights =
            if weighted then
                columns[.. columns.Length - 2],
                rows |> Array.map (fun r -> r[.. r.Length - 2]),
                rows |> Array.map Array.last
            else
                columns, rows, Array.replicate rows.Length 1.0

        PosteriorParts.assemble file names bounds samples weights

    /// Reads a posterior from a file with a line of names and a line for each sample; without a last column `weight` all samples weigh
    /// alike. The file does not know the prior's bounds: none are assumed where none are given, and densities near one are blurred over it.
    let read bounds (path: string) =
        match Text.decoded path |> lines path |> List.ofArray with
        | [] -> refuse path "a line of names and a line for each sample" "an empty file"
        | struct (_, names) :: samples ->
            samples
            |> Array.ofList
            |> Array.map (numbers path names)
            |> ofColumns path bounds names
