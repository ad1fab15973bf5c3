/// Tomographic log-normal maps: their spectra by measurement, the anchor's construction by plain sums, derivatives, roots of matrices, shifts,
/// and the exact answer of Gaussian maps.
module WeakLensingTests

open System
open System.Numerics
open Expecto
open FieldImnn
open FieldImnn.Core
open FieldImnn.Core.Cosmology
open FieldImnn.Core.Fields
open FieldImnn.Core.Random
open ExactSupport
open MathNet.Numerics.LinearAlgebra
open TestSupport
open TorchSharp

let private theta = WeakLensing.fiducial

/// A table of shifts that is no plane: λ rises with the bin and with all three parameters.
let private shift (omegaM: float) (sigma8: float) (w0: float) bin =
    0.007 * 2.0 ** float bin * sqrt omegaM * sigma8 ** 1.5 * (1.0 - 0.1 * w0)

let private axis lo hi n =
    Array.init n (fun i -> lo + (hi - lo) * float i / float (n - 1))

let private omegas, sigmas, ws = axis 0.1 0.9 8, axis 0.3 1.3 8, axis -2.0 -0.3 8

/// As the authors of the public table store theirs.
let private stored =
    [| for om in omegas do
           for s8 in sigmas do
               for w0 in ws do
                   for bin in 0..4 do
                       yield! [ om; s8; w0; float bin; shift om s8 w0 bin ] |]

let private shifts = WeakLensing.tableOfShifts [| 8L; 8L; 8L; 5L; 5L |] stored

let private model pixels convention =
    let shift =
        match convention with
        | ModeConvention.Published -> Tabulated shifts
        | _ -> EmptyBeam

    WeakLensing.model (WeakLensing.survey pixels) convention shift

let private simulator pixels convention =
    LogNormalMaps.simulator "lensing" (model pixels convention)

let private conventions = [ ModeConvention.Ideal; ModeConvention.Published ]

/// Means over the classes of modes of Re κ_i κ_j* of maps (n, 5, N, N), in units of the spectra: (n, pairs, classes).
let private measured (model: LogNormalMaps) (maps: Tensor) =
    let grid, classes = model.Transform.Grid, model.Transform.Classes
    let modes = grid.Forward(maps.``to`` torch.float64)
    let weight = grid.HermitianWeight / grid.ModeVariancePerPower

    let products =
        torch.stack (
            [| for i in 0L .. 4L do
                   for j in i .. 4L ->
                       let a, b = modes.select (1L, i), modes.select (1L, j)
                       ((a.real * b.real + a.imag * b.imag) * weight).flatten 1L |],
            1L
        )

    let sums =
        torch
            .zeros(maps.shape[0], 15L, classes.Count, dtype = torch.float64)
            .index_add(2L, classes.Index, products, 1.0.ToScalar())

    sums / classes.Sum grid.HermitianWeight

let private upper (power: Tensor) =
    torch.stack
        [| for i in 0L .. 4L do
               for j in i .. 4L -> power[0L, i, j] |]

let private spectra =
    [ tensorTest
          "Ideal: the mean auto- and cross-spectra of all bins at every ℓ are the wanted ones, to the sampling error"
          (fun () ->
              // a patch so small that the logarithm matters
              let survey =
                  { WeakLensing.survey 12 with
                      Side = 1.0 }

              let model = WeakLensing.model survey ModeConvention.Ideal EmptyBeam
              let at = Tensors.ofVector theta
              let count = 3000

              let maps =
                  Simulator.fields (LogNormalMaps.simulator "lensing" model) at (NoiseKey.Range(3UL, 0UL, count))

              let power = measured model maps
              let mean = power.mean [| 0L |]
              let error = power.std (0L, true) / sqrt (float count)
              let wanted = upper (model.Power(at.unsqueeze 0L))

              let deviations (wanted: Tensor) =
                  let d = (mean - wanted) / error
                  d.abs().max().ToDouble(), d.square().mean().ToDouble()

              let worst, square = deviations wanted
              // 15 pairs × 49 classes: the largest of so many normal numbers; neighbours are correlated
              Expect.isLessThan worst 4.8 "largest deviation in standard errors"
              Expect.isLessThan square 2.0 "mean square deviation"
              // planted: the spectra of the Gaussian maps behind them, which are a few per cent to a tenth lower
              let struct (gaussian, lambda) = LogNormalMaps.gaussianPower model (at.unsqueeze 0L)

              let scaled = gaussian * (lambda.unsqueeze (2L) * lambda.unsqueeze (1L)).unsqueeze 3L

              let worst, square = deviations (upper scaled)
              Expect.isTrue (worst > 4.8 && square > 2.0) $"planted: {worst}, {square}")

      tensorTest "variances of the bins: what the public map has, less its noise" (fun () ->
          let survey = WeakLensing.survey 256
          let classes = ModeClasses.Shells(WeakLensing.grid survey)
          let grid = WeakLensing.grid survey

          let power =
              (WeakLensing.spectra survey ModeConvention.Published).Power
                  (classes.Radii.clamp_min (grid.FundamentalWavenumber.ToScalar()))
                  (Tensors.ofRows [| theta |])

          let modes =
              torch
                  .zeros(classes.Radii.shape[0], dtype = torch.float64)
                  .index_add(0L, classes.RadiusIndex, classes.Sum grid.HermitianWeight, 1.0.ToScalar())

          modes[0L] <- torch.tensor 0.0

          let variance =
              [| for i in 0L .. 4L -> (power[0L, i, i] * modes).sum().ToDouble() / grid.BoxLength ** 2.0 |]

          // of bins 2 to 5, to the digits that are known of them
          close 0.006 variance[1..] [| 1.05e-4; 2.31e-4; 4.32e-4; 8.70e-4 |] "variances"
          // σ_e/√(n A), A = (600/256)² arcmin²
          Expect.floatClose
              Accuracy.high
              (WeakLensing.noise survey)
              (0.26 / sqrt (27.0 / 5.0 * (600.0 / 256.0) ** 2.0))
              "noise")

      tensorTest "spectra between multipoles: the integrals themselves; lines for Published" (fun () ->
          let l = [| 36.0; 61.3; 500.0; 2222.2; 6400.0 |]
          let universe = WeakLensing.cosmology (Tensors.ofRows [| theta |])

          let table quadrature =
              upper (LensingTable(RedshiftBins.Lsst, Tensors.ofVector l, 36.0, quadrature).Power universe)
              |> Tensors.toArray

          let direct multipoles quadrature =
              LensingSpectra(RedshiftBins.Lsst, multipoles, quadrature).Power universe
              |> Tensors.toArray

          let away a b =
              Array.map2 (fun x y -> abs (x / y - 1.0)) a b |> Array.max

          Expect.isLessThan
              (away (table LensingQuadrature.Converged) (direct l LensingQuadrature.Converged))
              2e-5
              "cubics"

          let ends = direct [| 36.0; 72.0 |] LensingQuadrature.Published

          let line = (table LensingQuadrature.Published)[1..] |> Array.head
          let t = (61.3 - 36.0) / 36.0
          Expect.floatClose Accuracy.high (line / (ends[0] * (1.0 - t) + ends[1] * t)) 1.0 "a line") ]

/// The symmetric square root by eigenvalues, negative ones cut at zero.
let private symmetricRoot (m: Matrix<float>) =
    let evd = m.Evd Symmetricity.Symmetric
    let s = evd.EigenValues.Real().Map(fun v -> sqrt (max v 0.0))

    evd.EigenVectors
    * Matrix<float>.Build.DenseOfDiagonalVector s
    * evd.EigenVectors.Transpose()

/// The anchor's maps of white noise (5, n, n), by plain sums (shared facts: Log-normal maps).
let private anchor n (noise: float[]) =
    let side = 10.0 * Math.PI / 180.0
    let knots = Array.init n (fun i -> 2.0 * Math.PI / side * float (i + 1))
    let universe = WeakLensing.cosmology (Tensors.ofRows [| theta |])

    let c =
        LensingSpectra(RedshiftBins.Lsst, knots, LensingQuadrature.Published).Power universe
        |> Tensors.toArray

    let line pair l =
        let t = l / knots[0]
        let i = min (int t) (n - 1)

        let at m =
            if m = 0 then 0.0 else c[pair * n + m - 1]

        at i + (t - float i) * (at (i + 1) - at i)

    let lambda = shifts.At universe |> Tensors.toArray

    let forward = fourierBySums n -1.0

    let inverse x =
        fourierBySums n 1.0 x |> Array2D.map (fun z -> z / Complex(float (n * n), 0.0))

    let pairs =
        [| for i in 0..4 do
               for j in i..4 -> i, j |]

    let gaussian =
        pairs
        |> Array.mapi (fun pair (i, j) ->
            Array2D.init n n (fun p q ->
                let l = sqrt (wave n side p ** 2.0 + wave n side q ** 2.0)
                let power = if p + q = 0 then 0.0 else line pair l
                Complex(power * (float n / side) ** 2.0, 0.0))
            |> inverse
            |> Array2D.map (fun z -> Complex(log (1.0 + z.Real / (lambda[i] * lambda[j])), 0.0))
            |> forward
            |> Array2D.mapi (fun p q z -> if p + q = 0 then 0.0 else z.Magnitude))

    let root p q =
        Matrix<float>.Build.Dense(5, 5, (fun i j -> gaussian[Array.findIndex ((=) (min i j, max i j)) pairs][p, q]))
        |> symmetricRoot

    let roots = Array2D.init n n root

    let modes =
        Array.init 5 (fun i ->
            Array2D.init n n (fun p q -> Complex(noise[(i * n + p) * n + q], 0.0))
            |> forward)

    Array.init 5 (fun i ->
        let g =
            Array2D.init n n (fun p q -> Seq.init 5 (fun j -> modes[j][p, q] * roots[p, q][i, j]) |> Seq.reduce (+))
            |> inverse
            |> Array2D.map _.Real
            |> Seq.cast<float>
            |> Array.ofSeq

        let mean = Array.average g
        let variance = g |> Array.averageBy (fun x -> (x - mean) ** 2.0)
        g |> Array.map (fun x -> lambda[i] * (exp (x - variance / 2.0) - 1.0)))
    |> Array.concat

let private construction =
    [ tensorTest "Published: the anchor's construction, sum by sum; a triangular root is another map" (fun () ->
          let n = 8
          let simulator = simulator n ModeConvention.Published |> doubled
          let noise = simulator.DrawNoise(NoiseKey.Range(5UL, 0UL, 1))
          let at = Tensors.ofRows [| theta |]
          let expected = anchor n (Tensors.toArray noise)
          close 1e-9 (simulator.Field at noise |> Tensors.toArray) expected "κ"

          let triangular =
              LogNormalMaps.create
                  (WeakLensing.spectra (WeakLensing.survey n) ModeConvention.Published)
                  (WeakLensing.shifts (WeakLensing.survey n) (Tabulated shifts))
                  (WeakLensing.grid (WeakLensing.survey n))
                  ModeConvention.Ideal
              |> LogNormalMaps.simulator "lensing"

          Expect.isGreaterThan (relative (triangular.Field at noise |> Tensors.toArray) expected) 0.1 "planted")

      tensorTest "maps that nothing binds to the others are the maps of their blocks" (fun () ->
          // powers (1, ½, ½, 1) f(k) of maps 0 and 1, and f(k) of map 2 that no other knows: the root has zeros in its corner, and not above its diagonal
          let among matrix : MapSpectra =
              { Parameters = [| "A"; "B" |]
                Maps = Array2D.length1 matrix
                Power =
                  fun k ->
                      let law = PowerLaw.spectrum.LogPower k
                      let c = Tensors.ofMatrix (Matrix<float>.Build.DenseOfArray matrix)

                      fun theta ->
                          (law theta - log(20.0).ToScalar()).exp().unsqueeze(1L).unsqueeze 1L
                          * c.unsqueeze(0L).unsqueeze -1L }

          let maps matrix =
              LogNormalMaps.create
                  (among matrix)
                  (fun theta -> torch.ones (theta.shape[0], int64 (Array2D.length1 matrix), dtype = torch.float64))
                  (FourierGrid(2, 8, 8.0))
                  ModeConvention.Published
              |> LogNormalMaps.simulator "blocks"

          let whole =
              maps (array2D [ [ 1.0; 0.5; 0.0 ]; [ 0.5; 1.0; 0.0 ]; [ 0.0; 0.0; 1.0 ] ])

          let pair, alone =
              maps (array2D [ [ 1.0; 0.5 ]; [ 0.5; 1.0 ] ]), maps (array2D [ [ 1.0 ] ])

          let noise = whole.DrawNoise(NoiseKey.Range(5UL, 0UL, 3)).``to`` torch.float64
          let at = Tensors.ofRows [| [| 1.2; 0.9 |] |]
          let made = whole.Field at noise
          let first = pair.Field at (noise.narrow (1L, 0L, 2L)) |> Tensors.toArray
          close 1e-9 (made.narrow (1L, 0L, 2L) |> Tensors.toArray) first "the two that know each other"

          close
              1e-9
              (made.select (1L, 2L) |> Tensors.toArray)
              (alone.Field at (noise.select (1L, 2L)) |> Tensors.toArray)
              "the other"

          let single = alone.Field at (noise.select (1L, 0L)) |> Tensors.toArray
          let first = pair.Field at (noise.narrow (1L, 0L, 2L))
          Expect.isGreaterThan (relative (Tensors.toArray (first.select (1L, 0L))) single) 0.1 "planted: by itself")

      for convention in conventions do
          tensorTest
              $"{convention}: derivatives agree by rule, automatically and by differences; bits do not depend on batch or threads"
              (fun () ->
                  let simulator = simulator 8 convention
                  derivativesAgree $"{convention}" (doubled simulator) [| 1e-4; 1e-5; 1e-4; 1e-4; 1e-4; 1e-4 |] theta
                  let keys = NoiseKey.Range(8UL, 0UL, 4)
                  let at = Tensors.ofVector theta

                  let fields threads keys =
                      onThreads threads (fun () -> Simulator.fields simulator at keys)

                  let together = fields 1 keys
                  Expect.equal (Tensors.toArray (fields 2 keys)) (Tensors.toArray together) "threads"
                  let alone = fields 1 keys[2..2]
                  Expect.equal (Tensors.toArray alone[0]) (Tensors.toArray together[2]) "alone"
                  let other = [| 0.4; 0.05; 0.7; 0.6; 1.0; -0.6 |]

                  let each =
                      Simulator.fields simulator (Tensors.ofRows [| other; other; theta; other |]) keys

                  Expect.equal (Tensors.toArray each[2]) (Tensors.toArray together[2]) "each with its own parameters"
                  let struct (again, _) = Simulator.withDerivatives simulator Autodiff at keys
                  close 1e-5 (Tensors.toArray again) (Tensors.toArray together) "with derivatives")

      tensorTest
          "with noise and a mask, behind the door: every parameter has an effect, and the derivatives hold"
          (fun () ->
              let footprint = torch.ones (8L, 8L)
              footprint[0L] <- torch.tensor 0.0f

              let seen =
                  WeakLensing.simulator (WeakLensing.survey 8) ModeConvention.Ideal EmptyBeam
                  |> Observation.masked footprint

              let problem = Model.create seen WeakLensing.prior
              Expect.isNone problem.Exact "no exact answer"
              let field = Simulator.field seen theta 3UL
              Expect.equal field.shape [| 5L; 8L; 8L |] "shape"
              Expect.equal (field.select(1L, 0L).abs().max().ToDouble()) 0.0 "masked")

      tensorTest
          "where no Gaussian maps have the spectra: said so, and the maps are those of eigenvalues cut at zero, alone or in a batch"
          (fun () ->
              let model = model 8 ModeConvention.Ideal
              let far = [| 0.002; 0.0646; 1.19; 0.5104; 0.7584; -1.987 |]
              let rows = Tensors.ofRows [| theta; far |]
              Expect.isTrue (LogNormalMaps.exist model (rows.narrow (0L, 0L, 1L))) "the centre"
              Expect.isFalse (LogNormalMaps.exist model rows) "the corner"
              let simulator = LogNormalMaps.simulator "lensing" model
              let noise = simulator.DrawNoise(NoiseKey.Range(2UL, 0UL, 2))
              let both = Guard.Finite("κ", simulator.Field rows noise)

              for i in 0L .. 1L do
                  let alone = simulator.Field (rows.narrow (0L, i, 1L)) (noise.narrow (0L, i, 1L))
                  close 1e-5 (Tensors.toArray both[i]) (Tensors.toArray alone[0L]) "alone") ]

let private roots =
    [ tensorTest "the symmetric symmetricRoot and its derivative, with equal and with negative eigenvalues" (fun () ->
          let random = Random 4

          let orthogonal =
              Matrix<float>.Build.Dense(5, 5, (fun _ _ -> random.NextDouble() - 0.5)).QR().Q

          let direction =
              Matrix<float>.Build.Dense(5, 5, (fun _ _ -> random.NextDouble() - 0.5))
              |> fun m -> m + m.Transpose()

          for values in [ [| 1.0; 1.0; 0.5; 2.0; 3.0 |]; [| 1.0; -0.3; 0.5; -0.3; 2.0 |] ] do
              let a =
                  orthogonal
                  * Matrix<float>.Build.DenseOfDiagonalArray values
                  * orthogonal.Transpose()

              let tensor (m: Matrix<float>) = Tensors.ofRows (m.ToRowArrays())
              let flat (m: Matrix<float>) = m.ToRowArrays() |> Array.concat
              close 1e-12 (SymmetricRoot.Of(tensor a) |> Tensors.toArray) (flat (symmetricRoot a)) "root"

              let slope =
                  Autodiff.gradv (fun (t: Tensor) -> (SymmetricRoot.Of t)[1L, 3L]) (tensor a) (tensor direction)

              let h = 1e-5

              let difference =
                  ((symmetricRoot (a + direction * h) - symmetricRoot (a - direction * h))
                   / (2.0 * h))[1, 3]

              Expect.isLessThan (abs (slope.ToDouble() - difference)) 1e-7 $"{slope.ToDouble()} and {difference}")

      tensorTest
          "shifts: lines between the entries of the table, its ends beyond; half a cell off, as its readers have it"
          (fun () ->
              let position v (values: float[]) =
                  Math.Clamp((v - values[0]) / (values[7] - values[0]) * 8.0 - 0.5, 0.0, 7.0)

              let expected (t: float[]) bin =
                  let along v values (f: int -> float) =
                      let p = position v values
                      let i = min (int p) 6
                      f i + (p - float i) * (f (i + 1) - f i)

                  along (t[0] + t[1]) omegas (fun i ->
                      along t[2] sigmas (fun j -> along t[5] ws (fun k -> shift omegas[i] sigmas[j] ws[k] bin)))

              let points =
                  [| theta
                     [| 0.02; 0.05; 0.2; 0.7; 1.0; -1.97 |]
                     [| 1.2; 0.05; 1.4; 0.7; 1.0; -0.31 |] |]

              let found =
                  shifts.At(WeakLensing.cosmology (Tensors.ofRows points)) |> Tensors.toRows

              close 1e-12 (Array.concat found) (points |> Array.collect (fun t -> Array.init 5 (expected t))) "λ"
              Expect.isGreaterThan (abs (found[0][0] / shift 0.3156 0.831 -1.0 0 - 1.0)) 1e-3 "planted: no half cell")

      tensorTest "the public table of shifts, where it is: read as it is stored" (fun () ->
          withShared (fun folder ->
              let array = Npy.read (IO.Path.Combine(folder, "lensing", "lognormal_shifts.npy"))
              let table = WeakLensing.tableOfShifts (Array.map int64 array.Shape) array.Data

              let lambda =
                  table.At(WeakLensing.cosmology (Tensors.ofRows [| theta |])) |> Tensors.toArray

              Expect.equal (Array.sort lambda) lambda "further bins are smoother"
              Expect.isTrue (lambda[0] > 0.005 && lambda[4] < 0.2) $"%A{lambda}")) ]

let private exact =
    [ tensorTest
          "Gaussian maps: the score's covariance is the Fisher matrix of six parameters; too little noise is caught"
          (fun () ->
              let survey = WeakLensing.survey 8
              let maps = WeakLensing.gaussian survey
              let exact = CorrelatedMapsLikelihood.exact maps

              let measured =
                  ExactAnswer.scoreCovariance
                      (CorrelatedMaps.simulator "lensing-gaussian" maps)
                      160
                      6UL
                      exact.LogLikelihood
                      theta

              Expect.isLessThan (fisherDeviation measured (exact.Fisher theta)) 4.5 "deviations in standard errors"

              let quieter =
                  WeakLensing.gaussian
                      { survey with
                          Ellipticity = 0.6 * survey.Ellipticity }

              Expect.isGreaterThan
                  (fisherDeviation measured (CorrelatedMapsLikelihood.fisher quieter theta))
                  4.5
                  "planted")

      tensorTest
          "by name: Ideal maps without an exact answer, Gaussian ones with theirs; Published ones ask for their table"
          (fun () ->
              let problem = Catalogue.problem "lensing" ModeConvention.Ideal
              Expect.equal problem.Simulator.FieldShape [| 5L; 256L; 256L |] "shape"
              Expect.equal problem.Prior.Names problem.Simulator.Parameters "names"
              Expect.isNone problem.Model.Exact "log-normal"
              Expect.isSome (Catalogue.problem "lensing-gaussian" ModeConvention.Ideal).Model.Exact "Gaussian"

              refuses<SettingException> [ "shifts"; "ideal" ] (fun () ->
                  Catalogue.problem "lensing" ModeConvention.Published |> ignore))

      tensorTest
          "shifts of another number of bins, or not above zero, and matrices that are not square are refused"
          (fun () ->
              let survey =
                  { WeakLensing.survey 8 with
                      Bins = RedshiftBins.Euclid }

              refuses<SettingException> [ "10 bins" ] (fun () ->
                  WeakLensing.shifts survey (Tabulated shifts) |> ignore)

              refuses<ShapeException> [ "stored table" ] (fun () ->
                  WeakLensing.tableOfShifts [| 8L; 5L |] stored |> ignore)

              let flat =
                  LogNormalMaps.create
                      (WeakLensing.spectra (WeakLensing.survey 8) ModeConvention.Ideal)
                      (fun t -> torch.zeros (t.shape[0], 5L, dtype = torch.float64))
                      (WeakLensing.grid (WeakLensing.survey 8))
                      ModeConvention.Ideal

              refuses<RangeException> [ "shifts"; "> 0" ] (fun () ->
                  LogNormalMaps.shifts flat (Tensors.ofRows [| theta |]) |> ignore)

              refuses<ShapeException> [ "square" ] (fun () -> SymmetricRoot.Of(torch.ones (2L, 3L)) |> ignore)) ]

let tests = testList "weak lensing" (spectra @ construction @ roots @ exact)
