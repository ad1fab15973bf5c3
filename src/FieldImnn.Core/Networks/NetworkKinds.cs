using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Linq;
using TorchSharp;

namespace FieldImnn.Core.Networks;

/// <summary>The kinds of networks by name: how each is built, and what it cannot see. Those of the house are registered like one's own.</summary>
internal static class NetworkKinds
{
    private static readonly ConcurrentDictionary<string, Entry> Entries = new(StringComparer.Ordinal);
    private static readonly HashSet<string> House;

    private sealed record Entry(Func<NetworkDescription, torch.Generator, SummaryNetwork> Build, string CannotSee);

    static NetworkKinds()
    {
        Add(InceptionNetwork.KindName, (d, g) => new InceptionNetwork(d, g), "nothing that is fixed beforehand: what training does not find");
        Add(FilterBankNetwork.KindName, (d, g) => new FilterBankNetwork(d, g), "anything beyond two points: it is a quadratic form of the field");
        Add(BandPowerNetwork.KindName, (d, _) => new BandPowerNetwork(d), "anything beyond two points, a preferred direction, the mean");
        Add(AxisFilterNetwork.KindName, (d, g) => new AxisFilterNetwork(d, g), "anything beyond products of two pixels of its transforms within its reach, a preferred axis");
        Add(CorrelationFunctionNetwork.KindName, (d, _) => new CorrelationFunctionNetwork(d), "anything beyond two points, a preferred direction, lags beyond its largest");
        Add(BesideNetwork.KindName, (d, g) => new BesideNetwork(d, g), "what none of its parts sees");
        Add(TransformNetwork.KindOf(TransformNetwork.Logarithm), (d, g) => new TransformNetwork(d, g, x => x.LogOfOnePlus()), "of ln(1 + δ)");
        Add(TransformNetwork.KindOf("asinh"), (d, g) => new TransformNetwork(d, g, x => x.Asinh()), "of asinh δ");
        Add(TransformNetwork.KindOf("square"), (d, g) => new TransformNetwork(d, g, x => x.Square()), "of δ², which has lost the sign");
        House = [.. Entries.Keys];
    }

    /// <summary>All registered names, sorted.</summary>
    internal static IReadOnlyList<string> Names => [.. Entries.Keys.Order(StringComparer.Ordinal)];

    internal static bool IsHouse(string kind) => House.Contains(kind);

    internal static bool Has(string kind) => Entries.ContainsKey(kind);

    internal static void Register(string kind, Func<NetworkDescription, torch.Generator, SummaryNetwork> build, string cannotSee)
    {
        if (string.IsNullOrWhiteSpace(kind))
            throw new SettingException("name of a kind of network", "one of its own", "an empty one");
        if (IsHouse(kind))
            throw new SettingException("name of a kind of network", "one of its own", $"'{kind}', which the house has");
        Add(kind, build, cannotSee);
    }

    internal static SummaryNetwork Build(NetworkDescription description, torch.Generator generator) => Find(description.Kind).Build(description, generator);

    internal static string CannotSee(NetworkDescription description)
    {
        var own = Find(description.Kind).CannotSee;
        return description.Parts.Count == 0
            ? own
            : $"{own}: {string.Join("; ", description.Parts.Select(part => $"({part.Kind}) {CannotSee(part)}"))}";
    }

    private static Entry Find(string kind) => Entries.TryGetValue(kind, out var entry)
        ? entry
        : throw new SettingException("kind of network", $"a registered one: {string.Join(", ", Names)}", $"'{kind}'");

    private static void Add(string kind, Func<NetworkDescription, torch.Generator, SummaryNetwork> build, string cannotSee) =>
        Entries[kind] = new Entry(build, cannotSee);
}
