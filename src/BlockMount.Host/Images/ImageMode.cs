namespace BlockMount.Host.Images;

/// <summary>What becomes of writes.</summary>
internal enum ImageMode
{
    /// <summary>They are refused.</summary>
    ReadOnly,

    /// <summary>They change the image.</summary>
    ReadWrite,

    /// <summary>They go to an overlay that is thrown away at the end.</summary>
    Overlay,
}
