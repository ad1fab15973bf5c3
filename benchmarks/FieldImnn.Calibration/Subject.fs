/// The problems whose inferences are tested, and where in their priors.
module Subject

open FieldImnn
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open MathNet.Numerics.LinearAlgebra

/// A problem, the folder of its compressors, and the seed of everything.
type Subject =
    {
        Name: string
        Problem: Problem
        Options: StudyOptions
        Progress: Progress
        /// Where the true parameters of fields about the target are drawn.
        About: Prior
        /// Whether each field has a compressor of its own, trained where it is.
        OwnRounds: bool
        /// Largest and smallest geometric mean of area / exact area, and largest rms shift, that are wanted.
        Goal: float * float * float
    }

/// The target, four standard deviations of the exact Fisher matrix to each side: a field there is about the target, and yet what is
/// drawn there is no single point, so that ranks mean something.
let private aboutTarget (problem: Problem) =
    let covariance: Matrix<float> = (problem.Exact.Fisher problem.Example).Inverse()

    let box =
        problem.Example
        |> Array.mapi (fun k t -> let s = 4.0 * sqrt covariance[k, k] in t - s, t + s)

    Prior.within box problem.Prior

/// All subjects: Gaussian and log-normal fields of some pixels a side, correlated log-normal ones of 20.
let all pixels out seed progress =
    let options modes =
        { StudyOptions.read out [||] with
            ModesName = modes
            Modes = Catalogue.modes modes
            Seed = seed }

    let subject name modes (problem: Problem) =
        { Name = $"{name} {modes}"
          Problem = problem
          Options = options modes
          Progress = progress
          About = aboutTarget problem
          OwnRounds = false
          Goal = 0.97, 1.08, 0.15 }

    let logNormal = CorrelatedLogNormal.create 20

    [ for modes in [ "ideal"; "published" ] do
          subject "power-law" modes (PowerLaw.create pixels (Catalogue.modes modes))
      for modes in [ "ideal"; "published" ] do
          subject "dark-matter" modes (DarkMatter.create pixels (Catalogue.modes modes))
      { subject "correlated-log-normal" "ideal" logNormal with
          Name = "correlated-log-normal"
          About = Prior.within [| 0.6, 1.4; 0.25, 0.75 |] logNormal.Prior
          OwnRounds = true
          Goal = 0.9, 1.15, 0.3 } ]

let private rounds subject field =
    Study.refit subject.Options subject.Progress subject.Problem (TorchSharp.torch.unsqueeze (field, 0L))

/// The compressor for one field about the target: trained where the field is (own rounds), or where one at the very target is.
let compressor subject (field: Tensor) =
    let seen =
        if subject.OwnRounds then
            field
        else
            Simulator.field
                subject.Problem.Simulator
                subject.Problem.Example
                (NoiseKey.SeedFor(subject.Options.Seed, "target"))

    (List.last (rounds subject seen)).Compressor

/// The compressor for the whole prior: the problem's first.
let first subject =
    Study.compressor subject.Options subject.Progress subject.Problem
