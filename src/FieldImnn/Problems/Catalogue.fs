namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields

/// The problems by name, as scripts and the command line ask for them.
module Catalogue =
    /// Names of the problems.
    let names =
        [ "power-law"
          "dark-matter"
          "correlated-log-normal"
          "lensing"
          "lensing-gaussian" ]

    /// "published" or "ideal" to a mode convention.
    let modes (name: string) =
        match name with
        | "ideal" -> ModeConvention.Ideal
        | "published" -> ModeConvention.Published
        | other -> raise (SettingException("modes", "ideal or published", other))

    /// The problem of a name under a mode convention, of its paper's size: 128 × 128 pixels, 20 × 20, or five maps of 256 × 256.
    let problem name convention =
        match name with
        | "power-law" -> PowerLaw.create 128 convention
        | "dark-matter" -> DarkMatter.create 128 convention
        | "correlated-log-normal" -> CorrelatedLogNormal.create 20 // one convention only
        | "lensing" when convention = ModeConvention.Published ->
            let remedy =
                "a table of shifts, which the authors have (WeakLensing.tableOfShifts, on the command line --shifts FILE), or ideal modes"

            raise (SettingException("published lensing maps", remedy, "none"))
        | "lensing" -> WeakLensing.create (WeakLensing.survey 256) convention EmptyBeam
        | "lensing-gaussian" -> WeakLensing.createGaussian (WeakLensing.survey 256) // one convention only
        | other -> raise (SettingException("problem", String.concat ", " names, other))
