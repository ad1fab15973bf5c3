using System;
using System.Collections.Generic;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// Source galaxies of a lensing survey in tomographic bins of photometric redshift. All have n(z) ∝ z^α exp(−(z/z0)^β) up to a furthest
/// redshift (Smail et al. 1994); bin i, between two edges, has n(z) × ½[erf((z_i+1 − z)/√2σ) − erf((z_i − z)/√2σ)], where the photometric
/// error σ grows as σ_z (1 + z).
/// </summary>
public sealed class RedshiftBins
{
    private readonly double[] edges;

    /// <summary>Bins between <paramref name="edges"/>, rising from ≥ 0, two at least; the last is the furthest redshift there is.</summary>
    /// <exception cref="SettingException">Edges that do not rise, or an exponent, z0 or σ_z that is not a finite number above zero.</exception>
    public RedshiftBins(double alpha, double beta, double z0, double photometricError, params double[] edges)
    {
        ArgumentNullException.ThrowIfNull(edges);
        Alpha = Guard.Positive("α of n(z)", alpha);
        Beta = Guard.Positive("β of n(z)", beta);
        Z0 = Guard.Positive("z0 of n(z)", z0);
        PhotometricError = Guard.Positive("photometric error σ_z", photometricError);
        if (edges.Length < 2 || !(edges[0] >= 0) || !double.IsFinite(edges[^1]) || edges.Zip(edges.Skip(1)).Any(pair => !(pair.First < pair.Second)))
            throw new SettingException("edges of redshift bins", "two or more finite numbers ≥ 0, rising", string.Join(", ", edges.Select(z => Invariant($"{z}"))));
        this.edges = [.. edges];
    }

    /// <summary>
    /// As many galaxies in each of <paramref name="count"/> bins from redshift zero to <paramref name="furthest"/>, before photometric errors.
    /// </summary>
    public static RedshiftBins EqualNumber(double alpha, double beta, double z0, double photometricError, int count, double furthest)
    {
        Guard.AtLeast("redshift bins", 1, count);
        Guard.Positive("furthest redshift", furthest);
        var all = new RedshiftBins(alpha, beta, z0, photometricError, 0, furthest);
        var (below, between) = all.Cumulative();
        var shares = Enumerable.Range(1, count - 1).Select(i => Quantile(below, between, (double)i / count * below[^1]));
        return new RedshiftBins(alpha, beta, z0, photometricError, [0, .. shares, furthest]);
    }

    /// <summary>
    /// Ten years of LSST, five bins of equal number up to z = 10: n(z) ∝ z² exp(−(z/0.11)^0.68), σ_z = 0.05 (DESC Science Requirements
    /// Document, arXiv:1809.01669; the edges of Lanzieri et al. 2024, arXiv:2407.10877).
    /// </summary>
    public static RedshiftBins Lsst { get; } = new(2, 0.68, 0.11, 0.05, 0, 0.45350616, 0.72238367, 1.04201042, 1.53923388, 10);

    /// <summary>
    /// Euclid, ten bins of equal number: n(z) ∝ z² exp(−(z/z0)^1.5), z0 = 0.9/√2, σ_z = 0.05 (Euclid Collaboration 2020, A&amp;A 642, A191),
    /// up to z = 2.5.
    /// </summary>
    public static RedshiftBins Euclid => EqualNumber(2, 1.5, 0.9 / Math.Sqrt(2), 0.05, 10, 2.5);

    /// <summary>Exponent of n(z) at small redshifts.</summary>
    public double Alpha { get; }

    /// <summary>Exponent of the fall of n(z).</summary>
    public double Beta { get; }

    /// <summary>Redshift scale of the fall.</summary>
    public double Z0 { get; }

    /// <summary>Photometric error σ_z of 1 + z.</summary>
    public double PhotometricError { get; }

    /// <summary>Edges of the bins, one more than there are bins.</summary>
    public IReadOnlyList<double> Edges => edges;

    /// <summary>How many bins there are.</summary>
    public int Count => edges.Length - 1;

    /// <summary>The furthest redshift.</summary>
    public double Furthest => edges[^1];

    /// <summary>n_i(z) of every bin, (bins, z…), unnormalised, at redshifts z ≥ 0 of any shape, float64.</summary>
    public Tensor Density(Tensor z)
    {
        ArgumentNullException.ThrowIfNull(z);
        using var scope = NewDisposeScope();
        var parent = z.pow(Alpha) * (-(z / Z0).pow(Beta)).exp();
        var scale = 1 / (Math.Sqrt(2) * PhotometricError * (1 + z));
        var reached = edges.Select(edge => ((edge - z) * scale).erf()).ToArray();
        return stack([.. Enumerable.Range(0, Count).Select(i => parent * (reached[i + 1] - reached[i]) * 0.5)]).MoveToOuterDisposeScope();
    }

    /// <summary>The number of galaxies below each of a few thousand redshifts, and these.</summary>
    private (double[] Below, double[] Redshifts) Cumulative()
    {
        const int panels = 4000, points = 4;
        var (x, w) = Background.GaussLegendre(points);
        double N(double z) => Math.Pow(z, Alpha) * Math.Exp(-Math.Pow(z / Z0, Beta));
        var width = Furthest / panels;
        var below = new double[panels + 1];
        for (var i = 0; i < panels; i++)
            below[i + 1] = below[i] + x.Zip(w, (t, weight) => weight * width * N((i + t) * width)).Sum();
        return (below, [.. Enumerable.Range(0, panels + 1).Select(i => i * width)]);
    }

    /// <summary>Where a rising table reaches a value, by a line between its entries.</summary>
    private static double Quantile(double[] below, double[] redshifts, double value)
    {
        var i = Array.FindIndex(below, b => b > value) - 1;
        return redshifts[i] + (value - below[i]) / (below[i + 1] - below[i]) * (redshifts[i + 1] - redshifts[i]);
    }
}
