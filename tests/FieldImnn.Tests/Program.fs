module Program

open Expecto
open FieldImnn.Core.Runtime

[<EntryPoint>]
let main argv =
    TorchRuntime.Configure()
    // some tests run this program again: under other instruction sets, or where there is no room for a file
    match List.ofArray argv with
    | first :: rest when first = BitsTests.argument -> BitsTests.printAll (Array.ofList rest)
    | first :: rest when first = NativeTests.argument -> NativeTests.printCollections (Array.ofList rest)
    | first :: rest when first = LeakTests.argument -> LeakTests.printMemory (Array.ofList rest)
    | [ first; path ] when first = WritingTests.argument -> WritingTests.writeFigure path
    | first :: rest when first = ExternalProgramTests.argument -> ExternalProgramTests.simulate rest
    | [ first; folder ] when first = ExternalProgramTests.hanging -> ExternalProgramTests.hang folder
    | [ first; name; device ] when first = DeviceTests.argument -> DeviceTests.run name device
    | _ ->

        testList
            "FieldImnn"
            [ RuntimeTests.tests
              NativeTests.tests
              StoreTests.tests
              PosteriorFileTests.tests
              Hdf5Tests.tests
              PriorTests.tests
              AutodiffTests.tests
              AutodiffVocabularyTests.tests
              FieldTests.tests
              ExactTests.tests
              ExactAnswerTests.tests
              SpectraTests.tests
              CorrelatedMapsTests.tests
              DenseFieldTests.tests
              TransformedFieldTests.tests
              CosmologyTests.tests
              LogNormalTests.tests
              LogNormalExactTests.tests
              BitsTests.tests
              CorrelatedLogNormalTests.tests
              HamiltonianTests.tests
              NetworkTests.tests
              ImnnTests.tests
              FeaturesTests.tests
              LocalStatisticsTests.tests
              SelectionTests.tests
              DoorTests.tests
              FailureTests.tests
              StoredTests.tests
              SlicesTests.tests
              ExternalProgramTests.tests
              MalformedEntryTests.tests
              CacheTests.tests
              ManifestTests.tests
              ReaderPropertyTests.tests
              LeakTests.tests
              ObservationTests.tests
              RefitTests.tests
              InferenceTests.tests
              DensityTests.tests
              GridTests.tests
              SamplerTests.tests
              VerdictTests.tests
              MalformedInferenceTests.tests
              LogNormalCompressionTests.tests
              FlowTests.tests
              DelfiTests.tests
              NeuralRobustnessTests.tests
              WhiteningTests.tests
              PopulationTests.tests
              RegressionTests.tests
              EdgeTests.tests
              LongRunTests.tests
              DiagnosticsTests.tests
              StudyTests.tests
              PlotTests.tests
              TicksTests.tests
              UniverseTests.tests
              FieldPlotTests.tests
              InferencePlotTests.tests
              WritingTests.tests
              CultureTests.tests
              ModelTests.tests
              OutputTests.tests
              StoredInferenceTests.tests
              DocsTests.tests
              CommandTests.tests
              DeviceTests.tests
              PackTests.tests ]
        |> testSequenced
        |> runTestsWithCLIArgs [] argv
