namespace FieldImnn

open FieldImnn.Core.Cosmology
open FieldImnn.Core.Fields
open TorchSharp

/// What part of the universe a dark-matter field shows.
type DarkMatterView =
    /// A slab of this depth in Mpc/h, seen face on: a field of two dimensions.
    | Slab of depth: float
    /// The linear field itself, in as many dimensions as the grid.
    | Volume

/// Log-normal dark-matter fields of the Eisenstein–Hu spectrum (Makinen et al. 2021, §4.2): θ = (Ω_c, σ8), Planck 2015 else.
module DarkMatter =
    let private names = [| "Ω_c"; "σ_8" |]

    let private cosmology (theta: Tensor) =
        CosmologyParameters.Planck15(theta.select (1L, 0L), theta.select (1L, 1L))

    /// The spectrum of a view: k in h/Mpc, P in (Mpc/h)³, or (Mpc/h)² of a slab.
    let spectrum view : Spectrum =
        { Parameters = names
          LogPower =
            match view with
            | Slab depth ->
                fun k ->
                    let slab = SlabPower(k, depth)
                    fun theta -> (slab.Project(LinearPower.PowerOnNodes(cosmology theta))).log()
            | Volume ->
                fun k ->
                    let k = Tensors.keep (k.clone ())
                    fun theta -> LinearPower.LogPower(cosmology theta, k) }

    /// The original code's spectrum: that of three dimensions on a field of two, with its truncated σ8 integral.
    let publishedSpectrum: Spectrum =
        { Parameters = names
          LogPower =
            fun k ->
                let k = Tensors.keep (k.clone ())
                fun theta -> LinearPower.LogPower(cosmology theta, k, Sigma8Rule.Truncated) }

    /// The side of the paper's box, Mpc/h.
    let boxLength = 250.0

    /// The depth of the slab of Ideal fields, Mpc/h.
    let depth = 50.0

    /// P at θ of the paper's fields on 128 × 128 pixels, as a function of k in h/Mpc: of the slab, in (Mpc/h)² (Ideal), or what the
    /// original code asks for (Published), which takes k in units of the pixel for h/Mpc.
    let power convention (theta: float[]) (k: float[]) =
        match convention with
        | ModeConvention.Published ->
            k
            |> Array.map (fun q -> q * boxLength / 128.0)
            |> PowerSpectrum.evaluate publishedSpectrum theta
        | _ -> PowerSpectrum.evaluate (spectrum (Slab depth)) theta k

    /// The field model on N × N pixels of the paper's size, 250/128 Mpc/h: a slab of 50 Mpc/h (Ideal), or the original (Published).
    let model n convention =
        let grid = FourierGrid(2, n, boxLength * float n / 128.0)

        match convention with
        | ModeConvention.Published -> LogNormalModel.create publishedSpectrum grid convention
        | _ -> LogNormalModel.create (spectrum (Slab depth)) grid convention

    /// Published: the paper's prior, Ω_c ~ U(0.01, 1), σ8 ~ U(0.2, 1.3). Ideal: U(0.03, 1) × U(0.2, 1.2), since at the corners beyond
    /// no Gaussian field has the spectrum that a log-normal slab would need.
    let prior convention =
        match convention with
        | ModeConvention.Published -> Prior.uniform [ names[0], 0.01, 1.0; names[1], 0.2, 1.3 ]
        | _ -> Prior.uniform [ names[0], 0.03, 1.0; names[1], 0.2, 1.2 ]

    /// det F that the paper's authors quote as theory, at the fiducials where they do (notebooks of arXiv:2107.07405). It comes from
    /// the logarithm of negative numbers and cannot be reproduced; the exact values are 25 times larger at (0.6, 0.6).
    let quotedDeterminants = [ [| 0.6; 0.6 |], 245524.0; [| 0.4; 0.6 |], 656706.0 ]

    /// A network that is trained, as the paper's is, and told that the fields are log-normal: filters at three scales on ln(1 + δ), or at as
    /// many as leave the coarsest field wider than a filter. The problem's recipe has the default features, which are not trained.
    let training n =
        let levels =
            [ 3; 2; 1 ]
            |> List.find (fun l -> l = 1 || n % (1 <<< (l - 1)) = 0 && n >>> (l - 1) >= 8)

        { ImnnSettings.Default with
            Features = Features.ofLogarithm (Features.filterBank 8 7 levels)
            Fit = 10000 }

    /// The exact answer of a field model.
    let exact model =
        ExactAnswer.create (LogNormalLikelihood.fisher model) (LogNormalLikelihood.logLikelihood model)

    /// The problem on N × N pixels: the paper's is 128.
    let create n convention =
        let model = model n convention

        { Model =
            Model.create (LogNormalModel.simulator "dark-matter" model) (prior convention)
            |> Model.withExact (exact model)
          Recipe =
            { Recipe.Default with
                Fiducial = Some [| 0.6; 0.6 |] }
          Example = [| 0.2589; 0.8159 |]
          QuotedFisher = None }
