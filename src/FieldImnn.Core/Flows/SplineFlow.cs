using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>
/// The monotonic rational-quadratic spline of Gregory &amp; Delbourgo on [−B, B], the identity outside (Durkan et al. 2019, eqs 4–8):
/// K bins with widths, heights and inner slopes from the parameters; all parameters zero is the identity.
/// </summary>
public sealed class SplineMap : IScalarMap
{
    private const double LeastBin = 1e-3, LeastSlope = 1e-3;

    // softplus(shift) + LeastSlope = 1
    private static readonly double Shift = Math.Log(Math.Exp(1 - LeastSlope) - 1);

    private readonly long bins;
    private readonly double bound;

    /// <summary>A spline of some bins on [−bound, bound].</summary>
    public SplineMap(int bins, double bound)
    {
        this.bins = Guard.AtLeast("bins of a spline", 2, bins);
        this.bound = Guard.Positive("bound of a spline", bound);
    }

    /// <inheritdoc/>
    public int Parameters => 3 * (int)bins - 1;

    /// <inheritdoc/>
    public (Tensor U, Tensor LogSlope) Forward(Tensor x, Tensor parameters)
    {
        var inside = x.clamp(-bound, bound);
        var bin = Bin.Of(Knots(parameters), inside, 0);
        var xi = (inside - bin.X) / bin.Width;
        var mixed = xi * (1 - xi);
        var secant = bin.Height / bin.Width;
        var denominator = secant + bin.Curve(secant) * mixed;
        var square = xi.square();
        var u = bin.Y + bin.Height * (secant * square + bin.Slope * mixed) / denominator;
        var numerator = bin.NextSlope * square + 2 * secant * mixed + bin.Slope * (1 - xi).square();
        var logSlope = 2 * (secant / denominator).log() + numerator.log();
        // both are the identity where clamping has acted: the slope there is one, and so is that of the end knots
        return (u + (x - inside), where(x == inside, logSlope, zeros_like(logSlope)));
    }

    /// <inheritdoc/>
    public Tensor Inverse(Tensor u, Tensor parameters)
    {
        var inside = u.clamp(-bound, bound);
        var bin = Bin.Of(Knots(parameters), inside, 1);
        var secant = bin.Height / bin.Width;
        var above = inside - bin.Y;
        var curved = above * bin.Curve(secant);
        var a = bin.Height * (secant - bin.Slope) + curved;
        var b = bin.Height * bin.Slope - curved;
        var c = -secant * above;
        var xi = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt());
        return xi * bin.Width + bin.X + (u - inside);
    }

    /// <summary>Knots (…, 3, bins + 1): their x, their y, the slopes there.</summary>
    private Tensor Knots(Tensor parameters)
    {
        long[] pair = [.. parameters.shape[..^1], 2, bins];
        var sizes = parameters.narrow(-1, 0, 2 * bins).view(pair).softmax(-1) * (2 * bound * (1 - LeastBin * bins)) + 2 * bound * LeastBin;
        var places = nn.functional.pad(sizes.narrow(-1, 0, bins - 1).cumsum(-1), [1, 0]) - bound;
        var last = full([.. pair[..^1], 1], bound, places.dtype, places.device);
        var slopes = nn.functional.softplus(parameters.narrow(-1, 2 * bins, bins - 1) + Shift) + LeastSlope;
        var padded = nn.functional.pad(slopes, [1, 1], value: 1).unsqueeze(-2);
        return cat([cat([places, last], -1), padded], -2);
    }

    /// <summary>The knot to the left of a point, the size of its bin, and the slopes at both ends.</summary>
    private readonly record struct Bin(Tensor X, Tensor Y, Tensor Width, Tensor Height, Tensor Slope, Tensor NextSlope)
    {
        /// <summary>d_k+1 + d_k − 2 s.</summary>
        public Tensor Curve(Tensor secant) => NextSlope + Slope - 2 * secant;

        /// <summary>The bin that holds each value; row 0 of the knots is x, row 1 is y.</summary>
        public static Bin Of(Tensor knots, Tensor values, long row)
        {
            var inner = knots.select(-2, row).narrow(-1, 1, knots.shape[^1] - 2);
            var left = (values.unsqueeze(-1) >= inner).sum(-1, keepdim: true).unsqueeze(-1);
            var ends = knots.gather(-1, cat([left, left + 1], -1).expand([.. knots.shape[..^1], 2]));
            var at = ends.flatten(-2).unbind(-1);
            return new Bin(at[0], at[2], at[1] - at[0], at[3] - at[2], at[4], at[5]);
        }
    }
}

/// <summary>
/// A conditional neural spline autoregressive flow (Durkan et al. 2019): one affine layer, which moves x to where the splines are, then
/// layers of rational-quadratic splines on [−5, 5].
/// </summary>
public sealed class SplineFlow(
    int members, int dimensions, int conditions, int layers, int bins, int[] hidden, ulong seed, ScalarType type = ScalarType.Float32)
    : AutoregressiveFlow(
        members, dimensions, conditions, hidden, [new AffineMap(), .. Enumerable.Repeat(new SplineMap(bins, 5), layers)], seed, type);
