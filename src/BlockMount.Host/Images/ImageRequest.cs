using BlockMount.Core.Chain;

namespace BlockMount.Host.Images;

/// <summary>What the user asked to be opened, beside the image's name.</summary>
internal sealed record ImageRequest
{
    /// <summary>Stands for an overlay that is thrown away.</summary>
    public const string TemporaryOverlay = "temp";

    public required ChainOpenOptions Chain { get; init; }

    /// <summary>File of a differencing image that takes the writes, <c>temp</c> for one that is thrown away, or null.</summary>
    public string? Overlay { get; init; }

    /// <summary>Which writes need not be stored.</summary>
    public ThriftyWrites Spared { get; init; }

    /// <summary>Show only this partition.</summary>
    public int? Partition { get; init; }

    /// <summary>Show a partition that reaches past the end of the disk as far as it is there.</summary>
    public bool AllowTruncated { get; init; }

    /// <summary>First byte of the part to show.</summary>
    public long? Offset { get; init; }

    /// <summary>Bytes of the part to show.</summary>
    public long? Size { get; init; }

    /// <summary>The same in another mode.</summary>
    public ImageRequest With(ImageMode mode) => this with
    {
        Chain = Chain with { ReadOnly = mode == ImageMode.ReadOnly },
        Overlay = mode == ImageMode.Overlay ? TemporaryOverlay : null,
    };
}
