module Program

open Expecto

[<EntryPoint>]
let main argv =
    // the tests of equal bits run this program again, under other instruction sets
    if Array.tryHead argv = Some BitsTests.argument then
        BitsTests.printAll argv[1..]
    else

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
              BitsTests.tests
              CorrelatedLogNormalTests.tests
              HamiltonianTests.tests
              NetworkTests.tests
              ImnnTests.tests
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
