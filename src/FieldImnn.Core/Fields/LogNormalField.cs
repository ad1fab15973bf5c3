using System;
using System.Linq;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// Log-normal contrasts δ = exp(G − σ²/2) − 1 of a Gaussian field G (Coles &amp; Jones 1991), and the spectrum that G needs.
/// Ideal: ξ_G = ln(1 + ξ) on the periodic grid, so that δ has the spectrum P exactly at every mode, k = 0 included; σ² = ξ_G(0).
/// Published (the code of Makinen et al. 2021): √P instead of P goes through the logarithm, the result is used as an amplitude, and
/// σ² is the variance of each field's own pixels.
/// </summary>
public sealed class LogNormalField
{
    private readonly Tensor toCorrelation, toPower;

    /// <summary>Contrasts on <paramref name="grid"/>.</summary>
    public LogNormalField(FourierGrid grid, ModeConvention convention = ModeConvention.Ideal)
    {
        ArgumentNullException.ThrowIfNull(grid);
        Grid = grid;
        Convention = convention;
        Classes = ModeClasses.Orthant(grid);
        using var scope = NewDisposeScope();
        var cosines = Cosines(grid.N);
        toCorrelation = (cosines / grid.BoxLength).MoveToOuterDisposeScope().DetachFromDisposeScope();
        toPower = (cosines * (grid.BoxLength / grid.N)).MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <summary>The grid.</summary>
    public FourierGrid Grid { get; }

    /// <summary>How the spectrum of G follows from P, and what σ² is.</summary>
    public ModeConvention Convention { get; }

    /// <summary>The modes of equal power: the grid is isotropic in P but not in ln(1 + ξ).</summary>
    public ModeClasses Classes { get; }

    /// <summary>
    /// ln P_G (b, classes) of the Gaussian field from P (b, classes), float64, differentiable; for Published the effective P_G, whose
    /// root is the amplitude. P(0) counts for Ideal; Published ignores it.
    /// </summary>
    /// <exception cref="RangeException">
    /// Ideal: no Gaussian field has the wanted correlation, since 1 + ξ ≤ 0 somewhere, or P_G ≤ 0 at some mode.
    /// </exception>
    public Tensor LogGaussianPower(Tensor power)
    {
        Guard.Batched("P", power, Classes.Count);
        using var scope = NewDisposeScope();
        if (Convention == ModeConvention.Published)
        {
            var root = cat([zeros_like(power.narrow(1, 0, 1)), power.narrow(1, 1, Classes.Count - 1).sqrt()], 1);
            var amplitude = Apply(toPower, Apply(toCorrelation, root).log1p()).abs();
            // |fft| = N²/L² · amplitude; the field is N/L times larger again (physics: Published, 5)
            return (amplitude.log() * 2 + 6 * Math.Log(Grid.N / Grid.BoxLength)).MoveToOuterDisposeScope();
        }
        var gaussian = GaussianPower(power);
        var ratio = (gaussian.detach() / power.detach()).amin([1]);
        Exists(ratio > Rounding, ratio, "P_G > 0 at every mode", "P_G/P as low as");
        return gaussian.log().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// P_G (b, classes), that of ξ_G = ln(1 + ξ), from P (b, classes), float64, differentiable. P may be a cross-spectrum of two fields, over the
    /// product of their shifts where they have some, and its P_G of either sign.
    /// </summary>
    /// <exception cref="RangeException">No log-normal field has the wanted correlation, since 1 + ξ ≤ 0 somewhere.</exception>
    public Tensor GaussianPower(Tensor power)
    {
        Guard.Batched("P", power, Classes.Count);
        using var scope = NewDisposeScope();
        var correlation = Apply(toCorrelation, power);
        var least = correlation.detach().amin([1]);
        Exists(least > -1, least, "1 + ξ > 0 at every separation", "ξ as low as");
        return Apply(toPower, correlation.log1p()).MoveToOuterDisposeScope();
    }

    /// <summary>The ensemble's σ² = ξ_G(0) = Σ_k P_G/L^D, (b), of ln P_G (b, classes).</summary>
    public Tensor Variance(Tensor logGaussianPower)
    {
        using var scope = NewDisposeScope();
        var modes = Classes.Sum(Grid.HermitianWeight) / Math.Pow(Grid.BoxLength, Grid.Dimensions);
        return logGaussianPower.exp().matmul(modes).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// δ (n, N, …) of G (n, N, …) with its tangents: dδ = (1 + δ)(dG − dσ²/2). <paramref name="variance"/> and
    /// <paramref name="varianceTangent"/>: the ensemble's σ² (1 or n) and ∂σ² (p), which Published does not use. Without a tangent
    /// of G (n, p, N, …) there is none of δ.
    /// </summary>
    public (Tensor Contrast, Tensor? Tangent) Contrast(Tensor gaussian, Tensor variance, Tensor? tangent = null, Tensor? varianceTangent = null)
    {
        Guard.Batched("G", gaussian, Grid.Shape);
        using var scope = NewDisposeScope();
        Tensor half, halfTangent = zeros(1);
        if (Convention == ModeConvention.Published)
        {
            var centred = gaussian - Mean(gaussian);
            half = Mean(centred.square()) * 0.5;
            if (tangent is not null)
                halfTangent = Mean(centred.unsqueeze(1) * tangent);
        }
        else
        {
            half = OverPixels(variance, gaussian) * 0.5;
            if (tangent is not null)
                halfTangent = OverPixels(varianceTangent!, gaussian) * 0.5;
        }
        var ratio = (gaussian - half).exp();
        var contrast = (ratio - 1).MoveToOuterDisposeScope();
        return (contrast, tangent is null ? null : (ratio.unsqueeze(1) * (tangent - halfTangent)).MoveToOuterDisposeScope());
    }

    /// <summary>ln(1 + δ) of contrasts (n, N, …): G − σ²/2. Published: less its mean, which is G itself.</summary>
    /// <exception cref="RangeException">A pixel has δ ≤ −1, which no log-normal field has.</exception>
    public Tensor Logarithm(Tensor contrast)
    {
        Guard.Batched("contrast δ", contrast, Grid.Shape);
        using var scope = NewDisposeScope();
        var least = contrast.detach().min().ToDouble();
        if (!(least > -1))
            throw new RangeException("contrast δ", "pixels > −1", Invariant($"{least:g6}"));
        var logarithm = contrast.log1p();
        return (Convention == ModeConvention.Published ? logarithm - Mean(logarithm) : logarithm).MoveToOuterDisposeScope();
    }

    /// <summary>P_G/P below which P_G is lost in the rounding of two transforms in double precision.</summary>
    private const double Rounding = 1e-11;

    private static void Exists(Tensor holds, Tensor measured, string expected, string what)
    {
        if (holds.all().ToBoolean())
            return;
        throw new RangeException(
            "spectrum of a log-normal field", $"one that such a field can have, with {expected}", Invariant($"{what} {measured.min().ToDouble():g3}"));
    }

    /// <summary>
    /// Mean over the pixels, an axis at a time: a sum over one axis is done by one thread, so that it does not depend on the batch.
    /// </summary>
    private Tensor Mean(Tensor values)
    {
        for (var axis = 0; axis < Grid.Dimensions; axis++)
            values = values.mean([-1 - axis], keepdim: true);
        return values;
    }

    /// <summary>(n) as (n, 1, …), in the precision and on the device of the field.</summary>
    private Tensor OverPixels(Tensor values, Tensor field) =>
        values.to(field.dtype, field.device).reshape([-1, .. Enumerable.Repeat(1L, Grid.Dimensions)]);

    /// <summary>
    /// The discrete cosine transform of even data along every axis of the orthant, in products of one shape, so that the rounding of
    /// a row does not depend on the batch.
    /// </summary>
    private Tensor Apply(Tensor matrix, Tensor byClass)
    {
        long side = Grid.N / 2 + 1;
        var rows = Grid.Dimensions == 1 ? 1 : side;
        var values = byClass.reshape([-1, .. Enumerable.Repeat(side, Grid.Dimensions)]);
        for (var axis = 1; axis <= Grid.Dimensions; axis++)
        {
            var last = values.transpose(axis, -1);
            var products = last.reshape(-1, rows, side);
            values = products.bmm(matrix.t().expand(products.shape[0], side, side)).reshape(last.shape).transpose(axis, -1);
        }
        return values.reshape([-1, Classes.Count]);
    }

    /// <summary>C_xi = w_i cos(2π x i/N), where w_i counts i and −i: Σ_n f(|n|) e^{2πi xn/N} = Σ_i C_xi f(i).</summary>
    private static Tensor Cosines(long n)
    {
        var i = arange(n / 2 + 1, dtype: ScalarType.Float64);
        var weight = full_like(i, 2.0);
        weight[0] = 1.0;
        if (n % 2 == 0)
            weight[n / 2] = 1.0;
        // the product is reduced to one turn in integers, where cosines are exact to the last bit
        var turn = (i.unsqueeze(1) * i.unsqueeze(0)).remainder(n);
        return (turn * (2 * Math.PI / n)).cos() * weight;
    }
}
