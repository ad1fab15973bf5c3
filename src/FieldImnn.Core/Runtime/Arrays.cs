using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Runtime;

/// <summary>Tensors of arrays.</summary>
public static class Arrays
{
    /// <summary>
    /// The numbers as a tensor (n), float64, in memory of its own. TorchSharp's <c>tensor(array)</c> borrows the array's, which lies anywhere;
    /// products of matrices round by where it lies, so that the same seed had other last bits from run to run.
    /// </summary>
    public static Tensor ToTensor(double[] values)
    {
        TorchRuntime.Load();
        using var borrowed = tensor(values);
        return borrowed.clone();
    }
}
