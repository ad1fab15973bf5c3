using System;
using System.Buffers.Binary;
using System.Collections.Generic;
using System.Text;

namespace FieldImnn.Core.Runtime;

/// <summary>
/// Three edits in the dynamic section of TorchSharp's native library that let it load on a libstdc++ older than GCC 13's.
/// It asks for GLIBCXX_3.4.32 through one symbol only, which initialises iostreams; libtorch, loaded before it, has already
/// done that. So the symbol is renamed to a harmless function of libc without arguments, freed from its version, and the
/// version requirement is pointed at one that the machine has.
/// </summary>
/// <remarks>ELF-64, little endian. Field offsets are those of the System V ABI (Elf64_Shdr, Elf64_Sym, Elf64_Verneed).</remarks>
internal static class ElfPatch
{
    /// <summary>The version that older systems lack.</summary>
    internal const string Wanted = "GLIBCXX_3.4.32";

    private const string Substitute = "GLIBCXX_3.4.30";
    private const string Symbol = "_ZSt21ios_base_library_initv";
    private const string Harmless = "sched_yield";
    private const uint DynamicSymbols = 11, VersionNeeds = 0x6ffffffe, VersionSymbols = 0x6fffffff;
    private const int SymbolSize = 24;

    /// <summary>A patched copy of <paramref name="original"/>, which is left as it was.</summary>
    /// <exception cref="NativeLibraryException">The file is not the library that this patch was written for.</exception>
    internal static byte[] Apply(ReadOnlySpan<byte> original)
    {
        try
        {
            return Patch(original.ToArray());
        }
        catch (Exception error) when (error is ArgumentOutOfRangeException or IndexOutOfRangeException)
        {
            throw Unexpected("a whole library", "a truncated one");
        }
    }

    private static byte[] Patch(byte[] image)
    {
        if (image.Length < 64 || U32(image, 0) != 0x464c457f || image[4] != 2)
            throw Unexpected("an ELF-64 library", "another kind of file");
        var sections = Sections(image);
        if (!sections.TryGetValue(DynamicSymbols, out var symbols)
            || !sections.TryGetValue(VersionSymbols, out var versions)
            || !sections.TryGetValue(VersionNeeds, out var needs))
            throw Unexpected("a dynamic symbol table with versions", "a library without one");
        RenameSymbol(image, symbols, versions);
        RedirectVersion(image, symbols.Strings, needs.Offset);
        return image;
    }

    private static void RenameSymbol(byte[] image, Section symbols, Section versions)
    {
        for (var i = 0; i < symbols.Size / SymbolSize; i++)
        {
            var name = symbols.Strings + (int)U32(image, symbols.Offset + i * SymbolSize);
            if (Text(image, name) != Symbol)
                continue;
            Encoding.ASCII.GetBytes(Harmless + "\0").CopyTo(image, name);
            BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(versions.Offset + 2 * i), 1); // VER_NDX_GLOBAL
            return;
        }
        throw Unexpected($"the symbol {Symbol}", "a library without it");
    }

    private static void RedirectVersion(byte[] image, int strings, int need)
    {
        while (true)
        {
            int wanted = -1, substitute = -1;
            var count = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(need + 2));
            var entry = need + (int)U32(image, need + 8);
            for (var i = 0; i < count; i++, entry += (int)U32(image, entry + 12))
            {
                var name = Text(image, strings + (int)U32(image, entry + 8));
                if (name == Wanted) wanted = entry;
                if (name == Substitute) substitute = entry;
            }
            if (wanted >= 0 && substitute >= 0)
            {
                image.AsSpan(substitute, 4).CopyTo(image.AsSpan(wanted)); // hash of the version's name
                image.AsSpan(substitute + 8, 4).CopyTo(image.AsSpan(wanted + 8)); // the name
                return;
            }
            var next = (int)U32(image, need + 12);
            if (next == 0)
                throw Unexpected($"requirements of {Wanted} and {Substitute}", "a library without them");
            need += next;
        }
    }

    private sealed record Section(int Offset, int Size, int Strings);

    private static Dictionary<uint, Section> Sections(byte[] image)
    {
        var table = (int)BinaryPrimitives.ReadUInt64LittleEndian(image.AsSpan(0x28));
        var size = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(0x3a));
        var count = BinaryPrimitives.ReadUInt16LittleEndian(image.AsSpan(0x3c));
        var found = new Dictionary<uint, Section>();
        for (var i = 0; i < count; i++)
        {
            var header = table + i * size;
            var strings = table + (int)U32(image, header + 40) * size;
            found[U32(image, header + 4)] = new Section(Offset(image, header), (int)U32(image, header + 32), Offset(image, strings));
        }
        return found;
    }

    private static int Offset(byte[] image, int header) => (int)BinaryPrimitives.ReadUInt64LittleEndian(image.AsSpan(header + 24));

    private static uint U32(byte[] image, int at) => BinaryPrimitives.ReadUInt32LittleEndian(image.AsSpan(at));

    private static string Text(byte[] image, int at) =>
        Encoding.ASCII.GetString(image, at, image.AsSpan(at).IndexOf((byte)0));

    private static NativeLibraryException Unexpected(string expected, string received) =>
        new("TorchSharp's native library", expected, received);
}
