namespace FieldImnn

open System
open FieldImnn.Core
open MathNet.Numerics
open MathNet.Numerics.Integration
open TorchSharp

/// A mode h whose density is known in the dimensionless power y = scale·|h|²/P: ln p = −occupation·ln P − slope·y + g(ln y),
/// with g smooth, tabulated with its slope at equally spaced ln y.
type ModeLaw =
    { Occupation: float
      Slope: float
      Scale: float
      First: float
      Step: float
      Values: float[]
      Slopes: float[] }

/// The two laws of column 0 of the Published modes (the other modes are half-normal in magnitude, χ²₁ in power).
/// Derived for this project from the construction in FieldImnn.Core.Fields.GaussianField, item 3 of its description.
module PublishedModes =
    let private first, private last, private points = -60.0, 12.0, 4801

    /// From ln ∫ weight(v) exp(−y·rate(v)) over nodes, with its slope in ln y.
    let private tabulate occupation slope scale (logIntegral: float -> struct (float * float)) =
        let step = (last - first) / float (points - 1)
        let rows = Array.init points (fun i -> logIntegral (first + step * float i))

        { Occupation = occupation
          Slope = slope
          Scale = scale
          First = first
          Step = step
          Values = rows |> Array.map (fun struct (g, _) -> g)
          Slopes = rows |> Array.map (fun struct (_, s) -> s) }

    /// Arithmetic–geometric mean.
    let rec private agm a b =
        if abs (a - b) < 1e-15 * a then
            a
        else
            agm (0.5 * (a + b)) (sqrt (a * b))

    /// A Hermitian pair of column 0: h = √P (m₁ e^{ip₁} + m₂ e^{−ip₂})/2 with independent normal m and uniform phases.
    /// Then y = 4|h|²/P = s·v with s ~ χ²₂ and v = 1 + cos a cos b, a and b uniform, whose density is 1/(π agm(1, |v − 1|)) on (0, 2).
    /// So f(y) = ∫ p(v) e^{−y/2v}/2v dv, and ln p(h) = −ln P − y/4 + g.
    let pair =
        lazy
            (let rule = GaussLegendreRule(0.0, 1.0, 128)

             // v = 1 ± u⁴/2 takes out the logarithm at 1, v = 2 − u⁴/2 resolves the end that large y see, and v = e^{−t}, t to 80,
             // the essential singularity at 0
             let nodes =
                 [| for q in 0 .. rule.Order - 1 do
                        let u, w = rule.GetAbscissa q, rule.GetWeight q
                        let near, jacobian = 0.5 * u ** 4.0, 2.0 * u ** 3.0 * w
                        let density = jacobian / (Math.PI * agm 1.0 near)
                        struct (1.0 + near, density)
                        struct (1.0 - near, density)
                        struct (2.0 - near, jacobian / (Math.PI * agm 1.0 (1.0 - near)))

                    for part in 0..31 do
                        for q in 0 .. rule.Order - 1 do
                            let t = log 2.0 + 2.5 * (float part + rule.GetAbscissa q)
                            let v = exp -t
                            struct (v, 2.5 * rule.GetWeight q * v / (Math.PI * agm 1.0 (1.0 - v))) |]

             tabulate 1.0 0.25 4.0 (fun s ->
                 let y = exp s
                 let mutable sum = 0.0
                 let mutable moment = 0.0

                 for struct (v, w) in nodes do
                     let rate = 0.5 / v - 0.25
                     let term = w * 0.5 / v * exp (-y * rate)
                     sum <- sum + term
                     moment <- moment - y * rate * term

                 struct (log sum, moment / sum)))

    /// The single real mode of column 0: h = √P m cos p. Then y = h²/P and p(h) ∝ P^{−1/2} e^{−y/4} K₀(y/4), so that
    /// ln p(h) = −½ ln P − y/2 + ln(e^{y/4} K₀(y/4)).
    let single =
        lazy
            (tabulate 0.5 0.5 1.0 (fun s ->
                let u = 0.25 * exp s

                // MathNet 5.0's scaled K₀ and K₁ are wrong below 2 (1.929 instead of 1.144 at u = 1); its plain ones are right
                let k0, k1 =
                    if u < 2.0 then
                        exp u * SpecialFunctions.BesselK0 u, exp u * SpecialFunctions.BesselK1 u
                    else
                        SpecialFunctions.BesselK0e u, SpecialFunctions.BesselK1e u

                struct (log k0, u * (1.0 - k1 / k0))))

    /// g at ln y, by the cubic through two neighbouring values and slopes; differentiable. Any shape.
    let private interpolate law (logY: Tensor) =
        let table (values: float[]) = Tensors.ofVector values
        let t = (logY - law.First) / law.Step

        let cell =
            t.detach().floor().clamp(0.0.ToScalar(), (float (law.Values.Length - 2)).ToScalar())

        let index = cell.to_type (torch.ScalarType.Int64)
        let x = t - cell
        let pick (values: Tensor) (offset: int) = values.take (index + offset)
        let v, d = table law.Values, table law.Slopes * law.Step
        let v0, v1, d0, d1 = pick v 0, pick v 1, pick d 0, pick d 1
        let rise = v1 - v0
        v0 + x * (d0 + x * (3.0 * rise - 2.0 * d0 - d1 + x * (d0 + d1 - 2.0 * rise)))

    /// ln p of modes of power |h|² (m) under ln P (b, m), summed over modes: (b), up to a constant.
    let logDensity law (power: Tensor) (logP: Tensor) =
        let logY = (power * law.Scale).log() - logP
        let each = -law.Occupation * logP - law.Slope * logY.exp () + interpolate law logY
        each.sum 1L

    /// Fisher information of one such mode about ln P: ∫ p (∂ln p/∂ln P)², by quadrature over the table.
    let information law =
        let mutable mass = 0.0
        let mutable sum = 0.0

        for i in 0 .. law.Values.Length - 1 do
            let y = exp (law.First + law.Step * float i)
            // p(y) d ln y: from the density of h, y^{dimension/2} = y^{occupation}
            let p = exp (law.Occupation * log y - law.Slope * y + law.Values[i])
            let score = -law.Occupation + law.Slope * y - law.Slopes[i]
            mass <- mass + p
            sum <- sum + p * score * score

        sum / mass
