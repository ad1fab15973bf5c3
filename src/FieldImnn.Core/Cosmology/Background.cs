using System;
using MathNet.Numerics.Integration;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>The expanding flat universe of matter and dark energy, without radiation: distances in it, and the growth of small contrasts.</summary>
public static class Background
{
    /// <summary>c/H₀ in Mpc/h.</summary>
    public const double HubbleLength = 2997.92458;

    private const int DistancePoints = 32;
    private static readonly (double[] Abscissae, double[] Weights) Rule = GaussLegendre(DistancePoints);

    /// <summary>E(a) = H(a)/H₀ = √(Ω_m a⁻³ + Ω_de a^{−3(1 + w0)}), (b, m), at scale factors a (m) > 0.</summary>
    public static Tensor HubbleRate(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        var darkEnergy = (-3 * (1 + cosmology.W0) * a.log()).exp();
        return (cosmology.OmegaM * a.pow(-3) + (1 - cosmology.OmegaM) * darkEnergy).sqrt();
    }

    /// <summary>Ω_m(a) = Ω_m a⁻³/E², (b, m).</summary>
    public static Tensor MatterFraction(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        return cosmology.OmegaM * a.pow(-3) / HubbleRate(cosmology, a).square();
    }

    /// <summary>
    /// The comoving distance χ(a) = c ∫_a^1 da′/(a′²H), (b, m), in Mpc/h, to scale factors a (m) in (0, 1]. With a′ = s² the integrand,
    /// 2 (Ω_m + Ω_de s^{−6w0})^{−1/2}, is smooth, and Gauss–Legendre's rule of 32 points reaches double precision from a = 10⁻³ on.
    /// </summary>
    public static Tensor ComovingDistance(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        using var scope = NewDisposeScope();
        var from = a.sqrt().unsqueeze(-1);
        var s = from + (1 - from) * Arrays.ToTensor(Rule.Abscissae);
        var (matter, w0) = (cosmology.OmegaM.unsqueeze(-1), cosmology.W0.unsqueeze(-1));
        var integrand = (matter + (1 - matter) * (-6 * w0 * s.log()).exp()).rsqrt() * Arrays.ToTensor(Rule.Weights);
        return (integrand.sum(-1) * (1 - from).squeeze(-1) * (2 * HubbleLength)).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The growing mode D(a), (b, m), with D(1) = 1: D ∝ a ₂F₁(−1/3w0, (w0 − 1)/2w0; 1 − 5/6w0; −x), x = a^{−3w0} Ω_de/Ω_m (Silveira &amp;
    /// Waga 1994, Phys. Rev. D 50, 4890), as Euler's integral over t^{p−1} (1 − t)^{q−1} (1 + xt)^{−r} from 0 to 1, whose constant factor
    /// cancels in D(a)/D(1). The double exponential rule takes the singular ends in its stride and reaches 10⁻¹².
    /// </summary>
    public static Tensor Growth(CosmologyParameters cosmology, Tensor a)
    {
        Check(cosmology, a);
        using var scope = NewDisposeScope();
        return (a * EulerIntegral(cosmology, a) / EulerIntegral(cosmology, ones(1, ScalarType.Float64))).MoveToOuterDisposeScope();
    }

    private static Tensor EulerIntegral(CosmologyParameters cosmology, Tensor a)
    {
        // t = 1/(1 + e^{−π sinh u}): ln t and ln(1 − t) without cancellation, dt = π cosh u t (1 − t) du
        const double step = 0.1, last = 3.7;
        var u = arange(-last, last + step / 2, step, dtype: ScalarType.Float64);
        var exponent = Math.PI * u.sinh();
        var (logT, logRest) = (-nn.functional.softplus(-exponent, 1, 700), -nn.functional.softplus(exponent, 1, 700));
        var w = cosmology.W0.unsqueeze(-1);
        var (p, q, r) = (0.5 - 1 / (2 * w), 0.5 - 1 / (3 * w), -1 / (3 * w));
        var x = ((1 - cosmology.OmegaM) / cosmology.OmegaM * (-3 * cosmology.W0 * a.log()).exp()).unsqueeze(-1);
        var logIntegrand = p * logT + q * logRest - r * (x * logT.exp()).log1p();
        return (logIntegrand.exp() * (Math.PI * u.cosh())).sum(-1);
    }

    private static void Check(CosmologyParameters cosmology, Tensor a)
    {
        ArgumentNullException.ThrowIfNull(cosmology);
        ArgumentNullException.ThrowIfNull(a);
        using var scope = NewDisposeScope();
        if (a.dim() != 1 || !a.detach().gt(0).logical_and(a.detach().isfinite()).all().ToBoolean())
            throw new RangeException("scale factors a", "a vector of finite numbers > 0", Invariant($"shape {Guard.Describe(a.shape)}, from {a.detach().min().ToDouble()} to {a.detach().max().ToDouble()}"));
    }

    /// <summary>Nodes and weights of Gauss and Legendre's rule of n points on [0, 1].</summary>
    internal static (double[] Abscissae, double[] Weights) GaussLegendre(int n)
    {
        var rule = new GaussLegendreRule(0, 1, n);
        return (rule.Abscissas, rule.Weights);
    }
}
