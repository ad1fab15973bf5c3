/// The report of a copy of the repository: FieldImnn.Paper ROOT [--quick] [--only-text]. `dotnet fsi build.fsx paper` calls it.
module Program

open System.Globalization
open FieldImnn.Core

[<EntryPoint>]
let main arguments =
    CultureInfo.CurrentCulture <- CultureInfo.InvariantCulture

    match List.ofArray arguments with
    | root :: options when options |> List.forall (fun o -> List.contains o [ "--quick"; "--only-text" ]) ->
        try
            Paper.places (List.contains "--quick" options) root
            |> Paper.make (List.contains "--only-text" options)
        with :? FieldImnnException as error ->
            eprintfn $"error: {error.Message}"
            2
    | _ ->
        eprintfn "expected: ROOT [--quick] [--only-text]"
        2
