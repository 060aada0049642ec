using BlockMount.Host.Images;

namespace BlockMount.Host.Hosting;

/// <summary>What <c>attach</c> was asked to do.</summary>
internal sealed record AttachRequest
{
    /// <summary>Texts with which this process was started; a host that takes over is started with them.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    public required string Image { get; init; }

    public required ImageRequest Open { get; init; }

    /// <summary>Null takes the image's own.</summary>
    public string? Name { get; init; }

    /// <summary>How the disk is to come to the kernel: <c>nbd</c> or <c>loop</c>; null takes the first that the host has.</summary>
    public string? Via { get; init; }

    /// <summary>Number of the device; null takes a free one.</summary>
    public int? Index { get; init; }

    /// <summary>At least 1.</summary>
    public required int Connections { get; init; }

    /// <summary>Bytes of a logical sector; null takes the disk's.</summary>
    public int? BlockSize { get; init; }

    public TimeSpan Timeout { get; init; }

    /// <summary>How long the device waits for another host when this one has ended; zero: it does not.</summary>
    public TimeSpan ReconnectTime { get; init; }

    /// <summary>Whether clients may give space back; null for yes unless it is a block device's.</summary>
    public bool? Trim { get; init; }

    /// <summary>Whether only a device that waits is to be taken over, and none made.</summary>
    public bool RecoverOnly { get; init; }

    public bool InBackground { get; init; }

    public bool Json { get; init; }
}
