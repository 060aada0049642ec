using System.CommandLine;
using System.Text.Json;
using BlockMount.Core.Errors;
using BlockMount.Core.Partitions;
using BlockMount.Core.Storage;
using BlockMount.Host.Cli;
using BlockMount.Host.Images;
using BlockMount.Platform.Devices;

namespace BlockMount.Host.Commands;

/// <summary><c>raw list</c>: the disks of this host, what lies on them, and who uses them.</summary>
internal static class RawListCommand
{
    public static Command Create(IStoreProvider provider)
    {
        var json = CommonArguments.Json();
        var command = new Command("list", "Show the disks and partitions of this host, and what uses them.") { json };
        command.SetExamples("blockmount raw list", "blockmount raw list --json");
        command.SetWork(async (result, cancellation) =>
        {
            var disks = new List<HostDiskFacts>();
            foreach (var disk in HostDisks.List())
            {
                disks.Add(await DescribeAsync(provider, disk, cancellation));
            }

            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(new HostDisksDocument(disks), JsonModels.Default.HostDisksDocument));
            }
            else
            {
                Print(disks);
            }

            return ExitCode.Done;
        });
        return command;
    }

    private static async Task<HostDiskFacts> DescribeAsync(IStoreProvider provider, DeviceFacts facts, CancellationToken cancellationToken)
    {
        DiskContents? contents = null;
        string? unreadable = null;
        try
        {
            await using var disk = await HostDisk.OpenAsync(provider, facts.Path, cancellationToken);
            contents = await DiskContents.ReadAsync(disk, new PartitionReadOptions(), cancellationToken);
        }
        catch (DiskException e)
        {
            unreadable = e.Message;
        }

        var table = contents?.Table;
        return new HostDiskFacts
        {
            Path = facts.Path,
            Size = facts.Length,
            SectorSize = facts.SectorSize,
            PhysicalSectorSize = facts.PhysicalSectorSize,
            Model = facts.Model,
            Serial = facts.Serial,
            ReadOnly = facts.IsReadOnly,
            Removable = facts.IsRemovable,
            PartitionScheme = table is null ? null : PartitionsCommand.SchemeOf(table),
            DiskId = table?.DiskId,
            Filesystem = table?.Content?.Name,
            Unreadable = unreadable,
            Users = facts.Users,
            Partitions = PartitionsOf(provider, facts, contents),
        };
    }

    /// <summary>The table's partitions with the host's nodes, then nodes that the table does not know: the host may not have read it again.</summary>
    private static List<HostPartitionFacts> PartitionsOf(IStoreProvider provider, DeviceFacts disk, DiskContents? contents)
    {
        var nodes = disk.Partitions.ToList();
        var found = new List<HostPartitionFacts>();
        foreach (var p in contents?.Table.Partitions ?? [])
        {
            var node = nodes.FirstOrDefault(n => n.Number == p.Number && n.Start == p.Start && (n.Length == p.Length || p.IsContainer));
            _ = node is not null && nodes.Remove(node);
            var fileSystem = contents!.FileSystems.GetValueOrDefault(p.Number);
            found.Add(new(
                p.Number, node?.Path, p.Start, p.Length, p.Type, p.Name.Length > 0 ? p.Name : null, fileSystem?.Name, fileSystem?.Label, UsersOf(provider, node)));
        }

        found.AddRange(nodes.Select(n => new HostPartitionFacts(n.Number, n.Path, n.Start, n.Length, null, null, null, null, UsersOf(provider, n))));
        return found;
    }

    private static IReadOnlyList<string> UsersOf(IStoreProvider provider, DevicePartition? node) =>
        node is null ? [] : provider.DescribeDevice(node.Path)?.Users ?? [];

    private static string? Quoted(string? text) => string.IsNullOrEmpty(text) ? null : $"\"{TerminalText.Escape(text)}\"";

    private static void Print(List<HostDiskFacts> disks)
    {
        if (disks.Count == 0)
        {
            Console.WriteLine("This host shows no disks.");
        }

        foreach (var disk in disks)
        {
            string?[] what =
            [
                SizeText.Show(disk.Size), disk.Model, disk.Serial is { } serial ? $"serial {serial}" : null, disk.PartitionScheme ?? disk.Filesystem ?? "no partition table",
                disk.SectorSize == 512 ? null : $"sectors of {disk.SectorSize} bytes", disk.ReadOnly ? "read-only" : null, disk.Removable ? "removable" : null,
            ];
            Console.WriteLine($"{disk.Path}: {string.Join(", ", what.Where(static w => w is not null))}");
            if (disk.Unreadable is { } reason)
            {
                Console.WriteLine($"   its content cannot be read: {reason}");
            }

            foreach (var p in disk.Partitions)
            {
                string?[] holds =
                [
                    p.Filesystem, Quoted(p.Label), p.Type ?? "not in the partition table any more", Quoted(p.Name), p.Path is null ? "the host has no node for it" : null,
                ];
                Console.WriteLine($"   {p.Number,3} {p.Path ?? "-",-16} {SizeText.Show(p.Size),12} at {SizeText.Show(p.Start),-12} {string.Join(", ", holds.Where(static h => h is not null))}");
            }

            foreach (var user in disk.Users)
            {
                Console.WriteLine($"   in use: {user}");
            }
        }
    }
}
