using BlockMount.Attach.Fuse;
using BlockMount.Attach.Kernel;
using BlockMount.Core.Devices;

namespace BlockMount.Attach.Images;

/// <summary>What <see cref="LoopAttachment"/> is to attach.</summary>
public sealed record LoopAttachRequest
{
    /// <summary>The disk; stays the caller's and must outlive the device.</summary>
    public required BlockDevice Disk { get; init; }

    /// <summary>Bytes of a logical sector: a power of two, 512 to 4096.</summary>
    public required int BlockSize { get; init; }

    /// <summary>A folder of nobody else's, made where it is missing, in which FUSE shows the disk as a file.</summary>
    public required string PrivateFolder { get; init; }

    /// <summary>Takes down what is done, so that it can be undone when this process was killed.</summary>
    public required string JournalFile { get; init; }

    /// <summary>Full path of the image, for the journal.</summary>
    public required string Image { get; init; }

    /// <summary>Those that are to have nodes.</summary>
    public IReadOnlyList<NodePartition> Partitions { get; init; } = [];

    public FuseMountOptions Fuse { get; init; } = new();
}
