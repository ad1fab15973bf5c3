using System;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>How the integrals of lensing spectra are done.</summary>
public enum LensingQuadrature
{
    /// <summary>Converged, to 10⁻⁶.</summary>
    Converged,

    /// <summary>
    /// As in the code of Lanzieri et al. 2024 (sbi_lens on jax_cosmo): Simpson's rule in 512 steps of a from the furthest redshift, and in 256
    /// steps of z in the kernels; distances and growth by lines between 256 and 128 scale factors; σ8 and the non-linear scale by their rules.
    /// Spectra are larger than the converged ones by 0.2 to 0.8 %, most of which comes from σ8.
    /// </summary>
    Published,
}

/// <summary>What lies between a survey's galaxies and us, at the scale factors of a rule: χ and D (b, m), and the kernels (b, bins, m).</summary>
internal sealed record LineOfSight(Tensor Distance, Tensor Growth, Tensor Kernels);

/// <summary>A rule for integrals over the scale factor, and what they need at its nodes.</summary>
internal abstract class LensingProjection
{
    /// <summary>Scale factors (m), and the weights of an integral over a.</summary>
    internal abstract Tensor ScaleFactors { get; }

    /// <summary>The weights (m).</summary>
    internal abstract Tensor Weights { get; }

    /// <summary>The rule of the non-linear scale, and with it of σ8.</summary>
    internal abstract NonlinearScale.Rule Scale { get; }

    /// <summary>χ in Mpc/h, D, and (1 + z) χ ∫_z n_i(z′)(χ′ − χ)/χ′ dz′, n_i normalised.</summary>
    internal abstract LineOfSight Of(CosmologyParameters cosmology);

    internal static LensingProjection Create(RedshiftBins bins, LensingQuadrature quadrature) =>
        quadrature == LensingQuadrature.Published ? new PublishedProjection(bins) : new ConvergedProjection(bins);

    private protected static Tensor Keep(Tensor values) => values.MoveToOuterDisposeScope().DetachFromDisposeScope();
}

/// <summary>
/// Gauss–Legendre's rule in panels of redshift. The kernels' inner integrals are linear in z′/χ(z′), which is smooth: with its polynomials in
/// the panels they are one matrix for each bin, made once.
/// </summary>
internal sealed class ConvergedProjection : LensingProjection
{
    private const int PanelPoints = 8, InnerPoints = 48;

    // close together where a fixed multipole passes through the acoustic oscillations, and where bins begin and end
    private static readonly double[] Panels = [0, 0.02, 0.032, 0.047, 0.07, 0.1, 0.14, 0.19, 0.27, 0.38, 0.55, 0.8, 1.1, 1.5, 2.1, 2.9, 4.2, 6.4];
    private readonly Tensor redshifts, number, matrix;

    internal ConvergedProjection(RedshiftBins bins)
    {
        using var scope = NewDisposeScope();
        double[] ends = [.. Panels.Where(z => z < 0.9 * bins.Furthest), bins.Furthest];
        var (x, w) = Background.GaussLegendre(PanelPoints);
        var panels = ends.Zip(ends.Skip(1)).ToArray();
        var nodes = panels.SelectMany(p => x.Select(t => p.First + t * (p.Second - p.First))).ToArray();
        var weights = panels.SelectMany(p => w.Select(t => t * (p.Second - p.First))).ToArray();
        redshifts = Keep(Arrays.ToTensor(nodes));
        ScaleFactors = Keep(1 / (1 + redshifts));
        Weights = Keep(Arrays.ToTensor(weights) * ScaleFactors.square());
        var (inside, behind) = Tails(bins, panels, nodes);
        number = Keep(inside);
        matrix = Keep(behind);
    }

    internal override Tensor ScaleFactors { get; }

    internal override Tensor Weights { get; }

    internal override NonlinearScale.Rule Scale => NonlinearScale.Converged;

    internal override LineOfSight Of(CosmologyParameters cosmology)
    {
        var distance = Background.ComovingDistance(cosmology, ScaleFactors);
        var behind = (matrix * (redshifts / distance).reshape(-1, 1, 1, redshifts.shape[0])).sum(-1);
        var chi = distance.unsqueeze(1);
        return new(distance, Background.Growth(cosmology, ScaleFactors), (number - chi * behind) * (1 + redshifts) * chi);
    }

    /// <summary>∫_z n_i dz′ (bins, nodes) from every node on, and the matrix (bins, nodes, nodes) of ∫_z n_i/z′ · (z′/χ′) dz′.</summary>
    private static (Tensor Number, Tensor Matrix) Tails(RedshiftBins bins, (double First, double Second)[] panels, double[] nodes)
    {
        var (x, w) = Background.GaussLegendre(InnerPoints);
        var (count, points) = (bins.Count, nodes.Length);
        var (number, matrix) = (new double[count, points], new double[count, points, points]);
        for (var k = points - 1; k >= 0; k--)
        {
            // from this node to the next, or to the end of its panel, and from there on what the next node has
            var panel = k / PanelPoints;
            var last = k % PanelPoints == PanelPoints - 1;
            Add(k, panel, nodes[k], last ? panels[panel].Second : nodes[k + 1]);
            if (k + 1 == points)
                continue;
            if (last)
                Add(k, panel + 1, panels[panel + 1].First, nodes[k + 1]);
            for (var i = 0; i < count; i++)
            {
                number[i, k] += number[i, k + 1];
                for (var m = 0; m < points; m++)
                    matrix[i, k, m] += matrix[i, k + 1, m];
            }
        }
        // what lies before the first node counts for the normalisation alone
        var before = Arrays.ToTensor([.. x.Select(t => t * nodes[0])]);
        var total = tensor(number).select(1, 0) + (bins.Density(before) * Arrays.ToTensor([.. w.Select(t => t * nodes[0])])).sum(1);
        return (tensor(number) / total.unsqueeze(1), tensor(matrix) / total.reshape(-1, 1, 1));

        void Add(int k, int panel, double from, double to)
        {
            var z = x.Select(t => from + t * (to - from)).ToArray();
            var density = bins.Density(Arrays.ToTensor(z)).data<double>().ToArray();
            for (var j = 0; j < z.Length; j++)
                for (var i = 0; i < count; i++)
                {
                    var share = density[i * z.Length + j] * w[j] * (to - from);
                    number[i, k] += share;
                    for (var m = 0; m < PanelPoints; m++)
                        matrix[i, k, panel * PanelPoints + m] += share / z[j] * Lagrange(nodes.AsSpan(panel * PanelPoints, PanelPoints), m, z[j]);
                }
        }
    }

    private static double Lagrange(ReadOnlySpan<double> nodes, int m, double z)
    {
        var product = 1.0;
        for (var l = 0; l < nodes.Length; l++)
            if (l != m)
                product *= (z - nodes[l]) / (nodes[m] - nodes[l]);
        return product;
    }
}

/// <summary>The published rule: <see cref="LensingQuadrature.Published"/>.</summary>
internal sealed class PublishedProjection : LensingProjection
{
    private const int Steps = 512, KernelSteps = 256, Distances = 256, Growths = 128;
    private readonly Tensor stretch, shares, number;
    private readonly Table distances, growths, behind;

    internal PublishedProjection(RedshiftBins bins)
    {
        using var scope = NewDisposeScope();
        var furthest = bins.Furthest;
        var step = (1 - 1 / (1 + furthest)) / Steps;
        ScaleFactors = Keep(linspace(1 / (1 + furthest), 1, Steps + 1, ScalarType.Float64));
        Weights = Keep(Simpson.Weights(Steps + 1) * step);

        // galaxies behind the redshift of every scale factor: (m, kernel points)
        var z = 1 / ScaleFactors - 1;
        var points = arange(KernelSteps + 1, dtype: ScalarType.Float64) / KernelSteps;
        var sources = z.unsqueeze(1) + (furthest - z).unsqueeze(1) * points;
        var all = Simpson.Weights(KernelSteps + 1) * (furthest / KernelSteps);
        var total = (bins.Density(points * furthest) * all).sum(1);
        var rule = Simpson.Weights(KernelSteps + 1) * ((furthest - z) / KernelSteps).unsqueeze(1);
        shares = Keep(bins.Density(sources) * rule / total.reshape(-1, 1, 1));
        number = Keep(shares.sum(-1));
        stretch = Keep(1 + z);
        distances = new Table(Distances, ScaleFactors);
        growths = new Table(Growths, ScaleFactors);
        behind = new Table(Distances, 1 / (1 + sources));
    }

    internal override Tensor ScaleFactors { get; }

    internal override Tensor Weights { get; }

    internal override NonlinearScale.Rule Scale => NonlinearScale.Published;

    internal override LineOfSight Of(CosmologyParameters cosmology)
    {
        var known = Background.ComovingDistance(cosmology, distances.ScaleFactors);
        var distance = distances.At(known);
        var near = (shares / behind.At(known).clamp_min(1).unsqueeze(1)).sum(-1);
        var growth = growths.At(Background.Growth(cosmology, growths.ScaleFactors));
        var chi = distance.unsqueeze(1);
        return new(distance, growth, (number - chi * near) * stretch * chi);
    }

    /// <summary>Lines between values at scale factors from 10⁻³ to 1, equally far apart in ln a, read off at fixed ones.</summary>
    private sealed class Table
    {
        private readonly Tensor cell, share;

        internal Table(int entries, Tensor wanted)
        {
            using var scope = NewDisposeScope();
            var all = Enumerable.Range(0, entries).Select(i => Math.Pow(10, -3 + 3.0 * i / (entries - 1))).ToArray();
            all[^1] = 1;
            ScaleFactors = Keep(Arrays.ToTensor(all));
            cell = Keep(Cell(wanted, all));
            var low = ScaleFactors.index_select(0, cell.flatten()).reshape(wanted.shape);
            var high = ScaleFactors.index_select(0, cell.flatten() + 1).reshape(wanted.shape);
            share = Keep((wanted - low) / (high - low));
        }

        internal Tensor ScaleFactors { get; }

        /// <summary>Values (b, entries) to (b, wanted…).</summary>
        internal Tensor At(Tensor values)
        {
            long[] shape = [values.shape[0], .. cell.shape];
            var low = values.index_select(1, cell.flatten()).reshape(shape);
            var high = values.index_select(1, cell.flatten() + 1).reshape(shape);
            return low + (high - low) * share;
        }

        private static Tensor Cell(Tensor wanted, double[] all)
        {
            var cells = wanted.data<double>().Select(a => (long)Math.Clamp(Search(all, a), 0, all.Length - 2)).ToArray();
            return tensor(cells).reshape(wanted.shape);
        }

        private static int Search(double[] all, double a)
        {
            var found = Array.BinarySearch(all, a);
            return found >= 0 ? found : ~found - 1;
        }
    }
}
