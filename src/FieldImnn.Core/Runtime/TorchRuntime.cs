using System;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace FieldImnn.Core.Runtime;

/// <summary>Readies the tensor library once per process: native libraries, the C allocator, threads.</summary>
public static partial class TorchRuntime
{
    private static readonly Lazy<bool> Ready = new(Start);

    /// <summary>
    /// Loads the native libraries, unless that has been done. A script that uses torch before anything of FieldImnn's calls this
    /// first (<c>scripts/load.fsx</c> does); everything else of FieldImnn's does so by itself.
    /// </summary>
    /// <exception cref="NativeLibraryException">libtorch cannot be found or loaded; the message says what is missing.</exception>
    public static void Initialise() => _ = Ready.Value;

    /// <summary>CPU threads used by one tensor operation. Results do not depend on it; the time does.</summary>
    public static int Threads
    {
        get
        {
            Initialise();
            return torch.get_num_threads();
        }
        set
        {
            Initialise();
            torch.set_num_threads((int)Guard.AtLeast("threads", 1, value));
        }
    }

    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "TorchSharp must find its native libraries loaded, whichever of our types is used first.")]
    internal static void InitialiseModule() => Initialise();

    private static bool Start()
    {
        KeepFreedMemory();
        LetThreadsSleep();
        NativeLibraries.Load();
        return torch.cuda_is_available() || true; // touches TorchSharp, so that a fault shows here and not later
    }

    /// <summary>
    /// glibc gives large freed blocks back to the kernel at once, and every new tensor then pays its page faults again, which on two
    /// cores more than doubles the time of a training step. These four settings make it keep them. Without glibc nothing is done.
    /// </summary>
    private static void KeepFreedMemory()
    {
        const int trimThreshold = -1, topPad = -2, mmapMax = -4, arenaMax = -8; // malloc.h
        if (!OperatingSystem.IsLinux())
            return;
        try
        {
            _ = MallOpt(arenaMax, 1);
            _ = MallOpt(mmapMax, 0);
            _ = MallOpt(trimThreshold, int.MaxValue);
            _ = MallOpt(topPad, 64 << 20);
        }
        catch (Exception error) when (error is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library (musl, say): its own defaults stand
        }
    }

    /// <summary>
    /// OpenMP's threads spin for a while after each tensor operation, on the cores that .NET's own threads (noise) then want: up to ten
    /// times slower on two cores. Asleep they cost microseconds. Read by libgomp when it loads; a value of the user's stands.
    /// </summary>
    private static void LetThreadsSleep()
    {
        if (OperatingSystem.IsLinux())
            _ = SetEnvironment("OMP_WAIT_POLICY", "PASSIVE", 0);
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetEnvironment(string name, string value, int overwrite);

    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int MallOpt(int parameter, int value);
}
