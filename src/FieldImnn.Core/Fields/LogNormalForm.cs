namespace FieldImnn.Core.Fields;

/// <summary>How a standard Gaussian field g becomes a log-normal one.</summary>
public enum LogNormalForm
{
    /// <summary>f = (e^{αg − α²/2} − 1)/α, of zero mean (Leclercq &amp; Heavens 2021, arXiv:2103.04158); g itself in the limit α → 0.</summary>
    Standardised,

    /// <summary>f = e^{αg}, the field whose information the notebooks of Makinen et al. 2021 quote.</summary>
    Exponential,
}
