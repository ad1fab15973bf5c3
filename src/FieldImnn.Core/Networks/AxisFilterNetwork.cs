using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// Products of filtered transforms of a field that is not periodic, N × N. (1) t = asinh((f + c)/2ε), the logarithm of f + c but for a
/// soft floor at ε, defined for every f. (2) A one-point network, u_c = w_c0 t + Σ_h w_ch SiLU(a_h t + b_h), and u_0 = 1. (3) Filters
/// along each axis, y_cab = M_a u_c M_bᵀ, M free N × N matrices: near a border a filter may be another one than in the middle.
/// (4) Features: the means over pixels of all products y y' but the constant ones.
/// </summary>
/// <remarks>
/// c is meant to be where the field ends (1/α for f = (e^{αg − α²/2} − 1)/α): there a small step in f says much, which a network that
/// reads f itself finds hard to see.
/// </remarks>
public sealed class AxisFilterNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "axisFilters";

    /// <summary>Offset and floor are whole-numbered settings, in millionths.</summary>
    public const double SettingUnit = 1e-6;

    private readonly long n, channels, hidden, matrices;
    private readonly double offset, floor;
    private readonly Tensor identity, pairs;

    internal AxisFilterNetwork(NetworkDescription description, Generator generator)
        : base(description)
    {
        if (description.FieldShape.Count != 2 || description.FieldShape[0] != description.FieldShape[1])
            throw new SettingException("shape of the field", "two equal axes for the axis filters", Guard.Describe([.. description.FieldShape]));
        n = description.FieldShape[0];
        channels = description.Setting("channels");
        hidden = description.Setting("hidden");
        matrices = description.Setting("matrices");
        offset = description.Setting("offset") * SettingUnit;
        floor = description.Setting("floor") * SettingUnit;
        AddWeight("inner.weight", generator, 1.0, hidden, 1, 1, 1);
        AddWeight("inner.bias", generator, 2.0, hidden);
        AddWeight("outer", generator, 1 / Math.Sqrt(hidden + 1), channels, hidden + 1, 1, 1);
        AddWeight("filters", generator, 0.3 / Math.Sqrt(n), matrices, n, n);
        using var scope = NewDisposeScope();
        identity = zeros(matrices, n, n);
        identity[0] = eye(n);
        identity.DetachFromDisposeScope();
        pairs = tensor(Pairs()).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public override long Features => pairs.shape[0];

    private long Maps => (channels + 1) * matrices * matrices;

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <summary>t = asinh((f + c)/2ε) of fields (n, N, N).</summary>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        return field.Add(tensor(offset, field.Primal.dtype)).Map(x => x / (2 * floor)).Asinh().MoveToOuterDisposeScope();
    }

    /// <summary>Features (n, products) of t (n, N, N).</summary>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("log fields", statistics.Primal, n, n);
        using var scope = NewDisposeScope();
        var t = statistics.Map(x => x.unsqueeze(1));
        var inner = t.Convolve(Weight("inner.weight"), Weight("inner.bias")).SiLU();
        var u = DualOperations.Concatenate(t, inner).Convolve(Weight("outer"));
        var m = Weight("filters") + identity.to(t.Primal.dtype, t.Primal.device);
        var constant = new Dual(ones_like(t.Primal), t.Tangent is null ? null : zeros_like(t.Tangent));
        var y = DualOperations.Concatenate(constant, u).Map(x => einsum("aij,ncjk,blk->ncabil", m, x, m).flatten(4).flatten(1, 3));
        var index = pairs;
        return Gram(y).Map(g => g.flatten(1).index_select(1, index)).MoveToOuterDisposeScope();
    }

    /// <summary>Means of all products of the maps (n, m, pixels): (n, m, m).</summary>
    private static Dual Gram(Dual y)
    {
        var transposed = y.Primal.mT / (double)y.Primal.shape[2];
        var value = y.Primal.matmul(transposed);
        if (y.TangentByParameter is not { } tangent)
            return new Dual(value);
        var half = tangent.matmul(transposed.unsqueeze(1));
        return new Dual(value, (half + half.mT).flatten(0, 1));
    }

    /// <summary>Positions, in the m × m matrix of products, of those on or above the diagonal that depend on the field.</summary>
    private long[] Pairs() =>
    [
        .. from i in Enumerable.Range(0, (int)Maps)
           from j in Enumerable.Range(i, (int)Maps - i)
           where j >= matrices * matrices
           select i * Maps + j,
    ];

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            identity.Dispose();
            pairs.Dispose();
        }
        base.Dispose(disposing);
    }
}
