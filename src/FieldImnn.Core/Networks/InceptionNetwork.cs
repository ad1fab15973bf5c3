using System;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>
/// The network of Makinen et al. 2021 (arXiv:2107.07405): inception blocks of 1×1 | 1×1→3×3 | 1×1→5×5 | max 3×3→1×1, side by side,
/// then LeakyReLU 0.01; strides 4, 4, 4, 2, the last block without the 3×3 and 5×5; a 1×1 convolution to the summaries. Fields of
/// 128² end on one pixel; where more are left, the summaries are their mean. Channels of the field enter the first block together. Weights Glorot-normal, biases N(0, 10⁻¹²), as published.
/// </summary>
/// <remarks>
/// A 1×1 convolution with no activation behind it and the 3×3 or 5×5 that follows are one linear map. <see cref="Composed"/> multiplies
/// their kernels, a few thousand products, and never carries the channels at full resolution; <see cref="Straightforward"/> evaluates
/// the layers one by one. They are the same function of the same weights.
/// </remarks>
public sealed class InceptionNetwork : SummaryNetwork
{
    /// <summary>The kind in a description.</summary>
    public const string KindName = "inception";

    private const double BiasDeviation = 1e-6;
    private static readonly Block[] Blocks = [new("block1", 4, [3, 5]), new("block2", 4, [3, 5]), new("block3", 4, [3, 5]), new("block4", 2, [])];

    internal InceptionNetwork(NetworkDescription description, Generator generator)
        : base(description)
    {
        if (description.Sides.Count != 2)
            throw new SettingException("shape of the field", "two sides for the inception network", $"{description.Sides.Count}");
        var filters = description.Setting("filters");
        Features = description.Setting("summaries");
        var channels = description.Channels;
        foreach (var block in Blocks)
        {
            AddLayer($"{block.Name}.one", channels, filters, 1);
            foreach (var size in block.Sizes)
            {
                AddLayer($"{block.Name}.before{size}", channels, filters, 1);
                AddLayer($"{block.Name}.conv{size}", filters, filters, size);
            }
            AddLayer($"{block.Name}.pooled", channels, filters, 1);
            channels = filters * (2 + block.Sizes.Length);
        }
        AddLayer("summaries", channels, Features, 1);

        void AddLayer(string name, long inputs, long outputs, long size)
        {
            AddWeight($"{name}.weight", generator, Math.Sqrt(2.0 / ((inputs + outputs) * size * size)), outputs, inputs, size, size);
            AddWeight($"{name}.bias", generator, BiasDeviation, outputs);
        }
    }

    /// <inheritdoc/>
    public override long Features { get; }

    /// <inheritdoc/>
    public override Dual Evaluate(Dual statistics) => Composed(statistics);

    /// <summary>The network with its kernels composed, the fast way: (n, c?, h, w) to (n, summaries).</summary>
    public Dual Composed(Dual field) => Run(field, ComposedBranches);

    /// <summary>The network layer by layer, as published: (n, c?, h, w) to (n, summaries).</summary>
    public Dual Straightforward(Dual field) => Run(field, PlainBranches);

    private Dual Run(Dual field, Func<Block, Dual, IEnumerable<Dual>> branches)
    {
        using var scope = NewDisposeScope();
        var x = WithChannels(field);
        foreach (var block in Blocks)
            x = RunBlock(block, x);
        return x.Convolve(Weight("summaries.weight"), Weight("summaries.bias")).Mean().MoveToOuterDisposeScope();

        Dual RunBlock(Block block, Dual input)
        {
            using var blockScope = NewDisposeScope();
            return DualOperations.Concatenate([.. branches(block, input)]).LeakyReLU().MoveToOuterDisposeScope();
        }
    }

    private IEnumerable<Dual> PlainBranches(Block block, Dual x)
    {
        yield return Layer($"{block.Name}.one", x, block.Stride);
        foreach (var size in block.Sizes)
            yield return Layer($"{block.Name}.conv{size}", Layer($"{block.Name}.before{size}", x, 1), block.Stride);
        yield return Layer($"{block.Name}.pooled", x.MaxPool(), block.Stride);
    }

    private IEnumerable<Dual> ComposedBranches(Block block, Dual x)
    {
        yield return Layer($"{block.Name}.one", x.Subsample(block.Stride), 1);
        foreach (var size in block.Sizes)
            yield return ComposedLayer($"{block.Name}.before{size}", $"{block.Name}.conv{size}", x, block.Stride);
        yield return Layer($"{block.Name}.pooled", x.MaxPool(block.Stride), 1);
    }

    private Dual Layer(string name, Dual x, long stride)
    {
        var weight = Weight($"{name}.weight");
        var (rows, columns) = SameBorders(x.Primal, weight, stride);
        return x.Convolve(weight, Weight($"{name}.bias"), stride, rows, columns);
    }

    /// <summary>
    /// conv(before(x)) with K_oi = Σ_m K_om W_mi. The inner bias reaches the output through those pixels of the kernel that lie inside
    /// the image, so at a padded border its share varies: it is a map of its own, the same for every image.
    /// </summary>
    private Dual ComposedLayer(string before, string conv, Dual x, long stride)
    {
        var kernel = Weight($"{conv}.weight");
        var (rows, columns) = SameBorders(x.Primal, kernel, stride);
        var (outputs, middle, size) = (kernel.shape[0], kernel.shape[1], kernel.shape[2]);
        var byMiddle = kernel.permute(0, 2, 3, 1).reshape(-1, middle);
        var composed = byMiddle.matmul(Weight($"{before}.weight").reshape(middle, -1))
            .reshape(outputs, size, size, -1).permute(0, 3, 1, 2).contiguous();
        var biasKernel = byMiddle.matmul(Weight($"{before}.bias")).reshape(outputs, 1, size, size);
        if (rows == default && columns == default)
            return x.Convolve(composed, biasKernel.sum([1, 2, 3]) + Weight($"{conv}.bias"), stride);
        var inside = ones([1, 1, x.Primal.shape[2], x.Primal.shape[3]], kernel.dtype, kernel.device);
        var biasMap = new Dual(inside).Convolve(biasKernel, Weight($"{conv}.bias"), stride, rows, columns).Primal;
        return x.Convolve(composed, null, stride, rows, columns).Add(biasMap);
    }

    private static (Border Rows, Border Columns) SameBorders(Tensor images, Tensor kernel, long stride) =>
        (Border.Same(images.shape[2], kernel.shape[2], stride), Border.Same(images.shape[3], kernel.shape[3], stride));

    private sealed record Block(string Name, long Stride, long[] Sizes);
}
