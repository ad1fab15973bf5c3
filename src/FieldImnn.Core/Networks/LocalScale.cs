using System;
using System.Collections.Generic;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Networks;

/// <summary>How much a scale of <see cref="LocalStatisticsNetwork"/> looks at.</summary>
internal readonly record struct LocalSettings(long Means, long Bins, long Bands, long Orders, long CrossBands, long Filtered);

/// <summary>
/// The statistics of one scale: of u, the pixels made Gaussian, h_j = He_j(u)/√j!, and v = C⁻¹u, with C the covariance of u at the
/// fiducial and L L† its spectrum: means of h_1, h_2, …; a histogram of u, with smooth bins; means of |L†v_k|² in bands of |k| (of channels a ≤ b, Re of their products);
/// and ⟨y_b h_j⟩, j ≥ 2, y_b the part of v in band b, of each channel.
/// </summary>
internal sealed class LocalScale : IDisposable
{
    /// <summary>The outermost nodes of the histogram, in u.</summary>
    private const double Edge = 3.5;

    private readonly LocalSettings settings;
    private readonly ChannelPairs pairs;
    private Tensor knots, mask, torus, spectrum;
    private Tensor tables;
    private HomogeneousCovariance covariance;
    private FourierBands bands, crossBands;

    /// <summary>A scale on a grid of some sides, not yet fitted: as for white fields of unit variance.</summary>
    internal LocalScale(long channels, long[] sides, LocalSettings settings)
    {
        this.settings = settings;
        Sides = sides;
        pairs = new ChannelPairs(channels);
        using var scope = NewDisposeScope();
        var z = linspace(-4, 4, Gaussianisation.Knots);
        var unit = zeros([channels, channels, .. Half(sides), 2]);
        for (var c = 0; c < channels; c++)
            unit[c, c].select(-1, 0).fill_(1);
        (knots, mask, torus, spectrum) = (stack([z, z, ones_like(z)]).unsqueeze(0).repeat(channels, 1, 1), ones([channels, .. sides]), tensor(sides), unit);
        Keep();
        (tables, covariance, bands, crossBands) = Derive();
    }

    /// <summary>Sides of the grid.</summary>
    internal long[] Sides { get; }

    internal long Features => pairs.Count * bands.Count + pairs.Channels * (settings.Means + settings.Bins + Crossed);

    /// <summary>Of each channel, what <see cref="Cross"/> makes.</summary>
    private long Crossed => settings.Orders < 2 ? 0 : crossBands.Count * (settings.Orders - 1 + settings.Filtered) + settings.Filtered;

    /// <summary>Which pixels are seen, 1 or 0: (c, sides…).</summary>
    internal Tensor Seen => mask;

    /// <summary>Whether all pixels are.</summary>
    internal bool Complete { get; private set; }

    /// <summary>Along which axes the field is periodic.</summary>
    internal bool[] Periodic => [.. covariance.Torus.Zip(Sides, (a, b) => a == b)];

    /// <summary>What was fitted: knots (c, 3, knots), mask (c, sides…), torus (axes), spectrum (c, c, modes…, 2).</summary>
    internal IReadOnlyList<(string Name, Tensor Value)> Constants => [("knots", knots), ("mask", mask), ("torus", torus), ("spectrum", spectrum)];

    /// <summary>Sets what was fitted; the shapes must be those of <see cref="Constants"/>, on a torus as long as each side or twice.</summary>
    /// <exception cref="ShapeException">They are not.</exception>
    internal void Restore(Func<string, Tensor> find)
    {
        using var scope = NewDisposeScope();
        var (k, m, t, s) = (find("knots"), find("mask"), find("torus").to_type(ScalarType.Int64), find("spectrum"));
        Expect("knots", k, knots.shape);
        Expect("mask", m, mask.shape);
        Expect("torus", t, torus.shape);
        var lengths = t.data<long>().ToArray();
        if (lengths.Zip(Sides).Any(pair => pair.First != pair.Second && pair.First != 2 * pair.Second))
            throw new ShapeException("torus of the local statistics", $"as long as the sides {Guard.Describe(Sides)}, or twice", Guard.Describe(lengths));
        Expect("spectrum", s, [pairs.Channels, pairs.Channels, .. Half(lengths), 2]);
        Replace(k, m, t, s);

        static void Expect(string name, Tensor value, long[] shape)
        {
            if (!value.shape.AsSpan().SequenceEqual(shape))
                throw new ShapeException($"{name} of the local statistics", Guard.Describe(shape), Guard.Describe(value.shape));
        }
    }

    /// <summary>Fits to fields x (n, c, sides…), of whose pixels the mask (c, sides…) says which are seen.</summary>
    internal void Fit(Tensor x, Tensor seen)
    {
        using var scope = NewDisposeScope();
        var fitted = stack([.. Enumerable.Range(0, (int)pairs.Channels).Select(c => Knots(x.select(1, c), seen[c]))]).to_type(ScalarType.Float32);
        var fittedTables = stack([.. fitted.unbind(0).Select(Gaussianisation.Tables)]);
        var u = Pieces.Map(new Dual(x), LocalStatisticsNetwork.PixelsAtOnce, piece => Gaussian(piece, fittedTables, seen)).Primal;
        var (sides, power) = TorchRuntime.OnOneThread(() => HomogeneousCovariance.Fit(u, seen.to_type(ScalarType.Float64)));
        Replace(fitted, seen, tensor(sides), power);
    }

    /// <summary>The knots of one channel (n, sides…), of which the mask (sides…) says what is seen.</summary>
    private static Tensor Knots(Tensor x, Tensor seen)
    {
        using var scope = NewDisposeScope();
        var visible = seen.gt(0);
        var values = visible.all().ToBoolean() ? x.flatten() : x.masked_select(visible.unsqueeze(0));
        var step = Math.Max(1, values.shape[0] >> 21);
        var some = values[TensorIndex.Slice(step: step)].to_type(ScalarType.Float64).contiguous();
        return Gaussianisation.Fit(some.data<double>().ToArray()).MoveToOuterDisposeScope();
    }

    /// <summary>The statistics (n, features) of fields x (n, c, sides…).</summary>
    internal Dual Evaluate(Dual x)
    {
        using var scope = NewDisposeScope();
        var u = Gaussian(x, tables, Complete ? null : mask);
        var h = Hermite(u.Primal.flatten(2), Math.Max(settings.Orders, settings.Means));
        return DualOperations.Concatenate(Means(u, h, 1, settings.Means), Histogram(u), Powers(u, out var v), Cross(u, h, v)).MoveToOuterDisposeScope();
    }

    public void Dispose()
    {
        foreach (var (_, value) in Constants)
            value.Dispose();
        tables.Dispose();
        covariance.Dispose();
        bands.Dispose();
        crossBands.Dispose();
    }

    private static Dual Gaussian(Dual x, Tensor tables, Tensor? mask)
    {
        var (type, device) = (x.Primal.dtype, x.Primal.device);
        var k = tables.to(type, device);
        using var scope = NewDisposeScope();
        var parts = Enumerable.Range(0, (int)k.shape[0]).Select(c => Gaussianisation.Apply(x.Map(t => t.narrow(1, c, 1)), k[c])).ToArray();
        var u = parts.Length == 1 ? parts[0] : DualOperations.Concatenate(parts);
        return (mask is null ? u : u.Map(t => t * mask.to(type, device))).MoveToOuterDisposeScope();
    }

    /// <summary>h_0, h_1, … at the seen pixels, zero elsewhere: (n, c, orders + 1, pixels) of u (n, c, pixels).</summary>
    private Tensor Hermite(Tensor u, long count)
    {
        using var scope = NewDisposeScope();
        var h = new Tensor[count + 1];
        h[0] = mask.flatten(1).to(u.dtype, u.device).expand_as(u);
        h[1] = u;
        for (var j = 2; j <= count; j++)
            h[j] = (u * h[j - 1]).Plus(-Math.Sqrt(j - 1), h[j - 2]).Times(1 / Math.Sqrt(j));
        return stack(h, 2).MoveToOuterDisposeScope();
    }

    /// <summary>√j along an axis of orders from 1 on: dh_j/du = √j h_{j−1}.</summary>
    private static Tensor Roots(int first, long count, Tensor like) =>
        tensor([.. Enumerable.Range(first, (int)count).Select(j => Math.Sqrt(j))], like.dtype, like.device);

    /// <summary>Means of h_j(u), j from <paramref name="first"/> on: (n, c · count).</summary>
    private Dual Means(Dual u, Tensor h, int first, long count)
    {
        using var scope = NewDisposeScope();
        var seen = mask.flatten(1).sum(1).to(h.dtype, h.device).unsqueeze(1).AtLeast(1);
        var value = (h.narrow(2, first, count).sum(3) / seen).flatten(1);
        if (u.TangentByParameter is not { } du)
            return new Dual(value).MoveToOuterDisposeScope();
        var change = einsum("npcx,ncjx->npcj", du.flatten(3), h.narrow(2, first - 1, count)) * Roots(first, count, h) / seen;
        return new Dual(value, change.flatten(0, 1).flatten(1)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The parts of the seen pixels at nodes from −3.5 to 3.5, a pixel between two nodes counting for both by its distance: what a mean of any
    /// function of u that is linear between the nodes is made of. (n, c · bins).
    /// </summary>
    private Dual Histogram(Dual u)
    {
        var (type, device) = (u.Primal.dtype, u.Primal.device);
        if (settings.Bins == 0)
            return new Dual(zeros([u.Primal.shape[0], 0], type, device), u.Tangent is null ? null : zeros([u.Tangent.shape[0], 0], type, device));
        using var scope = NewDisposeScope();
        var seen = mask.flatten(1).to(type, device);
        var total = seen.sum(1).unsqueeze(1).AtLeast(1);
        var cells = settings.Bins - 1;
        var place = u.Primal.flatten(2).Plus(Edge).Times(cells / (2 * Edge));
        var inside = place.AtLeast(0).AtMost(cells);
        var cell = inside.detach().floor().AtMost(cells - 1).to_type(ScalarType.Int64);
        var upper = Sum((inside - cell.to_type(type)) * seen, cell);
        var value = Nodes(Sum(seen.expand_as(place), cell) - upper, upper) / total;
        if (u.TangentByParameter is not { } du)
            return new Dual(value.flatten(1)).MoveToOuterDisposeScope();
        var moving = place.eq(inside).to_type(type) * seen.Times(cells / (2 * Edge));
        var change = Sum(du.flatten(3) * moving.unsqueeze(1), cell.unsqueeze(1).expand(du.flatten(3).shape));
        return new Dual(value.flatten(1), (Nodes(-change, change) / total).flatten(0, 1).flatten(1)).MoveToOuterDisposeScope();

        Tensor Sum(Tensor values, Tensor at) => zeros([.. values.shape[..^1], cells], type, device).scatter_add(values.dim() - 1, at, values);

        // what each cell gives to its lower and to its upper node
        static Tensor Nodes(Tensor lower, Tensor higher) =>
            nn.functional.pad(lower, [0, 1], PaddingModes.Constant, 0).Plus(nn.functional.pad(higher, [1, 0], PaddingModes.Constant, 0));
    }

    /// <summary>Means of Re (L†v)_a* (L†v)_b in bands of |k|, of a field that is as at the fiducial 1 or 0; and v.</summary>
    private Dual Powers(Dual u, out Dual v)
    {
        v = u.Map(covariance.Inverse);
        using var scope = NewDisposeScope();
        var part = 1.0 / mask[0].numel();
        var white = v.Map(covariance.Whitened);
        return (pairs.Channels == 1 ? OfOne(white) : OfSeveral(white)).Map(t => t.Times(part)).MoveToOuterDisposeScope();
    }

    /// <summary>Means of |w|² in bands, (n, bands), of modes w (n, 1, modes).</summary>
    private Dual OfOne(Dual w)
    {
        var average = bands.Average.to(w.Primal.real.dtype, w.Primal.device);
        var value = Product(w.Primal, w.Primal);
        if (w.TangentByParameter is not { } change)
            return new Dual(value.flatten(1));
        return new Dual(value.flatten(1), Product(w.Primal.unsqueeze(1), change).Times(2).flatten(0, 1).flatten(1));

        Tensor Product(Tensor a, Tensor b) => (a.real * b.real).Plus(a.imag * b.imag).matmul(average);
    }

    /// <summary>Means of Re w_a* w_b in bands, (n, pairs · bands), of modes w (n, c, modes).</summary>
    private Dual OfSeveral(Dual w)
    {
        var outwards = bands.Outwards.to(w.Primal.device);
        var (c, primal) = (pairs.Channels, w.Primal.index_select(2, outwards));
        var value = pairs.Of(bands.Products(primal, primal), 1).flatten(1);
        if (w.TangentByParameter is not { } change)
            return new Dual(value);
        var (n, p) = (change.shape[0], change.shape[1]);
        var half = bands.Products(primal, change.index_select(3, outwards).flatten(1, 2)).reshape(n, c, p, c, -1).transpose(1, 2);
        return new Dual(value, pairs.Of(half.Plus(half.transpose(2, 3)), 2).flatten(0, 1).flatten(1));
    }

    /// <summary>
    /// ⟨y_b h_j(u)⟩ of every channel, j ≥ 2; and ⟨y_b h_j(w)⟩ with means of h_j(w), w what Wiener's filter leaves of u, of unit variance.
    /// </summary>
    private Dual Cross(Dual u, Tensor h, Dual v)
    {
        if (settings.Orders < 2)
            return new Dual(u.Primal.new_zeros([u.Primal.shape[0], 0]), u.Tangent?.new_zeros([u.Tangent.shape[0], 0]));
        using var scope = NewDisposeScope();
        var hats = crossBands.Hats.to(h.dtype, h.device);
        var y = v.Map(t => stack([.. Enumerable.Range(0, (int)crossBands.Count).Select(b => covariance.Field(t * hats.select(1, b)).flatten(2))], 2));
        var raw = Products(y, u, h, settings.Orders - 1);
        if (settings.Filtered == 0)
            return raw.MoveToOuterDisposeScope();
        var w = new Dual(Filter(u.Primal, y.Primal), u.Tangent is null ? null : Filter(u.Tangent, y.Tangent!));
        var filtered = Hermite(w.Primal.flatten(2), settings.Filtered + 1);
        return DualOperations.Concatenate(raw, Products(y, w, filtered, settings.Filtered), Means(w, filtered, 2, settings.Filtered)).MoveToOuterDisposeScope();

        Tensor Filter(Tensor of, Tensor parts) => covariance.Filter(of, parts.sum(2).reshape(of.shape));
    }

    /// <summary>⟨y_b h_j⟩, j from 2 on, of y (n, c, bands, pixels) and u with its h (n, c, orders, pixels): (n, c · bands · count).</summary>
    private Dual Products(Dual y, Dual u, Tensor h, long count)
    {
        using var scope = NewDisposeScope();
        var scale = 1 / Math.Sqrt(mask[0].numel());
        var orders = h.narrow(2, 2, count).Times(scale);
        var value = einsum("ncbx,ncjx->ncbj", y.Primal, orders).flatten(1);
        if (u.TangentByParameter is not { } du)
            return new Dual(value).MoveToOuterDisposeScope();
        var moved = y.Primal.unsqueeze(1) * du.flatten(3).unsqueeze(3);
        var slopes = h.narrow(2, 1, count) * Roots(2, count, h).Times(scale).unsqueeze(1);
        var change = einsum("npcbx,ncjx->npcbj", y.TangentByParameter!, orders).Plus(einsum("npcbx,ncjx->npcbj", moved, slopes));
        return new Dual(value, change.flatten(0, 1).flatten(1)).MoveToOuterDisposeScope();
    }

    private void Replace(Tensor newKnots, Tensor newMask, Tensor newTorus, Tensor newSpectrum)
    {
        Dispose();
        (knots, mask) = (newKnots.to(ScalarType.Float32).clone(), newMask.to(ScalarType.Float32).clone());
        (torus, spectrum) = (newTorus.to(ScalarType.Int64).clone(), newSpectrum.to(ScalarType.Float32).clone());
        Keep();
        (tables, covariance, bands, crossBands) = Derive();
    }

    private (Tensor, HomogeneousCovariance, FourierBands, FourierBands) Derive()
    {
        var lengths = torus.data<long>().ToArray();
        Complete = !mask.eq(0).any().ToBoolean();
        var each = knots.unbind(0).Select(Gaussianisation.Tables).ToArray();
        return (stack(each).DetachFromDisposeScope(), TorchRuntime.OnOneThread(() => new HomogeneousCovariance(spectrum, lengths, mask)), new(Sides, lengths, settings.Bands), new(Sides, lengths, settings.CrossBands));
    }

    private void Keep()
    {
        foreach (var (_, value) in Constants)
            value.DetachFromDisposeScope();
    }

    private static long[] Half(long[] sides) => [.. sides[..^1], sides[^1] / 2 + 1];
}
