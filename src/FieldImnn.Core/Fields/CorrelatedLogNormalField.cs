using System;
using System.Runtime.InteropServices;
using FieldImnn.Core.Random;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>
/// Correlated log-normal fields on N × N pixels without periodic borders (Leclercq &amp; Heavens 2021, arXiv:2103.04158, §III):
/// g ~ N(0, Ξ), Ξ_ij = exp(−r_ij²/4β²) with r in pixels, then a pointwise function of g with the non-Gaussianity α, then, if wanted,
/// white noise in the pixels.
/// </summary>
/// <remarks>
/// r² is a sum over the two axes, so Ξ = K ⊗ K with K_ij = exp(−(i − j)²/4β²), and the Cholesky factor of a Kronecker product is the
/// product of the factors: with K = L Lᵀ the exact factor of Ξ is L ⊗ L, g = L z Lᵀ, Ξ⁻¹ = K⁻¹ ⊗ K⁻¹ and |Ξ| = |K|^2N. An N × N factor
/// does the work of an N² × N² one, for every β of a batch.
/// </remarks>
public sealed class CorrelatedLogNormalField
{
    /// <summary>Fields of <paramref name="n"/> pixels a side with noise of standard deviation <paramref name="pixelNoise"/> added.</summary>
    /// <exception cref="SettingException">Fewer than 2 pixels a side, or noise that is negative or not finite.</exception>
    public CorrelatedLogNormalField(int n, LogNormalForm form = LogNormalForm.Standardised, double pixelNoise = 0)
    {
        N = (int)Guard.AtLeast("pixels a side", 2, n);
        if (!double.IsFinite(pixelNoise) || pixelNoise < 0)
            throw new SettingException("standard deviation of the pixel noise", "a finite number ≥ 0", Invariant($"{pixelNoise}"));
        Form = form;
        PixelNoise = pixelNoise;
        Shape = [n, n];
    }

    /// <summary>Pixels a side, N.</summary>
    public int N { get; }

    /// <summary>How g becomes the field.</summary>
    public LogNormalForm Form { get; }

    /// <summary>Standard deviation σ_n of the noise in each pixel; 0 for none.</summary>
    public double PixelNoise { get; }

    /// <summary>Shape of a field: (N, N).</summary>
    public long[] Shape { get; }

    /// <summary>
    /// The randomness of simulations, standard normal: (keys, 1, N, N), or (keys, 2, N, N) where there is pixel noise.
    /// </summary>
    public Tensor DrawNoise(NoiseKey[] keys, ScalarType type = ScalarType.Float32) =>
        Noise.Normal(keys, [PixelNoise > 0 ? 2 : 1, N, N], 0, null, type);

    /// <summary>K_ij = exp(−(i − j)²/4β²), float64 (b, N, N), of β (b); differentiable in β.</summary>
    public Tensor Correlation(Tensor beta)
    {
        using var scope = NewDisposeScope();
        return (SquaredLags() * Column(beta).square().reciprocal() * -0.25).exp().MoveToOuterDisposeScope();
    }

    /// <summary>dK/dβ = K (i − j)²/2β³, float64 (b, N, N).</summary>
    public Tensor CorrelationDerivative(Tensor beta)
    {
        using var scope = NewDisposeScope();
        return (Correlation(beta) * SquaredLags() * Column(beta).pow(-3) * 0.5).MoveToOuterDisposeScope();
    }

    /// <summary>The lower Cholesky factor L of K(β), float64 (b, N, N); differentiable in β.</summary>
    /// <exception cref="RangeException">A β is not a finite number above zero.</exception>
    /// <exception cref="SingularMatrixException">A β is so large that K is not positive definite in double precision.</exception>
    public Tensor Factor(Tensor beta)
    {
        ArgumentNullException.ThrowIfNull(beta);
        using var scope = NewDisposeScope();
        RequirePositive("β", beta);
        try
        {
            return linalg.cholesky(Correlation(beta)).MoveToOuterDisposeScope();
        }
        catch (ExternalException)
        {
            throw new SingularMatrixException(
                "correlation matrix of the log-normal field", "positive definite in double precision: β below about 1.8 pixels", Invariant($"β up to {beta.max().ToDouble():g4}"));
        }
    }

    /// <summary>dL/dβ = L Φ(L⁻¹ dK L⁻ᵀ), Φ the lower triangle with half of the diagonal; float64 (b, N, N).</summary>
    public Tensor FactorDerivative(Tensor beta, Tensor factor)
    {
        using var scope = NewDisposeScope();
        var inner = Whiten(factor, CorrelationDerivative(beta));
        var half = inner.tril() - diag_embed(inner.diagonal(0, -2, -1)) * 0.5;
        return factor.matmul(half).MoveToOuterDisposeScope();
    }

    /// <summary>L⁻¹ x L⁻ᵀ of x (b, N, N): what makes g white.</summary>
    public static Tensor Whiten(Tensor factor, Tensor x)
    {
        using var scope = NewDisposeScope();
        var rows = linalg.solve_triangular(factor, x, upper: false);
        return linalg.solve_triangular(factor, rows.mT, upper: false).mT.MoveToOuterDisposeScope();
    }

    /// <summary>Fields (n, N, N) of θ = (α, β) rows (n or 1, 2) and noise from <see cref="DrawNoise"/>; differentiable in θ.</summary>
    /// <exception cref="RangeException">An α or β is not a finite number above zero.</exception>
    public Tensor Simulate(Tensor theta, Tensor noise)
    {
        ArgumentNullException.ThrowIfNull(theta);
        CheckNoise(noise);
        using var scope = NewDisposeScope();
        var exact = theta.cpu(); // a factor of N², in double precision
        var alpha = Column(Parameter(exact, 0)).to(noise.dtype, noise.device);
        var factor = Factor(Parameter(exact, 1)).to(noise.dtype, noise.device);
        var g = AlongColumns(factor, AlongRows(factor, noise.select(1, 0)));
        return AddPixelNoise(Transform(alpha, g), noise).MoveToOuterDisposeScope();
    }

    /// <summary>Fields (n, N, N) and their derivatives (n, 2, N, N) by α and β at one θ (2), noise held fixed.</summary>
    public (Tensor Fields, Tensor Derivatives) SimulateWithDerivatives(Tensor theta, Tensor noise)
    {
        ArgumentNullException.ThrowIfNull(theta);
        CheckNoise(noise);
        using var scope = NewDisposeScope();
        var rows = theta.detach().cpu().unsqueeze(0);
        var alpha = Column(Parameter(rows, 0)).to(noise.dtype, noise.device);
        var beta = Parameter(rows, 1);
        var exact = Factor(beta);
        var (factor, slope) = (exact.to(noise.dtype, noise.device), FactorDerivative(beta, exact).to(noise.dtype, noise.device));
        var z = noise.select(1, 0);
        var half = AlongRows(factor, z);
        var g = AlongColumns(factor, half);
        var gByBeta = AlongColumns(factor, AlongRows(slope, z)) + AlongColumns(slope, half);
        var f = Transform(alpha, g);
        var (byAlpha, byG) = Form == LogNormalForm.Exponential
            ? (g * f, alpha * f)
            : (((f * alpha + 1) * (g - alpha) - f) / alpha, f * alpha + 1);
        var derivatives = stack([byAlpha, byG * gByBeta], 1);
        return (AddPixelNoise(f, noise).MoveToOuterDisposeScope(), derivatives.MoveToOuterDisposeScope());
    }

    private Tensor Transform(Tensor alpha, Tensor g) => Form == LogNormalForm.Exponential
        ? (alpha * g).exp()
        : (alpha * g - alpha.square() * 0.5).expm1() / alpha;

    private Tensor AddPixelNoise(Tensor fields, Tensor noise) =>
        PixelNoise > 0 ? fields + noise.select(1, 1) * PixelNoise : fields;

    /// <summary>Σ_k L_ik z_kj, a product and a sum at a time.</summary>
    /// <remarks>
    /// A matrix product rounds differently with the size of the batch; these steps are rounded each by itself, and a field must not
    /// depend on its neighbours.
    /// </remarks>
    private Tensor AlongRows(Tensor factor, Tensor z) => Accumulate(k => factor.narrow(2, k, 1) * z.narrow(1, k, 1));

    /// <summary>Σ_k y_ik L_jk, in the same way.</summary>
    private Tensor AlongColumns(Tensor factor, Tensor y)
    {
        using var scope = NewDisposeScope();
        var transposed = factor.mT.contiguous();
        return Accumulate(k => y.narrow(2, k, 1) * transposed.narrow(1, k, 1)).MoveToOuterDisposeScope();
    }

    private Tensor Accumulate(Func<int, Tensor> term)
    {
        using var scope = NewDisposeScope();
        var sum = term(0);
        for (var k = 1; k < N; k++)
        {
            using var step = NewDisposeScope();
            sum.add_(term(k));
        }
        return sum.MoveToOuterDisposeScope();
    }

    private Tensor SquaredLags()
    {
        var i = arange(N, ScalarType.Float64);
        return (i.unsqueeze(1) - i).square();
    }

    private static Tensor Column(Tensor values) => values.to(ScalarType.Float64).reshape(-1, 1, 1);

    /// <summary>Column 0 (α) or 1 (β) of θ, checked.</summary>
    private static Tensor Parameter(Tensor theta, long index)
    {
        Guard.Batched("parameters θ", theta, 2);
        return RequirePositive(index == 0 ? "α" : "β", theta.select(1, index));
    }

    private static Tensor RequirePositive(string name, Tensor values)
    {
        using var scope = NewDisposeScope();
        var wrong = values.detach().flatten();
        wrong = wrong[(wrong > 0).logical_and(wrong.isfinite()).logical_not()];
        if (wrong.numel() > 0)
            throw new RangeException($"{name} of the log-normal field", "a finite number > 0", Invariant($"{wrong[0].ToDouble():g4}"));
        return values;
    }

    private void CheckNoise(Tensor noise) => Guard.Batched("noise", noise, PixelNoise > 0 ? 2 : 1, N, N);
}
