using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// A network of one's own: a class that adds its weights in its constructor (AddWeight) and overrides <see cref="Compute"/>. Tangents
/// come from torch and stay differentiable by the weights. Register it by <see cref="SummaryNetwork.Register"/>.
/// </summary>
/// <remarks>
/// A network without weights is evaluated once a field; one with weights, on the fields at every step. On the first fields that it reads it
/// is checked: finite features, the same of a field alone as in a batch, each with a gradient if it varies.
/// </remarks>
public abstract class OwnNetwork : SummaryNetwork
{
    private bool valuesChecked, gradientsChecked;

    /// <summary>A network as described, of so many features, still without weights.</summary>
    protected OwnNetwork(NetworkDescription description, long features)
        : base(description) => Features = Guard.AtLeast($"number of features {description.Kind}", 1, features);

    /// <inheritdoc/>
    public sealed override long Features { get; }

    /// <summary>Without weights, the features themselves are the statistics.</summary>
    public sealed override bool HasStatistics => Parameters.Count == 0;

    /// <inheritdoc/>
    public sealed override IReadOnlyList<long> StatisticsShape => HasStatistics ? [Features] : Description.FieldShape;

    /// <summary>
    /// Features (n, features) of fields (n, sides…), or (n, channels, sides…) if there are several channels, of each field alone, by
    /// operations that torch can differentiate twice.
    /// </summary>
    protected abstract Tensor Compute(Tensor fields);

    /// <inheritdoc/>
    public sealed override Dual Prepare(Dual field)
    {
        CheckField(field);
        return HasStatistics ? Push(field) : field;
    }

    /// <inheritdoc/>
    public sealed override Dual Evaluate(Dual statistics)
    {
        Guard.Batched($"statistics of features {Kind}", statistics.Primal, [.. StatisticsShape]);
        return HasStatistics ? statistics.Map(t => t.alias()) : Push(statistics);
    }

    private Dual Push(Dual field)
    {
        if (!valuesChecked || (field.Tangent is not null && !gradientsChecked))
            Check(field);
        return Autograd.Push(Subject, Shaped, field);
    }

    private string Subject => $"features {Kind}";

    private Tensor Shaped(Tensor fields)
    {
        var made = Compute(fields);
        if (made is null || made.dim() != 2 || made.shape[0] != fields.shape[0] || made.shape[1] != Features || !is_floating_point(made))
            throw new ShapeException(
                Subject,
                $"real numbers of shape ({fields.shape[0]}, {Features}) of fields {Guard.Describe(fields.shape)}",
                made is null ? "null" : $"{made.dtype} of shape {Guard.Describe(made.shape)}");
        return made.to_type(fields.dtype);
    }

    /// <summary>What cannot be seen from the shape, on the first fields, and on the first with tangents.</summary>
    private void Check(Dual field)
    {
        using var scope = NewDisposeScope();
        var few = field.Primal.detach().narrow(0, 0, Math.Min(field.Primal.shape[0], 4));
        var values = CheckValues(few);
        valuesChecked = true;
        if (field.Tangent is null)
            return;
        var flat = Autograd.Flat(Shaped, few);
        for (var j = 0; j < flat.Length; j++)
        {
            var column = values.select(1, j);
            if (flat[j] && column.ne(column[0]).any().ToBoolean())
                throw Autograd.Undifferentiable(Subject, $"feature {j + 1} of {Features} varies, but has no gradient");
        }
        gradientsChecked = true;
    }

    /// <summary>The features of fields, if they are finite and the same for each field alone.</summary>
    private Tensor CheckValues(Tensor fields)
    {
        using var noGrad = no_grad();
        var n = fields.shape[0];
        var together = Guard.Finite(Subject, Shaped(fields));
        var alone = cat([.. Enumerable.Range(0, (int)n).Select(i => Shaped(fields.narrow(0, i, 1)))]);
        var scale = together.abs().amax([0], keepdim: true) + 1e-30;
        var apart = (together - alone).abs() / scale;
        if (apart.max().ToDouble() <= 1e-3)
            return together;
        var at = apart.flatten().argmax().ToInt64();
        throw new SettingException(
            Subject,
            "the same of a field alone as in a batch",
            Invariant($"feature {at % Features + 1}: {alone.flatten()[at].ToDouble():g6} alone, {together.flatten()[at].ToDouble():g6} in a batch of {n}"));
    }
}

/// <summary>Features that are one function of the fields, without weights; see <see cref="OwnNetwork"/>.</summary>
public sealed class OwnFeatures : OwnNetwork
{
    /// <summary>The setting that holds the number of features.</summary>
    public const string CountSetting = "count";

    private readonly Func<Tensor, Tensor> function;

    private OwnFeatures(NetworkDescription description, long count, Func<Tensor, Tensor> function)
        : base(description, count) => this.function = function;

    /// <summary>
    /// Registers a function fields (n, sides…), or (n, channels, sides…), → features (n, count) as a kind of network. Registered again, it
    /// is replaced.
    /// </summary>
    /// <exception cref="SettingException">The name is empty or that of a kind of the house; count is below 1.</exception>
    public static void Register(string name, long count, Func<Tensor, Tensor> function, string cannotSee = "unknown: nobody has said")
    {
        ArgumentNullException.ThrowIfNull(function);
        Guard.AtLeast($"number of features {name}", 1, count);
        Register(name, Build, cannotSee);

        SummaryNetwork Build(NetworkDescription description, Generator generator)
        {
            var wanted = description.Setting(CountSetting);
            return wanted == count
                ? new OwnFeatures(description, count, function)
                : throw new SettingException($"features {name}", $"{count}, as they are registered", $"{wanted}");
        }
    }

    /// <inheritdoc/>
    protected override Tensor Compute(Tensor fields) => function(fields);
}
