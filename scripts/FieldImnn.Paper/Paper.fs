/// The report: from its source and the results to paper/README.md, paper.html and paper.pdf.
module Paper

open System
open System.IO
open FieldImnn
open FieldImnn.Plots
open Works

type Places =
    {
        Root: string
        /// The results, and where to look for what they lack.
        Results: string list
        Figures: string
        /// The pages are NAME.html and NAME.pdf of this.
        Page: string
        /// The filled-in text, where it is wanted.
        Text: string option
        Quick: bool
    }

/// The report of the repository, or that of a quick run, which leaves it as it is.
let places quick root =
    let paper = Path.Combine(root, "paper")

    if quick then
        let own = Path.Combine(root, "artifacts", "paper-quick")

        { Root = root
          Results = [ Path.Combine(own, "results"); Path.Combine(paper, "results"); paper ]
          Figures = Path.Combine(own, "figures")
          Page = Path.Combine(root, "artifacts", "paper-quick")
          Text = None
          Quick = true }
    else
        { Root = root
          Results = [ Path.Combine(paper, "results"); paper ]
          Figures = Path.Combine(paper, "figures")
          Page = Path.Combine(paper, "paper")
          Text = Some(Path.Combine(paper, "README.md"))
          Quick = false }

let source root = Path.Combine(root, "paper", "paper.md")

/// How a work's results stand to the code: of a quick run, those that it made are of the quick settings.
let private stateOf places work =
    let own = state places.Root places.Quick places.Results.Head work

    if places.Quick && own = Missing then
        state places.Root false places.Results[1] work
    else
        own

/// The filled-in text, and what is wrong with it.
let render places =
    Template.render
        { Results = Results.ofFolders places.Results
          Figures = places.Figures
          State = stateOf places
          Quick = places.Quick }
        (File.ReadAllText(source places.Root))

/// Works whose results are not of the code as it is. One that nothing has run yet and that the text does without is none.
let stale places =
    all |> List.filter (fun work -> stateOf places work = Stale)

/// The first line of the text that is written.
let generated =
    "*Made by `dotnet fsi build.fsx paper` from [paper.md](paper.md), whose references are filled in here: change that file, and not this one.*\n\n"

let private write path (text: string) =
    Files.writeAtomically path (fun stream ->
        use writer = new StreamWriter(stream, leaveOpen = true)
        writer.Write text)

let private pages places text =
    let html = places.Page + ".html"
    // of the pictures' folder, figures/
    write html (Page.ofMarkdown (Path.GetDirectoryName places.Figures) text)
    printfn $"wrote {html}"

    match Export.pdf (places.Page + ".pdf") html with
    | Written path -> printfn $"wrote {path}"
    | NoBrowser message
    | BrowserFailed message -> printfn $"no PDF: {message}"

/// Writes the report; the exit code. Results of older code are a failure, unless only the text was asked for, whose table marks them.
let make onlyText places =
    let text, faults = render places
    let older = if onlyText then [] else stale places

    for fault in faults do
        eprintfn $"paper/paper.md:{fault.Line}: {fault.Message}"

    for work in older do
        eprintfn $"{work.Name}.json is of older code, and was not made again"

    if faults.IsEmpty && older.IsEmpty then
        places.Text |> Option.iter (fun path -> write path (generated + text))
        pages places text
        0
    else
        1
