using System.Collections.Generic;
using System.Linq;
using FieldImnn.Core.Fields;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The measured power spectrum of a field, the summary of standard analyses: means of |δ_k|² over bands of |k| of one width, from
/// above zero to the corner of the grid, in units of the pixel: features (n, bands). Of several channels, the means of Re δ_k* δ'_k of every
/// pair (0, 0), (0, 1), …: (n, pairs · bands). Nothing is learned: it has no weights.
/// </summary>
public sealed class BandPowerNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "bandPower";

    private readonly FourierGrid grid;
    private readonly Tensor average;
    private readonly ChannelPairs pairs;
    private readonly long bands;

    internal BandPowerNetwork(NetworkDescription description)
        : base(description)
    {
        var sides = description.Sides;
        if (sides.Any(n => n != sides[0]))
            throw new SettingException("band powers", "fields with equal sides", Guard.Describe([.. sides]));
        bands = description.Setting("bands");
        pairs = new ChannelPairs(description.Channels);
        grid = new FourierGrid(sides.Count, (int)sides[0], sides[0]);
        using var scope = NewDisposeScope();
        average = Average().MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public override long Features => pairs.Count * bands;

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [Features];

    /// <summary>Mean wavenumber of every band, in inverse pixels.</summary>
    public double[] Wavenumbers
    {
        get
        {
            using var scope = NewDisposeScope();
            return grid.HalfWavenumber.flatten().to_type(average.dtype).matmul(average).to_type(ScalarType.Float64).data<double>().ToArray();
        }
    }

    /// <summary>⟨Re δ_k* δ'_k⟩ over bands (n, pairs · bands); the tangent is ⟨Re (dδ_k* δ'_k + δ_k* dδ'_k)⟩.</summary>
    public override Dual Prepare(Dual field)
    {
        using var scope = NewDisposeScope();
        var x = WithChannels(field);
        var modes = grid.Forward(x.Primal);
        var power = InBands(Product(modes, modes, 1));
        if (x.TangentByParameter is not { } tangent)
            return new Dual(power).MoveToOuterDisposeScope();
        var (fixedModes, changed) = (modes.unsqueeze(1), grid.Forward(tangent));
        var change = pairs.Count == 1
            ? Product(fixedModes, changed, 2).mul(2)
            : Product(fixedModes, changed, 2) + Product(changed, fixedModes, 2);
        return new Dual(power, InBands(change.flatten(0, 1))).MoveToOuterDisposeScope();
    }

    /// <summary>Re a* b of all pairs of channels, which both have along this axis.</summary>
    private Tensor Product(Tensor a, Tensor b, long axis)
    {
        var (first, second) = (pairs.First(a, axis), pairs.Second(b, axis));
        return first.real * second.real + first.imag * second.imag;
    }

    /// <summary>The band powers themselves.</summary>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("band powers", statistics.Primal, Features);
        return statistics.Map(t => t.alias());
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            average.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Means over bands (rows, pairs · bands) of (rows, pairs, modes…).</summary>
    private Tensor InBands(Tensor modePower) =>
        modePower.flatten(2).matmul(average.to(modePower.dtype, modePower.device)).flatten(1) / grid.ModeVariancePerPower;

    /// <summary>Weights of half-grid modes in the means over bands: (modes, bands), float32.</summary>
    private Tensor Average()
    {
        var k = grid.HalfWavenumber.flatten();
        var widest = k.max().ToDouble();
        var band = (k * (bands / widest)).ceil().to_type(ScalarType.Int64).clamp(1, bands) - 1;
        var inside = k > 0;
        var members = zeros([k.shape[0], bands], ScalarType.Float64);
        members = members.scatter(1, band.unsqueeze(1), (grid.HermitianWeight.flatten() * inside).unsqueeze(1));
        var sizes = members.sum(0L); // a plain 0 would be a ScalarType
        if (sizes.min().ToDouble() <= 0)
            throw new SettingException("bands of |k|", "so few that every one holds a mode", $"{bands} on {grid.N} points a side");
        return (members / sizes).to_type(ScalarType.Float32);
    }
}
