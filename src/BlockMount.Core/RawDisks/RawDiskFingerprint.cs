using System.Globalization;
using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Storage;

namespace BlockMount.Core.RawDisks;

/// <summary>
/// What a disk is known by. An image of parts of a disk that was divided anew since, or of another disk under the same name, would put a
/// machine's writes where they do not belong.
/// </summary>
public sealed record RawDiskFingerprint
{
    /// <summary>Full path of the disk's node.</summary>
    public required string DiskPath { get; init; }

    /// <summary>Bytes.</summary>
    public required long Size { get; init; }

    /// <summary>Bytes of a logical sector.</summary>
    public required int SectorSize { get; init; }

    /// <summary>What the hardware calls itself; null when it does not say.</summary>
    public string? Serial { get; init; }

    /// <summary>The disk signature of an MBR or GUID of a GPT, as <see cref="Partitions.PartitionTable.DiskId"/>; null without one or for a whole disk.</summary>
    public string? TableId { get; init; }

    /// <summary>CRC over the table's own bytes; null for a whole disk, whose table the machine may change.</summary>
    public uint? TableCrc { get; init; }

    /// <summary>Takes it of a disk.</summary>
    /// <param name="disk">The disk, opened for reading.</param>
    /// <param name="facts">What the host tells of it, or null.</param>
    /// <param name="path">The name to record.</param>
    /// <param name="withTable">Whether its partition table belongs to it.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="DiskException">The host failed to read it.</exception>
    public static async ValueTask<RawDiskFingerprint> TakeAsync(
        BlockDevice disk, DeviceFacts? facts, string path, bool withTable, CancellationToken cancellationToken)
    {
        var table = withTable ? await RawTable.ReadAsync(disk, cancellationToken) : null;
        return new()
        {
            DiskPath = path,
            Size = disk.Length,
            SectorSize = facts?.SectorSize ?? Math.Max(disk.LogicalSectorSize, RawDiskRules.ImageSector),
            Serial = facts?.Serial,
            TableId = table?.Table.DiskId,
            TableCrc = table?.Crc,
        };
    }

    /// <summary>Refuses an image whose disk is not what it was.</summary>
    /// <param name="image">The image, for the sentence.</param>
    /// <param name="present">The disk as it is.</param>
    /// <param name="hasTable">Whether <paramref name="present"/> was taken with its table.</param>
    /// <exception cref="DiskException"><see cref="ErrorKind.BrokenChain"/>, naming the field, what was recorded and what is.</exception>
    internal void RequireSame(string image, RawDiskFingerprint present, bool hasTable)
    {
        Require("its size", Number(Size), Number(present.Size));
        Require("its sector size", Number(SectorSize), Number(present.SectorSize));
        if (Serial is not null)
        {
            Require("its serial number", Serial, present.Serial);
        }

        if (hasTable && TableCrc is not null)
        {
            Require("its disk id", TableId, present.TableId);
            Require("its partition table checksum", Hexadecimal(TableCrc), Hexadecimal(present.TableCrc));
        }

        void Require(string field, string? recorded, string? found)
        {
            if (!string.Equals(recorded, found, StringComparison.Ordinal))
            {
                throw Mismatch(image, DiskPath, field, recorded, found);
            }
        }
    }

    internal static DiskException Mismatch(string image, string disk, string field, string? recorded, string? found) =>
        new(ErrorKind.BrokenChain,
            $"{image}: {ShownText.Path(disk)} is not the disk that this image was made for, or was changed since: {field} was {ShownText.Short(recorded ?? "none")} "
            + $"and is {ShownText.Short(found ?? "none")}; if it is the right disk, make the image again with raw create.") { Path = image };

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static string? Hexadecimal(uint? value) => value?.ToString("x8", CultureInfo.InvariantCulture);
}
