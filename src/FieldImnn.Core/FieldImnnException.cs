using System;

namespace FieldImnn.Core;

/// <summary>
/// Every error that FieldImnn raises on purpose: what was looked at, what was expected of it and what came instead.
/// Catch this type to tell a mistake in the input from a fault of the program.
/// </summary>
public class FieldImnnException : Exception
{
    /// <summary>An error about <paramref name="subject"/>.</summary>
    public FieldImnnException(string subject, string expected, string received, Exception? inner = null)
        : base($"{subject}: expected {expected}; received {received}.", inner)
    {
        Subject = subject;
        Expected = expected;
        Received = received;
    }

    /// <summary>What was looked at: an argument, a setting, a file.</summary>
    public string Subject { get; }

    /// <summary>What would have been right.</summary>
    public string Expected { get; }

    /// <summary>What came instead.</summary>
    public string Received { get; }
}

/// <summary>A tensor or array of the wrong shape or element type.</summary>
public sealed class ShapeException(string subject, string expected, string received)
    : FieldImnnException(subject, expected, received);

/// <summary>NaN or infinity where finite numbers are needed.</summary>
public sealed class NonFiniteException(string subject, string expected, string received)
    : FieldImnnException(subject, expected, received);

/// <summary>A number outside its range, or a parameter outside the support of its prior.</summary>
public sealed class RangeException(string subject, string expected, string received)
    : FieldImnnException(subject, expected, received);

/// <summary>A setting, or a combination of settings, that cannot work.</summary>
public sealed class SettingException(string subject, string expected, string received)
    : FieldImnnException(subject, expected, received);

/// <summary>A simulator, or a set of stored simulations, that cannot be learned from: what it does wrong, and by which parameter.</summary>
public sealed class SimulatorException(string subject, string expected, string received, Exception? inner = null)
    : FieldImnnException(subject, expected, received, inner);

/// <summary>A matrix that must be inverted and has no inverse (or none that double precision can hold).</summary>
public sealed class SingularMatrixException(string subject, string expected, string received)
    : FieldImnnException(subject, expected, received);

/// <summary>A file that is missing, unreadable, damaged, of another format, or a folder that cannot be written.</summary>
public sealed class StoreException(string subject, string expected, string received, Exception? inner = null)
    : FieldImnnException(subject, expected, received, inner);

/// <summary>The native tensor library could not be found or loaded on this machine.</summary>
public sealed class NativeLibraryException(string subject, string expected, string received, Exception? inner = null)
    : FieldImnnException(subject, expected, received, inner);

/// <summary>A problem that a method cannot tell the truth about, and why.</summary>
public sealed class NotServedException(string subject, string expected, string received)
    : FieldImnnException(subject, expected, received);
