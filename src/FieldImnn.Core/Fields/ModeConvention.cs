namespace FieldImnn.Core.Fields;

/// <summary>How white noise becomes Fourier modes.</summary>
public enum ModeConvention
{
    /// <summary>A Gaussian random field: the modes of white noise in the pixels, every real degree of freedom present, P(0) = 0.</summary>
    Ideal,

    /// <summary>
    /// The code of Makinen et al. 2021 (arXiv:2107.07405) to the letter: half-normal magnitudes instead of Rayleigh ones, the first row
    /// of modes zero, the first column at half power. Not a Gaussian field; needed to infer from fields that code made.
    /// </summary>
    Published,
}
