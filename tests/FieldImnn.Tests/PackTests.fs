/// The packages, as somebody outside this repository uses them: their dependencies, and a fresh script.
module PackTests

open System
open System.ComponentModel
open System.Diagnostics
open System.IO
open System.IO.Compression
open System.Reflection.Metadata
open System.Xml.Linq
open Expecto

let private root =
    let rec climb (folder: DirectoryInfo) =
        if isNull folder then
            None
        elif File.Exists(Path.Combine(folder.FullName, "FieldImnn.sln")) then
            Some folder.FullName
        else
            climb folder.Parent

    climb (DirectoryInfo AppContext.BaseDirectory)

/// Debug or Release: the packages are made from the build that is under test.
let private configuration =
    let parts = AppContext.BaseDirectory.Split Path.DirectorySeparatorChar
    if Array.contains "Debug" parts then "Debug" else "Release"

let private libraries =
    [ "src/FieldImnn.Core"
      "src/FieldImnn"
      "src/FieldImnn.Plots"
      "scripts/FieldImnn.Scripting"
      "src/FieldImnn.Cpu" ]

let private version repository =
    let notes = File.ReadAllText(Path.Combine(repository, "RELEASE_NOTES.md"))
    System.Text.RegularExpressions.Regex.Match(notes, @"\d+\.\d+\.\d+").Value

/// Runs dotnet in a folder and returns what it printed; skips the test where there is no dotnet to run.
let private dotnet folder (packages: string option) (arguments: string list) =
    let info = ProcessStartInfo("dotnet", arguments, WorkingDirectory = folder)
    info.RedirectStandardOutput <- true
    info.RedirectStandardError <- true
    info.Environment["MSBUILDDISABLENODEREUSE"] <- "1"
    packages |> Option.iter (fun path -> info.Environment["NUGET_PACKAGES"] <- path)

    try
        use child = Process.Start info
        let errors = child.StandardError.ReadToEndAsync()
        let output = child.StandardOutput.ReadToEnd()
        child.WaitForExit()

        if child.ExitCode <> 0 then
            let command = String.Join(" ", arguments)
            failtest $"'dotnet {command}' failed (exit code {child.ExitCode}):\n{output}\n{errors.Result}"

        output
    with :? Win32Exception ->
        skiptest "the dotnet command is not on PATH"

/// Packs the libraries into a folder of the test's own, outside the repository and deleted after it.
let private withPackages (body: string -> string -> unit) =
    match root with
    | None -> skiptest "this program does not run from a copy of the repository"
    | Some repository ->
        let folder = Directory.CreateTempSubdirectory "fieldimnn-pack-"

        try
            for library in libraries do
                let project = Path.Combine(repository, library)

                [ "pack"
                  project
                  "--no-build"
                  "-c"
                  configuration
                  "-o"
                  folder.FullName
                  "--nologo" ]
                |> dotnet repository None
                |> ignore

            body folder.FullName (version repository)
        finally
            folder.Delete true

/// What a package says of itself: the elements of its manifest of a name.
let private manifest (archive: ZipArchive) name =
    let entry = archive.Entries |> Seq.find (fun entry -> entry.Name.EndsWith ".nuspec")
    use stream = entry.Open()

    XDocument.Load(stream).Descendants()
    |> Seq.filter (fun element -> element.Name.LocalName = name)
    |> List.ofSeq

/// Names of the packages that a package asks for.
let private dependencies (package: string) =
    use archive = ZipFile.OpenRead package

    manifest archive "dependency"
    |> List.map (fun element -> element.Attribute(XName.Get "id").Value)
    |> Set.ofList

let private bytesOf (archive: ZipArchive) (name: string) =
    match archive.GetEntry name with
    | null -> failtest $"the package has no {name}"
    | entry ->
        use stream = entry.Open()
        use held = new MemoryStream()
        stream.CopyTo held
        held.ToArray()

/// What a package lacks of what somebody who finds it needs: its licence, page, picture, words and news, and no symbols, which are apart.
let private lacks version (package: string) =
    use archive = ZipFile.OpenRead package

    let says name told =
        match manifest archive name with
        | [ element ] when told element.Value -> []
        | found -> [ $"{name}: %A{found |> List.map _.Value}" ]

    [ yield! says "version" ((=) version)
      yield! says "license" ((=) "MIT")
      yield! says "readme" ((=) "README.md")
      yield! says "icon" ((=) "icon.png")
      yield! says "releaseNotes" _.Contains($"## {version}")
      yield! says "tags" _.Contains("simulation-based-inference")
      yield! says "description" (fun text -> text.Length > 40)

      if not ((Text.Encoding.UTF8.GetString(bytesOf archive "README.md")).StartsWith "# FieldImnn") then
          "README.md"

      // "\137PNG", and 128 × 128 in the first part
      let icon = bytesOf archive "icon.png"

      if
          icon[1..3] <> "PNG"B
          || icon[16..23] <> [| 0uy; 0uy; 0uy; 128uy; 0uy; 0uy; 0uy; 128uy |]
      then
          "icon.png of 128 × 128"

      if archive.Entries |> Seq.exists _.Name.EndsWith(".pdb") then
          "symbols in a package of their own" ]

/// Paths of the sources in a package of symbols, by which a debugger shows them.
let private sources (package: string) name =
    use archive = ZipFile.OpenRead package
    use stream = new MemoryStream(bytesOf archive $"lib/net10.0/{name}.pdb")
    use provider = MetadataReaderProvider.FromPortablePdbStream stream
    let reader = provider.GetMetadataReader()

    // source within the file itself: Portable PDB's "embedded source"
    let embedded = Guid "0E8A571B-6926-466E-B4AD-8AB04611F5FE"

    [ for handle in reader.CustomDebugInformation do
          let told = reader.GetCustomDebugInformation handle

          if reader.GetGuid told.Kind = embedded then
              let document = reader.GetDocument(DocumentHandle.op_Explicit told.Parent)

              reader.GetString document.Name ]

let private expected =
    [ "FieldImnn.Core", [ "MathNet.Numerics"; "TorchSharp" ]
      "FieldImnn",
      [ "FieldImnn.Core"
        "FSharp.Core"
        "MathNet.Numerics"
        "PureHDF"
        "System.IO.Hashing" ]
      "FieldImnn.Plots", [ "FieldImnn"; "FSharp.Core"; "Plotly.NET" ]
      "FieldImnn.Scripting", [ "Argu"; "FSharp.Core"; "FieldImnn.Plots" ]
      "FieldImnn.Cpu", [ "FieldImnn.Scripting"; "libtorch-cpu-linux-x64" ] ]

/// A package without one of its files.
let private without name (package: string) =
    use archive = ZipFile.Open(package, ZipArchiveMode.Update)
    archive.GetEntry(name).Delete()

/// A NuGet cache of the test's own: links to the machine's packages, without earlier copies of ours. So a stale copy of the
/// same version cannot be used, and half a gigabyte of libtorch need not be copied.
let private privateCache folder =
    let home = Environment.GetFolderPath Environment.SpecialFolder.UserProfile
    let cache = Directory.CreateDirectory(Path.Combine(folder, "cache")).FullName

    for package in Directory.GetDirectories(Path.Combine(home, ".nuget", "packages")) do
        let name = Path.GetFileName package

        if not (name.StartsWith "fieldimnn") then
            Directory.CreateSymbolicLink(Path.Combine(cache, name), package) |> ignore

    cache

let private references folder version =
    $"""#i "nuget: {folder}"
#r "nuget: FieldImnn.Cpu, {version}"
"""

let private script folder version =
    references folder version
    + """
open FieldImnn
let sum = Tensors.toNumber ((Tensors.ofVector [| 1.0; 1.0; 1.0 |]).sum())
let posterior = Posterior.ofSamples [| "A" |] [| (0.0, 1.0) |] [| [| 0.25 |]; [| 0.75 |] |] [| 1.0; 3.0 |]
let mean = Array.head (Posterior.mean posterior)
let corner = Plots.Plot.corner [ ("samples", posterior) ] None
printfn $"sum {sum} mean {mean}"
printfn $"from {typeof<Posterior>.Assembly.Location}"
"""

let tests =
    testList
        "packages"
        [ testCase "have a licence, a page, a picture, words and news, and symbols with the sources beside them"
          <| fun () ->
              withPackages (fun folder version ->
                  for library, _ in expected do
                      let package = Path.Combine(folder, $"{library}.{version}.nupkg")
                      Expect.isEmpty (lacks version package) library

                  for library, source in
                      [ "FieldImnn.Core", "Guard.cs"
                        "FieldImnn", "Infer.fs"
                        "FieldImnn.Plots", "Corner.fs"
                        "FieldImnn.Scripting", "CommandLine.fs" ] do
                      let package = Path.Combine(folder, $"{library}.{version}.snupkg")
                      let paths = sources package library

                      Expect.contains
                          (paths |> List.map Path.GetFileName)
                          source
                          $"sources in the symbols of {library}"

                      Expect.all
                          paths
                          _.StartsWith("/_/", StringComparison.Ordinal)
                          "no folder of the machine that made them"

                  // planted: a package that has lost its picture
                  let planted = Path.Combine(folder, $"FieldImnn.Plots.{version}.nupkg")
                  without "icon.png" planted

                  Expect.throwsC (fun () -> lacks version planted |> ignore) (fun lost ->
                      Expect.stringContains lost.Message "icon.png" "planted"))

          testCase "serve a fresh script outside the repository"
          <| fun () ->
              withPackages (fun folder version ->
                  for library, names in expected do
                      let package = Path.Combine(folder, $"{library}.{version}.nupkg")
                      Expect.equal (dependencies package) (set names) $"dependencies of {library}"

                  let cache = privateCache folder

                  let run name (text: string) =
                      let path = Path.Combine(folder, name)
                      File.WriteAllText(path, text)
                      dotnet folder (Some cache) [ "fsi"; path ]

                  let output = run "fresh.fsx" (script folder version)
                  Expect.stringContains output "sum 3 mean 0.625" "what the script prints"
                  Expect.stringContains output $"from {cache}" "the library comes from the package just made"

                  // own features, prior, method, exact answer and command
                  let added =
                      File.ReadAllText(Path.Combine(root.Value, "tests", "FieldImnn.Tests", "outside.fsx"))

                  let output = run "outside.fsx" (references folder version + added)
                  Expect.stringContains output "outside: all well" "what is added from outside"

                  // docs/your-universe.md: a script whose first tensor is torch's own, as far as the command's help
                  let page =
                      File
                          .ReadAllText(Path.Combine(root.Value, "scripts", "your-universe.fsx"))
                          .Replace("#load \"load.fsx\"", "FieldImnn.Core.Runtime.TorchRuntime.Configure()")

                  let path = Path.Combine(folder, "universe.fsx")
                  File.WriteAllText(path, references folder version + page)
                  let output = dotnet folder (Some cache) [ "fsi"; path; "--"; "--help" ]
                  Expect.stringContains output "--skip-failures" "the help of a command outside"

                  // where the own features are not registered, the error names them
                  let output =
                      references folder version
                      + "try FieldImnn.CompressorFile.load \"own.imnn\" |> ignore with e -> printfn $\"{e.Message}\""
                      |> run "missing.fsx"

                  Expect.stringContains output "'moments', 'squashed'" "features that are missing") ]
