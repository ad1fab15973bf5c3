using System;
using System.Linq;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// Flat universes with dark energy of constant equation of state (ΛCDM where w0 = −1), one a row: every parameter a float64 tensor (b, 1),
/// so that it broadcasts against wavenumbers or scale factors (m), and everything computed from it is differentiable in it. Dark energy
/// closes the budget: Ω_de = 1 − Ω_c − Ω_b.
/// </summary>
public sealed class CosmologyParameters
{
    /// <summary>
    /// Universes from tensors of (b) or one element: Ω_c in (0, 2], Ω_b in (0, 0.5], h in [0.2, 2], n_s in [0, 2], σ8 in (0, 5]; the
    /// temperature of the microwave background in K in [2, 3]; w0 in [−3, −0.1], −1 where it is not given.
    /// </summary>
    /// <exception cref="RangeException">A parameter outside its range, NaN included.</exception>
    public CosmologyParameters(Tensor omegaC, Tensor omegaB, Tensor h, Tensor nS, Tensor sigma8, double temperature = 2.726, Tensor? w0 = null)
    {
        OmegaC = Column("Ω_c", omegaC, 0, 2, open: true);
        OmegaB = Column("Ω_b", omegaB, 0, 0.5, open: true);
        H = Column("h", h, 0.2, 2);
        NS = Column("n_s", nS, 0, 2);
        Sigma8 = Column("σ8", sigma8, 0, 5, open: true);
        if (!(temperature is >= 2 and <= 3))
            throw new RangeException("temperature of the microwave background", "2 to 3 K", Invariant($"{temperature}"));
        Temperature = temperature;
        W0 = Column("w0", w0 ?? Number(-1), -3, -0.1);
    }

    /// <summary>Planck 2015 (arXiv:1502.01589, TT,TE,EE+lowP+lensing+ext), but for Ω_c (b) and σ8 (b).</summary>
    public static CosmologyParameters Planck15(Tensor omegaC, Tensor sigma8) =>
        new(omegaC, Number(0.0486), Number(0.6774), Number(0.9667), sigma8);

    /// <summary>Cold dark matter today in units of the critical density, Ω_c.</summary>
    public Tensor OmegaC { get; }

    /// <summary>Baryons today in units of the critical density, Ω_b.</summary>
    public Tensor OmegaB { get; }

    /// <summary>H₀ in units of 100 km/s/Mpc.</summary>
    public Tensor H { get; }

    /// <summary>Slope of the primordial spectrum, n_s.</summary>
    public Tensor NS { get; }

    /// <summary>Root mean square of the linear contrast today in spheres of 8 Mpc/h.</summary>
    public Tensor Sigma8 { get; }

    /// <summary>Pressure of dark energy over its density, w0, the same at all times.</summary>
    public Tensor W0 { get; }

    /// <summary>Temperature of the microwave background, K.</summary>
    public double Temperature { get; }

    /// <summary>All matter, Ω_m = Ω_c + Ω_b.</summary>
    public Tensor OmegaM => OmegaC + OmegaB;

    /// <summary>How many universes there are, b.</summary>
    public long Count => new[] { OmegaC, OmegaB, H, NS, Sigma8, W0 }.Max(column => column.shape[0]);

    /// <summary>The universe of one row, alone.</summary>
    public CosmologyParameters Row(long i)
    {
        Tensor At(Tensor column) => column.narrow(0, column.shape[0] == 1 ? 0 : i, 1);
        return new(At(OmegaC), At(OmegaB), At(H), At(NS), At(Sigma8), Temperature, At(W0));
    }

    private static Tensor Number(double value) => tensor(value, ScalarType.Float64);

    private static Tensor Column(string name, Tensor values, double low, double high, bool open = false)
    {
        ArgumentNullException.ThrowIfNull(values);
        var column = values.to_type(ScalarType.Float64).reshape(-1, 1);
        using var scope = NewDisposeScope();
        var plain = column.detach();
        var inside = (open ? plain > low : plain >= low).logical_and(plain <= high);
        if (inside.all().ToBoolean())
            return column;
        var wrong = plain.masked_select(inside.logical_not())[0].ToDouble();
        throw new RangeException(name, Invariant($"a number in {(open ? "(" : "[")}{low}, {high}]"), Invariant($"{wrong}"));
    }
}
