using System;
using System.Collections.Generic;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Flows;

/// <summary>An ensemble of networks (members, n, inputs) → (members, n, outputs): linear layers with ReLU between them.</summary>
public sealed class Perceptron
{
    private readonly MaskedLinear[] layers;

    /// <summary>Networks of layers of the given sizes, inputs first; the last layer's weights are <paramref name="lastGain"/> / √inputs.</summary>
    public Perceptron(WeightBank bank, IReadOnlyList<int> sizes, double lastGain)
    {
        ArgumentNullException.ThrowIfNull(sizes);
        layers = new MaskedLinear[sizes.Count - 1];
        for (var i = 0; i < layers.Length; i++)
        {
            Guard.AtLeast("units of a layer", 1, sizes[i + 1]);
            var gain = i < layers.Length - 1 ? Math.Sqrt(2) : lastGain;
            layers[i] = new MaskedLinear(bank, new int[sizes[i]], new int[sizes[i + 1]], (_, _) => true, gain);
        }
    }

    /// <summary>The networks' values.</summary>
    public Tensor Forward(Tensor x)
    {
        for (var i = 0; i < layers.Length - 1; i++)
            x = layers[i].Forward(x).relu_();
        return layers[^1].Forward(x);
    }
}
