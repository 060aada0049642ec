using BlockMount.Attach.Fuse;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;

namespace BlockMount.Attach.Images;

/// <summary>The files that stand for a disk: <c>disk.raw</c>, <c>p1.raw</c> and so on, <c>info.json</c>.</summary>
internal sealed class ImageFiles
{
    public const string WholeDisk = "disk.raw";

    private ImageFiles(IReadOnlyList<VirtualFile> files, IReadOnlyList<ImagePartition> partitions, IReadOnlyList<string> notes)
    {
        Files = files;
        Partitions = partitions;
        Notes = notes;
    }

    public IReadOnlyList<VirtualFile> Files { get; }

    /// <summary>Those that lie on the disk.</summary>
    public IReadOnlyList<ImagePartition> Partitions { get; }

    /// <summary>A sentence for each partition left out, as a table may name bytes that the disk does not have, and for each that refuses writes on a disk that takes them.</summary>
    public IReadOnlyList<string> Notes { get; }

    public static string NameOf(ImagePartition partition) => $"p{partition.Number}.raw";

    public static ImageFiles Make(ImageMountRequest request)
    {
        var disk = request is { IsReadOnly: true, Device.IsReadOnly: false } ? new ReadOnlyDevice(request.Device) : request.Device;
        var files = new List<VirtualFile> { new(WholeDisk, disk) };
        var partitions = new List<ImagePartition>();
        var notes = new List<string>();
        foreach (var partition in request.Partitions)
        {
            try
            {
                files.Add(new VirtualFile(NameOf(partition), PartitionWindow.Open(disk, partition.Start, partition.Length, partition.WhyReadOnly)));
                partitions.Add(partition);
                if (partition.WhyReadOnly is { } why && !disk.IsReadOnly)
                {
                    notes.Add($"Partition {partition.Number} {why}; it is read-only.");
                }
            }
            catch (DiskException error)
            {
                notes.Add($"Partition {partition.Number} is left out: {error.Message}");
            }
        }

        if (!request.Info.IsEmpty)
        {
            files.Add(new VirtualFile("info.json", request.Info));
        }

        return new ImageFiles(files, partitions, notes);
    }
}
