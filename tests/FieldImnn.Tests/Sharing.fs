/// Several processes share the tests: each takes the next list that none has taken, until none is left.
module Sharing

open System
open System.IO
open Expecto

/// The argument that makes the test program take lists from a folder, which follows, beside others of its kind. Arguments for Expecto
/// come behind.
let argument = "--share"

/// The argument that makes the test program print the names of its lists.
let namesArgument = "--names"

/// Ends the output of each list (ASCII's end of a transmission block): the build prints it as one piece.
let private endOfList = '\u0017'

/// The name of a list of tests.
let rec name (list: Test) =
    match list with
    | TestLabel(name, _, _) -> name
    | Test.Sequenced(_, inner) -> name inner
    | _ -> invalidArg "list" "expected a list of tests with a name"

/// Takes a list for the caller: true for exactly one of all that ask for it in this folder, whatever their process. The file that says
/// so is made or refused by the system in one step.
let take (folder: string) (name: string) =
    let path = Path.Combine(folder, name + ".taken")

    try
        use _ = new FileStream(path, FileMode.CreateNew)
        true
    with :? IOException when File.Exists path ->
        false

/// What the test program does to print the names of its lists.
let print (lists: Test list) =
    lists |> List.iter (name >> Console.Out.WriteLine)
    0

/// All tests by the names that they have in every report and filter, one after another.
let suite (lists: Test list) =
    testSequenced (testList "FieldImnn" lists)

/// Runs every list that nobody has taken yet; its report is NAME.xml in the folder. The exit code has the bits of every list's.
let run (folder: string) (arguments: string list) (lists: Test list) =
    [ for list in lists do
          if take folder (name list) then
              let report = Path.Combine(folder, name list + ".xml")
              runTestsWithCLIArgs [] [| "--junit-summary"; report; yield! arguments |] (suite [ list ])
              Console.Out.WriteLine endOfList
              Console.Out.Flush() ]
    |> List.fold (|||) 0
