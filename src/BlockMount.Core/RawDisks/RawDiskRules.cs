using System.Globalization;
using System.Numerics;
using BlockMount.Core.Errors;

namespace BlockMount.Core.RawDisks;

/// <summary>What a <see cref="RawDiskDescriptor"/> must be like.</summary>
internal static class RawDiskRules
{
    /// <summary>Images count in sectors of so many bytes, whatever the disk does.</summary>
    public const int ImageSector = 512;

    private const int LargestSector = 65536;

    public static void Check(RawDiskDescriptor disk)
    {
        RequirePath(disk.DiskPath, "the disk");
        Require(
            disk.SectorSize is >= ImageSector and <= LargestSector && BitOperations.IsPow2(disk.SectorSize),
            disk, $"its sector size is {disk.SectorSize}; allowed is a power of two from {ImageSector} to {LargestSector}.");
        Require(
            disk.Capacity > 0 && disk.Capacity % disk.SectorSize == 0,
            disk, $"its size is {disk.Capacity} bytes; allowed is a positive multiple of its sectors of {disk.SectorSize}.");
        if (disk.Parts is null)
        {
            return;
        }

        long end = 0;
        foreach (var part in disk.Parts)
        {
            CheckPart(disk, part);
            Require(part.Start >= end, disk, $"{Name(part)} begins before the part in front of it ends, at byte {end}; parts are ascending and do not overlap.");
            end = part.End;
        }
    }

    private static void CheckPart(RawDiskDescriptor disk, RawPartitionDescriptor part)
    {
        var name = Name(part);
        Require(
            part.Start >= 0 && part.Length > 0 && part.Start <= disk.Capacity && part.Length <= disk.Capacity - part.Start,
            disk, $"{name} does not lie inside the disk of {disk.Capacity} bytes.");
        Require(
            part.Start % disk.SectorSize == 0 && part.Length % disk.SectorSize == 0,
            disk, $"{name} does not consist of whole sectors of {disk.SectorSize} bytes.");
        Require(part.Device is null || part.Data is null, disk, $"{name} has both a device and data of its own; allowed is one of them.");
        Require(
            part.Data is not { } data || data.Length == part.Length,
            disk, $"{name} comes with {part.Data?.Length} bytes of data; they must be as many as the part has.");
        if (part.Device is not { } device)
        {
            return;
        }

        RequirePath(device, $"{disk.DiskPath}: {name}");
        Require(
            part.DeviceOffset >= 0 && part.DeviceOffset % disk.SectorSize == 0 && part.DeviceOffset <= long.MaxValue - part.Length,
            disk, $"{name} begins at byte {part.DeviceOffset} of {ShownText.Path(device)}; allowed is a multiple of {disk.SectorSize}.");
    }

    private static string Name(RawPartitionDescriptor part) =>
        string.Create(CultureInfo.InvariantCulture, $"the part of {part.Length} bytes at byte {part.Start}");

    private static void RequirePath(string path, string whose)
    {
        if (!Path.IsPathFullyQualified(path) || path.Any(static c => c == '"' || char.IsControl(c)) || path.Length > ShownText.LongestPath)
        {
            throw new DiskException(
                ErrorKind.InvalidArgument,
                $"{whose} names the device '{ShownText.Short(path)}'; allowed is a full path of up to {ShownText.LongestPath} characters without quote or control character.");
        }
    }

    private static void Require(bool holds, RawDiskDescriptor disk, string sentence)
    {
        if (!holds)
        {
            throw new DiskException(ErrorKind.InvalidArgument, $"{ShownText.Path(disk.DiskPath)}: {sentence}") { Path = disk.DiskPath };
        }
    }
}
