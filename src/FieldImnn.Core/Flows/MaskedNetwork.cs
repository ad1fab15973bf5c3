using System;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>
/// MADE (Germain et al. 2015) with a condition: parameters (members, n, d, outputs) of d conditional distributions, of which those of
/// the dimension at place k of the order depend on x at the places before k, and on the condition (members, n, c).
/// The last layer starts at zero.
/// </summary>
public sealed class MaskedNetwork
{
    private readonly MaskedLinear[] layers;
    private readonly long dimensions, outputs;

    /// <summary>A network for an order of the dimensions (order[i] is the place of dimension i, from 1) with ReLU layers.</summary>
    public MaskedNetwork(WeightBank bank, int[] order, int conditions, int[] hidden, int outputs)
    {
        ArgumentNullException.ThrowIfNull(order);
        ArgumentNullException.ThrowIfNull(hidden);
        dimensions = order.Length;
        this.outputs = outputs;
        // degrees: an input has its place, the condition 0; a hidden unit of degree m sees what is of degree ≤ m; place k sees m < k
        int[] degrees = [.. order, .. Enumerable.Repeat(0, conditions)];
        layers = new MaskedLinear[hidden.Length + 1];
        for (var i = 0; i < hidden.Length; i++)
        {
            int[] next = [.. Enumerable.Range(0, hidden[i]).Select(unit => unit % order.Length)];
            layers[i] = new MaskedLinear(bank, degrees, next, (own, below) => below <= own, Math.Sqrt(2));
            degrees = next;
        }
        int[] last = [.. order.SelectMany(place => Enumerable.Repeat(place, outputs))];
        layers[^1] = new MaskedLinear(bank, degrees, last, (own, below) => below < own, 0);
    }

    /// <summary>Parameters (members, n, d, outputs) of x (members, n, d) and the condition (members, n, c).</summary>
    public Tensor Forward(Tensor x, Tensor condition)
    {
        var h = cat([x, condition], 2);
        for (var i = 0; i < layers.Length - 1; i++)
            h = nn.functional.silu(layers[i].Forward(h));
        return layers[^1].Forward(h).view(h.shape[0], h.shape[1], dimensions, outputs);
    }
}
