using System;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// Shifts λ of log-normal convergence by redshift bin, from a table over (Ω_m, σ8, w0): lines between its entries along each axis, constant
/// beyond them, differentiable between.
/// </summary>
public sealed class LensingShifts
{
    private readonly Tensor table;
    private readonly (double Low, double High)[] ranges;
    private readonly long[] sides;

    /// <summary>
    /// A table of λ > 0, (Ω_m, σ8, w0, bins) in row-major order, whose axes span these ranges. As its readers have it, position v on an axis of n
    /// entries is (v − low)/(high − low) · n − ½, clamped to [0, n − 1].
    /// </summary>
    /// <exception cref="ShapeException">Another number of entries than the sides say.</exception>
    /// <exception cref="RangeException">An entry that is not a finite number above zero.</exception>
    public LensingShifts(double[] values, long[] sides, params (double Low, double High)[] ranges)
    {
        ArgumentNullException.ThrowIfNull(values);
        ArgumentNullException.ThrowIfNull(sides);
        ArgumentNullException.ThrowIfNull(ranges);
        if (sides.Length != 4 || ranges.Length != 3 || sides.Take(3).Any(n => n < 2) || sides.Aggregate((a, b) => a * b) != values.Length)
            throw new ShapeException("table of shifts", "(Ω_m, σ8, w0, bins), two or more entries and a range for each parameter", $"{Guard.Describe(sides)}, {values.Length} numbers, {ranges.Length} ranges");
        if (values.Any(v => !(v > 0 && double.IsFinite(v))) || ranges.Any(r => !(r.Low < r.High)))
            throw new RangeException("table of shifts", "finite numbers > 0 between rising bounds", "others");
        this.ranges = ranges;
        this.sides = sides;
        table = Arrays.ToTensor(values).DetachFromDisposeScope();
    }

    /// <summary>How many bins there are.</summary>
    public int Bins => (int)sides[3];

    /// <summary>λ (b, bins) at every universe.</summary>
    public Tensor At(CosmologyParameters cosmology)
    {
        ArgumentNullException.ThrowIfNull(cosmology);
        using var scope = NewDisposeScope();
        var b = cosmology.Count;
        var at = new[] { cosmology.OmegaM, cosmology.Sigma8, cosmology.W0 }.Select((v, axis) => Place(v.expand(b, 1), axis)).ToArray();
        Tensor? sum = null;
        for (var corner = 0; corner < 8; corner++)
        {
            var (row, weight) = (zeros(b, ScalarType.Int64), ones([b, 1], ScalarType.Float64));
            for (var axis = 0; axis < 3; axis++)
            {
                var up = corner >> axis & 1;
                row = row * sides[axis] + at[axis].Cell + up;
                weight = weight * (up == 1 ? at[axis].Share : 1 - at[axis].Share);
            }
            var term = table.reshape(-1, sides[3]).index_select(0, row) * weight;
            sum = sum is null ? term : sum + term;
        }
        return sum!.MoveToOuterDisposeScope();
    }

    private (Tensor Cell, Tensor Share) Place(Tensor value, int axis)
    {
        var (n, (low, high)) = (sides[axis], ranges[axis]);
        var position = ((value - low) / (high - low) * n - 0.5).clamp(0, n - 1);
        var cell = position.detach().floor().clamp(0, n - 2);
        return (cell.to_type(ScalarType.Int64).flatten(), position - cell);
    }
}
