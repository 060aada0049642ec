using BlockMount.Core.Devices;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Core.Storage;
using Codes = BlockMount.Core.Partitions.PartitionDiagnosticCodes;

namespace BlockMount.Core.RawDisks;

/// <summary>Makes a <see cref="RawDiskDescriptor"/> out of a real disk and what of it a machine is to get. Only reads.</summary>
/// <param name="provider">Opens the nodes of partitions, for <see cref="RawDiskChoice.IsRelative"/>.</param>
public sealed class RawDiskPlanner(IStoreProvider provider)
{
    /// <param name="disk">The disk, opened for reading.</param>
    /// <param name="facts">What the host tells of it.</param>
    /// <param name="choice">What the machine is to get.</param>
    /// <param name="cancellationToken">Stops the reading.</param>
    /// <exception cref="DiskException">The choice does not fit the disk or its table is none that can be copied: one sentence; or the host failed.</exception>
    public async ValueTask<RawDiskPlan> PlanAsync(BlockDevice disk, DeviceFacts facts, RawDiskChoice choice, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(disk);
        ArgumentNullException.ThrowIfNull(facts);
        ArgumentNullException.ThrowIfNull(choice);
        var path = choice.DiskPath ?? facts.Path;
        Require(facts.Length == disk.Length, disk, ErrorKind.Io, $"the host says that it has {facts.Length} bytes, but {disk.Length} can be reached.");
        var descriptor = new RawDiskDescriptor
        {
            DiskPath = path,
            Capacity = disk.Length,
            SectorSize = facts.SectorSize,
            IsReadOnly = choice.IsReadOnly,
            Fingerprint = await RawDiskFingerprint.TakeAsync(disk, facts, path, choice.Partitions is not null, cancellationToken),
        };
        if (choice.Partitions is null)
        {
            Require(!choice.IsRelative, disk, ErrorKind.InvalidArgument, "a whole disk cannot be given by the nodes of its partitions; choose partitions.");
            Require(choice.BootSector is null, disk, ErrorKind.InvalidArgument, "a boot sector of its own goes with chosen partitions only; a whole disk is shown as it is.");
            descriptor.Validate();
            return new(descriptor, null, []);
        }

        var table = await RawTable.ReadAsync(disk, cancellationToken);
        RequireUsable(disk, table.Table);
        Require(table.Crc == descriptor.Fingerprint.TableCrc, disk, ErrorKind.Busy, "its partition table changed while it was read; try again when nobody changes it.");
        var warnings = table.Table.Diagnostics.Where(static d => d.Severity != DiagnosticSeverity.Information).Select(static d => d.Message).ToList();
        var parts = await RawTableCopy.ReadAsync(disk, table, choice.BootSector, cancellationToken);
        foreach (var chosen in choice.Partitions)
        {
            var partition = Find(disk, table.Table, chosen.Number);
            var part = new RawPartitionDescriptor
            {
                Start = partition.Start,
                Length = partition.Length,
                Device = path,
                DeviceOffset = partition.Start,
                IsReadOnly = chosen.IsReadOnly,
            };
            parts.Add(choice.IsRelative
                ? part with { Device = await new RawNodeCheck(provider, warnings).FindAsync(disk, facts, partition, cancellationToken), DeviceOffset = 0 }
                : part);
        }

        descriptor = descriptor with { Parts = [.. parts.OrderBy(static p => p.Start)] };
        descriptor.Validate();
        return new(descriptor, table.Table, warnings);
    }

    private static void RequireUsable(BlockDevice disk, PartitionTable table)
    {
        Require(
            table.Scheme != PartitionScheme.None, disk, ErrorKind.UnsupportedFeature,
            table.ForeignScheme is { } foreign
                ? $"it has no table that can be chosen from, but this: {foreign}; partitions can be chosen of an MBR or GPT only."
                : "it has no partition table; partitions can be chosen of an MBR or GPT only.");
        var fault = table.Diagnostics.FirstOrDefault(static d =>
            d.Code is Codes.GptDamaged or Codes.EbrLoop or Codes.EbrTooLong or Codes.EbrLinkOutside or Codes.ReadLimit or Codes.TooMany);
        Require(fault.Code is null, disk, ErrorKind.UnsupportedFeature, $"its partition table cannot be relied on, repair it first: {fault.Message}");
    }

    private static Partition Find(BlockDevice disk, PartitionTable table, int number)
    {
        var partition = table.Partitions.FirstOrDefault(p => p.Number == number);
        if (partition is null)
        {
            var known = string.Join(", ", table.Partitions.Where(static p => !p.IsContainer).Select(static p => p.Number));
            throw Refused(
                disk, ErrorKind.InvalidArgument, $"it has no partition {number}; {(known.Length == 0 ? "there is none that can be chosen" : $"those that can be chosen are {known}")}.");
        }

        Require(
            !partition.IsContainer, disk, ErrorKind.InvalidArgument,
            $"partition {number} is an extended one, which only holds others; choose those, its own records are copied with the table.");
        Require(
            !partition.IsOverlapping, disk, ErrorKind.UnsupportedFeature,
            $"partition {number} shares bytes with another partition or the table itself, so a machine that has it could damage those; repair the table first.");
        return partition;
    }

    private static void Require(bool holds, BlockDevice disk, ErrorKind kind, string sentence)
    {
        if (!holds)
        {
            throw Refused(disk, kind, sentence);
        }
    }

    private static DiskException Refused(BlockDevice disk, ErrorKind kind, string sentence) => new(kind, $"{disk.Name}: {sentence}") { Path = disk.Name };
}
