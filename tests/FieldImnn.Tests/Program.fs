module Program

open Expecto

[<EntryPoint>]
let main argv =
    testList
        "FieldImnn"
        [ RuntimeTests.tests
          StoreTests.tests
          PriorTests.tests
          AutodiffTests.tests
          FieldTests.tests
          ExactTests.tests
          CosmologyTests.tests
          LogNormalTests.tests
          LogNormalExactTests.tests
          CorrelatedLogNormalTests.tests
          HamiltonianTests.tests
          NetworkTests.tests
          ImnnTests.tests
          DoorTests.tests
          StoredTests.tests
          CacheTests.tests
          ManifestTests.tests
          ReaderPropertyTests.tests
          LeakTests.tests
          ObservationTests.tests
          RefitTests.tests
          InferenceTests.tests
          LogNormalCompressionTests.tests
          FlowTests.tests
          DelfiTests.tests
          PopulationTests.tests
          RegressionTests.tests
          LongRunTests.tests
          DiagnosticsTests.tests
          StudyTests.tests
          PlotTests.tests
          InferencePlotTests.tests
          CommandTests.tests
          PackTests.tests ]
    |> testSequenced
    |> runTestsWithCLIArgs [] argv
