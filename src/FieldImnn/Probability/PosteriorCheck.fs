namespace FieldImnn

open System
open FieldImnn.Core

/// Whether there is a posterior in what comes.
module internal PosteriorCheck =
    /// One name and bounds lo < hi for each parameter.
    let parameters (names: string[]) (bounds: (float * float)[]) =
        if names.Length = 0 || bounds.Length <> names.Length then
            raise (
                ShapeException(
                    "posterior",
                    "at least one parameter, and bounds for each",
                    $"{names.Length} names, {bounds.Length} bounds"
                )
            )

        if (Array.distinct names).Length < names.Length then
            raise (SettingException("posterior", "parameters of different names", String.concat ", " names))

        Array.iter2
            (fun name (lo, hi) ->
                if not (lo < hi) then
                    raise (
                        RangeException(
                            "posterior",
                            $"bounds lo < hi of {name}",
                            FormattableString.Invariant $"{lo} … {hi}"
                        )
                    ))
            names
            bounds

    /// A weight for each sample: finite, ≥ 0, not all of them 0.
    let weights (samples: float[][]) (weights: float[]) =
        if samples.Length = 0 then
            raise (SettingException("posterior", "at least one sample", "none"))

        if samples.Length <> weights.Length then
            raise (ShapeException("posterior", $"{samples.Length} weights, one for each sample", $"{weights.Length}"))

        if
            weights |> Array.exists (fun w -> not (Double.IsFinite w) || w < 0.0)
            || Array.sum weights <= 0.0
        then
            raise (NonFiniteException("posterior", "finite weights ≥ 0, not all of them 0", "others"))

        if not (Double.IsFinite(Array.sum weights)) then
            raise (NonFiniteException("posterior", "weights of a finite sum", "infinity"))

    /// Samples are finite and, where they have weight, within the bounds.
    let samples (names: string[]) (bounds: (float * float)[]) (samples: float[][]) (weights: float[]) =
        samples
        |> Array.iteri (fun row s ->
            if s.Length <> names.Length then
                raise (
                    ShapeException("posterior", $"samples of {names.Length} parameters", $"{s.Length} in sample {row}")
                )

            for k in 0 .. names.Length - 1 do
                let lo, hi = bounds[k]

                if not (Double.IsFinite s[k]) then
                    raise (NonFiniteException("posterior", "finite samples", $"{names[k]} = {s[k]} in sample {row}"))

                // without weight it does not count
                if weights[row] > 0.0 && (s[k] < lo || s[k] > hi) then
                    raise (
                        RangeException(
                            "posterior",
                            FormattableString.Invariant $"samples within the bounds, {names[k]} in {lo} … {hi}",
                            FormattableString.Invariant $"{names[k]} = {s[k]:R} in sample {row}"
                        )
                    ))

    /// Densities are finite, ≥ 0, not all of them 0.
    let density subject (density: float[]) =
        if density |> Array.exists (fun d -> not (Double.IsFinite d) || d < 0.0) then
            raise (NonFiniteException(subject, "finite densities ≥ 0", "others"))

        if Array.max density <= 0.0 then
            raise (RangeException(subject, "a density above zero somewhere", "zero everywhere"))
