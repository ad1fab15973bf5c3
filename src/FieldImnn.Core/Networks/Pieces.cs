using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>Work on so many fields at a time that their pixels, and what is made of them on the way, fit into memory.</summary>
internal static class Pieces
{
    /// <summary>A function of each row alone, of rows x (n, …): piece by piece.</summary>
    internal static Dual Map(Dual x, long pixels, Func<Dual, Dual> function)
    {
        using var scope = NewDisposeScope();
        var (n, at) = (x.Primal.shape[0], Rows(x.Primal, pixels));
        if (n <= at)
            return function(x).MoveToOuterDisposeScope();
        var parts = Enumerable.Range(0, (int)((n + at - 1) / at)).Select(i => Part(i * at, Math.Min(at, n - i * at))).ToArray();
        return new Dual(cat([.. parts.Select(p => p.Primal)]), x.Tangent is null ? null : cat([.. parts.Select(p => p.Tangent!)])).MoveToOuterDisposeScope();

        Dual Part(long from, long length)
        {
            using var partScope = NewDisposeScope();
            var p = x.Parameters;
            return function(new Dual(x.Primal.narrow(0, from, length), x.Tangent?.narrow(0, from * p, length * p))).MoveToOuterDisposeScope();
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
            sum = (sum is null ? part : sum + part).MoveToOuterDisposeScope();
        }
        return sum!.MoveToOuterDisposeScope();
    }

    private static long Rows(Tensor x, long pixels) => Math.Max(1, pixels / Math.Max(1, x.numel() / Math.Max(1, x.shape[0])));
}
