namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra

/// One of several ways to compress, trained; or why it could not be.
type Candidate =
    { Label: string
      Outcome: Result<TrainedCandidate, string> }

/// A trained candidate, with F on simulations that none of the candidates was trained or fitted on.
and TrainedCandidate =
    { Compressor: Compressor
      Fisher: Matrix<float> }

/// What was chosen among candidates, and all of them in the order in which they were given.
type Selection =
    { Label: string
      Compressor: Compressor
      Candidates: Candidate list }

/// Choosing features and training by measurement, where no exact answer says what there is to keep.
module Selection =
    let private trained (candidate: Candidate) =
        match candidate.Outcome with
        | Ok found -> Some(candidate.Label, found)
        | Error _ -> None

    /// Of named candidates the one of the highest det F on simulations that choose and do nothing else; each is trained in full at the same
    /// fiducial parameters. The chosen compressor quotes F on yet other simulations. A candidate that the simulator or its settings refuse
    /// is left out, with the reason; if all are, the first reason is raised.
    let among (candidates: (string * ImnnSettings) list) (simulator: Simulator) (fiducial: float[]) : Selection =
        if candidates.IsEmpty then
            raise (SettingException("candidates to choose among", "at least one", "none"))

        let mutable first = None

        let tried =
            [ for name, settings in candidates do
                  let outcome =
                      try
                          let compressor = Imnn.train settings simulator fiducial

                          Ok
                              { Compressor = compressor
                                Fisher = Imnn.fisherForChoice settings simulator compressor }
                      with :? FieldImnnException as error ->
                          first <- first |> Option.orElse (Some error)
                          Error error.Message

                  { Label = name; Outcome = outcome } ]

        match tried |> List.choose trained with
        | [] -> raise first.Value
        | found ->
            let name, best = found |> List.maxBy (fun (_, t) -> t.Fisher.Determinant())

            { Label = name
              Compressor = best.Compressor
              Candidates = tried }

    /// Of every trained candidate the share of what the chosen one keeps, as (det F ratio)^(1/p): 1 for the chosen, below 1 for others.
    let shares (selection: Selection) =
        let found = selection.Candidates |> List.choose trained
        let best = found |> List.find (fun (name, _) -> name = selection.Label) |> snd

        found
        |> List.map (fun (name, t) ->
            name,
            Fisher.retained t.Fisher best.Fisher
            ** (1.0 / float best.Compressor.Parameters.Length))

    /// A line for every candidate, in plain words.
    let describe (selection: Selection) =
        let shares = Map.ofList (shares selection)

        [ for candidate in selection.Candidates ->
              match candidate.Outcome with
              | Error reason -> $"{candidate.Label}: left out, {reason}"
              | Ok found ->
                  let what =
                      $"{found.Compressor.Network.Features} features, {found.Compressor.Seconds:F0} s"

                  if candidate.Label = selection.Label then
                      $"{candidate.Label}: chosen ({what})"
                  else
                      $"{candidate.Label}: keeps {shares[candidate.Label]:P1} of the information that {selection.Label} keeps, a parameter ({what})" ]
