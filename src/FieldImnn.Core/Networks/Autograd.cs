using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>Tangents of functions that bring no rule for them, by torch's reverse mode.</summary>
internal static class Autograd
{
    /// <summary>
    /// A function (n, …) → (n, k) of each row alone, and its tangents: with g(u) = uᵀ ∂f/∂x, linear in u, ∂⟨g(u), v⟩/∂u = (∂f/∂x) v, one
    /// backward pass for each parameter. They remain in the graph of all weights where it is on.
    /// </summary>
    /// <exception cref="SettingException">The values have no gradient by the field, or none that is not constant zero.</exception>
    internal static Dual Push(string subject, Func<Tensor, Tensor> function, Dual x)
    {
        if (x.TangentByParameter is not { } tangent)
            return new Dual(function(x.Primal));
        var wanted = is_grad_enabled();
        using var scope = NewDisposeScope();
        using var enabled = enable_grad();
        var point = Variable(x.Primal);
        var value = function(point);
        var cotangent = zeros_like(value).detach().requires_grad_(true);
        var pulled = Gradient(subject, value, point, cotangent, true);
        if (pulled is null || !pulled.requires_grad)
            throw Undifferentiable(subject);
        var pushed = new Tensor[x.Parameters];
        for (var a = 0; a < pushed.Length; a++)
            pushed[a] = Gradient(subject, pulled, cotangent, tangent.select(1, a), wanted) ?? throw Undifferentiable(subject);
        var made = stack(pushed, 1).flatten(0, 1);
        return (wanted ? new Dual(value, made) : new Dual(value.detach(), made.detach())).MoveToOuterDisposeScope();
    }

    /// <summary>A function of each pixel alone, with its derivative, or torch's: Σ y by x is y'(x).</summary>
    /// <exception cref="ShapeException">The function's value has another shape than its argument.</exception>
    /// <exception cref="RangeException">It is not finite for a pixel.</exception>
    internal static Dual Pointwise(string name, Func<Tensor, Tensor> function, Func<Tensor, Tensor>? derivative, Dual x)
    {
        using var scope = NewDisposeScope();
        var value = SameShape(function(x.Primal));
        if (value.detach().isfinite().logical_not().any().ToBoolean())
        {
            var (least, most) = (x.Primal.detach().min().ToDouble(), x.Primal.detach().max().ToDouble());
            throw new RangeException($"field of which {name} is read", "pixels for which it is finite", FormattableString.Invariant($"pixels from {least:g6} to {most:g6}"));
        }
        return x.Pointwise(value, () => SameShape(derivative is null ? Slope() : derivative(x.Primal))).MoveToOuterDisposeScope();

        Tensor Slope()
        {
            var wanted = is_grad_enabled();
            using var enabled = enable_grad();
            var point = Variable(x.Primal);
            var slope = Gradient($"pointwise function {name}", function(point).sum(), point, null, wanted) ?? throw Undifferentiable($"pointwise function {name}");
            return wanted ? slope : slope.detach();
        }

        Tensor SameShape(Tensor made) => made.shape.SequenceEqual(x.Primal.shape)
            ? made
            : throw new ShapeException($"pointwise function {name}", $"the shape of its argument, {Guard.Describe(x.Primal.shape)}", Guard.Describe(made.shape));
    }

    /// <summary>The gradient of each column of f (n, k) by x (n, …) is zero: (k).</summary>
    internal static bool[] Flat(Func<Tensor, Tensor> function, Tensor x)
    {
        using var scope = NewDisposeScope();
        using var enabled = enable_grad();
        var point = x.detach().requires_grad_(true);
        var value = function(point);
        return [.. value.sum(0L).unbind(0).Select(total =>
            Gradient("", total, point, null, false) is not { } gradient || gradient.count_nonzero().ToInt64() == 0)];
    }

    /// <summary>The argument as a node to differentiate by: part of the graph that it is in, or a leaf.</summary>
    private static Tensor Variable(Tensor x) => x.requires_grad ? x.alias() : x.detach().requires_grad_(true);

    private static Tensor? Gradient(string subject, Tensor value, Tensor by, Tensor? cotangent, bool createGraph)
    {
        if (!value.requires_grad)
            return null;
        try
        {
            var found = autograd.grad([value], [by], cotangent is null ? null : [cotangent], retain_graph: true, create_graph: createGraph, allow_unused: true);
            return found.Count == 0 || found[0] is null || found[0].IsInvalid ? null : found[0];
        }
        catch (System.Runtime.InteropServices.ExternalException fault)
        {
            throw new SettingException(subject, "operations that torch can differentiate twice", fault.Message.Split('\n')[0]);
        }
    }

    /// <summary>The error about a function that has no gradient.</summary>
    internal static SettingException Undifferentiable(string subject, string found = "one without a gradient") => new(
        subject,
        "a function of the field that torch can differentiate",
        $"{found}: it counts, compares, rounds or sorts into bins, or takes values out of torch (a smooth step, sigmoid((x − t)/w), has one)");
}
