namespace FieldImnn.Core.Random;

/// <summary>SplitMix64 (Steele, Lea &amp; Flood 2014): its step and its finaliser, a bijection that spreads every bit of 64 over all of them.</summary>
public static class SplitMix
{
    /// <summary>The odd number next to 2⁶⁴/φ: the step between states.</summary>
    public const ulong Golden = 0x9e3779b97f4a7c15ul;

    /// <summary>The finaliser.</summary>
    public static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ul;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebul;
        return z ^ (z >> 31);
    }
}
