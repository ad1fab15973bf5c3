/// The filled-in text as one HTML page that needs no network: pictures and style are within, and there are no scripts.
module Page

open System
open System.IO
open System.Text.RegularExpressions
open Markdig
open Markdig.Renderers.Html
open Markdig.Syntax
open Markdig.Syntax.Inlines

let private pipeline =
    MarkdownPipelineBuilder()
        .UsePipeTables()
        .UseAutoIdentifiers(Extensions.AutoIdentifiers.AutoIdentifierOptions.GitHub)
        .Build()

let private style =
    File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "paper.css"))

let rec private plain (inlines: ContainerInline) : string =
    [ for part in inlines do
          match part with
          | :? LiteralInline as literal -> literal.Content.ToString()
          | :? CodeInline as code -> code.Content
          | :? ContainerInline as inner -> plain inner
          | _ -> "" ]
    |> String.concat ""

let private contents (document: MarkdownDocument) =
    let entries =
        [ for heading in document.Descendants<HeadingBlock>() do
              if heading.Level = 2 || heading.Level = 3 then
                  let id = heading.GetAttributes().Id
                  $"<li class=\"level{heading.Level}\"><a href=\"#{id}\">{Net.WebUtility.HtmlEncode(plain heading.Inline)}</a></li>" ]

    let list = String.concat "\n" entries
    $"<nav><h2>Contents</h2><ul>\n{list}\n</ul></nav>"

/// Pictures as part of the page.
let private embedded folder (html: string) =
    Regex.Replace(
        html,
        "<img src=\"([^\"]+)\"",
        fun (m: Match) ->
            let bytes = File.ReadAllBytes(Path.Combine(folder, m.Groups[1].Value))
            $"<img src=\"data:image/png;base64,{Convert.ToBase64String bytes}\""
    )

/// Wide tables scroll by themselves, and figures hold together in print.
let private framed (html: string) =
    html.Replace("<table>", "<div class=\"wide\" tabindex=\"0\"><table>").Replace("</table>", "</table></div>")
    |> fun text -> Regex.Replace(text, "<p>(<img [^>]*>)</p>", "<p class=\"figure\">$1</p>")

/// What a page would fetch; a page of the report fetches nothing.
let fetched (html: string) =
    [ for m in Regex.Matches(html, "<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?!data:)([^\"]*)\"") ->
          m.Groups[1].Value ]

/// The page of a text whose pictures are below a folder.
let ofMarkdown folder (text: string) : string =
    let document = Markdown.Parse(text, pipeline)
    let title = document.Descendants<HeadingBlock>() |> Seq.head |> _.Inline |> plain
    let body = document.ToHtml pipeline |> embedded folder |> framed
    let after = body.IndexOf("</h1>", StringComparison.Ordinal) + "</h1>".Length

    $"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{Net.WebUtility.HtmlEncode title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body[.. after - 1]}
{contents document}
{body[after..]}
</main>
</body>
</html>
"""
