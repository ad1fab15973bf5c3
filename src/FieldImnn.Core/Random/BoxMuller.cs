using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace FieldImnn.Core.Random;

/// <summary>
/// Two standard normal numbers of two uniform ones (Box &amp; Muller 1958): √(−2 ln u) (cos 2πv, sin 2πv), eight at a time. Logarithm, sine
/// and cosine are the polynomials of Cephes (Moshier 1989) in single precision, products and sums one by one, so that their bits do not
/// depend on the instruction set; relative error 2·10⁻⁷.
/// </summary>
internal static class BoxMuller
{
    /// <summary>The pair of radius bits a and angle bits b: u from the upper bits of a, v = b/2³², exactly.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static (Vector256<float> First, Vector256<float> Second) Pair(Vector256<uint> a, Vector256<uint> b)
    {
        var radius = Vector256.Sqrt(Logarithm(Unit(a)) * Vector256.Create(-2f));
        var (sin, cos) = SineAndCosine(b);
        return (radius * cos, radius * sin);
    }

    /// <summary>
    /// To (0, 1): a 24-bit mantissa, with the lowest bits kept near zero so that the normal's tail reaches 6.7σ; never 0 or 1.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> Unit(Vector256<uint> bits)
    {
        var half = Vector256.ConvertToSingle(Vector256.ShiftRightLogical(bits, 1).AsInt32()); // signed conversion is one instruction
        return Vector256.Min((half + Vector256.Create(0.5f)) * Vector256.Create(1f / 2147483648f), Vector256.Create(0.99999994f));
    }

    /// <summary>ln u of normal u in (0, 1): with u = 2^e (1 + x), √½ ≤ 1 + x &lt; √2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Logarithm(Vector256<float> u)
    {
        var fromRootHalf = u.AsInt32() - Vector256.Create(0x3f3504f3); // the bits of √½: what is above them counts powers of two
        var e = Vector256.ConvertToSingle(Vector256.ShiftRightArithmetic(fromRootHalf, 23));
        var x = ((fromRootHalf & Vector256.Create(0x007fffff)) + Vector256.Create(0x3f3504f3)).AsSingle() - Vector256<float>.One;
        var z = x * x;
        var y = x * Vector256.Create(7.0376836292e-2f) - Vector256.Create(1.1514610310e-1f);
        y = y * x + Vector256.Create(1.1676998740e-1f);
        y = y * x - Vector256.Create(1.2420140846e-1f);
        y = y * x + Vector256.Create(1.4249322787e-1f);
        y = y * x - Vector256.Create(1.6668057665e-1f);
        y = y * x + Vector256.Create(2.0000714765e-1f);
        y = y * x - Vector256.Create(2.4999993993e-1f);
        y = y * x + Vector256.Create(3.3333331174e-1f);
        // ln 2 in two parts, the first of which has few bits, so that its product with e is exact
        y = y * x * z - e * Vector256.Create(2.12194440e-4f) - z * Vector256.Create(0.5f);
        return x + y + e * Vector256.Create(0.693359375f);
    }

    /// <summary>sin and cos of 2π b/2³²: a quarter q of the circle, and the rest, of at most an eighth, by polynomials.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<float> Sine, Vector256<float> Cosine) SineAndCosine(Vector256<uint> b)
    {
        var q = Vector256.ShiftRightLogical(b + Vector256.Create(1u << 29), 30);
        var rest = (b - Vector256.ShiftLeft(q, 30)).AsInt32();
        var x = Vector256.ConvertToSingle(rest) * Vector256.Create((float)(2 * System.Math.PI / 4294967296.0));
        var z = x * x;
        var sin = Vector256.Create(8.3321608736e-3f) - z * Vector256.Create(1.9515295891e-4f);
        sin = (sin * z - Vector256.Create(1.6666654611e-1f)) * z * x + x;
        var cos = z * Vector256.Create(2.443315711809948e-5f) - Vector256.Create(1.388731625493765e-3f);
        cos = (cos * z + Vector256.Create(4.166664568298827e-2f)) * z * z - z * Vector256.Create(0.5f) + Vector256<float>.One;
        var odd = Vector256.Equals(q & Vector256<uint>.One, Vector256<uint>.One).AsSingle();
        var sineSign = Vector256.ShiftLeft(q & Vector256.Create(2u), 30);
        var cosineSign = Vector256.ShiftLeft((q + Vector256<uint>.One) & Vector256.Create(2u), 30);
        return (
            (Vector256.ConditionalSelect(odd, cos, sin).AsUInt32() ^ sineSign).AsSingle(),
            (Vector256.ConditionalSelect(odd, sin, cos).AsUInt32() ^ cosineSign).AsSingle());
    }
}
