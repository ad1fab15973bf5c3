using System;

namespace FieldImnn.Core.Cosmology;

/// <summary>The cubic through four neighbours of a table on equally distant points.</summary>
internal static class CubicInterpolation
{
    /// <summary>The first of the four entries around position t (0 to count − 1, in steps), and their weights.</summary>
    internal static (int First, double[] Weights) At(double t, int count)
    {
        var cell = Math.Clamp((int)Math.Floor(t), 1, count - 3);
        var u = t - cell;
        return (cell - 1, [-u * (u - 1) * (u - 2) / 6, (u + 1) * (u - 1) * (u - 2) / 2, -(u + 1) * u * (u - 2) / 2, (u + 1) * u * (u - 1) / 6]);
    }
}
