using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// A periodic grid of N points a side in 1, 2 or 3 dimensions and its Fourier modes, in NumPy's convention (forward transform
/// unnormalised). k = 2π n/L; with L = N the unit of length is the pixel. A real field is held by the modes of half the grid:
/// shape (N, …, N, N/2 + 1).
/// </summary>
public sealed class FourierGrid
{
    /// <summary>A grid of <paramref name="n"/>^<paramref name="dimensions"/> points in a box of side <paramref name="boxLength"/>.</summary>
    /// <exception cref="SettingException">Dimensions not 1, 2 or 3; fewer than 2 points; a box length that is not positive.</exception>
    public FourierGrid(int dimensions, int n, double boxLength)
    {
        if (dimensions is < 1 or > 3)
            throw new SettingException("dimensions of the grid", "1, 2 or 3", $"{dimensions}");
        N = (int)Guard.AtLeast("points a side", 2, n);
        Dimensions = dimensions;
        BoxLength = Guard.Positive("box length", boxLength);
        Shape = [.. Enumerable.Repeat((long)n, dimensions)];
        HalfShape = [.. Shape[..^1], n / 2 + 1];
        Runtime.TorchRuntime.Load();
        using var scope = NewDisposeScope();
        HalfWavenumber = Wavenumber().MoveToOuterDisposeScope().DetachFromDisposeScope();
        HermitianWeight = Weights().MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <summary>Number of dimensions D.</summary>
    public int Dimensions { get; }

    /// <summary>Points a side, N.</summary>
    public int N { get; }

    /// <summary>Side of the box, L.</summary>
    public double BoxLength { get; }

    /// <summary>Shape of a field: (N, …, N).</summary>
    public long[] Shape { get; }

    /// <summary>Shape of a real field's modes: (N, …, N, N/2 + 1).</summary>
    public long[] HalfShape { get; }

    /// <summary>Number of pixels N^D, which is also the number of modes of the full grid.</summary>
    public long Pixels => Shape.Aggregate(1L, (a, b) => a * b);

    /// <summary>|k| of the half grid, float64, in inverse units of the box length; zero at the origin.</summary>
    public Tensor HalfWavenumber { get; }

    /// <summary>How many modes of the full grid each mode of the half grid stands for (1 or 2), float64.</summary>
    public Tensor HermitianWeight { get; }

    /// <summary>The smallest wavenumber above zero, 2π/L.</summary>
    public double FundamentalWavenumber => 2 * Math.PI / BoxLength;

    /// <summary>⟨|δ_k|²⟩ / P(k) = N^2D / L^D.</summary>
    public double ModeVariancePerPower => Math.Pow((double)N * N / BoxLength, Dimensions);

    /// <summary>
    /// Field (batch, N, …) to half-grid modes (batch, N, …, N/2 + 1). The bits of a field's modes do not depend on the batch, the order or
    /// the number of threads.
    /// </summary>
    public Tensor Forward(Tensor field) => RealTransform.Forward(field, Dimensions);

    /// <summary>Half-grid modes to the real field: the inverse of <see cref="Forward"/>, with the same promise.</summary>
    public Tensor Inverse(Tensor modes) => RealTransform.Inverse(modes, Dimensions, N);

    /// <summary>|δ_k|² on the half grid, float64: (batch, N, …, N/2 + 1).</summary>
    public Tensor ModePower(Tensor field)
    {
        Guard.Batched("field", field, Shape);
        using var scope = NewDisposeScope();
        var modes = Forward(field.to(ScalarType.Float64));
        return (modes.real.square() + modes.imag.square()).MoveToOuterDisposeScope();
    }

    private Tensor Wavenumber()
    {
        var spacing = BoxLength / N;
        Tensor? sum = null;
        for (var axis = 0; axis < Dimensions; axis++)
        {
            var last = axis == Dimensions - 1;
            var k = (last ? fft.rfftfreq(N, spacing, ScalarType.Float64) : fft.fftfreq(N, spacing, ScalarType.Float64)) * (2 * Math.PI);
            var along = Enumerable.Repeat(1L, Dimensions).ToArray();
            along[axis] = -1;
            var square = k.square().reshape(along);
            sum = sum is null ? square : sum + square;
        }
        return sum!.sqrt();
    }

    private Tensor Weights()
    {
        var weights = torch.full(HalfShape, 2.0, ScalarType.Float64);
        weights[TensorIndex.Ellipsis, 0] = 1.0;
        if (N % 2 == 0)
            weights[TensorIndex.Ellipsis, N / 2] = 1.0;
        return weights;
    }
}
