using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>
/// The weights of an ensemble of equal networks, all in one tensor (members, weights), so that a step of an optimiser is a few operations
/// for the whole ensemble. A weight (members, shape…) is a leaf of the autograd graph that shares the tensor's memory.
/// Masked weights are zero and stay zero: <see cref="Mask"/> (weights) is for the gradient, and no layer multiplies by it again.
/// </summary>
public sealed class WeightBank : IDisposable
{
    private readonly List<(long[] Shape, double Deviation, float[]? Mask)> plans = [];
    private Tensor[] leaves = [];
    private Tensor? values, mask;

    /// <summary>A bank for an ensemble of <paramref name="members"/> networks, still empty.</summary>
    public WeightBank(int members) => Members = (int)Guard.AtLeast("members of an ensemble", 1, members);

    /// <summary>Networks in the ensemble.</summary>
    public int Members { get; }

    /// <summary>All weights (members, weights). Writing into it changes the networks.</summary>
    public Tensor Values => values ?? throw Unready();

    /// <summary>One where a weight may differ from zero, else zero (weights).</summary>
    public Tensor Mask => mask ?? throw Unready();

    /// <summary>Every weight as a leaf of the graph, in the order of <see cref="Values"/>.</summary>
    public IReadOnlyList<Tensor> Leaves => leaves;

    /// <summary>The weight of that number, (members, shape…).</summary>
    public Tensor this[int index] => leaves[index];

    /// <summary>Plans a weight, normal with the given standard deviation where the mask (row-major, or none) lets it; returns its number.</summary>
    public int Add(long[] shape, double deviation, float[]? weightMask = null)
    {
        plans.Add((shape, deviation, weightMask));
        return plans.Count - 1;
    }

    /// <summary>Makes the planned weights, drawn from <paramref name="seed"/> alone.</summary>
    public void Allocate(ulong seed, ScalarType type)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = new Generator(seed);
        var sizes = plans.Select(plan => plan.Shape.Aggregate(1L, (a, b) => a * b)).ToArray();
        var masks = plans.Select((plan, i) => plan.Mask is { } m ? tensor(m) : ones(sizes[i])).ToArray();
        mask = cat(masks).to(type).DetachFromDisposeScope();
        var drawn = plans.Select((plan, i) => randn([Members, sizes[i]], generator: generator).mul(plan.Deviation)).ToArray();
        values = cat(drawn, 1).to(type).mul(mask).DetachFromDisposeScope();
        leaves = new Tensor[plans.Count];
        var start = 0L;
        for (var i = 0; i < leaves.Length; start += sizes[i], i++)
            leaves[i] = values.narrow(1, start, sizes[i]).view([Members, .. plans[i].Shape]).detach().requires_grad_(true).DetachFromDisposeScope();
    }

    /// <summary>The gradient (members, weights) of a number in all weights, masked.</summary>
    public Tensor Gradient(Tensor loss)
    {
        using var scope = NewDisposeScope();
        var gradients = autograd.grad([loss], leaves);
        return cat([.. gradients.Select(g => g.reshape(Members, -1))], 1).mul_(Mask).MoveToOuterDisposeScope();
    }

    /// <summary>Overwrites all weights by (members, weights); what the mask forbids becomes zero.</summary>
    public void Load(Tensor weights)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Values.copy_(Guard.Batched("weights", weights, Values.shape[1]).mul(Mask));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var leaf in leaves)
            leaf.Dispose();
        values?.Dispose();
        mask?.Dispose();
    }

    private static InvalidOperationException Unready() => new("The bank's weights have not been allocated.");
}
