module Program

open Expecto
open FieldImnn.Core.Runtime

/// Every list of tests; those that take longest are taken first, so that processes that share them end at about the same time.
/// Lazy: where this program does something else, none is made.
let private lists =
    lazy
        [ CommandTests.tests
          CorrelatedLogNormalTests.tests
          LogNormalExactTests.tests
          HamiltonianTests.tests
          LatentMapsTests.tests
          SlurmTests.tests
          PackTests.tests
          CampaignTests.tests
          CampaignDamageTests.tests
          LocalStatisticsTests.tests
          StudyTests.tests
          DeviceTests.tests
          DocsTests.tests
          PaperTests.tests
          ExactTests.tests
          BitsTests.tests
          FeaturesTests.tests
          OwnFeaturesTests.tests
          ChannelTests.tests
          UniverseTests.tests
          CacheTests.tests
          NeuralRobustnessTests.tests
          NativeTests.tests
          LongRunTests.tests
          ResumeTests.tests
          RuntimeTests.tests
          StoreTests.tests
          PosteriorFileTests.tests
          PriorTests.tests
          AutodiffTests.tests
          AutodiffVocabularyTests.tests
          FieldTests.tests
          ExactAnswerTests.tests
          SpectraTests.tests
          CorrelatedMapsTests.tests
          DenseFieldTests.tests
          TransformedFieldTests.tests
          CosmologyTests.tests
          LensingSpectraTests.tests
          WeakLensingTests.tests
          LogNormalTests.tests
          NetworkTests.tests
          ImnnTests.tests
          LinearLayerTests.tests
          CountsTests.tests
          LooksTests.tests
          SelectionTests.tests
          DoorTests.tests
          FailureTests.tests
          StoredTests.tests
          StoredInferenceTests.tests
          SlicesTests.tests
          Hdf5Tests.tests
          ExternalProgramTests.tests
          MalformedEntryTests.tests
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
          PosteriorProperties.tests
          MalformedInferenceTests.tests
          LogNormalCompressionTests.tests
          FlowTests.tests
          DelfiTests.tests
          WhiteningTests.tests
          PopulationTests.tests
          RegressionTests.tests
          EdgeTests.tests
          DiagnosticsTests.tests
          PlotTests.tests
          TicksTests.tests
          FieldPlotTests.tests
          InferencePlotTests.tests
          WritingTests.tests
          CultureTests.tests
          ModelTests.tests
          OutputTests.tests
          RunLogTests.tests
          ApiTests.tests
          SharingTests.tests ]

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
    | [ first; name; folder ] when first = ResumeTests.argument -> ResumeTests.perform name folder
    | [ first; folder ] when first = ExternalProgramTests.hanging -> ExternalProgramTests.hang folder
    | [ first; folder ] when first = ApiTests.argument -> ApiTests.write folder
    | first :: rest when first = CampaignSupport.argument -> CampaignSupport.command rest
    | [ first; name; device ] when first = DeviceTests.argument -> DeviceTests.run name device
    | [ first ] when first = Sharing.namesArgument -> Sharing.print lists.Value
    | first :: folder :: rest when first = Sharing.argument -> Sharing.run folder rest lists.Value
    | _ -> runTestsWithCLIArgs [] argv (Sharing.suite lists.Value)
