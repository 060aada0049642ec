using BlockMount.Attach.Fuse;
using BlockMount.Attach.Kernel;
using BlockMount.Attach.Loop;
using BlockMount.Attach.Roads;
using BlockMount.Core.Devices;

namespace BlockMount.Attach.Images;

/// <summary>A partition that can be shown.</summary>
/// <param name="Number">As the host would number it, 1 or more; different for each.</param>
/// <param name="Start">First byte on the disk.</param>
/// <param name="Length">Bytes.</param>
/// <param name="FileSystem">Type as <c>mount -t</c> takes it, null when none that can be mounted was recognised.</param>
public sealed record ImagePartition(int Number, long Start, long Length, string? FileSystem)
{
    /// <summary>Why it must not be written to, as what follows "Partition 3"; null when it may be.</summary>
    public string? WhyReadOnly { get; init; }
}

/// <summary>What is to be mounted.</summary>
public readonly record struct MountChoice
{
    private MountChoice(bool filesOnly, int? partition)
    {
        IsFilesOnly = filesOnly;
        PartitionNumber = partition;
    }

    /// <summary>The only file system, or each in a folder of its own, or files where there is none or this user may not mount.</summary>
    public static MountChoice Auto => default;

    /// <summary>The disk and its partitions as files.</summary>
    public static MountChoice FilesOnly => new(filesOnly: true, null);

    public bool IsFilesOnly { get; }

    /// <summary>Null: not one in particular.</summary>
    public int? PartitionNumber { get; }

    /// <summary>The file system of one partition.</summary>
    public static MountChoice Partition(int number) => new(filesOnly: false, number);
}

/// <summary>What <see cref="ImageMount"/> is to do.</summary>
public sealed record ImageMountRequest
{
    /// <summary>The whole disk; stays the caller's and must outlive the mount.</summary>
    public required BlockDevice Device { get; init; }

    /// <summary>An empty directory to mount on.</summary>
    public required string Directory { get; init; }

    /// <summary>A folder for this mount alone, where the files lie under a mounted file system; made when it does not exist.</summary>
    public required string PrivateFolder { get; init; }

    /// <summary>In the order they are to be shown.</summary>
    public IReadOnlyList<ImagePartition> Partitions { get; init; } = [];

    /// <summary>Type of the file system that fills the disk without a partition table, or null.</summary>
    public string? WholeDiskFileSystem { get; init; }

    /// <summary>Nothing may write. A read-only device is mounted read-only either way.</summary>
    public bool IsReadOnly { get; init; }

    public MountChoice Choice { get; init; }

    /// <summary>How the disk is to come to <c>mount</c>; one that is named is used, or the mount fails.</summary>
    public MountRoad Via { get; init; }

    /// <summary>How a disk is attached to the kernel's nbd driver, all but its partitions; null: not at all. What serves it must outlive the mount.</summary>
    public Func<NbdAttachRequest>? Nbd { get; init; }

    /// <summary>Mount options of the user's own, as <see cref="OwnOptions.Parse"/> gives them.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>Owner of the files where the file system keeps none; null: this user.</summary>
    public MountOwner? Owner { get; init; }

    /// <summary>What the device shows, for whoever finds the journal; null: the device's name.</summary>
    public string? Image { get; init; }

    /// <summary>
    /// A new file in which every step is recorded before it is done, for whoever finds this process killed; removed in the end. Null for none.
    /// </summary>
    public string? JournalFile { get; init; }

    /// <summary>Content of the file <c>info.json</c>; empty for no such file.</summary>
    public ReadOnlyMemory<byte> Info { get; init; }

    public FuseMountOptions Fuse { get; init; } = new();
}

/// <summary>One thing that was mounted.</summary>
/// <param name="Directory">Where, full path.</param>
/// <param name="FileSystem">Type of the file system; null for the directory of files.</param>
/// <param name="Partition">Its partition; null for the whole disk.</param>
/// <param name="Device">Block device in between, as <c>/dev/loop3</c>; null for the directory of files.</param>
/// <param name="IsReadOnly">Whether it refuses writes.</param>
public sealed record MountedThing(string Directory, string? FileSystem, int? Partition, string? Device, bool IsReadOnly);
