namespace FieldImnn

open FieldImnn.Core
open MathNet.Numerics.LinearAlgebra
open TorchSharp

/// An exact posterior beside an approximate one, and what lies between them.
type Comparison =
    {
        Posterior: Posterior
        /// Area over the exact area (of more parameters: volume): 1 where nothing was lost.
        AreaRatio: float
        /// det F of the compressor over the exact det F at its fiducial.
        FisherRetained: float
        /// The p-th root of FisherRetained: what is kept of each parameter's information, on average.
        FisherRetainedPerParameter: float
        /// What must be known before the exact posterior is trusted: it is sampled where there are more than two parameters.
        Warnings: Warning list
    }

/// The posterior of a field.
type InferenceResult =
    {
        /// The name of the method.
        Method: string
        /// The score estimate of the field.
        Estimate: float[]
        /// Where the compressor was trained.
        Fiducial: float[]
        /// F of the estimates there, on simulations that nothing else has seen: √(F⁻¹)ₖₖ is the error that each may have.
        Fisher: Matrix<float>
        Posterior: Posterior
        /// The exact answer, where the model has one.
        Exact: Comparison option
        /// Simulations used, training included.
        Simulations: int
        /// What must be known before the posterior is trusted.
        Warnings: Warning list
        /// Those of the inference that failed and were left out.
        Failed: int
    }

/// From observed fields to posteriors: `Infer.delfi DelfiSettings.Default model compressor field`.
module Infer =
    let private known (estimates: Compressor -> Tensor -> float[][]) measured (compressor: Compressor) : Compression =
        { Parameters = compressor.Parameters
          Fiducial = compressor.Fiducial
          Information = compressor.Fisher
          Estimates = estimates compressor
          Unlike =
            compressor.Typical
            |> Option.map (fun typical ->
                { Measured = measured typical compressor
                  KeptApart = false })
          Further =
            compressor.Beside
            |> Option.map (Beside.summaries compressor.FieldShape (int compressor.Network.Description.Channels))
          Edges =
            [ for edge in compressor.Beside |> Option.map _.Edges |> Option.defaultValue [] ->
                  { edge with
                      Summary = edge.Summary + compressor.Parameters.Length } ] }

    let private measured typical compressor fields =
        Compressor.measured compressor typical fields

    /// What inference knows of a compressor, by its estimates alone: `Compression.about` observed fields keeps apart what is unlike the fiducial's.
    let compression (compressor: Compressor) : Compression =
        known Compressor.estimates measured compressor

    /// What inference of observed fields (shape…) by a model knows of a compressor: where a failed simulation stops it, what fails has a name.
    let private compressionOf (model: Model) fields compressor =
        match model.Simulator.Failures with
        | SkipFailures _ -> compression compressor
        | StopAtFailure -> known FeatureDoor.estimates (measured >> FeatureDoor.checkedBy) compressor
        |> Compression.about fields

    /// The exact answers for fields, and what the compressor keeps: before a simulation is spent, should they fail.
    let private exacts (model: Model) (compressor: Compressor) (fields: Tensor list) =
        match model.Exact with
        | None -> fields |> List.map (fun _ -> None)
        | Some exact ->
            let retained = Fisher.retained compressor.Fisher (exact.Fisher compressor.Fiducial)

            fields
            |> List.map (fun field ->
                let posterior, warnings = ExactAnswer.posteriorWithWarnings exact model.Prior field
                Some(posterior, warnings, retained))

    let private beside (model: Model) posterior (exact: Posterior, warnings, retained: float) =
        { Posterior = exact
          Warnings = warnings
          AreaRatio = Posterior.area posterior / Posterior.area exact
          FisherRetained = retained
          FisherRetainedPerParameter = retained ** (1.0 / float (Model.parameters model)) }

    /// The model with its simulator where the compressor is.
    let private placed (compressor: Compressor) model =
        { model with
            Simulator = Simulator.on compressor.Device model.Simulator }

    let private require (model: Model) (compressor: Compressor) =
        if compressor.Parameters <> model.Simulator.Parameters then
            let list (names: string[]) = String.concat ", " names

            raise (
                FieldImnn.Core.SettingException(
                    "parameters of the compressor",
                    list model.Simulator.Parameters,
                    list compressor.Parameters
                )
            )

    /// A warning of what was found, if anything was.
    let private ofAny (warning: 'found list -> Warning) =
        function
        | [] -> []
        | found -> [ warning found ]

    /// Parameters whose error at the fiducial, √(F⁻¹)ₖₖ, is three times as wide as the prior.
    let private unseen (model: Model) (compressor: Compressor) =
        let errors = Matrices.errors compressor.Fisher

        [ for k, width in Array.indexed (Prior.width model.Prior) do
              if not (errors[k] <= 3.0 * width) then
                  compressor.Parameters[k] ]
        |> ofAny Unseen

    /// A field whose posterior's mean lies far from where the compressor was trained.
    let private far (compressor: Compressor) posterior =
        let errors = Compressor.away compressor (Posterior.mean posterior)

        if errors <= Refit.near || Regression.isOne compressor then
            []
        else
            [ FarFromFiducial errors ]

    /// How many times as unusual as one in a thousand of its like a field's features may be, over all: where its posterior is, they are not
    /// quite the fiducial's.
    let private unusual = 2.0

    /// A field that is nothing like those where the compressor was trained, though its posterior is there: by all features together, or by what
    /// anybody would look at first. A regression knows fields of all the prior.
    let private unlike (compressor: Compressor) compression (field: Tensor) posterior =
        if
            Compressor.away compressor (Posterior.mean posterior) > Refit.near
            && not (Regression.isOne compressor)
        then
            []
        else
            let times = exp (Compression.beyond compression field)

            [ struct (times, times / unusual, "features, taken together,")
              yield! Compressor.looks compressor field |> Option.toList ]
            |> List.filter (fun struct (_, allowed, _) -> allowed > 1.0)
            |> List.sortByDescending (fun struct (_, allowed, _) -> allowed)
            |> List.truncate 1
            |> List.map (fun struct (times, _, what) -> UnlikeFiducial(what, times))

    /// How many times as wide as the compressor's error a posterior may be.
    let private widest = 3.0

    /// Parameters whose posterior is much wider than the compressor's error.
    let private wide (compressor: Compressor) posterior =
        let times =
            Array.map2 (/) (Posterior.sd posterior) (Matrices.errors compressor.Fisher)

        Array.zip compressor.Parameters times
        |> Array.filter (fun (_, times) -> times > widest)
        |> List.ofArray
        |> ofAny WiderThanErrors

    /// How many errors a step may be to either side: as far as that the mean of a summary is taken to be a line.
    let private longest = 1.5

    /// Parameters whose finite differences were wide.
    let private wideSteps (compressor: Compressor) =
        if compressor.Steps.Length = 0 then
            []
        else
            // where steps are too wide the F that is quoted may collapse, and that of the fit not
            let errors =
                Array.map2 min (Matrices.errors compressor.Fisher) (Matrices.errors compressor.Statistics.Fisher)

            [ for k, step in Array.indexed compressor.Steps do
                  if step > longest * errors[k] then
                      compressor.Parameters[k], step / errors[k] ]
            |> ofAny WideSteps

    /// The posteriors of fields (shape…) by a method of a name, in one go (DELFI and neural posteriors learn once for all fields).
    /// Simulations are made and compressed on the compressor's device.
    let all name (method: Method) (model: Model) (compressor: Compressor) (fields: Tensor list) : InferenceResult list =
        require model compressor
        Guard.AtLeast("observed fields", 1L, int64 fields.Length) |> ignore
        FeatureDoor.observed compressor fields
        let exacts = exacts model compressor fields
        let ofCompressor = unseen model compressor @ wideSteps compressor
        let compression = compressionOf model fields compressor

        List.map3
            (fun field exact (found: Inferred) ->
                { Method = name
                  Estimate = Compressor.estimate compressor field
                  Fiducial = compressor.Fiducial
                  Fisher = compressor.Fisher
                  Posterior = found.Posterior
                  Exact = exact |> Option.map (beside model found.Posterior)
                  Simulations = compressor.Simulations + found.Simulations
                  Warnings =
                    ofCompressor
                    @ far compressor found.Posterior
                    @ unlike compressor compression field found.Posterior
                    @ wide compressor found.Posterior
                    @ found.Warnings
                  Failed = found.Failed })
            fields
            exacts
            (method (placed compressor model) compression fields)

    /// The posterior of one field (shape…) by a method of a name: one of Method's, or your own.
    let by name method model compressor field =
        all name method model compressor [ field ] |> List.head

    /// The posterior of one field by the Gaussian approximation.
    let gaussian model compressor field =
        by "gaussian" Method.gaussian model compressor field

    /// The posterior of one field by rejection ABC.
    let abc settings model compressor field =
        by "abc" (Method.abc settings) model compressor field

    /// The posterior of one field by population Monte Carlo.
    let pmc settings model compressor field =
        by "pmc" (Method.pmc settings) model compressor field

    /// The posterior of one field by sequential neural likelihood.
    let delfi settings model compressor field =
        by "delfi" (Method.delfi settings) model compressor field

    /// The posterior of one field by an amortised neural posterior.
    let npe settings model compressor field =
        by "npe" (Method.npe settings) model compressor field

    /// The most fields for each of which a posterior from a few simulations is made.
    let private mostPiloted = 8

    /// The means of posteriors from a few simulations of each field.
    let private pilots seed (model: Model) (compressor: Compressor) (compression: Compression) (fields: Tensor) =
        let simulator = (placed compressor model).Simulator
        let metric = Compression.metric seed simulator compression
        let compress = Compression.summaries compression

        let settings =
            { AbcSettings.Default with
                Budget = 4000
                Seed = seed }

        compress fields
        |> Array.map (fun x ->
            let found, _ =
                Abc.pilot Abc.mostPilots settings simulator compress metric model.Prior x

            Posterior.mean found)

    /// Where a compressor places fields (n, shape…): rows of θ. The estimates; where these do not hold enough, or lie farther from the fiducial
    /// than they hold, the means of posteriors from a few simulations: a linear estimate may be anywhere then, and rounds that follow it jump
    /// from one end of a prior to the other.
    let locate seed (model: Model) (compressor: Compressor) (fields: Tensor) : float[][] =
        let each = fields.unbind 0L |> List.ofArray
        let compression = compressionOf model each compressor
        each |> List.iter _.Dispose()

        let pilots () =
            pilots seed model compressor compression fields

        if compression.Further.IsSome then
            pilots ()
        else
            let estimates = compression.Estimates fields

            let mean =
                Array.init compressor.Parameters.Length (fun k -> estimates |> Array.averageBy (Array.item k))

            if estimates.Length <= mostPiloted && Compressor.away compressor mean > Refit.near then
                pilots ()
            else
                estimates

    /// Of n simulations those that a round needs which only searches: a fifth, but ten for each of so many features.
    let private fewer features n = max (n / 5) (min n (10 * features))

    /// The settings of a round of refitting: those of the recipe at its fiducial, after the first round, which hands on its weights, in
    /// half as many steps.
    let private round (recipe: Recipe) features searching (earlier: RefitRound list) fiducial =
        let settings = recipe.Training fiducial

        let settings =
            { settings with
                Progress = Progress.labelled $"round {earlier.Length + 1}" settings.Progress }

        if searching then
            { settings with
                Fit = fewer features settings.Fit
                MeasureDerivatives = max (min 400 settings.MeasureDerivatives) (settings.MeasureDerivatives / 5)
                // of as many summaries as parameters, not of all features
                Quote = max (features + 3) (settings.Quote / 5) }
        elif earlier.IsEmpty then
            settings
        else
            { settings with
                MinIterations = settings.MinIterations / 2
                MaxIterations = max 1 (settings.MaxIterations / 2) }

    /// What is looked at before anything is trained: fields all over the prior, and the features of them and of the observed fields. Stored
    /// simulations have no simulator to ask.
    let private door (model: Model) (recipe: Recipe) (settings: ImnnSettings) (observed: Tensor) =
        match settings.Derivatives with
        | Precomputed _ -> ()
        | _ ->
            use _ = torch.NewDisposeScope()
            let simulator = Simulator.on settings.Device model.Simulator
            Progress.report settings.Progress "trying the simulator over the prior" 0 1 [] ""
            let theta, keys, fields = Door.fields simulator model.Prior settings.Seed

            for features in settings.Features :: (recipe.Beside |> Option.map _.Features |> Option.toList) do
                FeatureDoor.training simulator settings.Device features theta keys fields observed

    /// How many features a recipe has, and whether it searches for the place of the fields with fewer simulations: features without weights do,
    /// where half as many serve.
    let private searching (model: Model) (settings: ImnnSettings) =
        use network = Imnn.network settings.Features model.Simulator settings.Seed
        let features = int network.Features
        features, network.Parameters.Count = 0 && 2 * fewer features settings.Fit <= settings.Fit

    /// The simulations that the first round of training takes, wherever the fields turn out to be.
    let planned (model: Model) (recipe: Recipe) : PlannedSimulations list =
        let fiducial = Recipe.fiducial model recipe
        let features, search = searching model (recipe.Training fiducial)

        TrainingPlan.create (round recipe features (search && recipe.Rounds > 1) [] fiducial) model.Simulator fiducial

    /// Rounds of training for observed fields (n, shape…) by a recipe: first where it begins, then where the fields are, until that
    /// stands. Features without weights search for the place with fewer simulations. `make` trains, or remembers, a compressor: settings → the one to start from → fiducial. Progress is told of each round's end.
    let refitBy make (model: Model) (recipe: Recipe) (fields: Tensor) : RefitRound list =
        let what = "observed fields"

        Guard.Finite(what, Guard.Batched(what, fields, model.Simulator.FieldShape))
        |> ignore

        Guard.AtLeast(what, 1L, fields.shape[0]) |> ignore
        let first = recipe.Training(Recipe.fiducial model recipe)
        door model recipe first fields

        let features, search = searching model first

        // stored simulations have no simulator to ask
        let located =
            match first.Derivatives with
            | Precomputed _ -> Compressor.estimates
            | _ -> locate first.Seed model

        let train searching (earlier: RefitRound list) fiducial =
            let before = earlier |> List.tryHead |> Option.map _.Compressor

            make (round recipe features searching earlier fiducial) before fiducial
            |> Compressor.comparing recipe.Beside

        Refit.run
            first.Progress
            search
            recipe.Settled
            train
            located
            model.Prior
            (Recipe.fiducial model recipe)
            recipe.Rounds
            fields

    /// Rounds of training for observed fields (n, shape…) by a recipe; the compressor of the last is the one to infer with.
    let refit model recipe fields =
        refitBy
            (fun settings earlier fiducial -> Imnn.trainFrom earlier settings model.Simulator fiducial)
            model
            recipe
            fields
