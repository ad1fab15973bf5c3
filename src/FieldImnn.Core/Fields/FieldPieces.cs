using System;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>Fields of noise, made a few at a time and side by side, so that they stay in the processor's caches on the way.</summary>
internal static class FieldPieces
{
    private const long PixelsAtATime = 1 << 17; // with the modes and the derivatives by two parameters, 5 MB

    /// <summary>
    /// Fields (n, shape…) of noise (n, …) with what hangs on the parameters, of one row or n, by a function of both that takes each row alone.
    /// <paramref name="pixels"/>: of one row. At once where a derivative by either is asked for.
    /// </summary>
    internal static Tensor Make(Tensor noise, Tensor perRow, long pixels, long[] shape, Func<Tensor, Tensor, Tensor> piece)
    {
        using var scope = NewDisposeScope();
        var (n, own) = (noise.shape[0], perRow.shape[0] > 1);
        var step = Math.Max(1, PixelsAtATime / pixels);
        if (n <= step || perRow.requires_grad || noise.requires_grad)
            return piece(noise, perRow).contiguous().MoveToOuterDisposeScope();
        var made = empty([n, .. shape], noise.dtype, noise.device);
        TorchRuntime.SideBySide(noise.device, (int)((n + step - 1) / step), Fill);
        return made.MoveToOuterDisposeScope();

        void Fill(int i)
        {
            using var pieceScope = NewDisposeScope();
            var from = i * step;
            var length = Math.Min(step, n - from);
            made.narrow(0, from, length).copy_(piece(noise.narrow(0, from, length), own ? perRow.narrow(0, from, length) : perRow));
        }
    }
}
