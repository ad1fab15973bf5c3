namespace FieldImnn

open System
open FieldImnn.Core

/// What an inference found out about itself that its reader must know before trusting the posterior. It travels with the result.
type Warning =
    /// The observed summaries lie this many sds of the simulations' scatter from what the posterior's parameters simulate;
    /// infinitely many where a summary that no simulation varies has another value.
    | Outsider of sds: float
    /// The walkers have not forgotten their start: steps that were taken, autocorrelation time in steps (NaN where nothing moved), walkers
    /// that never moved.
    | NotConverged of steps: int * autocorrelation: float * stuck: int
    /// Summaries (counted from 1) that were not used: they are constant over all simulations, or a linear combination of the others.
    | SummariesDropped of summaries: int list
    /// Simulations that lie far from their like, of so many, and were left out of the learning; the farthest by so many sds.
    | SimulationsLeftOut of count: int * all: int * farthest: float

    /// The learned posterior and the learned likelihood leave so few effective draws, of so many.
    | Contradiction of effective: float * draws: int

    /// Parameters of which the compressor says far less, where it was trained, than the prior does.
    | Unseen of parameters: string list
    /// The posterior's mean lies this many standard errors of one field from where the compressor was trained.
    | FarFromFiducial of errors: float
    /// What is named of the field is this many times as unusual as that of one in a thousand simulations where the compressor was trained,
    /// though the posterior's mean lies there.
    | UnlikeFiducial of what: string * times: float
    /// Parameters by which derivatives were differences over this many of their errors to either side.
    | WideSteps of errors: (string * float) list
    /// Parameters whose posterior is this many times as wide as the compressor's error where it was trained.
    | WiderThanErrors of widths: (string * float) list

    /// A stable word for the kind, for files.
    member this.Kind =
        match this with
        | Outsider _ -> "observation-outside-simulations"
        | NotConverged _ -> "sampler-not-converged"
        | SummariesDropped _ -> "summaries-dropped"
        | SimulationsLeftOut _ -> "simulations-left-out"
        | Contradiction _ -> "posterior-and-likelihood-disagree"
        | Unseen _ -> "parameters-not-seen"
        | FarFromFiducial _ -> "far-from-fiducial"
        | UnlikeFiducial _ -> "unlike-fiducial"
        | WideSteps _ -> "wide-steps"
        | WiderThanErrors _ -> "wider-than-errors"

    /// The warning as a sentence.
    member this.Message =
        match this with
        | Outsider sds when Double.IsPositiveInfinity sds ->
            "The observation has another value in a summary that is the same in all simulations: the model cannot have made it, and the posterior means nothing."
        | Outsider sds ->
            let number = Numerals.rounded 3 sds

            $"The observation lies {number} sds from what the posterior's parameters simulate: the model is unlikely to have made it, and the posterior must not be trusted."
        | NotConverged(steps, _, stuck) when stuck > 0 ->
            $"{stuck} walkers never moved in {steps} steps: the posterior's sample is not to be trusted."
        | NotConverged(steps, tau, _) ->
            $"The walkers took {steps} steps of autocorrelation time {Numerals.rounded 3 tau}: too few to forget their start; take more steps."
        | SummariesDropped summaries ->
            let list = summaries |> List.map string |> String.concat ", "

            $"Summaries that are constant or follow from the others were not used: number {list}."
        | SimulationsLeftOut(count, all, farthest) ->
            $"{count} of {all} simulations lie up to {Numerals.rounded 3 farthest} sds from their like and were left out of the learning."

        | Contradiction(effective, draws) ->
            $"The learned posterior and the learned likelihood disagree: only {Numerals.rounded 3 effective} of {draws} draws count. More simulations are needed."
        | Unseen parameters ->
            let list = parameters |> String.concat ", "

            $"The compressor knows far less of {list} than the prior, where it was trained: its features do not see it, or the field does not hold it."

        | FarFromFiducial errors ->
            $"The posterior lies {Numerals.rounded 3 errors} standard errors from where the compressor was trained: it may be wider than need be; train again there (more rounds)."
        | UnlikeFiducial(what, times) ->
            $"The field is unlike simulations where the posterior lies: its {what} is {Numerals.rounded 3 times} times as unusual as that of one in a thousand. Unless the posterior has several peaks about that place, the model is unlikely to have made it, and the posterior must not be trusted."
        | WideSteps errors ->
            $"Derivatives are differences over wide steps, in errors of the compressor to either side: {Warning.each errors}. They are those of chords, and estimates move by another amount than the parameters; take steps of a tenth of an error to one."
        | WiderThanErrors widths ->
            let list = Warning.each widths

            $"The posterior is wider than the compressor's error where it was trained, by factors of {list}: the field tells less elsewhere, or other parameters make the same summaries, which other features may tell apart."

    static member private each(values: (string * float) list) =
        values
        |> List.map (fun (name, times) -> $"{Numerals.rounded 3 times} in {name}")
        |> String.concat ", "

/// What is observed, at the door of every method.
module internal Observed =
    /// Observed summaries themselves if all are finite and there are as many as the simulations have.
    let require (expected: int option) (observed: float[]) =
        match expected with
        | Some n when observed.Length <> n ->
            raise (ShapeException("observed summaries", $"{n}, as many as of a simulation", $"{observed.Length}"))
        | _ -> ()

        match observed |> Array.tryFindIndex (Double.IsFinite >> not) with
        | Some i ->
            raise (NonFiniteException("observed summaries", "finite numbers", $"{observed[i]} in number {i + 1}"))
        | None -> observed
