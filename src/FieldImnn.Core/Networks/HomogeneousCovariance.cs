using System;
using System.Collections.Generic;
using System.Linq;
using FieldImnn.Core.Fields;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The covariance of a homogeneous field u of c channels, of which some pixels are not seen, by its spectrum P(k) (c × c) on a torus: the
/// grid itself along axes on which the field is periodic, twice as long along others. What it is for is C⁻¹u: mode by mode where all
/// pixels of a periodic field are seen; else by the matrix over the seen pixels, if there are few enough; else by a fixed number of steps
/// towards it, each of them two transforms there and back.
/// </summary>
internal sealed class HomogeneousCovariance : IDisposable
{
    /// <summary>The most pixels, of all channels, for which the covariance is inverted as a matrix.</summary>
    internal const long MostPixels = 1024;

    private readonly long[] sides;
    private readonly Tensor seen, modes, inverseModes;

    /// <summary>L with P = L L† of every mode, (c, c, modes), complex, and L†.</summary>
    private readonly Tensor factor, adjoint;

    private readonly Tensor? inverse, positions;
    private readonly double largest;
    private readonly bool complete;
    private readonly Tensor white;
    private readonly Lazy<(Tensor Noise, Tensor Scale)> wiener;

    /// <summary>The covariance of given spectrum (c, c, modes…, 2), on a torus of given sides, of fields with a mask (c, sides…).</summary>
    internal HomogeneousCovariance(Tensor spectrum, long[] torus, Tensor mask)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        Torus = torus;
        sides = mask.shape[1..];
        seen = mask.to(ScalarType.Float32).clone().DetachFromDisposeScope();
        var c = mask.shape[0];
        var p = view_as_complex(spectrum.to_type(ScalarType.Float64).contiguous()).flatten(2).permute(2, 0, 1); // (modes, c, c)
        var size = p.diagonal(0, 1, 2).real.sum(1);
        var powered = size.gt(size.max() * 1e-11).to_type(ScalarType.Float64).reshape(-1, 1, 1);
        var unit = eye(c, dtype: ScalarType.Float64).to_type(ScalarType.ComplexFloat64);
        // modes without power have no part in anything
        var regular = p * powered + unit * (size.reshape(-1, 1, 1) * 1e-9 * powered + (1 - powered));
        var lower = torch.linalg.cholesky(regular);
        factor = (lower * powered).permute(1, 2, 0).to_type(ScalarType.ComplexFloat32).contiguous().DetachFromDisposeScope();
        adjoint = factor.transpose(0, 1).conj().resolve_conj().contiguous().DetachFromDisposeScope();
        modes = (regular * powered).permute(1, 2, 0).to_type(ScalarType.ComplexFloat32).contiguous().DetachFromDisposeScope();
        var inverted = torch.linalg.inv(regular);
        inverseModes = (inverted * powered).permute(1, 2, 0).to_type(ScalarType.ComplexFloat32).contiguous().DetachFromDisposeScope();
        white = WhitePower(inverted.diagonal(0, 1, 2).real.index_select(0, powered.flatten().nonzero().squeeze(1))).DetachFromDisposeScope();
        var count = seen.sum().ToInt64();
        complete = count == seen.numel();
        var simple = complete && torus.AsSpan().SequenceEqual(sides);
        if (!simple && count > MostPixels)
            largest = LargestEigenvalue();
        else if (!simple)
        {
            positions = seen.flatten().nonzero().squeeze(1).DetachFromDisposeScope();
            inverse = Invert(Matrix(p, positions)).to_type(ScalarType.Float32).DetachFromDisposeScope();
        }
        wiener = new(() => TorchRuntime.OnOneThread(Wiener));
    }

    /// <summary>Sides of the torus.</summary>
    internal long[] Torus { get; }

    /// <summary>The white power n (c) that <see cref="Filter"/> takes for noise: 0 of channels of which it would leave nearly nothing.</summary>
    internal Tensor Noise => wiener.Value.Noise;

    /// <summary>What gives the filtered field unit variance, (c).</summary>
    internal Tensor Scale => wiener.Value.Scale;

    private int Dimensions => sides.Length;

    /// <summary>
    /// (u − n C⁻¹u)/σ where it is seen, Wiener's filter where white noise of power n is in u; of fields u or their tangents (rows, c, sides…) and
    /// v = C⁻¹u of the same shape.
    /// </summary>
    internal Tensor Filter(Tensor u, Tensor v)
    {
        var w = (u - v * PerChannel(Noise)) * PerChannel(Scale);
        return complete ? w : w * seen.to(u.dtype, u.device);

        Tensor PerChannel(Tensor t) => t.to(u.dtype, u.device).reshape([-1, .. sides.Select(_ => 1L)]);
    }

    /// <summary>
    /// The white power (c) of each channel that no other shares, as far as the spectrum tells: (C⁻¹)_aa ≤ 1/n_a, of (C⁻¹)_aa (modes, c) without its
    /// largest twentieth, since spectra are estimates; by a million modes at the most.
    /// </summary>
    private static Tensor WhitePower(Tensor inverse)
    {
        var some = inverse[TensorIndex.Slice(step: 1 + (inverse.shape[0] >> 20))].contiguous();
        return some.quantile(tensor(0.95, ScalarType.Float64), 0).reshape(-1).reciprocal().to_type(ScalarType.Float32);
    }

    /// <summary>The noise and the scale of the filter, by 16 Gaussian fields of the spectrum.</summary>
    private (Tensor Noise, Tensor Scale) Wiener()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var generator = new Generator(1UL);
        var random = randn([16, seen.shape[0], .. Torus], ScalarType.Float32, generator: generator);
        var u = Field(Multiply(factor, RealTransform.Forward(random, Dimensions).flatten(2))) * seen;
        var (all, left) = (Variance(u), Variance((u - Field(Inverse(u)) * white.reshape([-1, .. sides.Select(_ => 1L)])) * seen));
        var something = left.gt(0.01 * all);
        var noise = white * something.to_type(white.dtype);
        return (noise.DetachFromDisposeScope(), where(something, left.rsqrt(), ones_like(left)).DetachFromDisposeScope());

        Tensor Variance(Tensor x) => x.square().mean([0L]).flatten(1).sum(1) / seen.flatten(1).sum(1).AtLeast(1);
    }

    /// <summary>The modes (rows, c, modes) of C⁻¹u on the torus, zero where nothing is seen, of u (rows, c, sides…).</summary>
    internal Tensor Inverse(Tensor u)
    {
        using var scope = NewDisposeScope();
        if (largest > 0)
            return RealTransform.Forward(OnTorus(Approach(u)), Dimensions).flatten(2).MoveToOuterDisposeScope();
        if (inverse is null || positions is null)
            return Multiply(inverseModes, RealTransform.Forward(OnTorus(u), Dimensions).flatten(2)).MoveToOuterDisposeScope();
        var at = positions.to(u.device);
        var made = u.flatten(1).index_select(1, at).matmul(inverse.to(u.dtype, u.device));
        var v = zeros([u.shape[0], u.shape[1] * u[0, 0].numel()], u.dtype, u.device).index_copy(1, at, made).reshape(u.shape);
        return RealTransform.Forward(OnTorus(v), Dimensions).flatten(2).MoveToOuterDisposeScope();
    }

    /// <summary>L† of every mode times modes (rows, c, modes).</summary>
    internal Tensor Whitened(Tensor modes) => Multiply(adjoint, modes, upper: true);

    /// <summary>A matrix for every mode (c, c, modes), of an <paramref name="upper"/> triangular one only that, times modes (rows, c, modes).</summary>
    private static Tensor Multiply(Tensor matrices, Tensor modes, bool upper = false)
    {
        using var scope = NewDisposeScope();
        var m = matrices.to(modes.dtype, modes.device);
        return stack([.. Enumerable.Range(0, (int)m.shape[0]).Select(Row)], 1).MoveToOuterDisposeScope();

        Tensor Row(int a)
        {
            var first = upper ? a : 0;
            var sum = modes.select(1, first) * m[a, first];
            for (var b = first + 1; b < m.shape[0]; b++)
                sum.AddProduct(modes.select(1, b), m[a, b]);
            return sum;
        }
    }

    /// <summary>The real field (rows, c, sides…) of modes (rows, c, modes) on the torus, where it overlaps the grid.</summary>
    internal Tensor Field(Tensor modes)
    {
        using var scope = NewDisposeScope();
        var half = modes.reshape([.. modes.shape[..2], .. Torus[..^1], Torus[^1] / 2 + 1]);
        var x = RealTransform.Inverse(half, Dimensions, Torus[^1]);
        for (var axis = 0; axis < Dimensions; axis++)
            x = x.narrow(axis + 2, 0, sides[axis]);
        return x.contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>The torus and the spectrum (c, c, modes…, 2), float32, of fields (n, c, sides…) with a mask (c, sides…), float64.</summary>
    internal static (long[] Torus, Tensor Spectrum) Fit(Tensor u, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var sides = u.shape[2..];
        var torus = sides.Select((n, axis) => IsPeriodic(u, mask, axis) ? n : 2 * n).ToArray();
        var pixels = torus.Aggregate(1.0, (a, b) => a * b);
        var cross = Pieces.Mean(u, 1L << 20, piece => Cross(RealTransform.Forward(Padded(piece.to_type(ScalarType.Float64), torus), sides.Length)));
        if (mask.ne(1).any().ToBoolean() || !torus.AsSpan().SequenceEqual(sides))
        {
            // from the sums over pairs of seen pixels to their means, and back
            var counts = RealTransform.Inverse(Cross(RealTransform.Forward(Padded(mask.unsqueeze(0), torus), sides.Length)), sides.Length, torus[^1]);
            var sums = RealTransform.Inverse(cross, sides.Length, torus[^1]);
            var some = counts.gt(0.5 + 0.01 * counts.max().ToDouble());
            cross = RealTransform.Forward((sums / counts.clamp_min(0.5)) * some.to_type(mask.dtype), sides.Length);
            cross = Positive(cross);
        }
        else
            cross = cross / pixels;
        return (torus, view_as_real(cross.contiguous()).to_type(ScalarType.Float32).MoveToOuterDisposeScope());
    }

    /// <summary>⟨a_k b_k*⟩ over rows, (c, c, modes…), of modes (rows, c, modes…).</summary>
    private static Tensor Cross(Tensor modes)
    {
        var c = modes.shape[1];
        var rows = new Tensor[c];
        for (var a = 0; a < c; a++)
            rows[a] = (modes.narrow(1, a, 1) * modes.conj()).mean([0]);
        return stack(rows, 0);
    }

    /// <summary>The nearest matrices (c, c, modes…) without negative eigenvalues: those below 1e-4 of their mean are that.</summary>
    private static Tensor Positive(Tensor spectrum)
    {
        var matrices = spectrum.flatten(2).permute(2, 0, 1);
        var (values, vectors) = torch.linalg.eigh((matrices + matrices.conj().transpose(1, 2)) / 2);
        var typical = values.clamp_min(0).mean().ToDouble();
        var kept = values.clamp_min(1e-4 * typical).to_type(vectors.dtype);
        var made = (vectors * kept.unsqueeze(1)).matmul(vectors.conj().transpose(1, 2));
        return made.permute(1, 2, 0).reshape(spectrum.shape);
    }

    /// <summary>Neighbours across the border are correlated like those inside, within 5 standard errors or a fiftieth.</summary>
    private static bool IsPeriodic(Tensor u, Tensor mask, int axis)
    {
        var n = u.shape[axis + 2];
        if (n < 4)
            return true;
        using var scope = NewDisposeScope();
        var m = mask.to_type(u.dtype).unsqueeze(0);
        var products = u.roll(-1, axis + 2).mul_(u).mul_(m);
        var pairs = m * m.roll(-1, axis + 2);
        var (inside, across) = (Mean(0, n - 1), Mean(n - 1, 1));
        if (across.Pairs == 0 || inside.Pairs == 0)
            return true;
        return Math.Abs(inside.Value - across.Value) < Math.Max(0.02, 5 * across.Error);

        (double Value, double Error, double Pairs) Mean(long from, long length)
        {
            var count = pairs.narrow(axis + 2, from, length).sum().ToDouble();
            var each = products.narrow(axis + 2, from, length).flatten(1).sum(1) / Math.Max(count, 1);
            return (each.mean().ToDouble(), each.std().ToDouble() / Math.Sqrt(u.shape[0]), count);
        }
    }

    private static Tensor Padded(Tensor x, long[] torus)
    {
        for (var axis = 0; axis < torus.Length; axis++)
        {
            var more = torus[axis] - x.shape[axis + 2];
            if (more > 0)
            {
                long[] shape = [.. x.shape];
                shape[axis + 2] = more;
                x = cat([x, zeros(shape, x.dtype, x.device)], axis + 2);
            }
        }
        return x;
    }

    private Tensor OnTorus(Tensor x) => Padded(x, Torus);

    /// <summary>A matrix for every mode, between what is seen: M F⁻¹ A F M u of u (rows, c, sides…).</summary>
    private Tensor Between(Tensor matrices, Tensor u)
    {
        using var scope = NewDisposeScope();
        var made = Field(Multiply(matrices, RealTransform.Forward(OnTorus(u), Dimensions).flatten(2)));
        return (made * seen.to(u.dtype, u.device)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Chebyshev's iteration for C v = u, with B = M P⁻¹ M in front: the eigenvalues of B C lie between 1 and <see cref="largest"/> (B is at
    /// least C⁻¹, by Schur's complement). Linear in u, since its steps are fixed: as many as leave 3 %, at most 16.
    /// </summary>
    private Tensor Approach(Tensor u)
    {
        var (centre, half) = ((largest + 1) / 2, Math.Max((largest - 1) / 2, 1e-3));
        var sigma = centre / half;
        var steps = Math.Clamp((int)Math.Ceiling(Math.Acosh(2 / 0.03) / Math.Acosh(sigma)), 1, 16);
        var (rest, rho) = (u, 1 / sigma);
        var step = Between(inverseModes, u).Times(1 / centre);
        var v = step;
        for (var i = 1; i < steps; i++)
        {
            rest = rest - Between(modes, step);
            var next = 1 / (2 * sigma - rho);
            step = step.Times(next * rho).Plus(2 * next / half, Between(inverseModes, rest));
            (v, rho) = (v.Plus(step), next);
        }
        return v;
    }

    /// <summary>Of B C, by 30 steps of the power method, and a tenth more.</summary>
    private double LargestEigenvalue()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1UL);
        var x = randn([1, .. seen.shape], ScalarType.Float32, generator: generator) * seen;
        var size = 1.0;
        for (var i = 0; i < 30; i++)
        {
            var next = Between(inverseModes, Between(modes, x));
            size = (next.norm() / x.norm()).ToDouble();
            x = next / next.norm();
        }
        return 1.1 * Math.Max(size, 1);
    }

    /// <summary>C of the seen pixels, by their separation on the torus, from spectra (modes, c, c).</summary>
    private Tensor Matrix(Tensor spectra, Tensor at)
    {
        var (c, pixels) = (seen.shape[0], sides.Aggregate(1L, (a, b) => a * b));
        var half = spectra.permute(1, 2, 0).reshape([c, c, .. Torus[..^1], Torus[^1] / 2 + 1]);
        var correlation = RealTransform.Inverse(half, Dimensions, Torus[^1]).flatten(); // (c · c · torus)
        var channel = at.div(pixels, RoundingMode.floor);
        var (rest, index) = (at.remainder(pixels), (channel.unsqueeze(1) * c + channel.unsqueeze(0)));
        for (var axis = 0; axis < Dimensions; axis++)
        {
            var stride = sides[(axis + 1)..].Aggregate(1L, (a, b) => a * b);
            var place = rest.div(stride, RoundingMode.floor).remainder(sides[axis]);
            index = index * Torus[axis] + (place.unsqueeze(1) - place.unsqueeze(0)).remainder(Torus[axis]);
        }
        return correlation.take(index);
    }

    /// <summary>The inverse of a covariance, with as much added to its diagonal as it needs.</summary>
    private static Tensor Invert(Tensor matrix)
    {
        var unit = eye(matrix.shape[0], dtype: matrix.dtype);
        var size = matrix.diagonal().mean().ToDouble();
        for (var added = 1e-6; ; added *= 10)
        {
            var (factor, info) = torch.linalg.cholesky_ex(matrix + unit * (added * size));
            if (info.ToInt64() == 0 || added > 1)
                return cholesky_inverse(factor);
        }
    }

    public void Dispose()
    {
        seen.Dispose();
        factor.Dispose();
        adjoint.Dispose();
        inverseModes.Dispose();
        modes.Dispose();
        white.Dispose();
        if (wiener.IsValueCreated)
        {
            Noise.Dispose();
            Scale.Dispose();
        }
        inverse?.Dispose();
        positions?.Dispose();
    }
}
