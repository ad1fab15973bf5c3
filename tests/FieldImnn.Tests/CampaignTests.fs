/// Campaigns: the same bits from a campaign as without one, fields or summaries.
module CampaignTests

open System
open System.Diagnostics
open System.IO
open System.Threading
open CampaignSupport
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Random
open KnownPosterior
open TestSupport
open TorchSharp

let private sameBits =
    [ tensorTest
          "fields and derivatives of a campaign are those of the simulator, to the bit, however they were made"
          (fun () ->
              inFolder (fun folder ->
                  let known = filled folder 12
                  let reader = joined (CampaignSettings.In folder)
                  let simulator = Campaign.simulator reader
                  let found = fields simulator 12
                  Expect.equal found.dtype known.dtype "type"
                  Expect.isTrue (found.Equals known) "fields"
                  Expect.equal (Campaign.used reader).Found 12 "all were there"
                  Expect.isTrue ((fields simulator 20).Equals(fields universe 20)) "some there, some made now"
                  Expect.equal (Campaign.used reader).Made 8 "eight more"
                  let at = Tensors.ofVector [| 1.0; 0.2 |]

                  for derivatives, counts in [ Autodiff, (3, 2); FiniteDifference [| 0.01; 0.02 |], (15, 10) ] do
                      let ask simulator n =
                          let struct (d, t) = Simulator.withDerivatives simulator derivatives at (keys n)
                          Tensors.toArray d, Tensors.toArray t

                      let writer = joined (adding folder)
                      ask (Campaign.simulator writer) 3 |> ignore
                      let reader = joined (CampaignSettings.In folder)
                      Expect.equal (ask (Campaign.simulator reader) 5) (ask universe 5) $"%A{derivatives}"
                      let used = Campaign.used reader
                      Expect.equal (used.Found, used.Made) counts "found, made"))

      tensorTest "noise and masks go on a campaign's simulator" (fun () ->
          inFolder (fun folder ->
              filled folder 6 |> ignore
              let simulator = joined (CampaignSettings.In folder) |> Campaign.simulator
              let seen = Observation.noisy (White 0.3)
              Expect.isTrue ((fields (seen simulator) 6).Equals(fields (seen universe) 6)) "noise"))

      testCase "training and the methods take what was planned from a campaign, and come to the same bits" (fun () ->
          inFolder (fun folder ->
              let known = narrow
              let delfi = { delfi with Rounds = [ 200; 200 ] }

              let npe =
                  { NpeSettings.Default with
                      Budget = 200
                      Draws = 500
                      Estimator = delfi.Estimator }

              let pmc =
                  { PmcSettings.Default with
                      Population = 50
                      Budget = 400 }

              let abc =
                  { AbcSettings.Default with
                      Proposal = FromPrior
                      Budget = 400 }

              let compression =
                  { Parameters = known.Prior.Names
                    Fiducial = [| 0.0; 0.0 |]
                    Information = known.Fisher
                    Estimates = Tensors.toRows
                    Unlike = None
                    Further = None
                    Edges = [] }

              let plan =
                  [ Abc.planned abc known.Prior
                    PopulationMonteCarlo.planned pmc known.Prior
                    NeuralPosterior.planned npe known.Prior
                    Method.plannedDelfi delfi known.Prior ]

              for i in 1..3 do
                  Campaign.join (adding folder) known.Prior known.Simulator
                  |> Shard.fill Progress.silent 30 { Number = i; Of = 3 } plan

              let results simulator =
                  let compress = Tensors.toRows
                  let learned = NeuralPosterior.learn npe simulator compress known.Prior

                  [ "abc", (Abc.run abc simulator compress known.Fisher known.Prior observed).Posterior
                    "npe", NeuralPosterior.posterior learned observed
                    "pmc",
                    (PopulationMonteCarlo.run pmc simulator compress known.Fisher known.Prior observed).Posterior
                    "delfi",
                    (Method.delfi delfi (Model.create simulator known.Prior) compression [ Tensors.ofVector observed ])
                        .Head.Posterior ]

              let campaign =
                  Campaign.join (CampaignSettings.In folder) known.Prior known.Simulator

              for (name, plain), (_, taken) in
                  List.zip (results known.Simulator) (results (Campaign.simulator campaign)) do
                  Expect.equal taken.Samples plain.Samples $"samples of {name}"
                  Expect.equal taken.Weights plain.Weights $"weights of {name}"

              let planned = plan |> List.sumBy _.Count
              Expect.isGreaterThanOrEqual (Campaign.used campaign).Found planned "all that was planned was asked for"))

      tensorTest "training takes all but its door's simulations from a campaign, and is the same" (fun () ->
          inFolder (fun folder ->
              let fiducial = Prior.median prior
              let plan = TrainingPlan.create settings universe fiducial
              joined (adding folder) |> Shard.fill Progress.silent 50 Shard.whole plan
              let reader = joined (CampaignSettings.In folder)
              let taken = Imnn.train settings (Campaign.simulator reader) fiducial
              let plain = Imnn.train settings universe fiducial
              Expect.equal taken.Fisher plain.Fisher "F"
              Expect.equal taken.Linear plain.Linear "layer"
              let used = Campaign.used reader
              Expect.equal used.Found 700 "all that the plan has"
              Expect.isLessThan used.Made 60 $"{used.Made} of the door"))

      tensorTest "and where few of them have derivatives, these and no others" (fun () ->
          inFolder (fun folder ->
              let settings =
                  { settings with
                      Fit = 1500
                      MeasureDerivatives = 100 }

              let fiducial = Prior.median prior
              let plan = TrainingPlan.create settings universe fiducial

              let count differentiated =
                  plan
                  |> List.filter (fun p -> p.Derivatives.IsSome = differentiated)
                  |> List.sumBy _.Count

              Expect.equal (count true) 200 "100 to fit and 100 to quote"
              Expect.equal (count false) 1600 "the others"
              joined (adding folder) |> Shard.fill Progress.silent 50 Shard.whole plan
              let reader = joined (CampaignSettings.In folder)
              let taken = Imnn.train settings (Campaign.simulator reader) fiducial
              Expect.equal taken.Fisher (Imnn.train settings universe fiducial).Fisher "F"
              let used = Campaign.used reader
              Expect.equal used.Found 1800 "all that the plan has"
              Expect.isLessThan used.Made 60 $"{used.Made} of the door"))

      tensorTest "a network with weights, too, its steps among it" (fun () ->
          let trained =
              { settings with
                  Features = Features.bandPower 3
                  MinIterations = 2
                  MaxIterations = 2
                  Simulations = 40
                  DerivativeSimulations = 30
                  HeldOut = 60 }

          let filter =
              { trained with
                  Features = Features.filterBank 2 3 1 }

          let count s =
              TrainingPlan.create s universe (Prior.median prior) |> List.sumBy _.Count

          Expect.equal (count filter) (2 * 40 + 60 + 700) "steps, those that choose, F"
          Expect.equal (count trained) 700 "nothing to train") ]

let private studies =
    [ tensorTest "a study takes its problem's simulations from a campaign, and adds to it" (fun () ->
          inFolder (fun folder ->
              let own = Path.Combine(folder, "campaign")

              let problem words =
                  Study.problem
                      (StudyOptions.read folder ([| "--campaign"; own |] |> Array.append words))
                      "correlated-log-normal"

              refuses<StoreException> [ own; "nothing of that name" ] (fun () -> problem [||] |> ignore)

              let made (problem: Problem) =
                  Simulator.fields problem.Simulator (Tensors.ofVector problem.Fiducial) (keys 4)

              let added = made (problem [| "--add-to-campaign" |])
              Expect.hasLength (recordFiles own) 1 "kept"
              Expect.isTrue ((made (problem [||])).Equals added) "found"
              let plain = CorrelatedLogNormal.create 20
              Expect.isTrue ((made plain).Equals added) "and the same as ever")) ]

let private summaries =
    [ tensorTest
          "summaries that are kept in place of fields come to the same bits, from any number of shards"
          (fun () ->
              inFolder (fun folder ->
                  let compressor = Imnn.train settings universe (Prior.median prior)
                  let compression = Infer.compression compressor

                  let abc =
                      { AbcSettings.Default with
                          Budget = 600 }

                  let model = Model.create universe prior
                  let field = Simulator.field universe [| 1.1; 0.3 |] 3UL

                  let run method =
                      (Infer.by "abc" method model compressor field).Posterior

                  for i in 1..2 do
                      Campaign.join (adding folder) prior (Summarised.simulator compression universe)
                      |> Shard.fill Progress.silent 40 { Number = i; Of = 2 } [ Abc.planned abc prior ]

                  let mutable joined = []

                  let stored =
                      run (
                          Summarised.method
                              (fun summaries ->
                                  let campaign = Campaign.join (CampaignSettings.In folder) prior summaries
                                  joined <- campaign :: joined
                                  Campaign.simulator campaign)
                              (Method.abc abc)
                      )

                  let made = run (Summarised.method id (Method.abc abc))
                  Expect.equal stored.Samples made.Samples "samples"
                  Expect.equal stored.Weights made.Weights "weights"
                  Expect.isGreaterThanOrEqual (Campaign.used joined.Head).Found 75 "the first pilot was there"
                  let plain = run (Method.abc abc)
                  close 1e-4 (Posterior.mean stored) (Posterior.mean plain) "and are those of fields, up to rounding"

                  Expect.isLessThan
                      (recordFiles folder |> Array.sumBy (fun path -> FileInfo(path).Length))
                      12_000L
                      "they are small")) ]

let tests = testSequenced <| testList "campaigns" (sameBits @ studies @ summaries)
