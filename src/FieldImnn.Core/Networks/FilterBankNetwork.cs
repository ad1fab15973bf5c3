using System;
using System.Linq;
using FieldImnn.Core.Fields;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// Log band energies of learned filters on a periodic field: on each level ℓ of a pyramid of 2-point averages,
/// ln ⟨(w_f ∗ x_ℓ)²⟩ for filters w_f of k points a side, level by level: features (n, levels · filters). In 1, 2 or 3 dimensions.
/// </summary>
/// <remarks>
/// With periodic borders the energy is a quadratic form of the filter in the field's autocorrelation R(Δ) = ⟨x(q) x(q + Δ)⟩:
/// E_f = Σ_st w_s w_t R(s − t) = Σ_Δ R(Δ) A_f(Δ), A_f(Δ) = Σ_s w_s w_{s−Δ}, over the (2k − 1)^D lags |Δ| ≤ k − 1. R has no weights in
/// it: two FFTs a field, once, after which a training step multiplies a few hundred numbers a field and reads no pixel.
/// The sum over Δ cancels where a filter rejects most of the field's power: the relative error is 10⁻⁷ R(0) |w|² / E in single precision.
/// </remarks>
public sealed class FilterBankNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "filterBank";

    private readonly long filters, size, levels;
    private readonly Tensor lagOfPair;

    internal FilterBankNetwork(NetworkDescription description, Generator generator)
        : base(description)
    {
        filters = description.Setting("filters");
        size = description.Setting("size");
        levels = description.Setting("levels");
        var coarsest = 1L << (int)(levels - 1);
        if (levels > 30 || description.FieldShape.Any(n => n < coarsest || n % coarsest != 0))
            throw new SettingException(
                $"a pyramid of {levels} levels", $"sides that are multiples of {coarsest}", Guard.Describe([.. description.FieldShape]));
        var points = Power(size);
        AddWeight("filters", generator, 1 / Math.Sqrt(points), [levels, filters, .. Enumerable.Repeat(size, Dimensions)]);
        lagOfPair = tensor(LagOfPair()).DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public override long Features => levels * filters;

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <summary>Number of lags, (2k − 1)^D.</summary>
    public long Lags => Power(2 * size - 1);

    private int Dimensions => Description.FieldShape.Count;

    /// <summary>
    /// Autocorrelations (n, levels, lags) of fields (n, shape…), lags in row-major order from −(k − 1); the tangent is
    /// dR(Δ) = ⟨dx(q) x(q + Δ) + x(q) dx(q + Δ)⟩.
    /// </summary>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        var x = field.Map(t => t.unsqueeze(1));
        var byLevel = new Dual[levels];
        for (var level = 0; level < levels; level++)
        {
            if (level > 0)
                x = x.AveragePool();
            byLevel[level] = Autocorrelation(x);
        }
        return DualOperations.Concatenate(byLevel).MoveToOuterDisposeScope();
    }

    /// <summary>Log energies (n, levels · filters) of autocorrelations (n, levels, lags).</summary>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("autocorrelations", statistics.Primal, levels, Lags);
        using var scope = NewDisposeScope();
        var forms = FilterAutocorrelation();
        return statistics.Map(r => einsum("nld,lfd->nlf", r, forms).flatten(1)).Log().MoveToOuterDisposeScope();
    }

    /// <summary>The same features by convolving the field itself with the filters, for two-dimensional fields: the definition.</summary>
    public Dual Direct(Dual field)
    {
        CheckField(field);
        if (Dimensions != 2)
            throw new SettingException("direct filtering", "a field of two dimensions", $"{Dimensions}");
        using var scope = NewDisposeScope();
        var x = field.Map(t => t.unsqueeze(1));
        var border = new Border((size - 1) / 2, size / 2);
        var byLevel = new Dual[levels];
        for (var level = 0; level < levels; level++)
        {
            if (level > 0)
                x = x.AveragePool();
            var kernel = Weight("filters")[level].unsqueeze(1);
            byLevel[level] = x.PadCircular(border, border).Convolve(kernel).Square().Mean().Log();
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

    /// <summary>R of (n, 1, shape…) on the lags, (n, 1, lags), by the Wiener–Khinchin theorem.</summary>
    private Dual Autocorrelation(Dual x)
    {
        using var scope = NewDisposeScope();
        var shape = x.Primal.shape[2..];
        var modes = RealTransform.Forward(x.Primal, Dimensions);
        var value = Crop(Product(modes, modes));
        if (x.TangentByParameter is not { } tangent)
            return new Dual(value).MoveToOuterDisposeScope();
        var changed = RealTransform.Forward(tangent, Dimensions);
        var derivative = Crop(Product(modes.unsqueeze(1), changed).mul(2).flatten(0, 1));
        return new Dual(value, derivative).MoveToOuterDisposeScope();

        // Re(a* b): the real part is the part even in Δ, and E_f is a sum over pairs in either order
        static Tensor Product(Tensor a, Tensor b) => a.real * b.real + a.imag * b.imag;

        Tensor Crop(Tensor spectrum)
        {
            var image = RealTransform.Inverse(spectrum.to_type(modes.dtype), Dimensions, shape[^1]);
            for (var axis = 0; axis < Dimensions; axis++)
            {
                var lags = arange(1 - size, size, dtype: ScalarType.Int64, device: image.device).remainder(shape[axis]);
                image = image.index_select(axis + 2, lags);
            }
            return image.flatten(2).div(shape.Aggregate(1.0, (a, b) => a * b));
        }
    }

    /// <summary>A_f of every filter, (levels, filters, lags): the products of all pairs of points, added up by their lag.</summary>
    private Tensor FilterAutocorrelation()
    {
        var w = Weight("filters").flatten(2);
        var pairs = (w.unsqueeze(3) * w.unsqueeze(2)).flatten(2);
        var index = lagOfPair.device == pairs.device ? lagOfPair : lagOfPair.to(pairs.device);
        return zeros([levels, filters, Lags], pairs.dtype, pairs.device).index_add(2, index, pairs, 1);
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
