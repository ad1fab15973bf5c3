using System;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>Work on so many fields at a time that their pixels, and what is made of them on the way, fit into memory.</summary>
internal static class Pieces
{
    /// <summary>
    /// A function of each row alone, of rows x (n, …): piece by piece; on the CPU as many at a time as tensors have threads, each on one, a single
    /// piece, too, so that its sums do not depend on their number.
    /// </summary>
    internal static Dual Map(Dual x, long pixels, Func<Dual, Dual> function)
    {
        using var scope = NewDisposeScope();
        var (n, at) = (x.Primal.shape[0], Rows(x.Primal, pixels));
        if (n <= at && is_grad_enabled())
            return function(x).MoveToOuterDisposeScope();
        var parts = new Dual[(n + at - 1) / at];
        try
        {
            if (is_grad_enabled())
                for (var i = 0; i < parts.Length; i++)
                    Make(i);
            else
                TorchRuntime.SideBySide(x.Primal.device, parts.Length, Make);
            return new Dual(cat([.. parts.Select(p => p.Primal)]), x.Tangent is null ? null : cat([.. parts.Select(p => p.Tangent!)])).MoveToOuterDisposeScope();
        }
        finally
        {
            foreach (var part in parts)
            {
                part.Primal?.Dispose(); // there are fewer where one failed
                part.Tangent?.Dispose();
            }
        }

        void Make(int i)
        {
            using var partScope = NewDisposeScope();
            var (from, p) = (i * at, x.Parameters);
            var length = Math.Min(at, n - from);
            parts[i] = function(new Dual(x.Primal.narrow(0, from, length), x.Tangent?.narrow(0, from * p, length * p)));
            parts[i].Primal.DetachFromDisposeScope();
            parts[i].Tangent?.DetachFromDisposeScope();
        }
    }

    /// <summary>The mean over rows x (n, …) of a function that is itself a mean over the rows that it is given.</summary>
    internal static Tensor Mean(Tensor x, long pixels, Func<Tensor, Tensor> function)
    {
        using var scope = NewDisposeScope();
        var (n, at) = (x.shape[0], Rows(x, pixels));
        Tensor? sum = null;
        for (var from = 0L; from < n; from += at)
        {
            using var partScope = NewDisposeScope();
            var length = Math.Min(at, n - from);
            var part = function(x.narrow(0, from, length)) * ((double)length / n);
            var before = sum;
            sum = (before is null ? part : before + part).MoveToOuterDisposeScope();
            before?.Dispose();
        }
        return sum!.MoveToOuterDisposeScope();
    }

    private static long Rows(Tensor x, long pixels) => Math.Max(1, pixels / Math.Max(1, x.numel() / Math.Max(1, x.shape[0])));
}
