namespace FieldImnn

open System
open FieldImnn.Core

/// Observed or target fields, checked before anything is inferred from them.
module ObservedField =
    /// Where element i of an array in C order lies: one index for each axis.
    let private position (shape: int[]) i =
        let strides = Array.scanBack (*) shape 1 |> Array.tail
        Array.map2 (fun n stride -> i / stride % n) shape strides

    /// The array as a field of this shape: leading axes of length one are dropped, and every pixel must be finite.
    /// Errors go by the name.
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

        { array with Shape = shape }

    /// A field of this shape from a .npy file.
    let read (path: string) (shape: int[]) = Npy.read path |> ofArray path shape

    /// The field as a float64 tensor.
    let toTensor (array: NpyArray) : Tensor =
        TorchSharp.torch.tensor(array.Data).reshape(array.Shape |> Array.map int64)
