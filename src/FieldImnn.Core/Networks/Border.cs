using System;

namespace FieldImnn.Core.Networks;

/// <summary>Elements added before and after an axis.</summary>
public readonly record struct Border(long Low, long High)
{
    /// <summary>
    /// The 'SAME' padding of TensorFlow and JAX: ⌈n/s⌉ outputs from n inputs at stride s, the odd element at the high end.
    /// </summary>
    public static Border Same(long n, long kernel, long stride)
    {
        var total = Math.Max((Outputs(n, stride) - 1) * stride + kernel - n, 0);
        return new Border(total / 2, total - total / 2);
    }

    /// <summary>⌈n/s⌉.</summary>
    public static long Outputs(long n, long stride) => (n + stride - 1) / stride;
}
