/// What the packages offer, member by member, held against tests/api: a change of it has to change those files, too, so that nobody's
/// script breaks without somebody having seen it. `dotnet fsi build.fsx api` writes them anew.
module ApiTests

open System
open System.IO
open System.Reflection
open System.Runtime.CompilerServices
open Expecto
open FSharp.Reflection
open TestSupport

/// The argument that makes the test program write the surface into a folder, which follows.
let argument = "--api"

let private libraries = [ "FieldImnn.Core"; "FieldImnn"; "FieldImnn.Plots" ]

let private made (item: MemberInfo) =
    isNull (item.GetCustomAttribute<CompilerGeneratedAttribute>())

let rec private typeName (t: Type) =
    if t.IsArray then
        let commas = String(',', t.GetArrayRank() - 1)
        $"{typeName (t.GetElementType())}[{commas}]"
    elif t.IsByRef then
        $"{typeName (t.GetElementType())}&"
    elif FSharpType.IsFunction t then
        let input, output = FSharpType.GetFunctionElements t
        $"({typeName input} -> {typeName output})"
    elif t.IsGenericType then
        let arguments = t.GetGenericArguments() |> Array.map typeName |> String.concat ", "
        $"{t.Name.Split('`')[0]}<{arguments}>"
    else
        t.Name

let private parameters (method: MethodBase) =
    method.GetParameters()
    |> Array.map (fun p ->
        let optional = if p.IsOptional then "?" else ""
        $"{optional}{p.Name}: {typeName p.ParameterType}")
    |> String.concat ", "

/// A member in a line, or nothing where it only stands for another: accessors, nested types.
let private line (item: MemberInfo) =
    match item with
    | :? ConstructorInfo as constructor -> Some $"new({parameters constructor})"
    | :? MethodInfo as method when method.IsSpecialName && not (method.Name.StartsWith "op_") -> None
    | :? MethodInfo as method -> Some $"{method.Name}({parameters method}): {typeName method.ReturnType}"
    | :? PropertyInfo as property ->
        let settable =
            if property.CanWrite && property.SetMethod.IsPublic then
                ", settable"
            else
                ""

        Some $"{property.Name}: {typeName property.PropertyType}{settable}"
    | :? FieldInfo as field when field.IsLiteral -> Some $"{field.Name} = {field.GetRawConstantValue()}"
    | :? FieldInfo as field when not field.IsSpecialName -> Some $"{field.Name}: {typeName field.FieldType}"
    | :? EventInfo as event -> Some $"event {event.Name}: {typeName event.EventHandlerType}"
    | _ -> None

/// Every public type, and every public member that somebody wrote, a line each.
let private surface (library: string) =
    [| for t in (Assembly.Load library).GetExportedTypes() do
           if made t && not (t.FullName.StartsWith "<StartupCode") then
               yield t.FullName

               let own =
                   BindingFlags.Public
                   ||| BindingFlags.Instance
                   ||| BindingFlags.Static
                   ||| BindingFlags.DeclaredOnly

               for item in t.GetMembers own do
                   if made item then
                       match line item with
                       | Some text -> yield $"{t.FullName}.{text}"
                       | None -> () |]
    |> Array.distinct
    |> Array.sortWith (fun a b -> String.CompareOrdinal(a, b))

let private path folder library = Path.Combine(folder, $"{library}.txt")

/// Writes the surface of every library into a folder, a file each.
let write (folder: string) =
    Directory.CreateDirectory folder |> ignore

    for library in libraries do
        File.WriteAllLines(path folder library, surface library)

    0

/// What one has and the other does not: lines that are new, with a +, and that are gone, with a −.
let private changes (before: string[]) (now: string[]) =
    [ for gone in Array.except now before -> $"− {gone}"
      for added in Array.except before now -> $"+ {added}" ]

let tests =
    testList
        "api"
        [ for library in libraries do
              testCase $"{library} offers what tests/api says" (fun () ->
                  let before = File.ReadAllLines(path (Path.Combine(root, "tests", "api")) library)
                  let found = changes before (surface library)

                  let shown = found |> List.truncate 20 |> String.concat "\n"
                  Expect.isEmpty found $"dotnet fsi build.fsx api writes them anew:\n{shown}")

          testCase "a member that is gone, and one with another parameter, are called by their names" (fun () ->
              let now = surface "FieldImnn"
              let gone = now |> Array.find (fun text -> text.StartsWith "FieldImnn.Infer")
              let before = Array.append now [| "FieldImnn.Gone.run(): Void" |]
              Expect.equal (changes before now) [ "− FieldImnn.Gone.run(): Void" ] "gone"

              Expect.equal
                  (changes now (now |> Array.map (fun text -> if text = gone then text + "?" else text)))
                  [ $"− {gone}"; $"+ {gone}?" ]
                  "changed") ]
