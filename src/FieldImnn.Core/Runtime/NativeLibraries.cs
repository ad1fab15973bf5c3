using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Security.Cryptography;
using System.Text;
using TorchSharp;

namespace FieldImnn.Core.Runtime;

/// <summary>
/// Finds libtorch and TorchSharp's native library on Linux and loads them by absolute path: TorchSharp would otherwise copy half a
/// gigabyte beside its own DLL. It happens when TorchSharp first asks for one of them, and not before: who reads a posterior loads
/// none. What TorchSharp finds beside the program by itself, it takes. Other systems are left to TorchSharp.
/// </summary>
internal static class NativeLibraries
{
    /// <summary>The environment variable that names a folder holding libtorch, ahead of every other place.</summary>
    internal const string FolderVariable = "FIELDIMNN_LIBTORCH";

    /// <summary>The environment variable that names the folder for a patched copy of TorchSharp's native library.</summary>
    internal const string CacheVariable = "FIELDIMNN_CACHE";

    private const string Platform = "linux-x64";
    private const string Binding = "libLibTorchSharp.so";
    private const string Main = "libtorch.so";

    // in the order of their needs; those of CUDA are there only where the folder's libtorch is built for it
    private static readonly string[] Torch = ["libc10.so", "libc10_cuda.so", "libtorch_cpu.so", "libtorch_cuda.so", Main];

    /// <summary>
    /// The libtorch that TorchSharp was built for, from its metadata: asking torch itself would have it look for the library that is
    /// being looked for.
    /// </summary>
    private static Version TorchVersion =>
        typeof(torch).GetField("libtorchPackageVersion", BindingFlags.NonPublic | BindingFlags.Static)?.GetRawConstantValue() is string text
        && Version.TryParse(text, out var version) ? version : new Version(2, 10, 0);

    private static readonly Lazy<Dictionary<string, nint>> Loaded = new(LoadAll);

    /// <summary>Loads the libraries, unless that has been done.</summary>
    /// <exception cref="NativeLibraryException">libtorch cannot be found or loaded; the message says what is missing.</exception>
    internal static void Load() => _ = Loaded.Value;

    /// <summary>
    /// Has convolutions made of matrix products instead of by oneDNN and NNPACK, on Linux. The oneDNN 3.7 of libtorch 2.10 leaves elements of
    /// a kernel out where channels do not fill its blocks of 8 or 16 on some CPUs (an AMD of family 26 for one, with one thread as with two):
    /// outputs and gradients in single precision were wrong by some 10 %, or NaN, and not the same twice. Products are right, and no slower.
    /// </summary>
    internal static unsafe void ConvolveByProducts()
    {
        if (!Loaded.Value.TryGetValue("libtorch_cpu.so", out var library)
            || !NativeLibrary.TryGetExport(library, "_ZN2at13globalContextEv", out var context))
            return;
        foreach (var setter in (string[])["_ZN2at7Context20setUserEnabledMkldnnEb", "_ZN2at7Context20setUserEnabledNNPACKEb"])
            if (NativeLibrary.TryGetExport(library, setter, out var set))
                ((delegate* unmanaged<nint, byte, void>)set)(((delegate* unmanaged<nint>)context)(), 0);
    }

    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "TorchSharp must be answered, whichever of our types is used first; nothing is loaded here.")]
    internal static void AnswerTorchSharp()
    {
        var own = AssemblyLoadContext.GetLoadContext(typeof(NativeLibraries).Assembly) ?? AssemblyLoadContext.Default;
        foreach (var context in new[] { own, AssemblyLoadContext.Default }.Distinct())
            context.ResolvingUnmanagedDll += Resolve;
    }

    /// <summary>Asked by the runtime for a library that it has not found: "torch_cpu", "torch_cuda" or "LibTorchSharp".</summary>
    private static nint Resolve(Assembly assembly, string name) =>
        assembly.GetName().Name == nameof(TorchSharp) && Loaded.Value.TryGetValue($"lib{name}.so", out var handle) ? handle : 0;

    private static Dictionary<string, nint> LoadAll()
    {
        var loaded = new Dictionary<string, nint>();
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return loaded;
        var folder = TorchFolder();
        var binding = Find(Binding, Folders("torchsharp", typeof(torch).Assembly.GetName().Version));
        try
        {
            if (Directory.EnumerateFiles(folder, "libgomp*").FirstOrDefault() is { } openMp)
                NativeLibrary.Load(openMp);
            foreach (var library in Torch.Where(library => File.Exists(Path.Combine(folder, library))))
                loaded[library] = NativeLibrary.Load(Path.Combine(folder, library));
            loaded[Binding] = NativeLibrary.Load(Loadable(Path.Combine(binding, Binding), StandardLibrary(), CacheFolder()));
        }
        catch (DllNotFoundException error)
        {
            throw new NativeLibraryException("libtorch", $"libraries in '{folder}' that this machine can load", error.Message, error);
        }
        return loaded;
    }

    /// <summary>Where libtorch is: one that this process has already loaded, the folder that the user names, or what can be found.</summary>
    private static string TorchFolder()
    {
        if (Mapped("/libtorch_cpu.so") is { } library && Path.GetDirectoryName(library) is { } folder)
            return folder;
        if (Named(FolderVariable) is not { } named)
            return Find(Main, Folders($"libtorch-cpu-{Platform}", TorchVersion));
        return File.Exists(Path.Combine(named, Main))
            ? named
            : throw new NativeLibraryException(FolderVariable, $"a folder that holds {Main}", $"'{named}'");
    }

    /// <summary>
    /// The path to load: <paramref name="library"/> itself where <paramref name="standardLibrary"/> has the version it needs,
    /// else a patched copy in <paramref name="cache"/>, written once, said on standard error, and never in place of the original.
    /// </summary>
    /// <exception cref="NativeLibraryException">The copy cannot be written.</exception>
    internal static string Loadable(string library, string standardLibrary, string cache)
    {
        if (Mentions(standardLibrary, ElfPatch.Wanted) || !Mentions(library, ElfPatch.Wanted))
            return library;
        var image = File.ReadAllBytes(library);
        var folder = Path.Combine(cache, Convert.ToHexString(SHA256.HashData(image))[..16]);
        var patched = Path.Combine(folder, Path.GetFileName(library));
        if (File.Exists(patched))
            return patched;
        var copy = ElfPatch.Apply(image);
        try
        {
            Directory.CreateDirectory(folder);
            var draft = Path.Combine(folder, $"{Environment.ProcessId}.partial");
            File.WriteAllBytes(draft, copy);
            File.Move(draft, patched, overwrite: true); // atomic: another process sees a whole library or none
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new NativeLibraryException(
                "patched copy of TorchSharp's native library", $"a folder to write it to ({CacheVariable} names one)", error.Message, error);
        }
        Console.Error.WriteLine(
            $"FieldImnn: this system's C++ library is older than TorchSharp needs; a patched copy of {Path.GetFileName(library)} is now in {folder} ({CacheVariable} names another folder).");
        return patched;
    }

    private static bool Mentions(string file, string version) =>
        File.Exists(file) && File.ReadAllBytes(file).AsSpan().IndexOf(Encoding.ASCII.GetBytes(version + "\0")) >= 0;

    /// <summary>The C++ standard library that this process uses.</summary>
    private static string StandardLibrary()
    {
        NativeLibrary.Load("libstdc++.so.6");
        return Mapped("/libstdc++.so") ?? "";
    }

    /// <summary>The first file mapped into this process whose path holds <paramref name="part"/>, as the kernel lists them.</summary>
    private static string? Mapped(string part)
    {
        var line = File.ReadLines("/proc/self/maps").FirstOrDefault(l => l.Contains(part, StringComparison.Ordinal));
        return line?[line.IndexOf('/')..];
    }

    private static string? Named(string variable) =>
        Environment.GetEnvironmentVariable(variable) is { Length: > 0 } value ? value : null;

    private static string UserFolder(string name) =>
        Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), name);

    private static string CacheFolder() =>
        Named(CacheVariable) ?? Path.Combine(Named("XDG_CACHE_HOME") ?? UserFolder(".cache"), "fieldimnn");

    private static string Find(string file, IEnumerable<string> folders) =>
        folders.FirstOrDefault(folder => File.Exists(Path.Combine(folder, file)))
        ?? throw new NativeLibraryException(
            file,
            $"libtorch {TorchVersion.ToString(3)} beside the program, in the NuGet cache or in the folder named by {FolderVariable}; on Linux the package FieldImnn.Cpu brings it",
            "none of them");

    /// <summary>Beside the program or TorchSharp.dll, then that version of a package in the NuGet caches.</summary>
    private static IEnumerable<string> Folders(string package, Version? version)
    {
        var managed = Path.GetDirectoryName(typeof(torch).Assembly.Location) ?? "";
        var native = Path.Combine("runtimes", Platform, "native");
        foreach (var beside in new[] { AppContext.BaseDirectory, managed })
        {
            yield return Path.Combine(beside, native);
            yield return beside;
        }
        foreach (var packages in PackageFolders(managed))
            yield return Path.Combine(packages, package, version?.ToString(3) ?? "", native);
    }

    /// <summary>NuGet caches: the one that the managed assembly came from (…/torchsharp/VERSION/lib/TARGET), then the user's.</summary>
    private static IEnumerable<string> PackageFolders(string managed)
    {
        yield return Path.GetFullPath(Path.Combine(managed, "..", "..", "..", ".."));
        if (Named("NUGET_PACKAGES") is { } named)
            yield return named;
        yield return UserFolder(Path.Combine(".nuget", "packages"));
    }
}
