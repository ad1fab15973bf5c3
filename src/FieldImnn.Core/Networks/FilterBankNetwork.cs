using System;
using System.Collections.Generic;
using System.Linq;
using FieldImnn.Core.Fields;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// Log band energies of learned filters on a periodic field: on each level ℓ of a pyramid of 2-point averages,
/// ln ⟨(Σ_c w_fc ∗ x_ℓc)²⟩ for filters w_f of k points a side and a weight for each channel c, level by level: features
/// (n, levels · filters). In 1, 2 or 3 dimensions.
/// </summary>
/// <remarks>
/// With periodic borders the energy is a quadratic form of the filter in the field's correlations R_cd(Δ) = ⟨x_c(q + Δ) x_d(q)⟩:
/// E_f = Σ_cd Σ_st w_cs w_dt R_cd(s − t) = Σ_cd Σ_Δ R_cd(Δ) A_fcd(Δ), A_fcd(Δ) = Σ_s w_cs w_d,s−Δ, over the (2k − 1)^D lags |Δ| ≤ k − 1;
/// pairs c &lt; d count twice. R has no weights in it: two FFTs a field, once, after which a training step multiplies a few hundred numbers
/// a field and reads no pixel.
/// The sum over Δ cancels where a filter rejects most of the field's power: the relative error is 10⁻⁷ R(0) |w|² / E in single precision.
/// </remarks>
public sealed class FilterBankNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "filterBank";

    private readonly long filters, size, levels;
    private readonly ChannelPairs pairs;
    private readonly Tensor lagOfPair;

    internal FilterBankNetwork(NetworkDescription description, Generator generator)
        : base(description)
    {
        filters = description.Setting("filters");
        size = description.Setting("size");
        levels = description.Setting("levels");
        if (LevelsFor(description.Sides, levels) < levels)
            throw new SettingException(
                $"a pyramid of {levels} levels", $"sides that are multiples of {1L << (int)Math.Min(levels - 1, 62)}", Guard.Describe([.. description.Sides]));
        pairs = new ChannelPairs(description.Channels);
        AddWeight(
            "filters", generator, 1 / Math.Sqrt(Power(size) * pairs.Channels), [levels, filters, pairs.Channels, .. Enumerable.Repeat(size, Dimensions)]);
        lagOfPair = tensor(LagOfPair()).DetachFromDisposeScope();
    }

    /// <summary>The most levels up to <paramref name="wanted"/> that sides allow: each halves all of them. At least 1.</summary>
    public static long LevelsFor(IReadOnlyList<long> sides, long wanted)
    {
        ArgumentNullException.ThrowIfNull(sides);
        var found = 1L;
        while (found < Math.Min(wanted, 30) && sides.All(n => n % (1L << (int)found) == 0))
            found++;
        return found;
    }

    /// <inheritdoc/>
    public override long Features => levels * filters;

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [levels, pairs.Count, Lags];

    /// <summary>Number of lags, (2k − 1)^D.</summary>
    public long Lags => Power(2 * size - 1);

    private int Dimensions => Description.Sides.Count;

    /// <summary>
    /// Correlations (n, levels, pairs of channels, lags) of fields (n, c?, sides…), lags in row-major order from −(k − 1); the tangent is
    /// dR(Δ) = ⟨dx(q + Δ) x'(q) + x(q + Δ) dx'(q)⟩.
    /// </summary>
    public override Dual Prepare(Dual field)
    {
        using var scope = NewDisposeScope();
        var x = WithChannels(field);
        var byLevel = new Dual[levels];
        for (var level = 0; level < levels; level++)
        {
            if (level > 0)
                x = x.AveragePool();
            byLevel[level] = Correlation(x);
        }
        return DualOperations.Concatenate(byLevel).MoveToOuterDisposeScope();
    }

    /// <summary>Log energies (n, levels · filters) of correlations (n, levels, pairs of channels, lags).</summary>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("correlations", statistics.Primal, levels, pairs.Count, Lags);
        using var scope = NewDisposeScope();
        var forms = FilterCorrelation().flatten(2);
        return statistics.Map(r => einsum("nld,lfd->nlf", r.flatten(2), forms).flatten(1)).Log().MoveToOuterDisposeScope();
    }

    /// <summary>The same features by convolving the field itself with the filters, for two-dimensional fields: the definition.</summary>
    public Dual Direct(Dual field)
    {
        if (Dimensions != 2)
            throw new SettingException("direct filtering", "a field of two dimensions", $"{Dimensions}");
        using var scope = NewDisposeScope();
        var x = WithChannels(field);
        var border = new Border((size - 1) / 2, size / 2);
        var byLevel = new Dual[levels];
        for (var level = 0; level < levels; level++)
        {
            if (level > 0)
                x = x.AveragePool();
            byLevel[level] = x.PadCircular(border, border).Convolve(Weight("filters")[level]).Square().Mean().Log();
        }
        return DualOperations.Concatenate(byLevel).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            lagOfPair.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>R of (n, c, sides…) on the lags, (n, 1, pairs, lags), by the Wiener–Khinchin theorem.</summary>
    private Dual Correlation(Dual x)
    {
        using var scope = NewDisposeScope();
        var sides = x.Primal.shape[2..];
        // modes and their products have the halved axis first: no matter to a product, and two transpositions less
        var modes = RealTransform.ForwardReversed(x.Primal, Dimensions);
        var mirrors = RealTransform.Mirrors(sides[^1], modes).reshape([-1, .. Enumerable.Repeat(1L, Dimensions - 1)]);
        var value = Crop(Product(modes, modes, 1));
        if (x.TangentByParameter is not { } tangent)
            return new Dual(value).MoveToOuterDisposeScope();
        var (fixedModes, changed) = (modes.unsqueeze(1), RealTransform.ForwardReversed(tangent, Dimensions));
        var derivative = pairs.Count == 1
            ? Product(fixedModes, changed, 2).mul(2)
            : Product(fixedModes, changed, 2) + Product(changed, fixedModes, 2);
        return new Dual(value, Crop(derivative.flatten(0, 1))).MoveToOuterDisposeScope();

        // a b* of all pairs of channels. Of one channel the real part will do: it is the part even in Δ, and E_f sums pairs in either order
        Tensor Product(Tensor a, Tensor b, long axis) => pairs.Count == 1
            ? a.real * b.real + a.imag * b.imag
            : pairs.First(a, axis) * pairs.Second(b, axis).conj();

        Tensor Crop(Tensor spectrum)
        {
            var image = RealTransform.InverseReversed((spectrum * mirrors).to_type(modes.dtype), Dimensions, sides[^1]);
            for (var axis = 0; axis < Dimensions; axis++)
            {
                var lags = arange(1 - size, size, dtype: ScalarType.Int64, device: image.device).remainder(sides[axis]);
                image = image.index_select(axis + 2, lags);
            }
            return image.flatten(2).div(sides.Aggregate(1.0, (a, b) => a * b)).unsqueeze(1);
        }
    }

    /// <summary>A of every filter and pair of channels, (levels, filters, pairs, lags): products of all pairs of points, added up by their lag.</summary>
    private Tensor FilterCorrelation()
    {
        var w = Weight("filters").flatten(3);
        var products = (pairs.First(w, 2).unsqueeze(4) * pairs.Second(w, 2).unsqueeze(3)).flatten(3);
        var index = lagOfPair.device == products.device ? lagOfPair : lagOfPair.to(products.device);
        var sums = zeros([levels, filters, pairs.Count, Lags], products.dtype, products.device).index_add(3, index, products, 1);
        return pairs.Count == 1 ? sums : sums * tensor(pairs.Multiplicity, products.dtype, products.device).unsqueeze(1);
    }

    /// <summary>The index of s − t among the lags, for all pairs of points s, t of a filter.</summary>
    private long[] LagOfPair()
    {
        var points = Power(size);
        var lags = new long[points * points];
        for (var s = 0L; s < points; s++)
            for (var t = 0L; t < points; t++)
            {
                var (lag, stride, a, b) = (0L, 1L, s, t);
                for (var axis = 0; axis < Dimensions; axis++)
                {
                    lag += (a % size - b % size + size - 1) * stride;
                    (stride, a, b) = (stride * (2 * size - 1), a / size, b / size);
                }
                lags[s * points + t] = lag;
            }
        return lags;
    }

    private long Power(long side) => Enumerable.Repeat(side, Dimensions).Aggregate(1L, (a, b) => a * b);
}
