using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// Fourier transforms of real fields whose bits hang on the field alone: not on the other fields of the batch, their order or the
/// number of threads. NumPy's convention: forward unnormalised, the last axis halved (n/2 + 1 modes).
/// </summary>
/// <remarks>
/// The library's own transforms of real lines are not so. As soon as there is more than one line and more than one thread, MKL plans a
/// different algorithm for lines of up to 64 points (a power of two; for the inverse odd numbers, too), so that every line of the batch
/// is rounded otherwise than alone or by one thread. Its complex transforms of contiguous lines have one algorithm for all of these.
/// Real lines therefore go as complex ones; no real-to-complex call is left, in the derivatives neither: the gradient of a complex
/// transform is one. Axes are taken one at a time, since transforms of strided axes round with the number of fields, too.
/// </remarks>
internal static class RealTransform
{
    /// <summary>
    /// Real values (…, n_1, …, n_D) to the modes (…, n_1, …, n_D/2 + 1) along the last <paramref name="dimensions"/> axes.
    /// </summary>
    internal static Tensor Forward(Tensor field, int dimensions)
    {
        using var scope = NewDisposeScope();
        return Reversed(ForwardReversed(field, dimensions), dimensions).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The inverse: modes of half the grid (…, n_1, …, n_D/2 + 1) to the real field, whose last axis has <paramref name="side"/> points.
    /// x_j = Re Σ_k w_k X_k e^{2πi jk/n}/n over the stored half, where w_k = 2 counts the mirror image of a mode that has another one.
    /// </summary>
    internal static Tensor Inverse(Tensor modes, int dimensions, long side)
    {
        using var scope = NewDisposeScope();
        var weighted = modes * Mirrors(side, modes);
        return InverseReversed(Reversed(weighted, dimensions), dimensions, side).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>As <see cref="Forward"/>, with the axes in reverse, (…, n_D/2 + 1, …, n_1): as the transforms leave them.</summary>
    internal static Tensor ForwardReversed(Tensor field, int dimensions)
    {
        using var scope = NewDisposeScope();
        var side = field.shape[^1];
        // asked for a real tensor, fft_ would take the real algorithm and mirror its result
        var lines = field.to_type(field.dtype == ScalarType.Float64 ? ScalarType.ComplexFloat64 : ScalarType.ComplexFloat32).contiguous();
        var modes = fft.fft_(lines).narrow(-1, 0, side / 2 + 1);
        // the axis that was transformed goes before those that were before it, and the one in front of these becomes the last
        for (var axis = 1; axis < dimensions; axis++)
            modes = fft.fft_(modes.movedim([-1], [axis - 1 - dimensions]).contiguous());
        return modes.contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>The inverse of modes (…, n_D/2 + 1, …, n_1) that are weighted by <see cref="Mirrors"/>; a view of complex numbers.</summary>
    internal static Tensor InverseReversed(Tensor weighted, int dimensions, long side)
    {
        using var scope = NewDisposeScope();
        var modes = weighted;
        for (var axis = dimensions - 1; axis > 0; axis--)
            modes = fft.ifft(modes.contiguous()).movedim([axis - 1 - dimensions], [-1]);
        // filled up with zeros, lines become contiguous on the way
        var lines = modes.shape[^1] == side ? modes.contiguous() : nn.functional.pad(modes, [0, side - modes.shape[^1]]);
        return fft.ifft(lines).real.MoveToOuterDisposeScope();
    }

    /// <summary>The last <paramref name="dimensions"/> axes in reverse order, contiguous.</summary>
    internal static Tensor Reversed(Tensor values, int dimensions)
    {
        var kept = values.dim() - dimensions;
        long[] order = [.. Enumerable.Range(0, (int)kept).Select(i => (long)i), .. Enumerable.Range(0, dimensions).Select(i => values.dim() - 1 - i)];
        return values.permute(order).contiguous();
    }

    /// <summary>w (n/2 + 1): 1 where a mode is its own mirror image, else 2; real, in the precision of the modes.</summary>
    internal static Tensor Mirrors(long side, Tensor modes)
    {
        var type = modes.dtype is ScalarType.ComplexFloat64 or ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        return tensor([.. Enumerable.Range(0, (int)(side / 2 + 1)).Select(k => k == 0 || 2 * k == side ? 1.0 : 2.0)], type, modes.device);
    }
}
