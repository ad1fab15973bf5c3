using System;
using System.Linq;
using System.Threading.Tasks;
using TorchSharp;
using static System.FormattableString;
using static TorchSharp.torch;

namespace FieldImnn.Core.Cosmology;

/// <summary>
/// The spectrum of a slab of the three-dimensional field, seen face on: P_2D(k) = ∫ dk_z/2π P(√(k² + k_z²)) sinc²(k_z D/2), in
/// (Mpc/h)², of the mean contrast over the depth D in Mpc/h. It is finite at k = 0: a slab has a mean of its own.
/// </summary>
/// <remarks>P_2D is linear in P: the quadrature and the cubic interpolation of P in ln k between nodes are one matrix, made once.</remarks>
public sealed class SlabPower
{
    // k_z up to 480 periods of sinc², where the integrand has fallen below 10⁻⁸ of the integral, in panels that resolve both sinc² and
    // the acoustic oscillations (0.06 h/Mpc), 8 points each
    private const int Periods = 480, PanelPoints = 8;
    private const double WidestPanel = 0.05;
    private const int Block = 8;
    private readonly Tensor matrix;

    /// <summary>The projection at transverse wavenumbers k (m) ≥ 0, h/Mpc.</summary>
    /// <exception cref="RangeException">A negative k, or one beyond the nodes of the spectrum.</exception>
    public SlabPower(Tensor k, double depth)
    {
        ArgumentNullException.ThrowIfNull(k);
        Depth = Guard.Positive("depth of the slab", depth);
        var wavenumbers = k.to_type(ScalarType.Float64).data<double>().ToArray();
        var nodes = LinearPower.Nodes.data<double>().ToArray();
        if (wavenumbers.Any(q => !(q >= 0 && q < nodes[^2])))
            throw new RangeException("wavenumbers of a slab", Invariant($"0 to {nodes[^2]:g3} h/Mpc"), Invariant($"{wavenumbers.Min():g3} to {wavenumbers.Max():g3}"));
        var rows = new double[wavenumbers.Length * nodes.Length];
        Parallel.For(0, wavenumbers.Length, i => Row(wavenumbers[i], depth, nodes, rows.AsSpan(i * nodes.Length, nodes.Length)));
        using var scope = NewDisposeScope();
        matrix = tensor(rows).reshape(wavenumbers.Length, nodes.Length).t().contiguous().MoveToOuterDisposeScope().DetachFromDisposeScope();
    }

    /// <summary>Depth D of the slab, Mpc/h.</summary>
    public double Depth { get; }

    /// <summary>
    /// P_2D (b, m) of P on <see cref="LinearPower.Nodes"/> (b, nodes), differentiable. Rows go through the product in blocks of one
    /// size, so that the rounding of one does not depend on how many there are.
    /// </summary>
    public Tensor Project(Tensor power)
    {
        Guard.Batched("P on the nodes", power, matrix.shape[0]);
        using var scope = NewDisposeScope();
        var n = power.shape[0];
        var surplus = (Block - n % Block) % Block;
        var padded = surplus == 0 ? power : cat([power, power.narrow(0, n - 1, 1).expand(surplus, -1)], 0);
        var blocks = padded.split(Block).Select(block => block.matmul(matrix)).ToArray();
        return cat(blocks, 0).narrow(0, 0, n).MoveToOuterDisposeScope();
    }

    private static void Row(double k, double depth, double[] nodes, Span<double> row)
    {
        var (points, weights) = Background.GaussLegendre(PanelPoints);
        var period = 2 * Math.PI / depth;
        var width = Math.Min(period, WidestPanel);
        var panels = (int)Math.Ceiling(Math.Min(Periods * period, nodes[^1]) / width);
        // the first panel holds the turnover of the spectrum: it is halved towards zero
        Panel(0, width / 16, row);
        for (var part = 4; part > 0; part--)
            Panel(width / (1 << part), width / (1 << part), row);
        for (var i = 1; i < panels; i++)
            Panel(i * width, width, row);

        void Panel(double from, double across, Span<double> row)
        {
            for (var j = 0; j < PanelPoints; j++)
            {
                var kz = from + points[j] * across;
                var x = kz * depth / 2;
                var sinc = Math.Sin(x) / x;
                Interpolate(0.5 * Math.Log(k * k + kz * kz), nodes, weights[j] * across / Math.PI * sinc * sinc, row);
            }
        }
    }

    /// <summary>Adds the weight of P at ln k to the nodes around it, by the cubic through four; beyond the nodes P counts as zero.</summary>
    private static void Interpolate(double logK, double[] nodes, double weight, Span<double> row)
    {
        var t = (logK - Math.Log(nodes[0])) / Math.Log(nodes[1] / nodes[0]);
        if (t < 0 || t > nodes.Length - 1)
            return;
        var (first, weights) = CubicInterpolation.At(t, nodes.Length);
        for (var j = 0; j < weights.Length; j++)
            row[first + j] += weight * weights[j];
    }
}
