/// Every list of tests runs in exactly one of the processes that share them.
module SharingTests

open System
open System.IO
open System.Reflection
open System.Threading
open Expecto
open TestSupport

/// The lists of this program's modules, whether or not anybody runs them.
let private declared () =
    [ for holder in Assembly.GetExecutingAssembly().GetTypes() do
          match holder.GetProperty("tests", BindingFlags.Static ||| BindingFlags.Public) with
          | null -> ()
          | property when property.PropertyType = typeof<Test> -> Sharing.name (property.GetValue null :?> Test)
          | _ -> () ]

/// How often each name is taken by threads that all go through all of them.
let private taken (take: string -> bool) (names: string list) =
    let all = Collections.Concurrent.ConcurrentBag<string>()

    let threads =
        [ for _ in 1..4 do
              Thread(fun () -> names |> List.filter take |> List.iter all.Add) ]

    threads |> List.iter _.Start()
    threads |> List.iter _.Join()
    all |> List.ofSeq |> List.countBy id |> List.sort

let tests =
    testList
        "sharing"
        [ testCase "every module's tests are a list of the suite, once, by a name of its own" (fun () ->
              let names =
                  (ownProcess [ Sharing.namesArgument ]).Split('\n', StringSplitOptions.RemoveEmptyEntries)

              Expect.isGreaterThan names.Length 60 "lists"
              Expect.equal (List.sort (List.ofArray names)) (List.sort (declared ())) "names"
              Expect.equal (Array.distinct names) names "each by itself"

              for name in names do
                  Expect.equal (Path.GetFileName name) name "the name of a file")

          testCase "of all who ask for a list, one takes it, and each is taken" (fun () ->
              inFolder (fun folder ->
                  let names = [ for i in 1..500 -> $"list {i}" ]
                  let once = names |> List.map (fun name -> name, 1) |> List.sort
                  Expect.equal (taken (Sharing.take folder) names) once "one each"
                  Expect.isEmpty (taken (Sharing.take folder) names) "none is left"

                  // planted: who looks first and writes then
                  let hasty name =
                      let path = Path.Combine(folder, name + ".hasty")
                      let free = not (File.Exists path)
                      Thread.Sleep 1

                      if free then
                          File.WriteAllText(path, "")

                      free

                  Expect.notEqual (taken hasty names) once "planted")) ]
