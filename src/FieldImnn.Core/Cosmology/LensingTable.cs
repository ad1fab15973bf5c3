using System;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// Lensing spectra at many multipoles from few: those of a map. Converged: cubics in ln ℓ of ln C between multipoles 10 % apart, to 2 · 10⁻⁵.
/// Published: lines in ℓ between the multiples of the map's smallest multipole.
/// </summary>
public sealed class LensingTable
{
    private const double Step = 0.1;
    private readonly LensingSpectra spectra;
    private readonly Tensor index, weights;
    private readonly bool logarithmic;

    /// <summary>The spectra at multipoles (m) > 1, of a map whose smallest is <paramref name="smallest"/>, 2π/L.</summary>
    /// <exception cref="RangeException">A multipole below that, or a smallest one that is not above one.</exception>
    public LensingTable(RedshiftBins bins, Tensor multipoles, double smallest, LensingQuadrature quadrature = LensingQuadrature.Converged)
    {
        ArgumentNullException.ThrowIfNull(multipoles);
        var wanted = multipoles.to_type(ScalarType.Float64).data<double>().ToArray();
        if (wanted.Any(l => !(l >= smallest * (1 - 1e-9) && double.IsFinite(l))))
            throw new RangeException("multipoles of a map", Invariant($"finite numbers from its smallest, {smallest}, on"), Invariant($"{wanted.Min()} to {wanted.Max()}"));
        logarithmic = quadrature == LensingQuadrature.Converged;
        var (knots, stencils) = logarithmic ? Cubics(wanted) : Lines(wanted, smallest);
        spectra = new LensingSpectra(bins, knots, quadrature);
        using var scope = NewDisposeScope();
        var taps = stencils[0].Weights.Length;
        index = tensor(stencils.SelectMany(s => Enumerable.Range(s.First, taps).Select(i => (long)i)).ToArray()).DetachFromDisposeScope();
        weights = Arrays.ToTensor([.. stencils.SelectMany(s => s.Weights)]).reshape(wanted.Length, taps).MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <summary>The redshift bins.</summary>
    public RedshiftBins Bins => spectra.Bins;

    /// <summary>C_ij(ℓ) as a symmetric matrix over the bins, (b, bins, bins, m), differentiable in every parameter.</summary>
    public Tensor Power(CosmologyParameters cosmology)
    {
        using var scope = NewDisposeScope();
        var known = spectra.Power(cosmology);
        var (b, pairs) = (known.shape[0], known.shape[1]);
        var entries = (logarithmic ? known.log() : known).index_select(2, index).reshape([b, pairs, .. weights.shape]);
        var power = (entries * weights).sum(-1);
        long bins = Bins.Count;
        // the pair i ≤ j stands behind the rows before i
        var both = Enumerable.Range(0, (int)(bins * bins)).Select(n => (Low: Math.Min(n / bins, n % bins), High: Math.Max(n / bins, n % bins)));
        var order = tensor(both.Select(p => p.Low * bins - p.Low * (p.Low - 1) / 2 + p.High - p.Low).ToArray());
        var matrix = (logarithmic ? power.exp() : power).index_select(1, order).reshape(b, bins, bins, -1);
        return matrix.MoveToOuterDisposeScope();
    }

    /// <summary>λ (b, bins): <see cref="LensingSpectra.EmptyBeam"/>.</summary>
    public Tensor EmptyBeam(CosmologyParameters cosmology) => spectra.EmptyBeam(cosmology);

    private static (double[] Knots, (int First, double[] Weights)[] Stencils) Cubics(double[] wanted)
    {
        var from = Math.Log(wanted.Min()) - Step;
        var count = 4 + (int)Math.Ceiling((Math.Log(wanted.Max()) - from) / Step);
        var knots = Enumerable.Range(0, count).Select(i => Math.Exp(from + i * Step)).ToArray();
        return (knots, [.. wanted.Select(l => CubicInterpolation.At((Math.Log(l) - from) / Step, count))]);
    }

    private static (double[] Knots, (int First, double[] Weights)[] Stencils) Lines(double[] wanted, double smallest)
    {
        var count = 1 + (int)Math.Ceiling(wanted.Max() / smallest);
        var knots = Enumerable.Range(1, count).Select(i => i * smallest).ToArray();
        return (knots, [.. wanted.Select(l =>
        {
            var t = Math.Max(l / smallest - 1, 0);
            var cell = Math.Min((int)Math.Floor(t), count - 2);
            return (cell, new[] { 1 - (t - cell), t - cell });
        })]);
    }
}
