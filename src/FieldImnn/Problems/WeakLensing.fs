namespace FieldImnn

open System
open FieldImnn.Core
open FieldImnn.Core.Cosmology
open FieldImnn.Core.Fields
open TorchSharp

/// A square patch of sky in tomographic convergence, with galaxies enough for so much shape noise.
type LensingSurvey =
    {
        Bins: RedshiftBins
        /// Side of the patch, degrees.
        Side: float
        /// Pixels a side.
        Pixels: int
        /// Galaxies of each bin, an arcmin².
        Density: float
        /// Standard deviation of a component of their ellipticity.
        Ellipticity: float
    }

/// The shifts λ of log-normal convergence.
type LensingShift =
    /// −κ of an empty beam, a function of all of the distances' parameters.
    | EmptyBeam
    /// From a table over (Ω_m, σ8, w0): `LensingShifts`.
    | Tabulated of LensingShifts

/// Tomographic weak lensing in log-normal maps (Lanzieri et al. 2024, arXiv:2407.10877): θ = (Ω_c, Ω_b, σ8, h, n_s, w0), a flat universe whose
/// dark energy has a constant equation of state.
module WeakLensing =
    let private names = [| "Ω_c"; "Ω_b"; "σ_8"; "h"; "n_s"; "w_0" |]

    /// The centre of the prior, where the public map was made.
    let fiducial = [| 0.2664; 0.0492; 0.831; 0.6727; 0.9645; -1.0 |]

    /// The survey of the paper, on so many pixels a side: ten years of LSST in five bins on 10° × 10°, 27 galaxies an arcmin², σ_e = 0.26. The
    /// paper's maps have 256.
    let survey pixels =
        { Bins = RedshiftBins.Lsst
          Side = 10.0
          Pixels = pixels
          Density = 27.0 / 5.0
          Ellipticity = 0.26 }

    /// The paper's prior: normal, Ω_c cut at 0 and w0 to (−2, −0.3). Ours also ends at 0, 6 to 11 sds away, where parameters are densities, a
    /// spread or a rate: the normal's 10⁻⁹ beyond is drawn now and then by what explores its tails, and is no universe. At its ends, Ω_c below 0.05 above all, Ideal maps do not exist
    /// everywhere: see `LogNormalMaps.create`.
    let prior =
        Prior.create
            [ names[0], TruncatedNormal(fiducial[0], 0.2, 0.0, Double.PositiveInfinity)
              names[1], TruncatedNormal(fiducial[1], 0.006, 0.0, Double.PositiveInfinity)
              names[2], TruncatedNormal(fiducial[2], 0.14, 0.0, Double.PositiveInfinity)
              names[3], TruncatedNormal(fiducial[3], 0.063, 0.0, Double.PositiveInfinity)
              names[4], Normal(fiducial[4], 0.08)
              names[5], TruncatedNormal(fiducial[5], 0.9, -2.0, -0.3) ]

    /// The universe of θ (b, p).
    let cosmology (theta: Tensor) =
        let p i = theta.select (1L, int64 i)
        CosmologyParameters(p 0, p 1, p 3, p 4, p 2, w0 = p 5)

    /// The grid of the survey, in radians, whose wavenumbers are multipoles.
    let grid survey =
        FourierGrid(2, survey.Pixels, survey.Side * Math.PI / 180.0)

    let private quadrature convention =
        match convention with
        | ModeConvention.Published -> LensingQuadrature.Published
        | _ -> LensingQuadrature.Converged

    /// Auto- and cross-spectra of convergence in all bins, without noise: converged integrals (Ideal), or the anchor's, with its lines between
    /// multipoles (Published).
    let spectra survey convention : MapSpectra =
        { Parameters = names
          Maps = survey.Bins.Count
          Power =
            fun multipoles ->
                let table =
                    LensingTable(survey.Bins, multipoles, (grid survey).FundamentalWavenumber, quadrature convention)

                fun theta -> table.Power(cosmology theta) }

    /// λ of every bin: θ (b, p) → (b, bins).
    let shifts survey shift : Tensor -> Tensor =
        match shift with
        | EmptyBeam ->
            let spectra = LensingSpectra(survey.Bins, [| 100.0 |])
            fun theta -> spectra.EmptyBeam(cosmology theta)
        | Tabulated table ->
            if table.Bins <> survey.Bins.Count then
                raise (SettingException("table of shifts", $"{survey.Bins.Count} bins", string table.Bins))

            fun theta -> table.At(cosmology theta)

    /// A table of shifts as its authors store it: an array (Ω_m, σ8, w0, bins, 5) whose last axis holds Ω_m, σ8, w0, the bin and λ.
    let tableOfShifts (shape: int64[]) (values: float[]) =
        if
            shape.Length <> 5
            || shape[4] <> 5L
            || Array.fold (*) 1L shape <> int64 values.Length
        then
            raise (ShapeException("stored table of shifts", "(Ω_m, σ8, w0, bins, 5)", Guard.Describe shape))

        let column i =
            values |> Array.chunkBySize 5 |> Array.map (Array.item i)

        let range i =
            struct (Array.min (column i), Array.max (column i))

        LensingShifts(column 4, shape[0..3], range 0, range 1, range 2)

    /// Standard deviation of the shape noise of a pixel, σ_e/√(n A).
    let noise survey =
        let arcminutes = survey.Side * 60.0 / float survey.Pixels
        survey.Ellipticity / (arcminutes * sqrt survey.Density)

    /// Log-normal maps without noise.
    let model survey convention shift =
        LogNormalMaps.create (spectra survey convention) (shifts survey shift) (grid survey) convention

    /// Log-normal maps with shape noise.
    let simulator survey convention shift =
        LogNormalMaps.simulator "lensing" (model survey convention shift)
        |> Observation.noisy (White(noise survey))

    /// Gaussian maps of the same spectra with the same noise, whose exact answer is known.
    let gaussian survey =
        CorrelatedMaps.create (spectra survey ModeConvention.Ideal) (grid survey)
        |> CorrelatedMaps.withNoise (Array.create survey.Bins.Count (noise survey))

    /// Of maps of more than 128 pixels a side, fewer simulations quote F: each with its derivatives takes a fifth of a second.
    let private recipe survey =
        { Recipe.Default with
            Fiducial = Some fiducial
            Rounds = 2 }
        |> Recipe.map (fun s ->
            if survey.Pixels > 128 then
                { s with
                    Quote = 6000
                    MeasureDerivatives = 1500 }
            else
                s)

    let private problem survey model =
        { Model = model
          Recipe = recipe survey
          Example = fiducial
          QuotedFisher = None }

    /// The problem of log-normal maps. Their likelihood has no closed form: there is no exact answer.
    let create survey convention shift =
        problem survey (Model.create (simulator survey convention shift) prior)

    /// The problem of Gaussian maps, with its exact answer.
    let createGaussian survey =
        let maps = gaussian survey

        Model.create (CorrelatedMaps.simulator "lensing-gaussian" maps) prior
        |> Model.withExact (CorrelatedMapsLikelihood.exact maps)
        |> problem survey
