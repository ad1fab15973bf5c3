using System;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>
/// An ensemble of exact conditional densities q(x | c) of x in d dimensions given c in <see cref="Conditions"/>, all of one kind and each
/// member with weights of its own. Tensors are (members, n, d) and (members, n, conditions).
/// </summary>
public abstract class ConditionalDensity : IDisposable
{
    /// <summary>An ensemble that still lacks its layers.</summary>
    protected ConditionalDensity(int members, int dimensions, int conditions)
    {
        Dimensions = (int)Guard.AtLeast("dimensions of a density", 1, dimensions);
        Conditions = (int)Guard.AtLeast("dimensions of a condition", 1, conditions);
        Weights = new WeightBank(members);
    }

    /// <summary>Dimensions of x.</summary>
    public int Dimensions { get; }

    /// <summary>Dimensions of the condition.</summary>
    public int Conditions { get; }

    /// <summary>The weights of all members.</summary>
    public WeightBank Weights { get; }

    /// <summary>ln q(x | c), (members, n).</summary>
    public abstract Tensor LogDensity(Tensor x, Tensor condition);

    /// <summary>x (members, n, d) distributed as q(x | c), from standard normal numbers (members, n, d) and, where the kind needs a choice,
    /// uniform ones (members, n).</summary>
    public abstract Tensor Sample(Tensor normal, Tensor uniform, Tensor condition);

    /// <summary>Frees the weights.</summary>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees what the ensemble holds.</summary>
    protected virtual void Dispose(bool disposing)
    {
        if (disposing)
            Weights.Dispose();
    }

    /// <summary>The shapes fit each other and the ensemble.</summary>
    protected void Check(Tensor x, Tensor condition)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(condition);
        var n = x.dim() == 3 ? x.shape[1] : -1;
        if (x.dim() != 3 || x.shape[0] != Weights.Members || x.shape[2] != Dimensions)
            throw new ShapeException("x of a density", $"shape ({Weights.Members}, n, {Dimensions})", Guard.Describe(x.shape));
        if (condition.dim() != 3 || condition.shape[0] != Weights.Members || condition.shape[1] != n || condition.shape[2] != Conditions)
            throw new ShapeException(
                "condition of a density", $"shape ({Weights.Members}, {n}, {Conditions})", Guard.Describe(condition.shape));
    }
}
