using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>
/// A mixture density network (Bishop 1994): q(x | c) = Σ_k π_k N(x; μ_k, (U_kᵀU_k)⁻¹), U upper triangular with a positive diagonal;
/// π, μ and U from a network of the condition.
/// </summary>
public sealed class MixtureDensity : ConditionalDensity
{
    private readonly Perceptron network;
    private readonly long components;
    private readonly Tensor place;

    /// <summary>A mixture of some components with weights drawn from the seed; starts near the standard normal.</summary>
    public MixtureDensity(
        int members, int dimensions, int conditions, int components, int[] hidden, ulong seed, ScalarType type = ScalarType.Float32)
        : base(members, dimensions, conditions)
    {
        ArgumentNullException.ThrowIfNull(hidden);
        this.components = Guard.AtLeast("components of a mixture", 1, components);
        var upper = dimensions * (dimensions + 1) / 2;
        network = new Perceptron(Weights, [conditions, .. hidden, components * (1 + dimensions + upper)], 0.1);
        // one row for each packed element: where in the matrix it goes
        var placement = new float[upper * dimensions * dimensions];
        for (var (i, packed) = (0, 0); i < dimensions; i++)
            for (var j = i; j < dimensions; j++, packed++)
                placement[packed * dimensions * dimensions + i * dimensions + j] = 1;
        place = tensor(placement, [upper, dimensions * dimensions]).to(type).DetachFromDisposeScope();
        Weights.Allocate(seed, type);
    }

    /// <inheritdoc/>
    public override Tensor LogDensity(Tensor x, Tensor condition)
    {
        Check(x, condition);
        var (logWeights, means, factors) = Components(condition);
        var u = factors.matmul((x.unsqueeze(2) - means).unsqueeze(-1)).squeeze(-1);
        var logDeterminant = factors.diagonal(0, -2, -1).log().sum(-1);
        var byComponent = logWeights + logDeterminant - 0.5 * u.square().sum(-1);
        return byComponent.logsumexp(-1) - 0.5 * Dimensions * Math.Log(2 * Math.PI);
    }

    /// <inheritdoc/>
    public override Tensor Sample(Tensor normal, Tensor uniform, Tensor condition)
    {
        Check(normal, condition);
        using var scope = NewDisposeScope();
        var (logWeights, means, factors) = Components(condition);
        var below = logWeights.exp().cumsum(-1).narrow(-1, 0, components - 1);
        var chosen = (uniform.unsqueeze(-1) >= below).sum(-1, keepdim: true).unsqueeze(-1);
        var mean = means.gather(2, chosen.expand(-1, -1, 1, Dimensions)).squeeze(2);
        var factor = factors.gather(2, chosen.unsqueeze(-1).expand(-1, -1, 1, Dimensions, Dimensions)).squeeze(2);
        var away = linalg.solve(factor, normal.unsqueeze(-1)).squeeze(-1);
        return (mean + away).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            place.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>ln π (members, n, k), μ (members, n, k, d) and U (members, n, k, d, d).</summary>
    private (Tensor LogWeights, Tensor Means, Tensor Factors) Components(Tensor condition)
    {
        var parameters = network.Forward(condition).view(condition.shape[0], condition.shape[1], components, -1);
        var means = parameters.narrow(-1, 1, Dimensions);
        var packed = parameters.narrow(-1, 1 + Dimensions, place.shape[0]);
        var full = packed.matmul(place).view([.. packed.shape[..^1], Dimensions, Dimensions]);
        var diagonal = full.diagonal(0, -2, -1);
        return (parameters.select(-1, 0).log_softmax(-1), means, full - diagonal.diag_embed() + diagonal.clamp(-8, 8).exp().diag_embed());
    }
}
