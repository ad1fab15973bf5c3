using System;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// The matter transfer function of Eisenstein &amp; Hu 1998 (ApJ 496, 605; "EH"), T → 1 for k → 0. Wavenumbers k > 0 in h/Mpc, (m)
/// or a row for each universe, (b, m); results (b, m), float64.
/// </summary>
public static class EisensteinHu
{
    /// <summary>With baryon acoustic oscillations: EH, equations 2 to 24.</summary>
    public static Tensor Transfer(CosmologyParameters cosmology, Tensor k)
    {
        Check(cosmology, k);
        using var scope = NewDisposeScope();
        var (wm, wb, fb) = Densities(cosmology);
        var fc = 1 - fb;
        var theta = cosmology.Temperature / 2.7;
        var kPerMpc = k.to_type(ScalarType.Float64) * cosmology.H;

        // equality, drag epoch and sound horizon: 2 to 6
        var zEquality = wm * (2.50e4 * Math.Pow(theta, -4));
        var kEquality = wm * (7.46e-2 * Math.Pow(theta, -2));
        var b1 = 0.313 * wm.pow(-0.419) * (1 + 0.607 * wm.pow(0.674));
        var b2 = 0.238 * wm.pow(0.223);
        var zDrag = 1291 * wm.pow(0.251) / (1 + 0.659 * wm.pow(0.828)) * (1 + b1 * wb.pow(b2));
        var momentum = wb * (31.5e3 * Math.Pow(theta, -4)); // R = momentum / z
        var (rEquality, rDrag) = (momentum / zEquality, momentum / zDrag);
        var sound = 2 / (3 * kEquality) * (6 / rEquality).sqrt()
            * (((1 + rDrag).sqrt() + (rDrag + rEquality).sqrt()) / (1 + rEquality.sqrt())).log();
        var kSilk = 1.6 * wb.pow(0.52) * wm.pow(0.73) * (1 + (10.4 * wm).pow(-0.95));

        // cold dark matter: 9 to 12, 17 to 20
        var a1 = (46.9 * wm).pow(0.670) * (1 + (32.1 * wm).pow(-0.532));
        var a2 = (12.0 * wm).pow(0.424) * (1 + (45.0 * wm).pow(-0.582));
        var alphaC = a1.pow(-fb) * a2.pow(-fb.pow(3));
        var betaC = 1 / (1 + 0.944 / (1 + (458 * wm).pow(-0.708)) * (fc.pow((0.395 * wm).pow(-0.0266)) - 1));
        var q = kPerMpc / (13.41 * kEquality);
        var ks = kPerMpc * sound;
        var share = 1 / (1 + (ks / 5.4).pow(4));
        var dark = share * Pressureless(q, ones_like(wm), betaC) + (1 - share) * Pressureless(q, alphaC, betaC);

        // baryons: 13 to 15, 21 to 24
        var y = (1 + zEquality) / (1 + zDrag);
        var root = (1 + y).sqrt();
        var g = y * (-6 * root + (2 + 3 * y) * ((root + 1) / (root - 1)).log());
        var alphaB = 2.07 * kEquality * sound * (1 + rDrag).pow(-0.75) * g;
        var betaB = 0.5 + fb + (3 - 2 * fb) * ((17.2 * wm).square() + 1).sqrt();
        var betaNode = 8.41 * wm.pow(0.435);
        var shifted = ks / (1 + (betaNode / ks).pow(3)).pow(1.0 / 3);
        var baryons = (Pressureless(q, ones_like(wm), ones_like(wm)) / (1 + (ks / 5.2).square())
            + alphaB / (1 + (betaB / ks).pow(3)) * (-(kPerMpc / kSilk).pow(1.4)).exp()) * (shifted / Math.PI).sinc();

        return (fb * baryons + fc * dark).MoveToOuterDisposeScope();
    }

    /// <summary>Without oscillations, but with the baryons' suppression of small scales: EH, equations 26 and 28 to 31.</summary>
    public static Tensor TransferNoWiggle(CosmologyParameters cosmology, Tensor k)
    {
        Check(cosmology, k);
        using var scope = NewDisposeScope();
        var (wm, wb, fb) = Densities(cosmology);
        var theta = cosmology.Temperature / 2.7;
        var kOverH = k.to_type(ScalarType.Float64);
        var sound = 44.5 * (9.83 / wm).log() / (1 + 10 * wb.pow(0.75)).sqrt();
        var alpha = 1 - 0.328 * (431 * wm).log() * fb + 0.38 * (22.3 * wm).log() * fb.square();
        var shape = cosmology.OmegaM * cosmology.H * (alpha + (1 - alpha) / (1 + (0.43 * kOverH * cosmology.H * sound).pow(4)));
        var q = kOverH * (theta * theta) / shape;
        var l = (2 * Math.E + 1.8 * q).log();
        var c = 14.2 + 731 / (1 + 62.5 * q);
        return (l / (l + c * q.square())).MoveToOuterDisposeScope();
    }

    /// <summary>Ω_m h², Ω_b h² and Ω_b/Ω_m.</summary>
    private static (Tensor Matter, Tensor Baryons, Tensor BaryonFraction) Densities(CosmologyParameters cosmology) =>
        (cosmology.OmegaM * cosmology.H.square(), cosmology.OmegaB * cosmology.H.square(), cosmology.OmegaB / cosmology.OmegaM);

    /// <summary>T̃₀(k, α, β): EH, equations 19 and 20.</summary>
    private static Tensor Pressureless(Tensor q, Tensor alpha, Tensor beta)
    {
        var l = (Math.E + 1.8 * beta * q).log();
        var c = 14.2 / alpha + 386 / (1 + 69.9 * q.pow(1.08));
        return l / (l + c * q.square());
    }

    private static void Check(CosmologyParameters cosmology, Tensor k)
    {
        ArgumentNullException.ThrowIfNull(cosmology);
        ArgumentNullException.ThrowIfNull(k);
        using var scope = NewDisposeScope();
        if ((k.dim() != 1 && (k.dim() != 2 || k.shape[0] != cosmology.Count)) || !k.detach().gt(0).logical_and(k.detach().isfinite()).all().ToBoolean())
            throw new RangeException("wavenumbers k", "finite numbers > 0 in h/Mpc, a vector or a row for each universe", Invariant($"shape {Guard.Describe(k.shape)}, from {k.detach().min().ToDouble()} to {k.detach().max().ToDouble()}"));
    }
}
