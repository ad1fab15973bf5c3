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
        /// Whether fields about the target lie near enough to each other for one compressor, and one run, to serve several.
        Shares: bool
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
          Shares = true
          Goal = 0.97, 1.08, 0.15 }

    let logNormal = CorrelatedLogNormal.create 20

    [ for modes in [ "ideal"; "published" ] do
          subject "power-law" modes (PowerLaw.create pixels (Catalogue.modes modes))
      for modes in [ "ideal"; "published" ] do
          subject "dark-matter" modes (DarkMatter.create pixels (Catalogue.modes modes))
      { subject "correlated-log-normal" "ideal" logNormal with
          Name = "correlated-log-normal"
          About = Prior.within [| 0.6, 1.4; 0.25, 0.75 |] logNormal.Prior
          Shares = false
          Goal = 0.9, 1.15, 0.3 } ]

/// The compressor for fields about the target that are inferred together, trained where they are, as a user's field would have it.
let compressor subject (fields: Tensor list) =
    use together = TorchSharp.torch.stack fields
    (List.last (Study.refit subject.Options subject.Progress subject.Problem together)).Compressor

/// The compressor for the whole prior: the problem's first.
let first subject =
    Study.compressor subject.Options subject.Progress subject.Problem
