namespace FieldImnn

/// A posterior as those who watch are told of it.
module PosteriorProgress =
    /// θ and its errors as numbers of a report: "mean σ8", "sd σ8".
    let internal numbers (names: string[]) (mean: string, at: float[]) (sd: string, errors: float[]) =
        [ for i, name in Array.indexed names do
              $"{mean} {name}", at[i]
              $"{sd} {name}", errors[i] ]

    /// Tells of the posterior after a stage, with what else was measured of it: mean and sd of every parameter.
    let tell progress (stage: string) (measured: (string * float) list) (posterior: Posterior) =
        let mean, sd = Posterior.mean posterior, Posterior.sd posterior

        Array.map3 (fun name m s -> $"{name} = %.4g{m} ± %.2g{s}") posterior.Names mean sd
        |> String.concat ", "
        |> Progress.news progress $"posterior of {stage}" (measured @ numbers posterior.Names ("mean", mean) ("sd", sd))
