namespace FieldImnn

open System
open System.Globalization
open System.Text.RegularExpressions
open FieldImnn.Core

/// The header of a .npy file: a Python dict literal with exactly the keys descr, fortran_order and shape.
/// Read here as data, never evaluated. Source: NumPy Enhancement Proposal 1.
module internal NpyHeader =
    type Header =
        {
            Descr: string
            FortranOrder: bool
            Shape: int[]
            /// Number of elements: the product of Shape.
            Count: int64
        }

    type private Literal =
        | Text of string
        | Truth of bool
        | Whole of int64
        | Items of Literal list

    /// NumPy's headers take some hundred bytes; a header longer than this is damage.
    let longest = 65535L

    let refuse name expected received : 'a =
        raise (StoreException(name, expected, received))

    /// A shape as text: (1, 128, 128).
    let shapeText (shape: int[]) =
        let axes = Array.map int64 shape
        Guard.Describe axes

    let private token =
        Regex(@"\G\s*('[^'\\]*'|""[^""\\]*""|True|False|-?\d+L?|[(){}\[\],:])", RegexOptions.CultureInvariant)

    let private malformed name tokens : 'a =
        let place =
            match tokens with
            | [] -> "its end too early"
            | t :: _ -> $"'{t}' out of place"

        refuse name "a header {'descr': …, 'fortran_order': …, 'shape': …}" place

    let rec private tokens name (text: string) at parsed =
        if String.IsNullOrWhiteSpace(text.Substring at) then
            List.rev parsed
        else
            let m = token.Match(text, at)

            if not m.Success then
                malformed name [ text.Substring(at, min 20 (text.Length - at)) ]

            tokens name text (at + m.Length) (m.Groups[1].Value :: parsed)

    /// Nested deeper than any NumPy header; stops a hostile one.
    let private deepest = 8

    let rec private literal name depth tokens =
        match tokens with
        | t :: _ when depth > deepest -> malformed name [ t ]
        | "(" :: rest -> items name depth ")" [] rest
        | "[" :: rest -> items name depth "]" [] rest
        | "True" :: rest -> Truth true, rest
        | "False" :: rest -> Truth false, rest
        | t :: rest when t[0] = '\'' || t[0] = '"' -> Text(t.Substring(1, t.Length - 2)), rest
        | t :: rest ->
            match Int64.TryParse(t.TrimEnd 'L', NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture) with
            | true, number -> Whole number, rest
            | _ -> malformed name [ t ]
        | [] -> malformed name []

    and private items name depth close parsed tokens =
        match tokens with
        | t :: rest when t = close -> Items(List.rev parsed), rest
        | _ ->
            match literal name (depth + 1) tokens with
            | item, "," :: rest -> items name depth close (item :: parsed) rest
            | item, t :: rest when t = close -> Items(List.rev (item :: parsed)), rest
            | _, rest -> malformed name rest

    let rec private entries name parsed tokens =
        match tokens with
        | [ "}" ] -> List.rev parsed
        | _ ->
            match literal name 0 tokens with
            | Text key, ":" :: rest ->
                match literal name 0 rest with
                | value, "," :: rest -> entries name ((key, value) :: parsed) rest
                | value, [ "}" ] -> List.rev ((key, value) :: parsed)
                | _, rest -> malformed name rest
            | _, rest -> malformed name rest

    /// The elements that a shape holds, if they are no more than the most.
    let private count name (most: int64) (dimensions: int64 list) =
        let axes = Array.ofList dimensions
        let shown = Guard.Describe axes

        if
            dimensions.Length > 64
            || dimensions |> List.exists (fun n -> n < 0L || n > int64 Int32.MaxValue)
        then
            refuse name "a shape of at most 64 axes, each from 0 to 2,147,483,647 long" $"shape {shown}"

        // in floating point, where a hostile shape cannot wrap around
        if List.contains 0L dimensions then
            0L
        else
            match dimensions |> List.fold (fun product n -> product * float n) 1.0 with
            | total when total > float most -> refuse name $"a shape of at most {most} elements" $"shape {shown}"
            | total -> int64 total

    /// Elements of a file that is read in parts, at the most.
    let mostInParts = 1L <<< 48

    /// The header from its text, of a file with no more elements than the most.
    let parse name most text =
        let found =
            match tokens name text 0 [] with
            | "{" :: rest -> entries name [] rest
            | other -> malformed name other

        let keys = found |> List.map fst |> List.sort

        if keys <> [ "descr"; "fortran_order"; "shape" ] then
            let came = String.concat ", " keys
            refuse name "the header's keys descr, fortran_order and shape" (if came = "" then "none" else came)

        let value key =
            found |> List.find (fst >> (=) key) |> snd

        let descr =
            match value "descr" with
            | Text text -> text
            | _ -> refuse name "one element type, of numbers" "a structured dtype"

        let fortranOrder =
            match value "fortran_order" with
            | Truth truth -> truth
            | other -> refuse name "fortran_order True or False" $"%A{other}"

        let dimensions =
            match value "shape" with
            | Items items ->
                items
                |> List.map (function
                    | Whole n -> n
                    | other -> refuse name "whole numbers in the shape" $"%A{other}")
            | other -> refuse name "a tuple for the shape" $"%A{other}"

        { Descr = descr
          FortranOrder = fortranOrder
          Shape =
            dimensions
            |> List.map (fun n -> int (min n (int64 Int32.MaxValue)))
            |> Array.ofList
          Count = count name most dimensions }

    /// An element type in words, for errors.
    let describe (descr: string) =
        let kind = descr.TrimStart('<', '>', '|', '=')

        let words =
            match (if kind = "" then ' ' else kind[0]) with
            | 'f' -> "floating point of another size or byte order"
            | 'c' -> "complex"
            | 'i' -> "integer"
            | 'u' -> "unsigned integer"
            | 'b'
            | '?' -> "bool"
            | 'O' -> "pickled Python objects, which are never loaded"
            | 'S'
            | 'a'
            | 'U' -> "string"
            | 'M'
            | 'm' -> "date or time"
            | 'V' -> "raw bytes"
            | _ -> "unknown"

        $"dtype '{descr}' ({words})"
