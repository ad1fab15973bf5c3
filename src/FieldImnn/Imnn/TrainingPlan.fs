namespace FieldImnn

/// What simulations a training takes.
module TrainingPlan =
    /// The simulations that training with these settings takes at the fiducial parameters (p), but for the handful of the door: of a network with
    /// weights, those of the least number of steps. None of a stored set.
    let create (settings: ImnnSettings) (simulator: Simulator) (fiducial: float[]) : PlannedSimulations list =
        use network = Imnn.network settings.Features simulator settings.Seed
        let trained = network.Parameters.Count > 0

        let plan purpose seed first count derivatives =
            { Purpose = purpose
              Seed = seed
              First = uint64 (first: int)
              Count = count
              Theta = [| fiducial |]
              Derivatives = derivatives }

        let derivatives = Some settings.Derivatives

        let measured purpose part =
            let count = Batch.countOf settings part

            Measurement.planned network count (min count settings.MeasureDerivatives)
            |> List.map (fun (first, n, differentiated) ->
                plan purpose (Batch.seedOf settings part) first n (if differentiated then derivatives else None))

        let step i =
            let seed, first = Batch.seedOf settings Training, i * settings.Simulations
            let differentiated = settings.DerivativeSimulations

            [ plan "training" seed first differentiated derivatives
              plan "training" seed (first + differentiated) (settings.Simulations - differentiated) None ]

        match settings.Derivatives with
        | Precomputed _ -> []
        | _ ->
            [ plan "constants" (Batch.constantsSeed settings) 0 (int network.FitFields) None
              if trained then
                  plan "validation" (Batch.seedOf settings Validation) 0 settings.HeldOut derivatives

                  for i in 0 .. settings.MinIterations - 1 do
                      yield! step i
              yield! measured "statistics" Fitting
              yield! measured "quote" Quoting
              plan "looks" (Batch.seedOf settings Looking) 0 (Batch.countOf settings Looking) None ]
            |> List.filter (fun planned -> planned.Count > 0)
