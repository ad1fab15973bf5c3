/// The tests: one process, or several that share the lists of tests, and one report and one count of all.
module Testing

#load "Building.fsx"

open System
open System.Collections.Generic
open System.Diagnostics
open System.IO
open System.Threading.Tasks
open System.Xml
open System.Xml.Linq
open Building
open Steps

let tests = "tests/FieldImnn.Tests"

let report = artifacts "tests.xml"

/// Where processes that share the tests say which lists they have taken, and leave their reports.
let shares = artifacts "tests"

/// Stands behind the output of each list, at the end of a line: Sharing.fs of the tests.
let endOfList = '\u0017'

/// Whoever prints holds this.
let printer = obj ()

let reporting =
    if Console.IsOutputRedirected then
        [ "--colours"; "0" ]
    else
        []

// -------------------------------------------------------------------------------------------------------------- reports

/// The tests of Expecto's JUnit report, or nothing where there is none that is whole.
let casesOf (report: string) =
    try
        XDocument.Load(report).Descendants()
        |> Seq.filter (fun element -> element.Name.LocalName = "testcase")
        |> List.ofSeq
        |> Some
    with
    | :? IOException
    | :? XmlException -> None

/// What a report says of a test that did not pass.
let says names (case: XElement) =
    case.Elements()
    |> Seq.tryFind (fun child -> List.contains child.Name.LocalName names)

/// A name, and the first line of what went wrong.
let failure (case: XElement) =
    says [ "failure"; "error" ] case
    |> Option.map (fun told ->
        let text (attribute: XAttribute) =
            if isNull attribute then "" else attribute.Value

        let first =
            (text (told.Attribute(XName.Get "message"))).Split '\n'
            |> Array.tryFind (String.IsNullOrWhiteSpace >> not)

        let name = text (case.Attribute(XName.Get "name"))
        $"failed: {name}: {Option.defaultValue told.Value first}")

/// A test of a list that was taken and has no report: its process ended within it.
let brokenOff list =
    let text = "The process that ran this list ended without a report."

    XElement(
        XName.Get "testcase",
        XAttribute(XName.Get "name", $"FieldImnn.{list}"),
        XElement(XName.Get "error", XAttribute(XName.Get "message", text))
    )

/// One report of all lists that were taken.
let mergeReports () =
    let cases =
        [ for taken in Directory.GetFiles(shares, "*.taken") |> Array.sort do
              match casesOf (Path.ChangeExtension(taken, ".xml")) with
              | Some cases -> yield! cases
              | None -> brokenOff (Path.GetFileNameWithoutExtension taken) ]

    let suite =
        XElement(XName.Get "testsuite", XAttribute(XName.Get "name", "FieldImnn.Tests"), cases)

    XDocument(XElement(XName.Get "testsuites", suite)).Save report

// ------------------------------------------------------------------------------------------------------------- processes

/// Runs a program that has its share of the cores, and prints what it says, list by list, so that lists of several programs do not mix.
let printing program arguments =
    let lines = List<string>()

    let print () =
        lock printer (fun () -> lines |> Seq.iter (fun line -> printfn $"{line}"))
        lines.Clear()

    let hear (line: string) =
        lines.Add(line.TrimEnd endOfList)

        if line.EndsWith endOfList then
            print ()

    let code = listening (threads ()) program arguments hear
    print ()
    code

/// Runs the tests in several processes: the exit code has the bits of each one's.
let shared () =
    if Directory.Exists shares then
        Directory.Delete(shares, true)

    Directory.CreateDirectory shares |> ignore
    let arguments = program tests :: "--share" :: shares :: "--no-spinner" :: reporting

    let one () = printing "dotnet" arguments

    let codes =
        [ for _ in 1..processes -> Task.Factory.StartNew(one, TaskCreationOptions.LongRunning) ]
        |> List.map _.GetAwaiter().GetResult()

    mergeReports ()
    List.fold (|||) 0 codes

let alone arguments =
    let own =
        program tests :: "--no-spinner" :: "--junit-summary" :: report :: reporting

    stream "dotnet" (own @ arguments)

// ----------------------------------------------------------------------------------------------------------------- count

/// Names the tests that failed, and returns how many passed, failed and were skipped.
let count (cases: XElement list) =
    let failed = cases |> List.choose failure
    let skipped = cases |> List.choose (says [ "skipped" ]) |> List.length
    failed |> List.iter (printfn "%s")
    cases.Length - failed.Length - skipped, failed.Length, skipped

/// The last line that `test` prints is the count, whatever happened before.
let test arguments =
    File.Delete report
    let mutable code = 1

    let run () =
        code <-
            if List.isEmpty arguments && processes > 1 then
                shared ()
            else
                alone arguments

    let problem =
        try
            perform [ restoring; building; streaming "Testing" run ]
            None
        with Stop(text, _) ->
            Some text

    problem |> Option.iter (eprintfn "%s")
    let cases = casesOf report
    let passed, failed, skipped = cases |> Option.defaultValue [] |> count

    if problem.IsNone && cases.IsNone then
        eprintfn $"The tests ended with exit code {code} and wrote no report."

    // A run that broke off, or was told to fail by an option, counts as a failure even where no test does.
    let failed = if code <> 0 || cases.IsNone then max 1 failed else failed

    let skips = if skipped > 0 then $", {skipped} skipped" else ""
    Console.Error.Flush()
    printfn $"{passed} passed, {failed} failed{skips}"
    if failed > 0 then 1 else 0
