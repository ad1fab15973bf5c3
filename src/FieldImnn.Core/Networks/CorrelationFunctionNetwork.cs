using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The two-point correlation function as a summary, without weights: ξ(r) = ⟨f(x) f(x + Δ)⟩ over all pairs of pixels of an N × N field
/// that is not periodic, in bins of |Δ| of one pixel about r = 0, 1, … r_max.
/// </summary>
public sealed class CorrelationFunctionNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "correlationFunction";

    private readonly long rows, columns, largest;

    internal CorrelationFunctionNetwork(NetworkDescription description)
        : base(description)
    {
        if (description.FieldShape.Count != 2)
            throw new SettingException("shape of the field", "two axes for the correlation function", $"{description.FieldShape.Count}");
        (rows, columns) = (description.FieldShape[0], description.FieldShape[1]);
        largest = description.Setting("lags");
        if (largest >= Math.Min(rows, columns))
            throw new SettingException("largest lag of the correlation function", $"below the side, {Math.Min(rows, columns)}", $"{largest}");
    }

    /// <inheritdoc/>
    public override long Features => largest + 1;

    /// <inheritdoc/>
    public override bool HasStatistics => true;

    /// <summary>ξ (n, r_max + 1) of fields (n, N, N).</summary>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        var sums = new Dual[Features];
        var pairs = new double[Features];
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
            var sum = SumOfProducts(field, dy, dx);
            sums[bin] = pairs[bin] == 0 ? sum : new Dual(sums[bin].Primal + sum.Primal, sum.Tangent is null ? null : sums[bin].Tangent! + sum.Tangent);
            pairs[bin] += (rows - dy) * (columns - Math.Abs(dx));
        }
        return DualOperations.Concatenate([.. sums.Select((sum, bin) => sum.Map(x => x / pairs[bin]))]).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics) => statistics.Map(x => x.alias());

    /// <summary>Σ f(x) f(x + Δ) over the pairs inside the field, (n, 1).</summary>
    private Dual SumOfProducts(Dual field, long dy, long dx)
    {
        Tensor Part(Tensor x, bool moved) => x
            .narrow(-2, moved ? dy : 0, rows - dy)
            .narrow(-1, moved == dx > 0 ? Math.Abs(dx) : 0, columns - Math.Abs(dx));

        static Tensor Sum(Tensor products) => products.sum([-2, -1]);

        var (a, b) = (Part(field.Primal, false), Part(field.Primal, true));
        var value = Sum(a * b).unsqueeze(1);
        return field.TangentByParameter is not { } tangent
            ? new Dual(value)
            : new Dual(value, Sum(Part(tangent, false) * b.unsqueeze(1) + a.unsqueeze(1) * Part(tangent, true)).reshape(-1, 1));
    }
}
