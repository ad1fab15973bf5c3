namespace FieldImnn

open System
open System.Globalization
open System.IO
open FieldImnn.Core

/// Posteriors as chains that getdist reads: ROOT.txt has a line for each sample, its weight, −ln of its density (0 where that is not known) and
/// the parameters; ROOT.paramnames a line for each parameter, a name without spaces and a label; ROOT.ranges its bounds, N where there
/// are none.
module internal PosteriorChain =
    /// A name without what separates or marks names in these files.
    let private token (name: string) =
        let kept =
            name
            |> String.map (fun c ->
                if Char.IsWhiteSpace c || Char.IsControl c || Seq.contains c "*?#" then
                    '_'
                else
                    c)

        if kept = "" then "_" else kept

    /// Names as tokens that differ.
    let private tokens (names: string[]) =
        (names, [])
        ||> Array.foldBack (fun name taken ->
            let rec free candidate =
                if List.contains candidate taken then
                    free (candidate + "_")
                else
                    candidate

            free (token name) :: taken)
        |> Array.ofList

    let private beside (path: string) extension = Path.ChangeExtension(path, extension)

    let private writeLines path (lines: string seq) =
        Files.writeAtomically path (fun stream ->
            use writer = new StreamWriter(stream, leaveOpen = true)

            for line in lines do
                writer.WriteLine line)

    /// −ln of the density of each sample, where it is known.
    let private minusLogDensity (posterior: Posterior) =
        match posterior.Grid, posterior.Line with
        | None, None -> posterior.Samples |> Array.map (fun _ -> 0.0)
        | _ ->
            // a grid's points count as their density and their share: half of it on the border
            posterior.Weights |> Array.map (fun w -> -log(max w Double.Epsilon))

    /// Writes the three files beside each other, the one that is named (.txt) last; provenance, in JSON, is a fourth, ROOT.provenance.json.
    let write (path: string) (provenance: string option) (posterior: Posterior) =
        let tokens = tokens posterior.Names

        let label (name: string) =
            name.Replace("\r", " ").Replace("\n", " ").Replace("\t", " ")

        writeLines
            (beside path ".paramnames")
            (Array.map2 (fun token name -> $"{token}\t{label name}") tokens posterior.Names)

        let bound v =
            if Double.IsInfinity v then "N" else Text.number v

        writeLines
            (beside path ".ranges")
            (Array.map2 (fun token (lo, hi) -> $"{token} {bound lo} {bound hi}") tokens posterior.Bounds)

        provenance
        |> Option.iter (fun json -> writeLines (beside path ".provenance.json") [ json ])

        Array.map3
            (fun w l (s: float[]) -> Array.append [| w; l |] s |> Array.map Text.number |> String.concat " ")
            posterior.Weights
            (minusLogDensity posterior)
            posterior.Samples
        |> writeLines path

    let private refuse file expected received =
        raise (StoreException(file, expected, received))

    let private readLines (path: string) =
        (Text.decoded path).Split '\n'
        |> Array.mapi (fun i line -> struct (i + 1, line.Trim()))
        |> Array.filter (fun struct (_, line) -> line <> "" && not (line.StartsWith '#'))

    let private words (line: string) =
        line.Split([| ' '; '\t' |], StringSplitOptions.RemoveEmptyEntries)

    /// A parameter of a line of .paramnames: its token and its name, which is the label where that says the same.
    let private named (line: string) =
        let token' = (words line)[0]
        let label = line.Substring(token'.Length).Trim()

        // a token may have grown underscores to differ from another
        if label <> "" && (token'.TrimEnd '_') = (token label).TrimEnd '_' then
            token', label
        else
            token', token'.TrimEnd '*'

    let private parse file line what (text: string) =
        match Double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture) with
        | true, v when Double.IsFinite v -> v
        | _ -> refuse file $"a finite number for {what} in line {line}" $"'{text}'"

    let private ranges (path: string) (tokens: string[]) =
        if not (File.Exists path) then
            None
        else
            let found =
                readLines path
                |> Array.map (fun struct (line, text) ->
                    match words text with
                    | [| name; lo; hi |] ->
                        let bound none text =
                            if text = "N" then none else parse path line name text

                        name, (bound -infinity lo, bound infinity hi)
                    | _ -> refuse path $"a name and two bounds in line {line}" $"'{text}'")
                |> Map.ofArray

            tokens
            |> Array.map (fun token ->
                found
                |> Map.tryFind (token.TrimEnd '*')
                |> Option.defaultValue (-infinity, infinity))
            |> Some

    /// Reads a chain with its .paramnames, and its .ranges if there are any.
    let read bounds (path: string) =
        let tokens, names =
            readLines (beside path ".paramnames")
            |> Array.map (fun struct (_, line) -> named line)
            |> Array.unzip

        let rows =
            readLines path
            |> Array.map (fun struct (line, text) ->
                let columns = words text

                if columns.Length <> names.Length + 2 then
                    refuse
                        path
                        $"{names.Length + 2} columns in line {line}: weight, −ln density and {names.Length} parameters"
                        $"{columns.Length}"

                columns |> Array.mapi (fun i text -> parse path line $"column {i + 1}" text))

        if rows.Length = 0 then
            refuse path "a line for each sample" "an empty file"

        PosteriorParts.assemble
            path
            names
            (bounds |> Option.orElse (ranges (beside path ".ranges") tokens))
            (rows |> Array.map (fun row -> row[2..]))
            (rows |> Array.map Array.head)
