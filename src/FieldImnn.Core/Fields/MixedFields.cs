using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// Several fields on one grid that are mixed mode by mode: modes of white noise w_j → Σ_j S_ij w_j → fields. One forward transform for each of
/// them, whatever the number of factors S, and an inverse one for each field and factor.
/// </summary>
public static class MixedFields
{
    /// <summary>
    /// Factors S (1 or n, a, c, c, N, …, N/2 + 1) as <see cref="Of"/> takes them, (1 or n, a, c, c, m): what hangs on the factors alone.
    /// </summary>
    /// <exception cref="ShapeException">Factors of another shape.</exception>
    public static Tensor Prepare(FourierGrid grid, Tensor factors)
    {
        ArgumentNullException.ThrowIfNull(grid);
        ArgumentNullException.ThrowIfNull(factors);
        Guard.Batched("factors of several fields", factors, [factors.shape[1], factors.shape[2], factors.shape[2], .. grid.HalfShape]);
        using var scope = NewDisposeScope();
        var weighted = RealTransform.Reversed(factors * RealTransform.Mirrors(grid.N, factors), grid.Dimensions);
        // real and imaginary parts of the modes lie side by side, and are multiplied by the same
        return weighted.repeat_interleave(2, -1).flatten(4).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Fields (n, a, c, N, …) of noise (n, or 1 for all factors, c, N, …) by <see cref="Prepare">prepared</see> factors, in pieces that stay in the processor's caches.
    /// Differentiable in both. Of <paramref name="lower"/> triangular factors the upper triangle is not looked at.
    /// </summary>
    /// <exception cref="ShapeException">Noise of another shape.</exception>
    public static Tensor Of(FourierGrid grid, Tensor noise, Tensor prepared, bool lower = false)
    {
        ArgumentNullException.ThrowIfNull(grid);
        ArgumentNullException.ThrowIfNull(noise);
        ArgumentNullException.ThrowIfNull(prepared);
        var c = prepared.shape[2];
        Guard.Batched("noise of several fields", noise, [c, .. grid.Shape]);
        return FieldPieces.Make(noise, prepared, grid.Pixels * c, [prepared.shape[1], c, .. grid.Shape], (w, factors) => Piece(grid, w, factors, lower));
    }

    private static Tensor Piece(FourierGrid grid, Tensor noise, Tensor factors, bool lower)
    {
        var c = (int)noise.shape[1];
        var modes = RealTransform.ForwardReversed(noise, grid.Dimensions);
        // taken apart at once: the derivative of every single element would be zeros of the size of all
        var parts = view_as_real(modes).flatten(2).unsqueeze(1).unbind(2);
        var rows = factors.unbind(2);
        var fields = Enumerable.Range(0, c).Select(i =>
        {
            using var scope = NewDisposeScope();
            var row = rows[i].unbind(2);
            var sum = parts[0] * row[0];
            for (var j = 1; j < (lower ? i + 1 : c); j++)
                sum = sum.addcmul(parts[j], row[j], 1);
            var mixed = view_as_complex(sum.view([.. sum.shape[..2], .. modes.shape[2..], 2]));
            return RealTransform.InverseReversed(mixed, grid.Dimensions, grid.N).MoveToOuterDisposeScope();
        }).ToArray();
        return stack(fields, 2);
    }
}
