namespace FieldImnn

open System.IO
open System.Text.Json.Nodes
open FieldImnn.Core
open FieldImnn.Core.Random
open FieldImnn.Plots

/// How the simulation budget is studied.
type BudgetSettings =
    {
        /// Budgets of rejection ABC, rising. The largest is also that of population Monte Carlo, which, like ABC from the prior, goes without regression.
        Abc: int list
        /// Rounds of DELFI: each is a point.
        Delfi: int list
        /// Runs of every method.
        Seeds: uint64 list
        /// Samples of each side of a C2ST.
        C2stSamples: int
        /// Simulations are kept here: smaller budgets are the beginning of larger ones, and a run that was stopped goes on.
        Folder: string
        Progress: Progress
    }

/// How far the posterior of a method is from the exact one after some simulations.
type BudgetPoint =
    {
        Method: string
        Seed: uint64
        Simulations: int
        /// Area over the exact area.
        AreaRatio: float
        /// Largest distance of the means, in the exact posterior's sds.
        Shift: float
        C2st: float
    }

/// Distance from the exact posterior of a field against the number of simulations.
module SimulationBudget =
    /// The number of different draws of a posterior, where it is a sample of equal weights.
    let private sampled (posterior: Posterior) =
        let weights = posterior.Weights

        if
            posterior.Grid.IsNone
            && posterior.Line.IsNone
            && Array.forall ((=) weights[0]) weights
        then
            Some posterior.Samples.Length
        else
            None

    /// One posterior against the exact one. No draw of a sampled exact posterior is taken twice, for a classifier knows it again: the C2ST is of so
    /// many draws, or of as many as that has.
    let compare name seed simulations samples exact posterior =
        let samples = sampled exact |> Option.fold min samples

        // from streams of their own: of one stream equal posteriors would give equal draws
        let draw purpose p =
            let seed = NoiseKey.IntSeedFor(seed, $"C2ST: {purpose}")

            match sampled p with
            | Some count when count >= samples ->
                let draws = Array.copy p.Samples
                PhiloxRandom(uint64 (uint32 seed), "C2ST").Shuffle draws
                Array.truncate samples draws
            | _ -> Posterior.resample seed samples p

        { Method = name
          Seed = seed
          Simulations = simulations
          AreaRatio = Posterior.area posterior / Posterior.area exact
          Shift = Posterior.shift exact posterior
          C2st = (C2st.compare seed (draw "exact" exact) (draw name posterior)).Accuracy }

    /// Names of the methods, in the order of their curves.
    let methods =
        [ "ABC from the prior"
          "ABC, focused, with regression"
          "population Monte Carlo"
          "DELFI" ]

    /// The budgets of the study, or fewer for quick looks.
    let settings (options: StudyOptions) progress =
        let quick = options.Quick

        { Abc =
            (if quick then
                 [ 500; 1000; 2000 ]
             else
                 [ 500; 1000; 2000; 4000; 8000; 12000 ])
          Delfi =
            (if quick then
                 [ 250; 250 ]
             else
                 [ 250; 250; 500; 1000; 2000 ])
          Seeds =
            (if quick then
                 [ options.Seed ]
             else
                 [ options.Seed .. options.Seed + 2UL ])
          C2stSamples = (if quick then 500 else 2000)
          Folder = Path.Combine(options.Out, "simulations")
          Progress = progress }

    /// The problem of a name, the field (shape…) to infer, at the problem's example, and its compressor from the study's folder, trained
    /// in as many rounds as the problem wants.
    let subject options progress name =
        let problem = Study.problem options name

        let field = Study.example options problem
        let rounds = Study.refit options progress problem (field.unsqueeze 0L)
        problem, (List.last rounds).Compressor, field

    /// Each method and seed has a folder of its own.
    let private simulating settings (problem: Problem) (name: string) (seed: uint64) : SimulationSettings =
        { SimulationSettings.Default with
            Chunk = 250
            Folder = Some(Path.Combine(settings.Folder, $"{problem.Simulator.Name}-{name}-{seed}"))
            Progress = settings.Progress }

    /// DELFI's run of a seed.
    let delfi settings (problem: Problem) compressor field seed =
        let compression = Infer.compression compressor

        Delfi.run
            { DelfiSettings.Default with
                Rounds = settings.Delfi
                Settled = 0.0
                Simulations = simulating settings problem "delfi" seed
                Seed = seed }
            problem.Simulator
            (Compression.summaries compression)
            problem.Prior
            [| [| Compression.ofField compression field |] |]

    /// The runs of all methods for one field (shape…).
    let run settings (problem: Problem) compressor (field: Tensor) : BudgetPoint list =
        if settings.Abc.IsEmpty || settings.Seeds.IsEmpty then
            raise (SettingException("simulation budget", "at least one budget and one seed", "none"))

        let exact = ExactAnswer.posterior problem.Exact problem.Prior field
        let compression = Infer.compression compressor |> Compression.about [ field ]
        let compress = Compression.summaries compression

        let metric seed =
            Compression.metric seed problem.Simulator compression

        let observed = Compression.ofField compression field

        let point name seed simulations posterior =
            compare name seed simulations settings.C2stSamples exact posterior

        let abc name kept (template: AbcSettings) seed =
            let fisher = metric seed

            [ for n in settings.Abc do
                  let result =
                      Abc.run
                          { template with
                              Budget = n
                              Simulations = simulating settings problem kept seed
                              Seed = seed }
                          problem.Simulator
                          compress
                          fisher
                          problem.Prior
                          observed

                  point name seed result.Simulations result.Posterior ]

        let pmc name seed =
            let result =
                PopulationMonteCarlo.run
                    { PmcSettings.Default with
                        Budget = List.last settings.Abc
                        Regression = false
                        Simulations = simulating settings problem "pmc" seed
                        Seed = seed }
                    problem.Simulator
                    compress
                    (metric seed)
                    problem.Prior
                    observed

            [ for g in result.Generations -> point name seed g.Simulations g.Posterior ]

        [ for seed in settings.Seeds do
              yield! abc methods[0] "abc" AbcSettings.Published seed
              yield! abc methods[1] "focused" AbcSettings.Default seed
              yield! pmc methods[2] seed

              for round in (delfi settings problem compressor field seed).Rounds do
                  point methods[3] seed round.Simulations round.Posteriors[0] ]

    /// The curve of a method in one measure: at each place in its sequence (budget, population or round) the mean number of simulations
    /// over the seeds, and the least, the mean and the largest value. Populations that not all seeds reached are left out.
    let curve name (measure: BudgetPoint -> float) (points: BudgetPoint list) =
        let bySeed =
            points
            |> List.filter (fun p -> p.Method = name)
            |> List.groupBy _.Seed
            |> List.map snd

        let shortest = bySeed |> List.map List.length |> List.min

        [| for i in 0 .. shortest - 1 ->
               let here = bySeed |> List.map (List.item i)
               let values = here |> List.map measure

               {| Simulations = here |> List.averageBy (fun p -> float p.Simulations)
                  Low = List.min values
                  Middle = List.average values
                  High = List.max values |} |]

    /// A panel of the curves of methods in one measure, of some points.
    let panel methods points title logarithmic ideal measure : BandPanel =
        { Title = title
          Logarithmic = logarithmic
          Ideal = ideal
          Curves =
            [ for name in methods do
                  let curve = curve name measure points

                  { Name = name
                    X = curve |> Array.map _.Simulations
                    Low = curve |> Array.map _.Low
                    Middle = curve |> Array.map _.Middle
                    High = curve |> Array.map _.High } ] }

    /// All points as JSON, by method.
    let report (points: BudgetPoint list) =
        let point p =
            Report.fields
                [ "seed", Report.value p.Seed
                  "simulations", Report.value p.Simulations
                  "areaRatio", Report.value p.AreaRatio
                  "shift", Report.value p.Shift
                  "c2st", Report.value p.C2st ]

        points
        |> List.groupBy _.Method
        |> List.map (fun (name, own) -> name, JsonArray(own |> List.map point |> Array.ofList) :> JsonNode)
        |> Report.fields
