using System;
using TorchSharp;
using static TorchSharp.torch;

namespace FieldImnn.Core.Fields;

/// <summary>The symmetric square root S of symmetric matrices A, S² = A, negative eigenvalues counting as zero.</summary>
public static class SymmetricRoot
{
    /// <summary>
    /// S (…, c, c), differentiable once in A: dS = U (K ∘ UᵀdA U) Uᵀ, K_ij = (s_i − s_j)/(a_i − a_j) = 1/(s_i + s_j) (Daleckii &amp; Krein), which knows
    /// no difference of two eigenvalues that may be equal. A second derivative would be wrong: it counts the eigenvectors as constant.
    /// </summary>
    /// <exception cref="ShapeException">Matrices that are not square.</exception>
    public static Tensor Of(Tensor matrices)
    {
        ArgumentNullException.ThrowIfNull(matrices);
        if (matrices.dim() < 2 || matrices.shape[^1] != matrices.shape[^2])
            throw new ShapeException("matrices to take the root of", "square ones", Guard.Describe(matrices.shape));
        using var scope = NewDisposeScope();
        Tensor vectors, kernel, root;
        using (no_grad())
        {
            (var values, vectors) = linalg.eigh(matrices.detach());
            var s = values.clamp_min(0).sqrt();
            root = Between(vectors, s.diag_embed());
            var sum = s.unsqueeze(-1) + s.unsqueeze(-2);
            // of a negative eigenvalue and a positive one: s/(a + |a′|); of two negative ones nothing
            var below = values.clamp_max(0);
            var depth = (below.unsqueeze(-1) + below.unsqueeze(-2)).neg();
            kernel = where(sum > 0, sum / (sum.square() + depth).clamp_min(double.Epsilon), zeros_like(sum));
        }
        if (!matrices.requires_grad)
            return root.MoveToOuterDisposeScope();
        var change = vectors.mT.matmul(matrices - matrices.detach()).matmul(vectors) * kernel;
        return (root + Between(vectors, change)).MoveToOuterDisposeScope();
    }

    private static Tensor Between(Tensor vectors, Tensor inner) => vectors.matmul(inner).matmul(vectors.mT);
}
