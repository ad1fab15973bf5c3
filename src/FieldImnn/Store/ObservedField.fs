namespace FieldImnn

open System
open System.Globalization
open FieldImnn.Core

/// Observed or target fields, checked before anything is inferred from them.
module ObservedField =
    /// Where element i of an array in C order lies: one index for each axis.
    let private position (shape: int[]) i =
        let strides = Array.scanBack (*) shape 1 |> Array.tail
        Array.map2 (fun n stride -> i / stride % n) shape strides

    let private text (v: float) =
        v.ToString("R", CultureInfo.InvariantCulture)

    /// Numbers that stand for "not observed": of HEALPix, netCDF and the largest of a type; whatever is so large is one of them.
    let private large = 1e19

    /// Those that people write for it, where nothing else in the field is near.
    let private codes = [ -9999.0; -999.0; -99.0; 9999.0; 99999.0; -99999.0; -32768.0 ]

    /// A value that stands for "not observed" in a field whose other pixels are far smaller.
    let private sentinel (pixels: float[]) =
        let most = pixels |> Array.maxBy abs
        let others = pixels |> Array.filter (fun v -> v <> most) |> Array.map abs

        if others.Length = 0 then
            None
        else
            let typical = (Array.sort others)[others.Length / 2]

            if
                (abs most >= large && abs most > 1e6 * typical)
                || (List.contains most codes && abs most > 20.0 * typical)
            then
                Some most
            else
                None

    /// The array as a field of this shape: leading axes of length one are dropped. Every pixel must be finite, none a sentinel for "not
    /// observed" (−1.6375e30, −9999). Errors go by the name.
    let ofArray (name: string) (shape: int[]) (array: NpyArray) =
        let surplus = array.Shape.Length - shape.Length

        let fits =
            surplus >= 0
            && array.Shape |> Array.take surplus |> Array.forall ((=) 1)
            && Array.skip surplus array.Shape = shape

        if not fits then
            let expected, received = NpyHeader.shapeText shape, NpyHeader.shapeText array.Shape
            raise (ShapeException(name, $"shape {expected}", $"shape {received}"))

        let bad = array.Data |> Seq.filter (Double.IsFinite >> not) |> Seq.length

        if bad > 0 then
            let first = array.Data |> Array.findIndex (Double.IsFinite >> not)
            let where = NpyHeader.shapeText (position shape first)

            raise (
                NonFiniteException(
                    name,
                    "finite pixels",
                    $"{bad} NaN or infinite of {array.Data.Length}, the first ({string array.Data[first]}) at {where}"
                )
            )

        match (if array.Data.Length > 1 then sentinel array.Data else None) with
        | Some value ->
            let count = array.Data |> Seq.filter ((=) value) |> Seq.length

            let where =
                NpyHeader.shapeText (position shape (Array.findIndex ((=) value) array.Data))

            raise (
                RangeException(
                    name,
                    "an observed number in every pixel (Observation.masked simulates a footprint)",
                    $"{text value}, a sentinel for pixels not observed, in {count} of {array.Data.Length}, the first at {where}"
                )
            )
        | None -> ()

        { array with Shape = shape }

    /// The field, if its pixels are not all the same: one that was never filled in. Errors go by the name.
    let requireVariation (name: string) (array: NpyArray) =
        if array.Data.Length > 1 && Array.forall ((=) array.Data[0]) array.Data then
            raise (
                RangeException(
                    name,
                    "a field that varies",
                    $"{text array.Data[0]} in all of {array.Data.Length} pixels"
                )
            )

        array

    /// A field of this shape from a .npy file.
    let read (path: string) (shape: int[]) = Npy.read path |> ofArray path shape

    /// The field as a float64 tensor.
    let toTensor (array: NpyArray) : Tensor =
        TorchSharp.torch.tensor(array.Data).reshape(array.Shape |> Array.map int64)
