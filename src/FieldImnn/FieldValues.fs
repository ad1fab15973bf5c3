namespace FieldImnn

open System
open FieldImnn.Core

/// A field as numbers: 1 to 3 sides, behind the channels where there are several, and the values in row-major order.
type FieldValues =
    { Channels: int
      Shape: int[]
      Values: float[] }

/// Fields as arrays: what figures take.
module FieldValues =
    /// A field of so many channels from its shape, (channels, sides…) or of one channel (sides…), and its values.
    let create channels (shape: int64[]) (values: float[]) =
        let axes = if channels > 1 then shape.Length - 1 else shape.Length

        if
            axes < 1
            || axes > 3
            || channels < 1
            || (channels > 1 && shape[0] <> int64 channels)
        then
            raise (
                ShapeException(
                    "values of a field",
                    $"1 to 3 sides, behind {channels} channels if more than one",
                    Guard.Describe shape
                )
            )

        if Array.fold (*) 1L shape <> int64 values.Length then
            raise (
                ShapeException(
                    "values of a field",
                    $"as many as shape {Guard.Describe shape} holds",
                    $"{values.Length}"
                )
            )

        { Channels = channels
          Shape = Array.map int shape
          Values = values }

    /// A field of one dimension.
    let line (values: float[]) =
        create 1 [| int64 values.Length |] values

    /// A field of two dimensions, value.[row, column].
    let image (values: float[,]) =
        create 1 [| values.GetLongLength 0; values.GetLongLength 1 |] (values |> Seq.cast |> Seq.toArray)

    /// The sides, without channels.
    let sides field =
        if field.Channels = 1 then field.Shape else field.Shape[1..]

    /// The channels, each a field.
    let channels field =
        let sides = sides field
        let size = Array.fold (*) 1 sides

        List.init field.Channels (fun c ->
            { Channels = 1
              Shape = sides
              Values = field.Values[c * size .. (c + 1) * size - 1] })
