using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// Statistics for fields that nobody described: of pixels made Gaussian by the quantiles of simulations at the fiducial, a histogram and
/// means of Hermite polynomials, power in bands and cross power with the polynomials, weighted by the inverse covariance, of
/// pixels and of pixels behind Wiener's filter. Of the field itself, and with less detail of its averages over 2, 4, … pixels.
/// </summary>
/// <remarks>
/// <para>
/// Where d = T_θ(g) is a monotone function of a Gaussian field of covariance C_θ, these hold the score: u is g at the fiducial, and
/// ∂ ln p/∂θ = ½ vᵀ(∂C)v − vᵀ∂T⁻¹ + Σ ∂ ln |∂T⁻¹/∂d| − ½ tr C⁻¹∂C with v = C⁻¹u: band powers, cross power of v with a function of u, and the mean of
/// another. The Hermite polynomials are a basis for the smooth function in the cross power, orthonormal for Gaussian u; the histogram, with
/// nodes as close as a kink of T may be sharp, one for the mean, whose function may have steps. Nothing is told of T or C.
/// </para>
/// <para>
/// Where there is white noise over T_θ(g), it hides T from single pixels. To the leading order in what is not Gaussian, the score then is the
/// power of v and the cross power of v with squares and cubes of w = S C⁻¹u, Wiener's filter: w = u − n v, with n the white power that is in all of C. These are
/// features, too; where there is no noise they are nearly those of u.
/// </para>
/// <para>
/// There is nothing to train: <see cref="Fit"/> sets the constants, and the closed-form layer does the rest. Pixels that are the same in all
/// simulations are a mask; axes along which neighbours across the border are not correlated like those inside are not periodic.
/// </para>
/// </remarks>
public sealed class LocalStatisticsNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "localStatistics";

    /// <summary>What is worked on at a time, few enough to stay near the processor and enough that many small operations do not count: 8 fields of 128².</summary>
    internal const long PixelsAtOnce = 1L << 17;

    private readonly LocalScale[] scales;

    internal LocalStatisticsNetwork(NetworkDescription description)
        : base(description)
    {
        // pairs of channels share the bands of one
        var spread = Math.Sqrt(description.Channels * (description.Channels + 1) / 2.0);
        var bands = Math.Max(Math.Min(9, description.Setting("bands")), (long)Math.Round(description.Setting("bands") / spread));
        var fine = new LocalSettings(description.Setting("means"), Bins(description.Setting("bins", 0), description.Channels), bands, description.Setting("orders"), description.Setting("crossBands"), description.Setting("filtered", 0));
        var coarse = new LocalSettings(Math.Min(fine.Means, 4), 0, Math.Min(bands, 3), Math.Min(fine.Orders, 3), Math.Min(fine.CrossBands, 2), 0);
        var sides = description.Sides.ToArray();
        using var noGrad = no_grad();
        var made = new List<LocalScale>();
        for (var i = 0; i < description.Setting("scales") && sides.All(n => n >> (Halves(sides) ? 0 : i) >= (i == 0 ? 1 : 4)); i++)
        {
            made.Add(new LocalScale(description.Channels, sides, i == 0 ? fine : coarse));
            if (Halves(sides))
                sides = [.. sides.Select(n => n / 2)];
        }
        scales = [.. made];
    }

    /// <inheritdoc/>
    public override long Features => scales.Sum(scale => scale.Features);

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [Features];

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, Tensor Value)> Constants =>
        [.. scales.SelectMany((scale, i) => scale.Constants.Select(c => ($"{i + 1}.{c.Name}", c.Value)))];

    /// <inheritdoc/>
    public override void Restore(IReadOnlyDictionary<string, Tensor> constants)
    {
        ArgumentNullException.ThrowIfNull(constants);
        for (var i = 0; i < scales.Length; i++)
        {
            var number = i + 1;
            scales[i].Restore(name => constants[$"{number}.{name}"]);
        }
    }

    /// <inheritdoc/>
    public override long FitFields => Math.Clamp((1L << 22) / Description.FieldShape.Aggregate(1L, (a, b) => a * b), 500, 4000);

    /// <inheritdoc/>
    public override void Fit(Tensor fields)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var x = WithChannels(new Dual(fields));
        var seen = (x.Primal.amax([0]) > x.Primal.amin([0])).to_type(ScalarType.Float32);
        for (var c = 0L; c < Description.Channels; c++)
        {
            if (seen[c].sum().ToDouble() == 0)
                throw new SettingException("fields to fit the local statistics to", "pixels that differ between them", $"none in channel {c + 1}");
        }
        Walk(x, seen, !seen.eq(0).any().ToBoolean(), (scale, at, mask) => scale.Fit(at.Primal, mask));
    }

    /// <summary>The statistics (n, features) of fields (n, c?, sides…).</summary>
    public override Dual Prepare(Dual field)
    {
        using var scope = NewDisposeScope();
        var x = WithChannels(field);
        return Pieces.Map(x, PixelsAtOnce, Statistics).MoveToOuterDisposeScope();
    }

    private Dual Statistics(Dual x)
    {
        var made = new List<Dual>();
        Walk(x, scales[0].Seen.to(x.Primal.dtype, x.Primal.device), scales[0].Complete, (scale, at, _) => made.Add(scale.Evaluate(at)));
        return DualOperations.Concatenate([.. made]);
    }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("local statistics", statistics.Primal, Features);
        return statistics.Map(t => t.alias());
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (var scale in scales)
                scale.Dispose();
        }
        base.Dispose(disposing);
    }

    /// <summary>Bins of each histogram: those of one channel are shared by several, down to eleven; fewer than three are none.</summary>
    private static long Bins(long wanted, long channels)
    {
        var each = Math.Max(Math.Min(11, wanted), (long)Math.Round((double)wanted / channels));
        return each < 3 ? 0 : each;
    }

    private static bool Halves(long[] sides) => sides.All(n => n % 2 == 0);

    /// <summary>
    /// Visits the scales with the averages x of what is seen (all of it, if complete) and, (c, sides…), which of them are: those with half of
    /// their pixels.
    /// </summary>
    private void Walk(Dual x, Tensor seen, bool complete, Action<LocalScale, Dual, Tensor> visit)
    {
        visit(scales[0], x, seen);
        var (sum, coverage, shift) = (complete ? x : x.Map(t => t * seen), seen, 1L);
        for (var i = 1; i < scales.Length; i++)
        {
            var periodic = scales[i - 1].Periodic;
            if (Halves(scales[i - 1].Sides))
                (sum, coverage) = (sum.AveragePool(), new Dual(coverage.unsqueeze(0)).AveragePool().Primal.squeeze(0));
            else
            {
                (sum, coverage) = (sum.Map(t => Shifted(t, 2)), Shifted(coverage, 1));
                shift *= 2;
            }
            var cover = coverage;
            var average = complete && periodic.All(p => p) ? sum : sum.Map(t => t / cover.AtLeast(1e-6));
            var most = coverage.flatten(1).amax([1]).reshape([-1, .. scales[i].Sides.Select(_ => 1L)]);
            visit(scales[i], average, coverage.ge(most.AtMost(0.5)).to_type(coverage.dtype));

            // the mean with the pixel `shift` further along each axis; beyond the border of an axis that is not periodic is nothing
            Tensor Shifted(Tensor t, int first)
            {
                for (var axis = 0; axis < periodic.Length; axis++)
                {
                    var moved = t.roll(-shift, axis + first);
                    if (!periodic[axis])
                        moved.narrow(axis + first, t.shape[axis + first] - shift, shift).zero_();
                    t = t.Plus(moved).Times(0.5);
                }
                return t;
            }
        }
    }
}
