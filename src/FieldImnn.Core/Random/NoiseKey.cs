using System;

namespace FieldImnn.Core.Random;

/// <summary>
/// The address of one simulation's randomness: simulation <paramref name="Index"/> of <paramref name="Seed"/>. The same key gives the
/// same numbers alone, in any batch, in any order and at any thread count.
/// </summary>
public readonly record struct NoiseKey(ulong Seed, ulong Index)
{
    /// <summary>Keys of <paramref name="count"/> simulations in a row.</summary>
    public static NoiseKey[] Range(ulong seed, ulong first, int count)
    {
        Guard.AtLeast("number of simulations", 1, count);
        var keys = new NoiseKey[count];
        for (var i = 0; i < count; i++)
            keys[i] = new NoiseKey(seed, first + (ulong)i);
        return keys;
    }

    /// <summary>
    /// A seed of its own for one purpose ("validation", "target", …) under a user's seed, so that simulations of different purposes
    /// never share noise: FNV-1a of the name, mixed with the seed by the finaliser of SplitMix64.
    /// </summary>
    public static ulong SeedFor(ulong seed, string purpose)
    {
        ArgumentNullException.ThrowIfNull(purpose);
        var hash = 0xcbf29ce484222325ul;
        foreach (var c in purpose)
            hash = (hash ^ c) * 0x100000001b3ul;
        return SplitMix.Mix(hash + seed * SplitMix.Golden);
    }

    /// <summary>The upper 31 bits of <see cref="SeedFor"/>, for generators whose seed is an int.</summary>
    public static int IntSeedFor(ulong seed, string purpose) => (int)(SeedFor(seed, purpose) >> 33);
}
