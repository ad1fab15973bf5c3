using System;
using System.Collections.Generic;
using System.Linq;
using FieldImnn.Core.Fields;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// Bands of |k| on a grid of any sides, k in inverse pixels along each: hat functions of x = ln(|k| + 3 k_f), k_f the fundamental, that add
/// up to one, so that any weighting which is linear in x between the nodes is a sum of bands. k = 0 is in none.
/// </summary>
internal sealed class FourierBands : IDisposable
{
    private readonly (long From, long Length, Tensor Weights)[] stretches;

    /// <summary>
    /// Up to <paramref name="wanted"/> bands of a grid of some sides, from its fundamental to its corner, less those in which it has no mode;
    /// evaluated at the modes of a torus at least as large.
    /// </summary>
    internal FourierBands(IReadOnlyList<long> sides, IReadOnlyList<long> torus, long wanted)
    {
        using var scope = NewDisposeScope();
        var (own, all) = (Wavenumber(sides), Wavenumber(torus));
        var fundamental = 2 * Math.PI / sides.Max();
        var (least, most) = (Math.Log(4 * fundamental), Math.Log(own.max().ToDouble() + 3 * fundamental));
        var kept = At(own).sum(0L).gt(0.5).nonzero().squeeze(1);
        var hats = At(all).index_select(1, kept);
        var members = hats * Hermitian(torus).flatten().unsqueeze(1);

        Tensor At(Tensor k)
        {
            var inside = k.flatten() > 0;
            var scaled = wanted == 1 ? 0 : (wanted - 1) / Math.Max(most - least, 1e-9);
            var position = (((k.flatten() + 3 * fundamental).log() - least) * scaled).clamp(0, wanted - 1);
            var distance = (position.unsqueeze(1) - arange(wanted, k.dtype)).abs();
            return (1 - distance).clamp_min(0) * inside.to_type(k.dtype).unsqueeze(1);
        }

        Hats = hats.to_type(ScalarType.Float32).DetachFromDisposeScope();
        Average = (members / members.sum(0L)).to_type(ScalarType.Float32).DetachFromDisposeScope();
        Outwards = all.flatten().argsort().DetachFromDisposeScope();
        // a band is one stretch of the modes in this order; real and imaginary parts lie side by side
        var ordered = Average.index_select(0, Outwards);
        stretches = [.. ordered.unbind(1).Select(weights =>
        {
            var present = weights.nonzero().squeeze(1);
            var (from, to) = (present.min().ToInt64(), present.max().ToInt64() + 1);
            return (from, to - from, weights.narrow(0, from, to - from).repeat_interleave(2).DetachFromDisposeScope());
        })];
    }

    /// <summary>Number of bands.</summary>
    internal long Count => Hats.shape[1];

    /// <summary>The bands' functions of k at the half-grid modes, (modes, bands), float32; zero at k = 0.</summary>
    internal Tensor Hats { get; }

    /// <summary>Weights of half-grid modes in the means over bands, (modes, bands), float32.</summary>
    internal Tensor Average { get; }

    /// <summary>The half-grid modes in the order of |k|: (modes).</summary>
    internal Tensor Outwards { get; }

    /// <summary>
    /// Means over bands of Re a_i* b_j, (n, a's rows, b's rows, bands), of modes a (n, rows, modes) and b, both <see cref="Outwards">outwards</see>: a product of
    /// matrices for each band, which costs no more for many pairs of rows than reading the modes.
    /// </summary>
    internal Tensor Products(Tensor a, Tensor b)
    {
        using var scope = NewDisposeScope();
        var (first, second) = (Parts(a), Parts(b));
        return stack([.. stretches.Select(band => Product(band.From, band.Length, band.Weights))], 3).MoveToOuterDisposeScope();

        Tensor Product(long from, long length, Tensor weights)
        {
            using var inner = NewDisposeScope();
            var weighted = first.narrow(2, 2 * from, 2 * length) * weights.to(first.dtype, first.device);
            return weighted.matmul(second.narrow(2, 2 * from, 2 * length).transpose(1, 2)).MoveToOuterDisposeScope();
        }

        static Tensor Parts(Tensor modes) => view_as_real(modes).flatten(2);
    }

    public void Dispose()
    {
        Hats.Dispose();
        Average.Dispose();
        Outwards.Dispose();
        foreach (var (_, _, weights) in stretches)
            weights.Dispose();
    }

    private static Tensor Wavenumber(IReadOnlyList<long> sides)
    {
        Tensor? sum = null;
        for (var axis = 0; axis < sides.Count; axis++)
        {
            var n = sides[axis];
            var k = (axis == sides.Count - 1 ? fft.rfftfreq(n, 1 / (2 * Math.PI), ScalarType.Float64) : fft.fftfreq(n, 1 / (2 * Math.PI), ScalarType.Float64)).square();
            var along = k.reshape([.. Enumerable.Range(0, sides.Count).Select(a => a == axis ? -1L : 1L)]);
            sum = sum is null ? along : sum + along;
        }
        return sum!.sqrt();
    }

    /// <summary>Modes of the full grid that one of the half grid stands for, 1 or 2: (n_1, …, n_D/2 + 1).</summary>
    private static Tensor Hermitian(IReadOnlyList<long> sides)
    {
        var last = sides[^1];
        var weights = torch.full([.. sides.SkipLast(1), last / 2 + 1], 2.0, ScalarType.Float64);
        weights[TensorIndex.Ellipsis, 0] = 1.0;
        if (last % 2 == 0)
            weights[TensorIndex.Ellipsis, last / 2] = 1.0;
        return weights;
    }
}
