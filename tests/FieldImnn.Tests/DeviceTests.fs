/// Every tensor follows the device of the settings: everything runs on the shadow device in a child process (ShadowDevice.fs), where an
/// operation between devices is refused, and gives the numbers of the CPU.
module DeviceTests

open System
open System.Diagnostics
open System.IO
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Fields
open TestSupport
open TorchSharp

/// The argument that makes the test program a child: the name of a run behind it, and of a device.
let argument = "--device-run"

let private settings device features =
    { ImnnSettings.Default with
        Features = features
        Simulations = 60
        DerivativeSimulations = 40
        MinIterations = 2
        MaxIterations = 2
        EvaluateEvery = 1
        HeldOut = 120
        Fit = 120
        Quote = 120
        Device = device }

let private show name (values: float seq) =
    let text = values |> Seq.map (fun v -> v.ToString "R") |> String.concat " "
    printfn $"{name}: {text}"

/// Simulations, a training and a compressor, saved, read and moved, in one line.
let private train device name features loss (simulator: Simulator) fiducial (derivatives: Derivatives) =
    let compressor =
        Imnn.train
            { settings device features with
                Loss = loss
                Derivatives = derivatives }
            simulator
            fiducial

    let theta = Tensors.ofRows (Array.replicate 3 fiducial)
    let keys = Random.NoiseKey.Range(9UL, 0UL, 3)
    let fields = Simulator.fields (Simulator.on device simulator) theta keys
    Expect.equal fields.device_type device.``type`` $"{name}: fields"
    let summaries = Compressor.summaries compressor fields
    Expect.equal summaries.device_type device.``type`` $"{name}: summaries"
    let estimates = Compressor.estimates compressor fields |> Array.concat

    inFolder (fun folder ->
        let path = Path.Combine(folder, "compressor.imnn")
        CompressorFile.save path compressor
        let read = CompressorFile.loadOn device path
        Expect.equal (Compressor.estimates read (fields.cpu ()) |> Array.concat) estimates $"{name}: read again"
        let back = Compressor.on Device.cpu read
        Expect.equal (Compressor.summaries back fields).device_type DeviceType.CPU $"{name}: moved to the CPU")

    show name (Seq.append (compressor.Fisher.Enumerate()) estimates)
    compressor

/// A simulator of one's own whose constant stays on the CPU.
let private planted =
    let constant = torch.linspace (1.0, 2.0, 8L) |> Tensors.keep

    Simulator.create "planted" [ "a" ] [ 8; 8 ] [ 8; 8 ] (fun theta noise ->
        theta.``to`` torch.float32 * constant + noise)

let private runs: (string * (torch.Device -> unit)) list =
    let small = PowerLaw.create 16 ModeConvention.Ideal

    [ "features",
      (fun device ->
          let part = Features.bandPower 4

          for name, features in
              [ "filter bank", Features.filterBank 2 3 2
                "inception", Features.inception 2
                "band power", part
                "correlation", Features.correlation 4
                "logarithm", Features.ofTransform "asinh" part
                "beside", Features.beside [ part; Features.filterBank 2 3 1 ]
                "own",
                Features.own "device test" 2 (fun d ->
                    let d = d.flatten 1L
                    torch.stack ([| d.square().mean [| 1L |]; (d * d.roll (1L, 1L)).mean [| 1L |] |], 1L)) ] do
              train device name features ClosedForm small.Simulator small.Fiducial Autodiff
              |> ignore

          // more than one chunk: the gradient goes through each by itself
          let chunked =
              Imnn.train
                  { settings device (Features.inception 2) with
                      Chunk = 25 }
                  small.Simulator
                  small.Fiducial

          show "chunks" (chunked.Fisher.Enumerate())

          let again =
              Imnn.trainFrom (Some chunked) (settings device (Features.inception 2)) small.Simulator [| 0.9; 0.55 |]

          show "from earlier weights" (again.Fisher.Enumerate())

          train
              device
              "published loss"
              (Features.inception 2)
              (Regularised(10.0, 0.1))
              small.Simulator
              small.Fiducial
              (FiniteDifference [| 0.05; 0.05 |])
          |> ignore)

      "universes",
      (fun device ->
          for convention in [ ModeConvention.Ideal; ModeConvention.Published ] do
              let matter = DarkMatter.create 16 convention

              train
                  device
                  $"dark matter {convention}"
                  (Features.ofLogarithm (Features.bandPower 4))
                  ClosedForm
                  matter.Simulator
                  matter.Fiducial
                  Autodiff
              |> ignore

          let correlated = CorrelatedLogNormal.create 8
          let axis = (CorrelatedLogNormal.training correlated.Fiducial).Features

          train device "correlated" axis ClosedForm correlated.Simulator correlated.Fiducial Autodiff
          |> ignore

          // several maps, and a field behind a local transform
          let maps =
              CorrelatedMaps.create
                  { Parameters = [| "a"; "r" |]
                    Maps = 2
                    Power =
                      fun k theta ->
                          let one = (theta.narrow (1L, 0L, 1L)) / k
                          let two = one * theta.narrow (1L, 1L, 1L)
                          torch.stack ([| torch.stack ([| one; two |], 1L); torch.stack ([| two; one |], 1L) |], 1L) }
                  (FourierGrid(2, 16, 16.0))

          let simulator = CorrelatedMaps.simulator "maps" maps

          train device "maps" (Features.bandPower 4) ClosedForm simulator [| 1.0; 0.5 |] Autodiff
          |> ignore

          let behind =
              SpectrumField.create PowerLaw.spectrum (FourierGrid(2, 16, 16.0)) ModeConvention.Ideal
              |> TransformedField.create LocalTransform.sinhArcsinh
              |> TransformedField.simulator "behind"

          train device "transformed" (Features.bandPower 4) ClosedForm behind [| 1.0; 0.5; 0.3; 0.8 |] Autodiff
          |> ignore

          let mask = torch.ones (16L, 16L)
          mask[0] <- 0.0f.ToTensor()

          let seen =
              small.Simulator |> Observation.noisy (White 0.1) |> Observation.masked mask

          train device "observed" (Features.bandPower 4) ClosedForm seen small.Fiducial Autodiff
          |> ignore

          // a stored set on the CPU
          let set seed : StoredSimulations =
              let struct (d, t) =
                  Simulator.withDerivatives
                      small.Simulator
                      Autodiff
                      (Tensors.ofVector small.Fiducial)
                      (Random.NoiseKey.Range(seed, 0UL, 200))

              StoredSimulations.ofTensors d t

          train
              device
              "stored"
              (Features.bandPower 4)
              ClosedForm
              small.Simulator
              small.Fiducial
              (Precomputed(set 5UL, set 6UL))
          |> ignore)

      "inference",
      (fun device ->
          let model = small.Model

          let compressor =
              train device "compressor" (Features.bandPower 4) ClosedForm small.Simulator small.Fiducial Autodiff

          let field = Simulator.field (Simulator.on device small.Simulator) small.Example 3UL

          for name, method in
              [ "gaussian", Method.gaussian
                "abc",
                Method.abc
                    { AbcSettings.Default with
                        Budget = 400 }
                "npe",
                Method.npe
                    { NpeSettings.Default with
                        Budget = 300
                        Draws = 500 } ] do
              let result = Infer.by name method model compressor field
              show name (Posterior.mean result.Posterior)

          let correlated = CorrelatedLogNormal.create 8

          let recipe =
              { correlated.Recipe with
                  Training = fun _ -> settings device (Features.correlation 3)
                  Rounds = 1 }

          let fields =
              Simulator.fields
                  (Simulator.on device correlated.Simulator)
                  (Tensors.ofVector correlated.Example)
                  (Random.NoiseKey.Range(1UL, 0UL, 1))

          // the cache knows simulations, and gives what it read on the device that is asked for
          inFolder (fun folder ->
              let keep settings earlier fiducial =
                  Cache.trainOrLoad folder [] settings correlated.Simulator earlier fiducial

              for _ in 1..2 do
                  let rounds = Infer.refitBy keep correlated.Model recipe fields
                  Expect.equal rounds[0].Compressor.Device.``type`` device.``type`` "the cache's compressor"
                  show "refit" rounds[0].Estimates[0])

          // simulations that fail are left out, on the device
          let failing =
              { small.Simulator with
                  Name = "failing"
                  Tangents = None
                  Failures = SkipFailures 0.9
                  Field =
                      fun theta noise ->
                          let d = small.Simulator.Field theta noise
                          let bad = d.select(1L, 0L).select(1L, 0L).gt(1.0.ToScalar())
                          d.masked_fill (bad.reshape (-1L, 1L, 1L), nan.ToScalar()) }

          let result =
              Infer.abc
                  { AbcSettings.Default with
                      Budget = 1200 }
                  { model with Simulator = failing }
                  compressor
                  field

          show "failing" (float result.Failed :: List.ofArray (Posterior.mean result.Posterior)))

      "planted in a simulator",
      (fun device ->
          train device "planted" (Features.correlation 3) ClosedForm planted [| 1.0 |] Autodiff
          |> ignore)

      "planted in features",
      (fun device ->
          let constant = torch.linspace (1.0, 2.0, 16L) |> Tensors.keep

          let features =
              Features.own "planted" 1 (fun d -> (d * constant).flatten(1L).mean([| 1L |], true))

          train device "planted" features ClosedForm small.Simulator small.Fiducial Autodiff
          |> ignore) ]

/// The child: runs one of the above on a device, and prints its numbers.
let run (name: string) (device: string) : int =
    use _ = torch.NewDisposeScope()
    let _, work = runs |> List.find (fun (n, _) -> n = name)
    work (torch.device device)
    0

/// What the program of a folder says in a run, and its exit code.
let private child program name device =
    let info =
        ProcessStartInfo(
            "dotnet",
            [ program; argument; name; device ],
            RedirectStandardOutput = true,
            RedirectStandardError = true
        )

    use started = Process.Start info
    let errors = started.StandardError.ReadToEndAsync()
    let output = started.StandardOutput.ReadToEnd()
    started.WaitForExit()
    struct (started.ExitCode, output, errors.Result)

let private onShadow (body: string -> unit) =
    if OperatingSystem.IsLinux() then
        inFolder (fun folder -> body (ShadowDevice.program folder))
    else
        skiptest "the rewritten library is for Linux"

let tests =
    testSequenced
    <| testList
        "device"
        [ for name in [ "features"; "universes"; "inference" ] do
              testCase $"{name}: all on the device of the settings, with the numbers of the CPU" (fun () ->
                  onShadow (fun program ->
                      let struct (code, there, errors) = child program name ShadowDevice.device
                      Expect.equal code 0 errors
                      let struct (_, here, _) = child program name "cpu"
                      Expect.isNonEmpty (there.Trim()) "numbers"
                      Expect.equal there here "numbers of the device, and of the CPU"))

          for name in [ "planted in a simulator"; "planted in features" ] do
              testCase $"a tensor on the CPU, {name}, is caught" (fun () ->
                  onShadow (fun program ->
                      let struct (code, _, errors) = child program name ShadowDevice.device
                      Expect.notEqual code 0 "it fails"
                      Expect.stringContains errors "on the same device" "by name"
                      let struct (_, _, here) = child program name "cpu"
                      Expect.isFalse (here.Contains "on the same device") "and not on the CPU"))

          testCase "devices by name" (fun () ->
              Expect.equal (Device.named "cpu").``type`` DeviceType.CPU "cpu"

              for wrong in [ "gpu"; "meta"; "" ] do
                  refuses<SettingException> [ "device" ] (fun () -> Device.named wrong |> ignore)

              if not (torch.cuda.is_available ()) then
                  refuses<SettingException> [ "device"; "cuda" ] (fun () -> Device.named "cuda" |> ignore)) ]
