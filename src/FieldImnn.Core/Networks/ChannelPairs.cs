using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>All pairs (a, b), a ≤ b, of c channels, in row-major order: (0, 0), (0, 1), … (c − 1, c − 1).</summary>
internal sealed class ChannelPairs
{
    private readonly long[] first, second;

    internal ChannelPairs(long channels)
    {
        Channels = channels;
        var all =
            from a in Enumerable.Range(0, (int)channels)
            from b in Enumerable.Range(a, (int)channels - a)
            select ((long)a, (long)b);
        (first, second) = ([.. all.Select(p => p.Item1)], [.. all.Select(p => p.Item2)]);
    }

    internal long Channels { get; }

    /// <summary>c(c + 1)/2.</summary>
    internal long Count => first.Length;

    /// <summary>2 for pairs of different channels, which stand for (b, a), too; else 1: (pairs).</summary>
    internal double[] Multiplicity => [.. first.Zip(second, (a, b) => a == b ? 1.0 : 2.0)];

    /// <summary>The first channel of every pair along an axis of channels: (…, pairs, …).</summary>
    internal Tensor First(Tensor values, long axis) => Select(values, axis, first);

    /// <summary>The second.</summary>
    internal Tensor Second(Tensor values, long axis) => Select(values, axis, second);

    /// <summary>The pairs of (…, c, c, …), whose channels are this axis and the next: (…, pairs, …).</summary>
    internal Tensor Of(Tensor matrices, long axis) =>
        matrices.flatten(axis, axis + 1).index_select(axis, tensor([.. first.Zip(second, (a, b) => a * Channels + b)], device: matrices.device));

    private Tensor Select(Tensor values, long axis, long[] channels) =>
        Channels == 1 ? values : values.index_select(axis, tensor(channels, device: values.device));
}
