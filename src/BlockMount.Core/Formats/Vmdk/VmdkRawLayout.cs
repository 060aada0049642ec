using System.Globalization;
using BlockMount.Core.Errors;
using BlockMount.Core.RawDisks;
using static BlockMount.Core.Formats.Vmdk.VmdkConstants;

namespace BlockMount.Core.Formats.Vmdk;

/// <summary>What the files of a new image of a real disk will be, decided before any is made.</summary>
internal sealed class VmdkRawLayout
{
    private readonly List<string> _extents = [];
    private readonly RawDiskDescriptor _disk;

    private VmdkRawLayout(RawDiskDescriptor disk) => _disk = disk;

    /// <summary>The file with the machine's own copies; null when there are none.</summary>
    public string? CopyPath { get; private init; }

    /// <summary>What goes into that file, one after the other.</summary>
    public IReadOnlyList<ReadOnlyMemory<byte>> Copies { get; private init; } = [];

    /// <summary>The image's files, the one with the descriptor first.</summary>
    public static IReadOnlyList<string> FilesFor(string path, ImageCreateOptions options) =>
        Plan(path, options).CopyPath is { } copies ? [path, copies] : [path];

    /// <exception cref="DiskException">An option that VMDK does not allow here, or a descriptor that does not hold together.</exception>
    public static VmdkRawLayout Plan(string path, ImageCreateOptions options)
    {
        var disk = options.RawDisk!;
        disk.Validate();
        VmdkLayout.RequireTexts(path, options);
        VmdkLayout.Require(path, options.Capacity == disk.Capacity, $"a disk size of {options.Capacity} bytes is not that of {ShownText.Path(disk.DiskPath)}, {disk.Capacity}.");
        VmdkLayout.Require(
            path, options.Variant is null && options.BlockSize is null && options.Parent is null,
            "an image of a real disk has neither variant, block size nor parent to choose.");
        var copies = (disk.Parts ?? []).Where(static p => p.Data is not null).Select(static p => p.Data!.Value).ToArray();
        var layout = new VmdkRawLayout(disk)
        {
            Copies = copies,
            CopyPath = copies.Length == 0 ? null : VmdkLayout.StemOf(path) + "-pt.vmdk",
        };
        layout.AddExtents();
        return layout;
    }

    /// <summary>The descriptor's text.</summary>
    public string Text(ImageCreateOptions options, uint contentId, Guid uuid)
    {
        var text = VmdkDescriptorText.Begin(options, _disk.Parts is null ? TypeFullDevice : TypePartitionedDevice, contentId);
        _extents.ForEach(line => text.Append(line).Append('\n'));
        VmdkDescriptorText.End(text, options, "ide", uuid);
        if (_disk.Fingerprint is { } fingerprint)
        {
            VmdkFingerprint.Append(text, fingerprint);
        }

        return text.ToString();
    }

    private void AddExtents()
    {
        if (_disk.Parts is null)
        {
            AddFlat(!_disk.IsReadOnly, _disk.Capacity, _disk.DiskPath, 0);
            return;
        }

        long end = 0;
        long copied = 0;
        foreach (var part in _disk.Parts)
        {
            AddZero(part.Start - end);
            if (part.Data is not null)
            {
                AddFlat(_disk.IsWritten(part), part.Length, Path.GetFileName(CopyPath)!, copied);
                copied += part.Length;
            }
            else if (part.Device is not null)
            {
                AddFlat(_disk.IsWritten(part), part.Length, part.Device, part.DeviceOffset);
            }
            else
            {
                AddZero(part.Length);
            }

            end = part.End;
        }

        AddZero(_disk.Capacity - end);
    }

    private void AddFlat(bool written, long length, string file, long offset) =>
        Add(written ? "RW" : "RDONLY", length, $"FLAT \"{file}\" {(offset / SectorSize).ToString(CultureInfo.InvariantCulture)}");

    /// <summary>With a blank at the end, as VirtualBox writes it.</summary>
    private void AddZero(long length)
    {
        if (length > 0)
        {
            Add("RW", length, "ZERO ");
        }
    }

    private void Add(string access, long length, string rest) =>
        _extents.Add(string.Create(CultureInfo.InvariantCulture, $"{access} {length / SectorSize} {rest}"));
}
