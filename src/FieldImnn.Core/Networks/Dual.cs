using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// A batch of values with their derivatives by p parameters, carried together through a network: forward mode. Primal (n, …), Tangent
/// (n·p, …) with row i·p + a the derivative of value i by parameter a, or none. Every rule is made of torch operations, so the gradient
/// of values and tangents by the weights is one ordinary backward pass, and no gradient by the (large) field is ever formed.
/// </summary>
public readonly struct Dual
{
    /// <summary>Values (n, …) and, where wanted, tangents (n·p, …) of the same trailing shape.</summary>
    /// <exception cref="ShapeException">The tangent's shape does not fit the primal's.</exception>
    public Dual(Tensor primal, Tensor? tangent = null)
    {
        ArgumentNullException.ThrowIfNull(primal);
        if (tangent is not null)
        {
            var (n, rows) = (primal.shape[0], tangent.shape[0]);
            if (n == 0 || rows == 0 || rows % n != 0 || !tangent.shape.AsSpan(1).SequenceEqual(primal.shape.AsSpan(1)))
                throw new ShapeException("tangent", $"{n}·p rows of {Guard.Describe(primal.shape.AsSpan(1))}", Guard.Describe(tangent.shape));
        }
        Primal = primal;
        Tangent = tangent;
    }

    /// <summary>The values, (n, …).</summary>
    public Tensor Primal { get; }

    /// <summary>Their derivatives, (n·p, …), sample-major, or null.</summary>
    public Tensor? Tangent { get; }

    /// <summary>Number of parameters p; 0 without a tangent.</summary>
    public int Parameters => Tangent is null ? 0 : (int)(Tangent.shape[0] / Primal.shape[0]);

    /// <summary>The tangent as (n, p, …), or null.</summary>
    public Tensor? TangentByParameter => Tangent?.reshape([Primal.shape[0], Parameters, .. Primal.shape[1..]]);

    /// <summary>The image under a linear map that acts on each row alone: the tangent goes through the same map.</summary>
    public Dual Map(Func<Tensor, Tensor> linear)
    {
        ArgumentNullException.ThrowIfNull(linear);
        return new Dual(linear(Primal), Tangent is null ? null : linear(Tangent));
    }

    /// <summary>
    /// The image under a pointwise function: its <paramref name="value"/> and, of the same shape, its <paramref name="derivative"/>
    /// (asked for only if there is a tangent).
    /// </summary>
    public Dual Pointwise(Tensor value, Func<Tensor> derivative)
    {
        ArgumentNullException.ThrowIfNull(value);
        ArgumentNullException.ThrowIfNull(derivative);
        return TangentByParameter is { } tangent
            ? new Dual(value, (tangent * derivative().unsqueeze(1)).reshape([-1, .. Primal.shape[1..]]))
            : new Dual(value);
    }

    /// <summary>Hands both tensors to the dispose scope around the innermost one.</summary>
    public Dual MoveToOuterDisposeScope()
    {
        Primal.MoveToOuterDisposeScope();
        Tangent?.MoveToOuterDisposeScope();
        return this;
    }
}
