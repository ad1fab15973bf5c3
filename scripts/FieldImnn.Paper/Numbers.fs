/// How numbers are written, and which numbers the text of the report may have typed.
module Numbers

open System
open System.Globalization
open System.Text.RegularExpressions

let private invariant = CultureInfo.InvariantCulture

let private raised (n: int) =
    let digits = "⁰¹²³⁴⁵⁶⁷⁸⁹"

    string n
    |> String.collect (fun c -> if c = '-' then "⁻" else string digits[int c - int '0'])

/// 1.2E-05 as 1.2 · 10⁻⁵.
let private scientific (format: string) (x: float) =
    match x.ToString(format, invariant).Split 'E' with
    | [| mantissa; exponent |] -> $"{mantissa} · 10{raised (int exponent)}"
    | other -> String.concat "E" other

let private duration seconds =
    let form (x: float) = x.ToString("F0", invariant)

    if seconds < 90.0 then $"{form seconds} s"
    elif seconds < 5400.0 then $"{form (seconds / 60.0)} min"
    else $"{form (seconds / 3600.0)} h"

/// A number in one of the report's formats: F0 to F6, P0 to P3 (per cent), N0 (thousands apart), E0 to E3, G2 to G6, D (a duration in
/// seconds); nothing for another format.
let tryFormat (format: string) (x: float) : string option =
    if Regex.IsMatch(format, "^(F[0-6]|G[2-6])$") then
        Some(x.ToString(format, invariant).Replace("-", "−"))
    elif Regex.IsMatch(format, "^P[0-3]$") then
        Some((100.0 * x).ToString("F" + format[1..], invariant) + " %")
    elif format = "N0" then
        Some(x.ToString("N0", invariant))
    elif Regex.IsMatch(format, "^E[0-3]$") then
        Some(scientific format x)
    elif format = "D" then
        Some(duration x)
    else
        None

// ------------------------------------------------------------------------------------------------------- typed numbers

/// What may have digits: references to results, code, formulas and definitions between dollars, links, identifiers of papers, references to
/// figures and sections.
let private allowed =
    [ @"\{\{.*?\}\}"
      @"`[^`]+`"
      @"\$[^$]+\$"
      @"\[[^\]]*\]\([^)]*\)"
      @"<a id=""[^""]*""></a>"
      @"arXiv:\d{4}\.\d{4,5}"
      @"\b(?:Figures?|Sections?|Tables?)\s+\d+(?:\s*(?:,|to|and|–)\s*\d+)*" ]
    |> List.map Regex

/// A number that stands alone within `…` or $…$ is typed, whatever its markup: a definition has a name or a relation beside it.
let private alone =
    Regex(@"^[`$]\s*[-−+±~≈]?\s*\d[\d.,  ]*\s*(?:%|σ|sds?|s|ms)?\s*[`$]$")

/// A digit that is not part of a name such as σ8 or C2ST.
let private typed = Regex(@"(?<![\p{L}\p{Nd}_^])\d[\d.,]*")

let private blanked (line: string) =
    (line, allowed)
    ||> List.fold (fun text pattern ->
        pattern.Replace(
            text,
            fun (m: Match) ->
                if alone.IsMatch m.Value then
                    m.Value
                else
                    String(' ', m.Length)
        ))

/// The numbers typed in the prose of a Markdown text, with their lines. Headings, code and the bibliography, the section of that name, have
/// numbers of their own.
let typedIn (text: string) : (int * string) list =
    let lines = text.Split '\n'
    let mutable fenced = false
    let mutable bibliography = false

    [ for i, line in Array.indexed lines do
          if line.StartsWith("```", StringComparison.Ordinal) then
              fenced <- not fenced
          elif line.StartsWith('#') then
              bibliography <- Regex.IsMatch(line, "^#+ Bibliography")

          let afterEmpty = i = 0 || lines[i - 1].Trim() = "" || lines[i - 1].StartsWith "    "
          let isCode = fenced || line.StartsWith "    " && afterEmpty

          if not (isCode || bibliography || line.StartsWith('#') || line.StartsWith "```") then
              let prose = Regex.Replace(line, @"^\s*\d+\. ", "")

              for found in typed.Matches(blanked prose) -> i + 1, found.Value.TrimEnd('.', ',') ]
