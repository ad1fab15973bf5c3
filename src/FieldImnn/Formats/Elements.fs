namespace FieldImnn

open System
open System.Runtime.InteropServices

/// What the elements of a stored array are: real numbers, or whole ones with or without a sign, of so many bytes.
type internal ElementKind =
    | Real
    | Signed
    | Unsigned

/// The element type of a stored array.
type internal ElementType =
    {
        Kind: ElementKind
        /// Bytes of an element.
        Size: int
        BigEndian: bool
    }

/// From bytes to numbers.
module internal Elements =
    /// Whether single precision holds every such element exactly.
    let isSingle element =
        match element.Kind, element.Size with
        | Real, size -> size <= 4
        | _, size -> size <= 2

    /// Types that can be read: real numbers of 2, 4 and 8 bytes, whole ones of 1, 2, 4 and 8.
    let isServed element =
        match element.Kind, element.Size with
        | Real, (2 | 4 | 8)
        | (Signed | Unsigned), (1 | 2 | 4 | 8) -> true
        | _ -> false

    /// The type of a dtype string of NumPy's, if it is one that can be read: "<f4", ">i2", "|u1".
    let tryOfDescr (descr: string) =
        let order = if descr = "" then ' ' else descr[0]

        let kind =
            if descr.Length < 3 then
                None
            else
                match descr[1] with
                | 'f' -> Some Real
                | 'i' -> Some Signed
                | 'u' -> Some Unsigned
                | 'b' when descr = "|b1" -> Some Unsigned
                | _ -> None

        match kind, Int32.TryParse(descr.Substring(min 2 descr.Length)) with
        | Some kind, (true, size) when order = '<' || order = '>' || (order = '|' && size = 1) ->
            let element =
                { Kind = kind
                  Size = size
                  BigEndian = (order = '>') }

            if isServed element then Some element else None
        | _ -> None

    /// The bytes of every element turned round, in place, where the file has them in the other order.
    let order element (bytes: Span<byte>) =
        if element.BigEndian = BitConverter.IsLittleEndian && element.Size > 1 then
            let mutable at = 0

            while at < bytes.Length do
                bytes.Slice(at, element.Size).Reverse()
                at <- at + element.Size

    let inline private each<'a, 'b when 'a: struct and 'a: (new: unit -> 'a) and 'a :> ValueType>
        (bytes: Span<byte>)
        ([<InlineIfLambda>] convert: 'a -> 'b)
        : 'b[] =
        let values = MemoryMarshal.Cast<byte, 'a> bytes
        let made = Array.zeroCreate values.Length

        for i in 0 .. values.Length - 1 do
            made[i] <- convert values[i]

        made

    /// Elements in double precision. The bytes are overwritten.
    let toDouble element (bytes: byte[]) : float[] =
        let span = Span bytes
        order element span

        match element.Kind, element.Size with
        | Real, 2 -> each<Half, _> span (fun v -> Half.op_Explicit v: float)
        | Real, 4 -> each<float32, _> span float
        | Real, _ -> MemoryMarshal.Cast<byte, float>(span).ToArray()
        | Signed, 1 -> each<sbyte, _> span float
        | Signed, 2 -> each<int16, _> span float
        | Signed, 4 -> each<int, _> span float
        | Signed, _ -> each<int64, _> span float
        | Unsigned, 1 -> each<byte, _> span float
        | Unsigned, 2 -> each<uint16, _> span float
        | Unsigned, 4 -> each<uint32, _> span float
        | Unsigned, _ -> each<uint64, _> span float
