using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>Tensors and numbers, for code that runs on several threads or a thousand times a second.</summary>
/// <remarks>
/// TorchSharp makes an object of every number in <c>tensor * 2</c>, which only the garbage collector frees. Until it does, 48 bytes of native
/// memory stay between the tensors that are freed, glibc finds no room for the next one among them and takes new pages; and a collection
/// on one thread can free the number that another has just handed to native code. Here it is freed as soon as it has been used.
/// </remarks>
internal static class Arithmetic
{
    /// <summary>What a sum multiplies its second term by, which is also an object of its own if it is not given.</summary>
    private static readonly Scalar One = 1.ToScalar();

    /// <summary>t + s.</summary>
    internal static Tensor Plus(this Tensor t, Tensor s) => t.add(s, One);

    /// <summary>Adds a b to t, without the product on its own.</summary>
    internal static void AddProduct(this Tensor t, Tensor a, Tensor b) => t.addcmul_(a, b, One);

    /// <summary>t + x.</summary>
    internal static Tensor Plus(this Tensor t, double x)
    {
        using var number = x.ToScalar();
        return t.add(number, One);
    }

    /// <summary>t + x, of whole numbers.</summary>
    internal static Tensor Plus(this Tensor t, int x)
    {
        using var number = x.ToScalar();
        return t.add(number, One);
    }

    /// <summary>t x.</summary>
    internal static Tensor Times(this Tensor t, double x)
    {
        using var number = x.ToScalar();
        return t.mul(number);
    }

    /// <summary>t + x s.</summary>
    internal static Tensor Plus(this Tensor t, double x, Tensor s)
    {
        using var number = x.ToScalar();
        return t.add(s, number);
    }

    /// <summary>t + x s, of whole numbers.</summary>
    internal static Tensor Plus(this Tensor t, int x, Tensor s)
    {
        using var number = x.ToScalar();
        return t.add(s, number);
    }

    /// <summary>t where it is larger than x, else x.</summary>
    internal static Tensor AtLeast(this Tensor t, double x)
    {
        using var number = x.ToScalar();
        return t.clamp_min(number);
    }

    /// <summary>t where it is smaller than x, else x.</summary>
    internal static Tensor AtMost(this Tensor t, double x)
    {
        using var number = x.ToScalar();
        return t.clamp_max(number);
    }
}
