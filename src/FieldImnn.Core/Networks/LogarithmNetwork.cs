using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// A network on the logarithm of the field, y = ln(1 + δ), for fields that are log-normal or nearly so: the features that the inner
/// network makes of y less its mean over the pixels, and that mean as one more feature.
/// </summary>
public sealed class LogarithmNetwork : SummaryNetwork
{
    private readonly SummaryNetwork inner;
    private readonly long[] statistics;

    internal LogarithmNetwork(SummaryNetwork inner)
        : base(inner.Description.OfLogarithm())
    {
        this.inner = inner;
        using var scope = NewDisposeScope();
        statistics = inner.Prepare(new Dual(ones([1, .. inner.Description.FieldShape]))).Primal.shape[1..];
    }

    /// <inheritdoc/>
    public override long Features => inner.Features + 1;

    /// <inheritdoc/>
    public override bool HasStatistics => inner.HasStatistics;

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, Parameter Weight)> Parameters => inner.Parameters;

    /// <summary>What the inner network makes of y − ⟨y⟩, flattened, and ⟨y⟩: (n, statistics + 1).</summary>
    /// <exception cref="RangeException">A pixel of the field is ≤ −1.</exception>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        var y = field.LogOfOnePlus();
        var mean = y.Map(t => t.flatten(1).mean([1], keepdim: true));
        var centred = y.Map(t => t - t.flatten(1).mean([1]).reshape([-1, .. Enumerable.Repeat(1L, (int)t.dim() - 1)]));
        return DualOperations.Concatenate(inner.Prepare(centred).Flatten(), mean).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics)
    {
        var length = this.statistics.Aggregate(1L, (a, b) => a * b);
        Guard.Batched("statistics of the logarithm", statistics.Primal, length + 1);
        using var scope = NewDisposeScope();
        var own = statistics.Map(t => t.narrow(1, 0, length).reshape([-1, .. this.statistics]));
        var mean = statistics.Map(t => t.narrow(1, length, 1));
        return DualOperations.Concatenate(inner.Evaluate(own), mean).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override void To(ScalarType type, Device? device = null) => inner.To(type, device);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
        base.Dispose(disposing);
    }
}
