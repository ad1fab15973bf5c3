using System;
using System.Linq;
using FieldImnn.Core.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// The non-linear matter power spectrum by halofit (Smith et al. 2003, MNRAS 341, 1311, appendix C) with the coefficients of Takahashi et
/// al. 2012 (ApJ 761, 152, equations A6 to A13), in (Mpc/h)³; k in h/Mpc.
/// </summary>
public static class Halofit
{
    /// <summary>P (b, m) at wavenumbers k > 0, (m) or (b, m), and one scale factor, differentiable in every parameter of the cosmology.</summary>
    public static Tensor Power(CosmologyParameters cosmology, Tensor k, double scaleFactor = 1)
    {
        ArgumentNullException.ThrowIfNull(k);
        using var scope = NewDisposeScope();
        var a = Arrays.ToTensor([scaleFactor]);
        var growth = Background.Growth(cosmology, a);
        var linear = (LinearPower.LogPower(cosmology, k).exp() * growth.square()).unsqueeze(-1);
        var scale = NonlinearScale.Of(cosmology, growth, NonlinearScale.Converged);
        var wavenumbers = k.reshape(k.dim() == 1 ? 1 : k.shape[0], -1, 1);
        return Guard.Finite("halofit's P(k)", Power(cosmology, a, wavenumbers, linear, scale).squeeze(-1)).MoveToOuterDisposeScope();
    }

    /// <summary>P (b, q, m) at wavenumbers (b or 1, q, m), of linear P at the same, at scale factors a (m) of the non-linear scales (b, m).</summary>
    internal static Tensor Power(CosmologyParameters cosmology, Tensor a, Tensor k, Tensor linear, NonlinearScale scale)
    {
        using var scope = NewDisposeScope();
        var matter = Background.MatterFraction(cosmology, a);
        var pressure = (1 - matter) * (1 + cosmology.W0);
        var (n, c) = (scale.Index, scale.Curvature);
        var (n2, n3, n4) = (n.pow(2), n.pow(3), n.pow(4));
        Tensor Row(Tensor values) => values.unsqueeze(1);
        Tensor Ten(Tensor exponent) => Row((exponent * Math.Log(10)).exp());

        // A6 to A13
        var an = Ten(1.5222 + 2.8553 * n + 2.3706 * n2 + 0.9903 * n3 + 0.2250 * n4 - 0.6038 * c + 0.1749 * pressure);
        var bn = Ten(-0.5642 + 0.5864 * n + 0.5716 * n2 - 1.5474 * c + 0.2279 * pressure);
        var cn = Ten(0.3698 + 2.0404 * n + 0.8161 * n2 + 0.5869 * c);
        var gamma = Row(0.1971 - 0.0843 * n + 0.8460 * c);
        var alpha = Row((6.0835 + 1.3373 * n - 0.1959 * n2 - 5.5274 * c).abs());
        var beta = Row(2.0379 - 0.7354 * n + 0.3157 * n2 + 1.2490 * n3 + 0.3980 * n4 - 0.1682 * c);
        var nu = Ten(5.2105 + 3.6902 * n);
        var f1 = Row(matter.pow(-0.0307));
        var f2 = Row(matter.pow(-0.0585));
        var f3 = Row(matter.pow(0.0743));

        var y = k * Row(scale.Radius);
        var logY = y.log();
        var volume = k.pow(3) / (2 * Math.PI * Math.PI);
        var d = volume * linear;
        // Smith et al., C2 to C4, where μ_n = 0 by Takahashi et al.
        var quasilinear = d * (beta * d.log1p() - y / 4 - y.square() / 8).exp() / (1 + alpha * d);
        var halo = an * (3 * f1 * logY).exp() / (1 + bn * (f2 * logY).exp() + ((3 - gamma) * ((cn * f3).log() + logY)).exp());
        return ((quasilinear + halo / (1 + nu / y.square())) / volume).MoveToOuterDisposeScope();
    }
}

/// <summary>
/// The scale at which matter becomes non-linear, R = 1/k_σ with σ²(R) = ∫ d ln k k³P/2π² e^{−k²R²} = 1, and at it the spectrum's effective
/// index n_eff = −3 − d ln σ²/d ln R and curvature C = −d² ln σ²/d ln R² (Smith et al. 2003, C5 to C8), each (b, m).
/// </summary>
internal sealed record NonlinearScale(Tensor Radius, Tensor Index, Tensor Curvature)
{
    private const double LeastRadius = 1e-4, LargestRadius = 50;

    /// <summary>How σ² is integrated, and what R is multiplied with.</summary>
    internal sealed record Rule(Tensor K, Tensor Weights, Sigma8Rule Sigma8, double Factor);

    /// <summary>The trapezoidal rule in steps of 0.02 in ln k.</summary>
    internal static Rule Converged => ConvergedRule.Value;

    /// <summary>
    /// The rule of the lensing spectra of Lanzieri et al. 2024 (jax_cosmo): Simpson's in 256 steps from k = 10⁻⁴ to 10⁴. The root is sought
    /// there in a table of 256 radii, by a line that as often as not is that of the cell beside the root's: R jumps from cell to cell by a
    /// few 10⁻⁴. These jumps have no derivative; their mean, −7.3 · 10⁻⁵ (measured on the spectra), is kept.
    /// </summary>
    internal static Rule Published => PublishedRule.Value;

    private static readonly Lazy<Rule> ConvergedRule = new(() => Make(921, _ => 1, Sigma8Rule.Converged, 1));
    private static readonly Lazy<Rule> PublishedRule = new(() => Make(257, Simpson.Weight(257), Sigma8Rule.Truncated, 1 - 7.3e-5));

    private static Rule Make(int points, Func<int, double> weight, Sigma8Rule sigma8, double factor)
    {
        var (from, step) = (Math.Log(1e-4), Math.Log(1e8) / (points - 1));
        var k = Enumerable.Range(0, points).Select(i => Math.Exp(from + step * i)).ToArray();
        var weights = k.Select((q, i) => weight(i) * step * q * q * q / (2 * Math.PI * Math.PI)).ToArray();
        return new(Arrays.ToTensor(k).DetachFromDisposeScope(), Arrays.ToTensor(weights).DetachFromDisposeScope(), sigma8, factor);
    }

    /// <summary>
    /// The scales where contrasts have grown by D (b, m). The root of ln σ²(R) + 2 ln D is found without a graph, and one more step of Newton's
    /// gives it its derivative. Where matter is linear at all radii above 10⁻⁴ Mpc/h, that radius stands for the root.
    /// </summary>
    internal static NonlinearScale Of(CosmologyParameters cosmology, Tensor growth, Rule rule)
    {
        using var scope = NewDisposeScope();
        var power = LinearPower.LogPower(cosmology, rule.K, rule.Sigma8).exp() * rule.Weights;
        var target = -2 * growth.log();
        Tensor root;
        using (no_grad())
        {
            root = Start(power.detach(), target.detach(), rule.K);
            for (var step = 0; step < 2; step++)
                root = Newton(power.detach(), target.detach(), root, rule.K);
        }
        var radius = Newton(power, target, root, rule.K).exp() * rule.Factor;
        var (_, second, fourth) = Moments(power, radius, rule.K);
        var scaled = growth.square();
        var slope = 2 * second * scaled;
        var curvature = slope.square() + 4 * (second - fourth) * scaled;
        return new(radius.MoveToOuterDisposeScope(), (slope - 3).MoveToOuterDisposeScope(), curvature.MoveToOuterDisposeScope());
    }

    /// <summary>Σ P w y^p e^{−y²}, p = 0, 2, 4, of y = kR: (b, m) each.</summary>
    private static (Tensor Zeroth, Tensor Second, Tensor Fourth) Moments(Tensor power, Tensor radius, Tensor k)
    {
        var square = (radius.unsqueeze(-1) * k).square();
        var terms = (-square).exp() * power.unsqueeze(1);
        var second = terms * square;
        return (terms.sum(-1), second.sum(-1), (second * square).sum(-1));
    }

    private static Tensor Newton(Tensor power, Tensor target, Tensor logRadius, Tensor k)
    {
        var (zeroth, second, _) = Moments(power, logRadius.exp(), k);
        var slope = (2 * second / zeroth).detach();
        return (logRadius + (zeroth.log() - target) / slope).clamp(Math.Log(LeastRadius), Math.Log(LargestRadius));
    }

    /// <summary>ln R (b, m) by a line in ln R between the entries of a table of ln σ².</summary>
    private static Tensor Start(Tensor power, Tensor target, Tensor k)
    {
        const int entries = 64;
        var logRadius = linspace(Math.Log(LeastRadius), Math.Log(LargestRadius), entries, ScalarType.Float64);
        var table = Moments(power, logRadius.exp().unsqueeze(0), k).Zeroth.log();
        var above = table.unsqueeze(1).gt(target.unsqueeze(-1)).sum(-1).clamp(1, entries - 1);
        var (high, low) = (table.gather(1, above - 1), table.gather(1, above));
        var step = logRadius[1] - logRadius[0];
        var start = logRadius[0] + (above - 1) * step + (high - target) / (high - low) * step;
        return start.clamp(Math.Log(LeastRadius), Math.Log(LargestRadius));
    }
}

/// <summary>Simpson's rule.</summary>
internal static class Simpson
{
    /// <summary>The weight of point i of an odd number of points, in units of their distance.</summary>
    internal static Func<int, double> Weight(int points) =>
        i => (i == 0 || i == points - 1 ? 1 : i % 2 == 1 ? 4 : 2) / 3.0;

    /// <summary>The weights of all points (points), in units of their distance.</summary>
    internal static Tensor Weights(int points) => Arrays.ToTensor([.. Enumerable.Range(0, points).Select(Weight(points))]);
}
