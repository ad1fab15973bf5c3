using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// A network on a pointwise function y of the field: the features that the inner network makes of y less its mean over the pixels, and
/// that mean, of each channel, as more features. Nothing is lost by it, and the inner network's sums do not cancel.
/// </summary>
public sealed class TransformNetwork : SummaryNetwork
{
    /// <summary>The name of y = ln(1 + δ), for fields that are log-normal or nearly so.</summary>
    public const string Logarithm = "logarithm";

    private readonly Func<Dual, Dual> function;
    private readonly SummaryNetwork inner;
    private readonly long size;

    internal TransformNetwork(NetworkDescription description, Generator generator, Func<Dual, Dual> function)
        : base(description)
    {
        if (description.Parts.Count != 1)
            throw new SettingException($"network {description.Kind}", "one part, on the function of the field", $"{description.Parts.Count}");
        var part = description.Parts[0];
        if (!part.FieldShape.SequenceEqual(description.FieldShape) || part.Channels != description.Channels)
            throw new SettingException($"network {part.Kind} {description.Kind}", $"fields {Guard.Describe([.. description.FieldShape])}", Guard.Describe([.. part.FieldShape]));
        this.function = function;
        inner = CreatePart(part, generator);
        size = inner.StatisticsShape.Aggregate(1L, (a, b) => a * b);
    }

    /// <summary>The kind of networks on the pointwise function of this name.</summary>
    public static string KindOf(string name) => $"of {name}";

    /// <summary>
    /// Registers a pointwise function of one's own: tensor to tensor of the same shape. Its derivative is another such function, or left
    /// to torch. Registered again, it is replaced.
    /// </summary>
    /// <exception cref="SettingException">The name is empty or that of a function of the house.</exception>
    public static void Register(string name, Func<Tensor, Tensor> value, Func<Tensor, Tensor>? derivative = null)
    {
        ArgumentNullException.ThrowIfNull(value);
        Dual Apply(Dual x) => Autograd.Pointwise(name, value, derivative, x);
        SummaryNetwork.Register(KindOf(name), (d, g) => new TransformNetwork(d, g, Apply), $"of {name} of the field");
    }

    /// <inheritdoc/>
    public override long Features => inner.Features + Description.Channels;

    /// <inheritdoc/>
    public override bool HasStatistics => inner.HasStatistics;

    /// <inheritdoc/>
    public override IReadOnlyList<long> StatisticsShape => [size + Description.Channels];

    /// <inheritdoc/>
    public override IReadOnlyList<(string Name, Parameter Weight)> Parameters => inner.Parameters;

    /// <summary>What the inner network makes of y − ⟨y⟩, flattened, and ⟨y⟩: (n, statistics + channels).</summary>
    /// <exception cref="RangeException">The function is not defined for a pixel.</exception>
    public override Dual Prepare(Dual field)
    {
        using var scope = NewDisposeScope();
        var y = function(WithChannels(field));
        var mean = y.Map(t => t.flatten(2).mean([2]));
        var centred = new Dual(Centred(y.Primal), y.Tangent is null ? null : Centred(y.Tangent));
        return DualOperations.Concatenate(inner.Prepare(centred).Flatten(), mean).MoveToOuterDisposeScope();

        Tensor Centred(Tensor t)
        {
            var less = t - t.flatten(2).mean([2]).reshape([.. t.shape[..2], .. Description.Sides.Select(_ => 1L)]);
            return Description.Channels > 1 ? less : less.squeeze(1);
        }
    }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics)
    {
        Guard.Batched($"statistics {Kind}", statistics.Primal, size + Description.Channels);
        using var scope = NewDisposeScope();
        var own = statistics.Map(t => t.narrow(1, 0, size).reshape([-1, .. inner.StatisticsShape]));
        var mean = statistics.Map(t => t.narrow(1, size, Description.Channels));
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
