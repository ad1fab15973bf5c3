using System;
using System.Runtime;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Threading;
using System.Threading.Tasks;
using TorchSharp;

namespace FieldImnn.Core.Runtime;

/// <summary>The tensor library in this process: its native libraries, and settings that hold for the whole process.</summary>
/// <remarks>
/// Native libraries are loaded when the first tensor is made; garbage is no longer collected in the background from then on, and convolutions
/// are made of matrix products, since oneDNN's are wrong on some CPUs. Nothing else of the process is changed but by <see cref="Configure"/>,
/// which programs and scripts call (<c>scripts/load.fsx</c> does) and libraries do not.
/// </remarks>
public static partial class TorchRuntime
{
    private static readonly Lazy<bool> Ready = new(Start);
    private static readonly Lazy<bool> Configured = new(ConfigureProcess);
    private static readonly Lock Threading = new();
    private const long LeastResident = 900L << 20, Growth = 200L << 20, MillisecondsBetweenLooks = 500;
    private static int alone, threadsBefore;
    private static long nextLook, giveBackAt = LeastResident;

    [ThreadStatic]
    private static int depth;

    /// <summary>
    /// Settings of the whole process that make tensors fast on few cores, once, before the first tensor: glibc keeps freed memory
    /// (training twice as fast on two cores, more memory held between steps), and OpenMP's threads sleep between operations
    /// (OMP_WAIT_POLICY, unless the user has set it). Without glibc, or on other systems, nothing is changed. Where
    /// FIELDIMNN_LIBTORCH names a folder, the libraries are loaded from it at once.
    /// </summary>
    /// <exception cref="NativeLibraryException">FIELDIMNN_LIBTORCH names a folder whose libtorch cannot be loaded.</exception>
    public static void Configure() => _ = Configured.Value;

    /// <summary>
    /// Loads the native libraries now, unless that has been done: for a script that makes tensors of TorchSharp's before it uses
    /// anything of FieldImnn's. Everything of FieldImnn's that makes tensors does so by itself.
    /// </summary>
    /// <exception cref="NativeLibraryException">libtorch cannot be found or loaded; the message says what is missing.</exception>
    public static void Load() => _ = Ready.Value;

    /// <summary>CPU threads used by one tensor operation. Results do not depend on it; the time does.</summary>
    public static int Threads
    {
        get
        {
            Load();
            return torch.get_num_threads();
        }
        set
        {
            Load();
            torch.set_num_threads((int)Guard.AtLeast("threads", 1, value));
        }
    }

    /// <summary>
    /// Does work with one CPU thread for its tensor operations, and gives the threads back. TorchSharp keeps the number for each
    /// thread and the last one set for threads that start: one that touches tensors for the first time while this runs has one, too.
    /// </summary>
    public static T OnOneThread<T>(Func<T> work)
    {
        ArgumentNullException.ThrowIfNull(work);
        if (depth++ == 0)
            lock (Threading)
                if (alone++ == 0)
                    threadsBefore = Threads;
        Threads = 1;
        try
        {
            return work();
        }
        finally
        {
            if (--depth == 0)
                lock (Threading)
                {
                    Threads = threadsBefore;
                    alone--;
                }
        }
    }

    /// <summary>
    /// Does pieces 0, 1, … of work without a graph, on the CPU as many at a time as tensor operations have threads, each with one thread for its own:
    /// of many small operations on two cores a quarter of the time that two threads for each operation take. A fault comes as it was raised.
    /// </summary>
    public static void SideBySide(torch.Device device, int count, Action<int> work)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(work);
        var threads = device.type == DeviceType.CPU ? Threads : 1;
        if (threads == 1)
        {
            using var noGrad = torch.no_grad();
            for (var i = 0; i < count; i++)
                work(i);
            return;
        }
        try
        {
            Parallel.For(0, count, new ParallelOptions { MaxDegreeOfParallelism = threads }, i => OnOneThread(() =>
            {
                using var noGrad = torch.no_grad();
                work(i);
                return true;
            }));
        }
        catch (AggregateException error)
        {
            ExceptionDispatchInfo.Throw(error.InnerExceptions[0]);
        }
    }

    /// <summary>
    /// Gives memory of freed tensors back to the system where the process has come to hold much of it: over 900 MB, and 200 MB more than
    /// after the last time. Called between pieces of work; costs nothing unless half a second has passed. Linux with glibc only.
    /// </summary>
    /// <remarks>
    /// glibc does not put a large block where a small one that is still held has split the free memory, and asks for more instead: a
    /// training that uses 100 MB came to hold 3 GB in a minute. What is given back is the pages, not the addresses.
    /// </remarks>
    public static void GiveBackMemory()
    {
        var now = Environment.TickCount64;
        if (now < Interlocked.Read(ref nextLook) || !OperatingSystem.IsLinux())
            return;
        Interlocked.Exchange(ref nextLook, now + MillisecondsBetweenLooks);
        if (ResidentMemory() < Interlocked.Read(ref giveBackAt))
            return;
        try
        {
            _ = MallocTrim(0);
        }
        catch (Exception error) when (error is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library: its own rules stand
        }
        Interlocked.Exchange(ref giveBackAt, Math.Max(LeastResident, ResidentMemory() + Growth));
    }

    /// <summary>Memory of the process that is resident, in bytes; Linux.</summary>
    private static long ResidentMemory()
    {
        try
        {
            var pages = System.IO.File.ReadAllText("/proc/self/statm").Split(' ')[1];
            return long.Parse(pages, System.Globalization.CultureInfo.InvariantCulture) * Environment.SystemPageSize;
        }
        catch (System.IO.IOException)
        {
            return 0;
        }
    }

    private static bool Start()
    {
        NativeLibraries.Load();
        CollectInTheForeground();
        torch.InitializeDeviceType(DeviceType.CPU); // touches TorchSharp, so that a fault shows here and not later
        NativeLibraries.ConvolveByProducts();
        return true;
    }

    /// <summary>
    /// TorchSharp holds the number of <c>tensor * 2</c> in an object with a finaliser that nothing keeps alive while native code reads it
    /// (a tensor outside of dispose scopes, too). A collection in the background can therefore free it under the reader: "Unknown scalar
    /// type", or a wrong number. A collection in the foreground runs on the thread that allocates, which is then not in native code.
    /// A mode of the user's stands.
    /// </summary>
    private static void CollectInTheForeground()
    {
        if (GCSettings.LatencyMode == GCLatencyMode.Interactive)
            GCSettings.LatencyMode = GCLatencyMode.Batch;
    }

    private static bool ConfigureProcess()
    {
        KeepFreedMemory();
        LetThreadsSleep();
        if (Environment.GetEnvironmentVariable(NativeLibraries.FolderVariable) is { Length: > 0 })
            Load();
        return true;
    }

    /// <summary>
    /// glibc gives large freed blocks back to the kernel at once, and every new tensor then pays its page faults again, which on two
    /// cores more than doubles the time of a training step. These four settings make it keep them.
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

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int MallocTrim(nuint pad);
}
