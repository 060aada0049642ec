using System.Text.Json.Serialization;

namespace BlockMount.Host.Cli;

internal sealed record InfoDocument(
    IReadOnlyList<ImageFacts> Images, long Capacity, string? PartitionScheme, string? Filesystem, IReadOnlyList<PartitionFacts> Partitions, IReadOnlyList<DiagnosticFacts> Diagnostics);

internal sealed record GeometryFacts(uint Cylinders, uint Heads, uint Sectors);

internal sealed record ImageFacts
{
    public required string Path { get; init; }

    public required string Format { get; init; }

    public required string Variant { get; init; }

    public string? Version { get; init; }

    public required long Capacity { get; init; }

    public required long FileSize { get; init; }

    public required long BlockSize { get; init; }

    public required long Allocated { get; init; }

    public Guid? Uuid { get; init; }

    public Guid? ModificationUuid { get; init; }

    public Guid? ParentUuid { get; init; }

    public Guid? ParentModificationUuid { get; init; }

    /// <summary>A VMDK's CID, 8 hexadecimal digits.</summary>
    public string? ContentId { get; init; }

    public string? ParentContentId { get; init; }

    public required string Comment { get; init; }

    public required uint Flags { get; init; }

    public GeometryFacts? Lchs { get; init; }

    public GeometryFacts? Pchs { get; init; }

    public required bool LinksOk { get; init; }
}

internal sealed record PartitionFacts(
    int Number, long Start, long Size, string Type, string? Name, string? Filesystem, string? Label);

internal sealed record PartitionsDocument
{
    public required string Path { get; init; }

    public required long Capacity { get; init; }

    public string? PartitionScheme { get; init; }

    public string? DiskId { get; init; }

    /// <summary>Bytes of the sectors that the table counts in.</summary>
    public required int SectorSize { get; init; }

    /// <summary>A table that is named and not read.</summary>
    public string? ForeignScheme { get; init; }

    /// <summary>What the whole disk holds without a table.</summary>
    public string? Filesystem { get; init; }

    public required IReadOnlyList<TablePartitionFacts> Partitions { get; init; }

    public required IReadOnlyList<DiagnosticFacts> Diagnostics { get; init; }
}

/// <summary>What <see cref="PartitionFacts"/> says, and the rest of what the table does.</summary>
internal sealed record TablePartitionFacts
{
    public required int Number { get; init; }

    public required long Start { get; init; }

    public required long Size { get; init; }

    public required string Type { get; init; }

    public required string TypeId { get; init; }

    public string? Name { get; init; }

    public string? Uuid { get; init; }

    public string? Filesystem { get; init; }

    public string? Label { get; init; }

    /// <summary>The bits in hexadecimal, as lsblk shows them: 64 of them are more than a number in JSON is safe for.</summary>
    public required string Attributes { get; init; }

    public required bool Bootable { get; init; }

    public required bool Container { get; init; }

    public required bool Overlapping { get; init; }

    public required bool Truncated { get; init; }
}

internal sealed record DiagnosticFacts(string Severity, string Code, string? File, long? Offset, string Message);

/// <summary>What <c>check</c> found.</summary>
/// <param name="Repairs">What was repaired before, or would be with --dry-run; left out where no repair was asked for.</param>
internal sealed record CheckDocument(
    bool Ok, IReadOnlyList<CheckedImage> Images, long? BytesRead, IReadOnlyList<DiagnosticFacts> Diagnostics, IReadOnlyList<DiagnosticFacts>? Repairs);

internal sealed record CheckedImage(string Path, string Format, string Variant, long Capacity, long FileSize, long Allocated);

internal sealed record MapEntry(long Start, long Length, int Depth, bool Zero, bool Data, string? Image, long? Offset);

internal sealed record CreateDocument(string Path, string Format, long Capacity, Guid? Uuid, Guid? ParentUuid);

/// <summary>What <c>set</c> changed; what an image does not have is left out.</summary>
/// <param name="Child">An image near it that was made from it and does not fit any more.</param>
internal sealed record SetDocument(string Path, string Format, bool DryRun, MetadataFacts Before, MetadataFacts After, string? Child);

internal sealed record MetadataFacts(
    Guid? Uuid, Guid? ModificationUuid, Guid? ParentUuid, Guid? ParentModificationUuid, string Comment, GeometryFacts? Pchs, GeometryFacts? Lchs);

/// <summary>What <c>merge</c> did.</summary>
/// <param name="Leaf">The image to open for the same disk from now on.</param>
/// <param name="Into">The image that took the content.</param>
/// <param name="Removed">The images that are gone, base first.</param>
/// <param name="Images">Those that are left, base first.</param>
/// <param name="DryRun">Whether it was only looked at.</param>
internal sealed record MergeDocument(string Leaf, string Into, IReadOnlyList<string> Removed, IReadOnlyList<string> Images, bool DryRun);

/// <summary>What <c>compact</c> did; with --dry-run only what it would find.</summary>
/// <param name="Releasable">Bytes of the disk whose file space would be given back.</param>
internal sealed record CompactDocument(
    string Path, string Format, bool DryRun, long FileSizeBefore, long? FileSizeAfter, long? UnitsReleased, long? UnitsMoved, long? Releasable);

/// <summary>What <c>resize</c> did or, with <c>--dry-run</c>, could do.</summary>
/// <param name="CapacityBefore">Bytes.</param>
/// <param name="Capacity">Bytes.</param>
/// <param name="Child">An image near it that was made from it, and keeps its own size.</param>
internal sealed record ResizeDocument(string Path, string Format, bool DryRun, long CapacityBefore, long Capacity, string? Child);

internal sealed record ConvertDocument(string Source, string Destination, string Format, long Capacity, long FileSize);

/// <summary>What <c>move</c> did.</summary>
/// <param name="Copied">Whether the bytes were copied to another file system.</param>
/// <param name="Files">Every file of the image, the one that was named first.</param>
/// <param name="Notes">What the move did not settle.</param>
internal sealed record MoveDocument(string Source, string Destination, string Format, bool DryRun, bool Copied, IReadOnlyList<MovedFile> Files, IReadOnlyList<string> Notes);

internal sealed record MovedFile(string From, string To);

/// <summary>One format, for <c>formats</c>.</summary>
/// <param name="Variants">The usual one first.</param>
internal sealed record FormatFacts(
    string Name, IReadOnlyList<string> Extensions, IReadOnlyList<string> Variants, bool Differencing, IReadOnlyList<string> Capabilities, IReadOnlyList<ConfigKeyFacts> ConfigKeys);

/// <param name="Name">As VirtualBox calls it.</param>
/// <param name="Property">What it is in this program's own library.</param>
internal sealed record ConfigKeyFacts(string Name, string Kind, string Property, string Description);

internal sealed record ExportFacts(
    string Name, string Uri, string Image, string? Mode, string? Overlay, bool ReadOnly, long Capacity, long Reads, long BytesRead, long Writes, long BytesWritten, long Zeroes, long Trims, long Flushes)
{
    /// <summary>The images of the chain, base first; of a host that can exchange them.</summary>
    public IReadOnlyList<LayerFacts>? Images { get; init; }

    /// <summary>Whether changes are refused for the time being.</summary>
    public bool WriteProtected { get; init; }

    /// <summary>The device of the kernel that it is as well, as <c>/dev/nbd3</c>; of a server's export.</summary>
    public string? Device { get; init; }

    /// <summary>Of an export that is served over NBD.</summary>
    public TrafficFacts? Traffic { get; init; }
}

internal sealed record ClientFacts(string Export, string Peer, DateTimeOffset Since, long Requests)
{
    /// <summary>Unique within the host.</summary>
    public long Id { get; init; }

    public TrafficFacts? Traffic { get; init; }
}

internal sealed record HostStatus
{
    public required string Name { get; init; }

    public required int Pid { get; init; }

    public required string Command { get; init; }

    public required DateTimeOffset Since { get; init; }

    public required IReadOnlyList<ExportFacts> Exports { get; init; }

    public IReadOnlyList<ClientFacts> Clients { get; init; } = [];

    public string? Mount { get; init; }

    public IReadOnlyList<string> Devices { get; init; } = [];

    public IReadOnlyList<string> Sockets { get; init; } = [];

    /// <summary>Whether the process was killed, and its device waits for another one.</summary>
    public bool IsWaiting { get; init; }

    /// <summary>Whether new clients are refused while the present ones finish.</summary>
    public bool Draining { get; init; }
}

/// <summary>What <c>attach</c> made.</summary>
/// <param name="Device">As <c>/dev/nbd3</c>.</param>
/// <param name="Via">How the disk came there: <c>nbd</c> or <c>loop</c>.</param>
/// <param name="Recovered">Whether it was there, waiting for a host that had ended.</param>
internal sealed record AttachDocument(
    string Device, string Via, string Name, string Image, string Mode, int Pid, long Capacity, int BlockSize, int Connections, IReadOnlyList<AttachedPartition> Partitions, bool Recovered, IReadOnlyList<string> Notes);

internal sealed record AttachedPartition(int Number, string Device, long Start, long Size);

internal sealed record DetachDocument(string Device, string Backend);

/// <param name="Via">How the disk came there: <c>nbd</c>, <c>loop</c> or <c>fuse</c>.</param>
internal sealed record MountDocument(string Directory, int Pid, string Mode, string Via, IReadOnlyList<MountedFacts> Mounted, string Reason);

internal sealed record MountedFacts(string Directory, string? Filesystem, int? Partition, string? Device, bool ReadOnly);

/// <summary>What <c>unmount --stale</c> did, or with <c>--dry-run</c> would do.</summary>
internal sealed record StaleDocument(bool DryRun, IReadOnlyList<LeftoverFacts> Leftovers);

/// <param name="Kind"><c>mount</c>, <c>loop device</c>, <c>nbd device</c>, <c>folder</c>, <c>record</c>, <c>socket</c> or <c>pid file</c>.</param>
/// <param name="What">Its path.</param>
/// <param name="Image">What it showed, where that is known.</param>
/// <param name="Directory">The folder given to <c>mount</c>, where it is of one.</param>
/// <param name="Failure">Why it is still there.</param>
internal sealed record LeftoverFacts(string Kind, string What, string? Image, string? Directory, bool Removed, string? Failure);

internal sealed record DoctorFact(string Name, bool Ok, string Detail, string Purpose, string? Remedy);

/// <summary>Every document that the program prints; generated code, so that trimming keeps working.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(InfoDocument))]
[JsonSerializable(typeof(PartitionsDocument))]
[JsonSerializable(typeof(CheckDocument))]
[JsonSerializable(typeof(IReadOnlyList<MapEntry>))]
[JsonSerializable(typeof(CreateDocument))]
[JsonSerializable(typeof(SetDocument))]
[JsonSerializable(typeof(MergeDocument))]
[JsonSerializable(typeof(CompactDocument))]
[JsonSerializable(typeof(ResizeDocument))]
[JsonSerializable(typeof(ConvertDocument))]
[JsonSerializable(typeof(IReadOnlyList<FormatFacts>))]
[JsonSerializable(typeof(MoveDocument))]
[JsonSerializable(typeof(HostStatus))]
[JsonSerializable(typeof(IReadOnlyList<HostStatus>))]
[JsonSerializable(typeof(AttachDocument))]
[JsonSerializable(typeof(DetachDocument))]
[JsonSerializable(typeof(IReadOnlyList<AttachDocument>))]
[JsonSerializable(typeof(Hosting.AttachRecord))]
[JsonSerializable(typeof(MountDocument))]
[JsonSerializable(typeof(StaleDocument))]
[JsonSerializable(typeof(IReadOnlyList<DoctorFact>))]
[JsonSerializable(typeof(HostDisksDocument))]
[JsonSerializable(typeof(RawCreateDocument))]
[JsonSerializable(typeof(ErrorDocument))]
[JsonSerializable(typeof(DoneDocument))]
[JsonSerializable(typeof(SnapshotDocument))]
[JsonSerializable(typeof(ReloadDocument))]
[JsonSerializable(typeof(DrainDocument))]
[JsonSerializable(typeof(HealthDocument))]
[JsonSerializable(typeof(IReadOnlyList<ExportFacts>))]
internal sealed partial class JsonModels : JsonSerializerContext;

/// <summary>Documents of which each is one line, and the bodies of requests.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ErrorDocument))]
[JsonSerializable(typeof(ProgressDocument))]
[JsonSerializable(typeof(MergeDocument))]
[JsonSerializable(typeof(CompactDocument))]
[JsonSerializable(typeof(ConfigExport))]
[JsonSerializable(typeof(SnapshotRequest))]
[JsonSerializable(typeof(MergeRequest))]
[JsonSerializable(typeof(CompactRequest))]
[JsonSerializable(typeof(SwitchRequest))]
[JsonSerializable(typeof(AttachExportRequest))]
[JsonSerializable(typeof(DrainRequest))]
internal sealed partial class JsonLines : JsonSerializerContext;
