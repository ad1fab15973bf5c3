using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// A function from fields (n, shape…) to features (n, features), with tangents pushed forward beside the values, and weights to train.
/// It is two functions in a row: <see cref="Prepare"/> has no weights and can run in chunks, once per field, without a graph;
/// <see cref="Evaluate"/> holds the weights.
/// </summary>
public abstract class SummaryNetwork : IDisposable
{
    private readonly List<string> names = [];
    private readonly Dictionary<string, Parameter> weights = [];

    /// <summary>A network as described, still without weights.</summary>
    protected SummaryNetwork(NetworkDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        if (description.FieldShape.Count is < 1 or > 3)
            throw new SettingException("shape of the field", "1, 2 or 3 axes", $"{description.FieldShape.Count}");
        Description = description;
    }

    /// <summary>What is needed to build this network again, but for its weights.</summary>
    public NetworkDescription Description { get; }

    /// <summary>The network's kind: "inception", "filterBank", "bandPower", "axisFilters", "correlationFunction".</summary>
    public string Kind => Description.Kind;

    /// <summary>Number of features of one field.</summary>
    public abstract long Features { get; }

    /// <summary>The weights, in an order that never changes.</summary>
    public virtual IReadOnlyList<(string Name, Parameter Weight)> Parameters => [.. names.Select(name => (name, weights[name]))];

    /// <summary>Whether <see cref="Prepare"/> reduces the field to something smaller that all weights can be evaluated on.</summary>
    public virtual bool HasStatistics => false;

    /// <summary>What of the field the features depend on: the field itself, unless the network knows better.</summary>
    public virtual Dual Prepare(Dual field) => field;

    /// <summary>Features (n, features) of what <see cref="Prepare"/> returned, and their tangents (n·p, features).</summary>
    public abstract Dual Evaluate(Dual statistics);

    /// <summary>Features (n, features) of fields (n, shape…), and their tangents (n·p, features).</summary>
    public Dual Forward(Dual field)
    {
        using var scope = NewDisposeScope();
        return Evaluate(Prepare(field)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Moves the weights to another precision or device, as new <see cref="Parameters"/>: do so before an optimiser knows them.
    /// </summary>
    public virtual void To(ScalarType type, Device? device = null)
    {
        foreach (var name in names)
        {
            using var old = weights[name];
            using var moved = old.detach().to(type, device ?? old.device);
            weights[name] = Keep(moved.clone());
        }
    }

    /// <summary>Builds a described network with weights drawn from <paramref name="seed"/> alone: the same on every device.</summary>
    /// <exception cref="SettingException">The kind is unknown or a setting is missing or out of range.</exception>
    public static SummaryNetwork Create(NetworkDescription description, ulong seed, Device? device = null)
    {
        ArgumentNullException.ThrowIfNull(description);
        using var noGrad = no_grad();
        using var generator = new Generator(seed);
        var network = Build(description, generator);
        if (device is not null && device.type != DeviceType.CPU)
            network.To(ScalarType.Float32, device);
        return network;
    }

    private static readonly string[] Kinds =
    [
        InceptionNetwork.KindName, FilterBankNetwork.KindName, BandPowerNetwork.KindName,
        AxisFilterNetwork.KindName, CorrelationFunctionNetwork.KindName,
    ];

    private static SummaryNetwork Build(NetworkDescription description, Generator generator) => description.ReadsLogarithm
        ? new LogarithmNetwork(Build(description.OfField(), generator))
        : description.Kind switch
        {
            InceptionNetwork.KindName => new InceptionNetwork(description, generator),
            FilterBankNetwork.KindName => new FilterBankNetwork(description, generator),
            BandPowerNetwork.KindName => new BandPowerNetwork(description),
            AxisFilterNetwork.KindName => new AxisFilterNetwork(description, generator),
            CorrelationFunctionNetwork.KindName => new CorrelationFunctionNetwork(description),
            _ => throw new SettingException("kind of network", string.Join(", ", Kinds), description.Kind),
        };

    /// <summary>Adds a weight, normal with the given standard deviation.</summary>
    protected void AddWeight(string name, Generator generator, double deviation, params long[] shape)
    {
        using var scope = NewDisposeScope();
        names.Add(name);
        weights[name] = Keep(randn(shape, ScalarType.Float32, generator: generator).mul(deviation));
    }

    /// <summary>The weight of that name.</summary>
    protected Tensor Weight(string name) => weights[name];

    /// <summary>Checks that fields (n, shape…) are of the described shape.</summary>
    protected void CheckField(Dual field) => Guard.Batched("field", field.Primal, [.. Description.FieldShape]);

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the network holds.</summary>
    protected virtual void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        foreach (var weight in weights.Values)
            weight.Dispose();
    }

    private static Parameter Keep(Tensor values)
    {
        var parameter = new Parameter(values.DetachFromDisposeScope(), requires_grad: true);
        parameter.DetachFromDisposeScope();
        return parameter;
    }
}
