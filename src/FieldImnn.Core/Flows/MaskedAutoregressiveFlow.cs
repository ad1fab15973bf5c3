using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>u = (x − μ) e^−α, |α| &lt; 4: of a sd between 1/55 and 55.</summary>
public sealed class AffineMap : IScalarMap
{
    private const double Most = 4;

    /// <inheritdoc/>
    public int Parameters => 2;

    /// <inheritdoc/>
    public (Tensor U, Tensor LogSlope) Forward(Tensor x, Tensor parameters)
    {
        var (mean, minusAlpha) = Split(parameters);
        return ((x - mean) * minusAlpha.exp(), minusAlpha);
    }

    /// <inheritdoc/>
    public Tensor Inverse(Tensor u, Tensor parameters)
    {
        var (mean, minusAlpha) = Split(parameters);
        return u * minusAlpha.neg().exp() + mean;
    }

    private static (Tensor, Tensor) Split(Tensor parameters)
    {
        var parts = parameters.unbind(-1);
        return (parts[0], (parts[1] / Most).tanh() * Most);
    }
}

/// <summary>A conditional masked autoregressive flow (Papamakarios et al. 2017): affine maps all through.</summary>
public sealed class MaskedAutoregressiveFlow(
    int members, int dimensions, int conditions, int layers, int[] hidden, ulong seed, ScalarType type = ScalarType.Float32)
    : AutoregressiveFlow(members, dimensions, conditions, hidden, [.. Enumerable.Repeat(new AffineMap(), layers)], seed, type);
