using System;
using System.Linq;
using FieldImnn.Core.Fields;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The measured power spectrum of a field, the summary of standard analyses: means of |δ_k|² over bands of |k| of one width, from
/// above zero to the corner of the grid, in units of the pixel: features (n, bands). Nothing is learned: it has no weights.
/// </summary>
public sealed class BandPowerNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "bandPower";

    private readonly FourierGrid grid;
    private readonly Tensor average;

    internal BandPowerNetwork(NetworkDescription description)
        : base(description)
    {
        if (description.FieldShape.Any(n => n != description.FieldShape[0]))
            throw new SettingException("band powers", "fields with equal sides", Guard.Describe([.. description.FieldShape]));
        Features = description.Setting("bands");
        grid = new FourierGrid(description.FieldShape.Count, (int)description.FieldShape[0], description.FieldShape[0]);
        using var scope = NewDisposeScope();
        average = Average().MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public override long Features { get; }

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <summary>Mean wavenumber of every band, in inverse pixels.</summary>
    public double[] Wavenumbers
    {
        get
        {
            using var scope = NewDisposeScope();
            return grid.HalfWavenumber.flatten().to_type(average.dtype).matmul(average).to_type(ScalarType.Float64).data<double>().ToArray();
        }
    }

    /// <summary>⟨|δ_k|²⟩ over bands (n, bands); the tangent is ⟨2 Re δ_k* dδ_k⟩.</summary>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        var modes = grid.Forward(field.Primal);
        var power = InBands(modes.real.square() + modes.imag.square());
        if (field.TangentByParameter is not { } tangent)
            return new Dual(power).MoveToOuterDisposeScope();
        var changed = grid.Forward(tangent);
        var conjugate = modes.unsqueeze(1);
        var change = InBands((conjugate.real * changed.real + conjugate.imag * changed.imag).mul(2).flatten(0, 1));
        return new Dual(power, change).MoveToOuterDisposeScope();
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

    private Tensor InBands(Tensor modePower) =>
        modePower.flatten(1).matmul(average.to(modePower.dtype, modePower.device)) / grid.ModeVariancePerPower;

    /// <summary>Weights of half-grid modes in the means over bands: (modes, bands), float32.</summary>
    private Tensor Average()
    {
        var k = grid.HalfWavenumber.flatten();
        var widest = k.max().ToDouble();
        var band = (k * (Features / widest)).ceil().to_type(ScalarType.Int64).clamp(1, Features) - 1;
        var inside = k > 0;
        var members = zeros([k.shape[0], Features], ScalarType.Float64);
        members = members.scatter(1, band.unsqueeze(1), (grid.HermitianWeight.flatten() * inside).unsqueeze(1));
        var sizes = members.sum(0L); // a plain 0 would be a ScalarType
        if (sizes.min().ToDouble() <= 0)
            throw new SettingException("bands of |k|", "so few that every one holds a mode", $"{Features} on {grid.N} points a side");
        return (members / sizes).to_type(ScalarType.Float32);
    }
}
