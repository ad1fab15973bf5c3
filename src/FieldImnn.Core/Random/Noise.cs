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
    private const long Piece = 1 << 24; // numbers that one thread makes at a time: many steps, and far below a span's 2 GiB
    private const long LongestRow = 4L * uint.MaxValue / PerStep * PerStep; // the counter of blocks of four numbers has 32 bits

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
        var count = shape.Aggregate(1L, (a, b) => checked(a * b));
        if (count > LongestRow)
            throw new ShapeException("noise", $"at most {LongestRow} numbers for each key", $"{count}, of shape {Guard.Describe(shape)}");
        Runtime.TorchRuntime.Load();
        var result = torch.empty([keys.Length, .. shape], dtype: ScalarType.Float32);
        if (count == 0)
            return result;
        var pieces = (count + Piece - 1) / Piece;
        // a span ends at 2 GiB, and tensors do not: the first number's address is enough, since they are one block
        using var first = result.view(-1).narrow(0, 0, 1);
        fixed (byte* memory = first.bytes)
        {
            var start = (float*)memory;
            Parallel.For(0L, keys.Length * pieces, i =>
            {
                var (row, from) = (i / pieces, i % pieces * Piece);
                var length = (int)Math.Min(Piece, count - from);
                FillPiece(new Span<float>(start + row * count + from, length), (uint)(from / 4), stream, keys[row], step);
            });
        }
        if (type == ScalarType.Float32 && (device is null || device.type == DeviceType.CPU))
            return result;
        using (result)
            return result.to(type, device ?? CPU);
    }

    private static void FillPiece(Span<float> piece, uint block, uint stream, NoiseKey key, Step step)
    {
        Span<float> last = stackalloc float[PerStep];
        for (var at = 0; at < piece.Length; at += PerStep)
        {
            var whole = piece.Length - at >= PerStep;
            step(block + (uint)(at / 4), stream, key, whole ? piece[at..] : last);
            if (!whole)
                last[..(piece.Length - at)].CopyTo(piece[at..]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // the first, unoptimised tier is thirty times slower
    private static void UniformStep(uint block, uint stream, NoiseKey key, Span<float> target)
    {
        var (a, b, c, d) = Philox.EightBlocks(block, stream, key);
        Store(BoxMuller.Unit(a), BoxMuller.Unit(b), BoxMuller.Unit(c), BoxMuller.Unit(d), target);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // the first, unoptimised tier is thirty times slower
    private static void NormalStep(uint block, uint stream, NoiseKey key, Span<float> target)
    {
        var (a, b, c, d) = Philox.EightBlocks(block, stream, key);
        var (x, y) = BoxMuller.Pair(a, b);
        var (z, w) = BoxMuller.Pair(c, d);
        Store(x, y, z, w, target);
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
