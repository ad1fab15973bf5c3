/// How much of the exact information features keep: dotnet run -c Release --project benchmarks/FieldImnn.Information -- OUT
/// [--only UNIVERSE] [--features default,"band powers"] [--change means=4,scales=1] [--seeds N] [--fit N] [--quote N] [--halved N].
/// Cells that are in OUT already, of as many seeds and simulations, are not run again.
module Program

open System.IO
open FieldImnn
open FieldImnn.Core
open FieldImnn.Plots

type private Options =
    { Only: string option
      Features: string list
      Changes: string list
      Seeds: int
      Fit: int option
      Quote: int
      Halved: int }

let private usage =
    "OUT [--only UNIVERSE] [--features NAME,NAME] [--change NAME=NUMBER,NAME=NUMBER]… [--seeds N] [--fit N] [--quote N] [--halved N]"

let rec private read options =
    function
    | [] -> options
    | "--only" :: name :: rest -> read { options with Only = Some name } rest
    | "--features" :: (names: string) :: rest ->
        read
            { options with
                Features = List.ofArray (names.Split ',') }
            rest
    | "--change" :: text :: rest ->
        read
            { options with
                Changes = options.Changes @ [ text ] }
            rest
    | "--seeds" :: (n: string) :: rest -> read { options with Seeds = int n } rest
    | "--fit" :: (n: string) :: rest -> read { options with Fit = Some(int n) } rest
    | "--quote" :: (n: string) :: rest -> read { options with Quote = int n } rest
    | "--halved" :: (n: string) :: rest -> read { options with Halved = int n } rest
    | other :: _ -> raise (SettingException("option", usage, other))

/// The cell's file: one for each number of seeds and of simulations, so that none is taken for another.
let private path options out universe candidate =
    let fit = options.Fit |> Option.map string |> Option.defaultValue "own"
    Cell.path out universe candidate $"{options.Seeds}-{fit}-{options.Quote}"

let private run options out progress (universe: Universe.Universe) (candidate: Candidate.Candidate) =
    let path = path options out universe candidate

    if not (File.Exists path) then
        let cell =
            try
                [| 1 .. options.Seeds |]
                |> Array.map (fun seed -> Cell.run universe candidate options.Fit options.Quote (uint64 seed) progress)
                |> Cell.json universe candidate options.Quote
            with :? SettingException as error ->
                Cell.refused universe candidate error

        Cells.write Tables.information path cell

let private chosen options =
    [ for universe in Universe.all options.Halved do
          if options.Only |> Option.forall universe.Name.StartsWith then
              for candidate in Candidate.all universe do
                  if options.Features.IsEmpty || List.contains candidate.Name options.Features then
                      universe, candidate

              for text in options.Changes do
                  universe, Candidate.changed text ]

/// Everything that was asked for, and then all of it as a table and a figure.
let private benchmark out arguments =
    let options =
        read
            { Only = None
              Features = []
              Changes = []
              Seeds = 3
              Fit = None
              Quote = 60000
              Halved = 0 }
            arguments

    let progress = ConsoleProgress.create ()
    let chosen = chosen options

    for universe, candidate in chosen do
        run options out progress universe candidate

    let cells =
        chosen
        |> List.map (fun (universe, candidate) -> Cells.read (path options out universe candidate))

    cells |> Cell.figure |> Export.figure out "information"

    cells
    |> Cells.summarise out "information" Tables.information (fun c ->
        isNull c["reached"] || c["reached"].GetValue<bool>())

[<EntryPoint>]
let main arguments = Cells.main usage benchmark arguments
