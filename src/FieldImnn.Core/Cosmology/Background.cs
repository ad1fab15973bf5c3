using System;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>The expanding universe of flat ΛCDM without radiation, and the growth of small contrasts in it.</summary>
public static class Background
{
    private const int Points = 64;
    private static readonly (double[] Abscissae, double[] Weights) Rule = GaussLegendre(Points);

    /// <summary>E(a) = H(a)/H₀ = √(Ω_m a⁻³ + Ω_Λ), (b, m), at scale factors a (m) > 0.</summary>
    public static Tensor HubbleRate(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        return (cosmology.OmegaM * a.pow(-3) + (1 - cosmology.OmegaM)).sqrt();
    }

    /// <summary>Ω_m(a) = Ω_m a⁻³/E², (b, m).</summary>
    public static Tensor MatterFraction(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        return cosmology.OmegaM * a.pow(-3) / HubbleRate(cosmology, a).square();
    }

    /// <summary>
    /// The growing mode D(a), (b, m), with D(1) = 1: D ∝ E(a) ∫₀ᵃ da′/(a′E(a′))³ (Heath 1977). With a′ = a s² the integrand is
    /// smooth, 2a^{5/2} s⁴ (Ω_m + Ω_Λ a³s⁶)^{−3/2}, and Gauss–Legendre's rule of 64 points reaches double precision.
    /// </summary>
    public static Tensor Growth(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        using var scope = NewDisposeScope();
        return (Unnormalised(cosmology, a) / Unnormalised(cosmology, ones(1, ScalarType.Float64))).MoveToOuterDisposeScope();
    }

    private static Tensor Unnormalised(CosmologyParameters cosmology, Tensor a)
    {
        var s = Arrays.ToTensor(Rule.Abscissae);
        var matter = cosmology.OmegaM.unsqueeze(-1);
        var density = matter + (1 - matter) * a.pow(3).unsqueeze(-1) * s.pow(6);
        var integral = (density.pow(-1.5) * s.pow(4)).matmul(Arrays.ToTensor(Rule.Weights));
        return HubbleRate(cosmology, a) * a.pow(2.5) * integral;
    }

    private static void Check(CosmologyParameters cosmology, Tensor a)
    {
        ArgumentNullException.ThrowIfNull(cosmology);
        ArgumentNullException.ThrowIfNull(a);
        using var scope = NewDisposeScope();
        if (a.dim() != 1 || !a.detach().gt(0).logical_and(a.detach().isfinite()).all().ToBoolean())
            throw new RangeException("scale factors a", "a vector of finite numbers > 0", Invariant($"shape {Guard.Describe(a.shape)}, from {a.detach().min().ToDouble()} to {a.detach().max().ToDouble()}"));
    }

    /// <summary>Nodes and weights on [0, 1], by Newton's iteration on the Legendre polynomial.</summary>
    internal static (double[] Abscissae, double[] Weights) GaussLegendre(int n)
    {
        var (nodes, weights) = (new double[n], new double[n]);
        for (var i = 0; i < n; i++)
        {
            var x = Math.Cos(Math.PI * (i + 0.75) / (n + 0.5));
            var slope = 1.0;
            for (var step = 0; step < 100; step++)
            {
                var (p, before) = (1.0, 0.0);
                for (var j = 1; j <= n; j++)
                    (p, before) = (((2 * j - 1) * x * p - (j - 1) * before) / j, p);
                slope = n * (x * p - before) / (x * x - 1);
                var change = p / slope;
                x -= change;
                if (Math.Abs(change) < 1e-15)
                    break;
            }
            nodes[i] = 0.5 * (1 - x);
            weights[i] = 1 / ((1 - x * x) * slope * slope);
        }
        return (nodes, weights);
    }
}
