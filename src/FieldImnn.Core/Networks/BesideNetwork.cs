using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>The features of several networks side by side, in their order. All read the same fields.</summary>
public sealed class BesideNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "beside";

    private readonly SummaryNetwork[] parts;
    private readonly long[] sizes;

    internal BesideNetwork(NetworkDescription description, Generator generator)
        : base(description)
    {
        if (description.Parts.Count == 0)
            throw new SettingException("networks beside each other", "at least one", "none");
        foreach (var part in description.Parts)
        {
            if (!part.FieldShape.SequenceEqual(description.FieldShape) || part.Channels != description.Channels)
                throw new SettingException($"network {part.Kind} beside others", $"fields {Guard.Describe([.. description.FieldShape])} as they read", Guard.Describe([.. part.FieldShape]));
        }
        parts = [.. description.Parts.Select(part => CreatePart(part, generator))];
        sizes = [.. parts.Select(part => part.StatisticsShape.Aggregate(1L, (a, b) => a * b))];
    }

    /// <inheritdoc/>
    public override long Features => parts.Sum(part => part.Features);

    /// <inheritdoc/>
    public override bool HasStatistics => parts.All(part => part.HasStatistics);

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [sizes.Sum()];

    /// <summary>Those of the parts, their names behind the part's number: "2.filters".</summary>
    public override IReadOnlyList<(string Name, Parameter Weight)> Parameters =>
        [.. parts.SelectMany((part, i) => part.Parameters.Select(p => ($"{i + 1}.{p.Name}", p.Weight)))];

    /// <summary>What every part depends on, flattened, side by side: (n, Σ statistics).</summary>
    public override Dual Prepare(Dual field)
    {
        CheckField(field);
        using var scope = NewDisposeScope();
        return DualOperations.Concatenate([.. parts.Select(part => part.Prepare(field).Flatten())]).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched("statistics of networks beside each other", statistics.Primal, sizes.Sum());
        using var scope = NewDisposeScope();
        var (made, start) = (new Dual[parts.Length], 0L);
        for (var i = 0; i < parts.Length; start += sizes[i], i++)
        {
            var (from, size, shape) = (start, sizes[i], parts[i].StatisticsShape);
            made[i] = parts[i].Evaluate(statistics.Map(t => t.narrow(1, from, size).reshape([-1, .. shape])));
        }
        return DualOperations.Concatenate(made).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override void To(ScalarType type, Device? device = null)
    {
        foreach (var part in parts)
            part.To(type, device);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            foreach (var part in parts)
                part.Dispose();
        }
        base.Dispose(disposing);
    }
}
