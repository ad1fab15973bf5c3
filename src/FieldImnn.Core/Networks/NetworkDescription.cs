using System;
using System.Collections.Generic;
using System.Linq;

namespace FieldImnn.Core.Networks;

/// <summary>
/// What a network is, without its weights, in types that any serialiser writes: its kind, the shape of the fields it reads and its
/// whole-numbered settings. <see cref="SummaryNetwork.Create"/> builds the network from it.
/// </summary>
/// <param name="Kind">"inception", "filterBank", "bandPower", "axisFilters" or "correlationFunction".</param>
/// <param name="FieldShape">Shape of one field: (N, N) and the like.</param>
/// <param name="Settings">The kind's settings by name.</param>
public sealed record NetworkDescription(string Kind, IReadOnlyList<long> FieldShape, IReadOnlyDictionary<string, long> Settings)
{
    /// <summary>The published network; see <see cref="InceptionNetwork"/>.</summary>
    public static NetworkDescription Inception(IReadOnlyList<long> fieldShape, long filters = 55, long summaries = 2) =>
        new(InceptionNetwork.KindName, fieldShape, new Dictionary<string, long> { ["filters"] = filters, ["summaries"] = summaries });

    /// <summary>A bank of learned filters; see <see cref="FilterBankNetwork"/>.</summary>
    public static NetworkDescription FilterBank(IReadOnlyList<long> fieldShape, long filters = 8, long size = 7, long levels = 3) =>
        new(FilterBankNetwork.KindName, fieldShape,
            new Dictionary<string, long> { ["filters"] = filters, ["size"] = size, ["levels"] = levels });

    /// <summary>Power in bands of |k|; see <see cref="BandPowerNetwork"/>.</summary>
    public static NetworkDescription BandPower(IReadOnlyList<long> fieldShape, long bands) =>
        new(BandPowerNetwork.KindName, fieldShape, new Dictionary<string, long> { ["bands"] = bands });

    /// <summary>The same network on the logarithm of the field; see <see cref="LogarithmNetwork"/>.</summary>
    public NetworkDescription OfLogarithm() =>
        this with { Settings = new Dictionary<string, long>(Settings) { [LogarithmSetting] = 1 } };

    /// <summary>The same network on the field itself.</summary>
    public NetworkDescription OfField() =>
        this with { Settings = Settings.Where(pair => pair.Key != LogarithmSetting).ToDictionary() };

    /// <summary>Whether the network reads the logarithm of the field.</summary>
    public bool ReadsLogarithm => Settings.TryGetValue(LogarithmSetting, out var value) && value == 1;

    private const string LogarithmSetting = "logarithm";

    /// <summary>All of it in a line; two descriptions of the same network give the same.</summary>
    public override string ToString()
    {
        var settings = string.Join(", ", Settings.OrderBy(pair => pair.Key, System.StringComparer.Ordinal).Select(pair => $"{pair.Key} {pair.Value}"));
        return $"{Kind} ({settings}) on fields {Guard.Describe([.. FieldShape])}";
    }
    /// <summary>Products of transforms filtered along each axis; see <see cref="AxisFilterNetwork"/>. Offset and floor in units of the field.</summary>
    public static NetworkDescription AxisFilters(
        IReadOnlyList<long> fieldShape, double offset, double floor = 0.01, long transforms = 1, long hidden = 12, long matrices = 2, long reach = 5) =>
        new(AxisFilterNetwork.KindName, fieldShape, new Dictionary<string, long>
        {
            ["offset"] = (long)Math.Round(offset / AxisFilterNetwork.SettingUnit),
            ["floor"] = (long)Math.Round(floor / AxisFilterNetwork.SettingUnit),
            ["transforms"] = transforms,
            ["hidden"] = hidden,
            ["matrices"] = matrices,
            ["reach"] = reach,
        });

    /// <summary>The correlation function up to a lag, without weights; see <see cref="CorrelationFunctionNetwork"/>.</summary>
    public static NetworkDescription CorrelationFunction(IReadOnlyList<long> fieldShape, long lags) =>
        new(CorrelationFunctionNetwork.KindName, fieldShape, new Dictionary<string, long> { ["lags"] = lags });

    /// <summary>A setting that must be there and at least <paramref name="least"/>.</summary>
    /// <exception cref="SettingException">It is missing or too small.</exception>
    public long Setting(string name, long least = 1) => Settings.TryGetValue(name, out var value)
        ? Guard.AtLeast($"{name} of the {Kind} network", least, value)
        : throw new SettingException($"{Kind} network", $"a setting '{name}'", string.Join(", ", Settings.Keys.Order()));
}
