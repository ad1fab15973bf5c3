using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>A monotonic map of one number, the same kind in every dimension, with its parameters on the last axis.</summary>
public interface IScalarMap
{
    /// <summary>Parameters of one map.</summary>
    int Parameters { get; }

    /// <summary>u and ln |du/dx| (members, n, d) of x (members, n, d) under parameters (members, n, d, Parameters).</summary>
    (Tensor U, Tensor LogSlope) Forward(Tensor x, Tensor parameters);

    /// <summary>x of u, to the precision of the numbers.</summary>
    Tensor Inverse(Tensor u, Tensor parameters);
}

/// <summary>
/// A flow of autoregressive layers from x to a standard normal u (Papamakarios et al. 2017): in each layer a masked network with weights
/// of its own gives the parameters of a scalar map of x_i from the x before it; the order of the dimensions is reversed from layer to layer.
/// ln q(x | c) = Σ ln |∂u/∂x| − ½ |u|² − ½ d ln 2π. Starts as the standard normal.
/// </summary>
public class AutoregressiveFlow : ConditionalDensity
{
    private readonly (MaskedNetwork Network, IScalarMap Map)[] layers;

    /// <summary>A flow whose layers use the given maps, first the one nearest to x, with weights drawn from the seed.</summary>
    protected AutoregressiveFlow(
        int members, int dimensions, int conditions, int[] hidden, IReadOnlyList<IScalarMap> maps, ulong seed, ScalarType type)
        : base(members, dimensions, conditions)
    {
        ArgumentNullException.ThrowIfNull(maps);
        Guard.AtLeast("layers of a flow", 1, maps.Count);
        foreach (var width in hidden ?? [])
            Guard.AtLeast("hidden units", dimensions, width);
        var forward = Enumerable.Range(1, dimensions).ToArray();
        layers = [.. maps.Select((map, i) =>
            (new MaskedNetwork(Weights, i % 2 == 0 ? forward : [.. forward.Reverse()], conditions, hidden ?? [], map.Parameters), map))];
        Weights.Allocate(seed, type);
    }

    /// <summary>The masked networks, that nearest to x first.</summary>
    public IReadOnlyList<MaskedNetwork> Networks => [.. layers.Select(layer => layer.Network)];

    /// <summary>u (members, n, d) and ln |det ∂u/∂x| (members, n).</summary>
    public (Tensor U, Tensor LogDeterminant) Forward(Tensor x, Tensor condition)
    {
        Check(x, condition);
        Tensor? logSlope = null;
        foreach (var (network, map) in layers)
        {
            var (u, slope) = map.Forward(x, network.Forward(x, condition));
            (x, logSlope) = (u, logSlope is null ? slope : logSlope + slope);
        }
        return (x, logSlope!.sum(-1));
    }

    /// <summary>x (members, n, d) of u: one pass through the networks for each dimension and layer.</summary>
    public Tensor Inverse(Tensor u, Tensor condition)
    {
        Check(u, condition);
        using var scope = NewDisposeScope();
        foreach (var (network, map) in layers.Reverse())
        {
            var x = u;
            // after pass k the first k places of the order are right
            for (var pass = 0; pass < Dimensions; pass++)
                x = map.Inverse(u, network.Forward(x, condition));
            u = x;
        }
        return u.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override Tensor LogDensity(Tensor x, Tensor condition)
    {
        var (u, logDeterminant) = Forward(x, condition);
        return logDeterminant - 0.5 * u.square().sum(-1) - 0.5 * Dimensions * Math.Log(2 * Math.PI);
    }

    /// <inheritdoc/>
    public override Tensor Sample(Tensor normal, Tensor uniform, Tensor condition) => Inverse(normal, condition);
}
