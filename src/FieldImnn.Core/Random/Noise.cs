using System;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Threading.Tasks;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Random;

/// <summary>
/// Random tensors addressed by key: row i is a function of keys[i] and the stream alone. Drawn in single precision on the CPU,
/// then moved: a GPU run sees the same universe.
/// </summary>
public static class Noise
{
    private const int Lanes = 8;
    private const int PerStep = 4 * Lanes;

    /// <summary>Standard normal numbers (Box &amp; Muller 1958), shape (keys, shape…), float32 unless another type is named.</summary>
    public static Tensor Normal(NoiseKey[] keys, long[] shape, uint stream = 0, Device? device = null, ScalarType type = ScalarType.Float32) =>
        Fill(keys, shape, stream, device, type, NormalStep);

    /// <summary>Uniform numbers in (0, 1), shape (keys, shape…), float32 unless another type is named.</summary>
    public static Tensor Uniform(NoiseKey[] keys, long[] shape, uint stream = 0, Device? device = null, ScalarType type = ScalarType.Float32) =>
        Fill(keys, shape, stream, device, type, UniformStep);

    private delegate void Step(uint block, uint stream, NoiseKey key, Span<float> target);

    private static unsafe Tensor Fill(NoiseKey[] keys, long[] shape, uint stream, Device? device, ScalarType type, Step step)
    {
        ArgumentNullException.ThrowIfNull(keys);
        ArgumentNullException.ThrowIfNull(shape);
        Guard.AtLeast("number of simulations", 1, keys.Length);
        var count = (int)shape.Aggregate(1L, (a, b) => a * b);
        var result = torch.empty([keys.Length, .. shape], dtype: ScalarType.Float32);
        fixed (byte* memory = result.bytes)
        {
            var start = (float*)memory;
            Parallel.For(0, keys.Length, i =>
            {
                var row = new Span<float>(start + (long)i * count, count);
                Span<float> last = stackalloc float[PerStep];
                for (var at = 0; at < count; at += PerStep)
                {
                    var whole = count - at >= PerStep;
                    step((uint)(at / 4), stream, keys[i], whole ? row[at..] : last);
                    if (!whole)
                        last[..(count - at)].CopyTo(row[at..]);
                }
            });
        }
        if (type == ScalarType.Float32 && (device is null || device.type == DeviceType.CPU))
            return result;
        using (result)
            return result.to(type, device ?? CPU);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // the first, unoptimised tier is thirty times slower
    private static void UniformStep(uint block, uint stream, NoiseKey key, Span<float> target)
    {
        var (a, b, c, d) = Philox.EightBlocks(block, stream, key);
        Store(Unit(a), Unit(b), Unit(c), Unit(d), target);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // the first, unoptimised tier is thirty times slower
    private static void NormalStep(uint block, uint stream, NoiseKey key, Span<float> target)
    {
        var (a, b, c, d) = Philox.EightBlocks(block, stream, key);
        var (x, y) = BoxMuller(a, b);
        var (z, w) = BoxMuller(c, d);
        Store(x, y, z, w, target);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector256<float>, Vector256<float>) BoxMuller(Vector256<uint> a, Vector256<uint> b)
    {
        var radius = Vector256.Sqrt(Vector256.Log(Unit(a)) * Vector256.Create(-2f));
        var (sin, cos) = Vector256.SinCos(Unit(b) * Vector256.Create(2f * MathF.PI));
        return (radius * cos, radius * sin);
    }

    /// <summary>
    /// To (0, 1): a 24-bit mantissa, with the lowest bits kept near zero so that the normal's tail reaches 6.7σ; never 0 or 1.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Unit(Vector256<uint> bits)
    {
        var half = Vector256.ConvertToSingle(Vector256.ShiftRightLogical(bits, 1).AsInt32()); // signed conversion is one instruction
        return Vector256.Min((half + Vector256.Create(0.5f)) * Vector256.Create(1f / 2147483648f), Vector256.Create(0.99999994f));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<float> a, Vector256<float> b, Vector256<float> c, Vector256<float> d, Span<float> target)
    {
        a.CopyTo(target);
        b.CopyTo(target[Lanes..]);
        c.CopyTo(target[(2 * Lanes)..]);
        d.CopyTo(target[(3 * Lanes)..]);
    }
}
