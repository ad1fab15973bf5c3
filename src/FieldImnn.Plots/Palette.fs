namespace FieldImnn.Plots

open System
open Plotly.NET

/// Colours that stay apart for every kind of colour vision.
module Palette =
    let private hex (code: string) = Color.fromHex code

    /// Okabe and Ito (2008), strongest contrast on white first; yellow is left out, as it is lost on white.
    let lines =
        [| "#0072B2"
           "#D55E00"
           "#009E73"
           "#CC79A7"
           "#E69F00"
           "#56B4E9"
           "#000000" |]

    /// The colour of line i; the palette repeats after seven.
    let line i = hex lines[i % lines.Length]

    /// The colour of line i, mixed with white: 0 is white, 1 the colour itself. (Contour fills of plotly.js know no transparency.)
    let tint i (strength: float) =
        let code = lines[i % lines.Length]

        let channel at =
            let v = float (Convert.ToInt32(code.Substring(at, 2), 16))
            int (round (255.0 - strength * (255.0 - v)))

        Color.fromRGB (channel 1) (channel 3) (channel 5)

    let ink = hex "#222222"

    /// For fields: dark to light, uniform to the eye.
    let sequential = StyleParam.Colorscale.Viridis

    /// For signed quantities: blue through white to red (ColorBrewer RdBu, reversed), white at zero.
    let diverging =
        [ "#053061"
          "#2166AC"
          "#4393C3"
          "#92C5DE"
          "#D1E5F0"
          "#F7F7F7"
          "#FDDBC7"
          "#F4A582"
          "#D6604D"
          "#B2182B"
          "#67001F" ]
        |> Seq.mapi (fun i code -> float i / 10.0, hex code)
        |> StyleParam.Colorscale.Custom
