/// From paket.lock to packages, and from sources to libraries, without naming where packages come from.
module Building

#load "Steps.fsx"

open System
open System.IO
open System.Text.RegularExpressions
open Steps

/// Every package of paket.lock with its version. The lock is the only place where versions of indirect packages live.
let locked () =
    File.ReadLines(at "paket.lock")
    |> Seq.map (fun line -> Regex.Match(line, @"^    (\S+) \(([^)\s]+)\)"))
    |> Seq.filter _.Success
    |> Seq.map (fun entry -> entry.Groups[1].Value, entry.Groups[2].Value)
    |> Seq.toList

let isCached (name: string, version: string) =
    let name, version = name.ToLowerInvariant(), version.ToLowerInvariant()
    File.Exists(Path.Combine(cache, name, version, $"{name}.{version}.nupkg"))

/// Fills the NuGet cache with the locked packages, from whatever NuGet source this machine is configured for.
let seedCache () =
    let missing = locked () |> List.filter (isCached >> not)

    if not missing.IsEmpty then
        let folder = artifacts "seed"
        Directory.CreateDirectory folder |> ignore

        let downloads =
            missing
            |> List.map (fun (name, version) -> $"    <PackageDownload Include=\"{name}\" Version=\"[{version}]\" />")

        File.WriteAllText(Path.Combine(folder, "Directory.Build.props"), "<Project />\n")

        File.WriteAllLines(
            Path.Combine(folder, "seed.csproj"),
            [ "<Project Sdk=\"Microsoft.NET.Sdk\">"
              "  <PropertyGroup>"
              "    <TargetFramework>net10.0</TargetFramework>"
              "    <RestoreEnablePackagePruning>false</RestoreEnablePackagePruning>"
              "  </PropertyGroup>"
              "  <ItemGroup>"
              yield! downloads
              "  </ItemGroup>"
              "</Project>" ]
        )

        dotnet "seed" [ "restore"; Path.Combine(folder, "seed.csproj"); "--packages"; cache ]

        match missing |> List.filter (isCached >> not) with
        | [] -> ()
        | absent ->
            let names =
                String.Join(", ", absent |> List.map (fun (name, version) -> $"{name} {version}"))

            fail
                $"These packages of paket.lock did not reach {cache}: {names}. Is a NuGet source configured (dotnet nuget list source)?"

/// Scripts get their references from files with absolute paths, made again when the lock or the cache's place changes.
let loadScripts () =
    let main = at ".paket/load/net10.0/main.group.fsx"
    let torch = at ".paket/load/net10.0/TorchSharp.fsx"

    let current =
        File.Exists main
        && File.GetLastWriteTimeUtc main > File.GetLastWriteTimeUtc(at "paket.lock")
        && File.Exists torch
        && File.ReadAllText(torch).Contains cache

    if not current then
        dotnet "load-scripts" [ "paket"; "generate-load-scripts"; "--framework"; "net10.0"; "--type"; "fsx" ]

let restoring =
    quiet "Restoring packages" (fun () ->
        dotnet "tools" [ "tool"; "restore" ]
        seedCache ()
        dotnet "paket" [ "paket"; "restore" ]
        loadScripts ())

let release = [ "-c"; "Release"; "--nologo"; "-v"; "q" ]

let program (project: string) =
    at $"{project}/bin/Release/net10.0/{Path.GetFileName project}.dll"

let building =
    quiet "Building" (fun () -> dotnet "build" ([ "build"; at "FieldImnn.sln" ] @ release))
