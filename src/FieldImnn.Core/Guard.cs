using System;
using System.Linq;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core;

/// <summary>Checks at the door. Each returns its argument, so that a guard can stand inside an expression.</summary>
public static class Guard
{
    /// <summary>The shape of a tensor as text: (2, 128, 128).</summary>
    public static string Describe(ReadOnlySpan<long> shape) => $"({string.Join(", ", shape.ToArray())})";

    /// <summary>The tensor's trailing axes are <paramref name="trailing"/>, behind exactly one batch axis.</summary>
    /// <exception cref="ShapeException">The shape is another one.</exception>
    public static Tensor Batched(string subject, Tensor tensor, params long[] trailing)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        if (tensor.dim() != trailing.Length + 1 || !tensor.shape.AsSpan(1).SequenceEqual(trailing))
            throw new ShapeException(subject, $"shape (batch, {string.Join(", ", trailing)})", Describe(tensor.shape));
        return tensor;
    }

    /// <summary>Every element is finite.</summary>
    /// <exception cref="NonFiniteException">One is NaN or infinite; the message counts them.</exception>
    public static Tensor Finite(string subject, Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        using var scope = NewDisposeScope();
        var bad = tensor.detach().isfinite().logical_not().sum().ToInt64();
        if (bad > 0)
            throw new NonFiniteException(subject, "finite numbers", $"{bad} NaN or infinite of {tensor.numel()}");
        return tensor;
    }

    /// <summary><paramref name="value"/> is finite and above zero.</summary>
    /// <exception cref="SettingException">It is not.</exception>
    public static double Positive(string subject, double value) =>
        double.IsFinite(value) && value > 0 ? value : throw new SettingException(subject, "a finite number > 0", Invariant($"{value}"));

    /// <summary><paramref name="value"/> is at least <paramref name="least"/>.</summary>
    /// <exception cref="SettingException">It is not.</exception>
    public static long AtLeast(string subject, long least, long value) =>
        value >= least ? value : throw new SettingException(subject, $"a whole number ≥ {least}", Invariant($"{value}"));
}
