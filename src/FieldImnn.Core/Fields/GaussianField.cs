using System;
using FieldImnn.Core.Random;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// Random fields of a given power spectrum: noise → modes of unit power → modes × √P → field. Noise and modes do not depend on the
/// parameters, so the derivative of a field costs one inverse transform a parameter.
/// </summary>
public sealed class GaussianField
{
    /// <summary>
    /// Fields on <paramref name="grid"/>. With <paramref name="mean"/> the mode k = 0 has power as well, and the mean over the box is
    /// random; without it P(0) = 0.
    /// </summary>
    /// <exception cref="SettingException">Published modes on a grid that is not two-dimensional with even N, or with a mean.</exception>
    public GaussianField(FourierGrid grid, ModeConvention convention = ModeConvention.Ideal, bool mean = false)
    {
        ArgumentNullException.ThrowIfNull(grid);
        if (convention == ModeConvention.Published && mean)
            throw new SettingException("Published modes", "fields without a mean", "a mean mode");
        if (convention == ModeConvention.Published && (grid.Dimensions != 2 || grid.N % 2 != 0))
            throw new SettingException("Published modes", "a grid of 2 dimensions with an even number of points", $"{grid.Dimensions} dimensions, N = {grid.N}");
        Grid = grid;
        Convention = convention;
        using var scope = NewDisposeScope();
        Support = SupportOf(grid, convention, mean).MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <summary>The grid.</summary>
    public FourierGrid Grid { get; }

    /// <summary>How noise becomes modes.</summary>
    public ModeConvention Convention { get; }

    /// <summary>1 where a half-grid mode carries power, 0 where it is zero by construction (float64).</summary>
    public Tensor Support { get; }

    /// <summary>
    /// The randomness of simulations: Ideal (keys, N, …), white noise in the pixels; Published (keys, 2, N + 1, N + 1),
    /// standard normal magnitudes and uniform phases.
    /// </summary>
    public Tensor DrawNoise(NoiseKey[] keys, Device? device = null, ScalarType type = ScalarType.Float32)
    {
        if (Convention == ModeConvention.Ideal)
            return Noise.Normal(keys, Grid.Shape, 0, device, type);
        using var scope = NewDisposeScope();
        long[] side = [Grid.N + 1, Grid.N + 1];
        return stack([Noise.Normal(keys, side, 0, device, type), Noise.Uniform(keys, side, 1, device, type)], 1).MoveToOuterDisposeScope();
    }

    /// <summary>Noise to half-grid modes whose power is that of a field of unit spectrum: complex (batch, N, …, N/2 + 1).</summary>
    /// <exception cref="ShapeException">The noise has another shape than <see cref="DrawNoise"/> gives.</exception>
    public Tensor Modes(Tensor noise)
    {
        if (Convention == ModeConvention.Ideal)
            return Grid.Forward(Guard.Batched("noise", noise, Grid.Shape));
        Guard.Batched("noise", noise, 2, Grid.N + 1, Grid.N + 1);
        using var scope = NewDisposeScope();
        return PublishedModes(noise.select(1, 0), noise.select(1, 1), Grid.N).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// √P on the half grid, scaled so that <c>Inverse(Modes · Amplitude)</c> is the field, as <see cref="Fields"/> makes it; zero where the modes are.
    /// <paramref name="logPower"/>: ln P at every mode, (N, …, N/2 + 1) or with a batch axis; its value at k = 0 is not used.
    /// </summary>
    public Tensor Amplitude(Tensor logPower)
    {
        var scale = Convention == ModeConvention.Ideal ? Math.Pow(Grid.N / Grid.BoxLength, Grid.Dimensions) : 1.0;
        return (logPower * 0.5).exp() * Support.to(logPower.dtype, logPower.device) * Math.Sqrt(scale);
    }

    /// <summary>
    /// Fields (n, a, N, …) of noise (n, …) with amplitudes (1 or n, a, N, …, N/2 + 1): <c>Inverse(Modes · amplitude)</c>, a few fields at a
    /// time, so that they stay in the processor's caches on the way. Differentiable in the amplitudes.
    /// </summary>
    /// <exception cref="ShapeException">The noise has another shape than <see cref="DrawNoise"/> gives.</exception>
    public Tensor Fields(Tensor noise, Tensor amplitudes)
    {
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(amplitudes);
        using var scope = NewDisposeScope();
        // real and imaginary parts lie side by side, and are multiplied by the same
        var reversed = RealTransform.Reversed(amplitudes * RealTransform.Mirrors(Grid.N, amplitudes), Grid.Dimensions).repeat_interleave(2, -1);
        return FieldPieces.Make(noise, reversed, Grid.Pixels, [amplitudes.shape[1], .. Grid.Shape], Piece).MoveToOuterDisposeScope();
    }

    /// <summary>Fields (n, a, N, …) of noise and amplitudes (1 or n, a, N/2 + 1, …, 2N), doubled and with their axes in reverse.</summary>
    private Tensor Piece(Tensor noise, Tensor amplitudes)
    {
        var modes = Convention == ModeConvention.Ideal
            ? RealTransform.ForwardReversed(Guard.Batched("noise", noise, Grid.Shape), Grid.Dimensions)
            : RealTransform.Reversed(Modes(noise), Grid.Dimensions);
        var parts = view_as_real(modes).flatten(-2).unsqueeze(1) * amplitudes;
        var weighted = view_as_complex(parts.view([.. parts.shape[..^1], parts.shape[^1] / 2, 2]));
        return RealTransform.InverseReversed(weighted, Grid.Dimensions, Grid.N);
    }

    /// <summary>
    /// The published modes (physics: Published, items 2, 3 and 4), times N. On an (N+1)² array magnitudes are symmetrised and phases
    /// antisymmetrised about the centre, the last row and column are cut; the field is the real part of the transform, so column 0,
    /// which the cut left without partners, keeps its Hermitian half; an indexing slip zeroes row 0.
    /// </summary>
    private static Tensor PublishedModes(Tensor magnitude, Tensor phase, int n)
    {
        var half = n / 2 + 1;
        var m = ((magnitude + magnitude.flip(-2, -1)) / Math.Sqrt(2)).narrow(-2, 1, n - 1).narrow(-1, 0, half);
        var p = ((phase - phase.flip(-2, -1)) * Math.PI + Math.PI).narrow(-2, 1, n - 1).narrow(-1, 0, half);
        var d = complex(m * p.cos(), m * p.sin());
        var column = d.narrow(-1, 0, 1);
        var hermitian = (column + column.flip(-2).conj()) * 0.5;
        var rows = cat([hermitian, d.narrow(-1, 1, half - 1)], -1);
        return cat([zeros_like(rows.narrow(-2, 0, 1)), rows], -2) * (double)n;
    }

    private static Tensor SupportOf(FourierGrid grid, ModeConvention convention, bool mean)
    {
        var support = ones(grid.HalfShape, ScalarType.Float64);
        if (convention == ModeConvention.Published)
            support[0] = 0.0;
        else if (!mean)
            support.view(-1)[0] = 0.0;
        return support;
    }
}
