namespace FieldImnn.Plots

open System
open System.Diagnostics
open System.IO
open System.Text
open System.Text.RegularExpressions
open FieldImnn
open Giraffe.ViewEngine
open Plotly.NET

/// What became of a picture.
type Picture =
    /// The file is there.
    | Written of path: string
    /// No browser is installed to draw it; the message says what to do.
    | NoBrowser of message: string
    /// The browser was found but did not draw.
    | BrowserFailed of message: string

/// What `Export.save` left in the folder.
type Saved = { Html: string; Png: Picture }

/// The installed browser that draws pictures.
module Browser =
    /// The environment variable that names the browser's executable, before any search.
    let variable = "FIELDIMNN_CHROMIUM"

    let private names =
        [ "chromium"
          "chromium-browser"
          "google-chrome"
          "google-chrome-stable"
          "chrome"
          "microsoft-edge"
          "msedge" ]

    /// The named executable if one is named, else the first Chromium on a search path (folders as in PATH); None where there is none.
    let find (named: string option) (searchPath: string) : string option =
        match named with
        | Some path when not (String.IsNullOrWhiteSpace path) -> if File.Exists path then Some path else None
        | _ ->
            let folders =
                searchPath.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)

            Seq.allPairs names folders
            |> Seq.collect (fun (name, folder) -> [ Path.Combine(folder, name); Path.Combine(folder, name + ".exe") ])
            |> Seq.tryFind File.Exists

    /// The browser of this machine, from the environment.
    let installed () : string option =
        let read name =
            Environment.GetEnvironmentVariable name |> Option.ofObj

        find (read variable) (read "PATH" |> Option.defaultValue "")

/// Charts into files: one HTML page that needs no network, and PNG and SVG pictures drawn by an installed browser.
/// Files appear whole or not at all.
module Export =
    let private scale = 2
    let private timeout = TimeSpan.FromSeconds 60.0

    /// How long, by the page's clock, the browser waits for a chart.
    let private patience = "--virtual-time-budget=5000"

    /// The page of a chart, with plotly.js inside.
    let page (chart: GenericChart) : string =
        chart
        |> GenericChart.setDisplayOptions (
            DisplayOptions.init (
                DocumentCharset = "utf-8",
                PlotlyJSReference = PlotlyJSReference.Full,
                AdditionalHeadTags = [ style [] [ rawText "html, body { margin: 0; background: white; }" ] ]
            )
        )
        |> GenericChart.toEmbeddedHTML

    /// Writes a self-contained page: plotly.js is embedded and nothing is fetched. A full disk or a folder that cannot be written is a
    /// StoreException, and leaves an older page as it was.
    let html (path: string) (chart: GenericChart) : unit =
        Files.writeAtomically path (fun stream ->
            // the byte order mark settles the encoding before plotly.js has been read
            use writer = new StreamWriter(stream, UTF8Encoding true, leaveOpen = true)
            writer.Write(page chart))

    let private begins (bytes: byte[]) (path: string) =
        File.Exists path
        && (use file = File.OpenRead path
            let head = Array.zeroCreate<byte> bytes.Length
            file.ReadAtLeast(head, head.Length, false) = head.Length && head = bytes)

    let private isPng =
        begins [| 0x89uy; 0x50uy; 0x4Euy; 0x47uy; 0x0Duy; 0x0Auy; 0x1Auy; 0x0Auy |]

    let private isPdf = begins "%PDF-"B

    let private run (browser: string) (arguments: string list) =
        let start =
            ProcessStartInfo(
                browser,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                UseShellExecute = false
            )

        arguments |> List.iter start.ArgumentList.Add
        use running = Process.Start start

        let output, errors =
            running.StandardOutput.ReadToEndAsync(), running.StandardError.ReadToEndAsync()

        if running.WaitForExit timeout then
            if running.ExitCode = 0 then
                Ok(if output.Wait 2000 then output.Result else "")
            else
                let said = if errors.Wait 2000 then errors.Result.Trim() else ""
                let tail = said.Substring(max 0 (said.Length - 400))
                Error $"{Path.GetFileName browser} ended with code {running.ExitCode}: {tail}"
        else
            running.Kill true
            running.WaitForExit()
            Error $"{Path.GetFileName browser} did not draw within %.0f{timeout.TotalSeconds} s"

    /// What `finish` makes of a path in the browser's own folder and of what it said, asked by `arguments`.
    let private asked
        browser
        (arguments: (string -> string) -> string list)
        (finish: (string -> string) -> string -> Picture)
        =
        let room = Directory.CreateTempSubdirectory "fieldimnn-plot-"

        try
            try
                let inside name = Path.Combine(room.FullName, name)

                let always =
                    [ "--headless"
                      "--no-sandbox"
                      "--disable-gpu"
                      "--disable-dev-shm-usage"
                      "--disable-extensions"
                      "--disable-background-networking"
                      "--no-first-run"
                      "--user-data-dir=" + inside "profile" ]

                match run browser (always @ arguments inside) with
                | Error message -> BrowserFailed message
                | Ok said -> finish inside said
            with :? ComponentModel.Win32Exception as e ->
                BrowserFailed $"{browser} could not be started: {e.Message}"
        finally
            // helpers of the browser may still hold a file for a moment; a leftover in the temporary folder is no failure
            try
                room.Delete true
            with
            | :? IOException
            | :? UnauthorizedAccessException -> ()

    let private leftNo (browser: string) what =
        BrowserFailed $"{Path.GetFileName browser} ended well but left no {what}"

    /// What the browser leaves at `made` of its folder, moved to a path where it is what it should be.
    let private drawn browser (path: string) what isOne (made: string) arguments =
        asked browser arguments (fun inside _ ->
            if isOne (inside made) then
                Files.writeAtomically path (fun stream ->
                    use drawn = File.OpenRead(inside made)
                    drawn.CopyTo stream)

                Written path
            else
                leftNo browser what)

    let private draw browser (path: string) (chart: GenericChart) =
        let width, height = GenericChart.tryGetLayoutSize chart

        drawn browser path "PNG picture" isPng "chart.png" (fun inside ->
            let source = inside "chart.html"

            chart
            |> GenericChart.setConfig (Config.init (StaticPlot = true, DisplayModeBar = false))
            |> html source

            [ "--hide-scrollbars"
              $"--force-device-scale-factor={scale}"
              $"--window-size={width.Value},{height.Value}"
              patience
              $"""--screenshot={inside "chart.png"}"""
              Uri(source).AbsoluteUri ])

    /// What the browser's page becomes: the drawing alone, as base64.
    let private drawingItself (width: int, height: int) =
        "<script>addEventListener('load', function draw() {"
        + " const chart = document.querySelector('.js-plotly-plot'); if (!chart) { setTimeout(draw, 50); return; }"
        + $" Plotly.toImage(chart, {{format: 'svg', width: {width}, height: {height}}}).then(url => {{"
        + " const bytes = new TextEncoder().encode(decodeURIComponent(url.slice(url.indexOf(',') + 1)));"
        + " document.documentElement.innerHTML = '<pre id=\"svg\"></pre>';"
        + " document.getElementById('svg').textContent = btoa(Array.from(bytes, b => String.fromCharCode(b)).join('')); }); });</script>"

    let private drawSvg browser (path: string) (chart: GenericChart) =
        let width, height = GenericChart.tryGetLayoutSize chart

        asked
            browser
            (fun inside ->
                let source = inside "chart.html"
                let script = drawingItself (width.Value, height.Value)
                File.WriteAllText(source, (page chart).Replace("</body>", script + "</body>"), UTF8Encoding true)
                [ "--dump-dom"; patience; Uri(source).AbsoluteUri ])
            (fun _ said ->
                let found = Regex.Match(said, "<pre id=\"svg\">([A-Za-z0-9+/=]+)</pre>")

                if found.Success then
                    Files.writeAtomically path (fun stream ->
                        stream.Write(ReadOnlySpan(Convert.FromBase64String found.Groups[1].Value)))

                    Written path
                else
                    leftNo browser "SVG picture")

    /// What a browser draws at a path, if there is one.
    let private by (browser: string option) (path: string) (draw: string -> Picture) =
        match browser with
        | Some executable -> draw executable
        | None ->
            NoBrowser
                $"{Path.GetFileName path} was not drawn: no Chromium or Chrome was found. Install one, or name its executable in {Browser.variable}; the HTML page needs none."

    /// Prints a page of one's own with the installed browser.
    let internal pdf (path: string) (page: string) : Picture =
        by (Browser.installed ()) path (fun browser ->
            drawn browser path "PDF" isPdf "page.pdf" (fun inside ->
                [ "--no-pdf-header-footer"
                  $"""--print-to-pdf={inside "page.pdf"}"""
                  Uri(Path.GetFullPath page).AbsoluteUri ]))

    /// Draws a picture with the given browser, if there is one; see `png`.
    let pngWith (browser: string option) (path: string) (width: int) (height: int) (chart: GenericChart) : Picture =
        by browser path (fun executable -> chart |> Caption.withSize (width, height) |> draw executable path)

    /// Draws a picture with the installed browser. The figure is width × height pixels without its caption, which adds its own height;
    /// the file has twice as many pixels each way.
    let png (path: string) (width: int) (height: int) (chart: GenericChart) : Picture =
        pngWith (Browser.installed ()) path width height chart

    /// Draws a picture without pixels, for a paper, with the installed browser, of a size as `png` takes it. Images of fields remain images in it.
    let svg (path: string) (width: int) (height: int) (chart: GenericChart) : Picture =
        by (Browser.installed ()) path (fun executable ->
            chart |> Caption.withSize (width, height) |> drawSvg executable path)

    /// Writes folder/name.html and, where a browser is installed, folder/name.png.
    let save (folder: string) (name: string) (width: int, height: int) (chart: GenericChart) : Saved =
        let sized = Caption.withSize (width, height) chart
        let page = Path.Combine(folder, name + ".html")
        html page sized

        { Html = page
          Png = png (Path.Combine(folder, name + ".png")) width height sized }

    /// What was saved, in a line to print.
    let describe (saved: Saved) : string =
        match saved.Png with
        | Written png -> $"wrote {saved.Html} and {Path.GetFileName png}"
        | NoBrowser message
        | BrowserFailed message -> $"wrote {saved.Html}; no PNG: {message}"

    /// Saves a figure at its natural size and prints where: the last line of a figure's script.
    let figure (folder: string) (name: string) (chart: GenericChart) : unit =
        save folder name (Caption.size chart) chart |> describe |> printfn "%s"
