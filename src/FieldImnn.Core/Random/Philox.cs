using System;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace FieldImnn.Core.Random;

/// <summary>
/// Philox4x32-10, the counter-based generator of Salmon et al. 2011 (SC'11, "Parallel random numbers: as easy as 1, 2, 3"): 128 random
/// bits are a function of a 128-bit counter and a 64-bit key, so any number of any simulation can be had without those before it.
/// </summary>
public static class Philox
{
    private const uint M0 = 0xD2511F53, M1 = 0xCD9E8D57, W0 = 0x9E3779B9, W1 = 0xBB67AE85;
    private const int Rounds = 10;

    /// <summary>One block: counter (c0, c1, c2, c3) and key (k0, k1) to four 32-bit numbers.</summary>
    public static (uint, uint, uint, uint) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (var round = 0; round < Rounds; round++, k0 += W0, k1 += W1)
        {
            var p0 = (ulong)M0 * c0;
            var p1 = (ulong)M1 * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>
    /// Eight blocks at once, counters (first … first + 7, stream, index): the same bits as <see cref="Block"/>, lane by lane.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static (Vector256<uint>, Vector256<uint>, Vector256<uint>, Vector256<uint>) EightBlocks(uint first, uint stream, NoiseKey key)
    {
        var c0 = Vector256.Create(first) + Vector256<uint>.Indices;
        var c1 = Vector256.Create(stream);
        var c2 = Vector256.Create((uint)key.Index);
        var c3 = Vector256.Create((uint)(key.Index >> 32));
        var k0 = (uint)key.Seed;
        var k1 = (uint)(key.Seed >> 32);
        for (var round = 0; round < Rounds; round++, k0 += W0, k1 += W1)
        {
            var (high0, low0) = Multiply(c0, M0);
            var (high1, low1) = Multiply(c2, M1);
            (c0, c1, c2, c3) = (high1 ^ c1 ^ Vector256.Create(k0), low1, high0 ^ c3 ^ Vector256.Create(k1), low0);
        }
        return (c0, c1, c2, c3);
    }

    /// <summary>High and low halves of the 64-bit products, lane by lane.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<uint> High, Vector256<uint> Low) Multiply(Vector256<uint> a, uint b)
    {
        var factor = Vector256.Create(b);
        if (Avx2.IsSupported)
        {
            var even = Avx2.Multiply(a, factor).AsUInt32();
            var odd = Avx2.Multiply(Vector256.ShiftRightLogical(a.AsUInt64(), 32).AsUInt32(), factor).AsUInt32();
            var high = Avx2.Blend(Vector256.ShiftRightLogical(even.AsUInt64(), 32).AsUInt32(), odd, 0b10101010);
            return (high, a * factor);
        }
        Span<uint> lanes = stackalloc uint[8];
        for (var i = 0; i < 8; i++)
            lanes[i] = (uint)(((ulong)a[i] * b) >> 32);
        return (Vector256.Create<uint>(lanes), a * factor);
    }
}
