namespace FieldImnn

open System
open System.Net
open FieldImnn.Plots

/// A curve of a chart: seconds and values; where the values have errors these are bars.
type internal WatchCurve =
    {
        Name: string
        /// Broken where a new stage begins.
        Parts: (float * float)[] list
        Errors: float[] option
    }

/// Charts of a page that is drawn anew every few seconds: SVG with few points, without a library.
module internal WatchChart =
    let private width, height = 460.0, 210.0
    let private left, right, top, bottom = 62.0, 12.0, 12.0, 34.0

    /// Points of a curve at the most: there is no room for more.
    let private most = 300

    /// Every k-th of the points, and the last.
    let internal thinned (points: 'p[]) =
        let every = (points.Length + most - 1) / most

        points
        |> Array.indexed
        |> Array.filter (fun (i, _) -> i % max 1 every = 0 || i = points.Length - 1)
        |> Array.map snd

    /// Seconds in the unit of an axis that ends at so many: the unit, and its seconds.
    let private unit (seconds: float) =
        if seconds < 120.0 then "s", 1.0
        elif seconds < 7200.0 then "min", 60.0
        else "h", 3600.0

    /// Multiples of 1, 2 or 5 times a power of ten between the ends, some four to six of them.
    let internal ticks (low: float) (high: float) =
        let rough = (high - low) / 6.0
        let decade = 10.0 ** floor (log10 rough)

        let step =
            [ 1.0; 2.0; 5.0; 10.0 ]
            |> List.map ((*) decade)
            |> List.find (fun s -> s >= 0.999 * rough)

        [ for k in ceil (low / step - 1e-9) .. floor (high / step + 1e-9) -> k * step ]

    let private label (value: float) =
        (if abs value < 1e-12 then 0.0 else value).ToString("G5").Replace('-', '−')

    let private number (value: float) = value.ToString "F1"

    /// The ends of values, with some room; where all are the same, about it.
    let private ends (values: float seq) =
        let low, high = Seq.min values, Seq.max values
        let room = max (0.06 * (high - low)) (1e-6 * abs high + 1e-12)
        low - room, high + room

    let private axes (x: float -> float) (y: float -> float) xs ys (unit, scale) (logarithmic: bool) =
        [ for v in xs do
              let at = number (x v)
              let line = number (height - bottom)
              $"<path class='grid' d='M{at} {number top}V{line}'/>"

              $"<text x='{at}' y='{number (height - bottom + 15.0)}' text-anchor='middle'>{label (v / scale)}</text>"
          for v in ys do
              let at = number (y v)
              $"<path class='grid' d='M{number left} {at}H{number (width - right)}'/>"
              let shown = if logarithmic then 10.0 ** v else v

              $"<text x='{number (left - 6.0)}' y='{number (y v + 4.0)}' text-anchor='end'>{label shown}</text>"
          $"<text x='{number (width - right)}' y='{number (height - 4.0)}' text-anchor='end'>{unit} of the run</text>" ]

    let private curve (x: float -> float) (y: float -> float) i (curve: WatchCurve) =
        let colour = Palette.lines[i % Palette.lines.Length]
        let at (t, v) = $"{number (x t)},{number (y v)}"

        [ match curve.Errors with
          | Some errors ->
              for (t, v), e in Array.zip (Array.concat curve.Parts) errors do
                  let bar = $"M{number (x t)} {number (y (v - e))}V{number (y (v + e))}"
                  $"<path d='{bar}' stroke='{colour}'/>"
                  $"<circle cx='{number (x t)}' cy='{number (y v)}' r='3' fill='{colour}'/>"
          | None ->
              for part in curve.Parts do
                  if part.Length = 1 then
                      $"<circle cx='{number (x (fst part[0]))}' cy='{number (y (snd part[0]))}' r='2' fill='{colour}'/>"
                  else
                      let points = part |> Array.map at |> String.concat " "
                      $"<polyline points='{points}' stroke='{colour}'/>" ]

    let private legend i (curve: WatchCurve) =
        $"<span style='color:{Palette.lines[i % Palette.lines.Length]}'>{WebUtility.HtmlEncode curve.Name}</span>"

    /// A chart against seconds of the run, from 0 to the last: nothing where no curve has a point. On a logarithmic axis, what is not positive
    /// is left out.
    let svg (title: string) logarithmic (seconds: float) (curves: WatchCurve list) : string =
        let shown =
            [ for curve in curves do
                  let parts =
                      if logarithmic then
                          curve.Parts
                          |> List.map (Array.filter (snd >> (<) 0.0) >> Array.map (fun (t, v) -> t, log10 v))
                      else
                          curve.Parts

                  match parts |> List.filter (Array.isEmpty >> not) with
                  | [] -> ()
                  | parts -> { curve with Parts = parts } ]

        if shown.IsEmpty then
            ""
        else
            let values =
                [ for curve in shown do
                      let points = Array.concat curve.Parts |> Array.map snd
                      let errors = curve.Errors |> Option.defaultValue (Array.zeroCreate points.Length)
                      yield! Array.map2 (-) points errors
                      yield! Array.map2 (+) points errors ]

            let low, high = ends values
            let last = max 1.0 seconds

            let x t =
                left + t / last * (width - left - right)

            let y v =
                height - bottom - (v - low) / (high - low) * (height - top - bottom)

            let unit, scale = unit last
            let xs = ticks 0.0 (last / scale) |> List.map ((*) scale)

            let drawn =
                axes x y xs (ticks low high) (unit, scale) logarithmic
                @ (shown |> List.mapi (curve x y) |> List.concat)
                |> String.concat "\n"

            let names = shown |> List.mapi legend |> String.concat " · "

            $"<figure><figcaption><b>{WebUtility.HtmlEncode title}</b> {names}</figcaption>\n<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}'>\n{drawn}\n</svg></figure>"
