namespace FieldImnn

open FieldImnn.Core
open FieldImnn.Core.Fields

/// The paper's problems by name, as scripts and the command line ask for them.
module Catalogue =
    /// Names of the problems.
    let names = [ "power-law"; "dark-matter"; "correlated-log-normal" ]

    /// "published" or "ideal" to a mode convention.
    let modes (name: string) =
        match name with
        | "ideal" -> ModeConvention.Ideal
        | "published" -> ModeConvention.Published
        | other -> raise (SettingException("modes", "ideal or published", other))

    /// The problem of a name under a mode convention, of the paper's size (128 × 128 pixels) or a small one for quick looks.
    let problem name convention =
        match name with
        | "power-law" -> PowerLaw.create 128 convention
        | "dark-matter" -> DarkMatter.create 128 convention
        | "correlated-log-normal" -> CorrelatedLogNormal.create 20 // one convention only
        | other -> raise (SettingException("problem", String.concat ", " names, other))
