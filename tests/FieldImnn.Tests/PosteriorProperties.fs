/// What holds for any prior, posterior and grid (FsCheck).
module PosteriorProperties

open System
open Expecto
open FieldImnn

let private settings =
    { FsCheckConfig.defaultConfig with
        maxTest = 60 }

/// A number from lo to hi that an integer decides.
let private between lo hi (i: int) =
    lo + (hi - lo) * float (uint32 i * 2654435761u) / 4294967296.0

/// A marginal of scale 1e-3 … 1e3 that three integers decide.
let private marginal kind a b =
    let centre, scale = between -10.0 10.0 a, 10.0 ** between -3.0 3.0 b

    match abs (kind % 3) with
    | 0 -> Uniform(centre, centre + scale)
    | 1 -> Normal(centre, scale)
    | _ ->
        TruncatedNormal(centre, scale, centre - scale * between 0.1 3.0 kind, centre + scale * between 0.1 3.0 (a + b))

/// Weighted samples of two parameters within bounds.
let private posterior seed =
    let random = Random(seed: int)
    let n = 20 + random.Next 100
    let lo, width = between -5.0 5.0 seed, 10.0 ** between -2.0 2.0 (seed + 1)

    let samples =
        Array.init n (fun _ -> Array.init 2 (fun _ -> lo + width * random.NextDouble()))

    let weights = Array.init n (fun _ -> random.NextDouble() + 0.01)
    Posterior.ofSamples [| "a"; "b" |] (Array.create 2 (lo, lo + width)) samples weights

/// A grid of a few bumps; one in four is flat.
let private grid seed =
    let random = Random(seed: int)

    let axis n =
        Axis.line n (between -3.0 3.0 seed, between 4.0 9.0 (seed + 1))

    let x, y = axis (8 + random.Next 30), axis (8 + random.Next 30)

    let bumps =
        Array.init (1 + random.Next 3) (fun _ ->
            between -3.0 9.0 (random.Next()), between -3.0 9.0 (random.Next()), 0.3 + random.NextDouble())

    let density a b =
        if seed % 4 = 0 then
            2.0
        else
            bumps
            |> Array.sumBy (fun (u, v, s) -> exp (-((a - u) ** 2.0 + (b - v) ** 2.0) / (s * s)) + 1e-9)

    Posterior.ofGrid
        [| "a"; "b" |]
        [| x[0], Array.last x; y[0], Array.last y |]
        x
        y
        (Array2D.init x.Length y.Length (fun i j -> density x[i] y[j]))

let private near tolerance a b =
    abs (a - b) <= tolerance * (1.0 + max (abs a) (abs b))

let private priors =
    testList
        "priors"
        [ testPropertyWithConfig settings "quantile and cumulative are inverse, within the support" (fun kind a b u ->
              let m = Marginal.check "θ" (marginal kind a b)
              let u = between 1e-6 (1.0 - 1e-6) u
              let value = Marginal.quantile m u
              Marginal.contains m value && abs (Marginal.cumulative m value - u) < 1e-9)

          testPropertyWithConfig settings "the density integrates to one, and is zero outside" (fun kind a b ->
              let m = marginal kind a b
              let lo, hi = Marginal.quantile m 1e-7, Marginal.quantile m (1.0 - 1e-7)
              let places = Axis.line 4001 (lo, hi)

              let sum =
                  places
                  |> Array.mapi (fun i x -> Axis.share places i * exp (Marginal.logDensity m x))
                  |> Array.sum

              let left, right = Marginal.support m
              let outside = [ left - 1.0; right + 1.0 ] |> List.filter Double.IsFinite

              abs (sum * Axis.step places - 1.0) < 1e-3
              && outside
                 |> List.forall (fun x -> Double.IsNegativeInfinity(Marginal.logDensity m x))) ]

let private posteriors =
    testList
        "posteriors"
        [ testPropertyWithConfig
              settings
              "weights sum to one; draws keep the bounds and come from the samples"
              (fun seed ->
                  let p = posterior seed
                  let draws = Posterior.resample seed 50 p
                  let lo, hi = p.Bounds[0]

                  near 1e-12 (Array.sum p.Weights) 1.0
                  && draws |> Array.forall (Array.forall (fun v -> v >= lo && v <= hi))
                  && draws |> Array.forall (fun d -> Array.contains d p.Samples)
                  && Posterior.resample seed 50 p = draws)

          testPropertyWithConfig settings "moments follow an affine map" (fun seed a b ->
              let p = posterior seed

              let scale, shift =
                  (if a % 2 = 0 then 1.0 else -1.0) * 10.0 ** between -2.0 2.0 a, between -9.0 9.0 b

              let map v = scale * v + shift
              let free = Array.create 2 (-infinity, infinity)

              let correlation p =
                  let c = Posterior.correlation p
                  c[0, 1]

              let q =
                  Posterior.ofSamples p.Names free (p.Samples |> Array.map (Array.map map)) p.Weights

              Array.forall2 (fun m n -> near 1e-9 (map m) n) (Posterior.mean p) (Posterior.mean q)
              && Array.forall2 (fun s t -> near 1e-9 (abs scale * s) t) (Posterior.sd p) (Posterior.sd q)
              && near 1e-8 (scale * scale * Posterior.area p) (Posterior.area q)
              && near 1e-8 (correlation p) (correlation q)
              && near 1e-9 (Posterior.effectiveSize p) (Posterior.effectiveSize q))

          testPropertyWithConfig settings "a parameter's exchange exchanges everything" (fun seed ->
              let p = posterior seed

              let q =
                  { p with
                      Samples = p.Samples |> Array.map Array.rev }

              let one, other = Posterior.density 0 1 31 p, Posterior.density 1 0 31 q

              let difference =
                  Seq.map2 (fun a b -> abs (a - b)) (Seq.cast<float> one.Density) (Seq.cast<float> other.Density)

              let peak = one.Density |> Seq.cast<float> |> Seq.max

              Posterior.mean p = Array.rev (Posterior.mean q)
              && Seq.max difference < 1e-9 * peak)

          testPropertyWithConfig
              settings
              "densities of samples hold one within the bounds, nowhere negative or NaN"
              (fun seed ->
                  let p = posterior seed
                  let lo, hi = p.Bounds[1]
                  let places = Axis.line 2001 (lo, hi)
                  let values = Posterior.marginal 1 places p
                  let g = Posterior.density 0 1 41 p
                  let inside v = Double.IsFinite v && v >= 0.0

                  Array.forall inside values
                  && g.Density |> Seq.cast<float> |> Seq.forall inside
                  && near 0.01 (Array.sum values * Axis.step places) 1.0
                  && near 1e-9 (DensityGrid.mass g) 1.0) ]

let private grids =
    testList
        "grids"
        [ testPropertyWithConfig settings "mass is one, marginals, too" (fun seed ->
              let p = grid seed
              let g = p.Grid.Value

              let line i axis =
                  Posterior.marginal i axis p
                  |> Array.mapi (fun k d -> d * Axis.share axis k)
                  |> Array.sum

              near 1e-9 (DensityGrid.mass g) 1.0
              && near 1e-9 (line 0 g.X * Axis.step g.X) 1.0
              && near 1e-9 (line 1 g.Y * Axis.step g.Y) 1.0)

          testPropertyWithConfig
              settings
              "a contour holds what it says, to one point; areas grow with it"
              (fun seed u ->
                  let g = (grid seed).Grid.Value
                  let wanted = between 0.05 0.95 u
                  let level = (DensityGrid.contourLevels [| wanted |] g)[0]

                  let mass keep =
                      Seq.zip (Seq.cast<float> g.Density) (DensityGrid.shares g.X g.Y)
                      |> Seq.sumBy (fun (d, s) -> if keep d then d * s * DensityGrid.cell g else 0.0)

                  let whole = DensityGrid.cell g * float ((g.X.Length - 1) * (g.Y.Length - 1))
                  let area p = DensityGrid.hpdArea p g

                  mass (fun d -> d >= level) >= wanted - 1e-9
                  && mass (fun d -> d > level) <= wanted + 1e-9
                  && area wanted < area (wanted + 0.04)
                  && area 1.0 <= whole * (1.0 + 1e-9))

          testPropertyWithConfig
              settings
              "the level of a point is in [0, 1], and higher where the density is lower"
              (fun seed ->
                  let p = grid seed
                  let points = Posterior.resample seed 12 p
                  let levels = points |> Array.map (fun t -> Posterior.hpdLevel t p)

                  let density (t: float[]) =
                      DensityGrid.at (t[0], t[1]) p.Grid.Value

                  Array.forall (fun l -> l >= 0.0 && l <= 1.0) levels
                  && Array.allPairs (Array.zip points levels) (Array.zip points levels)
                     |> Array.forall (fun ((s, a), (t, b)) -> not (density s > density t * 1.00001) || a <= b + 1e-12)) ]

let tests = testList "properties of posteriors" [ priors; posteriors; grids ]
