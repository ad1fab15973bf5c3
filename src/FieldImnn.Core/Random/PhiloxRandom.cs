using System;
using System.Runtime.InteropServices;

namespace FieldImnn.Core.Random;

/// <summary>
/// Scalar random numbers of one purpose under a seed, from the generator that fields are made of: <see cref="Philox"/>. System.Random of a
/// seed is not promised to give the same numbers in another version of .NET; this is.
/// </summary>
public sealed class PhiloxRandom : System.Random
{
    private const double Unit = 1.0 / (1ul << 53);
    private readonly ulong key;
    private ulong block;
    private ulong second;
    private bool left;

    /// <summary>The numbers of a purpose ("chains", "subset", …) under a user's seed: see <see cref="NoiseKey.SeedFor"/>.</summary>
    public PhiloxRandom(ulong seed, string purpose) => key = NoiseKey.SeedFor(seed, purpose);

    /// <summary>Uniform in [0, 1), a multiple of 2⁻⁵³.</summary>
    public override double NextDouble() => (Bits() >> 11) * Unit;

    /// <summary>Uniform in [0, 1), a multiple of 2⁻²⁴.</summary>
    public override float NextSingle() => (Bits() >> 40) * (1.0f / (1 << 24));

    /// <inheritdoc/>
    public override int Next() => Next(int.MaxValue);

    /// <inheritdoc/>
    public override int Next(int maxValue) => Next(0, maxValue);

    /// <inheritdoc/>
    public override int Next(int minValue, int maxValue) => (int)NextInt64(minValue, maxValue);

    /// <inheritdoc/>
    public override long NextInt64() => NextInt64(long.MaxValue);

    /// <inheritdoc/>
    public override long NextInt64(long maxValue) => NextInt64(0, maxValue);

    /// <summary>Uniform from a least to below a bound: the upper half of 64 bits times the range, without bias (Lemire 2019).</summary>
    public override long NextInt64(long minValue, long maxValue)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minValue, maxValue);
        var range = (ulong)maxValue - (ulong)minValue;
        if (range == 0)
            return minValue;
        var high = Math.BigMul(Bits(), range, out ulong low);
        for (var least = (0 - range) % range; low < least;)
            high = Math.BigMul(Bits(), range, out low);
        return (long)((ulong)minValue + high);
    }

    /// <inheritdoc/>
    public override void NextBytes(byte[] buffer)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        NextBytes(buffer.AsSpan());
    }

    /// <inheritdoc/>
    public override void NextBytes(Span<byte> buffer)
    {
        for (; buffer.Length > 0; buffer = buffer[Math.Min(8, buffer.Length)..])
        {
            var bits = Bits();
            MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in bits))[..Math.Min(8, buffer.Length)].CopyTo(buffer);
        }
    }

    /// <inheritdoc/>
    protected override double Sample() => NextDouble();

    /// <summary>The next 64 bits: each block holds two.</summary>
    private ulong Bits()
    {
        if (left)
        {
            left = false;
            return second;
        }
        var (a, b, c, d) = Philox.Block((uint)block, (uint)(block >> 32), 0, 0, (uint)key, (uint)(key >> 32));
        block++;
        second = ((ulong)d << 32) | c;
        left = true;
        return ((ulong)b << 32) | a;
    }
}
