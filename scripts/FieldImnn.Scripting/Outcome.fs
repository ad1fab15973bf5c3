namespace FieldImnn

open System
open System.IO
open System.Text.Json.Nodes
open FieldImnn.Core
open FieldImnn.Plots

/// An inference, as its files tell of it: what docs/outputs.md lists.
type Outcome =
    {
        Model: Model
        /// What tells this model from others of the same simulator.
        Notes: (string * string) list
        /// Files of the posterior.
        Files: string list
        /// Where the field was simulated, if it was.
        Truth: float[] option
        /// What summary.json says of the run, before what came out.
        Told: (string * JsonNode) list
        /// What provenance says of the settings.
        Settings: (string * JsonNode) list
        Seed: uint64
        Device: string
        Seconds: float
    }

/// Writing and printing what came out of an inference.
module Outcome =
    /// Files of the posterior beside posterior.csv, by what they are called on the command line.
    let private formats =
        Map
            [ "npz", "posterior.npz"
              "hdf5", "posterior.h5"
              "getdist", "posterior.txt"
              "netcdf", "posterior.nc" ]

    /// The files of the posterior that are asked for, names of formats with commas between them.
    let files (asked: string option) : string list =
        let asked =
            match asked with
            | None -> []
            | Some text ->
                text.Split([| ','; ' ' |], StringSplitOptions.RemoveEmptyEntries)
                |> List.ofArray

        "posterior.csv"
        :: [ for name in asked do
                 match formats.TryFind name with
                 | Some file -> file
                 | None ->
                     let known = String.concat ", " formats.Keys
                     raise (SettingException("--formats", $"some of {known}, with commas between them", name)) ]

    /// θ by name: "A = 0.9, B = 0.6".
    let at (model: Model) theta =
        Simulator.named model.Simulator.Parameters theta

    /// What summary.json says of failures that are left out.
    let failures (model: Model) =
        match model.Simulator.Failures with
        | SkipFailures part -> [ "skipFailures", Report.value part ]
        | StopAtFailure -> []

    let private caption outcome (result: InferenceResult) =
        let told = outcome.Notes |> List.map snd |> String.concat ", "

        let field =
            match outcome.Truth with
            | Some theta -> $"a field simulated at {at outcome.Model theta} (dashed)"
            | None -> "the observed field"

        let exact =
            match result.Exact with
            | Some exact ->
                $" Area over the exact area: {exact.AreaRatio:F3}; the compression kept {exact.FisherRetained:P1} of the field's information at its fiducial."
            | None -> ""

        $"Posterior of {field}, {told}; contours hold 68 %% and 95 %%.{exact}"

    /// Prints the moments of a result, beside the exact ones where they are known, and its warnings.
    let print (model: Model) (result: InferenceResult) =
        let errors =
            Array.map2
                (fun name error -> $"{name} ± {Numerals.rounded 3 error}")
                model.Simulator.Parameters
                (Matrices.errors result.Fisher)
            |> String.concat ", "

        printfn $"the compressor's errors at {at model result.Fiducial}: {errors}"

        for i, name in Array.indexed model.Simulator.Parameters do
            let moments posterior =
                Report.measured ((Posterior.mean posterior)[i]) ((Posterior.sd posterior)[i])

            let exact =
                match result.Exact with
                | Some exact -> $"   (exact {moments exact.Posterior})"
                | None -> ""

            printfn $"{name} = {moments result.Posterior}{exact}"

        result.Exact
        |> Option.iter (fun exact ->
            printfn $"area over exact {exact.AreaRatio:F3}, information kept {exact.FisherRetained:P1}")

        if result.Failed > 0 then
            printfn $"{result.Failed} simulations of the inference failed and were left out"

        for warning in result.Warnings do
            printfn $"warning: {warning.Message}"

        for warning in result.Exact |> Option.map _.Warnings |> Option.defaultValue [] do
            printfn $"warning of the exact posterior: {warning.Message}"

    /// Tells those who watch of the posterior that it has come to.
    let tell progress (result: InferenceResult) =
        PosteriorProgress.tell
            progress
            result.Method
            [ "simulations", float result.Simulations
              match result.Exact with
              | Some exact ->
                  "areaRatio", exact.AreaRatio
                  "fisherRetained", exact.FisherRetained
              | None -> () ]
            result.Posterior

    /// Writes the field that was inferred from, in its own precision.
    let writeField out (field: Tensor) =
        Tensors.toNpy field |> Npy.write (Path.Combine(out, "field.npy"))

    /// Writes what came out: the files of the posterior, summary.json and the corner.
    let write out (result: InferenceResult) (outcome: Outcome) =
        let provenance = Provenance.ofRun outcome.Seed outcome.Device outcome.Settings

        for file in outcome.Files do
            PosteriorFile.writeFrom (Some(provenance.ToJsonString())) (Path.Combine(out, file)) result.Posterior

        Report.summary
            ((outcome.Notes |> List.map (fun (name, text) -> name, Report.value text))
             @ outcome.Told
             @ [ "provenance", provenance ])
            outcome.Model.Simulator.Parameters
            outcome.Seconds
            outcome.Seed
            result
        |> Report.writeJson (Path.Combine(out, "summary.json"))

        Plot.corner
            [ match result.Exact with
              | Some exact -> "exact", exact.Posterior
              | None -> ()
              result.Method, result.Posterior ]
            outcome.Truth
        |> Plot.withCaption (caption outcome result)
        |> Export.figure out "corner"
