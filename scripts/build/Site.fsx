/// The site: the pages of docs/, scripts as pages, and a page for every public type. Made by fsdocs, and read without a network.
module Site

#load "Building.fsx"

open System
open System.IO
open System.Text.Json
open System.Text.Json.Nodes
open System.Text.RegularExpressions
open Building
open Steps

/// Sections of the menu, and their pages in order: files of docs/, and scripts.
let sections =
    [ "Guide",
      [ "docs/index.md"
        "docs/your-field.md"
        "docs/your-universe.md"
        "docs/choosing.md"
        "docs/diagnostics.md"
        "docs/simulations.md"
        "docs/campaigns.md"
        "docs/long-runs.md"
        "docs/outputs.md"
        "docs/for-imnn-users.md"
        "docs/for-sbi-users.md"
        "docs/for-diffsharp-users.md"
        "docs/native-library.md"
        "docs/studies.md"
        "docs/universes.md"
        "docs/truth.md" ]
      "Scripts",
      [ "scripts/fig01-power-law-field.fsx"
        "scripts/your-universe.fsx"
        "scripts/extend-universe.fsx"
        "scripts/extend-command.fsx"
        "scripts/extend-features.fsx"
        "scripts/universes/bands.fsx"
        "scripts/universes/channels.fsx"
        "scripts/universes/dimensions.fsx"
        "scripts/universes/hybrid.fsx"
        "scripts/universes/lensing.fsx"
        "scripts/universes/local-transforms.fsx"
        "scripts/universes/mask.fsx" ] ]

/// Scripts that are run when the site is made, for a first look, with these arguments for a folder: what they print and draw stands at the end of
/// their pages, and one that fails ends it.
let evaluated =
    Map
        [ "scripts/your-universe.fsx", (fun out -> [ "--quick"; "--method"; "gaussian"; "--out"; out ])
          "scripts/universes/channels.fsx", (fun out -> [ "--quick"; "--out"; out ])
          "scripts/universes/lensing.fsx", (fun out -> [ "--quick"; "--out"; out ])
          "scripts/extend-features.fsx", (fun _ -> [ "--quick" ]) ]

let libraries =
    [ "src/FieldImnn.Core/FieldImnn.Core.csproj"
      "src/FieldImnn/FieldImnn.fsproj"
      "src/FieldImnn.Plots/FieldImnn.Plots.fsproj" ]

let site = artifacts "site"
let input = artifacts "site-input"

/// Stands in pages for the way from them to the site's folder, which is another for each, until all are written.
let rootMark = "SITEROOT/"

// ------------------------------------------------------------------------------------------------------------------ pages

let frontMatter (title: string) section sectionIndex index =
    $"---\ntitle: {title}\ncategory: {section}\ncategoryindex: {sectionIndex}\nindex: {index}\n---\n"

/// The first heading of a page of text.
let heading (text: string) =
    Regex.Match(text, @"^# (.+)$", RegexOptions.Multiline).Groups[1].Value.TrimEnd()

/// A line of a comment in a page: its number stays its own, and a command is one.
let asText (line: string) =
    let numbered = Regex.Replace(line, @"^(\d+)\. ", "**$1.** ")
    Regex.Replace(numbered, "^(dotnet fsi .+)$", "\n`$1`\n")

/// A script as a literate one: its comments at the margin are text, all else is code. What loads the libraries is hidden, and names the file
/// where it is.
let literate (script: string) =
    let folder = Path.GetDirectoryName(at script)

    let isText (line: string) =
        line.StartsWith("//", StringComparison.Ordinal)

    let rec parts lines =
        match lines with
        | [] -> []
        | (line: string) :: _ when isText line ->
            let text = List.takeWhile isText lines
            let words = text |> List.map (fun l -> l[2..].Trim() |> asText)
            [ "(**"; yield! words; "*)" ] @ parts (List.skip text.Length lines)
        | line :: rest when line.StartsWith("#load", StringComparison.Ordinal) ->
            let loaded = Path.GetFullPath(Path.Combine(folder, line.Split('"')[1]))
            [ "(*** hide ***)"; $"#load \"{loaded}\""; "(**"; ""; "*)" ] @ parts rest
        | line :: rest -> line :: parts rest

    File.ReadAllLines(at script) |> List.ofArray |> parts |> String.concat "\n"

/// A page of text: fsdocs takes indented lines for F#, and they are commands.
let commandsAsText (text: string) =
    let indented (line: string) =
        line.StartsWith("    ", StringComparison.Ordinal)

    let isFence (line: string) =
        line.StartsWith("```", StringComparison.Ordinal)

    let rec go inside lines =
        match lines with
        | "" :: (first :: _ as rest) when not inside && indented first ->
            let commands = rest |> List.takeWhile (fun line -> indented line || line = "")
            let commands = commands |> List.rev |> List.skipWhile ((=) "") |> List.rev

            "" :: "    [lang=text]" :: commands @ go false (List.skip commands.Length rest)
        | line :: rest -> line :: go (if isFence line then not inside else inside) rest
        | [] -> []

    text.Split '\n' |> List.ofArray |> go false |> String.concat "\n"

/// Runs a script, and gives what it printed, without the folder where it wrote, and the pictures that it drew.
let evaluate (script: string) (arguments: string -> string list) =
    let name = Path.GetFileNameWithoutExtension script
    let out = artifacts $"site-scripts/{name}"

    if Directory.Exists out then
        Directory.Delete(out, true)

    Directory.CreateDirectory out |> ignore
    use child = launch "dotnet" ("fsi" :: at script :: arguments out) true
    let errors = child.StandardError.ReadToEndAsync()
    let printed = child.StandardOutput.ReadToEnd()

    match ended child with
    | 0 -> printed.Replace(out + string Path.DirectorySeparatorChar, "").TrimEnd(), Directory.GetFiles(out, "*.png")
    | code -> fail $"{script} failed (exit code {code}), so that its page cannot be made:\n{errors.Result.TrimEnd()}"

/// What a script printed and drew, as the end of its page; the pictures go beside it.
let evaluation script arguments =
    let printed, drawn = evaluate script arguments
    let name = Path.GetFileNameWithoutExtension script

    let pictures =
        [ for path in Array.sort drawn do
              let copy = $"{name}-{Path.GetFileName path}"
              File.Copy(path, Path.Combine(input, "scripts", copy))
              $"![{Path.GetFileNameWithoutExtension path}]({copy})\n" ]

    let lines =
        printed.Replace("*)", "* )").Split '\n' |> Array.map (fun line -> $"    {line}")

    String.Join(
        "\n",
        [ "(**"
          "## What it prints"
          ""
          "    [lang=text]"
          yield! lines
          ""
          yield! pictures
          "*)" ]
    )

let assemble () =
    if Directory.Exists input then
        Directory.Delete(input, true)

    let listed = sections |> List.collect snd |> List.map at

    match Directory.GetFiles(at "docs", "*.md") |> Array.except listed |> List.ofArray with
    | [] -> ()
    | missing ->
        let names = missing |> List.map shown |> String.concat ", "
        fail $"{names} would not be in the site: its sections, in scripts/build/Site.fsx, do not name it."

    for folder in [ "content"; "scripts" ] do
        Directory.CreateDirectory(Path.Combine(input, folder)) |> ignore

    File.Copy(at "docs/site/_template.html", Path.Combine(input, "_template.html"))

    for file in [ "site.css"; "site.js" ] do
        File.Copy(at $"docs/site/{file}", Path.Combine(input, "content", file))

    for i, (section, pages) in List.indexed sections do
        for j, page in List.indexed pages do
            let name = Path.GetFileName page

            if name.EndsWith(".md", StringComparison.Ordinal) then
                let text = File.ReadAllText(at page)
                let front = frontMatter (heading text) section (i + 1) (j + 1)
                File.WriteAllText(Path.Combine(input, name), front + commandsAsText text)
            else
                let front = frontMatter name section (i + 1) (j + 1)

                let came =
                    match evaluated.TryFind page with
                    | Some arguments -> evaluation page arguments
                    | None -> ""

                let text = $"(**\n{front}*)\n(**\n# {name}\n*)\n{literate page}\n{came}\n"
                File.WriteAllText(Path.Combine(input, "scripts", name), text)

// ------------------------------------------------------------------------------------------------------------- afterwards

let html () =
    Directory.GetFiles(site, "*.html", SearchOption.AllDirectories)

/// A page of the reference as it should have been: comments of F# are no Markdown to fsdocs, but for what they quote; and it links to types that
/// are not public, which have no page.
let mended (text: string) =
    let name (link: Match) =
        if File.Exists(Path.Combine(site, "reference", link.Groups[1].Value)) then
            link.Value
        else
            link.Groups[2].Value

    Regex.Replace(text, "(?<!`)`([^`<>\n]+)`(?!`)", "<code>$1</code>")
    |> fun text -> Regex.Replace(text, $"<a href=\"{rootMark}reference/([^\"#]+)\">([^<]*)</a>", name)

/// A page as those need it who hear it, or have no pointer: what scrolls can be reached by the keyboard, no name of a programming language is
/// taken for a spoken one, headings begin at the first level, and lists and tables of data are no less than that.
let accessible (text: string) =
    let headings (text: string) =
        if text.Contains "<h1" then
            text
        else
            Regex.Replace(text, "<(/?)h([2-6])", (fun m -> $"<{m.Groups[1].Value}h{int m.Groups[2].Value - 1}"))

    let plain (list: Match) =
        list.Value.Replace("<dl", "<div").Replace("</dl", "</div").Replace("<dt", "<p").Replace("</dt", "</p")

    text.Replace("<code lang=", "<code data-lang=").Replace("<th></th>", "<td></td>")
    |> fun text -> Regex.Replace(text, "<(pre|table(?! class))(?=[ >])", "<$1 tabindex=\"0\"")
    |> fun text -> Regex.Replace(text, "<dl class=\"fsdocs-metadata\">.*?</dl>", plain, RegexOptions.Singleline)
    |> headings

/// Links that hold wherever the folder is put, or opened from; the index of words as a script, which a page may read from a disk.
let finish () =
    for path in html () do
        let text = File.ReadAllText path

        let text, way =
            match Path.GetRelativePath(site, path).Split Path.DirectorySeparatorChar with
            | [| _ |] -> text, "./"
            | [| "reference"; _ |] -> mended text, "../"
            | _ -> text, "../"

        File.WriteAllText(path, accessible (text.Replace(rootMark, way)))

    let pages =
        JsonNode.Parse(File.ReadAllText(Path.Combine(site, "index.json"))).AsArray()

    for page in pages do
        page["uri"] <- JsonValue.Create(page["uri"].GetValue<string>().Replace(rootMark, ""))

    File.WriteAllText(Path.Combine(site, "content", "index.js"), $"window.pages = {pages.ToJsonString()};\n")

    for other in [ "*.md"; "llms*.txt"; "index.json"; "NuGet.config" ] do
        Directory.GetFiles(site, other, SearchOption.AllDirectories)
        |> Array.iter File.Delete

/// What is wrong with the links of a page: to files or places that are not there, and what it would fetch from a network.
let faults (path: string) =
    let page = Path.GetRelativePath(site, path)
    let text = File.ReadAllText path
    let places = Regex.Matches(text, "\\b(?:id|name)=\"([^\"]*)\"")

    [ for fetched in Regex.Matches(text, "<(?:script|link|img)[^>]*(?:src|href)=\"(https?://[^\"]*)\"") do
          $"{page} would fetch {fetched.Groups[1].Value}"

      if text.Contains "{{" && Regex.IsMatch(text, @"\{\{(fsdocs|root)") then
          $"{page} has a part of the template that was not filled in"

      for link in Regex.Matches(text, "(?:href|src)=\"([^\"]*)\"") do
          let target = Uri.UnescapeDataString(link.Groups[1].Value)

          if not (Regex.IsMatch(target, "^[a-z]+:")) then
              let file, place =
                  match target.Split('#', 2) with
                  | [| file; place |] -> file, place
                  | parts -> parts[0], ""

              let full =
                  if file = "" then
                      path
                  else
                      Path.GetFullPath(Path.Combine(Path.GetDirectoryName path, file))

              if not (File.Exists full) then
                  $"{page} links to {target}, which is not there"
              elif
                  file = ""
                  && place <> ""
                  && places |> Seq.forall (fun m -> m.Groups[1].Value <> place)
              then
                  $"{page} links to its own {place}, which is not there" ]

let checking () =
    match html () |> List.ofArray |> List.collect faults |> List.distinct with
    | [] -> ()
    | found ->
        let shown = found |> List.truncate 20 |> String.concat "\n"
        fail $"{found.Length} links of the site are broken:\n{shown}"

/// What fsdocs makes of the pages and the libraries.
let write () =
    if Directory.Exists site then
        Directory.Delete(site, true)

    let projects = libraries |> List.map at

    let parameters =
        [ "root", rootMark; "fsdocs-collection-name", "FieldImnn" ]
        |> List.collect (fun (name, value) -> [ name; value ])

    [ [ "fsdocs"; "build"; "--strict"; "--clean"; "--nodefaultcontent" ]
      [ "--input"; input; "--output"; site; "--properties"; "Configuration=Release" ]
      "--projects" :: projects
      "--parameters" :: parameters ]
    |> List.concat
    |> dotnet "site"

let docs () =
    perform
        [ restoring
          building
          quiet "Writing the site" (fun () ->
              assemble ()
              write ()
              finish ())
          quiet "Checking its links" checking ]

    printfn $"""Written to {shown (Path.Combine(site, "index.html"))}."""
    0
