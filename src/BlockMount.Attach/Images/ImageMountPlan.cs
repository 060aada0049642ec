using BlockMount.Attach.Loop;
using BlockMount.Attach.Roads;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;

namespace BlockMount.Attach.Images;

/// <summary>A file system to mount.</summary>
/// <param name="File">The file that holds it.</param>
/// <param name="FileSystem">Its type.</param>
/// <param name="Partition">Null for the whole disk.</param>
/// <param name="Folder">Below the directory; null for the directory itself.</param>
/// <param name="IsReadOnly">Nothing may write to it, whatever the disk takes.</param>
internal sealed record FileSystemTarget(string File, string FileSystem, int? Partition, string? Folder, bool IsReadOnly = false);

/// <summary>What will be mounted and why: decided before anything is touched.</summary>
/// <param name="Targets">Empty: the files themselves are mounted at the directory.</param>
/// <param name="Reason">One sentence.</param>
internal sealed record ImageMountPlan(IReadOnlyList<FileSystemTarget> Targets, string Reason)
{
    private const string AsFiles = "the disk and its partitions are shown as files";

    /// <exception cref="DiskException">
    /// <see cref="ErrorKind.InvalidArgument"/>: the disk has no such partition. <see cref="ErrorKind.ReadOnly"/>: it must not be written to, and
    /// the mount is to take writes. A road is asked for that leads nowhere, or a mount option that is refused.
    /// </exception>
    public static ImageMountPlan Make(ImageMountRequest request, IReadOnlyList<ImagePartition> partitions, bool isRoot)
    {
        if (request.Choice.PartitionNumber is { } number && partitions.All(partition => partition.Number != number))
        {
            var known = partitions.Count == 0 ? "no partitions" : $"partitions {string.Join(", ", partitions.Select(partition => partition.Number))}";
            throw new DiskException(ErrorKind.InvalidArgument, $"{request.Device.Name}: there is no partition {number}; the disk has {known}.") { Path = request.Device.Name };
        }

        if (partitions.FirstOrDefault(partition => partition.Number == request.Choice.PartitionNumber) is { } single)
        {
            PartitionWindow.RequireMode(request.Device.Name, request.IsReadOnly || request.Device.IsReadOnly, single.Number, single.WhyReadOnly);
        }

        if (request.Choice.IsFilesOnly || request.Via == MountRoad.Files)
        {
            return Files("As asked, ");
        }

        var chosen = partitions.Where(partition => request.Choice.PartitionNumber is null || partition.Number == request.Choice.PartitionNumber).ToList();
        var targets = chosen.Where(partition => partition.FileSystem is not null)
            .Select(partition => new FileSystemTarget(ImageFiles.NameOf(partition), partition.FileSystem ?? "", partition.Number, $"p{partition.Number}", partition.WhyReadOnly is not null)).ToList();
        if (targets.Count == 0 && request.Choice.PartitionNumber is null && request.WholeDiskFileSystem is { } whole)
        {
            targets.Add(new FileSystemTarget(ImageFiles.WholeDisk, whole, null, null));
        }

        if (request.Via != MountRoad.Auto)
        {
            RequireRoad(request, targets.Count, isRoot);
        }

        foreach (var target in targets)
        {
            _ = FileSystemOptions.For(target.FileSystem, OptionsFor(request, target));
        }

        return (targets.Count, isRoot) switch
        {
            (0, _) when request.Choice.PartitionNumber is { } asked => Files($"Partition {asked} holds no file system that was recognised: "),
            (0, _) => Files("No file system was recognised: "),
            (_, false) => Files("Only root may mount file systems: "),
            (1, true) => new([targets[0] with { Folder = null }], $"The {targets[0].FileSystem} file system of {PlaceOf(targets[0])} is mounted."),
            _ => new(targets, $"The disk has {targets.Count} file systems; each is mounted in a folder of its own."),
        };
    }

    /// <summary>How a target is mounted.</summary>
    public static MountOptions OptionsFor(ImageMountRequest request, FileSystemTarget target) =>
        new(target.IsReadOnly || request.IsReadOnly || request.Device.IsReadOnly) { Owner = request.Owner, Own = request.Options };

    /// <summary>The plan that is left when this host can mount none of the targets.</summary>
    public static ImageMountPlan Files(string why) => new([], why + AsFiles + ".");

    private static void RequireRoad(ImageMountRequest request, int targets, bool isRoot)
    {
        var name = request.Device.Name;
        if (targets == 0)
        {
            var place = request.Choice.PartitionNumber is { } asked ? $"partition {asked}" : "the disk";
            throw new DiskException(
                ErrorKind.InvalidArgument, $"{name}: no file system was recognised on {place}, so there is nothing to mount by a block device; leave --via out to see it as files.") { Path = name };
        }

        if (!isRoot)
        {
            throw new DiskException(ErrorKind.AccessDenied, $"{name}: only root may make block devices and mount file systems; leave --via out to see it as files.") { Path = name };
        }
    }

    public static string PlaceOf(FileSystemTarget target) => target.Partition is { } number ? $"partition {number}" : "the whole disk";
}
