namespace FieldImnn

open System
open System.Globalization

/// Numbers for people to read.
module Numerals =
    /// A number to so many significant digits, 1 to 15, whatever the language of the machine: "8840", "0.214", "1.5E-09". An exponent only from a
    /// million on, and below a ten thousandth.
    let rounded (digits: int) (value: float) : string =
        let short = value.ToString($"G{digits}", CultureInfo.InvariantCulture)

        if short.Contains 'E' && abs value >= 1.0 && abs value < 1e6 then
            Math.Round(Double.Parse(short, CultureInfo.InvariantCulture)).ToString("F0", CultureInfo.InvariantCulture)
        else
            short
