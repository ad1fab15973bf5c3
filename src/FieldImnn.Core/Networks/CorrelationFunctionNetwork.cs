using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The two-point correlation function as a summary, without weights: ξ(r) = ⟨f(x) f(x + Δ)⟩ over all pairs of pixels of an N × N field
/// that is not periodic, in bins of |Δ| of one pixel about r = 0, 1, … r_max. Of several channels, those of every pair (0, 0), (0, 1), …,
/// ⟨f(x) f'(x + Δ) + f'(x) f(x + Δ)⟩/2.
/// </summary>
public sealed class CorrelationFunctionNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "correlationFunction";

    private readonly long rows, columns, largest;
    private readonly ChannelPairs pairs;

    internal CorrelationFunctionNetwork(NetworkDescription description)
        : base(description)
    {
        if (description.Sides.Count != 2)
            throw new SettingException("shape of the field", "two sides for the correlation function", $"{description.Sides.Count}");
        (rows, columns) = (description.Sides[0], description.Sides[1]);
        pairs = new ChannelPairs(description.Channels);
        largest = description.Setting("lags");
        if (largest >= Math.Min(rows, columns))
            throw new SettingException("largest lag of the correlation function", $"below the side, {Math.Min(rows, columns)}", $"{largest}");
    }

    /// <inheritdoc/>
    public override long Features => pairs.Count * (largest + 1);

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [Features];

    /// <summary>ξ (n, pairs · (r_max + 1)) of fields (n, c?, N, N).</summary>
    public override Dual Prepare(Dual field)
    {
        using var scope = NewDisposeScope();
        var x = WithChannels(field);
        var sums = new Dual[largest + 1];
        var weights = new double[largest + 1];
        // one of Δ and −Δ
        var lags =
            from dy in Enumerable.Range(0, (int)largest + 1)
            from dx in Enumerable.Range(-(int)largest, 2 * (int)largest + 1)
            where dy > 0 || dx >= 0
            select (dy, dx);
        foreach (var (dy, dx) in lags)
        {
            var bin = (int)Math.Round(Math.Sqrt(dx * dx + dy * dy));
            if (bin > largest)
                continue;
            var sum = SumOfProducts(x, dy, dx);
            sums[bin] = weights[bin] == 0 ? sum : new Dual(sums[bin].Primal + sum.Primal, sum.Tangent is null ? null : sums[bin].Tangent! + sum.Tangent);
            weights[bin] += (rows - dy) * (columns - Math.Abs(dx));
        }
        var bins = DualOperations.Concatenate([.. sums.Select((sum, bin) => sum.Map(s => s.unsqueeze(1) / weights[bin]))]);
        return bins.Map(t => t.mT.flatten(1)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics) => statistics.Map(x => x.alias());

    /// <summary>Σ f(x) f(x + Δ) over the pairs of pixels inside the field, for all pairs of channels: (n, pairs) of (n, c, N, N).</summary>
    private Dual SumOfProducts(Dual x, long dy, long dx)
    {
        Tensor Part(Tensor t, bool moved) => t
            .narrow(-2, moved ? dy : 0, rows - dy)
            .narrow(-1, moved == dx > 0 ? Math.Abs(dx) : 0, columns - Math.Abs(dx));

        // of two channels, half of both orders
        Tensor Sum(Tensor here, Tensor there, long axis)
        {
            var sum = (pairs.First(here, axis) * pairs.Second(there, axis)).sum([-2, -1]);
            return pairs.Count == 1 ? sum : (sum + (pairs.Second(here, axis) * pairs.First(there, axis)).sum([-2, -1])) / 2;
        }

        var (a, b) = (Part(x.Primal, false), Part(x.Primal, true));
        var value = Sum(a, b, 1);
        if (x.TangentByParameter is not { } tangent)
            return new Dual(value);
        var change = Sum(Part(tangent, false), b.unsqueeze(1), 2) + Sum(a.unsqueeze(1), Part(tangent, true), 2);
        return new Dual(value, change.flatten(0, 1));
    }
}
