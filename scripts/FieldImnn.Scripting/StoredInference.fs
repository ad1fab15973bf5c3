namespace FieldImnn

open System
open System.Diagnostics
open System.Globalization
open System.IO
open Argu
open FieldImnn.Core

/// What the command line of an inference from simulations made elsewhere asks for.
type StoredArguments =
    | [<Mandatory>] Simulations of path: string
    | [<Mandatory>] Field of path: string
    | [<Mandatory>] Prior of string
    | [<Mandatory>] Out of folder: string
    | Axes of string
    | Channels
    | Method of string
    | Seed of uint64
    | Device of string
    | Skip_Failures of part: float
    | Formats of string
    | Watch

    interface IArgParserTemplate with
        member argument.Usage =
            match argument with
            | Simulations _ ->
                "the set: a folder, an HDF5 file or a .npz file with arrays theta and fields, and fiducial, fiducial_fields and derivatives (or plus, minus and step) where there are some; docs/simulations.md."
            | Field _ -> "the observed field, .npy, .npz or HDF5 with one array, of the shape of the set's fields."
            | Prior _ ->
                "the prior that the parameters of the set were drawn from: uniform, \"Ω_c 0.1 0.5, σ8 0.6 1.0\", names in the order of theta's columns."
            | Out _ ->
                "the folder for posterior.csv, summary.json, field.npy, corner.html, corner.png and compressor.imnn."
            | Axes _ ->
                "letters of the fields' axes in the files, where simulations are not first: n simulations, c channels, x y z sides, such as xyn."
            | Channels -> "the first axis of a field is that of channels, and no side."
            | Method _ ->
                "npe (default): neural posterior; delfi: neural likelihood, in one round; abc: the nearest simulations, with regression; gaussian: the Gaussian approximation, which needs no pairs but derivatives."
            | Seed _ -> "seed of the training and the inference (default 1)."
            | Device _ -> "where features are computed: cpu (default), cuda, cuda:1, mps."
            | Skip_Failures _ ->
                "leaves out simulations that are NaN or infinite, and counts them, up to this part of all (default: the first of them stops everything)."
            | Formats _ ->
                "further files of the posterior, with commas between them: npz (NumPy), hdf5, getdist (.txt with .paramnames and .ranges), netcdf (ArviZ)."
            | Watch ->
                "writes OUT/watch.html, a page that draws the run anew every few seconds while it is open in a browser."

/// From a set of simulations made elsewhere and an observed field to a posterior.
module StoredInference =
    /// A uniform prior of its text: names with their bounds, commas between them.
    let prior (text: string) : Prior =
        let refuse (came: string) =
            raise (SettingException("--prior", "\"NAME LOW HIGH, NAME LOW HIGH\" with LOW < HIGH", came))

        [ for part in text.Split([| ','; ';' |], StringSplitOptions.RemoveEmptyEntries) do
              let number (word: string) =
                  match Double.TryParse(word, NumberStyles.Float, CultureInfo.InvariantCulture) with
                  | true, v -> v
                  | _ -> refuse part

              match part.Split([| ' '; '\t' |], StringSplitOptions.RemoveEmptyEntries) with
              | [| name; low; high |] -> name, number low, number high
              | _ -> refuse part ]
        |> function
            | [] -> refuse text
            | parameters -> Prior.uniform parameters

    /// A simulator of these fields that nobody can run.
    let private elsewhere (prior: Prior) (shape: int64[]) channels path : Simulator =
        let none () =
            raise (
                NotServedException(
                    $"simulations of {path}",
                    "a method that does with those that there are: npe, delfi, abc, or gaussian with derivatives",
                    "one that asks for new simulations"
                )
            )

        let simulator =
            Simulator.create
                (Path.GetFileNameWithoutExtension(Path.TrimEndingDirectorySeparator(path: string)))
                (List.ofArray prior.Names)
                (shape |> Array.map int |> List.ofArray)
                [ 1 ]
                (fun _ _ -> none ())

        if channels then
            Simulator.withChannels simulator
        else
            simulator

    /// The observed field (shape…), checked; axes of length one in front are dropped.
    let private observed (path: string) : Tensor =
        let array =
            if path.EndsWith(".npy", StringComparison.OrdinalIgnoreCase) then
                Npy.read path
            else
                match SliceFiles.names path with
                | [ one ] when path.EndsWith(".npz", StringComparison.OrdinalIgnoreCase) ->
                    Npz.read path |> Npz.array path one
                | [ one ] -> Hdf5.read path one
                | several ->
                    let listed = String.concat ", " several
                    raise (StoreException(path, "one array", (if listed = "" then "none" else listed)))

        let shape = array.Shape |> Array.skipWhile ((=) 1)

        array
        |> ObservedField.ofArray path (if shape.Length = 0 then array.Shape else shape)
        |> ObservedField.requireVariation path
        |> ObservedField.toTensor

    let private requireShape path (field: Tensor) (fields: Slices) =
        if fields.Shape <> field.shape then
            raise (
                ShapeException(
                    $"observed field {path}",
                    $"shape {Guard.Describe fields.Shape}, as of {fields.Name}",
                    Guard.Describe field.shape
                )
            )

    /// The part of simulations at the fiducial that is held out: features have nothing to train but a layer, which is fitted there.
    let private heldOut = 0.8

    /// The settings of the training, and where the information comes from: derivatives, or regression on half of the pairs.
    let private settings (arguments: ParseResults<StoredArguments>) progress (set: SimulationSet) =
        let settings =
            { ImnnSettings.Default with
                Seed = arguments.GetResult(Seed, 1UL)
                Device = Device.named (arguments.GetResult(Device, "cpu"))
                Progress = progress }

        match set.AtFiducial with
        | Some(_, stored) ->
            let training, held = SimulationSet.split heldOut stored

            { settings with
                Simulations = min settings.Simulations training.Fields.Count
                DerivativeSimulations = 1
                Derivatives = Precomputed(training, held) }
        | None -> settings

    let private half first (pairs: Pairs) =
        let places =
            [| 0 .. pairs.Theta.Length - 1 |] |> Array.filter (fun i -> (i % 2 = 0) = first)

        { pairs with
            Theta = places |> Array.map (fun i -> pairs.Theta[i])
            Fields = Slices.pick places pairs.Fields }

    /// The pairs within the prior in two: those that a regression learns from, all finite, and those that the inference learns from.
    let halves prior (pairs: Pairs) : Pairs * Pairs =
        let all = Pairs.within prior pairs
        Pairs.finite (half true all), half false all

    /// A compressor trained on the set, by derivatives where it has some, else by regression on every other pair; and the pairs left.
    let private compressor
        out
        (settings: ImnnSettings)
        (model: Model)
        (set: SimulationSet)
        (pairs: Pairs option)
        field
        =
        match set.AtFiducial, pairs with
        | Some(theta, stored), _ ->
            let theta = Prior.require "fiducial parameters of the set" model.Prior theta

            printfn
                $"compressor: IMNN, trained with {stored.FieldDerivatives.Count} derivatives at {Outcome.at model theta}"

            Cache.trainOrLoad
                (Path.Combine(out, "compressors"))
                [ "training", "IMNN" ]
                settings
                model.Simulator
                None
                theta,
            pairs
        | None, Some all ->
            let learning, rest = halves model.Prior all

            printfn
                $"compressor: regression of the parameters on the features of {learning.Theta.Length} simulations (there are no derivatives)"

            Regression.trainFor settings model.Simulator learning.Theta learning.Fields field, Some rest
        | None, None -> failwith "a set has pairs or a fiducial"

    let private names = [ "npe"; "delfi"; "abc"; "gaussian" ]

    let private methodOf (arguments: ParseResults<StoredArguments>) path progress out (pairs: Pairs option) =
        let name = arguments.GetResult(Method, (if pairs.IsSome then "npe" else "gaussian"))
        let seed = arguments.GetResult(Seed, 1UL)

        let simulations =
            { SimulationSettings.Default with
                Folder = Some(Path.Combine(out, "simulations"))
                Progress = progress }

        let require () =
            match pairs with
            | Some pairs -> pairs
            | None ->
                raise (
                    NotServedException(
                        $"method {name} with {path}",
                        "pairs of parameters and fields, arrays 'theta' and 'fields' (or gaussian, which needs derivatives only)",
                        "simulations at the fiducial point alone"
                    )
                )

        match name with
        | "npe" ->
            name,
            Pairs.npe
                { NpeSettings.Default with
                    Seed = seed
                    Simulations = simulations }
                (require ())
        | "delfi" ->
            name,
            Pairs.delfi
                { DelfiSettings.Default with
                    Seed = seed
                    Simulations = simulations }
                (require ())
        | "abc" ->
            let pairs = require ()

            name,
            Pairs.abc
                { AbcSettings.Default with
                    Seed = seed
                    Acceptance = Nearest(min 1.0 (max 0.02 (400.0 / float pairs.Theta.Length)))
                    Simulations = simulations }
                pairs
        | "gaussian" -> name, Method.gaussian
        | "pmc" ->
            raise (
                NotServedException(
                    $"method pmc with {path}",
                    String.concat ", " names,
                    "population Monte Carlo, every generation of which asks for new simulations"
                )
            )
        | other -> raise (SettingException("method", String.concat ", " names, other))

    /// A Gaussian about a regression is that of θ all over the prior, and none of one field.
    let private requireDerivatives name (set: SimulationSet) =
        if name = "gaussian" && set.AtFiducial.IsNone then
            raise (
                NotServedException(
                    "method gaussian",
                    "a set with derivatives at a fiducial point",
                    "pairs alone: npe, delfi and abc do with these"
                )
            )

    let private skipping (arguments: ParseResults<StoredArguments>) simulator =
        match arguments.TryGetResult Skip_Failures with
        | None -> simulator
        | Some part -> Simulator.skippingFailures part simulator

    let private load (arguments: ParseResults<StoredArguments>) progress =
        let path = arguments.GetResult Simulations
        let prior = prior (arguments.GetResult Prior)
        let field = observed (arguments.GetResult Field)
        let rank = int (field.dim ())
        let set = SimulationSet.read prior.Names rank (arguments.TryGetResult Axes) path

        let fields =
            [ yield! set.Pairs |> Option.map snd |> Option.toList
              yield! set.AtFiducial |> Option.map (fun (_, s) -> s.Fields) |> Option.toList ]

        fields |> List.iter (requireShape (arguments.GetResult Field) field)

        let simulator =
            elsewhere prior field.shape (arguments.Contains Channels) path
            |> skipping arguments

        let pairs =
            set.Pairs
            |> Option.map (fun (theta, fields) ->
                { Theta = theta
                  Fields = fields
                  Failures = simulator.Failures
                  Progress = progress })

        field, set, pairs, Model.create simulator prior

    let private run (arguments: ParseResults<StoredArguments>) =
        let clock = Stopwatch.StartNew()
        let out, path = arguments.GetResult Out, arguments.GetResult Simulations
        use _ = Files.hold out
        let progress = Watched.progress (arguments.Contains Watch) out
        let files = Outcome.files (arguments.TryGetResult Formats)
        let field, set, pairs, model = load arguments progress
        requireDerivatives (fst (methodOf arguments path progress out pairs)) set
        let settings = settings arguments progress set
        Outcome.writeField out field
        let compressor, left = compressor out settings model set pairs field
        progress.Cancellation.ThrowIfCancellationRequested()
        CompressorFile.save (Path.Combine(out, "compressor.imnn")) compressor
        let name, method = methodOf arguments path progress out left
        let result = Infer.by name method model compressor field
        Outcome.tell progress result
        ConsoleProgress.finish ()
        let training = compressor.Notes["training"]

        { Model = model
          Notes = [ "problem", model.Simulator.Name ]
          Files = files
          Truth = None
          Told =
            [ "training", Report.value training
              yield! Outcome.failures model
              "prior", Report.prior model.Prior ]
          Settings =
            [ "method", Report.value name
              "training",
              (if Regression.isOne compressor then
                   Provenance.regression settings
               else
                   Provenance.training settings) ]
          Seed = arguments.GetResult(Seed, 1UL)
          Device = arguments.GetResult(Device, "cpu")
          Seconds = clock.Elapsed.TotalSeconds }
        |> Outcome.write out result

        Outcome.print model result

    /// Whether arguments ask for an inference from simulations made elsewhere.
    let isAsked (arguments: string seq) = Seq.contains "--simulations" arguments

    /// Runs the command with its arguments: what docs/outputs.md lists, in --out.
    let runCommand program (arguments: string[]) =
        ArgumentParser.Create<StoredArguments>(programName = program).Parse arguments
        |> run
