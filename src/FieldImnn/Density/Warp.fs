namespace FieldImnn

open MathNet.Numerics.Distributions
open MathNet.Numerics.Interpolation
open MathNet.Numerics.Statistics

/// A smooth rising map of one number that makes the values it was fitted to normal: monotone cubics through quantiles, straight beyond.
type Warp =
    { Knots: float[]
      Spline: IInterpolation }

/// Fitting and applying such maps.
module internal Warp =
    // denser to the middle; the outermost are known from few values
    let private levels =
        [| 0.003; 0.02; 0.06; 0.15; 0.3; 0.5; 0.7; 0.85; 0.94; 0.98; 0.997 |]

    /// From values, if enough of them differ.
    let fit (values: float[]) =
        let sorted = Array.sort values

        let knots =
            levels
            |> Array.map (fun p -> ArrayStatistics.QuantileInplace(sorted, p), Normal.InvCDF(0.0, 1.0, p))
            |> Array.distinctBy fst

        if values.Length < 200 || knots.Length < levels.Length then
            None
        else
            let x, y = Array.unzip knots

            Some
                { Knots = x
                  Spline = CubicSpline.InterpolatePchipSorted(x, y) }

    /// The value's place.
    let apply warp v =
        let lo, hi = Array.head warp.Knots, Array.last warp.Knots

        // the slope at an end of a monotone cubic may be zero: beyond, the mean slope of the last piece holds
        let beyond first second edge =
            warp.Spline.Interpolate edge
            + (v - edge) * (warp.Spline.Interpolate second - warp.Spline.Interpolate first)
              / (second - first)

        if v < lo then
            beyond lo warp.Knots[1] lo
        elif v > hi then
            beyond warp.Knots[warp.Knots.Length - 2] hi hi
        else
            warp.Spline.Interpolate v
