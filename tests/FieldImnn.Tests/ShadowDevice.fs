/// A device of paper, for machines without another one. A copy of TorchSharp.dll is rewritten so that every call of the native library
/// goes through here first: tensors "on" the device live in the CPU's memory and give the CPU's numbers, but each is remembered by where
/// it is said to be, and an operation between devices is refused as CUDA refuses it. The copy runs in a child process.
module ShadowDevice

open System
open System.Collections.Concurrent
open System.IO
open System.Runtime.InteropServices
open System.Threading
open Mono.Cecil
open Mono.Cecil.Cil
open TorchSharp

/// What the device is called: real tensors of this kind have no numbers, those of the shadow have.
let device = "meta"

let private shadow = int DeviceType.META
let private cpu = int DeviceType.CPU

[<DllImport("LibTorchSharp", EntryPoint = "THSTensor_ndimension")>]
extern int64 private dimensions(nativeint handle)

/// Where the tensor of a native handle is.
let private places = ConcurrentDictionary<nativeint, int>()

/// The native call that a thread is about to make.
type private Call() =
    member val Name = "" with get, set
    member val Tensors = ResizeArray<nativeint>()
    member val Asked = -1 with get, set
    member val Generator = false with get, set
    /// Where tensors are that come out of the call.
    member val Result = 0 with get, set

let private call = new ThreadLocal<Call>(fun () -> Call())

/// Operations that may take tensors of several devices: copies, and indices on the CPU.
let private between =
    set
        [ "THSTensor_copy_"
          "THSTensor_index"
          "THSTensor_index_put_"
          "THSTensor_index_put_scalar_" ]

let enter (name: string) : unit =
    let c = call.Value
    c.Name <- name
    c.Tensors.Clear()
    c.Asked <- -1
    c.Generator <- false

/// A handle that may be a tensor's.
let see (handle: nativeint) : unit =
    if places.ContainsKey handle then
        call.Value.Tensors.Add handle

/// An array that may be of tensors.
let seeAll (handles: nativeint) (count: int) : unit =
    if handles <> 0n && not (places.ContainsKey handles) then
        for i in 0 .. count - 1 do
            see (Marshal.ReadIntPtr(handles, i * sizeof<nativeint>))

/// The device that a call asks for, and the one that it gets.
let ask (kind: int) : int =
    call.Value.Asked <- kind
    if kind = shadow then cpu else kind

let generator (handle: nativeint) : unit = call.Value.Generator <- handle <> 0n

let leave () : unit =
    let c = call.Value

    let refuse what =
        raise (InvalidOperationException $"{c.Name}: {what}")

    // numbers (no axes) of the CPU go anywhere
    let counted =
        c.Tensors
        |> Seq.filter (fun t -> places[t] <> cpu || dimensions t > 0L)
        |> Seq.map (fun t -> places[t])
        |> Seq.distinct
        |> List.ofSeq

    if counted.Length > 1 && not (between.Contains c.Name) then
        refuse "expected all tensors to be on the same device, but found at least two"

    if c.Generator && c.Asked = shadow then
        refuse "a generator of the CPU draws on the CPU"

    if c.Asked >= 0 then
        c.Result <- c.Asked
    elif c.Name = "THSTensor_cpu" then
        c.Result <- cpu
    elif c.Tensors.Count > 0 then
        c.Result <- if List.contains shadow counted then shadow else cpu

/// A tensor came out of the last call.
let made (handle: nativeint) : unit = places[handle] <- call.Value.Result

let forget (handle: nativeint) : unit = places.TryRemove handle |> ignore

/// What a tensor says of its device.
let kindOf (handle: nativeint) (real: int) : int =
    match places.TryGetValue handle with
    | true, place when place = shadow -> shadow
    | _ -> real

// ---------------------------------------------------------------------------------------------- rewriting TorchSharp

let private ours (library: ModuleDefinition) name =
    let here = Reflection.MethodBase.GetCurrentMethod().DeclaringType
    library.ImportReference(here.GetMethod(name: string))

let private isHandle (parameter: ParameterDefinition) =
    parameter.ParameterType.FullName = "System.IntPtr"

let private named (words: string list) (parameter: ParameterDefinition) =
    words
    |> List.exists (fun word -> parameter.Name.ToLowerInvariant().Contains word)

let private isWhole (parameter: ParameterDefinition) =
    List.contains parameter.ParameterType.FullName [ "System.Int32"; "System.Int64" ]

let private isDevice parameter =
    isWhole parameter && named [ "devicetype"; "device_type" ] parameter

let private isLength parameter =
    isWhole parameter && named [ "len" ] parameter

/// The instructions that look at a call before it is made.
let private looking library (name: string) (parameters: ParameterDefinition[]) (il: ILProcessor) =
    let call name =
        il.Emit(OpCodes.Call, ours library name)

    il.Emit(OpCodes.Ldstr, name)
    call "enter"

    for i, p in Array.indexed parameters do
        if isHandle p && named [ "gen" ] p then
            il.Emit(OpCodes.Ldarg, p)
            call "generator"
        elif isHandle p then
            il.Emit(OpCodes.Ldarg, p)
            call "see"

            if i + 1 < parameters.Length && isLength parameters[i + 1] then
                il.Emit(OpCodes.Ldarg, p)
                il.Emit(OpCodes.Ldarg, parameters[i + 1])
                il.Emit OpCodes.Conv_I4
                call "seeAll"
        elif isDevice p then
            il.Emit(OpCodes.Ldarg, p)
            il.Emit OpCodes.Conv_I4
            call "ask"

            il.Emit(
                if p.ParameterType.FullName = "System.Int64" then
                    OpCodes.Conv_I8
                else
                    OpCodes.Nop
            )

            il.Emit(OpCodes.Starg, p)

    call "leave"

/// A managed method in place of a native one: it looks, and then calls it.
let private wrapper (library: ModuleDefinition) (native: MethodDefinition) =
    let name = native.Name

    let flags =
        MethodAttributes.Static
        ||| MethodAttributes.Assembly
        ||| MethodAttributes.HideBySig

    let managed = MethodDefinition(name, flags, native.ReturnType)

    for p in native.Parameters do
        managed.Parameters.Add(
            ParameterDefinition(p.Name, p.Attributes &&& ~~~ParameterAttributes.HasFieldMarshal, p.ParameterType)
        )

    let parameters = managed.Parameters.ToArray()
    let il = managed.Body.GetILProcessor()

    if name = "THSTensor_dispose" then
        il.Emit(OpCodes.Ldarg, parameters[0])
        il.Emit(OpCodes.Call, ours library "forget")
    elif name <> "THSTensor_device_type" then
        looking library name parameters il
    else
        il.Emit(OpCodes.Ldarg, parameters[0])

    for p in parameters do
        il.Emit(OpCodes.Ldarg, p)

    il.Emit(OpCodes.Call, native)

    if name = "THSTensor_device_type" then
        il.Emit(OpCodes.Call, ours library "kindOf")

    il.Emit OpCodes.Ret
    native.Name <- name + "_native"

    if String.IsNullOrEmpty native.PInvokeInfo.EntryPoint then
        native.PInvokeInfo.EntryPoint <- name

    managed

let private methods (library: ModuleDefinition) =
    [ for t in library.GetTypes() do
          for m in t.Methods do
              if m.HasBody then
                  m ]

/// Writes TorchSharp.dll with the shadow device in it.
let rewrite (original: string) (target: string) : unit =
    use library = ModuleDefinition.ReadModule original
    let native = library.GetType "TorchSharp.PInvoke.NativeMethods"
    let callers = methods library

    let replaced =
        dict
            [ for m in Seq.toArray native.Methods do
                  if m.IsPInvokeImpl && Seq.exists (fun p -> isHandle p || isDevice p) m.Parameters then
                      m, wrapper library m ]

    for managed in replaced.Values do
        native.Methods.Add managed

    for m in callers do
        for instruction in m.Body.Instructions do
            match instruction.Operand with
            | :? MethodDefinition as called when replaced.ContainsKey called -> instruction.Operand <- replaced[called]
            | _ -> ()

    let tensor = library.GetType "TorchSharp.torch/Tensor"

    for m in tensor.Methods do
        if m.IsConstructor && m.Parameters.Count > 0 && isHandle m.Parameters[0] then
            let il = m.Body.GetILProcessor()

            for instruction in Seq.toArray m.Body.Instructions do
                if instruction.OpCode = OpCodes.Ret then
                    il.InsertBefore(instruction, il.Create OpCodes.Ldarg_1)
                    il.InsertBefore(instruction, il.Create(OpCodes.Call, ours library "made"))

    library.Write target

/// A copy of this program that runs on the rewritten TorchSharp, in a folder.
let program (folder: string) : string =
    let here = AppContext.BaseDirectory

    for file in Directory.GetFiles here do
        let target = Path.Combine(folder, Path.GetFileName file)

        if Path.GetFileName file = "TorchSharp.dll" then
            rewrite file target
        else
            File.Copy(file, target)

    Directory.CreateSymbolicLink(Path.Combine(folder, "runtimes"), Path.Combine(here, "runtimes"))
    |> ignore

    Path.Combine(folder, "FieldImnn.Tests.dll")
