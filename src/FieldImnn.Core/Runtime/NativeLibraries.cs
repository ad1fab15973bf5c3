using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using TorchSharp;

namespace FieldImnn.Core.Runtime;

/// <summary>
/// Finds libtorch and TorchSharp's native library on Linux and loads them by absolute path, before TorchSharp looks for them
/// itself: it would otherwise copy half a gigabyte beside its own DLL. Other systems are left to TorchSharp.
/// </summary>
public static class NativeLibraries
{
    /// <summary>The environment variable that names a folder holding libtorch, ahead of every other place.</summary>
    public const string FolderVariable = "FIELDIMNN_LIBTORCH";

    private const string Platform = "linux-x64";
    private const string Binding = "libLibTorchSharp.so";
    private static readonly string[] Torch = ["libc10.so", "libtorch_cpu.so", "libtorch.so"];

    internal static void Load()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return;
        var folders = Folders().Distinct().ToList();
        var torch = Find(folders, Torch[^1]);
        var binding = Find(folders, Binding);
        try
        {
            if (Directory.EnumerateFiles(torch, "libgomp*").FirstOrDefault() is { } openMp)
                NativeLibrary.Load(openMp);
            foreach (var library in Torch)
                NativeLibrary.Load(Path.Combine(torch, library));
            NativeLibrary.Load(Loadable(Path.Combine(binding, Binding), StandardLibrary(), CacheFolder()));
        }
        catch (DllNotFoundException error)
        {
            throw new NativeLibraryException("libtorch", $"libraries in '{torch}' that this machine can load", error.Message, error);
        }
    }

    /// <summary>
    /// The path to load: <paramref name="library"/> itself where <paramref name="standardLibrary"/> has the version it needs,
    /// else a patched copy in <paramref name="cache"/>, written once and never in place of the original.
    /// </summary>
    public static string Loadable(string library, string standardLibrary, string cache)
    {
        if (Mentions(standardLibrary, ElfPatch.Wanted) || !Mentions(library, ElfPatch.Wanted))
            return library;
        var image = File.ReadAllBytes(library);
        var folder = Path.Combine(cache, Convert.ToHexString(SHA256.HashData(image))[..16]);
        var patched = Path.Combine(folder, Path.GetFileName(library));
        if (File.Exists(patched))
            return patched;
        Directory.CreateDirectory(folder);
        var draft = Path.Combine(folder, $"{Environment.ProcessId}.partial");
        File.WriteAllBytes(draft, ElfPatch.Apply(image));
        File.Move(draft, patched, overwrite: true); // atomic: another process sees a whole library or none
        return patched;
    }

    private static bool Mentions(string file, string version) =>
        File.Exists(file) && File.ReadAllBytes(file).AsSpan().IndexOf(Encoding.ASCII.GetBytes(version + "\0")) >= 0;

    /// <summary>The C++ standard library that this process uses, as the kernel lists it.</summary>
    private static string StandardLibrary()
    {
        NativeLibrary.Load("libstdc++.so.6");
        var line = File.ReadLines("/proc/self/maps").FirstOrDefault(l => l.Contains("libstdc++.so", StringComparison.Ordinal));
        return line is null ? "" : line[line.IndexOf('/')..];
    }

    private static string CacheFolder()
    {
        var home = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        return Path.Combine(
            string.IsNullOrEmpty(home) ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache") : home,
            "fieldimnn");
    }

    private static string Find(List<string> folders, string file) =>
        folders.FirstOrDefault(folder => File.Exists(Path.Combine(folder, file)))
        ?? throw new NativeLibraryException(
            file, $"it in the NuGet cache, beside the program, or in the folder named by {FolderVariable}", "it in none of them");

    private static IEnumerable<string> Folders()
    {
        if (Environment.GetEnvironmentVariable(FolderVariable) is { Length: > 0 } named)
            yield return named;
        var managed = Path.GetDirectoryName(typeof(torch).Assembly.Location) ?? "";
        foreach (var beside in new[] { AppContext.BaseDirectory, managed })
            yield return Path.Combine(beside, "runtimes", Platform, "native");
        var version = typeof(torch).Assembly.GetName().Version?.ToString(3) ?? "";
        foreach (var packages in PackageFolders(managed))
        {
            yield return Path.Combine(packages, "torchsharp", version, "runtimes", Platform, "native");
            var libtorch = Path.Combine(packages, $"libtorch-cpu-{Platform}");
            if (!Directory.Exists(libtorch))
                continue;
            foreach (var found in Directory.GetDirectories(libtorch).OrderDescending(StringComparer.Ordinal))
                yield return Path.Combine(found, "runtimes", Platform, "native");
        }
    }

    /// <summary>NuGet caches: the one that the managed assembly came from (…/torchsharp/VERSION/lib/TARGET), then the user's.</summary>
    private static IEnumerable<string> PackageFolders(string managed)
    {
        yield return Path.GetFullPath(Path.Combine(managed, "..", "..", "..", ".."));
        if (Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } named)
            yield return named;
        yield return Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
    }
}
