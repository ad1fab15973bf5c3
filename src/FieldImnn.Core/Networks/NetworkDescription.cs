using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace FieldImnn.Core.Networks;

/// <summary>
/// What a network is, without its weights, in types that any serialiser writes. <see cref="SummaryNetwork.Create(NetworkDescription, ulong, TorchSharp.torch.Device?)"/>
/// builds the network from it. Equal where all of it is.
/// </summary>
/// <param name="Kind">A registered kind: "filterBank", "beside", "of logarithm", one's own; see <see cref="SummaryNetwork.Kinds"/>.</param>
/// <param name="FieldShape">Shape of one field: its 1 to 3 sides, behind the channels where there are several.</param>
/// <param name="Settings">The kind's settings by name, or none.</param>
/// <param name="Channels">Channels of the field; of one, the shape has no axis for it.</param>
/// <param name="Parts">The networks that it is made of, or none.</param>
public sealed record NetworkDescription(
    string Kind,
    IReadOnlyList<long> FieldShape,
    IReadOnlyDictionary<string, double>? Settings = null,
    long Channels = 1,
    IReadOnlyList<NetworkDescription>? Parts = null)
{
    /// <summary>The kind's settings by name.</summary>
    public IReadOnlyDictionary<string, double> Settings { get; init; } = Settings ?? new Dictionary<string, double>();

    /// <summary>The networks that it is made of.</summary>
    public IReadOnlyList<NetworkDescription> Parts { get; init; } = Parts ?? [];

    /// <summary>The shape of the field without its channels.</summary>
    public IReadOnlyList<long> Sides => Channels > 1 ? [.. FieldShape.Skip(1)] : FieldShape;

    /// <summary>The published network; see <see cref="InceptionNetwork"/>.</summary>
    public static NetworkDescription Inception(IReadOnlyList<long> fieldShape, long filters = 55, long summaries = 2, long channels = 1) =>
        Of(InceptionNetwork.KindName, fieldShape, channels, ("filters", filters), ("summaries", summaries));

    /// <summary>A bank of learned filters; see <see cref="FilterBankNetwork"/>.</summary>
    public static NetworkDescription FilterBank(IReadOnlyList<long> fieldShape, long filters = 8, long size = 7, long levels = 3, long channels = 1) =>
        Of(FilterBankNetwork.KindName, fieldShape, channels, ("filters", filters), ("size", size), ("levels", levels));

    /// <summary>Power in bands of |k|; see <see cref="BandPowerNetwork"/>.</summary>
    public static NetworkDescription BandPower(IReadOnlyList<long> fieldShape, long bands, long channels = 1) =>
        Of(BandPowerNetwork.KindName, fieldShape, channels, ("bands", bands));

    /// <summary>Products of transforms filtered along each axis; see <see cref="AxisFilterNetwork"/>. Offset and floor in units of the field.</summary>
    public static NetworkDescription AxisFilters(
        IReadOnlyList<long> fieldShape, double offset, double floor = 0.01, long transforms = 1, long hidden = 12, long matrices = 2, long reach = 5) =>
        Of(AxisFilterNetwork.KindName, fieldShape, 1,
            ("offset", offset), ("floor", floor), ("transforms", transforms), ("hidden", hidden), ("matrices", matrices), ("reach", reach));

    /// <summary>The correlation function up to a lag, without weights; see <see cref="CorrelationFunctionNetwork"/>.</summary>
    public static NetworkDescription CorrelationFunction(IReadOnlyList<long> fieldShape, long lags, long channels = 1) =>
        Of(CorrelationFunctionNetwork.KindName, fieldShape, channels, ("lags", lags));

    /// <summary>The features of all of these, which read the same fields, side by side; see <see cref="BesideNetwork"/>.</summary>
    public static NetworkDescription Beside(params NetworkDescription[] parts)
    {
        ArgumentNullException.ThrowIfNull(parts);
        if (parts.Length == 0)
            throw new SettingException("networks beside each other", "at least one", "none");
        return new(BesideNetwork.KindName, parts[0].FieldShape, null, parts[0].Channels, parts);
    }

    /// <summary>The same network on a pointwise function of the field, registered by this name; see <see cref="TransformNetwork"/>.</summary>
    public NetworkDescription OfTransform(string name) => new(TransformNetwork.KindOf(name), FieldShape, null, Channels, [this]);

    /// <summary>The same network on ln(1 + δ), and the mean of that.</summary>
    public NetworkDescription OfLogarithm() => OfTransform(TransformNetwork.Logarithm);

    /// <summary>A setting that must be there: a whole number, at least <paramref name="least"/>.</summary>
    /// <exception cref="SettingException">It is missing, not whole or too small.</exception>
    public long Setting(string name, long least = 1)
    {
        var value = Number(name);
        return value == Math.Round(value) && Math.Abs(value) < 1e15
            ? Guard.AtLeast($"{name} of the {Kind} network", least, (long)value)
            : throw new SettingException($"{name} of the {Kind} network", "a whole number", Text(value));
    }

    /// <summary>A setting that must be there: a finite number.</summary>
    /// <exception cref="SettingException">It is missing or not finite.</exception>
    public double Number(string name)
    {
        if (!Settings.TryGetValue(name, out var value))
            throw new SettingException($"{Kind} network", $"a setting '{name}'", Settings.Count == 0 ? "none" : string.Join(", ", Settings.Keys.Order()));
        return double.IsFinite(value) ? value : throw new SettingException($"{name} of the {Kind} network", "a finite number", Text(value));
    }

    /// <summary>All of it in a line; two descriptions of the same network give the same.</summary>
    public override string ToString() =>
        $"{Structure()} on fields {Guard.Describe([.. FieldShape])}" + (Channels > 1 ? $" of {Channels.ToString(CultureInfo.InvariantCulture)} channels" : "");

    /// <inheritdoc/>
    public bool Equals(NetworkDescription? other) => other is not null && ToString() == other.ToString();

    /// <inheritdoc/>
    public override int GetHashCode() => ToString().GetHashCode(StringComparison.Ordinal);

    private string Structure()
    {
        var settings = Settings.OrderBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => $"{pair.Key} {Text(pair.Value)}");
        var parts = Parts.Select(part => part.Structure());
        return Kind + (Settings.Count == 0 ? "" : $" ({string.Join(", ", settings)})") + (Parts.Count == 0 ? "" : $" [{string.Join(", ", parts)}]");
    }

    private static NetworkDescription Of(string kind, IReadOnlyList<long> fieldShape, long channels, params (string Name, double Value)[] settings) =>
        new(kind, fieldShape, settings.ToDictionary(s => s.Name, s => s.Value), channels);

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
