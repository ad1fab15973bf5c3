using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The monotone function that gives pixels a standard normal distribution: through their quantiles, d = q_i → u = z_i, by monotone cubics
/// (Fritsch &amp; Butland 1984, SIAM J. Sci. Stat. Comput. 5, 300), continuous with its slope, and beyond the outermost growing like a logarithm.
/// </summary>
internal static class Gaussianisation
{
    /// <summary>Quantiles that are known: at normal scores from −z to z.</summary>
    internal const int Knots = 41;

    /// <summary>
    /// Rows q, z and du/dd of the knots, (3, knots) float64, of values, which it sorts; z is as far as the sample reaches with 20 values
    /// beyond, from 1 to 4.
    /// </summary>
    internal static Tensor Fit(double[] values)
    {
        Array.Sort(values);
        double[] reach = [4, 3.5, 3, 2.5, 2, 1.5, 1];
        var largest = reach.First(r => r == 1 || values.Length * (1 - Normal(r)) >= 20);
        var z = Enumerable.Range(0, Knots).Select(i => largest * (2.0 * i / (Knots - 1) - 1)).ToArray();
        var q = z.Select(score => Quantile(values, Normal(score))).ToArray();
        Separate(q);
        return tensor([.. q, .. z, .. Slopes(q, z)]).reshape(3, Knots);
    }

    /// <summary>u of d (n, …), with knots (3, knots) of the same type and device.</summary>
    internal static Dual Apply(Dual d, Tensor knots)
    {
        using var scope = NewDisposeScope();
        var (q, z, slopes) = (knots[0].contiguous(), knots[1], knots[2]);
        var inside = d.Primal.contiguous().clamp(q[0], q[Knots - 1]);
        var cell = searchsorted(q, inside, right: true).sub_(1).clamp_(0, Knots - 2);
        // u = z_i + t (a + t (b + t c)) in cell i, t = d − q_i
        var (width, rise) = (Differences(q), Differences(z) / Differences(q));
        var (left, right) = (slopes.narrow(0, 0, Knots - 1), slopes.narrow(0, 1, Knots - 1));
        var (b, c) = (At((3 * rise - 2 * left - right) / width), At((left + right - 2 * rise) / width.square()));
        var (a, t) = (At(left), inside - At(q.narrow(0, 0, Knots - 1)));
        var beyond = d.Primal - inside;
        var steep = slopes[0].where(beyond < 0, slopes[Knots - 1]) * beyond;
        var value = At(z.narrow(0, 0, Knots - 1)) + t * (a + t * (b + t * c)) + beyond.sign() * steep.abs().log1p();
        return d.Pointwise(value, () => (a + t * (2 * b + 3 * t * c)) / (1 + steep.abs())).MoveToOuterDisposeScope();

        Tensor At(Tensor table) => table.contiguous().take(cell);
    }

    private static Tensor Differences(Tensor x) => x.narrow(0, 1, Knots - 1) - x.narrow(0, 0, Knots - 1);

    /// <summary>The standard normal distribution function Φ.</summary>
    private static double Normal(double z)
    {
        using var scope = NewDisposeScope();
        return 0.5 * special.erfc(tensor(-z / Math.Sqrt(2))).ToDouble();
    }

    private static double Quantile(double[] sorted, double probability)
    {
        var at = Math.Clamp(probability * sorted.Length - 0.5, 0, sorted.Length - 1);
        var i = (int)Math.Min(at, sorted.Length - 2);
        return i < 0 ? sorted[0] : sorted[i] + (at - i) * (sorted[i + 1] - sorted[i]);
    }

    /// <summary>Makes q rise everywhere: where many pixels have one value, the function is steep.</summary>
    private static void Separate(double[] q)
    {
        var least = Math.Max(1e-5 * (q[^1] - q[0]), 1e-6 * Math.Max(Math.Abs(q[0]), 1e-12));
        for (var i = 1; i < q.Length; i++)
            q[i] = Math.Max(q[i], q[i - 1] + least);
    }

    /// <summary>Weighted harmonic means of the secants' slopes at either side; the outermost, their own.</summary>
    private static double[] Slopes(double[] q, double[] z)
    {
        var secant = Enumerable.Range(0, Knots - 1).Select(i => (z[i + 1] - z[i]) / (q[i + 1] - q[i])).ToArray();
        var slopes = new double[Knots];
        (slopes[0], slopes[^1]) = (secant[0], secant[^1]);
        for (var i = 1; i < Knots - 1; i++)
        {
            var (before, after) = (q[i] - q[i - 1], q[i + 1] - q[i]);
            var (v, w) = (2 * after + before, after + 2 * before);
            slopes[i] = (v + w) / (v / secant[i - 1] + w / secant[i]);
        }
        return slopes;
    }
}
