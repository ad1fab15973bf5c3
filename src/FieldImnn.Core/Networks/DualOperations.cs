using System;
using System.Linq;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>What networks are made of, on values with tangents. Images are (n, c, h, w), vectors (n, features).</summary>
public static class DualOperations
{
    /// <summary>The slope of the leaky rectifier below zero.</summary>
    public const double LeakySlope = 0.01;

    /// <summary>
    /// Correlation with a kernel (out, c, kh, kw) and a bias (out) behind explicit zero padding of rows and columns. The tangent
    /// feels the kernel but not the bias.
    /// </summary>
    public static Dual Convolve(
        this Dual x, Tensor weight, Tensor? bias = null, long stride = 1, Border rows = default, Border columns = default)
    {
        return new Dual(Apply(x.Primal, bias), x.Tangent is null ? null : Apply(x.Tangent, null));

        Tensor Apply(Tensor images, Tensor? offset) =>
            rows.Low == rows.High && columns.Low == columns.High
                ? nn.functional.conv2d(images, weight, offset, [stride, stride], [rows.Low, columns.Low])
                : nn.functional.conv2d(ZeroPad(images, rows, columns), weight, offset, [stride, stride]);
    }

    /// <summary>Zeros around the last two axes.</summary>
    public static Dual PadZero(this Dual x, Border rows, Border columns) => x.Map(t => ZeroPad(t, rows, columns));

    /// <summary>A periodic continuation around the last two axes, of any width.</summary>
    public static Dual PadCircular(this Dual x, Border rows, Border columns) =>
        x.Map(t => Wrap(Wrap(t, t.dim() - 2, rows), t.dim() - 1, columns));

    /// <summary>Every s-th row and column, from the first.</summary>
    public static Dual Subsample(this Dual x, long stride) =>
        stride == 1 ? x : x.Map(t => t[TensorIndex.Ellipsis, TensorIndex.Slice(step: stride), TensorIndex.Slice(step: stride)]);

    /// <summary>x above zero, 0.01 x below.</summary>
    public static Dual LeakyReLU(this Dual x) => x.Pointwise(
        nn.functional.leaky_relu(x.Primal, LeakySlope),
        () => x.Primal.detach().gt(0).to_type(x.Primal.dtype).mul(1 - LeakySlope).add(LeakySlope));

    /// <summary>x σ(x), σ the logistic function; derivative σ (1 + x (1 − σ)).</summary>
    public static Dual SiLU(this Dual x)
    {
        var sigmoid = x.Primal.sigmoid();
        return x.Pointwise(x.Primal * sigmoid, () => sigmoid * (1 + x.Primal * (1 - sigmoid)));
    }

    /// <summary>x².</summary>
    public static Dual Square(this Dual x) => x.Pointwise(x.Primal.square(), () => 2 * x.Primal);

    /// <summary>ln x, x > 0.</summary>
    public static Dual Log(this Dual x) => x.Pointwise(x.Primal.log(), () => x.Primal.reciprocal());

    /// <summary>ln(1 + x), x > −1; derivative 1/(1 + x).</summary>
    /// <exception cref="RangeException">A value ≤ −1.</exception>
    public static Dual LogOfOnePlus(this Dual x)
    {
        var least = x.Primal.detach().min().ToDouble();
        if (!(least > -1))
            throw new RangeException("field whose logarithm ln(1 + δ) is read", "pixels > −1", Invariant($"{least:g6}"));
        return x.Pointwise(x.Primal.log1p(), () => (x.Primal + 1).reciprocal());
    }
    /// <summary>asinh x = ln(x + √(x² + 1)); derivative 1/√(x² + 1).</summary>
    public static Dual Asinh(this Dual x) => x.Pointwise(x.Primal.asinh(), () => (x.Primal.square() + 1).rsqrt());

    /// <summary>Mean over the image: (n, c, h, w) to (n, c).</summary>
    public static Dual Mean(this Dual x) => x.Map(t => t.mean([-2, -1]));

    /// <summary>Means of blocks of 2 points a side: (n, c, h, w) to (n, c, h/2, w/2); in one or three dimensions as well.</summary>
    public static Dual AveragePool(this Dual x) => x.Map(t => t.dim() switch
    {
        3 => nn.functional.avg_pool1d(t, 2, 2),
        4 => nn.functional.avg_pool2d(t, [2, 2], [2, 2]),
        5 => nn.functional.avg_pool3d(t, [2, 2, 2], [2, 2, 2]),
        _ => throw new ShapeException("average pooling", "(n, c) and 1, 2 or 3 axes of space", Guard.Describe(t.shape)),
    });

    /// <summary>
    /// The largest of 3×3 pixels around every s-th pixel of the image, pixels outside counting as −∞: what 'SAME' pooling of stride 1
    /// gives there, without evaluating it elsewhere. The tangent is that of the pixel that won.
    /// </summary>
    public static Dual MaxPool(this Dual x, long stride = 1)
    {
        var (value, winner) = nn.functional.max_pool2d_with_indices(x.Primal, [3, 3], [stride, stride], [1, 1], [1, 1]);
        if (x.TangentByParameter is not { } tangent)
        {
            winner.Dispose();
            return new Dual(value);
        }
        var (n, p, c) = (tangent.shape[0], tangent.shape[1], tangent.shape[2]);
        var pixels = winner.flatten(2).unsqueeze(1).expand(n, p, c, -1);
        return new Dual(value, tangent.flatten(3).gather(3, pixels).reshape([n * p, .. value.shape[1..]]));
    }

    /// <summary>x Wᵀ + b: (n, in) to (n, out) with W (out, in).</summary>
    public static Dual Linear(this Dual x, Tensor weight, Tensor? bias = null) => new(
        bias is null ? x.Primal.matmul(weight.t()) : x.Primal.matmul(weight.t()) + bias,
        x.Tangent?.matmul(weight.t()));

    /// <summary>Channels (or features) side by side, axis 1.</summary>
    public static Dual Concatenate(params Dual[] parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        var tangents = parts.Where(x => x.Tangent is not null).Select(x => x.Tangent!).ToArray();
        if (tangents.Length != 0 && tangents.Length != parts.Length)
            throw new ShapeException("concatenation", "parts that all carry a tangent, or none", $"{tangents.Length} of {parts.Length}");
        return new Dual(cat([.. parts.Select(x => x.Primal)], 1), tangents.Length == 0 ? null : cat(tangents, 1));
    }

    /// <summary>All axes but the first become one.</summary>
    public static Dual Flatten(this Dual x) => x.Map(t => t.flatten(1));

    /// <summary>Adds what does not depend on the parameters, broadcast over the batch.</summary>
    public static Dual Add(this Dual x, Tensor constant) => new(x.Primal + constant, x.Tangent);

    private static Tensor ZeroPad(Tensor images, Border rows, Border columns) =>
        nn.functional.pad(images, [columns.Low, columns.High, rows.Low, rows.High], PaddingModes.Constant, 0);

    private static Tensor Wrap(Tensor t, long axis, Border padding)
    {
        var n = t.shape[axis];
        var index = arange(-padding.Low, n + padding.High, dtype: ScalarType.Int64, device: t.device).remainder(n);
        return t.index_select(axis, index);
    }
}
