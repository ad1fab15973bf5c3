/// How much of the exact information features keep: dotnet run -c Release --project benchmarks/FieldImnn.Information -- OUT
/// [--only UNIVERSE] [--features default,"band powers"] [--change means=4,scales=1] [--seeds N] [--fit N] [--quote N] [--halved N].
/// And the posteriors from it, beside the exact ones: OUT posteriors [--only UNIVERSE] [--methods abc,delfi] [--fields N] [--halved N].
/// What is in OUT already, of as many simulations or fields, is not run again.
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
      Halved: int
      Methods: string list
      Fields: int }

let private usage =
    "OUT [posteriors] [--only UNIVERSE] [--methods NAME,NAME] [--fields N] [--features NAME,NAME] [--change NAME=NUMBER,NAME=NUMBER]… [--seeds N] [--fit N] [--quote N] [--halved N]"

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
    | "--methods" :: (names: string) :: rest ->
        read
            { options with
                Methods = List.ofArray (names.Split ',') }
            rest
    | "--fields" :: (n: string) :: rest -> read { options with Fields = int n } rest
    | other :: _ -> raise (SettingException("option", usage, other))

/// The file of one seed's training: one for each number of simulations, so that none is taken for another.
let private path options out universe (candidate: Candidate.Candidate) (seed: int) =
    let fit = options.Fit |> Option.map string |> Option.defaultValue "own"
    Cell.path out universe candidate.Name $"seed{seed}-{fit}-{options.Quote}"

let private seeds options = [ 1 .. options.Seeds ]

let private run options out progress (universe: Universe.Universe) (candidate: Candidate.Candidate) seed =
    let path = path options out universe candidate seed

    if not (File.Exists path) then
        let file =
            try
                Cell.run universe candidate options.Fit options.Quote (uint64 seed) progress
                |> Cell.ofSeed universe candidate options.Quote
            with :? SettingException as error ->
                Cell.refused universe candidate error

        Cells.write Tables.information path file

/// The cell of all seeds, from their files.
let private cell options out universe (candidate: Candidate.Candidate) =
    seeds options
    |> List.map (path options out universe candidate >> Cells.read)
    |> Cell.ofSeeds universe candidate options.Quote

let private wanted options (universe: Universe.Universe) =
    options.Only |> Option.forall universe.Name.StartsWith

let private chosen options =
    [ for universe in Universe.all options.Halved |> List.filter (wanted options) do
          for candidate in Candidate.all universe do
              if options.Features.IsEmpty || List.contains candidate.Name options.Features then
                  universe, candidate

          for text in options.Changes do
              universe, Candidate.changed text ]

let private defaults =
    { Only = None
      Features = []
      Changes = []
      Seeds = 3
      Fit = None
      Quote = 60000
      Halved = 0
      Methods = [ "abc" ]
      Fields = 10 }

/// Posteriors of all universes by all methods, as a table.
let private posteriors out arguments =
    let options = read defaults arguments
    let progress = ConsoleProgress.create ()

    let goals =
        Universe.all options.Halved
        |> List.filter (wanted options)
        |> List.choose (fun universe -> universe.Area |> Option.map (fun goal -> universe, goal))

    [ for universe, goal in goals do
          let compressor = lazy Posteriors.compressor universe progress

          for name in options.Methods do
              let path = Cell.path out universe $"posteriors-{name}" $"{options.Fields}"

              if not (File.Exists path) then
                  Posteriors.run universe goal name compressor.Value options.Fields progress
                  |> Cells.write Tables.posteriors path

              Cells.read path ]
    |> Cells.summarise out "posteriors" Tables.posteriors (fun c -> c["reached"].GetValue<bool>())

/// Everything that was asked for, and then all of it as a table and a figure.
let private benchmark out arguments =
    let options = read defaults arguments
    let progress = ConsoleProgress.create ()
    let chosen = chosen options

    for seed in seeds options do
        for universe, candidate in chosen do
            run options out progress universe candidate seed

    let cells =
        chosen
        |> List.map (fun (universe, candidate) -> cell options out universe candidate)

    cells |> Cell.figure |> Export.figure out "information"

    cells
    |> Cells.summarise out "information" Tables.information (fun c ->
        isNull c["reached"] || c["reached"].GetValue<bool>())

let private work out =
    function
    | "posteriors" :: arguments -> posteriors out arguments
    | arguments -> benchmark out arguments

[<EntryPoint>]
let main arguments = Cells.main usage work arguments
