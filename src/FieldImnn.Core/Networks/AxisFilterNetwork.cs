using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// Products of filtered transforms of an N × N field that is not periodic and looks the same along both axes.
/// (1) t = asinh((f + c)/2ε) − asinh(c/2ε), which is ln(1 + f/c) but for a soft floor at f + c = ε, and defined for every f.
/// (2) Transforms of each pixel, u_0 = t and u_c = Σ_h w_ch s_h(t), s_h(t) = SiLU(a_h t + b_h) without its value and slope at t = 0: so
/// none of them is u_0 again, whose products would then be there twice.
/// (3) Filters along each axis, y_cab = M_a u_c M_bᵀ. The matrices M are free but for a reach, M_ij = 0 where |i − j| exceeds it: at a
/// border a filter may differ from the one inside.
/// (4) Features: the means over pixels of every y and of every product y y', those that transposition turns into each other averaged.
/// </summary>
/// <remarks>
/// c is meant to be where the field ends, 1/α for f = (e^{αg − α²/2} − 1)/α: there a small step in f says much about α, which a
/// network that reads f itself finds hard to see.
/// </remarks>
public sealed class AxisFilterNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "axisFilters";

    private readonly long n, transforms, matrices;
    private readonly double offset, floor;
    private readonly Tensor identity, band, first, second;

    internal AxisFilterNetwork(NetworkDescription description, Generator generator)
        : base(description)
    {
        RequireOneChannel();
        if (description.FieldShape.Count != 2 || description.FieldShape[0] != description.FieldShape[1])
            throw new SettingException("shape of the field", "two equal axes for the axis filters", Guard.Describe([.. description.FieldShape]));
        n = description.FieldShape[0];
        transforms = description.Setting("transforms");
        matrices = description.Setting("matrices");
        offset = description.Number("offset");
        floor = Guard.Positive("floor of the axis filters", description.Number("floor"));
        var (hidden, reach) = (description.Setting("hidden"), description.Setting("reach"));
        AddWeight("slopes", generator, 1, hidden);
        AddWeight("offsets", generator, 2, hidden);
        AddWeight("sums", generator, 1 / Math.Sqrt(hidden), hidden, transforms);
        AddWeight("filters", generator, 0.3 / Math.Sqrt(2 * reach + 1), matrices, n, n);
        using var scope = NewDisposeScope();
        identity = zeros(matrices, n, n);
        identity[0] = eye(n);
        identity.DetachFromDisposeScope();
        band = torch.ones(n, n).tril(reach).triu(-reach).DetachFromDisposeScope();
        var (kept, partner) = Products();
        first = tensor(kept).DetachFromDisposeScope();
        second = tensor(partner).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public override long Features => first.shape[0];

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [n, n];

    /// <summary>Filtered transforms y and the constant 1, the last.</summary>
    private long Maps => (transforms + 1) * matrices * matrices + 1;

    /// <summary>t (n, N, N) of fields (n, N, N).</summary>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        using var shift = tensor(offset, field.Primal.dtype);
        using var centre = tensor(-Math.Asinh(offset / (2 * floor)), field.Primal.dtype);
        return field.Add(shift).Map(f => f / (2 * floor)).Asinh().Add(centre).MoveToOuterDisposeScope();
    }

    /// <summary>Features (n, products) of t (n, N, N).</summary>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("log fields", statistics.Primal, n, n);
        using var scope = NewDisposeScope();
        var (type, device) = (statistics.Primal.dtype, statistics.Primal.device);
        var m = Weight("filters") * band.to(type, device) + identity.to(type, device);
        // (rows, axis 1, axis 2, transforms) → (rows, transforms, a, b, pixels)
        var y = Transforms(statistics).Map(u => einsum("aij,njkc,blk->ncabil", m, u, m).flatten(4).flatten(1, 3));
        return Means(y).MoveToOuterDisposeScope();
    }

    /// <summary>u (n, N, N, 1 + transforms) of t: one derivative by t serves all parameters.</summary>
    private Dual Transforms(Dual t)
    {
        var (a, b, w) = (Weight("slopes"), Weight("offsets"), Weight("sums"));
        var x = t.Primal.unsqueeze(-1);
        var (atZero, slopeAtZero) = (b * b.sigmoid(), Slope(b) * a);
        var z = x * a + b;
        var column = t.Map(values => values.unsqueeze(-1).expand([.. values.shape, transforms]));
        var u = column.Pointwise(
            (z * z.sigmoid() - atZero - slopeAtZero * x).matmul(w),
            () => (Slope(z) * a - slopeAtZero).matmul(w));
        return new Dual(
            cat([x, u.Primal], -1),
            t.Tangent is null ? null : cat([t.Tangent.unsqueeze(-1), u.Tangent!], -1));

        static Tensor Slope(Tensor z)
        {
            var sigmoid = z.sigmoid();
            return sigmoid * (1 + z * (1 - sigmoid));
        }
    }

    /// <summary>Means of y (n, maps − 1, pixels) and of its products, (n, features).</summary>
    private Dual Means(Dual y)
    {
        var ones = ones_like(y.Primal.narrow(1, 0, 1));
        var maps = cat([y.Primal, ones], 1);
        var columns = maps.mT / (double)maps.shape[2];
        var value = Select(maps.matmul(columns));
        if (y.TangentByParameter is not { } tangent)
            return new Dual(value);
        var half = cat([tangent, zeros_like(tangent.narrow(2, 0, 1))], 2).matmul(columns.unsqueeze(1)).flatten(0, 1);
        return new Dual(value, Select(half + half.mT));

        Tensor Select(Tensor products)
        {
            var flat = products.flatten(1);
            var index = flat.device.type == DeviceType.CPU ? (first, second) : (first.to(flat.device), second.to(flat.device));
            return (flat.index_select(1, index.Item1) + flat.index_select(1, index.Item2)) * 0.5;
        }
    }

    /// <summary>
    /// Positions in the flat matrix of products: one of each set that symmetry makes equal or transposition of the field turns into
    /// each other, and its transposed partner; all but 1 · 1.
    /// </summary>
    private (long[] Kept, long[] Partner) Products()
    {
        long Transposed(long map)
        {
            if (map == Maps - 1)
                return map;
            var (rest, b) = (map / matrices, map % matrices);
            return (rest / matrices * matrices + b) * matrices + rest % matrices;
        }

        long Position(long i, long j) => Math.Min(i, j) * Maps + Math.Max(i, j);

        var all =
            from i in Enumerable.Range(0, (int)Maps - 1)
            from j in Enumerable.Range(i, (int)Maps - i)
            let own = Position(i, j)
            let partner = Position(Transposed(i), Transposed(j))
            where own <= partner
            select (own, partner);
        return ([.. all.Select(p => p.own)], [.. all.Select(p => p.partner)]);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            identity.Dispose();
            band.Dispose();
            first.Dispose();
            second.Dispose();
        }
        base.Dispose(disposing);
    }
}
