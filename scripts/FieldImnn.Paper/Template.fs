/// The report's text with its references filled in: `{{power-law: fig02.default.retained | P1}}`, and on lines of their own `{{figure NAME: title}}`,
/// `{{figures WORK}}`, `{{table NAME}}`, `{{when RESULTS}}` … `{{otherwise}}` … `{{end}}`.
module Template

open System
open System.Collections.Generic
open System.IO
open System.Net
open System.Text.RegularExpressions
open Results
open Works

type Context =
    {
        Results: Results
        /// Where the figures' pictures are, and how the text reaches that folder.
        Figures: string
        State: Work -> State
        /// Of a quick run: what it has not made is a dash, and no error.
        Quick: bool
    }

/// A line of the source and what is wrong with it.
type Fault = { Line: int; Message: string }

let private reference =
    Regex(@"\{\{\s*(?<file>[\w-]+):\s*(?<expression>[^|{}]+?)\s*\|\s*(?<format>\w+)(?<range>\s+range)?\s*\}\}")

let private directive =
    Regex(
        @"^\{\{\s*(?<word>figure|figures|table|when|otherwise|end)\b\s*(?<name>[\w-]*)\s*(?::\s*(?<title>[^{}]+?))?\s*\}\}\s*$"
    )

/// The text of a reference, or an Unresolved.
let resolve results (file: string) expression (format: string) range =
    let written x =
        match Numbers.tryFormat format x with
        | Some text -> text
        | None -> raise (Unresolved $"there is no format {format}; there are F0…, P0…, N0, E0…, G2…, D and text")

    let some (found: 'a list) =
        if found.IsEmpty then
            raise (Unresolved $"{file}: {expression} has no values")

        found

    match format, range with
    | "text", _ -> texts results file expression |> some |> String.concat ", "
    | _, true ->
        let all = numbers results file expression |> some
        $"{written (List.min all)} to {written (List.max all)}"
    | _ ->
        numbers results file expression
        |> some
        |> List.map written
        |> String.concat ", "

// --------------------------------------------------------------------------------------------------------------- formulas

let private lowered = Regex(@"([_^])(?:\{([^}]*)\}|(\w))")

/// $…$ as text, with lower and upper indices as HTML has them.
let private formula (inside: string) =
    let html = WebUtility.HtmlEncode(inside).Replace("*", "\\*")

    lowered.Replace(
        html,
        fun (m: Match) ->
            let tag = if m.Groups[1].Value = "_" then "sub" else "sup"
            $"<{tag}>{m.Groups[2].Value}{m.Groups[3].Value}</{tag}>"
    )

let private dollars = Regex(@"`[^`]*`|\$([^$\n]+)\$")

let private formulas (line: string) =
    dollars.Replace(
        line,
        fun (m: Match) ->
            if m.Groups[1].Success then
                formula m.Groups[1].Value
            else
                m.Value
    )

// ---------------------------------------------------------------------------------------------------------------- figures

/// "Figure 8" of a name that begins with fig08.
let private numbered (name: string) =
    let found = Regex.Match(name, @"^fig(\d+)")

    if found.Success then
        $"Figure {int found.Groups[1].Value}"
    else
        "Figure"

let private origin context figure =
    match ofFigure figure with
    | None -> raise (Unresolved $"no work of scripts/FieldImnn.Paper/Works.fs makes the figure '{figure}'")
    | Some work ->
        match Origin.tryRead (file context.Results work.Name) with
        | Some o -> $"`{o.Command}`, commit {o.Commit}, {o.Machine}"
        | None -> raise (Unresolved $"{work.Name}.json does not say what made it, and so the figure '{figure}'")

let private figure context (placed: HashSet<string>) name title =
    let path = Path.Combine(context.Figures, $"{name}.png")

    if not (File.Exists path) then
        let there =
            if Directory.Exists context.Figures then
                Directory.GetFiles(context.Figures, "*.png")
                |> Array.map Path.GetFileNameWithoutExtension
                |> Array.sort
                |> String.concat ", "
            else
                "none"

        raise (Unresolved $"there is no figure '{name}'; there are {there}")

    placed.Add name |> ignore
    let called = $"{numbered name}. {title}"

    [ $"![{called}](figures/{name}.png)"
      ""
      $"*{called}.* <small>{origin context name}</small>" ]

/// All figures of a work that no line before has placed.
let private figures context (placed: HashSet<string>) name =
    let ofWork (path: string) =
        match ofFigure (Path.GetFileNameWithoutExtension path) with
        | Some work -> work.Name = name
        | None -> false

    [ for path in
          Directory.GetFiles(context.Figures, "*.png")
          |> Array.filter ofWork
          |> Array.sort do
          let figureName = Path.GetFileNameWithoutExtension path

          if not (placed.Contains figureName) then
              yield!
                  figure context placed figureName (figureName.Substring(figureName.IndexOf '-' + 1).Replace('-', ' '))

              "" ]

// ------------------------------------------------------------------------------------------------------------------ lines

/// The lines that hold, with their numbers: of `when` the part whose results are there.
let private chosen results (faults: List<Fault>) (lines: string[]) =
    let mutable showing = true
    let mutable opened = 0

    let result =
        [ for i, line in Array.indexed lines do
              let found = directive.Match line
              let word = found.Groups["word"].Value

              match word with
              | "when"
              | "otherwise"
              | "end" when (word = "when") = (opened > 0) ->
                  faults.Add
                      { Line = i + 1
                        Message = $"{{{{{word}}}}} does not belong here: one when, perhaps one otherwise, one end" }
              | "when" ->
                  opened <- i + 1
                  showing <- exists results found.Groups["name"].Value
              | "otherwise" -> showing <- not showing
              | "end" ->
                  opened <- 0
                  showing <- true
              | _ when showing -> i + 1, line
              | _ -> () ]

    if opened > 0 then
        faults.Add
            { Line = opened
              Message = "{{when}} has no {{end}}" }

    result

let private inlined context (faults: List<Fault>) number (line: string) =
    let filled =
        reference.Replace(
            line,
            fun (m: Match) ->
                try
                    resolve
                        context.Results
                        m.Groups["file"].Value
                        m.Groups["expression"].Value
                        m.Groups["format"].Value
                        m.Groups["range"].Success
                with Unresolved message ->
                    if not context.Quick then
                        faults.Add { Line = number; Message = message }

                    "–"
        )

    let rest = filled.IndexOf("{{", StringComparison.Ordinal)

    if rest >= 0 then
        faults.Add
            { Line = number
              Message = $"'{filled[rest..]}' is no reference: {{{{file: path | format}}}}" }

    formulas filled

let private placedBy context placed (found: Match) =
    let name, title = found.Groups["name"].Value, found.Groups["title"].Value

    match found.Groups["word"].Value with
    | "figure" -> figure context placed name title
    | "figures" -> figures context placed name
    | _ ->
        match ReportTables.tryFind context.State context.Results name with
        | Some table -> table
        | None -> raise (Unresolved $"there is no table '{name}'")

/// The text with everything filled in, and all that is wrong with it.
let render context (source: string) : string * Fault list =
    let faults = List<Fault>()
    let placed = HashSet<string>()

    for line, number in Numbers.typedIn source do
        faults.Add
            { Line = line
              Message =
                $"the number {number} is typed: a result is a reference, {{{{file: path | format}}}}; a definition stands in $…$ with what it defines" }

    let out =
        [ for number, line in chosen context.Results faults (source.Split '\n') do
              let found = directive.Match line

              if found.Success then
                  try
                      yield! placedBy context placed found
                  with Unresolved message ->
                      if not context.Quick then
                          faults.Add { Line = number; Message = message }
              elif line.StartsWith "    " then
                  line
              else
                  inlined context faults number line ]

    if Directory.Exists context.Figures && not context.Quick then
        for path in Directory.GetFiles(context.Figures, "*.png") do
            let name = Path.GetFileNameWithoutExtension path

            if not (placed.Contains name) then
                faults.Add
                    { Line = 0
                      Message = $"the figure '{name}' has no place in the text" }

    String.concat "\n" out, faults |> Seq.sortBy _.Line |> List.ofSeq
