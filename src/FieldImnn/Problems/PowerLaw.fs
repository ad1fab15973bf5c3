namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields
open TorchSharp

/// Gaussian fields of power spectrum P(k) = A k^−B (Makinen et al. 2021, §4.1): the problem whose truth is known in closed form.
module PowerLaw =
    /// ln P = ln A − B ln k, θ = (A, B).
    let spectrum: Spectrum =
        { Parameters = [| "A"; "B" |]
          LogPower =
            fun k ->
                let lnK = k.log().unsqueeze 0L |> Tensors.keep

                fun theta ->
                    let a, b = theta.narrow (1L, 0L, 1L), theta.narrow (1L, 1L, 1L)
                    a.log () - b * lnK }

    /// A ~ U(0.1, 1.25), B ~ U(0.1, 1.25).
    let prior = Prior.uniform [ "A", 0.1, 1.25; "B", 0.1, 1.25 ]

    /// The field model on N × N pixels of unit size, so that k is in units of 1/pixel.
    let model n convention =
        SpectrumField.create spectrum (FourierGrid(2, n, float n)) convention

    /// A network that is trained, as the paper's is: filters at three scales. The problem's recipe has the default features, which are not.
    let training =
        { ImnnSettings.Default with
            Features = Features.filterBank 8 7 3
            Fit = 10000 }

    /// The problem on N × N pixels: the paper's is 128.
    let create n convention =
        let model = model n convention

        { Model =
            Model.create (SpectrumField.simulator "power-law" model) prior
            |> Model.withExact (
                ExactAnswer.create (SpectrumLikelihood.fisher model) (SpectrumLikelihood.logLikelihood model)
            )
          Recipe =
            { Recipe.Default with
                Fiducial = Some [| 1.0; 0.5 |]
                Rounds = 2 }
          Example = [| 0.9; 0.6 |]
          QuotedFisher = Some(SpectrumLikelihood.quotedFisher model) }
