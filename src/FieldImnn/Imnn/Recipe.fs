namespace FieldImnn

open FieldImnn.Core

/// How a model is compressed: features and training, where it begins, how often it is repeated where the data are, and what inference
/// compares beside the estimates.
type Recipe =
    {
        /// The features and their training, at a fiducial point.
        Training: float[] -> ImnnSettings
        /// Where the first round is trained; the median of the prior if none is given.
        Fiducial: float[] option
        /// Rounds of training at the most, each where the one before places the fields; they end where that is settled.
        Rounds: int
        /// Within how many standard errors of the fiducial a place is settled.
        Settled: float
        /// Further summaries, where the estimates alone do not hold enough: a hard edge for one.
        Beside: Beside option
    }

    /// The default features and training, from the prior's median, in up to six rounds.
    static member Default =
        { Training = fun _ -> ImnnSettings.Default
          Fiducial = None
          Rounds = 6
          Settled = 1.0
          Beside = None }

/// Changing recipes, and following them.
module Recipe =
    /// The recipe of given features and training.
    let ofSettings settings =
        { Recipe.Default with
            Training = fun _ -> settings }

    /// The recipe with its training changed, wherever it takes place.
    let map (change: ImnnSettings -> ImnnSettings) (recipe: Recipe) =
        { recipe with
            Training = recipe.Training >> change }

    /// The recipe with a seed for its training.
    let withSeed seed recipe =
        recipe |> map (fun s -> { s with Seed = seed })

    /// The recipe with somebody who is told of progress, and can stop it.
    let withProgress progress recipe =
        recipe |> map (fun s -> { s with Progress = progress })

    /// The recipe with a place where its trainings, of all rounds, keep how far they have come: the same work, started again, goes on from there.
    let withCheckpoint place recipe =
        recipe |> map (fun s -> { s with Checkpoint = Some place })

    /// The recipe on a device, which fields, training and compressor follow.
    let on device recipe =
        recipe |> map (fun s -> { s with Device = device })

    /// A shorter training in at most four rounds, settled within two standard errors, for a first look.
    let quick (recipe: Recipe) =
        { recipe with
            Rounds = min 4 recipe.Rounds
            Settled = max 2.0 recipe.Settled }
        |> map (fun s ->
            { s with
                MaxIterations = min 60 s.MaxIterations
                MinIterations = min 60 s.MinIterations
                HeldOut = min 1000 s.HeldOut
                Fit = min 4000 s.Fit
                Quote = min 2000 s.Quote
                MeasureDerivatives = min 400 s.MeasureDerivatives })

    /// Where the first round is trained.
    let fiducial (model: Model) recipe =
        match recipe.Fiducial with
        | Some theta -> Prior.require "fiducial parameters" model.Prior theta
        | None -> Prior.median model.Prior

    /// A compressor of the model, trained at given parameters (p).
    let trainAt theta (model: Model) recipe : Compressor =
        Imnn.train (recipe.Training theta) model.Simulator theta
        |> Compressor.comparing recipe.Beside

    /// A compressor of the model, trained where the recipe begins.
    let train (model: Model) recipe : Compressor =
        trainAt (fiducial model recipe) model recipe
