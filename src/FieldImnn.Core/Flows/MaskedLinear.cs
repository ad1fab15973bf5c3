using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>
/// A linear layer (members, n, inputs) → (members, n, outputs) of which output j sees input i only where a mask lets it, for a whole
/// ensemble in one matrix product.
/// </summary>
internal sealed class MaskedLinear
{
    private readonly WeightBank bank;
    private readonly int weight, bias;

    /// <summary>
    /// A layer whose output of degree b sees the inputs of degree a where <paramref name="sees"/>(b, a); its weights have the standard
    /// deviation <paramref name="gain"/> / √(inputs seen).
    /// </summary>
    public MaskedLinear(WeightBank bank, int[] inputs, int[] outputs, Func<int, int, bool> sees, double gain)
    {
        ArgumentNullException.ThrowIfNull(bank);
        ArgumentNullException.ThrowIfNull(sees);
        this.bank = bank;
        var mask = inputs.SelectMany(a => outputs.Select(b => sees(b, a) ? 1f : 0f)).ToArray();
        var seen = Math.Max(1, mask.Sum() / outputs.Length);
        weight = bank.Add([inputs.Length, outputs.Length], gain / Math.Sqrt(seen), mask);
        bias = bank.Add([1, outputs.Length], 0);
    }

    /// <summary>The weights (members, inputs, outputs).</summary>
    public Tensor Weight => bank[weight];

    /// <summary>The layer's values.</summary>
    public Tensor Forward(Tensor x) => x.baddbmm(bank[weight], bank[bias]); // the static one of TorchSharp mixes up its arguments
}
