namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Random
open TorchSharp

/// How Hamiltonian Monte Carlo is run.
type HmcSettings =
    {
        /// Chains, all in one tensor.
        Chains: int
        /// Iterations that adapt the step and the masses, and are thrown away.
        Warmup: int
        /// Iterations kept of each chain.
        Draws: int
        /// A trajectory has 1 to this many leapfrog steps, at random, so that none returns to where it began.
        LeapfrogSteps: int
        /// Mean acceptance that the step size is adapted to.
        Acceptance: float
        Seed: uint64
        Progress: Progress
        /// Where the chains keep how far they have come. None keeps nothing.
        Checkpoint: Checkpoint option
    }

    /// 8 chains of 500 + 500 iterations.
    static member Default =
        { Chains = 8
          Warmup = 500
          Draws = 500
          LeapfrogSteps = 20
          Acceptance = 0.8
          Seed = 1UL
          Progress = Progress.silent
          Checkpoint = None }

/// What Hamiltonian Monte Carlo returned, of the quantities that were observed.
type HmcResult =
    {
        /// (chains, draws, quantities).
        Draws: float[][][]
        /// Split R̂ of every quantity.
        RHat: float[]
        /// Effective number of draws of every quantity, for its mean or its variance, whichever is smaller.
        EffectiveSize: float[]
        /// Mean acceptance after the adaptation.
        Acceptance: float
        /// The adapted step, in units of the adapted scales.
        Step: float
        /// Trajectories after the adaptation whose energy error exceeded 1000 or was not finite: any is a sign of trouble.
        Divergent: int
        /// What of this cannot be trusted, in words; empty where nothing is known against it.
        Warnings: string list
    }

/// Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011): the leapfrog integrator with a diagonal mass matrix, the step by dual
/// averaging (Hoffman & Gelman 2014, §3.2), the masses by windows that double (as in Stan).
module HamiltonianMonteCarlo =
    /// What speaks against chains.
    let private warnings (rHat: float[]) (effective: float[]) divergent =
        [ for k in 0 .. rHat.Length - 1 do
              if not (rHat[k] <= 1.05) then
                  FormattableString.Invariant $"chains disagree in quantity {k}: split R̂ = {rHat[k]:F2}"

              if not (effective[k] >= 100.0) then
                  FormattableString.Invariant $"the draws of quantity {k} are worth {effective[k]:F0}"

          if divergent > 0 then
              $"{divergent} trajectories diverged" ]

    let private validate (settings: HmcSettings) (start: Tensor) =
        Guard.AtLeast("chains", 1L, int64 settings.Chains) |> ignore
        Guard.AtLeast("iterations of the warm-up", 0L, int64 settings.Warmup) |> ignore
        Guard.AtLeast("draws", 4L, int64 settings.Draws) |> ignore
        Guard.AtLeast("leapfrog steps", 1L, int64 settings.LeapfrogSteps) |> ignore

        if not (settings.Acceptance > 0.0 && settings.Acceptance < 1.0) then
            raise (SettingException("acceptance to adapt to", "a number between 0 and 1", string settings.Acceptance))

        if start.dim () <> 2L || start.shape[0] <> int64 settings.Chains then
            let came = Guard.Describe start.shape
            raise (ShapeException("starting points", $"shape ({settings.Chains}, dimensions)", came))

        Guard.Finite("starting points", start) |> ignore

    /// The averaging of the step begun anew, for a scale and a state as they are.
    let private begun target seed chains scale (state: Leapfrog.State) iteration guess =
        Tensors.using (fun () ->
            let momentum =
                Noise.Normal(
                    Leapfrog.keys seed chains iteration,
                    [| state.Position.shape[1] |],
                    2u,
                    null,
                    Leapfrog.double
                )

            Adaptation.initial (Leapfrog.reasonable target scale momentum state guess))

    /// How far the chains have come, and how they move.
    type private Running =
        {
            Iteration: int
            State: Leapfrog.State
            Scale: Tensor
            Step: Adaptation.Step
            Seen: Adaptation.Seen
            Accepted: float
            Divergent: int
            /// What was observed of every draw, (draws, chains, quantities).
            Kept: ResizeArray<float[][]>
        }

    /// What a density and what is observed are known by: both where the chains begin and a little beside, so that none of the same value and slope at
    /// one point passes for another.
    let private identity (settings: HmcSettings) target observe (state: Leapfrog.State) =
        use _ = torch.NewDisposeScope()

        let digest (tensors: Tensor list) =
            tensors
            |> List.collect (Tensors.toArray >> List.ofArray)
            |> List.map _.ToString("R")
            |> String.concat " "
            |> Text.digest

        let keys =
            NoiseKey.Range(NoiseKey.SeedFor(settings.Seed, "identity"), 0UL, settings.Chains)

        let away =
            Noise.Normal(keys, [| state.Position.shape[1] |], 0u, null, Leapfrog.double)
            * (1e-3).ToScalar()

        let beside = Leapfrog.at target (state.Position + away)

        [ "seed", string settings.Seed
          "chains", string settings.Chains
          "warm-up", string settings.Warmup
          "draws", string settings.Draws
          "leapfrog steps", string settings.LeapfrogSteps
          "acceptance", string settings.Acceptance
          "starting points", digest [ state.Position ]
          "log densities", digest [ state.Value; beside.Value ]
          "slopes", digest [ state.Slope; beside.Slope ]
          "what is observed", digest [ observe state.Position; observe beside.Position ] ]

    let private save (file: CheckpointFile) running =
        let step = running.Step

        CheckpointFile.write
            file
            [ "position", Tensors.toNpy running.State.Position
              "value", Tensors.toNpy running.State.Value
              "slope", Tensors.toNpy running.State.Slope
              "scale", Tensors.toNpy running.Scale
              "step", Npy.vector [| step.Log; step.Averaged; step.Centre; step.Error; step.Count |]
              "mean", Npy.vector running.Seen.Mean
              "squares", Npy.vector running.Seen.Squares
              "counts",
              Npy.vector
                  [| float running.Iteration
                     running.Seen.Count
                     running.Accepted
                     float running.Divergent
                     float running.Kept.Count |]
              "draws", running.Kept |> Seq.collect (Array.collect id) |> Array.ofSeq |> Npy.vector ]

    /// What was saved of chains that begin at a state, with so many observed quantities; none if there is nothing.
    let private resume (file: CheckpointFile) quantities (state: Leapfrog.State) =
        let chains, d = int state.Position.shape[0], int state.Position.shape[1]

        let read (array: string -> NpyArray) =
            let numbers name count =
                CheckpointFile.numbers file count (array name)

            let like (own: Tensor) name =
                CheckpointFile.tensorLike file own (array name) |> Tensors.keep

            let step, counts = numbers "step" 5, numbers "counts" 5

            { Iteration = int counts[0]
              State =
                { Leapfrog.Position = like state.Position "position"
                  Value = like state.Value "value"
                  Slope = like state.Slope "slope" }
              Scale = numbers "scale" d |> Tensors.ofVector |> Tensors.keep
              Step =
                { Adaptation.Log = step[0]
                  Averaged = step[1]
                  Centre = step[2]
                  Error = step[3]
                  Count = step[4] }
              Seen =
                { Adaptation.Seen.Count = counts[1]
                  Mean = numbers "mean" d
                  Squares = numbers "squares" d }
              Accepted = counts[2]
              Divergent = int counts[3]
              Kept =
                numbers "draws" (int counts[4] * chains * quantities)
                |> Array.chunkBySize quantities
                |> Array.chunkBySize chains
                |> ResizeArray }

        CheckpointFile.explainOthers file
        CheckpointFile.tryRead file read

    /// One more iteration of all chains.
    let private advance (settings: HmcSettings) target observe (renewals: Set<int>) steps running =
        let iteration = running.Iteration + 1
        let warming = iteration <= settings.Warmup
        let seed = NoiseKey.SeedFor(settings.Seed, "hmc")

        let size = exp (if warming then running.Step.Log else running.Step.Averaged)

        let struct (next, mean, lost) =
            Leapfrog.move target running.Scale size steps (Leapfrog.keys seed settings.Chains iteration) running.State

        Progress.report
            settings.Progress
            (if warming then "HMC (warm-up)" else "HMC (sampling)")
            iteration
            (settings.Warmup + settings.Draws)
            [ "acceptance", mean; "stepSize", size ]
            $"acceptance %.2f{mean}, step %.3g{size}"

        let moved =
            { running with
                Iteration = iteration
                State = next }

        if not warming then
            running.Kept.Add(Tensors.using (fun () -> Tensors.toRows (observe next.Position)))

            { moved with
                Accepted = running.Accepted + mean
                Divergent = running.Divergent + lost }
        else
            let step = Adaptation.learn settings.Acceptance mean running.Step
            let seen = Adaptation.add running.Seen (Tensors.toRows next.Position)

            if renewals.Contains iteration then
                let scale =
                    Adaptation.scaleOf (Tensors.toArray running.Scale) seen |> Tensors.ofVector

                { moved with
                    Scale = scale
                    Step = begun target seed settings.Chains scale next iteration (exp step.Averaged)
                    Seen = Adaptation.none seen.Mean.Length }
            else
                { moved with Step = step; Seen = seen }

    /// The result from what was kept of every draw.
    let private finished (settings: HmcSettings) running =
        let draws =
            Array.init settings.Chains (fun c -> running.Kept |> Seq.map (fun rows -> rows[c]) |> Seq.toArray)

        let each (diagnose: float[][] -> float) =
            draws[0][0]
            |> Array.mapi (fun k _ -> draws |> Array.map (Array.map (fun v -> v[k])) |> diagnose)

        let rHat = each ChainDiagnostics.rHat
        let effective = each ChainDiagnostics.effectiveSizeOfMoments

        { Draws = draws
          RHat = rHat
          EffectiveSize = effective
          Acceptance = running.Accepted / float settings.Draws
          Step = exp running.Step.Averaged
          Divergent = running.Divergent
          Warnings = warnings rHat effective running.Divergent }

    let private sample (settings: HmcSettings) (target: Leapfrog.Target) (observe: Tensor -> Tensor) (start: Tensor) =
        validate settings start
        use _ = torch.NewDisposeScope()
        use _ = torch.no_grad ()
        let seed = NoiseKey.SeedFor(settings.Seed, "hmc")
        let random = PhiloxRandom(seed, "lengths of trajectories")
        let state = Leapfrog.at target (start.``to``(Leapfrog.double).clone())

        if not (state.Value.isfinite().all().ToBoolean()) then
            raise (RangeException("starting points", "points of positive density in every chain", "zero density"))

        let file =
            settings.Checkpoint
            |> Option.bind (fun place ->
                CheckpointFile.create "hmc" (identity settings target observe state) settings.Progress (Some place))

        let quantities = Tensors.using (fun () -> int (observe state.Position).shape[1])

        let mutable running =
            match file |> Option.bind (fun f -> resume f quantities state) with
            | Some kept -> kept
            | None ->
                let scale = torch.ones (start.shape[1], dtype = Leapfrog.double)

                { Iteration = 0
                  State = state
                  Scale = scale
                  Step = begun target seed settings.Chains scale state 0 0.1
                  Seen = Adaptation.none (int start.shape[1])
                  Accepted = 0.0
                  Divergent = 0
                  Kept = ResizeArray() }

        let renewals = Adaptation.renewals settings.Warmup

        let save () =
            file |> Option.iter (fun f -> save f running)

        // as many steps each as they would have had without a stop
        for iteration in 1 .. settings.Warmup + settings.Draws do
            let steps = 1 + random.Next settings.LeapfrogSteps

            if iteration > running.Iteration then
                if settings.Progress.Cancellation.IsCancellationRequested then
                    save ()

                settings.Progress.Cancellation.ThrowIfCancellationRequested()
                running <- advance settings target observe renewals steps running

                if file |> Option.exists CheckpointFile.due then
                    save ()

        save ()
        finished settings running

    /// Samples a log density, (chains, d) → (chains), float64 and differentiable, from a starting point for each chain
    /// (chains, d). `observe` says what is kept of a position: (chains, d) → (chains, quantities). With a checkpoint it goes on where the same
    /// work was stopped or killed, to the same bits.
    let run settings (logDensity: Tensor -> Tensor) observe start =
        sample
            settings
            { LogDensity = logDensity
              Guide = None }
            observe
            start

    /// As run, the chains moved by the slope of another density, one that is near and quicker: the log density itself decides what is accepted, so
    /// that the other changes how much is, and not what is sampled.
    let runGuided settings (logDensity: Tensor -> Tensor) (guide: Tensor -> Tensor) observe start =
        sample
            settings
            { LogDensity = logDensity
              Guide = Some guide }
            observe
            start
