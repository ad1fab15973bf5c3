using System;
using System.Collections.Generic;
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

    /// <summary>A power of two of which twice as many are more than there are cells.</summary>
    private const int Half = 32;

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
        var below = z.Select(Normal).ToArray();
        var q = below.Select(p => Quantile(values, p)).ToArray();
        if (q.Zip(q.Skip(1)).Any(pair => pair.First == pair.Second))
            q = Mid(values, below);
        Separate(q);
        return tensor([.. q, .. z, .. Slopes(q, z)]).reshape(3, Knots);
    }

    /// <summary>
    /// What <see cref="Apply"/> reads of knots (3, knots), (6, 64): the left ends q of cells, infinite behind the last; u there; a, b and c of
    /// u = z_i + t (a + t (b + t c)), t = d − q_i; and, first of a row, the slopes below and above all knots, and the outermost knots.
    /// </summary>
    internal static Tensor Tables(Tensor knots)
    {
        using var scope = NewDisposeScope();
        var (q, z, slopes) = (knots[0], knots[1], knots[2]);
        var (width, rise) = (Differences(q), Differences(z) / Differences(q));
        var (left, right) = (slopes.narrow(0, 0, Knots - 1), slopes.narrow(0, 1, Knots - 1));
        var ends = stack([slopes[0], slopes[Knots - 1], q[0], q[Knots - 1]]);
        return stack(
        [
            Row(q.narrow(0, 0, Knots - 1), double.PositiveInfinity),
            Row(z.narrow(0, 0, Knots - 1), 0),
            Row(left, 0),
            Row((3 * rise - 2 * left - right) / width, 0),
            Row((left + right - 2 * rise) / width.square(), 0),
            Row(ends, 0),
        ]).MoveToOuterDisposeScope();

        static Tensor Row(Tensor values, double rest) => nn.functional.pad(values, [0, 2 * Half - values.shape[0]], PaddingModes.Constant, rest);
    }

    /// <summary>u of d (n, …), with tables of the same type and device.</summary>
    internal static Dual Apply(Dual d, Tensor tables)
    {
        using var scope = NewDisposeScope();
        var (below, above, first, last) = (tables[5, 0], tables[5, 1], tables[5, 2], tables[5, 3]);
        var flat = d.Primal.flatten();
        var inside = flat.clamp(first, last);
        var cell = Cell(tables[0], inside);
        var (a, b, c, t) = (At(2), At(3), At(4), inside - At(0));
        var beyond = flat - inside;
        var steep = (beyond.AtMost(0) * below).Plus(beyond.AtLeast(0) * above);
        var cubic = At(1).Plus(t * a.Plus(t * b.Plus(t * c)));
        return d.Pointwise(
            cubic.Plus(beyond.sign() * steep.abs().log1p()).reshape(d.Primal.shape),
            () => (a.Plus(t * b.Times(2).Plus(3, t * c)) / steep.abs().Plus(1)).reshape(d.Primal.shape)).MoveToOuterDisposeScope();

        Tensor At(int row) => tables[row].index_select(0, cell);
    }

    /// <summary>
    /// The cells i with q_i ≤ x &lt; q_{i+1} of values x (n) from the first knot to the last, int32: by bisection of all at once, a third of the
    /// time of searchsorted, which searches for one after the other.
    /// </summary>
    private static Tensor Cell(Tensor q, Tensor x)
    {
        var cell = zeros([x.shape[0]], ScalarType.Int32, x.device);
        for (var step = Half; step > 0; step /= 2)
            cell = cell.Plus(step, q.index_select(0, cell.Plus(step)).le(x).to_type(ScalarType.Int32));
        return cell;
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

    /// <summary>
    /// Quantiles of values that repeat, as counts do: through each value at the middle of its ranks, so that it becomes the score of its
    /// median, and on in a line beyond the first and the last. Where no value repeats, these are the quantiles.
    /// </summary>
    private static double[] Mid(double[] sorted, double[] probabilities)
    {
        var (values, ranks) = (new List<double>(), new List<double>());
        for (var (i, next) = (0, 0); i < sorted.Length; i = next)
        {
            for (next = i; next < sorted.Length && sorted[next] == sorted[i]; next++)
                ;
            values.Add(sorted[i]);
            ranks.Add(0.5 * (i + next) / sorted.Length);
        }
        if (values.Count == 1)
            return [.. probabilities.Select(_ => values[0])];
        return [.. probabilities.Select(p =>
        {
            var found = ranks.BinarySearch(p);
            var i = Math.Clamp((found >= 0 ? found : ~found) - 1, 0, ranks.Count - 2);
            return values[i] + (p - ranks[i]) * (values[i + 1] - values[i]) / (ranks[i + 1] - ranks[i]);
        })];
    }

    /// <summary>Makes q rise everywhere, should a difference be lost in rounding.</summary>
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
