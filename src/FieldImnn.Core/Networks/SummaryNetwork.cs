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
/// <remarks>
/// A field of one channel has the shape of its 1 to 3 sides, one of c > 1 channels (c, sides…). Channels are mixed by networks, never
/// convolved over, pooled or padded. For a network of one's own without rules for tangents see <see cref="OwnNetwork"/>.
/// </remarks>
public abstract class SummaryNetwork : IDisposable
{
    private readonly List<string> names = [];
    private readonly Dictionary<string, Parameter> weights = [];

    /// <summary>A network as described, still without weights.</summary>
    /// <exception cref="SettingException">The shape has not 1 to 3 sides, or not the channels that are said.</exception>
    protected SummaryNetwork(NetworkDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        var (shape, channels) = (description.FieldShape, Guard.AtLeast("channels of the field", 1, description.Channels));
        if (channels > 1 && (shape.Count == 0 || shape[0] != channels))
            throw new SettingException("shape of the field", $"{channels} channels and the sides", Guard.Describe([.. shape]));
        if (description.Sides.Count is < 1 or > 3)
            throw new SettingException("shape of the field", "1, 2 or 3 sides", $"{description.Sides.Count}");
        Description = description;
    }

    /// <summary>What is needed to build this network again, but for its weights.</summary>
    public NetworkDescription Description { get; }

    /// <summary>The network's kind, one of <see cref="Kinds"/>.</summary>
    public string Kind => Description.Kind;

    /// <summary>Number of features of one field.</summary>
    public abstract long Features { get; }

    /// <summary>The weights, in an order that never changes.</summary>
    public virtual IReadOnlyList<(string Name, Parameter Weight)> Parameters => [.. names.Select(name => (name, weights[name]))];

    /// <summary>Numbers that <see cref="Fit"/> sets and training leaves as they are; saved with the weights.</summary>
    public virtual IReadOnlyList<(string Name, Tensor Value)> Constants => [];

    /// <summary>Sets <see cref="Constants"/> to what was saved, by name.</summary>
    /// <exception cref="ShapeException">One is of a shape that this network cannot have.</exception>
    public virtual void Restore(IReadOnlyDictionary<string, Tensor> constants)
    {
    }

    /// <summary>How many fields <see cref="Fit"/> wants; 0 where there is nothing to fit.</summary>
    public virtual long FitFields => 0;

    /// <summary>Sets <see cref="Constants"/> to what suits fields (n, shape…) at the fiducial, float32, on the CPU: once, before training.</summary>
    public virtual void Fit(Tensor fields)
    {
    }

    /// <summary>Whether <see cref="Prepare"/> reduces the field to something smaller that all weights can be evaluated on.</summary>
    public virtual bool HasStatistics => false;

    /// <summary>Shape of what <see cref="Prepare"/> makes of one field.</summary>
    public virtual IReadOnlyList<long> StatisticsShape => Description.FieldShape;

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
        using var generator = new Generator(seed);
        var network = CreatePart(description, generator);
        if (device is not null && device.type != DeviceType.CPU)
            network.To(ScalarType.Float32, device);
        return network;
    }

    /// <summary>Builds a described network, a part of another one, with the next weights of a generator.</summary>
    /// <exception cref="SettingException">The kind is unknown or a setting is missing or out of range.</exception>
    protected static SummaryNetwork CreatePart(NetworkDescription description, Generator generator)
    {
        ArgumentNullException.ThrowIfNull(description);
        using var noGrad = no_grad();
        return NetworkKinds.Build(description, generator);
    }

    /// <summary>
    /// Registers a kind of network: descriptions of that kind are built by <paramref name="factory"/>, from the description and the generator
    /// of the weights. A kind of one's own that is registered again is replaced; networks already built stay as they are.
    /// </summary>
    /// <param name="kind">Its name in descriptions and files.</param>
    /// <param name="factory">Makes the network.</param>
    /// <param name="cannotSee">What it cannot see of a field, in a line.</param>
    /// <exception cref="SettingException">The name is empty or that of a kind of the house.</exception>
    public static void Register(string kind, Func<NetworkDescription, Generator, SummaryNetwork> factory, string cannotSee = "unknown: nobody has said")
    {
        ArgumentNullException.ThrowIfNull(factory);
        NetworkKinds.Register(kind, factory, cannotSee);
    }

    /// <summary>The registered kinds, sorted.</summary>
    public static IReadOnlyList<string> Kinds => NetworkKinds.Names;

    /// <summary>Whether a kind is registered.</summary>
    public static bool IsRegistered(string kind) => NetworkKinds.Has(kind);

    /// <summary>Whether a kind came with this library.</summary>
    public static bool IsBuiltIn(string kind) => NetworkKinds.IsHouse(kind);

    /// <summary>What features so described cannot see, in a line: of those made of parts, part by part.</summary>
    /// <exception cref="SettingException">The kind is unknown.</exception>
    public static string CannotSee(NetworkDescription description)
    {
        ArgumentNullException.ThrowIfNull(description);
        return NetworkKinds.CannotSee(description);
    }

    /// <summary>Adds a weight, normal with the given standard deviation.</summary>
    protected void AddWeight(string name, Generator generator, double deviation, params long[] shape)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        names.Add(name);
        weights[name] = Keep(randn(shape, ScalarType.Float32, generator: generator).mul(deviation));
    }

    /// <summary>The weight of that name.</summary>
    protected Tensor Weight(string name) => weights[name];

    /// <summary>Checks that fields (n, shape…) are of the described shape.</summary>
    protected void CheckField(Dual field) => Guard.Batched("field", field.Primal, [.. Description.FieldShape]);

    /// <summary>Checks fields (n, shape…), and gives them an axis of channels, (n, c, sides…), also if there is one channel.</summary>
    protected Dual WithChannels(Dual field)
    {
        CheckField(field);
        return Description.Channels > 1 ? field : field.Map(t => t.unsqueeze(1));
    }

    /// <summary>Refuses several channels.</summary>
    /// <exception cref="SettingException">There are several.</exception>
    protected void RequireOneChannel()
    {
        if (Description.Channels > 1)
            throw new SettingException($"fields for {Kind}", "one channel", $"{Description.Channels}");
    }

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
