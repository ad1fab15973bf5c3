using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// Modes of a half grid that have the same power by a symmetry of the spectrum. A spectrum is evaluated once for each class, and a
/// likelihood needs no more of a field than the sums of its power over the classes.
/// </summary>
public sealed class ModeClasses
{
    private readonly long[] halfShape;

    private ModeClasses(FourierGrid grid, Tensor index, Tensor squares)
    {
        halfShape = grid.HalfShape;
        var (radii, radiusIndex, _) = squares.unique(sorted: true, return_inverse: true);
        Index = index.DetachFromDisposeScope();
        Radii = (radii.to_type(ScalarType.Float64).sqrt() * grid.FundamentalWavenumber).DetachFromDisposeScope();
        RadiusIndex = radiusIndex!.DetachFromDisposeScope();
    }

    /// <summary>Modes of equal |k|: for a spectrum P(|k|). Classes in the order of |k|, told apart by the integer (kL/2π)².</summary>
    public static ModeClasses Shells(FourierGrid grid)
    {
        ArgumentNullException.ThrowIfNull(grid);
        using var scope = NewDisposeScope();
        var (shells, index, _) = Squares(grid).unique(sorted: true, return_inverse: true);
        return new ModeClasses(grid, index!, shells);
    }

    /// <summary>
    /// Modes that differ by the signs of their components: for a spectrum with the mirror symmetries of the grid alone. Classes are
    /// the orthant n_i = 0 … ⌊N/2⌋ on every axis, in row-major order.
    /// </summary>
    public static ModeClasses Orthant(FourierGrid grid)
    {
        ArgumentNullException.ThrowIfNull(grid);
        using var scope = NewDisposeScope();
        var side = grid.N / 2 + 1;
        var index = Orders(grid).Aggregate((a, b) => a * side + b).flatten();
        var classes = Enumerable.Repeat(side, grid.Dimensions).Aggregate(1L, (a, b) => a * b);
        return new ModeClasses(grid, index, zeros(classes, ScalarType.Int64).scatter(0, index, Squares(grid)));
    }

    /// <summary>The different |k| there are, rising, float64: (radii), in inverse units of the box length.</summary>
    public Tensor Radii { get; }

    /// <summary>Which of <see cref="Radii"/> each class has, int64: (classes).</summary>
    public Tensor RadiusIndex { get; }

    /// <summary>The class of every half-grid mode, int64: (N · … · (N/2 + 1)).</summary>
    public Tensor Index { get; }

    /// <summary>Number of classes.</summary>
    public long Count => RadiusIndex.shape[0];

    /// <summary>Values of the classes (b, classes) laid out on the half grid (b, N, …, N/2 + 1).</summary>
    public Tensor Spread(Tensor byClass)
    {
        ArgumentNullException.ThrowIfNull(byClass);
        Guard.Batched("values by class", byClass, Count);
        var index = byClass.device.type == DeviceType.CPU ? Index : Index.to(byClass.device);
        return byClass.index_select(1, index).reshape([-1, .. halfShape]);
    }

    /// <summary>Sums over the classes (classes) of values on the half grid (N, …, N/2 + 1), float64.</summary>
    public Tensor Sum(Tensor byMode)
    {
        ArgumentNullException.ThrowIfNull(byMode);
        return zeros(Count, ScalarType.Float64).index_add(0, Index, byMode.flatten(), 1);
    }

    /// <summary>|n_i| of every half-grid mode, by axis, int64 and broadcastable to the half grid.</summary>
    private static Tensor[] Orders(FourierGrid grid) =>
        [.. Enumerable.Range(0, grid.Dimensions).Select(axis =>
        {
            var n = arange(grid.HalfShape[axis], dtype: ScalarType.Int64);
            var along = Enumerable.Repeat(1L, grid.Dimensions).ToArray();
            along[axis] = -1;
            return minimum(n, grid.N - n).abs().reshape(along).expand(grid.HalfShape);
        })];

    /// <summary>(kL/2π)² of every half-grid mode, int64.</summary>
    private static Tensor Squares(FourierGrid grid) => Orders(grid).Select(n => n.square()).Aggregate((a, b) => a + b).flatten();
}
