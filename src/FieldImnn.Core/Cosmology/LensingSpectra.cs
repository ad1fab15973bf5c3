using System;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// Angular spectra of the convergence in tomographic bins, in Limber's approximation on a flat sky:
/// C_ij(ℓ) = (3Ω_m H₀²/2c²)² (ℓ−1)ℓ(ℓ+1)(ℓ+2)/(ℓ+½)⁴ ∫ da |dχ/da| q_i q_j P((ℓ+½)/χ, a)/χ², q_i = (1 + z) χ ∫_z n_i(z′)(χ′ − χ)/χ′ dz′, with
/// halofit's P (Kilbinger et al. 2017, arXiv:1702.05301, for the factor of ℓ). Differentiable in every parameter of the cosmology.
/// </summary>
public sealed class LensingSpectra
{
    private readonly LensingProjection projection;
    private readonly Tensor multipoles, sky;

    /// <summary>The spectra at multipoles ℓ (m) > 1.</summary>
    /// <exception cref="RangeException">A multipole that is not a finite number above one.</exception>
    public LensingSpectra(RedshiftBins bins, double[] multipoles, LensingQuadrature quadrature = LensingQuadrature.Converged)
    {
        ArgumentNullException.ThrowIfNull(bins);
        ArgumentNullException.ThrowIfNull(multipoles);
        if (multipoles.Length == 0 || multipoles.Any(l => !(l > 1 && double.IsFinite(l))))
            throw new RangeException("multipoles ℓ", "finite numbers > 1", multipoles.Length == 0 ? "none" : Invariant($"{multipoles.Min()} to {multipoles.Max()}"));
        Bins = bins;
        Quadrature = quadrature;
        projection = LensingProjection.Create(bins, quadrature);
        using var scope = NewDisposeScope();
        this.multipoles = Arrays.ToTensor(multipoles).DetachFromDisposeScope();
        var l = this.multipoles;
        sky = ((l - 1) * l * (l + 1) * (l + 2) / (l + 0.5).pow(4)).MoveToOuterDisposeScope().DetachFromDisposeScope();
        var bin = Enumerable.Range(0, bins.Count);
        First = [.. bin.SelectMany(i => Enumerable.Repeat((long)i, bins.Count - i))];
        Second = [.. bin.SelectMany(i => bin.Skip(i).Select(j => (long)j))];
    }

    /// <summary>The redshift bins.</summary>
    public RedshiftBins Bins { get; }

    /// <summary>How the integrals are done.</summary>
    public LensingQuadrature Quadrature { get; }

    /// <summary>The pairs of bins i ≤ j in the order of the spectra, row by row, from zero: their first bins.</summary>
    public long[] First { get; }

    /// <summary>And their second.</summary>
    public long[] Second { get; }

    /// <summary>C_ij(ℓ) of all pairs i ≤ j, (b, pairs, m), one universe after the other.</summary>
    public Tensor Power(CosmologyParameters cosmology) => ByRow(cosmology, PowerOf);

    /// <summary>
    /// −κ of an empty beam, towards which matter is missing everywhere: κ ≥ −λ_i, λ_i = (3Ω_m H₀²/2c²) ∫ da |dχ/da| q_i, (b, bins). The shift of
    /// log-normal convergence by Taruya et al. 2002 (ApJ 571, 638) and Hilbert et al. 2011 (A&amp;A 536, A85).
    /// </summary>
    public Tensor EmptyBeam(CosmologyParameters cosmology) => ByRow(cosmology, row =>
    {
        var path = Path(row) * projection.Of(row).Kernels;
        return path.sum(-1) * Strength(row);
    });

    private Tensor PowerOf(CosmologyParameters row)
    {
        var a = projection.ScaleFactors;
        var sight = projection.Of(row);
        // the anchor's guard against χ = 0, below which no kernel has anything
        var distance = sight.Distance.clamp_min(1);
        var k = (multipoles + 0.5).unsqueeze(1) / distance;
        var scale = NonlinearScale.Of(row, sight.Growth, projection.Scale);
        var linear = LinearPower.LogPower(row, k.reshape(1, -1), projection.Scale.Sigma8).exp().reshape(k.shape) * sight.Growth.square();
        var power = Halofit.Power(row, a, k.unsqueeze(0), linear.unsqueeze(0), scale);
        var kernels = sight.Kernels.index_select(1, tensor(First)) * sight.Kernels.index_select(1, tensor(Second));
        var path = (kernels * (Path(row) / distance.square()).unsqueeze(1)).unsqueeze(2);
        var integral = (path * power.unsqueeze(1)).sum(-1);
        return integral * (sky * Strength(row).square());
    }

    /// <summary>da |dχ/da| in Mpc/h at the nodes, (1, m).</summary>
    private Tensor Path(CosmologyParameters row)
    {
        var a = projection.ScaleFactors;
        return projection.Weights * Background.HubbleLength / (a.square() * Background.HubbleRate(row, a));
    }

    /// <summary>3Ω_m H₀²/2c² in (h/Mpc)², (1, 1).</summary>
    private static Tensor Strength(CosmologyParameters row) =>
        1.5 * row.OmegaM / (Background.HubbleLength * Background.HubbleLength);

    private static Tensor ByRow(CosmologyParameters cosmology, Func<CosmologyParameters, Tensor> compute)
    {
        ArgumentNullException.ThrowIfNull(cosmology);
        using var scope = NewDisposeScope();
        var rows = Enumerable.Range(0, (int)cosmology.Count).Select(i =>
        {
            using var own = NewDisposeScope();
            return compute(cosmology.Row(i)).MoveToOuterDisposeScope();
        }).ToArray();
        return Guard.Finite("lensing spectra", cat(rows, 0)).MoveToOuterDisposeScope();
    }
}
